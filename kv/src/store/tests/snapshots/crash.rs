//! Power loss at every call of the disk under a workload with a snapshot.

use cairn_log::vfs::simulated::Survival;

use super::*;

/// What the workload was told before the disk stopped.
#[derive(Debug, Default)]
struct Told {
    taken: Option<Version>,
    removed: bool,
    taken_again: Option<Version>,
    /// All keys were overwritten, and segments dropped, with the snapshot there.
    overwritten: bool,
}

const KEYS: usize = 12;

fn state(fill: u8) -> State {
    let values = (0..KEYS).map(|number| (key(number), vec![fill; 800]));
    values.collect()
}

fn overwrite(store: &Store, bucket: &Bucket, rounds: std::ops::Range<u8>) -> Result<()> {
    for round in rounds {
        for (key, value) in state(round) {
            bucket.put(key, value)?;
        }
        bucket.delete(key(0))?;
        while store.step()? {}
    }
    Ok(())
}

fn workload(bench: &Bench) -> Told {
    let mut told = Told::default();
    let mut run = || -> Result<()> {
        let store = bench.try_open()?;
        let bucket = store.bucket("b")?;
        for (key, value) in state(1) {
            let options = PutOptions::default();
            bucket
                .submit_put(&key, &value, &options, Durability::Buffered)?
                .wait()?;
        }
        told.taken = Some(bucket.snapshot("s")?.version);
        overwrite(&store, &bucket, 2..7)?;
        told.overwritten = store.0.log.partitions()[0].dropped_end().get() > 0;
        bucket.remove_snapshot("s")?;
        told.removed = true;
        overwrite(&store, &bucket, 7..10)?;
        told.taken_again = Some(bucket.snapshot("s")?.version);
        overwrite(&store, &bucket, 10..12)?;
        store.close()
    };
    let _ = run();
    told
}

/// Checks what a crash has left against what was told.
fn check(store: &Store, told: &Told, context: &str) {
    let Ok(bucket) = store.open_bucket("b") else {
        assert_eq!(told.taken, None, "{context}");
        return;
    };
    let listed = bucket.snapshots().unwrap();
    assert!(listed.len() <= 1, "{context}");
    match listed.first() {
        None => assert!(
            // Its removal may have survived unheard, which begins once all is overwritten.
            told.taken_again.is_none() && (told.taken.is_none() || told.overwritten),
            "law 1: {context}: the snapshot is lost"
        ),
        Some(found) => {
            let view = bucket.snapshot_view("s").unwrap();
            let shown = shown(&view);
            if told.taken.is_none() || told.taken == Some(found.version) {
                assert!(shown == state(1), "law 7: {context}");
                assert!(!told.removed, "{context}: it was removed");
            } else {
                // Taken again, perhaps unheard.
                assert!(
                    told.taken_again
                        .is_none_or(|version| version == found.version)
                );
                let mut expected = state(9);
                expected.remove(&key(0));
                assert!(shown == expected, "law 7: {context}");
            }
        }
    }
}

#[test]
fn law_1_and_7_a_snapshot_and_what_it_shows_survive_power_loss_at_every_call() {
    let calm = eager(Bench::new(0));
    let told = workload(&calm);
    assert!(told.overwritten && told.taken_again.is_some(), "{told:?}");
    let calls = calm.disk.calls();
    let stride = if std::env::var_os("CAIRN_SEEDS").is_some() {
        1
    } else {
        2
    };
    let (mut with_first, mut with_second) = (0, 0);
    for call in (1..=calls).step_by(stride) {
        let bench = eager(Bench::new(call));
        bench.disk.crash_at(call);
        let told = workload(&bench);
        with_first += usize::from(told.taken.is_some() && !told.removed);
        with_second += usize::from(told.taken_again.is_some());
        for survival in [Survival::Nothing, Survival::Random(call)] {
            let context = format!("call {call}, {survival:?}, {told:?}");
            let bench = eager(Bench::on(bench.disk.power_loss(survival)));
            let store = bench.open();
            check(&store, &told, &context);
            let digest = store.state_digest().unwrap();
            let rebuilt = without_index(&bench).open();
            assert_eq!(rebuilt.state_digest().unwrap(), digest, "{context}");
            check(&rebuilt, &told, &context);
            // Collection goes on where it was stopped.
            settle(&store);
            check(&store, &told, &context);
        }
    }
    assert!(
        with_first > 50 && with_second > 20,
        "{with_first} {with_second}"
    );
}
