use std::ops::ControlFlow;

use super::*;
use crate::commit::Commit;
use crate::frame::BatchBuffer;
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
fn many_records_are_read_together_as_each_is_alone() {
    let (log, batches) = several_segments(&SimulatedDisk::new(0));
    let partition = &log.partitions()[0];
    let first = BatchBuffer::FIRST_PLACE;
    let mut offsets: Vec<Offset> = batches.iter().map(|(_, batch)| batch.plus(first)).collect();
    let mut unsynced = 0;
    for number in 0..5 {
        let appended = append(&log, &[100 + number; 50], Durability::Buffered).unwrap();
        offsets.push(appended.offset.plus(first));
        appended.commit.wait().unwrap();
        unsynced += usize::from(appended.offset >= partition.durable());
    }
    assert!(unsynced > 0);
    // In no order, with places in between where no record stands, and where nothing does.
    offsets.extend([
        Offset::new(1),
        batches[3].1,
        partition.end(),
        Offset::new(1 << 40),
    ]);
    for stride in [1, 10, 20] {
        let asked: Vec<Offset> = (0..offsets.len())
            .map(|at| offsets[at * stride % offsets.len()])
            .collect();
        let durable = partition.durable();
        let mut told = Vec::new();
        partition.with_records(&asked, |index, payload| {
            told.push((
                index,
                payload
                    .map(<[u8]>::to_vec)
                    .map_err(|error| error.to_string()),
            ));
        });
        let (synced, others): (Vec<usize>, Vec<usize>) =
            (0..asked.len()).partition(|&index| asked[index] < durable);
        let order: Vec<usize> = synced.into_iter().chain(others).collect();
        let alone = |&index: &usize| {
            let read = partition.with_record(asked[index], <[u8]>::to_vec);
            (index, read.map_err(|error| error.to_string()))
        };
        assert_eq!(told, order.iter().map(alone).collect::<Vec<_>>());
        assert_eq!(told.iter().filter(|(_, read)| read.is_err()).count(), 4);
    }
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
fn the_room_behind_a_cut_is_given_back_by_whoever_comes_first_and_before_a_segment_is_prepared() {
    let path = "/log/p0000/0000000000000001.seg";
    let disk = SimulatedDisk::new(0);
    let log = open_on(&disk, false).unwrap();
    let kept = put(&log, b"kept");
    drop(log);
    let by_housekeeping: fn(&Log) = |log| assert!(log.partitions()[0].step_prepare().unwrap());
    let by_close: fn(&Log) = |log| log.close().unwrap();
    // What is cut off is all the room there is.
    let by_write: fn(&Log) = |log| drop(put(log, b"next"));
    for give_back in [by_housekeeping, by_close, by_write] {
        let disk = disk.fork();
        let log = open_on(&disk, false).unwrap();
        assert_eq!(
            disk.length(path),
            SEGMENT_BYTES,
            "an open does not wait for it"
        );
        disk.set_capacity(3 * SEGMENT_BYTES + (24 << 10));
        give_back(&log);
        assert_eq!(disk.length(path), PAGE_BYTES);
        let found = batches_of(|visit| log.partitions()[0].replay(Offset::new(0), visit));
        assert_eq!(found.unwrap()[0], kept.offset);
    }
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

const DIRECTORY: &str = "/log/p0000";

/// A log of five segments with one batch each, and the offsets of the batches.
fn five_segments(disk: &SimulatedDisk) -> (Log, Vec<Appended>) {
    let log = open_on(disk, false).unwrap();
    let batches = (0..5)
        .map(|number| {
            log.partitions()[0].seal().unwrap();
            put(&log, &[number; 100])
        })
        .collect();
    assert_eq!(log.partitions()[0].segments().len(), 5);
    (log, batches)
}

fn replayed(log: &Log) -> Vec<Offset> {
    batches_of(|visit| log.partitions()[0].replay(Offset::new(0), visit)).unwrap()
}

fn drop_all(log: &Log, bases: &[Offset]) {
    for &base in bases {
        let dropped = log.partitions()[0].drop_segment(base).unwrap();
        assert_eq!(dropped, Dropped::Done);
    }
}

#[test]
fn dropped_segments_are_gone_in_whatever_order_and_stay_gone() {
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 3], [3, 1, 0], [3, 2, 1]] {
        let disk = SimulatedDisk::new(0);
        let (log, batches) = five_segments(&disk);
        let mut left: Vec<_> = batches.iter().map(|batch| batch.offset).collect();
        for index in order {
            let batch = &batches[index];
            drop_all(&log, &[batch.segment]);
            left.retain(|offset| *offset != batch.offset);
            assert_eq!(replayed(&log), left, "{order:?}");
            let lost = disk.power_loss(crate::vfs::simulated::Survival::Nothing);
            assert_eq!(replayed(&open_on(&lost, false).unwrap()), left, "{order:?}");
            let record = batch.offset.plus(24);
            let partition = &log.partitions()[0];
            let read = partition.with_record(record, <[u8]>::to_vec);
            assert!(matches!(read, Err(Error::OutOfRange { .. })));
            assert!(matches!(
                partition.record(record),
                Err(Error::OutOfRange { .. })
            ));
            let again = partition.drop_segment(batch.segment);
            assert!(matches!(again, Err(Error::OutOfRange { .. })));
        }
        let status = log.partitions()[0].status();
        let highest = order.into_iter().max().unwrap();
        assert_eq!(status.dropped_end, batches[highest].end);
        assert_eq!(status.start, left[0]);
        assert_eq!(
            disk.paths().len(),
            3 + 1 + 2,
            "lock, identity, superblock, retired"
        );
        log.close().unwrap();
        drop(log);
        let log = open_on(&disk, false).unwrap();
        assert_eq!(replayed(&log), left);
        assert_eq!(log.partitions()[0].dropped_end(), status.dropped_end);
        assert_eq!(put(&log, b"goes on").segment, batches[4].segment);
    }
}

