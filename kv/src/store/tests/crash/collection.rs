//! Power loss and lost index files while garbage is collected, and the space that it keeps to.

use std::collections::BTreeSet;

use super::*;
use crate::testing::{Random, stride};

/// A store of a few keys that are overwritten again and again, with small segments.
fn churn(bench: &Bench, rounds: u32) -> Result<Store> {
    let store = bench.try_open()?;
    let bucket = store.bucket("b")?;
    for round in 0..rounds {
        for number in 0..20_u32 {
            let key = number.to_be_bytes();
            match (round + number) % 7 {
                0 => drop(bucket.delete(key)?),
                // Some keys are old, and are moved again and again.
                _ if number < 6 && round > 0 => {}
                _ => drop(bucket.put(key, vec![round.to_le_bytes()[0]; 900])?),
            }
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
    let store = churn(&calm, 6).unwrap();
    let dropped = store.0.log.partitions()[0].dropped_end().get();
    assert!(dropped > 0, "something is collected in so few rounds");
    drop(store);
    let calls = calm.disk.calls();
    // Every seventh call, and all in the larger run.
    for call in (1..=calls).step_by(stride(7)) {
        let bench = churning(call);
        bench.disk.crash_at(call);
        let mut expected = None;
        let outcome = churn(&bench, 6);
        if let Ok(store) = &outcome {
            expected = Some(store.state_digest().unwrap());
        }
        drop(outcome);
        for survival in [Survival::Nothing, Survival::Random(call)] {
            let bench = Bench {
                options: bench.options.clone(),
                ..Bench::on(bench.disk.power_loss(survival))
            };
            let store = bench.open();
            let digest = store.state_digest().unwrap();
            assert!(expected.is_none_or(|expected| expected == digest));
            while store.step().unwrap() {}
            assert_eq!(store.state_digest().unwrap(), digest, "call {call}");
            drop(store);
            let disk = bench.disk.process_death();
            erase_index(&disk);
            let rebuilt = Bench {
                options: bench.options.clone(),
                ..Bench::on(disk)
            };
            let found = rebuilt.open().state_digest().unwrap();
            assert_eq!(
                found, digest,
                "call {call}, {survival:?}: the log says something else"
            );
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
