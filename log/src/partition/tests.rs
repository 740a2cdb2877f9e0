use std::ops::ControlFlow;

use super::*;
use crate::log::Log;
use crate::segment::PAGE_BYTES;
use crate::testing::{SEGMENT_BYTES, append, open_on};
use crate::vfs::simulated::SimulatedDisk;

/// Appends and waits until it is durable.
fn put(log: &Log, payload: &[u8]) -> Appended {
    let mut appended = append(log, payload, Durability::Local).unwrap();
    let commit = std::mem::replace(&mut appended.commit, Commit::completed());
    commit.wait().unwrap();
    appended
}

/// A log of several segments, and its batches: the segment and the offset of each.
fn several_segments(disk: &SimulatedDisk) -> (Log, Vec<(Offset, Offset)>) {
    let log = open_on(disk, false).unwrap();
    let batches = (0..40)
        .map(|number| {
            let appended = put(&log, &[number; 4_000]);
            (appended.segment, appended.offset)
        })
        .collect();
    assert!(log.partitions()[0].segments().len() > 2);
    (log, batches)
}

fn batches_of(
    replay: impl FnOnce(&mut dyn FnMut(ReplayedBatch<'_>) -> ControlFlow<()>) -> Result<()>,
) -> Result<Vec<Offset>> {
    let mut offsets = Vec::new();
    replay(&mut |batch| {
        offsets.push(batch.offset);
        ControlFlow::Continue(())
    })?;
    Ok(offsets)
}

#[test]
fn a_batch_says_which_segment_it_stands_in() {
    let (log, batches) = several_segments(&SimulatedDisk::new(0));
    let spans = log.partitions()[0].segments();
    for (segment, offset) in batches {
        let span = spans.iter().find(|span| span.base == segment).unwrap();
        assert!((span.base..span.end).contains(&offset));
    }
    let sealed: Vec<bool> = spans.iter().map(|span| span.sealed).collect();
    let (last, others) = sealed.split_last().unwrap();
    assert!(!last && others.iter().all(|sealed| *sealed));
    assert!(spans.is_sorted_by_key(|span| (span.number, span.base, span.end)));
}

#[test]
fn after_an_unclean_close_every_segment_is_sealed() {
    let disk = SimulatedDisk::new(0);
    drop(several_segments(&disk));
    let log = open_on(&disk, false).unwrap();
    let spans = log.partitions()[0].segments();
    assert!(!spans.is_empty() && spans.iter().all(|span| span.sealed));
}

#[test]
fn one_segment_is_replayed_alone() {
    let (log, batches) = several_segments(&SimulatedDisk::new(0));
    let partition = &log.partitions()[0];
    for span in partition.segments() {
        let expected: Vec<_> = batches
            .iter()
            .filter(|(segment, _)| *segment == span.base)
            .map(|(_, offset)| *offset)
            .collect();
        let found = batches_of(|visit| partition.replay_segment(span.base, visit)).unwrap();
        assert_eq!(found, expected);
    }
    let nowhere = partition.replay_segment(Offset::new(1), |_| ControlFlow::Continue(()));
    assert!(matches!(nowhere, Err(Error::OutOfRange { .. })));
}

#[test]
fn a_replay_does_not_walk_segments_below_its_start() {
    let disk = SimulatedDisk::new(0);
    let (log, batches) = several_segments(&disk);
    log.close().unwrap();
    let second = log.partitions()[0].segments()[1];
    drop(log);
    // Damage in the first segment is met by whoever walks it.
    disk.flip_bit("/log/p0000/0000000000000001.seg", 4096 + 3, 0);
    let log = open_on(&disk, false).unwrap();
    let partition = &log.partitions()[0];
    assert!(batches_of(|visit| partition.replay(Offset::new(0), visit)).is_err());
    let expected: Vec<_> = batches
        .iter()
        .map(|(_, offset)| *offset)
        .filter(|offset| *offset >= second.base)
        .collect();
    let found = batches_of(|visit| partition.replay(second.base, visit)).unwrap();
    assert_eq!(found, expected);
}

#[test]
fn sealing_goes_on_to_a_new_segment_and_gives_the_unused_tail_back() {
    let disk = SimulatedDisk::new(0);
    let log = open_on(&disk, false).unwrap();
    let partition = &log.partitions()[0];
    partition.seal().unwrap();
    assert_eq!(partition.segments(), [], "there was nothing to seal");
    let first = put(&log, b"in the first");
    // What is sequenced but not written yet is sealed, too.
    let pending = append(&log, b"in the first, too", Durability::Buffered).unwrap();
    partition.seal().unwrap();
    pending.commit.wait().unwrap();
    let status = partition.status();
    assert_eq!(status.prepared_bytes, SEGMENT_BYTES - PAGE_BYTES);
    assert_eq!(status.segments, 2);
    partition.seal().unwrap();
    assert_eq!(partition.status(), status, "an empty segment is not sealed");
    let second = put(&log, b"in the second");
    assert_eq!(second.segment, pending.end);
    assert!(second.segment > first.segment);
    let length = disk.length("/log/p0000/0000000000000001.seg");
    assert_eq!(length, 2 * PAGE_BYTES);
    assert_eq!(
        disk.length("/log/p0000/0000000000000002.seg"),
        SEGMENT_BYTES
    );
    log.close().unwrap();
    drop(log);
    let log = open_on(&disk, false).unwrap();
    let found = batches_of(|visit| log.partitions()[0].replay(Offset::new(0), visit)).unwrap();
    assert_eq!(found, [first.offset, pending.offset, second.offset]);
    assert_eq!(put(&log, b"goes on").segment, second.segment);
}

#[test]
fn a_full_disk_leaves_the_segment_that_was_to_be_sealed_as_it_was() {
    let disk = SimulatedDisk::new(0);
    let log = open_on(&disk, false).unwrap();
    let partition = &log.partitions()[0];
    let first = put(&log, b"before");
    disk.set_capacity(SEGMENT_BYTES + (32 << 10));
    assert!(matches!(partition.seal(), Err(Error::DiskFull { .. })));
    assert!(!partition.is_poisoned());
    assert_eq!(put(&log, b"after").segment, first.segment);
    disk.set_capacity(10 * SEGMENT_BYTES);
    partition.seal().unwrap();
    assert!(put(&log, b"next").segment > first.segment);
}

#[test]
fn sealing_a_closed_log_is_refused() {
    let log = open_on(&SimulatedDisk::new(0), false).unwrap();
    put(&log, b"x");
    log.close().unwrap();
    assert!(matches!(
        log.partitions()[0].seal(),
        Err(Error::Poisoned { .. })
    ));
}

#[test]
fn a_sealed_segment_is_read_whatever_is_left_of_its_unused_tail() {
    let disk = SimulatedDisk::new(0);
    let log = open_on(&disk, false).unwrap();
    let batch = put(&log, b"sealed");
    log.partitions()[0].seal().unwrap();
    drop(log);
    let path = "/log/p0000/0000000000000001.seg";
    for length in [
        PAGE_BYTES + 100,
        2 * PAGE_BYTES,
        SEGMENT_BYTES,
        2 * SEGMENT_BYTES,
    ] {
        let found = disk.fork();
        let mut bytes = found.read(path);
        bytes.resize(usize::try_from(length).unwrap(), 0);
        found.write(path, &bytes);
        // Once as an older segment, once as the newest: its successor was never used.
        for _ in 0..2 {
            let log = open_on(&found, false).unwrap();
            let replayed = batches_of(|visit| log.partitions()[0].replay(Offset::new(0), visit));
            assert_eq!(replayed.unwrap(), [batch.offset], "{length}");
        }
    }
}

#[test]
fn many_threads_seal_while_others_append() {
    let log = open_on(&SimulatedDisk::new(0), true).unwrap();
    let partition = &log.partitions()[0];
    put(&log, b"first");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..100).for_each(|_| drop(put(&log, b"some"))));
        }
        scope.spawn(|| (0..20).for_each(|_| partition.seal().unwrap()));
        scope.spawn(|| (0..20).for_each(|_| partition.seal().unwrap()));
    });
    let found = batches_of(|visit| partition.replay(Offset::new(0), visit)).unwrap();
    assert_eq!(found.len(), 301);
    assert!(partition.segments().len() >= 2);
}
