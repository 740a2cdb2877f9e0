use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Instant;

use super::*;
use crate::frame::BatchBuffer;
use crate::identity::Offset;
use crate::partition::Durability;
use crate::testing::{SEGMENT_BYTES, append, open_on, options};
use crate::vfs::simulated::SimulatedDisk;
use crate::vfs::{MemoryDisk, RealDisk};

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

#[test]
fn a_polled_commit_is_led_by_the_partitions_thread() {
    let log = Log::open(
        Arc::new(MemoryDisk::default()),
        Path::new("/log"),
        options(true),
    )
    .unwrap();
    let appended = append(&log, b"polled", Durability::Local).unwrap();
    block_on(appended.commit).unwrap();
    assert!(log.partitions()[0].durable() >= appended.end);
}

#[test]
fn a_dropped_commit_is_written_all_the_same() {
    let log = open_on(&SimulatedDisk::new(0), false).unwrap();
    let partition = &log.partitions()[0];
    let appended = append(&log, b"dropped", Durability::Local).unwrap();
    assert!(!partition.step_commit(), "its waiter would lead it");
    drop(appended.commit);
    assert!(partition.step_commit());
    assert_eq!(partition.durable(), appended.end);
}

#[test]
fn writers_that_wait_together_share_a_sync() {
    let log = open_on(&SimulatedDisk::new(0), false).unwrap();
    let partition = &log.partitions()[0];
    append(&log, b"first", Durability::Local)
        .unwrap()
        .commit
        .wait()
        .unwrap();
    let before = partition.status();
    let commits: Vec<_> = (0..10)
        .map(|_| append(&log, b"more", Durability::Local).unwrap().commit)
        .collect();
    commits
        .into_iter()
        .for_each(|commit| commit.wait().unwrap());
    let after = partition.status();
    assert_eq!(after.batches - before.batches, 10);
    assert_eq!(
        (after.writes - before.writes, after.syncs - before.syncs),
        (1, 1)
    );
}

