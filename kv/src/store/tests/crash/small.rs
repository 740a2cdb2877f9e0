//! Power loss at every call of a small workload.

use std::collections::BTreeSet;

use super::*;

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
