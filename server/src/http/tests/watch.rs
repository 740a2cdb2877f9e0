//! The stream of a watch, byte for byte.

use cairn_kv::{Batch, Bucket, Durability};
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A stream that has begun, and what of its text is not read yet.
struct Stream {
    body: Body,
    text: String,
}

/// A message of a stream: its lines.
type Message = Vec<String>;

impl Stream {
    async fn begin(site: &Site, target: &str, headers: &[(&str, &str)]) -> Stream {
        let response = site.begin("GET", target, headers, "").await;
        assert_eq!(response.status(), 200, "{target}");
        let kind = &response.headers()["content-type"];
        assert_eq!(kind, "text/event-stream");
        Stream {
            body: response.into_body(),
            text: String::new(),
        }
    }

    /// The next message; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let lines = message.lines().map(str::to_owned).collect();
                self.text = rest.to_owned();
                return Some(lines);
            }
            let frame = timeout(PATIENCE, self.body.frame()).await;
            let frame = frame.expect("the stream says something");
            let Some(frame) = frame else {
                assert_eq!(self.text, "", "the stream ends inside a message");
                return None;
            };
            let data = frame.unwrap().into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// The next message, which carries an event: its id, its kind and its data.
    async fn event(&mut self) -> (Option<u64>, String, serde_json::Value) {
        let message = self.next().await.expect("the stream goes on");
        let field = |name: &str| {
            let mut lines = message.iter();
            let line = lines.find_map(|line| line.strip_prefix(name));
            line.map(|line| line.strip_prefix(": ").unwrap().to_owned())
        };
        let id = field("id").map(|id| id.parse().unwrap());
        let data = field("data").unwrap_or_else(|| panic!("{message:?}"));
        let data = serde_json::from_str(&data).unwrap();
        (id, field("event").unwrap(), data)
    }

    /// The next message, which is a position alone.
    async fn position(&mut self) -> u64 {
        let message = self.next().await.expect("the stream goes on");
        match &message[..] {
            [line] => line.strip_prefix("id: ").unwrap().parse().unwrap(),
            _ => panic!("{message:?}"),
        }
    }
}

fn site_with_bucket(keep_alive: Duration) -> (Site, Store, Bucket) {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    (Site::of("", store.clone(), keep_alive), store, bucket)
}

fn batch(keys: std::ops::Range<usize>) -> Batch {
    let add = |batch: Batch, key: usize| batch.put(format!("k{key:05}"), "v");
    keys.fold(Batch::new(), add)
}

#[tokio::test]
async fn the_text_of_a_stream_is_as_the_api_says() {
    let (site, _store, bucket) = site_with_bucket(super::super::watch::KEEP_ALIVE);
    let begun = bucket.version().get();
    let mut stream = Stream::begin(&site, "/v1/watch/b?prefix=k", &[]).await;
    assert_eq!(stream.next().await.unwrap(), [format!("id: {begun}")]);
    let batch = Batch::new()
        .put("k1", "v")
        .put("elsewhere", "v")
        .delete("k2")
        .put(b"k\xff", "");
    let first = bucket.write(batch, Durability::Local).unwrap().version;
    let second = bucket.put("k3", vec![0; 64 * 1024]).unwrap();
    let third = bucket.put("k4", vec![0; 64 * 1024 + 1]).unwrap();
    let expected = [
        vec![
            "event: put".to_owned(),
            format!(
                "data: {{\"key\":\"k1\",\"key_b64\":\"azE=\",\"version\":{first},\"size\":1,\
                 \"value_b64\":\"dg==\",\"more\":true}}"
            ),
        ],
        vec![
            "event: delete".to_owned(),
            format!(
                "data: {{\"key\":\"k2\",\"key_b64\":\"azI=\",\"version\":{first},\"more\":true}}"
            ),
        ],
        vec![
            format!("id: {first}"),
            "event: put".to_owned(),
            format!(
                "data: {{\"key_b64\":\"a/8=\",\"version\":{first},\"size\":0,\"value_b64\":\"\"}}"
            ),
        ],
    ];
    for lines in expected {
        assert_eq!(stream.next().await.unwrap(), lines);
    }
    let (id, _, data) = stream.event().await;
    assert_eq!(id, Some(second.get()));
    assert_eq!(
        data["value_b64"].as_str().unwrap().len(),
        (64 * 1024_usize).div_ceil(3) * 4
    );
    let (id, _, data) = stream.event().await;
    assert_eq!(
        (id, data["size"].as_u64()),
        (Some(third.get()), Some(64 * 1024 + 1))
    );
    assert!(data.get("value_b64").is_none());
}

#[tokio::test]
async fn law_6_a_stream_that_is_cut_anywhere_resumes_with_whole_batches_each_once() {
    let (site, _store, bucket) = site_with_bucket(super::super::watch::KEEP_ALIVE);
    let mut expected = Vec::new();
    for size in [1, 7, 300, 2, 1_500, 1] {
        let written = bucket.write(batch(0..size), Durability::Local).unwrap();
        expected.push((written.version.get(), size));
    }
    // Cut after every number of events, within batches and between them, and come back.
    for cut in [1, 2, 5, 8, 100, 308, 309, 1_000] {
        let mut told: Vec<(u64, usize)> = Vec::new();
        let mut last_id = "0".to_owned();
        while told.len() < expected.len() {
            let headers = [("last-event-id", &*last_id)];
            // The header stands above the query, as a browser that comes back sends both.
            let mut stream = Stream::begin(&site, "/v1/watch/b?from=0", &headers).await;
            assert_eq!(stream.position().await.to_string(), last_id);
            let mut events = 0;
            let before = told.len();
            let mut size = 0;
            // A client that is cut inside the first batch of a connection gets on only if it
            // takes one whole.
            while events < cut || told.len() == before {
                let (id, _, data) = stream.event().await;
                (events, size) = (events + 1, size + 1);
                assert_eq!(
                    data["key"],
                    format!("k{:05}", size - 1),
                    "in order, contiguous"
                );
                assert_eq!(data["more"].as_bool().unwrap_or(false), id.is_none());
                let Some(id) = id else { continue };
                assert_eq!(data["version"], id);
                told.push((id, size));
                (size, last_id) = (0, id.to_string());
                if told.len() == expected.len() {
                    break;
                }
            }
        }
        assert_eq!(told, expected, "cut after {cut}");
    }
}

