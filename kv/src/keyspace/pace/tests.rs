use std::thread;

use cairn_log::vfs::Vfs;
use cairn_log::vfs::simulated::SimulatedDisk;

use super::*;
use crate::keyspace::testing::options;
use crate::{Bucket, Store};

fn open(merge_entries: u64) -> (Store, Bucket) {
    open_on(&SimulatedDisk::new(0), merge_entries)
}

fn open_on(disk: &SimulatedDisk, merge_entries: u64) -> (Store, Bucket) {
    let options = options()
        .segment_bytes(256 << 10)
        .merge_entries(merge_entries);
    let vfs = Arc::new(disk.clone()) as Arc<dyn Vfs>;
    let store = options.open_on(vfs, "/store").unwrap();
    let bucket = store.bucket("b").unwrap();
    (store, bucket)
}

/// Puts them in a segment of their own.
fn put(bucket: &Bucket, keys: std::ops::Range<u32>) {
    for number in keys {
        bucket.put(number.to_be_bytes(), [7; 10]).unwrap();
    }
    bucket.keyspace().log().seal().unwrap();
    bucket.put("last", "").unwrap();
}

fn write_runs(keyspace: &Keyspace) {
    while keyspace.write_waiting_run().unwrap().is_some() {}
}

/// Has it believe that much is being written.
fn press(keyspace: &Keyspace) {
    let pressure = &mut keyspace.maintenance.lock().pressure;
    let now = Instant::now();
    pressure.look(now, Offset::new(0));
    pressure.look(now + Duration::from_secs(1), Offset::new(1 << 30));
    assert!(pressure.is_high());
}

fn merge(keyspace: &Keyspace) -> bool {
    keyspace
        .merge_runs(&mut keyspace.maintenance.lock())
        .unwrap()
}

#[test]
fn pressure_is_how_fast_the_log_grows() {
    let start = Instant::now();
    let mut pressure = Pressure::default();
    let mut look = |ms, bytes| {
        pressure.look(start + Duration::from_millis(ms), Offset::new(bytes));
        pressure.is_high()
    };
    assert!(!look(0, 1 << 30));
    assert!(!look(10, 2 << 30), "too short a time to tell");
    assert!(look(1_000, 2 << 30));
    assert!(look(1_010, 2 << 30), "what was told last");
    assert!(!look(2_000, (2 << 30) + 1_000_000));
    assert!(!look(3_000, 0), "a log that was cut is no faster");
}

#[test]
fn new_keys_wait_for_their_merge_while_much_is_written() {
    let (_store, bucket) = open(100);
    let keyspace = bucket.keyspace();
    put(&bucket, 0..150);
    write_runs(keyspace);
    press(keyspace);
    assert!(!merge(keyspace));
    put(&bucket, 150..450);
    write_runs(keyspace);
    assert!(merge(keyspace), "they are many now");
    put(&bucket, 500..650);
    write_runs(keyspace);
    assert!(!merge(keyspace));
    keyspace.maintenance.lock().pressure = Pressure::default();
    assert!(merge(keyspace), "it is quiet");
}

#[test]
fn overwritten_keys_hold_back_garbage_and_do_not_wait() {
    let (_store, bucket) = open(100);
    let keyspace = bucket.keyspace();
    put(&bucket, 0..150);
    write_runs(keyspace);
    press(keyspace);
    assert!(!merge(keyspace));
    put(&bucket, 0..150);
    write_runs(keyspace);
    assert!(merge(keyspace));
}

#[test]
fn a_run_that_is_due_is_written_in_the_midst_of_a_merge() {
    let (_store, bucket) = open(1);
    let keyspace = bucket.keyspace();
    for part in 0..4 {
        put(&bucket, part * 300..(part + 1) * 300);
    }
    write_runs(keyspace);
    put(&bucket, 1_200..1_210);
    assert_eq!(keyspace.levels.read().memtables.len(), 2);
    assert!(merge(keyspace));
    let levels = Arc::clone(&keyspace.levels.read());
    assert_eq!((levels.memtables.len(), levels.runs.len()), (1, 1));
    for number in [0_u32, 1_199, 1_205] {
        assert!(bucket.get(number.to_be_bytes()).unwrap().is_some());
    }
    assert_eq!(bucket.info().unwrap().keys, 1_211);
}

