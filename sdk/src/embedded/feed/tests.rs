use std::task::Waker;

use cairn_kv::{Batch, Durability, Store};

use crate::client::Cairn;
use crate::embedded::Embedded;
use crate::watch::WatchRequest;

use super::*;

fn cairn(bridge: Bridge) -> (Store, Embedded) {
    let store = Store::memory();
    (store.clone(), Embedded::new(store, bridge, true))
}

#[tokio::test]
async fn a_watch_yields_whole_batches_and_ends_with_its_bucket() {
    let (store, embedded) = cairn(Bridge::default());
    let bucket = store.bucket("b").unwrap();
    let cairn = Cairn::embedded(embedded);
    let mut watch = cairn.bucket("b").watch().prefix("a").await.unwrap();
    let begun = watch.version();
    let large = vec![7; INLINE_VALUE_BYTES_MAX + 1];
    let batch = Batch::new().put("a1", "v").put("b", "v").put("a2", &large);
    let first = bucket
        .write(batch, Durability::Local)
        .unwrap()
        .version
        .get();
    let second = bucket.delete("a1").unwrap().version.get();
    let batch = watch.next().await.unwrap().unwrap();
    let value = Some(Bytes::from_static(b"v"));
    let event = |key: &'static str, change| WatchEvent {
        key: key.into(),
        change,
    };
    let expected = [
        event("a1", WatchChange::Put { size: 1, value }),
        event(
            "a2",
            WatchChange::Put {
                size: large.len() as u64,
                value: None,
            },
        ),
    ];
    assert_eq!((batch.version, &batch.events[..]), (first, &expected[..]));
    assert_eq!(watch.version(), first);
    let batch = watch.next().await.unwrap().unwrap();
    assert_eq!(batch.version, second);
    // Written elsewhere, it moves on.
    let elsewhere = bucket.put("elsewhere", "v").unwrap().get();
    let pending = tokio::time::timeout(Duration::from_millis(200), watch.next());
    assert!(pending.await.is_err());
    assert_eq!(watch.version(), elsewhere);
    let mut resumed = cairn.bucket("b").watch().from(begun).await.unwrap();
    assert_eq!(resumed.next().await.unwrap().unwrap().events.len(), 3);
    cairn.remove_bucket("b", true).await.unwrap();
    let error = watch.next().await.unwrap().unwrap_err();
    assert_eq!(*error.code(), crate::Code::BucketNotFound);
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn a_watch_that_is_refused_says_why() {
    let (store, embedded) = cairn(Bridge::default());
    let watch = |bucket: &str, from| {
        let prefix = Bytes::new();
        let (embedded, bucket) = (embedded.clone(), bucket.to_owned());
        async move { embedded.watch(&bucket, WatchRequest { prefix, from }).await }
    };
    let missing = watch("b", None).await.unwrap_err();
    assert_eq!(*missing.code(), crate::Code::BucketNotFound);
    let newest = store.bucket("b").unwrap().put("k", "v").unwrap().get();
    let above = watch("b", Some(newest + 1)).await.unwrap_err();
    assert_eq!(*above.code(), crate::Code::Compacted);
}

#[tokio::test]
async fn a_full_pool_delays_a_watch_and_does_not_end_it() {
    let bridge = Bridge::new(1, 0);
    let (store, embedded) = cairn(bridge.clone());
    let bucket = store.bucket("b").unwrap();
    let mut feed = embedded.watch("b", WatchRequest::default()).await.unwrap();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let busy = tokio::spawn(async move { bridge.run(move || held.recv().ok()).await });
    tokio::task::yield_now().await;
    bucket.put("k", "v").unwrap();
    let mut context = Context::from_waker(Waker::noop());
    assert!(feed.poll_batches(&mut context).is_pending());
    tokio::time::sleep(PAUSE / 2).await;
    assert!(feed.poll_batches(&mut context).is_pending());
    drop(release);
    busy.await.unwrap().unwrap();
    let batches = std::future::poll_fn(|context| feed.poll_batches(context)).await;
    assert_eq!(batches.unwrap().len(), 1);
}
