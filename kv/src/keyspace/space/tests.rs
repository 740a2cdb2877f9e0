use super::*;

fn space(live_bytes: u64, unmerged_bytes: u64) -> Space {
    Space {
        live_bytes,
        unmerged_bytes,
    }
}

#[test]
fn a_merge_is_worth_a_third_of_what_is_alive_but_no_crumbs() {
    let worth = |live, unmerged| space(live, unmerged).is_worth_a_merge();
    assert!(!worth(0, UNMERGED_BYTES_MIN - 1));
    assert!(worth(0, UNMERGED_BYTES_MIN));
    let live = 300 << 20;
    assert!(!worth(live, (100 << 20) - 1));
    assert!(worth(live, 100 << 20));
}

#[test]
fn what_brings_no_key_is_garbage_that_no_merge_has_counted() {
    use crate::Store;
    use cairn_log::vfs::simulated::SimulatedDisk;
    use std::sync::Arc;

    let options = Store::options().threads(false).segment_bytes(256 << 10);
    let vfs = Arc::new(SimulatedDisk::new(0));
    let store = options.open_on(vfs, "/store").unwrap();
    let bucket = store.bucket("b").unwrap();
    let keyspace = bucket.keyspace();
    let write = || {
        for number in 0..500u32 {
            bucket.put(number.to_be_bytes(), [7; 100]).unwrap();
        }
        keyspace.log().seal().unwrap();
        bucket.put("last", "").unwrap();
        while keyspace.write_waiting_run().unwrap().is_some() {}
        let levels = Arc::clone(&keyspace.levels.read());
        keyspace.space(&levels)
    };
    let first = write();
    assert!(first.live_bytes > 50_000 && first.unmerged_bytes < first.live_bytes / 50);
    let second = write();
    let more = second.live_bytes - first.live_bytes;
    assert!(more < first.live_bytes / 50, "{second:?}");
    assert!(second.unmerged_bytes > 50_000, "{second:?}");
}

#[test]
fn runs_are_merged_for_the_garbage_that_this_makes_known() {
    use crate::{Batch, Durability, Store};
    use cairn_log::vfs::MemoryDisk;
    use std::sync::Arc;

    const MERGED: u32 = 320_000;
    const MORE: u32 = 300_000;
    for (from, is_due) in [(0, true), (MERGED, false)] {
        let options = Store::options().threads(false).merge_entries(310_000);
        let vfs = Arc::new(MemoryDisk::default());
        let bucket = options.open_on(vfs, "/store").unwrap().bucket("b").unwrap();
        let keyspace = bucket.keyspace();
        let merged = |keys: std::ops::Range<u32>| {
            for some in keys.step_by(1_000) {
                let keys = some..some + 1_000;
                let batch = keys.fold(Batch::new(), |batch, key| {
                    batch.put(key.to_be_bytes(), [7; 60])
                });
                bucket.write(batch, Durability::Buffered).unwrap();
            }
            keyspace.log().seal().unwrap();
            bucket.put("last", "").unwrap();
            while keyspace.write_waiting_run().unwrap().is_some() {}
            let mut maintenance = keyspace.maintenance.lock();
            let merged = keyspace.merge_runs(&mut maintenance).unwrap();
            keyspace.note_victims(&maintenance);
            merged
        };
        assert!(merged(0..MERGED), "they are many");
        assert_eq!(merged(from..from + MORE), is_due);
    }
}