#[test]
fn many_threads_write_and_read_back_over_many_segments() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let log = Log::open(Arc::new(RealDisk), &path, options(true)).unwrap();
    let write = |writer: usize| {
        for number in 0..200 {
            let payload = format!("{writer}/{number}/").repeat(20);
            let durability = [Durability::Local, Durability::Buffered][number % 2];
            let appended = append(&log, payload.as_bytes(), durability).unwrap();
            let record = Offset::new(appended.offset.get() + 24);
            appended.commit.wait().unwrap();
            let partition = &log.partitions()[0];
            let found = partition.with_record(record, <[u8]>::to_vec).unwrap();
            assert_eq!(found, payload.as_bytes());
            assert_eq!(
                partition.record(record).unwrap().as_ref(),
                payload.as_bytes()
            );
        }
    };
    thread::scope(|scope| {
        (0..8).for_each(|writer| drop(scope.spawn(move || write(writer))));
    });
    let status = log.partitions()[0].status();
    assert!(status.segments > 3, "{status:?}");
    assert_eq!(status.batches, 1_600);
    log.close().unwrap();
    drop(log);
    let log = Log::open(Arc::new(RealDisk), &path, options(true)).unwrap();
    assert!(log.partitions()[0].recovery().clean);
    let mut batches = 0;
    log.partitions()[0]
        .replay(Offset::new(0), |_| {
            batches += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(batches, 1_600);
}

#[test]
fn a_buffered_batch_is_synced_by_itself_soon_after() {
    let options = Options {
        buffered_sync: Duration::from_millis(20),
        ..options(true)
    };
    let log = Log::open(Arc::new(MemoryDisk::default()), Path::new("/log"), options).unwrap();
    let appended = append(&log, b"buffered", Durability::Buffered).unwrap();
    appended.commit.wait().unwrap();
    let partition = &log.partitions()[0];
    assert!(
        partition.visible() >= appended.end,
        "it is visible once it is written"
    );
    let patience = Instant::now() + Duration::from_secs(30);
    while partition.durable() < appended.end {
        assert!(Instant::now() < patience, "it was never synced");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_buffered_batch_behind_a_local_one_becomes_visible_with_it() {
    let log = open_on(&SimulatedDisk::new(0), false).unwrap();
    let partition = &log.partitions()[0];
    let local = append(&log, b"local", Durability::Local).unwrap();
    let buffered = append(&log, b"buffered", Durability::Buffered).unwrap();
    assert!(partition.visible() <= local.offset);
    buffered.commit.wait().unwrap();
    assert_eq!(partition.visible(), buffered.end);
    assert_eq!(partition.durable(), buffered.end);
    local.commit.wait().unwrap();
}

#[test]
fn a_second_open_of_the_directory_is_refused() {
    let disk = SimulatedDisk::new(0);
    let log = open_on(&disk, false).unwrap();
    assert!(matches!(open_on(&disk, false), Err(Error::Locked { .. })));
    drop(log);
    open_on(&disk, false).unwrap();
}

#[test]
fn a_full_disk_refuses_before_anything_is_sequenced_and_recovers_by_itself() {
    let disk = SimulatedDisk::new(0);
    disk.set_capacity(3 * SEGMENT_BYTES);
    let log = open_on(&disk, false).unwrap();
    let mut written = 0;
    let error = loop {
        match append(&log, &[7; 4_000], Durability::Local) {
            Ok(appended) => appended.commit.wait().unwrap(),
            Err(error) => break error,
        }
        written += 1;
    };
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    let partition = &log.partitions()[0];
    assert!(!partition.is_poisoned());
    assert_eq!(partition.end(), partition.durable());
    append(&log, b"small ones fit still", Durability::Local)
        .unwrap()
        .commit
        .wait()
        .unwrap();
    disk.set_capacity(30 * SEGMENT_BYTES);
    append(&log, &[8; 4_000], Durability::Local)
        .unwrap()
        .commit
        .wait()
        .unwrap();
    log.close().unwrap();
    drop(log);
    let log = open_on(&disk, false).unwrap();
    let mut batches = 0;
    log.partitions()[0]
        .replay(Offset::new(0), |_| {
            batches += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(batches, written + 2);
}

#[test]
fn options_outside_their_limits_are_refused() {
    for (segment_bytes, partitions) in [
        (SEGMENT_BYTES_MIN - 4096, 1),
        (SEGMENT_BYTES_MAX + 4096, 1),
        (SEGMENT_BYTES + 1, 1),
        (SEGMENT_BYTES, 0),
        (SEGMENT_BYTES, PARTITIONS_MAX + 1),
    ] {
        let options = Options {
            segment_bytes,
            partitions,
            ..options(false)
        };
        let opened = Log::open(Arc::new(MemoryDisk::default()), Path::new("/log"), options);
        assert!(
            matches!(opened, Err(Error::Invalid { .. })),
            "{segment_bytes} {partitions}"
        );
    }
}

#[test]
fn a_batch_that_fits_no_segment_is_refused() {
    let log = open_on(&SimulatedDisk::new(0), false).unwrap();
    let payload = vec![0; usize::try_from(SEGMENT_BYTES).unwrap()];
    let refused = append(&log, &payload, Durability::Local);
    assert!(matches!(refused, Err(Error::Invalid { .. })));
    append(&log, b"fits", Durability::Local)
        .unwrap()
        .commit
        .wait()
        .unwrap();
}

#[test]
fn partitions_stand_apart_and_are_all_found_again() {
    let disk = SimulatedDisk::new(0);
    let several = Options {
        partitions: 3,
        ..options(false)
    };
    let log = Log::open(Arc::new(disk.clone()), Path::new("/log"), several).unwrap();
    let mut batch = BatchBuffer::new();
    batch.record(|out| out.extend_from_slice(b"in the second"));
    let second = &log.partitions()[1];
    second.make_room(batch.byte_len()).unwrap();
    let appended = second
        .try_append(&batch, 0, Durability::Local)
        .unwrap()
        .unwrap();
    appended.commit.wait().unwrap();
    let ends: Vec<_> = log
        .partitions()
        .iter()
        .map(|partition| partition.end())
        .collect();
    assert!(ends[1] > ends[0] && ends[0] == ends[2]);
    log.close().unwrap();
    drop(log);
    let log = open_on(&disk, false).unwrap();
    assert_eq!(
        log.partitions().len(),
        3,
        "an existing log keeps its number"
    );
    assert_eq!(log.partitions()[1].end(), ends[1]);
}

/// A waiter that looked twice at its group's state once slept on "done" for ever.
#[test]
fn no_waiter_sleeps_through_the_end_of_its_group() {
    let options = Options {
        segment_bytes: 1 << 20,
        ..options(true)
    };
    let log = Log::open(Arc::new(MemoryDisk::default()), Path::new("/log"), options).unwrap();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    append(&log, b"x", Durability::Local)
                        .unwrap()
                        .commit
                        .wait()
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(log.partitions()[0].status().batches, 160_000);
}

#[derive(Default)]
struct SteppedClock(std::sync::atomic::AtomicU64);

impl Clock for SteppedClock {
    fn now_ms(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.now_ms())
    }
}

#[test]
fn a_trickle_of_buffered_batches_is_synced_in_time_though_it_never_pauses() {
    let clock = Arc::new(SteppedClock::default());
    let options = Options {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ..options(false)
    };
    let disk = Arc::new(SimulatedDisk::new(0));
    let log = Log::open(disk, Path::new("/log"), options).unwrap();
    let partition = &log.partitions()[0];
    let mut ends = Vec::new();
    for _ in 0..40 {
        let appended = append(&log, b"drip", Durability::Buffered).unwrap();
        appended.commit.wait().unwrap();
        ends.push((clock.now_ms(), appended.end));
        clock.0.fetch_add(100, std::sync::atomic::Ordering::Relaxed);
        partition.step_idle().unwrap();
        let due = ends
            .iter()
            .filter(|(written_ms, _)| clock.now_ms() - written_ms >= 1_000);
        for (written_ms, end) in due {
            assert!(partition.durable() >= *end, "written at {written_ms} ms");
        }
    }
    let syncs = partition.status().syncs;
    assert!(syncs <= 5, "{syncs} syncs in four seconds");
}
