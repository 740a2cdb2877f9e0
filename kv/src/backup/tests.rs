use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cairn_log::vfs::simulated::SimulatedDisk;
use cairn_log::vfs::{MemoryDisk, Vfs};

use crate::*;

fn options() -> Options {
    Store::options()
        .partitions(2)
        .segment_bytes(64 << 10)
        .merge_entries(50)
        .history_bytes_min(0)
}

fn open(disk: &Arc<dyn Vfs>, path: &str, threads: bool) -> Store {
    let options = options().threads(threads);
    options.open_on(Arc::clone(disk), path).unwrap()
}

fn without_history() -> BucketOptions {
    BucketOptions {
        history_ms: Some(0),
        ..BucketOptions::default()
    }
}

fn step(store: &Store) {
    while store.step().unwrap() {}
}

/// Overwrites the same keys until segments of each partition have been dropped.
fn overwrite_until_dropped(store: &Store, buckets: &[Bucket], fill: u8) {
    let starts: Vec<u64> = starts(store);
    for round in 0..40_u8 {
        for bucket in buckets {
            for key in 0..8_u8 {
                let value = vec![fill.wrapping_add(round); 4_000];
                bucket.put([key], value).unwrap();
            }
        }
        step(store);
    }
    let dropped = starts.iter().zip(self::starts(store));
    for (before, after) in dropped {
        assert!(*before < after, "garbage collection has dropped segments");
    }
}

fn starts(store: &Store) -> Vec<u64> {
    let partitions = store.status().partitions;
    partitions.iter().map(|partition| partition.start).collect()
}

#[test]
fn a_backup_has_the_digest_of_its_moment_and_keeps_it() {
    let disk: Arc<dyn Vfs> = Arc::new(SimulatedDisk::new(1));
    let store = open(&disk, "/store", false);
    let buckets = ["one", "two"].map(|name| {
        let (bucket, _) = store.create_bucket(name, without_history()).unwrap();
        bucket
    });
    overwrite_until_dropped(&store, &buckets, 0);
    let appended = store.append(1, "topic", b"record").unwrap();
    let held = PutOptions::default();
    let mut upload = buckets[0].upload("large", held).unwrap();
    (0..40).for_each(|part| upload.write(&vec![part; 60_000]).unwrap());
    upload
        .finish(&[], Durability::Local)
        .unwrap()
        .wait()
        .unwrap();
    let batch = Batch::new().put("buffered", "1");
    buckets[1].write(batch, Durability::Buffered).unwrap();
    let digest = store.state_digest().unwrap();
    store.backup("/copy").unwrap();
    // What the original writes and drops from here on is none of the copy's.
    overwrite_until_dropped(&store, &buckets, 100);
    assert_ne!(store.state_digest().unwrap(), digest);

    let copy = open(&disk, "/copy", false);
    assert_eq!(copy.state_digest().unwrap(), digest);
    let verified = copy.verify().unwrap();
    assert!(verified.damaged.is_empty(), "{verified:?}");
    let scan = LogScan {
        from: 0,
        limit: 10,
        topic: Some("topic".into()),
    };
    let records = copy.read_log(1, &scan).unwrap();
    assert_eq!((records.len(), records[0].offset), (1, appended.offset));
    // It takes writes, and is found again after a close.
    let bucket = copy.bucket("one").unwrap();
    bucket.put("later", "1").unwrap();
    let later = copy.state_digest().unwrap();
    copy.close().unwrap();
    drop((bucket, copy));
    let copy = open(&disk, "/copy", false);
    assert_eq!(copy.state_digest().unwrap(), later);
}

