use super::*;

#[tokio::test]
async fn every_operation_of_the_document_is_answered_and_every_route_is_in_it() {
    let site = Site::new();
    site.put("/v1/kv/b/k", "v").await.version();
    let document = site.get("/openapi.json").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let paths = document["paths"].as_object().unwrap();
    for (path, operations) in paths {
        let mut target = path.replace("{bucket}", "b").replace("{key}", "k");
        target = target.replace("{partition}", "0").replace("{topic}", "t");
        if path.starts_with("/v1/key/") {
            target.push_str("?key_b64=aw");
        }
        for method in ["get", "head", "put", "post", "delete", "patch"] {
            // Only the status: the answer may have no end.
            let answer = site
                .begin(&method.to_uppercase(), &target, &[], "{\"ops\":[]}")
                .await;
            let documented = operations.get(method).is_some();
            let status = answer.status().as_u16();
            assert_eq!(status != 405, documented, "{method} {path}: {status}");
            site.put("/v1/kv/b/k", "v").await.version();
        }
    }
    let source = include_str!("../../http.rs");
    let routes: Vec<&str> = source
        .split(".route(\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert!(routes.len() > 10);
    for route in routes {
        let path = route.replace("{*bucket_and_key}", "{bucket}/{key}");
        assert!(paths.contains_key(&path), "{route} is not in the document");
    }
}
