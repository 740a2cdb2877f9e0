use super::*;
use axum::http::Request;

fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn verdict(headers: &[(&str, &str)]) -> bool {
    check(&parts("/", headers), false).is_ok()
}

#[test]
fn only_loopback_hosts_are_answered() {
    for host in [
        "localhost",
        "LOCALHOST:7070",
        "127.0.0.1:7070",
        "127.9.9.9",
        "[::1]:7070",
        "[::ffff:127.0.0.1]:1",
    ] {
        assert!(verdict(&[("host", host)]), "{host}");
    }
    for host in [
        "example.com",
        "10.0.0.1",
        "0.0.0.0",
        "localhost.evil.example",
        "[::2]",
        "127.0.0.1.nip.io",
        "evil.localhost",
    ] {
        assert!(!verdict(&[("host", host)]), "{host}");
    }
    assert!(!verdict(&[]), "no host at all");
    assert!(
        !verdict(&[("host", "localhost"), ("host", "localhost")]),
        "two hosts"
    );
    assert!(
        check(
            &parts("http://example.com/", &[("host", "localhost")]),
            false
        )
        .is_err()
    );
    assert!(
        check(&parts("/", &[("host", "example.com")]), true).is_ok(),
        "any host is let in"
    );
}

#[test]
fn a_foreign_origin_is_refused() {
    let with = |origin: &str| verdict(&[("host", "127.0.0.1:7070"), ("origin", origin)]);
    assert!(with("http://127.0.0.1:7070"));
    assert!(with("http://localhost:7070"));
    for foreign in [
        "null",
        "http://evil.example",
        "http://127.0.0.1:3000",
        "http://127.0.0.1",
        "https://127.0.0.1:7070",
        "",
        "http://127.0.0.1:7070.evil.example",
    ] {
        assert!(!with(foreign), "{foreign}");
    }
    let anywhere = parts(
        "/",
        &[("host", "db:7070"), ("origin", "http://evil.example")],
    );
    assert!(
        check(&anywhere, true).is_err(),
        "also where any host is let in"
    );
    let own = parts("/", &[("host", "db:7070"), ("origin", "http://db:7070")]);
    assert!(check(&own, true).is_ok());
}
