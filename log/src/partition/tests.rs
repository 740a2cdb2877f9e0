use std::ops::ControlFlow;

use super::*;
use crate::log::Log;
use crate::testing::{append, open_on};
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
