//! Many threads at once: nothing lost, nothing half seen, nothing out of order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::testing::Random;

fn number_of(entry: &Entry) -> u64 {
    u64::from_be_bytes(*entry.value.first_chunk().unwrap())
}

#[test]
fn counters_raised_by_compare_and_set_lose_no_update() {
    for durability in [Durability::Local, Durability::Buffered] {
        let store = Store::memory();
        let bucket = store.bucket("b").unwrap();
        bucket.put("counter", 0_u64.to_be_bytes()).unwrap();
        let (threads, each) = (4, 250);
        let refused = AtomicU64::new(0);
        let mut versions = BTreeMap::new();
        let raise = || {
            let mut written = vec![];
            while written.len() < each {
                let entry = bucket.get("counter").unwrap().unwrap();
                let next = number_of(&entry) + 1;
                // So that others come between, on however few cores.
                std::thread::yield_now();
                let batch = Batch::new()
                    .require("counter", Expect::OneOf(vec![entry.version]))
                    .put("counter", next.to_be_bytes());
                match bucket.write(batch, durability) {
                    Ok(receipt) => written.push((receipt.version, next)),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::VersionMismatch);
                        assert!(error.conflict().unwrap().version > entry.version);
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            written
        };
        std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(raise)).collect();
            for thread in running {
                versions.extend(thread.join().unwrap());
            }
        });
        let numbers: Vec<u64> = versions.into_values().collect();
        let expected: Vec<u64> = (1..=(threads * each) as u64).collect();
        assert_eq!(numbers, expected, "in version order, each number once");
        assert_eq!(
            number_of(&bucket.get("counter").unwrap().unwrap()),
            (threads * each) as u64
        );
        assert!(refused.load(Ordering::Relaxed) > 0);
    }
}

#[test]
fn law_2_a_batch_the_log_shows_is_not_read_before_it_is_entered_whole() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    bucket.put("k", "v").unwrap();
    let keyspace = &store.0.keyspaces[0];
    let before = keyspace.watermark();
    // As if the thread that sequenced this batch were stopped right after it had its place.
    let log = keyspace.log();
    let mut batch = cairn_log::BatchBuffer::new();
    batch.record(|bytes| bytes.extend_from_slice(b"not entered yet"));
    let local = cairn_log::Durability::Local;
    log.try_append(&batch, START_MS, local)
        .unwrap()
        .unwrap()
        .commit
        .wait()
        .unwrap();
    assert!(log.visible().get() > before);
    assert_eq!(keyspace.watermark(), before);
    let (pin, version) = keyspace.pin();
    assert_eq!((pin.watermark, version), (before, bucket.version()));
}