#[tokio::test]
async fn a_quiet_stream_says_where_it_stands_and_never_inside_a_batch() {
    let (site, store, bucket) = site_with_bucket(Duration::from_millis(20));
    let other = store.bucket("other").unwrap();
    let mut stream = Stream::begin(&site, "/v1/watch/b?prefix=k", &[]).await;
    let begun = stream.position().await;
    assert_eq!(stream.position().await, begun);
    let elsewhere = other.put("k", "v").unwrap().get();
    let mut position = begun;
    while position != elsewhere {
        position = stream.position().await;
        assert!([begun, elsewhere].contains(&position));
    }
    // A stream whose client is slow says nothing in between.
    let size = 2_000;
    let written = bucket.write(batch(0..size), Durability::Local).unwrap();
    let mut events = 0;
    while events < size {
        let message = stream.next().await.unwrap();
        if message[..] == [format!("id: {elsewhere}")] {
            assert_eq!(events, 0);
            continue;
        }
        assert!(message.last().unwrap().starts_with("data: "), "{message:?}");
        events += 1;
        if events % 500 == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert_eq!(stream.position().await, written.version.get());
}

#[tokio::test]
async fn what_a_watch_cannot_begin_with_is_refused_before_the_stream() {
    let (site, _store, bucket) = site_with_bucket(super::super::watch::KEEP_ALIVE);
    let newest = bucket.put("k", "v").unwrap().get();
    let get = async |target: &str| site.get(target).await;
    get("/v1/watch/missing")
        .await
        .is_problem(404, "bucket_not_found");
    get(&format!("/v1/watch/b?from={}", newest + 1))
        .await
        .is_problem(410, "compacted");
    get("/v1/watch/b?from=99999999999999999999999")
        .await
        .is_problem(410, "compacted");
    get("/v1/watch/b?from=x")
        .await
        .is_problem(400, "invalid_argument");
    get("/v1/watch/b?form=1")
        .await
        .is_problem(400, "invalid_argument");
    get("/v1/watch/b@snap")
        .await
        .is_problem(404, "bucket_not_found");
    let answer = site.send("POST", "/v1/watch/b", &[], "").await;
    answer.is_problem(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), "GET");
    for (id, status, code) in [
        ("x", 400, "invalid_argument"),
        ("99999999999999999999", 410, "compacted"),
    ] {
        let headers = [("last-event-id", id)];
        let answer = site.send("GET", "/v1/watch/b?from=0", &headers, "").await;
        answer.is_problem(status, code);
    }
    let _ = Stream::begin(&site, "/v1/watch/b", &[("last-event-id", "")]).await;
}

#[tokio::test]
async fn a_bucket_that_goes_ends_the_stream_with_its_reason() {
    let (site, store, bucket) = site_with_bucket(super::super::watch::KEEP_ALIVE);
    let mut stream = Stream::begin(&site, "/v1/watch/b", &[]).await;
    stream.position().await;
    bucket.put("k", "v").unwrap();
    store.remove_bucket("b", true).unwrap();
    assert_eq!(stream.event().await.1, "put");
    let (id, kind, data) = stream.event().await;
    assert_eq!((id, &*kind), (None, "error"));
    assert_eq!(
        (&data["code"], &data["status"]),
        (&"bucket_not_found".into(), &404.into())
    );
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn watches_have_a_limit_of_their_own_and_take_no_place_of_a_request() {
    let store = Store::memory();
    store.bucket("b").unwrap();
    let site = Site::of("requests_max = 1", store, super::super::watch::KEEP_ALIVE);
    let mut first = Stream::begin(&site, "/v1/watch/b", &[]).await;
    first.position().await;
    assert_eq!(site.put("/v1/kv/b/k", "v").await.status, 200);
    let all_but_one = u32::try_from(super::super::watch::WATCHES_MAX - 1).unwrap();
    let others = Arc::clone(&site.gate.app.watches);
    let others = others.try_acquire_many_owned(all_but_one).unwrap();
    let refused = site.get("/v1/watch/b").await;
    refused.is_problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(first.event().await.1, "put");
    let metrics = async || String::from_utf8(site.get("/metrics").await.body.to_vec()).unwrap();
    let text = metrics().await;
    assert!(text.contains("cairn_watches 1\n"), "{text}");
    assert!(text.contains("cairn_watch_events_total 1\n"), "{text}");
    drop(first);
    assert!(metrics().await.contains("cairn_watches 0\n"));
    drop(Stream::begin(&site, "/v1/watch/b", &[]).await);
    drop(others);
}

#[tokio::test]
async fn a_shutdown_ends_streams_at_once() {
    let (site, _store, _bucket) = site_with_bucket(super::super::watch::KEEP_ALIVE);
    let mut stream = Stream::begin(&site, "/v1/watch/b", &[]).await;
    stream.position().await;
    let app = Arc::clone(&site.gate.app);
    let ended = tokio::spawn(async move { stream.next().await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    app.shut_down();
    assert_eq!(
        timeout(Duration::from_secs(2), ended)
            .await
            .unwrap()
            .unwrap(),
        None
    );
}
