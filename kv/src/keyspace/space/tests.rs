use std::path::Path;
use std::sync::Arc;

use cairn_log::vfs::simulated::SimulatedDisk;
use cairn_log::vfs::{MemoryDisk, Vfs};

use super::*;
use crate::testing::Random;
use crate::{Batch, Bucket, Durability, Scan, Store, Version};

const LIVE: u64 = 300 << 20;

fn space(live_bytes: u64, garbage_bytes: u64, unmerged_bytes: u64) -> Space {
    Space {
        live_bytes,
        garbage_bytes,
        unmerged_bytes,
    }
}

#[test]
fn a_merge_is_worth_two_thirds_of_what_is_alive_but_no_crumbs() {
    let worth = |live, unmerged| space(live, unmerged, unmerged).is_worth_a_merge();
    assert!(!worth(0, UNMERGED_BYTES_MIN - 1));
    assert!(worth(0, UNMERGED_BYTES_MIN));
    assert!(!worth(LIVE, (200 << 20) - 1));
    assert!(worth(LIVE, 200 << 20));
}

#[test]
fn writers_wait_at_three_quarters_and_for_merges_of_a_third() {
    let is_over = |live, garbage| space(live, garbage, 0).is_over(0);
    assert!(!is_over(0, GARBAGE_BYTES_MIN));
    assert!(is_over(0, GARBAGE_BYTES_MIN + 1));
    assert!(!is_over(LIVE, 225 << 20));
    assert!(is_over(LIVE, (225 << 20) + 1));
    let is_over = |garbage| space(LIVE, garbage, 0).is_over(400 << 20);
    assert!(
        !is_over(475 << 20),
        "nothing could be done about most of it"
    );
    assert!(is_over((475 << 20) + 1));
    assert!(!space(LIVE, 225 << 20, 0).is_over(1));
    let is_of_use = |live, unmerged| space(live, 1 << 40, unmerged).is_a_merge_of_use();
    assert!(!is_of_use(0, UNMERGED_BYTES_MIN - 1));
    assert!(!is_of_use(LIVE, (100 << 20) - 1));
    assert!(is_of_use(LIVE, 100 << 20));
}

#[test]
fn what_brings_no_key_is_garbage_that_no_merge_has_counted() {
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
        let in_memory = keyspace.space(&keyspace.levels.read());
        while keyspace.write_waiting_run().unwrap().is_some() {}
        (in_memory, keyspace.space(&keyspace.levels.read()))
    };
    let (in_memory, first) = write();
    assert_eq!(in_memory, space(0, 0, 0), "of memtables nothing is known");
    assert!(first.live_bytes > 50_000 && first.unmerged_bytes < first.live_bytes / 50);
    assert_eq!(first.garbage_bytes, first.unmerged_bytes);
    let (_, second) = write();
    let more = second.live_bytes - first.live_bytes;
    assert!(more < first.live_bytes / 50, "{second:?}");
    assert!(second.unmerged_bytes > 50_000, "{second:?}");
    assert_eq!(second.garbage_bytes, second.unmerged_bytes);
}

fn put_all(bucket: &Bucket, keys: std::ops::Range<u32>, value: &[u8]) {
    put_each(bucket, &keys.collect::<Vec<_>>(), value);
}

fn put_each(bucket: &Bucket, keys: &[u32], value: &[u8]) {
    for some in keys.chunks(1_000) {
        let batch = some.iter().fold(Batch::new(), |batch, key| {
            batch.put(key.to_be_bytes(), value)
        });
        bucket.write(batch, Durability::Buffered).unwrap();
    }
}

fn write_runs(bucket: &Bucket) {
    bucket.keyspace().log().seal().unwrap();
    bucket.put("last", "").unwrap();
    while bucket.keyspace().write_waiting_run().unwrap().is_some() {}
}

