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
    // What "a", "b" and "c" hold when so much was told.
    const STATES: [[Option<&str>; 3]; 5] = [
        [None; 3],
        [None; 3],
        [Some("1"), None, None],
        [Some("1"), Some("2"), Some("2")],
        [None, Some("2"), Some("2")],
    ];
    let calm = Bench::new(0);
    assert_eq!(workload(&calm).len(), 7);
    let calls = calm.disk.calls();
    let (mut stopped_at, mut kept) = (BTreeSet::new(), BTreeSet::new());
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
            let keys = ["a", "b", "c"].map(|key| value(&bucket, key));
            let found = keys.each_ref().map(Option::as_deref);
            // What is told is there, what was asked for next is there whole or not at all, and
            // what came after that is not.
            let [acknowledged, next] = [0, 1].map(|more| STATES[(told.len() + more).min(4)]);
            let context = format!("call {call}, {survival:?}: {told:?}, found {found:?}");
            assert!(found == acknowledged || found == next, "{context}");
            let others = store.buckets().unwrap().len() - 1;
            let may_be_there = told.len() == 6;
            assert!(others == 0 || others == 1 && may_be_there, "{context}");
            kept.insert((told.len(), found == acknowledged));
            bucket.put("after", "x").unwrap();
            assert_eq!(value(&bucket, "after").unwrap(), "x");
        }
    }
    // What follows the delete touches no disk, so nothing stops between it and the removal.
    assert_eq!(stopped_at, [0, 1, 2, 3, 6, 7].into());
    // What was asked for last was kept, and was lost.
    for told in 1..4 {
        for is_lost in [true, false] {
            let is_met = kept.contains(&(told, is_lost));
            assert!(is_met, "{told}, {is_lost}: {kept:?}");
        }
    }
}
