use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::client::LogRequest;

fn memory() -> Embedded {
    Embedded::new(Store::memory(), Bridge::default(), true)
}

fn put(key: &str, value: &str) -> Write {
    Write {
        changes: vec![Change::Put {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
            ttl_ms: None,
            content_type: Some("text/plain".to_owned()),
        }],
        ..Write::default()
    }
}

#[tokio::test]
async fn a_put_comes_back_with_its_version_and_media_type() {
    let store = memory();
    let receipt = store.write("b", put("k", "v")).await.unwrap();
    let entry = store.get("b", b"k").await.unwrap().unwrap();
    assert_eq!(
        (entry.version, &entry.value[..]),
        (receipt.version, &b"v"[..])
    );
    assert_eq!(entry.content_type.as_deref(), Some("text/plain"));
    assert_eq!(store.get("b", b"absent").await.unwrap(), None);
}

#[tokio::test]
async fn a_failed_condition_tells_the_current_version_and_in_a_batch_the_key() {
    let store = memory();
    let version = store.write("b", put("k", "v")).await.unwrap().version;
    let mut write = put("k", "w");
    write
        .conditions
        .push((Bytes::from_static(b"k"), Expect::Absent));
    let of_one_key = Write {
        of_one_key: true,
        ..write.clone()
    };
    let error = store.write("b", of_one_key).await.unwrap_err();
    assert_eq!(*error.code(), Code::VersionMismatch);
    assert_eq!((error.version(), error.key()), (Some(version), None));
    let error = store.write("b", write.clone()).await.unwrap_err();
    assert_eq!(error.key().unwrap(), "k", "a batch of one change");
    write.changes.push(Change::Delete {
        key: Bytes::from_static(b"other"),
    });
    let error = store.write("b", write).await.unwrap_err();
    assert_eq!(error.key().unwrap(), "k");
}

#[tokio::test]
async fn certified_is_refused_without_a_committee() {
    let write = Write {
        durability: Some(Durability::Certified),
        ..put("k", "v")
    };
    let error = memory().write("b", write).await.unwrap_err();
    assert_eq!(*error.code(), Code::NotCertified);
}

