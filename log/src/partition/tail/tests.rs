use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::log::Log;
use crate::partition::{Dropped, Durability};
use crate::testing::{append, open_on, options};
use crate::vfs::simulated::SimulatedDisk;
use crate::vfs::{MemoryDisk, RealDisk};

const PATIENCE: Duration = Duration::from_secs(60);

fn put(log: &Log, payload: &[u8]) -> Offset {
    let appended = append(log, payload, Durability::Local).unwrap();
    appended.commit.wait().unwrap();
    appended.offset
}

type Seen = (Offset, Offset, Vec<(Offset, Vec<u8>)>);

fn replayed(log: &Log, from: Offset) -> Vec<Seen> {
    let mut seen = Vec::new();
    log.partitions()[0]
        .replay(from, |batch| {
            let records = batch.records().map(|(at, bytes)| (at, bytes.to_vec()));
            seen.push((batch.offset, batch.end, records.collect()));
            ControlFlow::Continue(())
        })
        .unwrap();
    seen
}

fn tailed(reader: &mut TailReader) -> Vec<Seen> {
    let mut seen = Vec::new();
    while let Some(batch) = reader.next().unwrap() {
        let records = batch.records().map(|(at, bytes)| (at, bytes.to_vec()));
        seen.push((batch.offset, batch.end, records.collect()));
        assert_eq!(reader.position(), batch.end);
    }
    seen
}

/// A log of several segments, with a gap that an unclean close left, and one sealed on request.
fn log_with_a_gap(disk: &SimulatedDisk) -> Log {
    let log = open_on(disk, false).unwrap();
    for number in 0..20 {
        put(&log, &vec![number; 300 * usize::from(number)]);
    }
    drop(log);
    let log = open_on(disk, false).unwrap();
    for number in 0..3 {
        put(&log, &[number; 50]);
    }
    log.partitions()[0].seal().unwrap();
    put(&log, b"last");
    log
}

#[test]
fn a_tail_yields_what_a_replay_does_from_wherever_it_begins() {
    let log = log_with_a_gap(&SimulatedDisk::new(0));
    let partition = &log.partitions()[0];
    let all = replayed(&log, Offset::new(0));
    let around = all
        .iter()
        .flat_map(|(offset, end, _)| [offset.get() - 1, offset.get(), offset.get() + 1, end.get()]);
    for from in around
        .chain([0, partition.end().get() - 1])
        .map(Offset::new)
    {
        let mut reader = partition.tail(from).unwrap();
        assert_eq!(tailed(&mut reader), replayed(&log, from), "from {from}");
    }
}

#[test]
fn a_tail_may_begin_with_the_batch_that_holds_its_offset() {
    let log = log_with_a_gap(&SimulatedDisk::new(0));
    let partition = &log.partitions()[0];
    let all = replayed(&log, Offset::new(0));
    for (at, (offset, end, _)) in all.iter().enumerate() {
        for inside in [offset.get(), offset.get() + 1, end.get() - 1] {
            let mut reader = partition.tail_holding(Offset::new(inside)).unwrap();
            assert_eq!(tailed(&mut reader), all[at..], "from {inside}");
        }
    }
}

#[test]
fn a_tail_goes_on_when_more_is_durable_and_shows_nothing_else() {
    let log = open_on(&SimulatedDisk::new(0), false).unwrap();
    let partition = &log.partitions()[0];
    let mut reader = partition.tail(Offset::new(0)).unwrap();
    assert!(reader.next().unwrap().is_none());
    let first = put(&log, b"first");
    assert_eq!(reader.next().unwrap().unwrap().offset, first);
    let buffered = append(&log, b"buffered", Durability::Buffered).unwrap();
    buffered.commit.wait().unwrap();
    assert!(partition.visible() >= buffered.end);
    assert!(reader.next().unwrap().is_none(), "it is not durable");
    partition.seal().unwrap();
    assert_eq!(reader.next().unwrap().unwrap().offset, buffered.offset);
    assert!(reader.next().unwrap().is_none());
    let next = put(&log, b"in the next segment");
    assert_eq!(reader.next().unwrap().unwrap().offset, next);
}

#[test]
fn a_tail_that_begins_above_the_end_starts_with_the_first_batch_there() {
    let log = open_on(&SimulatedDisk::new(0), false).unwrap();
    let partition = &log.partitions()[0];
    let first = put(&log, b"first");
    let above = Offset::new(first.get() + 100);
    let mut reader = partition.tail(above).unwrap();
    assert!(reader.next().unwrap().is_none());
    let offsets: Vec<_> = (0..10).map(|_| put(&log, b"more")).collect();
    let expected = offsets.into_iter().find(|offset| *offset >= above);
    assert_eq!(reader.next().unwrap().map(|batch| batch.offset), expected);
}

