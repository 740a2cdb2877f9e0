use std::path::Path;
use std::sync::Arc;

use super::{Claim, LARGE_WRITE_BYTES};
use crate::error::Error;
use crate::frame::BatchBuffer;
use crate::identity::Offset;
use crate::log::{Log, Options};
use crate::partition::{Dropped, Durability, Partition};
use crate::segment::PAGE_BYTES;
use crate::testing::{SEGMENT_BYTES, append, open_on, options};
use crate::vfs::Vfs;
use crate::vfs::simulated::SimulatedDisk;

const RECORD_BYTES: usize = 1_000;

/// Leaves this much of a disk free.
fn leave(disk: &SimulatedDisk, bytes: u64) {
    disk.set_capacity(1 << 50);
    let used = (1 << 50) - disk.free_bytes("/".as_ref()).unwrap();
    disk.set_capacity(used + bytes);
}

fn spares(disk: &SimulatedDisk) -> Vec<u64> {
    let paths = disk.paths().into_iter();
    let spares = paths.filter(|path| path.extension().is_some_and(|suffix| suffix == "spare"));
    spares.map(|path| disk.length(path)).collect()
}

fn put(log: &Log) -> Result<(), Error> {
    let appended = append(log, &[7; RECORD_BYTES], Durability::Local)?;
    appended.commit.wait()
}

/// Appends under a claim until the disk is too full for more; says how many bytes that were.
fn fill(partition: &Arc<Partition>, claim: Claim) -> u64 {
    let mut batch = BatchBuffer::new();
    batch.record(|out| out.extend_from_slice(&[8; RECORD_BYTES]));
    let mut bytes = 0;
    loop {
        let durability = Durability::Local;
        match partition.try_append_claiming(claim, &batch, 0, durability) {
            Ok(Some(appended)) => {
                appended.commit.wait().unwrap();
                bytes += batch.byte_len() as u64;
            }
            Ok(None) => match partition.make_room_claiming(claim, batch.byte_len()) {
                Ok(()) => {}
                Err(Error::DiskFull { .. }) => return bytes,
                Err(error) => panic!("{error}"),
            },
            Err(error) => panic!("{error}"),
        }
    }
}

/// A log of some segments on a disk that takes no more ordinary writes, and the first base.
fn full(disk: &SimulatedDisk) -> (Log, Offset) {
    let log = open_on(disk, false).unwrap();
    put(&log).unwrap();
    leave(disk, 4 * SEGMENT_BYTES);
    let written = fill(&log.partitions()[0], Claim::Write);
    assert!(written > SEGMENT_BYTES);
    assert!(log.partitions()[0].is_disk_full());
    let first = log.partitions()[0].segments()[0].base;
    (log, first)
}

#[test]
fn a_disk_with_room_holds_no_reserve_and_a_fuller_one_gets_it_before_it_is_full() {
    let disk = SimulatedDisk::new(0);
    let log = open_on(&disk, false).unwrap();
    let partition = &log.partitions()[0];
    put(&log).unwrap();
    assert!(!partition.step_prepare().unwrap());
    assert_eq!(spares(&disk), [0; 0]);
    leave(&disk, 4 * SEGMENT_BYTES - 1);
    assert!(partition.step_prepare().unwrap());
    assert_eq!(spares(&disk), [SEGMENT_BYTES / 2, SEGMENT_BYTES]);
    let room = SEGMENT_BYTES - PAGE_BYTES - partition.status().bytes;
    let prepared = partition.status().prepared_bytes;
    assert_eq!(prepared, SEGMENT_BYTES + SEGMENT_BYTES / 2 + room);
    assert!(!partition.step_prepare().unwrap(), "that is all");
}

#[test]
fn a_full_disk_keeps_a_segment_that_only_deletes_and_collectors_take() {
    let disk = SimulatedDisk::new(0);
    let (log, first) = full(&disk);
    let partition = &log.partitions()[0];
    leave(&disk, 0);
    assert_eq!(fill(partition, Claim::Write), 0);
    assert!(matches!(partition.seal(), Err(Error::DiskFull { .. })));
    let room = SEGMENT_BYTES - PAGE_BYTES;
    let frame = 2 * RECORD_BYTES as u64;
    let deletes = fill(partition, Claim::Delete);
    assert!(
        (room / 4 - frame..=room / 4).contains(&deletes),
        "{deletes}"
    );
    assert_eq!(fill(partition, Claim::Write), 0);
    let all = deletes + fill(partition, Claim::Collect);
    assert!((room - frame..=room).contains(&all), "{all}");
    assert!(!partition.is_poisoned());
    // The ballast pays for the drop, and what was dropped for the next reserve.
    assert_eq!(partition.drop_segment(first).unwrap(), Dropped::Done);
    assert!(fill(partition, Claim::Delete) > 0);
    assert_eq!(fill(partition, Claim::Write), 0);
    leave(&disk, 4 * SEGMENT_BYTES);
    put(&log).unwrap();
    assert!(!partition.is_disk_full());
}

#[test]
fn what_is_left_of_a_segment_from_the_reserve_is_for_writes_once_there_is_another() {
    let disk = SimulatedDisk::new(0);
    let (log, _) = full(&disk);
    let partition = &log.partitions()[0];
    let deletes = fill(partition, Claim::Delete);
    assert!(deletes > 0);
    leave(&disk, SEGMENT_BYTES + PAGE_BYTES);
    let writes = fill(partition, Claim::Write);
    assert!(writes > SEGMENT_BYTES / 2 && writes + deletes < SEGMENT_BYTES);
    assert!(
        fill(partition, Claim::Collect) > SEGMENT_BYTES / 2,
        "it is there"
    );
}