#[test]
fn a_backup_goes_into_no_directory_that_holds_something() {
    let disk: Arc<dyn Vfs> = Arc::new(MemoryDisk::default());
    let store = open(&disk, "/store", false);
    store.bucket("b").unwrap().put("k", "v").unwrap();
    for taken in ["/store", "/taken"] {
        disk.create_directory(taken.as_ref()).unwrap();
        if taken == "/taken" {
            disk.create("/taken/file".as_ref()).unwrap();
        }
        let refused = store.backup(taken).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        assert!(refused.message().contains("not empty"), "{refused}");
    }
    disk.create_directory("/empty".as_ref()).unwrap();
    store.backup("/empty").unwrap();
    let refused = store.backup("/empty").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_stopped_store_is_backed_up_as_far_as_it_is_durable() {
    let simulated = Arc::new(SimulatedDisk::new(1));
    let disk: Arc<dyn Vfs> = simulated.clone();
    let store = open(&disk, "/store", false);
    let bucket = store.bucket("b").unwrap();
    bucket.put("durable", "1").unwrap();
    let digest = store.state_digest().unwrap();
    simulated.fail_sync(simulated.counts().syncs + 1);
    bucket.put("lost", "1").unwrap_err();
    store.backup("/copy").unwrap();
    let copy = open(&disk, "/copy", false);
    assert_eq!(copy.state_digest().unwrap(), digest);
}

/// Raises two keys in every batch, and says how far it has come.
fn raise(bucket: &Bucket, raised: &AtomicU64, stop: &AtomicBool) {
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let mut value = number.to_be_bytes().to_vec();
        value.resize(2_000, 7);
        let batch = Batch::new().put("one", &value).put("two", &value);
        bucket.write(batch, Durability::Local).unwrap();
        raised.store(number, Ordering::SeqCst);
    }
}

fn number(bucket: &Bucket, key: &str) -> u64 {
    let entry = bucket.get(key).unwrap().unwrap();
    u64::from_be_bytes(*entry.value.first_chunk().unwrap())
}

#[test]
fn a_backup_under_writers_and_garbage_collection_holds_whole_batches_and_all_acknowledged_ones() {
    let disk: Arc<dyn Vfs> = Arc::new(MemoryDisk::default());
    let store = open(&disk, "/store", true);
    let names = ["a", "b", "c", "d"];
    let writers: Vec<(Bucket, AtomicU64)> = names
        .iter()
        .map(|name| {
            let (bucket, _) = store.create_bucket(name, without_history()).unwrap();
            (bucket, AtomicU64::new(0))
        })
        .collect();
    let stop = AtomicBool::new(false);
    let told = || -> Vec<u64> {
        let raised = writers.iter();
        raised
            .map(|(_, raised)| raised.load(Ordering::SeqCst))
            .collect()
    };
    let mut moments = Vec::new();
    std::thread::scope(|scope| {
        for (bucket, raised) in &writers {
            scope.spawn(|| raise(bucket, raised, &stop));
        }
        for copy in 0..4 {
            // Until garbage collection has dropped something since the last one.
            let before = starts(&store);
            while told().contains(&0) || starts(&store).iter().zip(&before).any(|(a, b)| a <= b) {
                std::thread::yield_now();
            }
            let path = format!("/copy{copy}");
            let acknowledged = told();
            store.backup(&path).unwrap();
            moments.push((path, acknowledged, told()));
        }
        stop.store(true, Ordering::Relaxed);
    });
    for (path, acknowledged, sequenced) in moments {
        let copy = open(&disk, &path, false);
        for (at, name) in names.iter().enumerate() {
            let bucket = copy.open_bucket(name).unwrap();
            let found = number(&bucket, "one");
            assert_eq!(
                number(&bucket, "two"),
                found,
                "a batch is whole or not there"
            );
            let possible = acknowledged[at]..=sequenced[at] + 1;
            assert!(possible.contains(&found), "{found} not in {possible:?}");
        }
        let verified = copy.verify().unwrap();
        assert!(verified.damaged.is_empty(), "{verified:?}");
        let digest = copy.state_digest().unwrap();
        copy.close().unwrap();
        drop(copy);
        let again = open(&disk, &path, false);
        assert_eq!(again.state_digest().unwrap(), digest);
    }
}