#[test]
fn a_dropped_segment_is_told_and_never_skipped() {
    let log = open_on(&SimulatedDisk::new(0), false).unwrap();
    let partition = &log.partitions()[0];
    let offsets: Vec<_> = (0..5)
        .map(|_| {
            partition.seal().unwrap();
            put(&log, b"a segment of its own")
        })
        .collect();
    let mut at_start = partition.tail(Offset::new(0)).unwrap();
    let mut before_hole = partition.tail(offsets[1]).unwrap();
    let kept = before_hole.next().unwrap().unwrap();
    let drop_segment = |index: usize| partition.drop_segment(offsets[index]).unwrap();
    assert_eq!(drop_segment(2), Dropped::Done);
    let floor = partition.dropped_end();
    for _ in 0..2 {
        match before_hole.next() {
            Err(Error::Compacted {
                offset,
                floor: told,
            }) => {
                assert_eq!((offset, told), (kept.end, floor));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(
        partition.tail(offsets[2]),
        Err(Error::Compacted { .. })
    ));
    // What lies before the hole is there still, up to it.
    assert_eq!(at_start.next().unwrap().unwrap().offset, offsets[0]);
    assert_eq!(at_start.next().unwrap().unwrap().offset, offsets[1]);
    assert!(matches!(at_start.next(), Err(Error::Compacted { .. })));
    let mut reader = partition.tail(floor).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().offset, offsets[3]);
    let mut late = partition.tail(Offset::new(0)).unwrap();
    assert_eq!(drop_segment(0), Dropped::Done);
    assert!(matches!(late.next(), Err(Error::Compacted { .. })));
    assert!(matches!(
        partition.tail(Offset::new(0)),
        Err(Error::Compacted { .. })
    ));
}

#[test]
fn a_reader_that_pins_is_not_cut_off() {
    let log = open_on(&SimulatedDisk::new(0), false).unwrap();
    let partition = &log.partitions()[0];
    let offsets: Vec<_> = (0..3)
        .map(|_| {
            partition.seal().unwrap();
            put(&log, b"a segment of its own")
        })
        .collect();
    let mut reader = partition.tail(Offset::new(0)).unwrap();
    let pin = reader.pin();
    let first = || partition.drop_segment(offsets[0]).unwrap();
    assert_eq!(first(), Dropped::Pinned);
    reader.next().unwrap();
    let moved = reader.pin();
    drop(pin);
    assert_eq!(first(), Dropped::Done);
    assert_eq!(reader.next().unwrap().unwrap().offset, offsets[1]);
    drop(moved);
}

#[test]
fn a_batch_borrows_the_map_of_the_real_disk_and_outlives_its_segment() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let log = Log::open(Arc::new(RealDisk), &path, options(false)).unwrap();
    let partition = &log.partitions()[0];
    let offset = put(&log, b"payload");
    partition.seal().unwrap();
    let batch = partition.tail(offset).unwrap().next().unwrap().unwrap();
    assert!(batch.body.is_mapped());
    assert_eq!(partition.drop_segment(offset).unwrap(), Dropped::Done);
    let records: Vec<_> = batch.records().collect();
    assert_eq!(records, [(offset.plus(24), &b"payload"[..])]);
    let (bytes, places) = batch.into_bytes();
    let [place] = &places[..] else {
        panic!("{places:?}");
    };
    assert_eq!(&bytes.as_ref()[place.clone()], b"payload");
}

#[test]
fn a_damaged_batch_is_an_error() {
    let disk = SimulatedDisk::new(0);
    let log = open_on(&disk, false).unwrap();
    for _ in 0..3 {
        put(&log, b"payload");
    }
    log.close().unwrap();
    drop(log);
    disk.flip_bit("/log/p0000/0000000000000001.seg", 4096 + 39 + 30, 0);
    let log = open_on(&disk, false).unwrap();
    let mut reader = log.partitions()[0].tail(Offset::new(0)).unwrap();
    assert!(reader.next().unwrap().is_some());
    for _ in 0..2 {
        assert!(matches!(reader.next(), Err(Error::Corrupt { .. })));
    }
}

#[test]
fn no_wake_is_lost_while_many_threads_append_and_wait() {
    let disk = Arc::new(MemoryDisk::default());
    let log = Log::open(disk, Path::new("/log"), options(true)).unwrap();
    let partition = &log.partitions()[0];
    const BATCHES: usize = 5_000;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..BATCHES / 2 {
                    put(&log, b"some payload");
                }
            });
        }
        for _ in 0..3 {
            scope.spawn(|| {
                let mut reader = partition.tail(Offset::new(0)).unwrap();
                let mut seen = 0;
                while seen < BATCHES {
                    match reader.next().unwrap() {
                        Some(_) => seen += 1,
                        None => assert!(partition.wait_durable(reader.position(), PATIENCE)),
                    }
                }
            });
        }
    });
}

