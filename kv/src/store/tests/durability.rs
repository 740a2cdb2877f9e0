//! Order, visibility, and what a failed log leaves.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use cairn_log::BatchBuffer;

use super::*;
use crate::bucket::name::BucketName;
use crate::record::{Body, Origin, Record};

fn poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

/// A bucket with a durable key "old" in a store that has no threads.
fn with_old_key(bench: &Bench) -> (Store, Bucket) {
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    bucket.put("old", "v").unwrap();
    (store, bucket)
}

#[test]
fn a_local_write_is_invisible_until_it_is_durable() {
    let bench = Bench::new(1);
    let (store, bucket) = with_old_key(&bench);
    let before = bucket.version();
    let commit = bucket.submit(
        Batch::new().put("old", "w").put("new", "w"),
        Durability::Local,
    );
    assert_eq!(
        (value(&bucket, "old").unwrap(), value(&bucket, "new")),
        ("v".into(), None)
    );
    assert_eq!(bucket.version(), before);
    let seen: Vec<_> = bucket
        .scan(Scan::default())
        .unwrap()
        .map(|found| found.unwrap().0)
        .collect();
    assert_eq!(seen, ["old"]);
    let version = commit.unwrap().wait().unwrap().version;
    assert_eq!(
        (
            value(&bucket, "old").unwrap(),
            value(&bucket, "new").unwrap()
        ),
        ("w".into(), "w".into())
    );
    assert_eq!(bucket.version(), version);
    drop(store);
}

#[test]
fn a_buffered_write_is_visible_once_written_and_not_durable_until_it_is_synced() {
    let bench = Bench::new(1);
    let (store, bucket) = with_old_key(&bench);
    let syncs = || store.status().partitions[0].syncs;
    let before = syncs();
    let receipt = bucket
        .write(Batch::new().put("new", "w"), Durability::Buffered)
        .unwrap();
    assert_eq!(receipt.durability, Durability::Buffered);
    assert_eq!(
        (value(&bucket, "new").unwrap(), syncs()),
        ("w".into(), before)
    );
    let status = &store.status().partitions[0];
    assert!(status.durable <= receipt.version.get() && receipt.version.get() < status.visible);
    bench.clock.pass(1_000);
    while store.step().unwrap() {}
    assert!(store.status().partitions[0].durable > receipt.version.get());
}

#[test]
fn a_commit_is_a_future_that_the_stores_steps_complete() {
    let bench = Bench::new(1);
    let (store, bucket) = with_old_key(&bench);
    let mut commit = bucket
        .submit(Batch::new().put("k", "v"), Durability::Local)
        .unwrap();
    assert!(poll(&mut commit).is_none());
    store.step().unwrap();
    let receipt = poll(&mut commit).unwrap().unwrap();
    assert_eq!(bucket.get("k").unwrap().unwrap().version, receipt.version);
    assert_eq!(
        kind(poll(&mut commit).unwrap()),
        ErrorKind::InvalidArgument,
        "taken already"
    );

    drop(
        bucket
            .submit(Batch::new().put("dropped", "v"), Durability::Local)
            .unwrap(),
    );
    store.step().unwrap();
    assert_eq!(
        value(&bucket, "dropped").unwrap(),
        "v",
        "dropping cancels nothing"
    );
}

#[test]
fn a_refusal_waits_until_its_cause_is_durable() {
    let bench = Bench::new(1);
    let (_store, bucket) = with_old_key(&bench);
    let cause = bucket
        .submit(Batch::new().put("k", "v"), Durability::Local)
        .unwrap();
    let cas = || Batch::new().put("k", "w").require("k", Expect::Absent);
    let error = bucket.submit(cas(), Durability::Buffered).unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::VersionMismatch,
        "a buffered caller is told at once"
    );
    let mut refused = bucket.submit(cas(), Durability::Local).unwrap();
    assert!(poll(&mut refused).is_none(), "its cause is not durable");
    let receipt = cause.wait().unwrap();
    let error = poll(&mut refused).unwrap().unwrap_err();
    assert_eq!(error.conflict().unwrap().version, receipt.version);
    let at_once = bucket.submit(cas(), Durability::Local).unwrap_err();
    assert_eq!(at_once.kind(), ErrorKind::VersionMismatch, "now it is");
}

#[test]
fn a_refusal_leads_a_sync_if_nobody_else_does() {
    let bench = Bench::new(1);
    let (store, bucket) = with_old_key(&bench);
    bucket
        .write(Batch::new().put("k", "v"), Durability::Buffered)
        .unwrap();
    let cas = Batch::new().put("k", "w").require("k", Expect::Absent);
    assert_eq!(
        kind(bucket.write(cas, Durability::Local)),
        ErrorKind::VersionMismatch
    );
    let status = &store.status().partitions[0];
    assert_eq!(status.durable, status.end);
}

