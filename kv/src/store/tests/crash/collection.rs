//! Power loss and lost index files while garbage is collected, and the space that it keeps to.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::testing::{Random, stride};

const KEYS: u32 = 20;

/// What a store has acknowledged, and what it was asked when it failed.
#[derive(Default)]
struct Told {
    has_bucket: bool,
    /// The version and the round of each key that is there.
    held: BTreeMap<u32, (Version, u8)>,
    /// A key that is being put in a round, or deleted.
    in_flight: Option<(u32, Option<u8>)>,
}

impl Told {
    /// After a loss of power all that is acknowledged is there, and what was in flight is there or
    /// is not; nothing else is.
    fn check(&self, store: &Store, context: &str) {
        let bucket = match store.open_bucket("b") {
            Err(error) if error.kind() == ErrorKind::BucketNotFound => {
                assert!(!self.has_bucket, "the bucket is lost: {context}");
                return;
            }
            opened => opened.unwrap(),
        };
        let mut found = held(&bucket);
        let mut expected = self.held.clone();
        if let Some((key, round)) = self.in_flight {
            let (found, before) = (found.remove(&key), expected.remove(&key));
            let last = expected.values().chain(&before).map(|one| one.0).max();
            let is_done = match round {
                Some(round) => found.is_some_and(|one| one.1 == round && Some(one.0) > last),
                None => found.is_none(),
            };
            assert!(
                is_done || found == before,
                "key {key} was {before:?}, to be of round {round:?}, and is {found:?}: {context}"
            );
        }
        assert_eq!(found, expected, "{context}");
    }
}

/// All keys of a bucket, which a scan and a read of each must agree on.
fn held(bucket: &Bucket) -> BTreeMap<u32, (Version, u8)> {
    let keys = (0..KEYS).filter_map(|number| {
        let entry = bucket.get(number.to_be_bytes()).unwrap()?;
        let round = entry.value[0];
        assert_eq!(*entry.value, [round; 900], "key {number}");
        Some((number, (entry.version, round)))
    });
    let keys: BTreeMap<_, _> = keys.collect();
    let rows = bucket.scan(Scan::default()).unwrap().map(|row| {
        let (key, entry) = row.unwrap();
        let number = u32::from_be_bytes(*key.first_chunk().unwrap());
        (number, (entry.version, entry.value[0]))
    });
    assert_eq!(rows.collect::<BTreeMap<_, _>>(), keys);
    keys
}

/// A store of a few keys that are overwritten again and again, with small segments.
fn churn(bench: &Bench, rounds: u32, told: &mut Told) -> Result<Store> {
    let store = bench.try_open()?;
    let bucket = store.bucket("b")?;
    told.has_bucket = true;
    for round in 0..rounds {
        let value = round.to_le_bytes()[0];
        for number in 0..KEYS {
            let key = number.to_be_bytes();
            match (round + number) % 7 {
                0 => {
                    told.in_flight = Some((number, None));
                    bucket.delete(key)?;
                    told.held.remove(&number);
                }
                // Some keys are old, and are moved again and again.
                _ if number < 6 && round > 0 => {}
                _ => {
                    told.in_flight = Some((number, Some(value)));
                    let version = bucket.put(key, vec![value; 900])?;
                    told.held.insert(number, (version, value));
                }
            }
            told.in_flight = None;
        }
        while store.step()? {}
    }
    Ok(store)
}

fn churning(seed: u64) -> Bench {
    let bench = Bench::new(seed);
    let options = bench.options.clone();
    let options = options.merge_entries(1).history_bytes_min(0);
    Bench {
        options: options.segment_bytes(16 << 10),
        ..bench
    }
}

#[test]
fn law_5_the_index_is_made_again_from_the_log_after_every_step_of_collection() {
    let bench = churning(1);
    let store = bench.try_open().unwrap();
    let bucket = store.bucket("b").unwrap();
    let mut drops = BTreeSet::new();
    for round in 0..40_u32 {
        for number in 0..20_u32 {
            let key = number.to_be_bytes();
            match (round + number) % 7 {
                0 => drop(bucket.delete(key).unwrap()),
                _ if number < 6 && round > 0 => {}
                _ => drop(bucket.put(key, vec![round.to_le_bytes()[0]; 900]).unwrap()),
            }
        }
        while store.step().unwrap() {
            let digest = store.state_digest().unwrap();
            drops.insert(store.0.log.partitions()[0].dropped_end());
            let disk = bench.disk.process_death();
            erase_index(&disk);
            let again = Bench {
                options: bench.options.clone(),
                ..Bench::on(disk)
            };
            let rebuilt = again.open();
            assert_eq!(rebuilt.state_digest().unwrap(), digest, "round {round}");
            while rebuilt.step().unwrap() {}
            assert_eq!(rebuilt.state_digest().unwrap(), digest, "round {round}");
        }
    }
    assert!(drops.len() > 10, "{drops:?}");
}

