//! Power loss: laws 1, 2 and 14 at the level of keys.

use std::collections::{BTreeMap, BTreeSet};

use cairn_log::vfs::simulated::Survival;

use super::*;
use crate::testing::Random;

/// One writer's batches: batch n writes n to each of its keys, so any mix of two shows.
const GROUP: usize = 3;
const GROUPS: usize = 5;

/// What the writer was told, and what it may find.
#[derive(Default)]
struct Ledger {
    /// By group: the number last acknowledged as durable.
    acknowledged: BTreeMap<usize, u64>,
    /// By group: everything submitted.
    submitted: BTreeMap<usize, BTreeSet<u64>>,
    /// Every version ever handed out, and the batch that has it.
    versions: BTreeMap<Version, u64>,
}

#[derive(Default, Debug)]
struct Seen {
    crashes: usize,
    crashes_in_recovery: usize,
    lost_batches: usize,
    kept_unacknowledged: usize,
    segments: usize,
    runs: usize,
    merges: usize,
    drops: usize,
}

fn key(group: usize, member: usize) -> String {
    format!("group {group} key {member}")
}

/// Writes until the disk crashes (or the budget is used up), noting what is acknowledged.
fn write(store: &Store, random: &mut Random, number: &mut u64, ledger: &mut Ledger) {
    let Ok(bucket) = store.bucket("b") else {
        return;
    };
    for _ in 0..60 {
        let group = random.below(GROUPS);
        *number += 1;
        let filler = vec![b'.'; random.below(3_000)];
        let batch = (0..GROUP).fold(Batch::new(), |batch, member| {
            batch.put(
                key(group, member),
                [&number.to_be_bytes()[..], &filler].concat(),
            )
        });
        let durability = if random.below(3) == 0 {
            Durability::Buffered
        } else {
            Durability::Local
        };
        ledger.submitted.entry(group).or_default().insert(*number);
        let Ok(receipt) = bucket.write(batch, durability) else {
            return;
        };
        // The index is written beside, and may fail for itself.
        if random.below(3) == 0 && store.step().is_err() {
            return;
        }
        let before = ledger.versions.insert(receipt.version, *number);
        assert_eq!(
            before, None,
            "law 14: version {} names two batches",
            receipt.version
        );
        if durability == Durability::Local {
            // What was sequenced before it is durable as well.
            ledger.acknowledged.insert(group, *number);
        }
    }
}

/// Checks what is found after a crash, and forgets what was lost.
fn check(store: &Store, ledger: &mut Ledger, seen: &mut Seen) {
    let Ok(bucket) = store.open_bucket("b") else {
        assert!(ledger.acknowledged.is_empty(), "law 1: the bucket is lost");
        return;
    };
    for group in 0..GROUPS {
        let keys: Vec<_> = (0..GROUP).map(|member| key(group, member)).collect();
        let found = bucket.multi_get(&keys).unwrap();
        let numbers: BTreeSet<Option<u64>> = found
            .iter()
            .map(|entry| entry.as_ref().map(|entry| number_of(&entry.value)))
            .collect();
        assert_eq!(numbers.len(), 1, "law 2: a batch was kept in part");
        let number = numbers.into_iter().next().flatten();
        let acknowledged = ledger.acknowledged.get(&group).copied();
        assert!(
            number >= acknowledged,
            "law 1: {acknowledged:?} was acknowledged, {number:?} found"
        );
        let submitted = ledger.submitted.entry(group).or_default();
        if let Some(number) = number {
            assert!(submitted.contains(&number), "{number} was never written");
            seen.kept_unacknowledged += usize::from(acknowledged < Some(number));
            // It was found by a recovery that made it durable.
            ledger.acknowledged.insert(group, number);
            let entry = found[0].as_ref().unwrap();
            let named = *ledger.versions.entry(entry.version).or_insert(number);
            assert_eq!(
                named, number,
                "law 14: version {} names two batches",
                entry.version
            );
        }
        seen.lost_batches += submitted
            .iter()
            .filter(|&&other| Some(other) > number)
            .count();
        submitted.retain(|&other| Some(other) <= number);
    }
}

fn number_of(value: &[u8]) -> u64 {
    u64::from_be_bytes(*value.first_chunk().unwrap())
}