#[tokio::test]
async fn a_write_to_a_missing_bucket_creates_it_unless_told_not_to() {
    let strict = Embedded::new(Store::memory(), Bridge::default(), false);
    let error = strict.write("b", put("k", "v")).await.unwrap_err();
    assert_eq!(*error.code(), Code::BucketNotFound);
    assert!(
        strict
            .create_bucket("b", BucketOptions::default())
            .await
            .unwrap()
    );
    assert!(
        !strict
            .create_bucket("b", BucketOptions::default())
            .await
            .unwrap()
    );
    strict.write("b", put("k", "v")).await.unwrap();
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repeat_both_ways() {
    let store = memory();
    for n in 0..10 {
        store.write("b", put(&format!("k{n}"), "v")).await.unwrap();
    }
    for reverse in [false, true] {
        let mut request = ScanRequest {
            limit: Some(3),
            reverse,
            ..ScanRequest::default()
        };
        let mut keys = Vec::new();
        let mut sizes = Vec::new();
        loop {
            let page = store.scan("b", &request).await.unwrap();
            sizes.push(page.items.len());
            keys.extend(page.items.into_iter().map(|item| item.key.unwrap()));
            request.cursor = page.cursor;
            if request.cursor.is_none() {
                break;
            }
        }
        assert_eq!(sizes, [3, 3, 3, 1]);
        if reverse {
            keys.reverse();
        }
        assert_eq!(keys, (0..10).map(|n| format!("k{n}")).collect::<Vec<_>>());
    }
    let exact = ScanRequest {
        limit: Some(10),
        ..ScanRequest::default()
    };
    assert_eq!(
        store.scan("b", &exact).await.unwrap().cursor,
        None,
        "nothing is left"
    );
    let none = ScanRequest {
        limit: Some(0),
        ..ScanRequest::default()
    };
    assert_eq!(
        *store.scan("b", &none).await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn a_page_ends_at_its_byte_bound_and_leaves_large_values_out() {
    let store = memory();
    let value = "v".repeat(INLINE_VALUE_BYTES_MAX);
    for n in 0..70 {
        store
            .write("b", put(&format!("k{n:02}"), &value))
            .await
            .unwrap();
    }
    store
        .write("b", put("large", &"v".repeat(INLINE_VALUE_BYTES_MAX + 1)))
        .await
        .unwrap();
    let page = store.scan("b", &ScanRequest::default()).await.unwrap();
    assert_eq!(page.items.len(), PAGE_BYTES_MAX / INLINE_VALUE_BYTES_MAX);
    assert!(page.cursor.is_some());
    let large = ScanRequest {
        prefix: Some(Bytes::from_static(b"large")),
        ..Default::default()
    };
    let page = store.scan("b", &large).await.unwrap();
    assert_eq!(page.items[0].size, INLINE_VALUE_BYTES_MAX as u64 + 1);
    assert_eq!(page.items[0].value_b64, None);
}

#[tokio::test]
async fn every_page_reads_what_the_first_one_saw() {
    let store = memory();
    for key in ["a", "b", "c", "d"] {
        store.write("b", put(key, "old")).await.unwrap();
    }
    let mut request = ScanRequest {
        limit: Some(2),
        ..ScanRequest::default()
    };
    let first = store.scan("b", &request).await.unwrap();
    request.cursor = first.cursor.clone();
    let delete = Write {
        changes: vec![Change::Delete {
            key: Bytes::from_static(b"c"),
        }],
        ..Write::default()
    };
    store.write("b", delete).await.unwrap();
    store.write("b", put("bb", "new")).await.unwrap();
    store.write("b", put("d", "new")).await.unwrap();
    // Twice: a client that lost the reply asks for the same page again.
    for _ in 0..2 {
        let second = store.scan("b", &request).await.unwrap();
        assert_eq!(second.version, first.version);
        let seen: Vec<_> = second
            .items
            .iter()
            .map(|item| item.key.as_deref().unwrap())
            .collect();
        assert_eq!(seen, ["c", "d"]);
        assert_eq!(second.items[1].value_b64.as_ref().unwrap().0, "old");
        assert_eq!(second.cursor, None);
    }
}

#[tokio::test]
async fn a_cursor_whose_lease_is_gone_goes_on_as_far_as_history_reaches() {
    let store = memory();
    for key in ["a", "b", "c"] {
        store.write("b", put(key, "v")).await.unwrap();
    }
    let mut request = ScanRequest {
        limit: Some(1),
        ..ScanRequest::default()
    };
    request.cursor = store.scan("b", &request).await.unwrap().cursor;
    store.shared.leases.forget_all();
    assert_eq!(
        store.scan("b", &request).await.unwrap().items[0]
            .key
            .as_deref(),
        Some("b")
    );
    store.shared.leases.forget_all();
    store.write("b", put("z", "v")).await.unwrap();
    request.limit = None;
    let rest = store.scan("b", &request).await.unwrap();
    let keys: Vec<_> = rest.items.iter().map(|item| item.key.as_deref()).collect();
    assert_eq!(
        keys,
        [Some("b"), Some("c")],
        "what came later is not of this scan"
    );
    let (above, now) = (rest.version + 1_000, ScanRequest::default());
    let at = ScanRequest {
        at: Some(above),
        ..now
    };
    let error = store.scan("b", &at).await.unwrap_err();
    assert_eq!(*error.code(), Code::Compacted);
}

#[test]
fn the_limits_on_the_wire_are_the_stores() {
    use crate::wire;
    use cairn_kv::limits;
    assert_eq!(wire::KEY_BYTES_MAX, limits::KEY_BYTES_MAX);
    assert_eq!(wire::VALUE_BYTES_MAX, limits::VALUE_RECORD_BYTES_MAX);
    assert_eq!(wire::LARGE_VALUE_BYTES_MAX, limits::VALUE_BYTES_MAX);
    assert_eq!(wire::BATCH_OPS_MAX, limits::BATCH_OPS_MAX);
    assert_eq!(wire::BATCH_BYTES_MAX, limits::BATCH_BYTES_MAX);
}

/// A clock that stands still until a test moves it.
#[derive(Debug, Default)]
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
async fn a_topic_is_compacted_below_what_retention_removed() {
    let clock = Arc::new(StillClock::default());
    let store = Store::options()
        .topic_retention_ms(60_000)
        .clock(Arc::clone(&clock) as Arc<dyn cairn_kv::Clock>)
        .open_in_memory()
        .unwrap();
    let embedded = Embedded::new(store.clone(), Bridge::default(), true);
    let append = async || {
        let appended = embedded.append(0, "t", Bytes::from_static(b"x"), None);
        appended.await.unwrap().0.offset
    };
    let old = append().await;
    clock.0.fetch_add(60_000, Ordering::SeqCst);
    let new = append().await;
    while store.step().unwrap() {}
    let read = async |from, topic: &str| {
        let (limit, topic) = (10, Some(topic.to_owned()));
        let request = LogRequest { from, limit, topic };
        let lines = embedded.read_log(0, request).await?;
        Ok::<_, Error>(lines.iter().map(|line| line.offset).collect::<Vec<_>>())
    };
    assert_eq!(read(0, "t").await.unwrap(), [new]);
    assert_eq!(read(old + 1, "t").await.unwrap(), [new]);
    assert_eq!(read(old, "other").await.unwrap(), [] as [u64; 0]);
    let error = read(old, "t").await.unwrap_err();
    assert_eq!(*error.code(), Code::Compacted);
    assert!(error.to_string().contains("or from 0"), "{error}");
}