#[test]
fn the_newest_segment_is_never_dropped() {
    let disk = SimulatedDisk::new(0);
    let (log, batches) = five_segments(&disk);
    let partition = &log.partitions()[0];
    let newest = partition.drop_segment(batches[4].segment).unwrap();
    assert_eq!(newest, Dropped::Newest);
    partition.seal().unwrap();
    let bases: Vec<_> = batches.iter().map(|batch| batch.segment).collect();
    drop_all(&log, &bases);
    assert_eq!(replayed(&log), []);
    // The newest holds nothing, but it is all that is left: no number is given twice.
    let number = partition.segments()[0].number;
    let end = partition.end();
    drop(log);
    for _ in 0..2 {
        let log = open_on(&disk, false).unwrap();
        assert_eq!(log.partitions()[0].segments()[0].number, number);
    }
    let log = open_on(&disk, false).unwrap();
    let next = put(&log, b"next");
    assert!(next.offset > end, "an offset is never given twice");
    assert_eq!(log.partitions()[0].segments()[1].number, number + 1);
    drop_all(&log, &[end]);
    drop(log);
    assert_eq!(replayed(&open_on(&disk, false).unwrap()), [next.offset]);
}

#[test]
fn a_pin_keeps_what_lies_above_it_until_it_is_released() {
    let (log, batches) = five_segments(&SimulatedDisk::new(0));
    let partition = &log.partitions()[0];
    let pin = partition.pin(batches[1].end);
    let same = partition.pin(pin.from());
    drop_all(&log, &[batches[1].segment, batches[0].segment]);
    for holder in [same, pin] {
        for pinned in [2, 3] {
            let answer = partition.drop_segment(batches[pinned].segment).unwrap();
            assert_eq!(answer, Dropped::Pinned);
        }
        drop(holder);
    }
    let inside = partition.pin(Offset::new(batches[2].end.get() - 1));
    let answer = partition.drop_segment(batches[2].segment).unwrap();
    assert_eq!(answer, Dropped::Pinned);
    drop(inside);
    drop_all(&log, &[batches[2].segment]);
}

#[test]
fn a_pin_holds_every_segment_that_is_listed_after_it() {
    for _ in 0..20 {
        let (log, batches) = five_segments(&SimulatedDisk::new(0));
        let partition = &log.partitions()[0];
        let (base, end) = (batches[0].segment, batches[0].end);
        std::thread::scope(|scope| {
            let dropping = scope.spawn(|| partition.drop_segment(base).unwrap());
            let pin = partition.pin(Offset::new(0));
            let is_there = partition.segments()[0].base == base;
            let dropped = dropping.join().unwrap();
            assert_eq!(is_there, dropped == Dropped::Pinned);
            assert_eq!(is_there, partition.dropped_end() < end);
            drop(pin);
        });
    }
}