#[test]
fn law_1_and_5_at_every_call_of_a_collection() {
    let calm = churning(1);
    let mut told = Told::default();
    let store = churn(&calm, 6, &mut told).unwrap();
    told.check(&store, "no crash");
    assert!(told.held.len() > 10);
    let dropped = store.0.log.partitions()[0].dropped_end().get();
    assert!(dropped > 0, "something is collected in so few rounds");
    drop(store);
    let calls = calm.disk.calls();
    // Every seventh call, and all in the larger run.
    for call in (1..=calls).step_by(stride(7)) {
        let bench = churning(call);
        bench.disk.crash_at(call);
        let mut told = Told::default();
        drop(churn(&bench, 6, &mut told));
        for survival in [Survival::Nothing, Survival::Random(call)] {
            let bench = Bench {
                options: bench.options.clone(),
                ..Bench::on(bench.disk.power_loss(survival))
            };
            let context = format!("call {call}, {survival:?}");
            let store = bench.open();
            told.check(&store, &context);
            let digest = store.state_digest().unwrap();
            while store.step().unwrap() {}
            assert_eq!(store.state_digest().unwrap(), digest, "{context}");
            told.check(&store, &context);
            drop(store);
            let disk = bench.disk.process_death();
            erase_index(&disk);
            let rebuilt = Bench {
                options: bench.options.clone(),
                ..Bench::on(disk)
            };
            let store = rebuilt.open();
            let found = store.state_digest().unwrap();
            assert_eq!(found, digest, "{context}: the log says something else");
            told.check(&store, &context);
        }
    }
}

#[test]
fn law_7_space_stays_bounded_under_endless_overwrites() {
    let bench = churning(3);
    let store = bench.try_open().unwrap();
    let bucket = store.bucket("b").unwrap();
    let live_bytes = 100 * 904;
    let mut random = Random(9);
    let mut most = 0;
    for write in 0..6_000_u32 {
        let number = u32::try_from(random.below(100)).unwrap();
        bucket.put(number.to_be_bytes(), vec![1; 900]).unwrap();
        // Unique keys that come and go leave nothing behind either.
        bucket.put(format!("unique {write}"), "x").unwrap();
        bucket.delete(format!("unique {write}")).unwrap();
        while store.step().unwrap() {}
        let used: u64 = store.status().partitions[0].bytes;
        most = most.max(used);
    }
    let bound = 2 * live_bytes + 3 * (16 << 10);
    assert!(most <= bound, "{most} bytes of log, the bound is {bound}");
}

/// A store that is killed again and again, soon after each open: its segments are all short.
#[test]
fn law_7_space_stays_bounded_in_a_crash_loop() {
    const SEGMENT_BYTES: u64 = 4 << 20;
    let mut bench = Bench::new(3);
    let options = bench.options.clone().history_bytes_min(0);
    bench.options = options.segment_bytes(SEGMENT_BYTES);
    let mut live_bytes = 0;
    let mut most = (0, 0);
    for life in 0..500_u32 {
        let store = bench.try_open().unwrap();
        let bucket = store.bucket("b").unwrap();
        // One that stays and one that is overwritten.
        bucket.put(life.to_be_bytes(), vec![1; 100]).unwrap();
        bucket.put("last", life.to_be_bytes()).unwrap();
        live_bytes += 104;
        while store.step().unwrap() {}
        if life % 50 == 49 {
            for seen in 0..=life {
                assert!(bucket.get(seen.to_be_bytes()).unwrap().is_some(), "{seen}");
            }
        }
        drop(bucket);
        let died = Arc::new(bench.disk.process_death());
        drop(store);
        bench.disk = died;
        let paths = bench.disk.paths().into_iter();
        let log_and_runs = paths.filter(|path| {
            path.extension()
                .is_some_and(|suffix| suffix == "seg" || suffix == "run")
        });
        let files: Vec<u64> = log_and_runs.map(|path| bench.disk.length(&path)).collect();
        most = most.max((files.iter().sum(), files.len()));
    }
    let bound = 3 * live_bytes + 3 * SEGMENT_BYTES;
    assert!(
        most.0 <= bound,
        "{most:?} bytes and files, the bound is {bound}"
    );
}
