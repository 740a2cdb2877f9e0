use super::*;
use axum::http::Request;

fn token(name: &str, secret: &str, role: Role, buckets: &[&str]) -> Token {
    Token {
        name: name.to_owned(),
        secret: secret.to_owned().into(),
        role,
        buckets: buckets.iter().map(|&text| text.to_owned()).collect(),
        s3_access_key: None,
        s3_secret_key: None,
    }
}

fn caller(access: &Access, authorization: &[&str]) -> Result<Caller> {
    let mut request = Request::builder().uri("/").header("host", "example.com");
    for line in authorization {
        request = request.header("authorization", *line);
    }
    access.identify(&request.body(()).unwrap().into_parts().0)
}

fn access() -> Access {
    Access::new(
        &[
            token("r", "read-secret", Role::Reader, &["logs-*", "shared"]),
            token("w", "write-secret", Role::Writer, &["logs-*"]),
            token("a", "admin-secret", Role::Admin, &["*"]),
        ],
        false,
    )
}

#[test]
fn a_secret_names_its_token_and_nothing_else_does() {
    let access = access();
    for good in [
        "Bearer read-secret",
        "bearer read-secret",
        "BEARER   read-secret ",
    ] {
        assert!(caller(&access, &[good]).is_ok(), "{good}");
    }
    for bad in [
        &[][..],
        &["Bearer"],
        &["Bearer "],
        &["Bearer read-secre"],
        &["Bearer read-secret1"],
        &["Basic read-secret"],
        &["read-secret"],
        &["Bearer read-secret", "Bearer read-secret"],
    ] {
        let problem = caller(&access, bad).unwrap_err();
        assert_eq!(*problem.code(), Code::Unauthorized, "{bad:?}");
    }
}

#[test]
fn role_and_patterns_decide_together() {
    let access = access();
    let may = |secret: &str, role, bucket| {
        caller(&access, &[&format!("Bearer {secret}")])
            .unwrap()
            .may(role, bucket)
            .is_ok()
    };
    assert!(may("read-secret", Role::Reader, "logs-1"));
    assert!(!may("read-secret", Role::Writer, "logs-1"));
    assert!(!may("read-secret", Role::Reader, "users"));
    assert!(may("write-secret", Role::Reader, "logs-1"));
    assert!(may("write-secret", Role::Writer, "logs-1"));
    assert!(!may("write-secret", Role::Admin, "logs-1"));
    assert!(!may("write-secret", Role::Writer, "shared"));
    assert!(may("admin-secret", Role::Admin, "anything"));
}

#[test]
fn secrets_do_not_stand_in_what_is_printed() {
    let text = format!(
        "{:?} {:?}",
        access(),
        token("r", "hush-hush", Role::Reader, &[])
    );
    assert!(
        !text.contains("hush-hush") && !text.contains("admin-secret"),
        "{text}"
    );
}