#[test]
fn deleting_an_absent_key_waits_until_its_absence_is_durable() {
    let bench = Bench::new(1);
    let (store, bucket) = with_old_key(&bench);
    let delete = bucket
        .submit(Batch::new().delete("old"), Durability::Buffered)
        .unwrap();
    let delete = delete.wait().unwrap();
    let mut again = bucket.submit_delete(b"old", Durability::Local).unwrap();
    assert!(poll(&mut again).is_none());
    store.step().unwrap();
    let receipt = poll(&mut again).unwrap().unwrap();
    assert_eq!((receipt.version, receipt.existed), (delete.version, false));
    let status = &store.status().partitions[0];
    assert_eq!(status.durable, status.end);
    let syncs = status.syncs;
    assert!(!bucket.delete("never was").unwrap().existed);
    assert_eq!(
        store.status().partitions[0].syncs,
        syncs,
        "that rests on nothing"
    );
}

#[test]
fn a_failed_sync_leaves_unknown_outcomes_then_poison_and_durable_reads() {
    let bench = Bench::new(1);
    let (store, bucket) = with_old_key(&bench);
    bucket
        .write(
            Batch::new().put("buffered", "x").put("old", "x"),
            Durability::Buffered,
        )
        .unwrap();
    assert_eq!(value(&bucket, "buffered").unwrap(), "x");
    let mut scan = bucket.scan(Scan::default()).unwrap();
    assert_eq!(scan.next().unwrap().unwrap().0, "buffered");
    let refused = Batch::new()
        .put("old", "y")
        .require("buffered", Expect::Absent);
    let refused = bucket.submit(refused, Durability::Local).unwrap();

    bench.fail_next_sync();
    let lost = bucket
        .submit(Batch::new().put("old", "z"), Durability::Local)
        .unwrap();
    assert_eq!(kind(lost.wait()), ErrorKind::OutcomeUnknown);
    assert_eq!(
        kind(refused.wait()),
        ErrorKind::Poisoned,
        "the cause of the refusal is lost"
    );

    assert_eq!(
        value(&bucket, "old").unwrap(),
        "v",
        "the newest durable version"
    );
    assert_eq!(value(&bucket, "buffered"), None);
    let info = bucket.info().unwrap();
    assert_eq!((info.keys, info.bytes), (1, 4));
    let seen: Vec<_> = bucket
        .scan(Scan::default())
        .unwrap()
        .map(|found| found.unwrap().0)
        .collect();
    assert_eq!(seen, ["old"]);
    assert_eq!(
        kind(scan.next().unwrap()),
        ErrorKind::Poisoned,
        "what it shows may be lost"
    );
    assert!(scan.next().is_none());
    for batch in [
        Batch::new().put("k", ""),
        Batch::new().delete("none"),
        Batch::new().put("k", "").require("old", Expect::Absent),
    ] {
        for durability in [Durability::Local, Durability::Buffered] {
            assert_eq!(
                kind(bucket.write(batch.clone(), durability)),
                ErrorKind::Poisoned
            );
        }
    }
    assert_eq!(kind(store.bucket("new")), ErrorKind::Poisoned);
    assert_eq!(kind(store.remove_bucket("b", true)), ErrorKind::Poisoned);
    assert!(store.status().partitions[0].poisoned);
    assert!(store.close().is_err());
    drop((store, bucket, scan));

    let store = bench.open();
    assert!(!store.status().partitions[0].poisoned);
    let bucket = store.open_bucket("b").unwrap();
    bucket.put("old", "after").unwrap();
    assert_eq!(value(&bucket, "old").unwrap(), "after");
}

#[test]
fn a_bucket_whose_creation_or_removal_is_lost_is_neither_there_nor_gone() {
    let bench = Bench::new(1);
    let (store, bucket) = with_old_key(&bench);
    bench.fail_next_sync();
    assert_eq!(kind(store.bucket("new")), ErrorKind::OutcomeUnknown);
    assert_eq!(kind(store.open_bucket("new")), ErrorKind::Poisoned);
    let names: Vec<_> = store
        .buckets()
        .unwrap()
        .into_iter()
        .map(|info| info.name)
        .collect();
    assert_eq!(names, ["b"]);
    drop((store, bucket));

    let bench = Bench::new(2);
    let (store, bucket) = with_old_key(&bench);
    bench.fail_next_sync();
    assert_eq!(
        kind(store.remove_bucket("b", true)),
        ErrorKind::OutcomeUnknown
    );
    assert_eq!(kind(store.open_bucket("b")), ErrorKind::Poisoned);
    assert_eq!(
        value(&bucket, "old").unwrap(),
        "v",
        "the removal is not durable"
    );
    assert_eq!(store.buckets().unwrap().len(), 1);
}

#[test]
fn a_closed_store_refuses_writes_and_still_reads() {
    let bench = Bench::new(1);
    let (store, bucket) = with_old_key(&bench);
    store.close().unwrap();
    store.close().unwrap();
    assert_eq!(kind(bucket.put("k", "v")), ErrorKind::Poisoned);
    assert_eq!(value(&bucket, "old").unwrap(), "v");
}

