use super::*;

#[tokio::test]
async fn a_value_comes_back_as_it_was_put() {
    let site = Site::new();
    let put = site
        .send(
            "PUT",
            "/v1/kv/users/alice",
            &[("content-type", "text/plain; charset=utf-8")],
            "hi",
        )
        .await;
    let version = put.version();
    assert_eq!(put.header("etag"), format!("\"{version}\""));
    assert_eq!(put.header("cairn-durability"), "local");
    let got = site.get("/v1/kv/users/alice").await;
    assert_eq!((got.status, &got.body[..]), (200, &b"hi"[..]));
    assert_eq!(got.header("etag"), put.header("etag"));
    assert_eq!(got.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(got.header("content-length"), "2");
    assert_eq!(got.header("accept-ranges"), "bytes");
    let head = site.send("HEAD", "/v1/kv/users/alice", &[], "").await;
    assert_eq!(
        (head.status, head.header("etag")),
        (200, put.header("etag"))
    );
    assert_eq!(head.header("content-length"), "2");
    site.put("/v1/kv/users/plain", "").await.version();
    let plain = site.get("/v1/kv/users/plain").await;
    assert_eq!(plain.header("content-type"), "application/octet-stream");
    assert_eq!(plain.header("content-length"), "0");
    site.get("/v1/kv/users/nobody")
        .await
        .is_problem(404, "key_not_found");
    site.get("/v1/kv/nowhere/nobody")
        .await
        .is_problem(404, "bucket_not_found");
}

#[tokio::test]
async fn keys_are_kept_to_the_byte_in_every_spelling() {
    let site = Site::new();
    for (target, b64) in [
        ("/v1/kv/b/a+b", "YSti"),
        ("/v1/kv/b/a%2Fb", "YS9i"),
        ("/v1/kv/b//", "Lw"),
        ("/v1/kv/b//a//", "L2EvLw"),
        ("/v1/kv/b/.", "Lg"),
        ("/v1/kv/b/x/../y", "eC8uLi95"),
        ("/v1/kv/b/%00%ff", "AP8"),
    ] {
        let version = site.put(target, target).await.version();
        let got = site.get(&format!("/v1/key/b?key_b64={b64}")).await;
        assert_eq!(
            (got.status, &got.body[..]),
            (200, target.as_bytes()),
            "{target}"
        );
        assert_eq!(got.header("etag"), format!("\"{version}\""));
    }
    let listed = site.get("/v1/kv/b").await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 7);
    assert_eq!(
        site.get("/v1/kv/b/a%2Fb").await.body,
        site.get("/v1/kv/b/a/b").await.body
    );
    site.put("/v1/kv/b/", "x")
        .await
        .is_problem(400, "invalid_argument");
    site.put("/v1/kv/b/%zz", "x")
        .await
        .is_problem(400, "invalid_argument");
    site.put("/v1/key/b", "x")
        .await
        .is_problem(400, "invalid_argument");
    let long = format!("/v1/kv/b/{}", "k".repeat(4097));
    site.put(&long, "x").await.is_problem(400, "key_too_large");
    site.put(&long[..long.len() - 1], "x").await.version();
    for bad in ["/v1/kv/B/k", "/v1/kv/-b/k", "/v1/kv//k"] {
        site.put(bad, "x").await.is_problem(400, "invalid_argument");
    }
}

#[tokio::test]
async fn conditions_decide_a_write() {
    let site = Site::new();
    let key = "/v1/kv/b/k";
    let put = async |headers: &[(&str, &str)]| site.send("PUT", key, headers, "v").await;
    let absent = put(&[("if-match", "*")]).await;
    absent.is_problem(412, "version_mismatch");
    assert_eq!(absent.json()["version"], 0);
    let first = put(&[("if-none-match", "*")]).await.version();
    let again = put(&[("if-none-match", "*")]).await;
    again.is_problem(412, "version_mismatch");
    assert_eq!(again.json()["version"], first);
    assert_eq!(again.json().get("key"), None);
    let etag = format!("\"{first}\"");
    put(&[("if-match", "\"1\"")])
        .await
        .is_problem(412, "version_mismatch");
    put(&[("if-match", &format!("W/{etag}"))])
        .await
        .is_problem(412, "version_mismatch");
    let second = put(&[("if-match", &format!("\"1\", {etag}"))])
        .await
        .version();
    assert!(second > first);
    put(&[("if-none-match", &format!("\"{second}\""))])
        .await
        .is_problem(412, "version_mismatch");
    let both = [("if-match", "*"), ("if-none-match", &*etag)];
    let third = put(&both).await.version();
    put(&[("if-match", "nonsense")])
        .await
        .is_problem(400, "invalid_argument");
    assert_eq!(site.get(key).await.header("etag"), format!("\"{third}\""));
}

