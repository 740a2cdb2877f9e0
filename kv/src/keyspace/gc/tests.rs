mod short;
mod space;

use std::time::Duration;

use cairn_log::vfs::Vfs;
use cairn_log::vfs::simulated::SimulatedDisk;
use cairn_log::{BatchBuffer, Claim};

use super::judge::{Move, Verdict};
use super::*;
use crate::error::ErrorKind;
use crate::keyspace::testing::{index, options, put_round, write_runs};
use crate::record::{Body, BucketId, Origin, Record};
use crate::snapshot::pins::Pinned;
use crate::{Bucket, Store};

const SEGMENT_BYTES: u64 = 16 << 10;
const KEYS: u32 = 20;

/// A store without threads, and its bucket.
fn open(disk: &Arc<SimulatedDisk>, watch_lag_bytes: u64) -> (Store, Bucket) {
    let options = options()
        .segment_bytes(SEGMENT_BYTES)
        .watch_lag_bytes(watch_lag_bytes);
    let vfs = Arc::clone(disk) as Arc<dyn Vfs>;
    let store = options.open_on(vfs, "/store").unwrap();
    let bucket = store.bucket("b").unwrap();
    (store, bucket)
}

fn settle(store: &Store) {
    while store.step().unwrap() {}
}

/// Flips a bit in every sector of a file.
fn damage(disk: &SimulatedDisk, path: &str) {
    let sectors = (0..disk.length(path)).step_by(512);
    sectors.for_each(|place| disk.flip_bit(path, place, 3));
}

/// The bases of the retained segments.
fn bases(bucket: &Bucket) -> Vec<u64> {
    let spans = bucket.keyspace().log().segments().into_iter();
    spans.map(|span| span.base.get()).collect()
}

/// A merged segment in which a quarter of the keys is alive, and nothing collected yet.
fn with_victim(disk: &Arc<SimulatedDisk>) -> (Store, Bucket) {
    let (store, bucket) = open(disk, u64::MAX);
    put_round(&bucket, 0..KEYS, 1);
    for round in 2..6 {
        put_round(&bucket, KEYS / 4..KEYS, round);
        index(bucket.keyspace());
    }
    (store, bucket)
}

/// Judges the oldest segment, a victim, and shows what is alive in it.
fn judge_oldest<T>(
    keyspace: &Keyspace,
    then: impl FnOnce(&Trial<'_>, &SegmentRow, &[Move]) -> T,
) -> T {
    let levels = Arc::clone(&keyspace.levels.read());
    let state = decode_state(levels.merged.as_ref().unwrap()).unwrap();
    let row = state.segments[0];
    let floor = keyspace.floor().max(keyspace.floor_due(&state));
    let trial = keyspace.trial(&levels, &state, &row, floor);
    let trial = trial.unwrap().unwrap();
    let judged = keyspace.judge_victim(&trial, half(&row));
    let Ok(Judgement::Goes(Judged { moves, .. })) = judged else {
        panic!("a victim is less than half alive");
    };
    then(&trial, &row, &moves)
}

/// Everything is as it was, and a log without an index says the same.
fn assert_whole(disk: &SimulatedDisk, store: Store, bucket: Bucket) {
    for number in 0..KEYS {
        let entry = bucket.get(number.to_be_bytes()).unwrap().unwrap();
        let round = if number < KEYS / 4 { 1 } else { 5 };
        assert_eq!(entry.value[0], round, "{number}");
    }
    let digest = store.state_digest().unwrap();
    drop((store, bucket));
    let found = disk.process_death();
    for path in found.paths() {
        let suffix = path.extension().unwrap_or_default();
        if suffix == "run" || suffix == "redb" {
            found.erase(&path);
        }
    }
    let (store, _) = open(&Arc::new(found), u64::MAX);
    assert_eq!(store.state_digest().unwrap(), digest);
}

#[test]
fn a_record_of_which_nobody_can_tell_whether_it_was_overtaken_keeps_its_segment() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let (store, bucket) = with_victim(&disk);
    let keyspace = bucket.keyspace();
    let base = judge_oldest(keyspace, |trial, row, moves| {
        assert!(row.end <= trial.floor);
        assert!(!moves.is_empty());
        // One of them is overtaken, and the memtable that would tell becomes a run that is damaged.
        put_round(&bucket, 0..1, 1);
        keyspace.log().seal().unwrap();
        bucket.put("another segment", "x").unwrap();
        write_runs(keyspace);
        let run = Arc::clone(&keyspace.levels.read().runs[0]);
        let number = run.head().identity.segment;
        damage(&disk, &format!("/store/p0000/{number:016x}.run"));
        let end = keyspace.log().end();
        let moved = keyspace.move_batch(&mut keyspace.maintenance.lock(), trial, moves);
        assert_eq!(moved.unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(keyspace.log().end(), end, "nothing is moved in part");
        row.base
    });
    // Once the run is made anew, the segment goes.
    settle(&store);
    assert!(!bases(&bucket).contains(&base));
    assert_whole(&disk, store, bucket);
}

/// A collection that was broken off after it had moved everything, superseded versions that a
/// snapshot shows included.
#[test]
fn what_was_moved_before_is_not_moved_again() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let (store, bucket) = with_victim(&disk);
    let keyspace = bucket.keyspace();
    bucket.snapshot("s").unwrap();
    put_round(&bucket, 0..2, 6);
    index(keyspace);
    let judge = |is_moved: bool| {
        judge_oldest(keyspace, |trial, _, moves| {
            if !is_moved {
                let mut maintenance = keyspace.maintenance.lock();
                keyspace.move_batch(&mut maintenance, trial, moves).unwrap();
            }
            moves.iter().map(|one| one.verdict).collect::<Vec<_>>()
        })
    };
    let is_superseded = |verdict: &&Verdict| **verdict == Verdict::Superseded;
    let moved = judge(false);
    assert_eq!(moved.iter().filter(is_superseded).count(), 2, "{moved:?}");
    assert!(moved.len() > 2, "{moved:?}");
    assert_eq!(judge(true), []);
    index(keyspace);
    assert_eq!(judge(true), []);
    let view = bucket.snapshot_view("s").unwrap();
    for number in 0..KEYS / 4 {
        let entry = view.get(number.to_be_bytes()).unwrap().unwrap();
        assert_eq!(entry.value[0], 1, "{number}");
    }
    drop((view, store));
}