#[test]
fn runs_that_come_in_the_midst_of_a_merge_are_no_larger_than_it() {
    let (_store, bucket) = open(1);
    let keyspace = bucket.keyspace();
    put(&bucket, 0..1_200);
    write_runs(keyspace);
    put(&bucket, 2_000..3_300);
    put(&bucket, 4_000..5_300);
    assert_eq!(keyspace.levels.read().memtables.len(), 3);
    assert!(merge(keyspace));
    let levels = Arc::clone(&keyspace.levels.read());
    assert_eq!((levels.memtables.len(), levels.runs.len()), (2, 1));
}

#[test]
fn a_run_that_fails_in_the_midst_of_a_merge_is_left_for_later() {
    let disk = SimulatedDisk::new(0);
    let (_store, bucket) = open_on(&disk, 1);
    let keyspace = bucket.keyspace();
    put(&bucket, 0..1_200);
    write_runs(keyspace);
    put(&bucket, 2_000..2_010);
    let runs_written = || {
        let paths = disk.paths().into_iter();
        let runs = paths.filter(|path| path.extension().is_some_and(|end| end == "run"));
        runs.count()
    };
    let before = runs_written();
    // The first write of the merge is that of the run: redb writes when it commits.
    let next = disk.counts().writes + 1;
    disk.fail_write(next);
    assert!(merge(keyspace));
    assert_eq!(keyspace.levels.read().memtables.len(), 2);
    assert_eq!(runs_written(), before);
    write_runs(keyspace);
    assert_eq!(keyspace.levels.read().memtables.len(), 1);
}

#[test]
fn a_writer_waits_while_another_collects_too_much_garbage() {
    let (_store, bucket) = open(1_000_000);
    let keyspace = bucket.keyspace();
    keyspace
        .victims
        .store(VICTIMS_WAITING_MAX + 1, Ordering::Relaxed);
    // As if it were collecting.
    let maintenance = keyspace.maintenance.lock();
    thread::scope(|scope| {
        let writer = scope.spawn(|| keyspace.keep_pace(Claim::Write));
        thread::sleep(10 * LOOKS);
        assert!(!writer.is_finished());
        keyspace.victims.store(0, Ordering::Relaxed);
        writer.join().unwrap().unwrap();
    });
    drop(maintenance);
}

#[test]
fn a_writer_does_not_wait_for_the_end_of_a_merge() {
    let (_store, bucket) = open(1_000_000);
    let keyspace = bucket.keyspace();
    for part in 0..=u32::try_from(MEMTABLES_WAITING_MAX).unwrap() {
        put(&bucket, part * 10..(part + 1) * 10);
    }
    assert!(keyspace.levels.read().memtables.len() > MEMTABLES_WAITING_MAX);
    // As if it were in a merge.
    let maintenance = keyspace.maintenance.lock();
    thread::scope(|scope| {
        let writer = scope.spawn(|| keyspace.keep_pace(Claim::Write));
        thread::sleep(3 * LOOKS);
        assert!(!writer.is_finished());
        write_runs(keyspace);
        writer.join().unwrap().unwrap();
    });
    drop(maintenance);
}

#[test]
fn a_writer_who_needs_room_holds_nothing_of_what_is_collected_for_it() {
    let (_store, bucket) = open(100);
    let keyspace = bucket.keyspace();
    for _ in 0..8 {
        put(&bucket, 0..1_000);
        write_runs(keyspace);
    }
    {
        let mut maintenance = keyspace.maintenance.lock();
        assert!(keyspace.merge_runs(&mut maintenance).unwrap());
        keyspace.note_victims(&maintenance);
    }
    let victims = || keyspace.victims.load(Ordering::Relaxed);
    assert!(victims() > VICTIMS_WAITING_MAX + 2, "{}", victims());
    // Until the segment is full, and its writer makes room.
    let segments = || keyspace.log().segments().last().map(|span| span.base);
    let before = segments();
    while segments() == before {
        bucket.put("filling", [1; 1_000]).unwrap();
    }
    assert!(victims() <= VICTIMS_WAITING_MAX, "{}", victims());
}
