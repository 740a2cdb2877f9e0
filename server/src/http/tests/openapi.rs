use super::*;

async fn document() -> serde_json::Value {
    Site::new().get("/openapi.json").await.json()
}

/// The parameters of an operation.
fn parameters(operation: &serde_json::Value) -> Vec<&str> {
    let list = operation["parameters"].as_array().unwrap();
    list.iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn each_method_of_a_key_by_parameter_takes_and_answers_what_it_does_by_path() {
    let document = document().await;
    let by_path = &document["paths"]["/v1/kv/{bucket}/{key}"];
    let by_parameter = &document["paths"]["/v1/key/{bucket}"];
    for method in ["get", "head", "put", "delete"] {
        let (one, other) = (&by_path[method], &by_parameter[method]);
        let same: Vec<_> = parameters(one)
            .into_iter()
            .map(|name| if name == "key" { "key_b64" } else { name })
            .collect();
        assert_eq!(parameters(other), same, "{method}");
        assert_eq!(one["responses"], other["responses"], "{method}");
        assert_eq!(one["requestBody"], other["requestBody"], "{method}");
        let has = |name| parameters(other).contains(&name);
        assert_eq!(has("ttl_ms"), method == "put");
        assert_eq!(has("at"), matches!(method, "get" | "head"));
        assert!(has("If-Match") && has("key_b64") && !has("key"), "{method}");
        assert!(other["responses"].get("412").is_some(), "{method}");
    }
}

#[tokio::test]
async fn every_operation_has_a_name_of_its_own_and_says_how_it_is_refused() {
    let document = document().await;
    assert_eq!(
        document["security"],
        serde_json::json!([{ "token": [] }, {}]),
        "a client sends the token that it has"
    );
    let known = &document["components"]["responses"];
    let mut names = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let open = ["/healthz", "/readyz", "/openapi.json"].contains(&&**path);
        for (method, operation) in item.as_object().unwrap() {
            let Some(name) = operation.get("operationId") else {
                continue;
            };
            assert!(
                names.insert(name.as_str().unwrap()),
                "{method} {path}: {name} twice"
            );
            let answers = operation["responses"].as_object().unwrap();
            let refused = ["401", "403"]
                .iter()
                .all(|status| answers.contains_key(*status));
            assert_eq!(refused, !open, "{method} {path}");
            assert!(answers.contains_key("400"), "{method} {path}");
            let busy = path.starts_with("/v1/") && path != "/v1/status";
            assert!(answers.contains_key("503") || !busy, "{method} {path}");
            for answer in answers.values() {
                if let Some(place) = answer.get("$ref") {
                    let name = place.as_str().unwrap().rsplit('/').next().unwrap();
                    assert!(known.get(name).is_some(), "{place}");
                }
            }
        }
    }
    assert!(names.len() > 20);
}

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