#[test]
fn the_levels_are_asked_for_a_key_once_however_many_versions_a_victim_has() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let (store, bucket) = open(&disk, u64::MAX);
    let keyspace = bucket.keyspace();
    // It follows the versions of its namesake in key order.
    let other = store.bucket("other").unwrap();
    other.put("warm", "alive").unwrap();
    let mut shown = Vec::new();
    while bases(&bucket).len() < 6 {
        let version = bucket.put("hot", "x").unwrap();
        bucket.put("warm", "y").unwrap();
        // Twice in the first segment.
        if [50, 70].contains(&shown.len()) {
            bucket.snapshot(&format!("{}", shown.len())).unwrap();
        }
        shown.push(version);
    }
    index(keyspace);
    let records = judge_oldest(keyspace, |trial, row, moves| {
        assert!(shown[70].get() < row.end && row.end <= trial.floor);
        // What is alive, the snapshots, and two keys as each of them shows them.
        assert_eq!(moves.len(), 1 + 2 + 4);
        trial.victim.len()
    });
    assert!(records > 200, "{records}");
    let asked = keyspace.asked_of_levels();
    // Those, and what both keys were at the segment's end.
    assert_eq!(asked, 7 + 2, "of {records} records");
    settle(&store);
    assert_eq!(&other.get("warm").unwrap().unwrap().value[..], b"alive");
    for (name, at) in [("50", 50), ("70", 70)] {
        let view = bucket.snapshot_view(name).unwrap();
        assert_eq!(
            view.get("hot").unwrap().unwrap().version,
            shown[at],
            "{name}"
        );
    }
}

#[test]
fn a_segment_that_was_dropped_since_the_last_merge_is_no_victim_again() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let (store, bucket) = with_victim(&disk);
    let keyspace = bucket.keyspace();
    let first = bases(&bucket)[0];
    while bases(&bucket)[0] == first {
        let mut maintenance = keyspace.maintenance.lock();
        assert!(keyspace.collect_garbage(&mut maintenance).unwrap());
    }
    let levels = Arc::clone(&keyspace.levels.read());
    let state = decode_state(levels.merged.as_ref().unwrap()).unwrap();
    assert_eq!(state.segments[0].base, first, "no merge has forgotten it");
    let maintenance = keyspace.maintenance.lock();
    let mut movable = keyspace.movable(&state, &maintenance.garbage);
    assert!(movable.all(|(row, _)| row.base != first));
    drop(store);
}