#[derive(Default)]
struct Count(AtomicU64);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Polls with a waker that counts; the count, and whether it was ready.
fn poll(partition: &Partition, beyond: Offset, count: &Arc<Count>) -> bool {
    let waker = Waker::from(Arc::clone(count));
    let polled = partition.poll_durable(beyond, &mut Context::from_waker(&waker));
    polled.is_ready()
}

#[test]
fn a_task_is_woken_once_by_what_is_durable_beyond_its_offset() {
    let log = open_on(&SimulatedDisk::new(0), false).unwrap();
    let partition = &log.partitions()[0];
    put(&log, b"first");
    let (near, far) = (Arc::<Count>::default(), Arc::<Count>::default());
    let beyond = partition.durable();
    assert!(!poll(partition, beyond, &near) && !poll(partition, beyond, &near));
    assert!(!poll(partition, beyond.plus(60), &far));
    let buffered = append(&log, b"x", Durability::Buffered).unwrap();
    buffered.commit.wait().unwrap();
    assert_eq!(near.0.load(Ordering::Relaxed), 0, "it is not durable");
    put(&log, b"x");
    assert_eq!(near.0.load(Ordering::Relaxed), 1);
    assert!(poll(partition, beyond, &near));
    while !poll(partition, beyond.plus(60), &far) {
        assert_eq!(far.0.load(Ordering::Relaxed), 0);
        put(&log, b"x");
    }
    assert_eq!(far.0.load(Ordering::Relaxed), 1);
    assert!(partition.tail.lock().watchers.is_empty());
}

#[test]
fn waiters_are_woken_when_the_partition_fails_or_is_closed() {
    type End = fn(&SimulatedDisk, &Log);
    let poison: End = |disk, log| {
        disk.fail_sync(disk.counts().syncs + 1);
        let appended = append(log, b"x", Durability::Local).unwrap();
        assert!(appended.commit.wait().is_err());
    };
    let poison_a_mark: End = |disk, log| {
        disk.fail_sync(disk.counts().syncs + 3);
        log.partitions()[0].seal().unwrap_err();
    };
    let close: End = |_, log| log.close().unwrap();
    for end in [poison, poison_a_mark, close] {
        let disk = SimulatedDisk::new(0);
        let log = open_on(&disk, false).unwrap();
        let partition = &log.partitions()[0];
        put(&log, b"first");
        let beyond = partition.durable();
        let count = Arc::<Count>::default();
        assert!(!poll(partition, beyond, &count));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| partition.wait_durable(beyond, PATIENCE));
            while partition.tail.lock().watchers.len() < 2 {
                thread::yield_now();
            }
            end(&disk, &log);
            assert!(!waiting.join().unwrap());
        });
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(poll(partition, beyond, &count), "waiting on is in vain");
        assert!(!partition.wait_durable(beyond, PATIENCE));
    }
}

#[test]
fn a_wait_ends_with_its_time_and_leaves_nothing_behind() {
    let log = open_on(&SimulatedDisk::new(0), false).unwrap();
    let partition = &log.partitions()[0];
    put(&log, b"first");
    for _ in 0..3 {
        assert!(!partition.wait_durable(partition.durable(), Duration::from_millis(2)));
    }
    assert!(partition.tail.lock().watchers.is_empty());
}

#[test]
fn tasks_that_are_gone_do_not_pile_up() {
    let log = open_on(&SimulatedDisk::new(0), false).unwrap();
    let partition = &log.partitions()[0];
    put(&log, b"first");
    for _ in 0..3 * WATCHERS_MAX {
        assert!(!poll(partition, partition.durable(), &Arc::default()));
        assert!(partition.tail.lock().watchers.len() <= WATCHERS_MAX);
    }
}

#[test]
fn a_waiter_that_comes_while_a_leader_is_done_sees_the_new_offset() {
    let log = open_on(&SimulatedDisk::new(0), false).unwrap();
    let partition = &log.partitions()[0];
    put(&log, b"first");
    let beyond = partition.durable();
    thread::scope(|scope| {
        // As a leader: the durable offset moves while the waiter stands before the lock.
        let tail = partition.tail.lock();
        let waiting = scope.spawn(|| poll(partition, beyond, &Arc::default()));
        thread::sleep(Duration::from_millis(20));
        let durable = beyond.plus(100).get();
        partition.durable.store(durable, Ordering::Release);
        drop(tail);
        assert!(waiting.join().unwrap(), "nobody will wake it any more");
    });
}