#[test]
fn bytes_that_are_kept_stay_valid_when_their_segment_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let real: Arc<dyn Vfs> = Arc::new(crate::vfs::RealDisk);
    let simulated: Arc<dyn Vfs> = Arc::new(SimulatedDisk::new(0));
    for (vfs, path) in [
        (real, directory.path().join("log")),
        (simulated, PathBuf::from("/log")),
    ] {
        let log = Log::open(vfs, &path, crate::testing::options(false)).unwrap();
        let partition = &log.partitions()[0];
        let batch = put(&log, &[7; 10_000]);
        partition.seal().unwrap();
        let record = batch.offset.plus(24);
        let kept = partition.record(record).unwrap();
        let mut visited = 0;
        partition
            .replay(Offset::new(0), |batch| {
                drop_all(&log, &[batch.offset]);
                let (_, payload) = batch.records().next().unwrap();
                assert_eq!(payload, [7; 10_000]);
                visited += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(visited, 1);
        put(&log, b"more");
        assert_eq!(kept.as_ref(), [7; 10_000]);
        let read = partition.with_record(record, <[u8]>::to_vec);
        assert!(matches!(read, Err(Error::OutOfRange { .. })));
    }
}

#[test]
fn a_segment_that_is_missing_and_was_not_dropped_is_named() {
    let disk = SimulatedDisk::new(0);
    let (log, batches) = five_segments(&disk);
    drop_all(&log, &[batches[1].segment, batches[2].segment]);
    log.close().unwrap();
    drop(log);
    for number in [1, 4, 5] {
        let found = disk.fork();
        let name = format!("{number:016x}.seg");
        found.erase(format!("{DIRECTORY}/{name}"));
        match open_on(&found, false).map(drop) {
            Err(Error::Corrupt { path, .. }) if number < 5 => assert!(path.ends_with(&name)),
            // The newest is missed by what the superblock vouches for.
            Err(Error::Corrupt { .. }) => assert_eq!(number, 5),
            other => panic!("{number}: {other:?}"),
        }
    }
    let found = disk.fork();
    found.erase(format!("{DIRECTORY}/retired"));
    match open_on(&found, false).map(drop) {
        Err(Error::Corrupt { path, .. }) => assert!(path.ends_with("0000000000000002.seg")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_damaged_list_of_dropped_segments_is_an_error_unless_nothing_is_missing() {
    let disk = SimulatedDisk::new(0);
    let (log, batches) = five_segments(&disk);
    let whole = disk.fork();
    drop_all(&log, &[batches[1].segment]);
    log.close().unwrap();
    drop(log);
    let list = format!("{DIRECTORY}/retired");
    disk.flip_bit(&list, 50, 0);
    match open_on(&disk, false).map(drop) {
        Err(Error::Corrupt { path, .. }) => assert!(path.ends_with("retired"), "{path:?}"),
        other => panic!("{other:?}"),
    }
    whole.write(&list, &disk.read(&list));
    for _ in 0..2 {
        let log = open_on(&whole, false).unwrap();
        assert_eq!(replayed(&log).len(), 5);
        assert_eq!(log.partitions()[0].dropped_end(), Offset::new(0));
        drop(log);
        assert_ne!(whole.read(&list), disk.read(&list), "it was written anew");
    }
}

#[test]
fn a_dropped_segment_whose_file_came_back_is_unlinked_at_open() {
    let disk = SimulatedDisk::new(0);
    let (log, batches) = five_segments(&disk);
    let path = format!("{DIRECTORY}/0000000000000002.seg");
    let file = disk.read(&path);
    drop_all(&log, &[batches[1].segment]);
    drop(log);
    // Not even looked into.
    disk.write(&path, &file[..100]);
    let log = open_on(&disk, false).unwrap();
    assert_eq!(replayed(&log).len(), 4);
    assert!(
        !disk
            .paths()
            .iter()
            .any(|found| found.ends_with("0000000000000002.seg"))
    );
}

#[test]
fn a_full_disk_drops_nothing_and_poisons_nothing() {
    let disk = SimulatedDisk::new(0);
    let (log, batches) = five_segments(&disk);
    let partition = &log.partitions()[0];
    disk.set_capacity(0);
    let full = partition.drop_segment(batches[0].segment);
    assert!(matches!(full, Err(Error::DiskFull { .. })), "{full:?}");
    assert!(!partition.is_poisoned());
    assert_eq!(replayed(&log).len(), 5);
    disk.set_capacity(1 << 30);
    drop_all(&log, &[batches[0].segment]);
    assert_eq!(replayed(&log).len(), 4);
}

#[test]
fn nothing_is_dropped_once_the_partition_is_closed_or_poisoned() {
    let disk = SimulatedDisk::new(0);
    let (log, batches) = five_segments(&disk);
    let partition = &log.partitions()[0];
    disk.fail_sync(disk.counts().syncs + 2);
    let failed = partition.drop_segment(batches[0].segment);
    assert!(matches!(failed, Err(Error::OutcomeUnknown { .. })));
    let calls = disk.calls();
    let refused = partition.drop_segment(batches[1].segment);
    assert!(matches!(refused, Err(Error::Poisoned { .. })));
    assert_eq!(replayed(&log).len(), 5, "what may be dropped is still read");
    assert_eq!(disk.calls(), calls);
    drop(log);
    let log = open_on(&disk, false).unwrap();
    log.close().unwrap();
    let refused = log.partitions()[0].drop_segment(batches[1].segment);
    assert!(matches!(refused, Err(Error::Poisoned { .. })));
}

#[test]
fn no_segment_is_taken_for_a_dropped_one() {
    let (log, batches) = five_segments(&SimulatedDisk::new(0));
    drop_all(&log, &[batches[2].segment]);
    let segments = log.partitions()[0].segments.read();
    for batch in &batches {
        let found = find(&segments, batch.offset).map(|segment| segment.base());
        if batch.offset == batches[2].offset {
            assert!(matches!(found, Err(Error::OutOfRange { .. })));
        } else {
            assert_eq!(found.unwrap(), batch.segment);
        }
    }
}

#[test]
fn a_batch_that_says_where_it_stands_is_taken_there_or_not_at_all() {
    let log = open_on(&SimulatedDisk::new(0), false).unwrap();
    let partition = &log.partitions()[0];
    let batch = |text: &[u8]| {
        let mut batch = crate::BatchBuffer::new();
        batch.record(|bytes| bytes.extend_from_slice(text));
        batch
    };
    let at = |offset| {
        let appended = partition.try_append_at(offset, &batch(b"x"), 1, Durability::Local);
        appended.unwrap().map(|appended| appended.offset)
    };
    partition.make_room(100).unwrap();
    let end = partition.end();
    assert_eq!(at(end.plus(1)), None);
    assert_eq!(at(end), Some(end));
    assert_eq!(at(end), None, "somebody was there first");
    let next = partition.end();
    assert!(next > end);
    assert_eq!(at(next), Some(next));
}

#[test]
fn a_large_buffer_is_kept_for_as_long_as_groups_fill_it() {
    let options = Options {
        segment_bytes: 64 << 20,
        ..crate::testing::options(false)
    };
    let disk = Arc::new(SimulatedDisk::new(0));
    let log = Log::open(disk, Path::new("/log"), options).unwrap();
    // No group goes on to another segment.
    log.partitions()[0].make_room(16 << 20).unwrap();
    let group = |batches: usize, bytes: usize| {
        let append = |_| append(&log, &vec![1; bytes], Durability::Buffered).unwrap();
        let appended: Vec<_> = (0..batches).map(append).collect();
        for appended in appended {
            appended.commit.wait().unwrap();
        }
        log.partitions()[0].tail.lock().buffer.capacity()
    };
    let kept = group(4, 1 << 20);
    assert!(kept >= 4 << 20, "{kept}");
    assert_eq!(group(3, 1 << 20), kept, "it serves again");
    let after = group(1, 100);
    assert!(
        after <= 1 << 20,
        "{after} bytes are kept for groups of a hundred"
    );
}
