use cairn_log::vfs::Vfs;
use cairn_log::vfs::simulated::SimulatedDisk;

use super::*;
use crate::keyspace::testing::{index, options, put_round, write_runs};
use crate::{Bucket, BucketInfo, Store};

fn open(disk: &Arc<SimulatedDisk>) -> Store {
    let vfs = Arc::clone(disk) as Arc<dyn Vfs>;
    options().open_on(vfs, "/store").unwrap()
}

/// Collects all that can be, and merges nothing.
fn collect(keyspace: &Keyspace) {
    let mut maintenance = keyspace.maintenance.lock();
    while keyspace.collect_garbage(&mut maintenance).unwrap() {}
}

/// Goes on to another segment.
fn seal(bucket: &Bucket) {
    bucket.keyspace().log().seal().unwrap();
}

/// Merges the oldest `count` runs and leaves the others.
fn merge_oldest(keyspace: &Keyspace, count: usize) {
    let levels = Arc::clone(&keyspace.levels.read());
    let oldest = Levels {
        memtables: levels.memtables.clone(),
        runs: levels.runs[levels.runs.len() - count..].to_vec(),
        merged: levels.merged.clone(),
        emptied: Arc::clone(&levels.emptied),
    };
    let mut maintenance = keyspace.maintenance.lock();
    keyspace.merge(&mut maintenance, &Arc::new(oldest)).unwrap();
}

/// The disk after a kill, without the merged index.
fn killed(disk: &SimulatedDisk) -> Arc<SimulatedDisk> {
    let found = disk.process_death();
    for path in found.paths() {
        if path.ends_with(super::super::maintain::MERGED_NAME) {
            found.erase(&path);
        }
    }
    Arc::new(found)
}

/// A log in which the creations of a dropped bucket, of the next of its name and of one that is
/// untouched are moved behind the drop and behind keys, and the infos of its buckets.
fn with_moved_controls(disk: &Arc<SimulatedDisk>) -> (Store, Vec<BucketInfo>) {
    let store = open(disk);
    let gone = store.bucket("a").unwrap();
    let kept = store.bucket("b").unwrap();
    // Nothing is written to it later.
    let quiet = store.bucket("c").unwrap();
    put_round(&quiet, 0..1, 1);
    let keyspace = kept.keyspace();
    for round in 0..5 {
        put_round(&gone, 0..10, round);
        put_round(&kept, 0..10, round);
        index(keyspace);
    }
    let first = keyspace.log().segments()[0].base;
    // Not merged when the creation is moved.
    store.remove_bucket("a", true).unwrap();
    let again = store.bucket("a").unwrap();
    put_round(&again, 0..3, 9);
    seal(&kept);
    collect(keyspace);
    assert!(keyspace.log().segments()[0].base > first, "nothing went");
    seal(&kept);
    put_round(&kept, 10..12, 9);
    seal(&kept);
    put_round(&again, 3..4, 9);
    write_runs(keyspace);
    index(keyspace);
    let infos = store.buckets().unwrap();
    let keys: Vec<u64> = infos.iter().map(|info| info.keys).collect();
    assert_eq!(keys, [4, 12, 1]);
    (store, infos)
}