#[test]
fn a_version_that_is_overtaken_while_it_is_moved_stays_in_history() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let (store, bucket) = with_victim(&disk);
    let keyspace = bucket.keyspace();
    let moment = bucket.version();
    let base = judge_oldest(keyspace, |trial, row, moves| {
        assert!(moves.len() > 2);
        // Before its move is sequenced, one of the keys is put and another one deleted.
        put_round(&bucket, 0..1, 7);
        bucket.delete(1_u32.to_be_bytes()).unwrap();
        keyspace.raise_floor(trial.floor).unwrap();
        let mut maintenance = keyspace.maintenance.lock();
        keyspace.move_controls(&mut maintenance, trial).unwrap();
        keyspace.move_batch(&mut maintenance, trial, moves).unwrap();
        keyspace.log().barrier().unwrap().wait().unwrap();
        row.base
    });
    let dropped = keyspace.log().drop_segment(Offset::new(base));
    assert_eq!(dropped.unwrap(), Dropped::Done);
    keyspace.archive.lock().remove(&base);
    let look = |bucket: &Bucket| {
        let view = bucket.at(moment).unwrap();
        for number in 0..KEYS / 4 {
            let found = view.get(number.to_be_bytes()).unwrap();
            assert_eq!(found.unwrap().value[0], 1, "{number}");
        }
        let newest = [0, 1, 2_u32].map(|number| bucket.get(number.to_be_bytes()).unwrap());
        let newest = newest.map(|entry| entry.map(|entry| entry.value[0]));
        assert_eq!(newest, [Some(7), None, Some(1)]);
    };
    look(&bucket);
    drop((store, bucket));
    let (_store, bucket) = open(&Arc::new(disk.process_death()), u64::MAX);
    look(&bucket);
}

#[test]
fn a_view_of_the_past_looks_into_no_segment_that_may_be_dropped_under_it() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let (store, bucket) = with_victim(&disk);
    let version = bucket.version();
    // A scan holds the victim although it is empty by now: it is dropped behind the view.
    let scan = bucket.scan(crate::Scan::default()).unwrap();
    settle(&store);
    let leaving = bucket.keyspace().maintenance.lock().garbage.leaving[0].base;
    let view = bucket.at(version).unwrap();
    drop(scan);
    settle(&store);
    assert!(!bases(&bucket).contains(&leaving));
    let rows = view.scan(&crate::Scan::default());
    let rows: crate::Result<Vec<_>> = rows.collect();
    assert_eq!(rows.unwrap().len(), KEYS as usize);
    for number in 0..KEYS {
        let entry = view.get(number.to_be_bytes()).unwrap().unwrap();
        let round = if number < KEYS / 4 { 1 } else { 5 };
        assert_eq!(entry.value[0], round, "{number}");
    }
}

#[test]
fn what_a_snapshot_fills_is_judged_once_until_it_is_removed() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let (store, bucket) = open(&disk, u64::MAX);
    for part in 0..10 {
        put_round(&bucket, part * 100..(part + 1) * 100, 1);
        settle(&store);
    }
    bucket.snapshot("s").unwrap();
    let before = bases(&bucket);
    for part in 0..10 {
        put_round(&bucket, part * 100..(part + 1) * 100, 2);
        settle(&store);
    }
    let keyspace = bucket.keyspace();
    let held = |base: &u64| keyspace.maintenance.lock().garbage.held.contains_key(base);
    assert!(before.iter().filter(|&base| held(base)).count() > 40);
    // Whatever is collected from now on, none of them is a victim again.
    let victims = || {
        let levels = Arc::clone(&keyspace.levels.read());
        let state = decode_state(levels.merged.as_ref().unwrap()).unwrap();
        let mut maintenance = keyspace.maintenance.lock();
        maintenance.garbage.drops += 1;
        let floor = keyspace.floor();
        let victims = keyspace.victims(&state, &maintenance.garbage, floor);
        victims
            .map(|(row, _)| row.base)
            .filter(|base| before.contains(base))
            .count()
    };
    // But those that were judged before the floor had passed the snapshot: these once more.
    victims();
    settle(&store);
    assert_eq!(victims(), 0);
    assert!(before.iter().all(|base| bases(&bucket).contains(base)));
    bucket.remove_snapshot("s").unwrap();
    assert!(victims() > 40);
    settle(&store);
    let left = bases(&bucket);
    let left = left.iter().filter(|&base| before.contains(base)).count();
    // History still shows the last quarter or so as it was.
    assert!(2 * left < before.len(), "{left} of {}", before.len());
}

#[test]
fn a_control_record_that_cannot_be_read_keeps_its_segment() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let (store, bucket) = with_victim(&disk);
    let first = bases(&bucket)[0];
    let run = {
        let levels = Arc::clone(&bucket.keyspace().levels.read());
        let archive = bucket.keyspace().archive(&levels).unwrap();
        archive.last().cloned().unwrap()
    };
    let control = run.head().controls[0];
    let place = 4_096 + control - first + 10;
    let path = "/store/p0000/0000000000000001.seg";
    disk.flip_bit(path, place, 0);
    let refused = (0..50).find_map(|_| store.step().err()).unwrap();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert_eq!(bases(&bucket)[0], first);
    disk.flip_bit(path, place, 0);
    settle(&store);
    assert!(bases(&bucket)[0] > first);
    assert_whole(&disk, store, bucket);
}