#[test]
fn runs_are_merged_for_the_garbage_that_this_makes_known() {
    const MERGED: u32 = 320_000;
    const MORE: u32 = 300_000;
    for (from, is_due) in [(0, true), (MERGED, false)] {
        let options = Store::options().threads(false).merge_entries(310_000);
        let vfs = Arc::new(MemoryDisk::default());
        let bucket = options.open_on(vfs, "/store").unwrap().bucket("b").unwrap();
        let keyspace = bucket.keyspace();
        let merged = |keys: std::ops::Range<u32>| {
            put_all(&bucket, keys, &[7; 60]);
            write_runs(&bucket);
            let mut maintenance = keyspace.maintenance.lock();
            let merged = keyspace.merge_runs(&mut maintenance).unwrap();
            keyspace.note_victims(&maintenance);
            merged
        };
        assert!(merged(0..MERGED), "they are many");
        assert_eq!(merged(from..from + MORE), is_due);
    }
}

/// What nobody can collect is not waited for: not by looking for work again and again, and not while
/// somebody else works.
#[test]
fn garbage_about_which_nothing_can_be_done_stops_nobody() {
    let options = Store::options().threads(false).history_bytes_min(u64::MAX);
    let vfs = Arc::new(MemoryDisk::default());
    let store = options.open_on(vfs, "/store").unwrap();
    let bucket = store.bucket("b").unwrap();
    let keyspace = bucket.keyspace();
    for _ in 0..6 {
        put_all(&bucket, 0..40_000, &[7; 1_000]);
    }
    write_runs(&bucket);
    keyspace
        .merge_for_space(&mut keyspace.maintenance.lock())
        .unwrap();
    keyspace.note_victims(&keyspace.maintenance.lock());
    let space = || keyspace.space(&keyspace.levels.read());
    assert!(space().is_over(0), "history keeps all of it");
    put_all(&bucket, 0..1_000, &[7; 1_000]);
    keyspace.seal_if_full(cairn_log::Claim::Write).unwrap();
    keyspace.make_room(cairn_log::Claim::Write, 1_000).unwrap();
    let accepted = keyspace.accepted_garbage.load(Ordering::Relaxed);
    assert!(accepted > GARBAGE_BYTES_MIN, "{accepted}");
    // As if a merge were going on.
    let maintenance = keyspace.maintenance.lock();
    let room = keyspace.make_room(cairn_log::Claim::Write, 1_000);
    room.unwrap();
    drop(maintenance);
}

/// Writers go on while a reader is in the way, it sees what it saw, and when it has gone so has the garbage.
#[test]
fn garbage_that_readers_hold_stops_nobody_and_goes_when_they_do() {
    const KEYS: u32 = 40_000;
    let old = [1; 1_000];
    for reader in ["view", "scan", "watch"] {
        let options = Store::options()
            .threads(false)
            .segment_bytes(8 << 20)
            .history_bytes_min(0);
        let vfs = Arc::new(MemoryDisk::default());
        let store = options.open_on(vfs, "/store").unwrap();
        let bucket = store.bucket("b").unwrap();
        let keyspace = bucket.keyspace();
        put_all(&bucket, 0..KEYS, &old);
        store.sync().unwrap();
        let view = (reader == "view").then(|| bucket.view().unwrap());
        let mut scan = (reader == "scan").then(|| bucket.scan(Scan::default()).unwrap());
        let mut watch = (reader == "watch").then(|| {
            let first = Some(Version::new(1));
            bucket.watch(first, "").unwrap()
        });
        let space = || keyspace.space(&keyspace.levels.read());
        for _ in 0..5 {
            put_all(&bucket, 0..KEYS, &[2; 1_000]);
        }
        assert!(space().is_over(0), "{reader}: {:?}", space());
        if let Some(view) = view {
            for key in [0, KEYS / 2, KEYS - 1] {
                let entry = view.get(key.to_be_bytes()).unwrap().unwrap();
                assert_eq!(entry.value[..], old);
            }
        }
        if let Some(scan) = &mut scan {
            assert_eq!(
                scan.filter(|row| row.as_ref().unwrap().1.value[..] == old)
                    .count(),
                KEYS as usize
            );
        }
        if let Some(watch) = &mut watch {
            let mut seen = 0;
            while let Some(batch) = watch.try_next().unwrap() {
                seen += batch.events.len();
            }
            assert!(seen >= KEYS as usize, "{seen}");
        }
        drop((scan, watch));
        for _ in 0..2 {
            put_all(&bucket, 0..KEYS, &[3; 1_000]);
        }
        assert!(!space().is_over(0), "{reader}: {:?}", space());
    }
}

