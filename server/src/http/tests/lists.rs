use super::*;

async fn filled(count: usize) -> Site {
    let site = Site::new();
    for n in 0..count {
        site.put(&format!("/v1/kv/b/k{n:02}"), format!("v{n}"))
            .await
            .version();
    }
    site
}

fn keys(page: &serde_json::Value) -> Vec<&str> {
    page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["key"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn pages_of_one_scan_read_one_snapshot() {
    let site = filled(5).await;
    let first = site.get("/v1/kv/b?limit=2").await.json();
    assert_eq!(keys(&first), ["k00", "k01"]);
    assert_eq!(first["items"][0]["value_b64"], "djA=");
    assert_eq!(first["items"][0]["size"], 2);
    site.put("/v1/kv/b/k02", "new").await;
    site.put("/v1/kv/b/k021", "new").await;
    let cursor = first["cursor"].as_str().unwrap();
    let second = site
        .get(&format!("/v1/kv/b?limit=9&cursor={cursor}"))
        .await
        .json();
    assert_eq!(keys(&second), ["k02", "k03", "k04"]);
    assert_eq!(second["items"][0]["value_b64"], "djI=");
    assert_eq!(second["version"], first["version"]);
    assert!(second["cursor"].is_null());
    let now = site.get("/v1/kv/b").await.json();
    assert_eq!(keys(&now).len(), 6);
}

#[tokio::test]
async fn a_scan_is_narrowed_turned_and_thinned() {
    let site = filled(12).await;
    let scan = async |query: &str| site.get(&format!("/v1/kv/b?{query}")).await.json();
    assert_eq!(keys(&scan("prefix=k1").await), ["k10", "k11"]);
    assert_eq!(keys(&scan("start=k03&end=k05").await), ["k03", "k04"]);
    assert_eq!(keys(&scan("reverse=true&limit=2").await), ["k11", "k10"]);
    let thin = scan("keys_only=true&limit=1").await;
    assert_eq!(thin["items"][0].get("value_b64"), None);
    assert_eq!(thin["items"][0]["size"], 2);
    assert_eq!(keys(&scan("limit=999999999999999999999").await).len(), 12);
    assert_eq!(keys(&scan("start=z").await).len(), 0);
    let unbounded = scan("prefix=&start=&end=&limit=1").await;
    assert_eq!(keys(&unbounded), ["k00"], "an empty bound is none");
    let cursor = unbounded["cursor"].as_str().unwrap();
    let next = scan(&format!("end=&limit=1&cursor={cursor}")).await;
    assert_eq!(keys(&next), ["k01"]);
}

#[tokio::test]
async fn absurd_parameters_are_refused_by_name() {
    let site = filled(3).await;
    for query in [
        "limit=0",
        "limit=-1",
        "limit=x",
        "limt=1",
        "reverse=maybe",
        "cursor=garbage",
        "cursor=",
        "prefix=%zz",
        "limit=1&limit=2",
    ] {
        site.get(&format!("/v1/kv/b?{query}"))
            .await
            .is_problem(400, "invalid_argument");
    }
    let first = site.get("/v1/kv/b?limit=1").await.json();
    let cursor = first["cursor"].as_str().unwrap();
    let other = site
        .get(&format!("/v1/kv/b?prefix=k0&cursor={cursor}"))
        .await;
    other.is_problem(400, "invalid_argument");
    site.put("/v1/kv/other/k", "v").await;
    let elsewhere = site.get(&format!("/v1/kv/other?cursor={cursor}")).await;
    elsewhere.is_problem(400, "invalid_argument");
    site.get("/v1/kv/nowhere")
        .await
        .is_problem(404, "bucket_not_found");
    site.send("POST", "/v1/kv/b", &[], "")
        .await
        .is_problem(405, "method_not_allowed");
}

#[tokio::test]
async fn a_large_value_is_listed_by_its_size() {
    let site = Site::new();
    site.put("/v1/kv/b/large", vec![7; 64 * 1024 + 1]).await;
    site.put("/v1/kv/b/less", vec![7; 64 * 1024]).await;
    let page = site.get("/v1/kv/b").await.json();
    assert_eq!(page["items"][0]["size"], 64 * 1024 + 1);
    assert_eq!(page["items"][0].get("value_b64"), None);
    assert!(page["items"][1]["value_b64"].is_string());
}

#[tokio::test]
async fn a_page_ends_at_4_mib() {
    let site = Site::new();
    for n in 0..70 {
        site.put(&format!("/v1/kv/b/{n:02}"), vec![7; 64 * 1024])
            .await;
    }
    let first = site.get("/v1/kv/b").await.json();
    let cursor = first["cursor"].as_str().unwrap();
    let second = site.get(&format!("/v1/kv/b?cursor={cursor}")).await.json();
    assert!(second["cursor"].is_null());
    assert_eq!(keys(&first).len() + keys(&second).len(), 70);
}