#[test]
fn a_full_disk_opens_with_its_reserve_however_the_log_was_left() {
    for (claim, is_clean) in [
        (Claim::Write, true),
        (Claim::Write, false),
        (Claim::Delete, true),
        (Claim::Delete, false),
    ] {
        let disk = SimulatedDisk::new(0);
        let (log, _) = full(&disk);
        fill(&log.partitions()[0], claim);
        leave(&disk, 0);
        if is_clean {
            log.close().unwrap();
        }
        drop(log);
        let log = open_on(&disk, false).unwrap();
        let partition = &log.partitions()[0];
        let context = format!("{claim:?}, {is_clean}");
        assert_eq!(fill(partition, Claim::Write), 0, "{context}");
        let claimed = fill(partition, Claim::Delete) + fill(partition, Claim::Collect);
        assert!(claimed > SEGMENT_BYTES / 4, "{context}: {claimed}");
    }
}

#[test]
fn spares_are_unlinked_at_a_close_and_at_an_open() {
    let disk = SimulatedDisk::new(0);
    let (log, _) = full(&disk);
    let crashed = disk.process_death();
    assert!(!spares(&crashed).is_empty());
    log.close().unwrap();
    assert_eq!(spares(&disk), [0; 0]);
    crashed.set_capacity(1 << 50);
    drop(open_on(&crashed, false).unwrap());
    assert_eq!(spares(&crashed), [0; 0]);
}

const LARGE_BYTES: u64 = 16 << 20;
const SHORT: usize = 4 << 20;
const SHORT_BYTES: u64 = SHORT as u64;

fn open_large(disk: &SimulatedDisk) -> Log {
    let options = Options {
        segment_bytes: LARGE_BYTES,
        ..options(false)
    };
    Log::open(Arc::new(disk.clone()), Path::new("/log"), options).unwrap()
}

fn lengths(disk: &SimulatedDisk) -> Vec<u64> {
    let paths = disk.paths().into_iter();
    let segments = paths.filter(|path| path.extension().is_some_and(|suffix| suffix == "seg"));
    segments.map(|path| disk.length(path)).collect()
}

#[test]
fn who_finds_nothing_prepared_waits_for_a_short_segment_and_the_next_one_is_whole() {
    let disk = SimulatedDisk::new(0);
    let log = open_large(&disk);
    let partition = &log.partitions()[0];
    put(&log).unwrap();
    assert_eq!(lengths(&disk), [SHORT_BYTES]);
    assert!(!partition.step_prepare().unwrap(), "it is hardly filled");
    append(&log, &[7; SHORT / 3], Durability::Local)
        .and_then(|appended| appended.commit.wait())
        .unwrap();
    assert!(partition.step_prepare().unwrap());
    assert_eq!(spares(&disk), [LARGE_BYTES]);
    let prepared = partition.status().prepared_bytes;
    assert!((LARGE_BYTES..LARGE_BYTES + SHORT_BYTES).contains(&prepared));
    append(&log, &[7; SHORT], Durability::Local)
        .and_then(|appended| appended.commit.wait())
        .unwrap();
    assert_eq!(lengths(&disk)[1..], [LARGE_BYTES]);
    let prepared = partition.status().prepared_bytes;
    assert!(prepared < LARGE_BYTES, "{prepared}: it is taken");
    // Nothing is appended to what an unclean close left.
    drop(log);
    let log = open_large(&disk);
    put(&log).unwrap();
    assert_eq!(lengths(&disk).last(), Some(&SHORT_BYTES));
}

#[test]
fn a_short_segment_takes_the_batch_that_waits_for_it_however_large() {
    let disk = SimulatedDisk::new(0);
    let log = open_large(&disk);
    let payload = vec![7; 2 * SHORT];
    let appended = append(&log, &payload, Durability::Local).unwrap();
    appended.commit.wait().unwrap();
    let length = lengths(&disk)[0];
    assert!((2 * SHORT_BYTES..LARGE_BYTES).contains(&length), "{length}");
    let most = log.partitions()[0].batch_bytes_max();
    log.partitions()[0].make_room(most).unwrap();
    assert_eq!(lengths(&disk)[1..], [LARGE_BYTES]);
}

#[test]
fn with_little_space_nothing_is_short() {
    let disk = SimulatedDisk::new(0);
    disk.set_capacity(3 * LARGE_BYTES);
    let log = open_large(&disk);
    put(&log).unwrap();
    assert_eq!(lengths(&disk), [LARGE_BYTES]);
}

#[test]
fn a_log_written_in_large_pieces_is_not_written_twice() {
    let disk = SimulatedDisk::new(0);
    let log = open_large(&disk);
    let partition = &log.partitions()[0];
    let write = |bytes: usize, times: usize| {
        for _ in 0..times {
            let appended = append(&log, &vec![7; bytes], Durability::Buffered).unwrap();
            appended.commit.wait().unwrap();
        }
        let before = disk.counts();
        partition.seal().unwrap();
        partition.step_prepare().unwrap();
        let after = disk.counts();
        (
            after.allocations - before.allocations,
            after.bytes_written - before.bytes_written,
        )
    };
    let large = usize::try_from(LARGE_WRITE_BYTES).unwrap();
    let (allocations, _) = write(large, 10);
    assert_eq!(allocations, 1);
    let (allocations, written) = write(large / 2, 20);
    assert_eq!(allocations, 0);
    assert!(written >= SHORT_BYTES, "zeros: {written}");
    let (allocations, _) = write(2 * large, 5);
    assert_eq!(allocations, 1);
}