/// Writers would take all of a store that is opened for garbage about which nothing can be done.
#[test]
fn a_store_that_is_opened_knows_what_is_alive_in_it() {
    let vfs = Arc::new(MemoryDisk::default());
    let open = || {
        let options = Store::options().threads(false);
        let vfs = Arc::clone(&vfs) as Arc<dyn Vfs>;
        options.open_on(vfs, "/store").unwrap()
    };
    let space = |store: &Store| {
        let bucket = store.bucket("b").unwrap();
        let keyspace = bucket.keyspace();
        keyspace.space(&keyspace.levels.read())
    };
    let before = {
        let store = open();
        let bucket = store.bucket("b").unwrap();
        for _ in 0..2 {
            put_all(&bucket, 0..150_000, &[7; 300]);
        }
        write_runs(&bucket);
        let keyspace = bucket.keyspace();
        let merged = keyspace.merge_for_space(&mut keyspace.maintenance.lock());
        assert!(merged.unwrap());
        keyspace.note_victims(&keyspace.maintenance.lock());
        space(&store)
    };
    assert!(before.live_bytes > 150_000 * 300 && !before.is_over(0));
    assert_eq!(space(&open()), before);
}

#[test]
fn garbage_that_has_gone_is_no_longer_accepted() {
    let vfs = Arc::new(MemoryDisk::default());
    let options = Store::options().threads(false);
    let bucket = options.open_on(vfs, "/store").unwrap().bucket("b").unwrap();
    let keyspace = bucket.keyspace();
    let accepted = &keyspace.accepted_garbage;
    accepted.store(1 << 40, Ordering::Relaxed);
    keyspace.make_room(cairn_log::Claim::Write, 1_000).unwrap();
    assert_eq!(accepted.load(Ordering::Relaxed), 0);
}

/// By all files of the partition. One may go between the two looks.
fn taken(disk: &dyn Vfs) -> u64 {
    let directory = Path::new("/store/p0000");
    let names = disk.list(directory).unwrap();
    let files = names
        .iter()
        .filter_map(|name| disk.open(&directory.join(name)).ok());
    files.map(|file| file.length().unwrap()).sum()
}

/// At the sizes that are used outside tests: as long as somebody writes, with nobody else to merge
/// and collect, and with somebody.
#[test]
fn law_7_overwrites_never_take_three_times_what_is_alive_and_three_segments() {
    const KEYS: u32 = 80_000;
    const TIMES: u32 = 12;
    const VALUE: usize = 1_000;
    let live = u64::from(KEYS) * (4 + VALUE as u64);
    for threads in [false, true] {
        let disk = Arc::new(MemoryDisk::default());
        let vfs = Arc::clone(&disk) as Arc<dyn Vfs>;
        let options = Store::options().threads(threads).history_bytes_min(0);
        let store = options.open_on(vfs, "/store").unwrap();
        let bucket = store.bucket("b").unwrap();
        let mut most = 0;
        let mut keys: Vec<u32> = (0..KEYS).collect();
        let mut random = Random(7);
        for _ in 0..TIMES {
            // Not in the order of the keys, nor in that in which they were written last.
            for last in (1..keys.len()).rev() {
                keys.swap(last, random.below(last + 1));
            }
            for some in keys.chunks(10_000) {
                put_each(&bucket, some, &[7; VALUE]);
                let prepared = store.status().partitions[0].prepared_bytes;
                most = most.max(taken(&*disk) - prepared);
            }
        }
        let bound = 3 * live + 3 * cairn_log::SEGMENT_BYTES;
        assert!(most < bound, "{most} of {live}, threads: {threads}");
        assert!(most > 2 * live, "{most} of {live}: nothing was overwritten");
    }
}