#[test]
fn a_control_record_that_verifies_but_means_nothing_here_is_an_error_and_no_death() {
    let key = Record {
        origin: Origin::Here { place: 24 },
        bucket: BucketId(1),
        body: Body::Delete {
            key: b"k",
            expired: false,
        },
    };
    let mut of_a_key = Vec::new();
    key.encode(&mut of_a_key);
    for payload in [&b"\xff"[..], &of_a_key] {
        let disk = Arc::new(SimulatedDisk::new(0));
        let (_store, bucket) = open(&disk, u64::MAX);
        let keyspace = bucket.keyspace();
        let mut batch = BatchBuffer::new();
        batch.record(|bytes| bytes.extend_from_slice(payload));
        let mut sequencer = keyspace.sequencer.lock();
        let appended = keyspace.append_control(&mut sequencer, Claim::Write, &batch, |_, _| {});
        drop(sequencer);
        appended.unwrap().unwrap().0.commit.wait().unwrap();
        keyspace.log().seal().unwrap();
        bucket.put("another segment", "x").unwrap();
        let mut maintenance = keyspace.maintenance.lock();
        while keyspace.write_oldest_run(&mut maintenance).unwrap() {}
        let levels = Arc::clone(&keyspace.levels.read());
        let trial = Trial {
            state: &IndexState::default(),
            levels: &levels,
            others: Vec::new(),
            archive: levels.runs.clone(),
            victim: Arc::clone(&levels.runs[0]),
            floor: 0,
            pinned: Pinned::default(),
        };
        let moved = keyspace.move_controls(&mut maintenance, &trial);
        assert_eq!(moved.unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_victim_is_judged_by_a_new_run_if_its_own_is_damaged() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let (store, bucket) = with_victim(&disk);
    let first = bases(&bucket)[0];
    let path = "/store/p0000/0000000000000001.run";
    damage(&disk, path);
    settle(&store);
    assert!(bases(&bucket)[0] > first);
    assert_whole(&disk, store, bucket);
}

#[test]
fn collection_goes_on_while_a_watch_holds_a_segment_whose_records_are_moved() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let (store, bucket) = with_victim(&disk);
    let keyspace = bucket.keyspace();
    // A scan holds what is dropped once it is gone, and a watch begins meanwhile.
    let mut scan = bucket.scan(crate::Scan::default()).unwrap();
    scan.next().unwrap().unwrap();
    settle(&store);
    let leaving = keyspace.maintenance.lock().garbage.leaving[0].base;
    let before: Vec<u64> = bases(&bucket)
        .into_iter()
        .filter(|&base| base < leaving)
        .collect();
    let watch = bucket
        .watch(Some(crate::Version::new(leaving)), "")
        .unwrap();
    drop(scan);
    // What dies below the watch is collected, what it has not seen is not.
    for round in 6..9 {
        put_round(&bucket, 0..KEYS, round);
        settle(&store);
    }
    assert!(!before.is_empty() && before.iter().all(|base| !bases(&bucket).contains(base)));
    assert!(bases(&bucket).contains(&leaving));
    drop(watch);
    settle(&store);
    assert!(!bases(&bucket).contains(&leaving));
}

#[test]
fn law_7_a_watch_that_is_held_costs_its_lag_and_no_more() {
    const LAG_BYTES: u64 = 8 * SEGMENT_BYTES;
    let disk = Arc::new(SimulatedDisk::new(0));
    let (store, bucket) = open(&disk, LAG_BYTES);
    let live_bytes = u64::from(KEYS) * 904;
    let bound = 2 * live_bytes + 3 * SEGMENT_BYTES;
    let first = bucket.put("first", "x").unwrap();
    let mut held = bucket.watch(Some(first), "").unwrap();
    let (mut most, mut last) = (0, 0);
    for round in 0..40 {
        put_round(&bucket, 0..KEYS, round);
        settle(&store);
        last = store.status().partitions[0].bytes;
        most = most.max(last);
    }
    assert!(most > bound, "{most}: the watch held nothing");
    assert!(
        most <= bound + LAG_BYTES,
        "{most} bytes of log, held {LAG_BYTES}"
    );
    assert!(
        last <= bound,
        "{last} bytes of log after the watch was cut off"
    );
    let told = loop {
        match held.next(Duration::ZERO) {
            Ok(Some(_)) => {}
            other => break other.map(drop),
        }
    };
    assert_eq!(told.unwrap_err().kind(), ErrorKind::Compacted);
}