#[test]
fn law_1_and_2_acknowledged_batches_survive_power_loss_whole() {
    let mut seen = Seen::default();
    for seed in 0..150 {
        let mut random = Random(seed * 2 + 1);
        let mut ledger = Ledger::default();
        let mut number = 0;
        let small = |bench: Bench| Bench {
            options: bench
                .options
                .memtable_bytes(if seed % 3 == 0 { 1 << 20 } else { 4_000 })
                .merge_entries(if seed % 2 == 0 { 30 } else { 200 })
                .history_bytes_min(0),
            ..bench
        };
        let mut bench = small(Bench::new(seed));
        for _ in 0..4 {
            bench
                .disk
                .crash_at(bench.disk.calls() + 1 + random.next() % 300);
            if let Ok(store) = bench.try_open() {
                write(&store, &mut random, &mut number, &mut ledger);
                seen.segments += store.status().partitions[0].segments;
                let levels = &store.0.levels()[0];
                seen.runs += levels.runs.len();
                seen.merges += usize::from(levels.covered() > 0);
                seen.drops += usize::from(store.0.log.partitions()[0].dropped_end().get() > 0);
            }
            seen.crashes += usize::from(bench.disk.has_crashed());
            let survival = match random.below(4) {
                0 => Survival::Nothing,
                1 => Survival::Everything,
                _ => Survival::Random(random.next()),
            };
            bench = small(Bench::on(bench.disk.power_loss(survival)));
            // A crash while recovering from the crash.
            if random.below(2) == 0 {
                bench.disk.crash_at(1 + random.next() % 40);
                drop(bench.try_open());
                seen.crashes_in_recovery += usize::from(bench.disk.has_crashed());
                bench = small(Bench::on(
                    bench.disk.power_loss(Survival::Random(random.next())),
                ));
            }
            let store = bench.open();
            check(&store, &mut ledger, &mut seen);
            let digest = store.state_digest().unwrap();
            drop(store);
            assert_eq!(bench.open().state_digest().unwrap(), digest);
        }
    }
    assert!(
        seen.crashes > 100
            && seen.crashes_in_recovery > 50
            && seen.lost_batches > 50
            && seen.kept_unacknowledged > 50
            && seen.segments > 600
            && seen.runs > 100
            && seen.merges > 100
            && seen.drops > 20,
        "{seen:?}"
    );
}

