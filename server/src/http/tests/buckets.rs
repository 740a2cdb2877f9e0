use super::*;

#[tokio::test]
async fn a_bucket_is_created_once_with_its_options() {
    let site = Site::new();
    let created = site.put("/v1/buckets/logs", r#"{"history_ms":1000}"#).await;
    assert_eq!(
        (created.status, &created.json()["name"]),
        (201, &"logs".into())
    );
    assert_eq!(
        site.put("/v1/buckets/logs", r#"{"history_ms":1000}"#)
            .await
            .status,
        200
    );
    site.put("/v1/buckets/logs", "")
        .await
        .is_problem(409, "bucket_exists");
    assert_eq!(site.put("/v1/buckets/plain", "").await.status, 201);
    assert_eq!(site.put("/v1/buckets/plain", "{}").await.status, 200);
    for bad in ["{", "[]", r#"{"histroy_ms":1}"#, r#"{"history_ms":-1}"#] {
        site.put("/v1/buckets/bad", bad)
            .await
            .is_problem(400, "invalid_argument");
    }
    let certified = site
        .put("/v1/buckets/bad", r#"{"durability":"certified"}"#)
        .await;
    certified.is_problem(409, "not_certified");
    for bad in ["Upper", "-a", "a.at.b", "a b", "%2e%2e", &"a".repeat(64)] {
        let target = format!("/v1/buckets/{}", bad.replace(' ', "%20"));
        let status = site.put(&target, "").await.status;
        assert!(matches!(status, 400 | 405), "{bad}: {status}");
    }
    let info = site.get("/v1/buckets/logs").await.json();
    assert_eq!(
        (&info["history_ms"], &info["keys"]),
        (&1000.into(), &0.into())
    );
    assert!(info["created_ms"].as_u64().unwrap() > 0 && info["partition"].is_u64());
    let list = site.get("/v1/buckets").await.json();
    let names: Vec<_> = list["buckets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| &b["name"])
        .collect();
    assert_eq!(names, ["logs", "plain"]);
    site.get("/v1/buckets/none")
        .await
        .is_problem(404, "bucket_not_found");
}

#[tokio::test]
async fn a_bucket_with_keys_goes_only_by_force() {
    let site = Site::new();
    site.put("/v1/kv/b/k", "v").await.version();
    site.send("DELETE", "/v1/buckets/b", &[], "")
        .await
        .is_problem(409, "bucket_not_empty");
    let gone = site
        .send("DELETE", "/v1/buckets/b?force=true", &[], "")
        .await;
    assert_eq!((gone.status, gone.body.len()), (204, 0));
    site.get("/v1/kv/b/k")
        .await
        .is_problem(404, "bucket_not_found");
    site.send("DELETE", "/v1/buckets/b", &[], "")
        .await
        .is_problem(404, "bucket_not_found");
}

#[tokio::test]
async fn without_auto_create_a_write_needs_its_bucket() {
    let site = Site::with("auto_create_buckets = false");
    site.put("/v1/kv/b/k", "v")
        .await
        .is_problem(404, "bucket_not_found");
    assert_eq!(site.put("/v1/buckets/b", "").await.status, 201);
    site.put("/v1/kv/b/k", "v").await.version();
}

#[tokio::test]
async fn a_snapshot_takes_no_writes() {
    let site = Site::new();
    for name in ["b@monday", "b.at.monday"] {
        site.put(&format!("/v1/kv/{name}/k"), "v")
            .await
            .is_problem(405, "read_only");
        let delete = site
            .send("DELETE", &format!("/v1/kv/{name}/k"), &[], "")
            .await;
        delete.is_problem(405, "read_only");
        site.put(&format!("/v1/buckets/{name}"), "")
            .await
            .is_problem(405, "read_only");
        let batch = site
            .send("POST", &format!("/v1/batch/{name}"), &[], "{\"ops\":[]}")
            .await;
        batch.is_problem(405, "read_only");
        site.get(&format!("/v1/kv/{name}/k"))
            .await
            .is_problem(404, "bucket_not_found");
    }
}

#[tokio::test]
async fn a_batch_happens_wholly_or_not_at_all() {
    let site = Site::new();
    let post = async |body: &str| site.send("POST", "/v1/batch/b", &[], body.to_owned()).await;
    let all = post(
        r#"{"ops":[{"put":{"key":"a","value":"1"}},{"put":{"key_b64":"/w==","value_b64":"Mg=="}}]}"#,
    )
    .await;
    let version = all.version();
    assert_eq!(all.header("cairn-durability"), "local");
    assert_eq!(
        site.get("/v1/kv/b/a").await.header("etag"),
        format!("\"{version}\"")
    );
    assert_eq!(&site.get("/v1/kv/b/%ff").await.body[..], b"2");
    let refused = post(
        r#"{"if":[{"key":"a","version":1}],"ops":[{"put":{"key":"c","value":"3"}},{"delete":{"key":"a"}}]}"#,
    )
    .await;
    refused.is_problem(412, "version_mismatch");
    let document = refused.json();
    assert_eq!(
        (&document["key"], &document["key_b64"]),
        (&"a".into(), &"YQ==".into())
    );
    assert_eq!(document["version"], version);
    site.get("/v1/kv/b/c")
        .await
        .is_problem(404, "key_not_found");
    for lone in [
        r#"{"if":[{"key":"a","version":1}],"ops":[{"put":{"key":"c","value":"3"}}]}"#,
        r#"{"if":[{"key":"a","version":1}],"ops":[{"delete":{"key":"a"}}]}"#,
        r#"{"if":[{"key":"a","version":1}],"ops":[]}"#,
    ] {
        let refused = post(lone).await;
        refused.is_problem(412, "version_mismatch");
        let document = refused.json();
        assert_eq!(
            (&document["key"], &document["key_b64"]),
            (&"a".into(), &"YQ==".into()),
            "{lone}"
        );
    }
    let done = post(&format!(
        r#"{{"if":[{{"key":"a","version":{version}}},{{"key":"c","version":0}}],"ops":[{{"delete":{{"key":"a"}}}}]}}"#
    ))
    .await;
    assert!(done.version() > version);
    site.get("/v1/kv/b/a")
        .await
        .is_problem(404, "key_not_found");
    for bad in [
        "",
        "{}",
        "[]",
        r#"{"ops":[{"put":{"key":"","value":""}}]}"#,
        r#"{"ops":[{"delete":{"key":"a"}},{"delete":{"key":"a"}}]}"#,
    ] {
        post(bad).await.is_problem(400, "invalid_argument");
    }
    let value = "x".repeat(5 << 20);
    let large = format!(
        r#"{{"ops":[{{"put":{{"key":"a","value":"{value}"}}}},{{"put":{{"key":"b","value":"{value}"}}}}]}}"#
    );
    post(&large).await.is_problem(413, "batch_too_large");
    let many = vec![r#"{"delete":{"key":"a"}}"#; 10_001].join(",");
    post(&format!("{{\"ops\":[{many}]}}"))
        .await
        .is_problem(413, "batch_too_large");
    site.get("/v1/batch/b")
        .await
        .is_problem(405, "method_not_allowed");
}

#[tokio::test]
async fn a_write_that_is_refused_or_changes_nothing_creates_no_bucket() {
    let site = Site::new();
    let (key, batch) = ("/v1/kv/b/k", "/v1/batch/b");
    let if_7 = [("if-match", "\"7\"")];
    let failing = r#"{"if":[{"key":"r","version":7}],"ops":[{"put":{"key":"k","value":"v"}}]}"#;
    for (method, target, headers, body) in [
        ("PUT", key, &if_7[..], "v"),
        ("DELETE", key, &if_7, ""),
        ("POST", batch, &[], failing),
    ] {
        let refused = site.send(method, target, headers, body).await;
        refused.is_problem(412, "version_mismatch");
        assert_eq!(refused.json()["version"], 0, "{method}");
    }
    let delete = r#"{"ops":[{"delete":{"key":"k"}}]}"#;
    for (method, target, body) in [
        ("DELETE", key, ""),
        ("POST", batch, delete),
        ("POST", batch, r#"{"ops":[]}"#),
    ] {
        let done = site.send(method, target, &[], body).await;
        assert!(done.version() > 0, "{method}");
        assert_eq!(done.header("cairn-durability"), "local");
        assert_eq!(done.header("etag"), format!("\"{}\"", done.version()));
        if method == "DELETE" {
            assert_eq!(done.json()["existed"], false);
        }
    }
    let large = vec![7; (8 << 20) + 1];
    for (target, value) in [
        ("/v1/kv/b/k?ttl_ms=0", b"v".to_vec()),
        ("/v1/kv/b/k?ttl_ms=0", large.clone()),
    ] {
        site.put(target, value)
            .await
            .is_problem(400, "invalid_argument");
    }
    let refused = site.send("PUT", key, &if_7, large).await;
    refused.is_problem(412, "version_mismatch");
    let buckets = site.get("/v1/buckets").await.json();
    assert_eq!(buckets["buckets"].as_array().unwrap().len(), 0, "{buckets}");
    let held = [("if-none-match", "*")];
    site.send("PUT", key, &held, "v").await.version();
    assert_eq!(&site.get(key).await.body[..], b"v");
}