#[tokio::test]
async fn a_read_is_conditional_and_ranged() {
    let site = Site::new();
    let key = "/v1/kv/b/k";
    let version = site.put(key, "0123456789").await.version();
    let etag = format!("\"{version}\"");
    let get = async |headers: &[(&str, &str)]| site.send("GET", key, headers, "").await;
    let same = get(&[("if-none-match", &etag)]).await;
    assert_eq!(
        (same.status, same.body.len(), same.header("etag")),
        (304, 0, &*etag)
    );
    assert_eq!(get(&[("if-none-match", "\"1\"")]).await.status, 200);
    get(&[("if-match", "\"1\"")])
        .await
        .is_problem(412, "version_mismatch");
    let part = get(&[("range", "bytes=2-4")]).await;
    assert_eq!((part.status, &part.body[..]), (206, &b"234"[..]));
    assert_eq!(part.header("content-range"), "bytes 2-4/10");
    assert_eq!(part.header("content-length"), "3");
    assert_eq!(&get(&[("range", "bytes=-3")]).await.body[..], b"789");
    assert_eq!(&get(&[("range", "bytes=8-")]).await.body[..], b"89");
    let beyond = get(&[("range", "bytes=10-")]).await;
    beyond.is_problem(416, "range_not_satisfiable");
    assert_eq!(beyond.header("content-range"), "bytes */10");
    assert_eq!(get(&[("range", "bytes=0-1,3-4")]).await.status, 200);
    let stale = get(&[("range", "bytes=0-1"), ("if-range", "\"1\"")]).await;
    assert_eq!((stale.status, stale.body.len()), (200, 10));
    let head = site.send("HEAD", key, &[("range", "bytes=0-1")], "").await;
    assert_eq!((head.status, head.header("content-length")), (200, "10"));
}

#[tokio::test]
async fn a_delete_tells_whether_there_was_something() {
    let site = Site::new();
    let key = "/v1/kv/b/k";
    let put = site.put(key, "v").await.version();
    let mismatch = site.send("DELETE", key, &[("if-match", "\"1\"")], "").await;
    mismatch.is_problem(412, "version_mismatch");
    let deleted = site
        .send("DELETE", key, &[("if-match", &format!("\"{put}\""))], "")
        .await;
    assert_eq!(deleted.json()["existed"], true);
    assert!(deleted.version() > put);
    let again = site.send("DELETE", key, &[], "").await;
    assert_eq!(
        (&again.json()["existed"], again.version()),
        (&false.into(), deleted.version())
    );
    site.send("DELETE", key, &[("if-match", "*")], "")
        .await
        .is_problem(412, "version_mismatch");
}

#[tokio::test]
async fn durability_is_asked_for_and_told() {
    let site = Site::new();
    let put = async |level: &str| {
        site.send("PUT", "/v1/kv/b/k", &[("cairn-durability", level)], "v")
            .await
    };
    for level in ["buffered", "local"] {
        assert_eq!(put(level).await.header("cairn-durability"), level);
    }
    put("certified").await.is_problem(409, "not_certified");
    put("paper").await.is_problem(400, "invalid_argument");
}

#[tokio::test]
async fn a_key_expires_and_a_put_without_a_ttl_clears_that() {
    let site = Site::new();
    for (target, code) in [
        ("?ttl_ms=0", 400),
        ("?ttl_ms=99999999999999999", 400),
        ("?ttl=5", 400),
    ] {
        assert_eq!(
            site.put(&format!("/v1/kv/b/k{target}"), "v").await.status,
            code,
            "{target}"
        );
    }
    site.put("/v1/kv/b/k?ttl_ms=30", "v").await.version();
    site.put("/v1/kv/b/kept?ttl_ms=30", "v").await.version();
    site.put("/v1/kv/b/kept", "v").await.version();
    tokio::time::sleep(Duration::from_millis(60)).await;
    site.get("/v1/kv/b/k")
        .await
        .is_problem(404, "key_not_found");
    assert_eq!(site.get("/v1/kv/b/kept").await.status, 200);
}

#[tokio::test]
async fn what_the_store_does_not_do_yet_is_refused_and_not_pretended() {
    let site = Site::new();
    site.put("/v1/kv/b/k", "v").await.version();
    site.get("/v1/snapshots/b")
        .await
        .is_problem(404, "not_found");
}

#[tokio::test]
async fn the_past_is_read_by_a_version_and_told_when_it_is_out_of_reach() {
    let site = Site::new();
    let first = site.put("/v1/kv/b/k", "1").await.version();
    site.put("/v1/kv/b/other", "x").await.version();
    let second = site.put("/v1/kv/b/k", "2").await.version();
    let got = site.get(&format!("/v1/kv/b/k?at={first}")).await;
    assert_eq!((got.status, &got.body[..]), (200, &b"1"[..]));
    assert_eq!(got.header("etag"), format!("\"{first}\""));
    let got = site.get(&format!("/v1/kv/b/k?at={second}")).await;
    assert_eq!(&got.body[..], b"2");
    site.get(&format!("/v1/kv/b/other?at={first}"))
        .await
        .is_problem(404, "key_not_found");
    site.get(&format!("/v1/kv/b/k?at={}", second + 1))
        .await
        .is_problem(410, "compacted");
    let before = site.get("/v1/kv/b/k?at=1").await;
    before.is_problem(404, "bucket_not_found");
    let detail = before.json()["detail"].to_string();
    assert!(detail.contains("version 1"), "{detail}");
    site.get("/v1/kv/b/k?at=0")
        .await
        .is_problem(400, "invalid_argument");
    let page = site.get(&format!("/v1/kv/b?at={first}")).await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    assert_eq!(page["version"], first);
}