/// Each batch writes its number to all keys of a group, or deletes all of them.
#[test]
fn law_2_readers_never_see_part_of_a_batch() {
    const GROUP: usize = 100;
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    let done = AtomicBool::new(false);
    let (scans, gets, changed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let key = |member: usize| format!("key {member:03}");
    let keys: Vec<_> = (0..GROUP).map(key).collect();
    // On a busy machine a reader may get no turn for a while.
    let has_met_all = || {
        let counts = [&scans, &gets, &changed];
        counts
            .iter()
            .all(|count| count.load(Ordering::Relaxed) > 10)
    };
    let write = |seed: u64| {
        let mut random = Random(seed);
        for number in 0..40_000_u64 {
            if number >= 400 && has_met_all() {
                break;
            }
            let delete = random.below(4) == 0;
            let batch = keys.iter().fold(Batch::new(), |batch, key| {
                if delete {
                    batch.delete(key)
                } else {
                    batch.put(key, number.to_be_bytes())
                }
            });
            let local = random.below(2) == 0;
            let durability = if local {
                Durability::Local
            } else {
                Durability::Buffered
            };
            bucket.write(batch, durability).unwrap();
            std::thread::yield_now();
        }
    };
    let whole = |versions: Vec<Option<Version>>, last: &mut Version| {
        assert_eq!(versions.len(), GROUP, "all or none");
        assert!(
            versions.iter().all(|version| *version == versions[0]),
            "{versions:?}"
        );
        if let Some(version) = versions[0] {
            assert!(version >= *last, "a reader goes back in time");
            changed.fetch_add(u64::from(version > *last), Ordering::Relaxed);
            *last = version;
        }
    };
    std::thread::scope(|scope| {
        let writers = [scope.spawn(|| write(1)), scope.spawn(|| write(2))];
        scope.spawn(|| {
            let mut last = Version::ABSENT;
            while !done.load(Ordering::Relaxed) {
                let entries = bucket.scan(Scan::default()).unwrap();
                let at = entries.version();
                let mut versions: Vec<_> = entries
                    .map(|found| Some(found.unwrap().1.version))
                    .collect();
                assert!(versions.iter().all(|version| *version <= Some(at)));
                if versions.is_empty() {
                    versions = vec![None; GROUP];
                }
                whole(versions, &mut last);
                scans.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            let mut last = Version::ABSENT;
            while !done.load(Ordering::Relaxed) {
                let found = bucket.multi_get(&keys).unwrap();
                let versions = found
                    .iter()
                    .map(|entry| entry.as_ref().map(|entry| entry.version));
                whole(versions.collect(), &mut last);
                gets.fetch_add(1, Ordering::Relaxed);
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(has_met_all(), "{scans:?} {gets:?} {changed:?}");
}

#[test]
fn a_reader_never_goes_back_and_always_sees_what_it_was_told() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    bucket.put("k", 0_u64.to_be_bytes()).unwrap();
    let acknowledged = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = Version::ABSENT;
                while !done.load(Ordering::Relaxed) {
                    let told = acknowledged.load(Ordering::Acquire);
                    let entry = bucket.get("k").unwrap().unwrap();
                    assert!(entry.version >= last && number_of(&entry) >= told);
                    last = entry.version;
                }
            });
        }
        for number in 1..3_000_u64 {
            let local = number % 3 == 0;
            let durability = if local {
                Durability::Local
            } else {
                Durability::Buffered
            };
            let batch = Batch::new().put("k", number.to_be_bytes());
            bucket.write(batch, durability).unwrap();
            acknowledged.store(number, Ordering::Release);
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn keys_that_come_and_go_under_scans_are_never_mixed_up() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2_u64)
            .map(|thread| {
                let bucket = &bucket;
                scope.spawn(move || {
                    let mut random = Random(thread + 5);
                    for _ in 0..6_000 {
                        let key = (random.next() % 300).to_be_bytes();
                        let batch = match random.below(3) {
                            0 => Batch::new().delete(key),
                            _ => Batch::new().put(key, key),
                        };
                        bucket.write(batch, Durability::Buffered).unwrap();
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let found: Vec<_> = bucket
                    .scan(Scan::default())
                    .unwrap()
                    .map(|found| found.unwrap())
                    .collect();
                assert!(found.is_sorted_by(|one, other| one.0 < other.0));
                assert!(found.iter().all(|(key, entry)| *key == entry.value));
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    let info = bucket.info().unwrap();
    assert_eq!(
        bucket.scan(Scan::default()).unwrap().count() as u64,
        info.keys
    );
    assert_eq!(info.bytes, info.keys * 16);
}

#[test]
fn neither_runs_nor_merges_nor_moves_bring_an_older_version_back() {
    let bench = Bench::new(5);
    let options = bench.options.clone().merge_entries(1);
    let options = options.history_bytes_min(0).segment_bytes(16 << 10);
    let bench = Bench { options, ..bench };
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let done = AtomicBool::new(false);
    const KEYS: u32 = 16;
    const WRITERS: u32 = 2;
    std::thread::scope(|scope| {
        let keeper = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                store.step().unwrap();
            }
        });
        let reader = scope.spawn(|| {
            let mut seen = vec![0_u32; (KEYS * WRITERS) as usize];
            while !done.load(Ordering::Relaxed) {
                for row in bucket.scan(Scan::default()).unwrap() {
                    let (key, entry) = row.unwrap();
                    let key = u32::from_be_bytes(*key.first_chunk().unwrap()) as usize;
                    let number = u32::from_be_bytes(*entry.value.first_chunk().unwrap());
                    assert!(
                        number >= seen[key],
                        "key {key}: {number} after {}",
                        seen[key]
                    );
                    seen[key] = number;
                }
            }
        });
        let write = |writer: u32| {
            let mut random = Random(u64::from(writer) + 11);
            let mut newest = vec![None; KEYS as usize];
            for number in 1..6_000_u32 {
                // Most writes go to few keys; the others grow old and are moved.
                let chosen = if random.below(8) == 0 { KEYS } else { 4 };
                let at = u32::try_from(random.below(chosen as usize)).unwrap();
                let key = (at * WRITERS + writer).to_be_bytes();
                let mut value = number.to_be_bytes().to_vec();
                value.resize(300, 0);
                let before = newest[at as usize];
                let condition = match before {
                    None => Expect::Absent,
                    Some((version, _)) => Expect::OneOf(vec![version]),
                };
                let batch = Batch::new().require(key, condition).put(key, &value);
                let receipt = bucket.write(batch, Durability::Buffered).unwrap();
                newest[at as usize] = Some((receipt.version, number));
                let old = u32::try_from(random.below(KEYS as usize)).unwrap();
                if let Some((version, number)) = newest[old as usize] {
                    let key = (old * WRITERS + writer).to_be_bytes();
                    let entry = bucket.get(key).unwrap().unwrap();
                    assert_eq!(entry.version, version);
                    assert_eq!(entry.value[..4], number.to_be_bytes());
                }
            }
        };
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(move || write(writer)))
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        keeper.join().unwrap();
        reader.join().unwrap();
    });
    let dropped = store.0.log.partitions()[0].dropped_end().get();
    assert!(dropped > 64 << 10, "{dropped}, {:?}", store.status());
}
