use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::channel;

use super::*;
use crate::clock::Clock;
use crate::log::{Log, Options};
use crate::partition::Durability;
use crate::testing::{append, options};
use crate::vfs::simulated::SimulatedDisk;

/// A clock that goes on by this many microseconds at each look.
struct StepClock(AtomicU64, u64);

impl Clock for StepClock {
    fn now_ms(&self) -> u64 {
        0
    }

    fn elapsed(&self) -> Duration {
        at(self.0.fetch_add(self.1, Ordering::Relaxed))
    }
}

/// A log in which a group waits to be led, behind one of four writers that took this long.
fn with_open_group(clock: &Arc<StepClock>, took: Duration) -> (Log, crate::commit::Commit) {
    let options = Options {
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        ..options(false)
    };
    let log = Log::open(Arc::new(SimulatedDisk::new(0)), Path::new("/log"), options).unwrap();
    let commit = append(&log, b"x", Durability::Local).unwrap().commit;
    let now = clock.elapsed();
    let mut tail = log.partitions()[0].tail.lock();
    tail.gathering.ended(4, 0, now.saturating_sub(took), now);
    drop(tail);
    (log, commit)
}

const SYNC: Duration = Duration::from_micros(100);

fn at(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

#[test]
fn a_leader_waits_for_those_of_the_last_group_and_no_longer_than_part_of_a_sync() {
    let mut gathering = Gathering::default();
    assert_eq!(gathering.plan(1, || at(0)), None, "nobody was before");
    gathering.ended(7, 2, at(0), SYNC);
    let until = at(110) + SYNC / SYNC_PARTS;
    assert_eq!(gathering.plan(3, || at(110)), Some((9, until)));
    assert_eq!(gathering.plan(9, || at(110)), None, "all are there");
    assert_eq!(gathering.plan(1, || at(500)), None, "they have gone");
}

#[test]
fn a_lone_writer_is_not_waited_for() {
    let mut gathering = Gathering::default();
    gathering.ended(1, 0, at(0), SYNC);
    assert_eq!(gathering.plan(1, || at(101)), None);
}

#[test]
fn where_time_stands_still_nobody_waits() {
    let mut gathering = Gathering::default();
    gathering.ended(16, 0, at(5), at(5));
    assert_eq!(gathering.plan(1, || at(5)), None);
}

#[test]
fn leaders_whose_writers_do_not_come_back_wait_ever_more_rarely() {
    let mut gathering = Gathering::default();
    let mut waits = 0;
    for _ in 0..1_000 {
        gathering.ended(2, 0, at(0), SYNC);
        if gathering.plan(1, || at(101)).is_some() {
            waits += 1;
            gathering.waited(false);
        }
    }
    assert!((7..25).contains(&waits), "{waits}");
    gathering.skipped = 0;
    gathering.waited(true);
    gathering.ended(2, 0, at(0), SYNC);
    assert!(gathering.plan(1, || at(101)).is_some());
}

#[test]
fn while_a_segment_ends_nobody_is_waited_for() {
    for rolling in [false, true] {
        let clock = Arc::new(StepClock(AtomicU64::new(1_000_000), 1));
        let (log, commit) = with_open_group(&clock, at(4_000));
        let partition = &log.partitions()[0];
        let mut tail = partition.tail.lock();
        tail.rolling = rolling;
        let began = clock.elapsed();
        let mut tail = partition.gather(tail);
        let waited = clock.elapsed() - began;
        assert_eq!(waited < at(10), rolling, "{waited:?}");
        tail.rolling = false;
        drop(tail);
        commit.wait().unwrap();
    }
}

#[test]
fn a_clock_that_stops_stops_no_leader() {
    let clock = Arc::new(StepClock(AtomicU64::new(1_000_000), 0));
    let (log, commit) = with_open_group(&clock, at(4_000));
    let (sender, ended) = channel();
    std::thread::spawn(move || sender.send(commit.wait()));
    let outcome = ended.recv_timeout(Duration::from_secs(20));
    outcome.expect("the leader waits for ever").unwrap();
    drop(log);
}

#[test]
fn a_leader_goes_on_as_soon_as_all_have_come() {
    let clock = Arc::new(StepClock(AtomicU64::new(1 << 40), 1));
    // A quarter of it is more looks than any test lasts.
    let (log, commit) = with_open_group(&clock, at(1 << 40));
    let partition = &log.partitions()[0];
    let before = partition.status();
    let (sender, ended) = channel();
    let leader = sender.clone();
    std::thread::spawn(move || leader.send(commit.wait()));
    while !partition.tail.lock().leading && partition.status().writes == before.writes {
        std::thread::yield_now();
    }
    for _ in 0..3 {
        let commit = append(&log, b"x", Durability::Local).unwrap().commit;
        let sender = sender.clone();
        std::thread::spawn(move || sender.send(commit.wait()));
    }
    for _ in 0..4 {
        let outcome = ended.recv_timeout(Duration::from_secs(20));
        outcome.expect("somebody waits for ever").unwrap();
    }
    let after = partition.status();
    assert_eq!(
        (after.writes, after.batches),
        (before.writes + 1, before.batches + 4)
    );
    assert_eq!(partition.waiting.load(Ordering::Relaxed), 0);
}

#[test]
fn nobody_is_left_behind_by_groups_that_follow_one_another() {
    for _ in 0..3 {
        let disk = Arc::new(SimulatedDisk::new(0));
        let log = Arc::new(Log::open(disk, Path::new("/log"), options(false)).unwrap());
        let (sender, ended) = channel();
        for writer in 0..4_u8 {
            let (log, sender) = (Arc::clone(&log), sender.clone());
            std::thread::spawn(move || {
                for _ in 0..400 {
                    let appended = append(&log, &[writer; 700], Durability::Local).unwrap();
                    appended.commit.wait().unwrap();
                }
                let _ = sender.send(());
            });
        }
        for _ in 0..4 {
            let outcome = ended.recv_timeout(Duration::from_secs(20));
            outcome.expect("a writer waits for ever");
        }
        let partition = &log.partitions()[0];
        assert_eq!(partition.status().batches, 1_600);
        assert!(partition.segments().len() > 10);
    }
}