#[test]
fn law_1_at_every_call_of_a_small_workload() {
    // What the workload was told, by what it did: the crash comes at each call in turn.
    fn workload(bench: &Bench) -> Vec<&'static str> {
        let mut told = vec![];
        let mut run = || -> Result<()> {
            let store = bench.try_open()?;
            let bucket = store.bucket("b")?;
            told.push("bucket");
            bucket.put("a", "1")?;
            told.push("a");
            bucket.write(Batch::new().put("b", "2").put("c", "2"), Durability::Local)?;
            told.push("batch");
            bucket.delete("a")?;
            told.push("delete");
            bucket.delete("a")?;
            told.push("absent");
            let cas = Batch::new().put("b", "3").require("a", Expect::Exists);
            if let Err(error) = bucket.write(cas, Durability::Local)
                && error.kind() == ErrorKind::VersionMismatch
            {
                told.push("refused");
            }
            store.bucket("other")?;
            store.remove_bucket("other", false)?;
            told.push("removed");
            store.close()
        };
        let _ = run();
        told
    }
    let calm = Bench::new(0);
    assert_eq!(workload(&calm).len(), 7);
    let calls = calm.disk.calls();
    let mut stopped_at = BTreeSet::new();
    for call in 1..=calls {
        for survival in [
            Survival::Nothing,
            Survival::Everything,
            Survival::Random(call),
        ] {
            let bench = Bench::new(call);
            bench.disk.crash_at(call);
            let told = workload(&bench);
            stopped_at.insert(told.len());
            let bench = Bench::on(bench.disk.power_loss(survival));
            // Whatever the crash left must also be killed, closed and opened again.
            let killed = {
                let _store = bench.open();
                bench.disk.process_death()
            };
            let bench = Bench::on(killed);
            bench.open().close().unwrap();
            let store = bench.open();
            let Ok(bucket) = store.open_bucket("b") else {
                assert!(told.is_empty(), "call {call}, {survival:?}: {told:?}");
                continue;
            };
            let has = |what: &str| told.contains(&what);
            let keys: Vec<_> = ["a", "b", "c"].map(|key| value(&bucket, key)).into();
            let context = format!("call {call}, {survival:?}: {told:?}, found {keys:?}");
            assert!(
                keys[0].is_some() || !has("a") || keys[1].is_some(),
                "{context}"
            );
            assert!(keys[0].is_none() || !has("delete"), "{context}");
            assert!(keys[1].is_some() || !has("batch"), "{context}");
            assert_eq!(keys[1].is_some(), keys[2].is_some(), "law 2: {context}");
            assert!(
                keys[1].as_deref() != Some("3"),
                "a refused batch: {context}"
            );
            if has("removed") {
                assert_eq!(store.buckets().unwrap().len(), 1, "{context}");
            }
            bucket.put("after", "x").unwrap();
        }
    }
    // What follows the delete touches no disk, so nothing stops between it and the removal.
    assert_eq!(stopped_at, [0, 1, 2, 3, 6, 7].into());
}

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
            for path in disk.paths() {
                let suffix = path.extension().unwrap_or_default();
                if suffix == "run" || suffix == "redb" {
                    disk.erase(&path);
                }
            }
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
    // Every call of a quarter of them, and all in the larger run.
    let stride = if std::env::var_os("CAIRN_SEEDS").is_some() {
        1
    } else {
        7
    };
    for call in (1..=calls).step_by(stride) {
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
            for path in disk.paths() {
                let suffix = path.extension().unwrap_or_default();
                if suffix == "run" || suffix == "redb" {
                    disk.erase(&path);
                }
            }
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

#[test]
fn law_1_in_a_directory_named_without_its_parent() {
    let bench = Bench::new(0);
    let open = |disk: Arc<SimulatedDisk>| bench.options.clone().open_on(disk, "store").unwrap();
    let store = open(Arc::clone(&bench.disk));
    store.bucket("b").unwrap().put("k", "v").unwrap();
    let store = open(Arc::new(bench.disk.power_loss(Survival::Nothing)));
    assert_eq!(value(&store.open_bucket("b").unwrap(), "k").unwrap(), "v");
}

#[test]
fn law_4_no_acknowledgement_follows_a_failed_sync() {
    let calm = Bench::new(0);
    let store = calm.open();
    let bucket = store.bucket("b").unwrap();
    let first = calm.disk.counts().syncs;
    for number in 0..20_u32 {
        bucket.put(number.to_be_bytes(), vec![0; 6_000]).unwrap();
    }
    let last = calm.disk.counts().syncs;
    assert!(last > first + 20, "some syncs are those of new segments");
    let mut poisoned = 0;
    for sync in first + 1..=last {
        let bench = Bench::new(sync);
        let store = bench.open();
        let bucket = store.bucket("b").unwrap();
        bench.disk.fail_sync(sync);
        let outcomes: Vec<_> = (0..20_u32)
            .map(|number| bucket.put(number.to_be_bytes(), vec![0; 6_000]))
            .collect();
        let refused: Vec<_> = outcomes
            .iter()
            .filter_map(|one| one.as_ref().err().map(Error::kind))
            .collect();
        assert!(!refused.is_empty(), "sync {sync} did not matter");
        // The sync of a segment being prepared fails one write and harms nothing; any other
        // stops all that follow.
        if refused != [ErrorKind::Io] {
            assert_eq!(
                refused[0],
                ErrorKind::OutcomeUnknown,
                "sync {sync}: {refused:?}"
            );
            assert!(
                refused[1..].iter().all(|kind| *kind == ErrorKind::Poisoned),
                "{refused:?}"
            );
            assert!(
                outcomes[20 - refused.len()..].iter().all(Result::is_err),
                "sync {sync}"
            );
            poisoned += 1;
        }
        drop((bucket, store));
        let found = Bench::on(bench.disk.power_loss(Survival::Nothing)).open();
        let found = found.open_bucket("b").unwrap();
        for (number, outcome) in (0_u32..).zip(&outcomes) {
            let kept = found.get(number.to_be_bytes()).unwrap().is_some();
            assert!(
                kept || outcome.is_err(),
                "sync {sync}: {number} was acknowledged"
            );
        }
    }
    assert!(poisoned >= 20);
}

#[test]
fn a_full_disk_refuses_writes_and_they_resume_by_themselves() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let used: u64 = bench
        .disk
        .paths()
        .iter()
        .map(|path| bench.disk.length(path))
        .sum();
    bench.disk.set_capacity(used + SEGMENT_BYTES * 2);
    let mut written = 0_u32;
    let full = loop {
        match bucket.put(written.to_be_bytes(), vec![1; 9_000]) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), ErrorKind::DiskFull);
    assert!(written > 0);
    assert_eq!(
        kind(bucket.put("more", vec![1; 9_000])),
        ErrorKind::DiskFull
    );
    assert_eq!(
        bucket.scan(Scan::default()).unwrap().count(),
        written as usize
    );
    bench.disk.set_capacity(1 << 30);
    bucket.put("more", vec![1; 9_000]).unwrap();
    assert!(!store.status().partitions[0].poisoned);
}
