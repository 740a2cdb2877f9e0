use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

async fn append(site: &Site, target: &str, body: &'static str) -> (u64, u64) {
    let answer = site.send("POST", target, &[], body).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert_eq!(answer.header("cairn-durability"), "local");
    let reply = answer.json();
    (
        reply["offset"].as_u64().unwrap(),
        reply["next"].as_u64().unwrap(),
    )
}

fn lines(answer: &Answer) -> Vec<serde_json::Value> {
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let text = std::str::from_utf8(&answer.body).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn what_is_appended_to_a_topic_is_read_at_its_offset() {
    let site = Site::new();
    let (first, next) = append(&site, "/v1/log/0/orders%2Fnew", "one").await;
    assert!(first < next);
    site.put("/v1/kv/b/k", "v").await.version();
    let (second, _) = append(&site, "/v1/log/0/orders%2Fnew", "two").await;
    append(&site, "/v1/log/0/other", "three").await;
    let topic = "/v1/log/0?topic=orders%2Fnew";
    let told = lines(&site.get(topic).await);
    let line = |offset: u64, data: &str| {
        serde_json::json!({"offset": offset, "kind": "topic", "topic": "orders/new",
                           "size": 3, "data_b64": data})
    };
    assert_eq!(told, [line(first, "b25l"), line(second, "dHdv")]);
    let on = lines(&site.get(&format!("{topic}&from={}", first + 1)).await);
    assert_eq!(on, told[1..]);
    assert_eq!(
        lines(&site.get(&format!("{topic}&limit=1")).await),
        told[..1]
    );
    let all = lines(&site.get("/v1/log/0").await);
    let kinds: Vec<_> = all
        .iter()
        .map(|line| line["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "internal",
            "topic",
            "bucket_created",
            "put",
            "topic",
            "topic"
        ]
    );
    assert_eq!(
        all[3],
        serde_json::json!({"offset": all[3]["offset"], "kind": "put", "bucket": "b", "key": "k",
                           "key_b64": "aw==", "size": 1, "data_b64": "dg=="})
    );
    assert_eq!(
        lines(&site.get("/v1/log/0?from=99999999").await),
        [] as [serde_json::Value; 0]
    );
    let buckets = site.get("/v1/buckets").await.json();
    assert_eq!(buckets["buckets"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_log_tells_where_it_stands_and_proves_nothing_without_a_committee() {
    let site = Site::new();
    let (_, next) = append(&site, "/v1/log/0/t", "x").await;
    let info = site.get("/v1/log").await.json();
    let partition = &info["partitions"][0];
    assert_eq!(
        (&partition["partition"], &partition["durable"]),
        (&0.into(), &next.into())
    );
    assert!(partition["certified"].is_null() && partition["segments"].is_u64());
    assert_eq!(
        lines(&site.get("/v1/log/0/certificates?from_seq=3").await).len(),
        0
    );
    site.get("/v1/log/0/proof?offset=24")
        .await
        .is_problem(409, "not_certified");
}

#[tokio::test]
async fn what_the_log_routes_do_not_take_is_refused() {
    let site = Site::new();
    for target in [
        "/v1/log/1",
        "/v1/log/x",
        "/v1/log/+0",
        "/v1/log/1/proof",
        "/v1/log/9/certificates",
    ] {
        site.get(target).await.is_problem(404, "not_found");
    }
    for target in [
        "/v1/log/0?limit=0",
        "/v1/log/0?form=1",
        "/v1/log/0?topic=%00",
        "/v1/log/0?from=x",
    ] {
        site.get(target).await.is_problem(400, "invalid_argument");
    }
    let post = async |target: &str, body: Vec<u8>| site.send("POST", target, &[], body).await;
    post("/v1/log/0/a%0Ab", vec![])
        .await
        .is_problem(400, "invalid_argument");
    post("/v1/log/7/t", vec![])
        .await
        .is_problem(404, "not_found");
    post("/v1/log/0/t", vec![0; (8 << 20) + 1])
        .await
        .is_problem(413, "value_too_large");
    post("/v1/log/0/proof", vec![])
        .await
        .is_problem(405, "method_not_allowed");
    site.get("/v1/log/0/t")
        .await
        .is_problem(405, "method_not_allowed");
}

#[tokio::test]
async fn the_log_needs_a_token_that_covers_every_bucket() {
    let tokens = "[[token]]\nname = \"some\"\nsecret = \"some\"\nrole = \"admin\"\nbuckets = [\"a*\", \"*b\"]\n\
                  [[token]]\nname = \"read\"\nsecret = \"read\"\nrole = \"reader\"\n\
                  [[token]]\nname = \"all\"\nsecret = \"all\"\nrole = \"writer\"\nbuckets = [\"x\", \"*\"]\n";
    let site = Site::with(tokens);
    let (some, reader, writer) = (
        site.bearing("some"),
        site.bearing("read"),
        site.bearing("all"),
    );
    for target in [
        "/v1/log",
        "/v1/log/0",
        "/v1/log/0/certificates",
        "/v1/log/0/proof?offset=1",
    ] {
        site.get(target).await.is_problem(401, "unauthorized");
        some.get(target).await.is_problem(403, "forbidden");
        assert!(
            [200, 409].contains(&reader.get(target).await.status),
            "{target}"
        );
    }
    some.send("POST", "/v1/log/0/t", &[], "x")
        .await
        .is_problem(403, "forbidden");
    reader
        .send("POST", "/v1/log/0/t", &[], "x")
        .await
        .is_problem(403, "forbidden");
    append(&writer, "/v1/log/0/t", "x").await;
}

/// A clock that stands still until a test moves it.
#[derive(Default)]
struct StillClock(AtomicU64);

impl cairn_kv::Clock for StillClock {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000 + self.0.load(Ordering::SeqCst)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}

#[tokio::test]
async fn below_what_retention_removed_of_a_topic_a_read_is_gone() {
    let clock = Arc::new(StillClock::default());
    let store = Store::options()
        .topic_retention_ms(60_000)
        .clock(Arc::clone(&clock) as Arc<dyn cairn_kv::Clock>)
        .open_in_memory()
        .unwrap();
    let site = Site::of("", store.clone(), Duration::from_secs(15));
    let (old, _) = append(&site, "/v1/log/0/t", "old").await;
    clock.0.fetch_add(60_000, Ordering::SeqCst);
    let (new, _) = append(&site, "/v1/log/0/t", "new").await;
    while store.step().unwrap() {}
    site.get(&format!("/v1/log/0?topic=t&from={old}"))
        .await
        .is_problem(410, "compacted");
    for target in [
        "/v1/log/0?topic=t".to_owned(),
        "/v1/log/0?topic=t&from=0".to_owned(),
        format!("/v1/log/0?topic=t&from={}", old + 1),
    ] {
        let told = lines(&site.get(&target).await);
        assert_eq!(told.len(), 1, "{target}");
        assert_eq!(told[0]["offset"], new);
    }
    // Of another topic nothing was removed.
    assert!(lines(&site.get("/v1/log/0?topic=u&from=1").await).is_empty());
}