#[test]
fn the_bucket_decides_the_durability_of_writes_that_name_none() {
    let bench = Bench::new(1);
    let store = bench.open();
    let options = BucketOptions {
        durability: Durability::Buffered,
        ..Default::default()
    };
    let (bucket, _) = store.create_bucket("b", options).unwrap();
    let syncs = store.status().partitions[0].syncs;
    bucket.put("k", "v").unwrap();
    bucket.delete("k").unwrap();
    bucket.delete("k").unwrap();
    assert_eq!(store.status().partitions[0].syncs, syncs);
    bucket
        .write(Batch::new().put("k", "v"), Durability::Local)
        .unwrap();
    assert!(store.status().partitions[0].syncs > syncs);
}

#[test]
fn a_second_opener_is_told_that_the_store_is_locked() {
    let bench = Bench::new(1);
    let store = bench.open();
    assert_eq!(kind(bench.try_open()), ErrorKind::Locked);
    drop(store);
    assert!(bench.try_open().is_ok());
}

#[test]
fn a_large_segment_is_replayed_as_it_was_written() {
    let mut bench = Bench::new(1);
    bench.options = bench.options.segment_bytes(16 << 20);
    let store = bench.open();
    let buckets = ["a", "b", "c"].map(|name| store.bucket(name).unwrap());
    let mut random = crate::testing::Random(11);
    for number in 0..3_000_u32 {
        let bucket = &buckets[random.below(3)];
        let batch = (0..8).fold(Batch::new(), |batch, nth| {
            // Keys come again, in this batch never.
            let key = format!("{:05}/{nth}", random.below(1_500));
            match random.below(5) {
                0 => batch.delete(key),
                1 => batch.put(key, [b'v'; 2_000]),
                _ => batch.put(key, format!("value {number}")),
            }
        });
        bucket.write(batch, Durability::Buffered).unwrap();
    }
    let told = |store: &Store| {
        let infos: Vec<_> = store.buckets().unwrap();
        let counts = infos.iter().map(|info| (info.keys, info.bytes));
        (store.state_digest().unwrap(), counts.collect::<Vec<_>>())
    };
    store.sync().unwrap();
    let before = told(&store);
    drop((store, buckets));
    let store = bench.open();
    let index = store.status().partitions[0].index.clone();
    assert_eq!((index.runs, index.merges), (0, 0), "all is replayed");
    assert_eq!(told(&store), before);
    store.verify().unwrap();
}

#[test]
fn what_a_large_segment_cannot_enter_refuses_to_open() {
    let mut bench = Bench::new(1);
    bench.options = bench.options.segment_bytes(16 << 20);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    for number in 0..40_u32 {
        bucket.put(number.to_be_bytes(), vec![1; 50_000]).unwrap();
    }
    let id = store.0.existing(&BucketName::new("b").unwrap()).unwrap().id;
    // Each of the two is sound, so only who enters them finds what is wrong.
    let mut batch = BatchBuffer::new();
    for _ in 0..2 {
        let record = Record {
            origin: Origin::Here {
                place: batch.next_place(),
            },
            bucket: id,
            body: Body::Delete {
                key: b"twice",
                expired: false,
            },
        };
        batch.record(|bytes| record.encode(bytes));
    }
    let log = &store.0.log.partitions()[0];
    let appended = log.try_append(&batch, START_MS, cairn_log::Durability::Local);
    appended.unwrap().unwrap().commit.wait().unwrap();
    let bytes = store.status().partitions[0].bytes;
    assert!(bytes > 1 << 20, "another thread enters what is read");
    drop((store, bucket));
    let error = bench.try_open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error.message().contains("its batch has written already"),
        "{error}"
    );
}

#[test]
fn a_bucket_is_as_new_after_a_replay_as_its_newest_batch_whatever_was_moved_behind_it() {
    let mut bench = Bench::new(1);
    let options = bench.options.clone().merge_entries(1).history_bytes_min(0);
    bench.options = options.segment_bytes(16 << 10);
    let mut store = bench.open();
    let mut bucket = store.bucket("b").unwrap();
    let written = |store: &Store| {
        let state = store.0.existing(&BucketName::new("b").unwrap());
        state.unwrap().written()
    };
    let moved_bytes = |store: &Store| store.status().partitions[0].index.moved_bytes;
    let mut moves = 0;
    for round in 0..20_u32 {
        for number in 0..20_u32 {
            // Some keys are old, and are moved again and again.
            if number >= 6 || round == 0 {
                bucket.put(number.to_be_bytes(), vec![1; 900]).unwrap();
            }
            let moved = moved_bytes(&store);
            while store.step().unwrap() {}
            let has_moved = moved_bytes(&store) > moved;
            if has_moved || number % 5 == 0 {
                let before = written(&store);
                // A close leaves the segment as it is: new records, then old ones, then new ones.
                drop((store, bucket));
                store = bench.open();
                bucket = store.open_bucket("b").unwrap();
                assert_eq!(written(&store), before, "round {round}, {number}");
                moves += usize::from(has_moved);
            }
        }
    }
    assert!(moves > 5, "{moves}");
}