#[test]
fn an_index_made_anew_up_to_anywhere_knows_the_buckets_whose_creations_were_moved() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let (store, infos) = with_moved_controls(&disk);
    let digest = store.state_digest().unwrap();
    let written = store.open_bucket("c").unwrap().version();
    drop(store);
    let runs = {
        let store = open(&killed(&disk));
        let kept = store.open_bucket("b").unwrap();
        kept.keyspace().levels.read().runs.len()
    };
    assert!(runs > 4, "{runs}");
    for merged in 1..=runs {
        let disk = killed(&disk);
        let store = open(&disk);
        merge_oldest(store.open_bucket("b").unwrap().keyspace(), merged);
        assert_eq!(store.state_digest().unwrap(), digest, "{merged} merged");
        drop(store);
        let disk = Arc::new(disk.process_death());
        let store = open(&disk);
        assert_eq!(store.state_digest().unwrap(), digest, "{merged} merged");
        // The rest.
        let kept = store.open_bucket("b").unwrap();
        index(kept.keyspace());
        assert!(kept.keyspace().levels.read().runs.is_empty());
        assert_eq!(store.buckets().unwrap(), infos, "{merged} merged first");
        drop((store, kept));
        let store = open(&Arc::new(disk.process_death()));
        assert_eq!(store.state_digest().unwrap(), digest, "{merged} merged");
        assert_eq!(store.buckets().unwrap(), infos, "{merged} merged first");
        assert_eq!(store.open_bucket("c").unwrap().version(), written);
    }
}

#[test]
fn keys_are_counted_exactly_again_once_a_run_that_could_not_tell_is_made_anew() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let store = open(&disk);
    let bucket = store.bucket("b").unwrap();
    put_round(&bucket, 0..20, 1);
    write_runs(bucket.keyspace());
    let run = Arc::clone(bucket.keyspace().levels.read().runs.last().unwrap());
    // Its blocks, read when they are asked for.
    let path = format!("/store/p0000/{:016x}.run", run.head().identity.segment);
    let sectors = (4_096..disk.length(&path)).step_by(512);
    sectors.for_each(|place| disk.flip_bit(&path, place, 3));
    put_round(&bucket, 0..10, 2);
    bucket.info().unwrap();
    index(bucket.keyspace());
    // The first merge meets the damage, and the second what was made anew.
    index(bucket.keyspace());
    assert!(bucket.keyspace().levels.read().runs.is_empty());
    assert_eq!(bucket.info().unwrap().keys, 20);
}

/// What a repair leaves that finds no room for a new index.
#[test]
fn no_index_is_made_of_the_newest_runs_alone() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let store = open(&disk);
    let bucket = store.bucket("b").unwrap();
    let keyspace = bucket.keyspace();
    put_round(&bucket, 0..40, 1);
    index(keyspace);
    assert!(keyspace.levels.read().covered() > 0);
    keyspace.maintenance.lock().merged = None;
    put_round(&bucket, 40..80, 1);
    // The first merge mends it.
    index(keyspace);
    index(keyspace);
    assert!(keyspace.levels.read().runs.is_empty());
    let all_there = |bucket: &Bucket| {
        (0..80_u32).all(|number| bucket.get(number.to_be_bytes()).unwrap().is_some())
    };
    assert!(all_there(&bucket));
    drop((store, bucket));
    let store = open(&Arc::new(disk.process_death()));
    assert!(all_there(&store.open_bucket("b").unwrap()));
}

#[test]
fn a_merged_index_whose_state_cannot_be_read_is_made_anew_at_the_next_open() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let (store, infos) = with_moved_controls(&disk);
    let digest = store.state_digest().unwrap();
    let bucket = store.open_bucket("b").unwrap();
    {
        let maintenance = bucket.keyspace().maintenance.lock();
        let merged = maintenance.merged.as_ref().unwrap();
        let covered = merged.view().covered();
        let expected = Expected {
            changes: 0,
            new_keys: 0,
            key_bytes: 0,
        };
        let state = b"no state of ours".to_vec();
        let written = merged.merge(
            Way::InPlace,
            expected,
            |_| -> std::result::Result<_, MergeError> { Ok(Summary { covered, state }) },
        );
        assert!(written.is_ok());
    }
    drop((store, bucket));
    let store = open(&Arc::new(disk.process_death()));
    let bucket = store.open_bucket("b").unwrap();
    assert_eq!(bucket.keyspace().index_status().rebuilds, 1);
    assert_eq!(store.state_digest().unwrap(), digest);
    index(bucket.keyspace());
    assert_eq!(store.buckets().unwrap(), infos);
}
