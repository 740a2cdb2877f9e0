use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::Clock;
use crate::log::{Log, Options};
use crate::partition::Durability;
use crate::testing::{append, options};
use crate::vfs::MemoryDisk;

/// Holds up the first leader that looks at it, between the election and the write.
#[derive(Default)]
struct GatedClock {
    armed: AtomicBool,
    /// Passed by the leader when it is there, and again when it may go on.
    gate: Option<Barrier>,
}

impl Clock for GatedClock {
    fn now_ms(&self) -> u64 {
        0
    }

    fn elapsed(&self) -> Duration {
        if let Some(gate) = &self.gate
            && self.armed.swap(false, Ordering::SeqCst)
        {
            gate.wait();
            gate.wait();
        }
        Duration::ZERO
    }
}

fn within_ten_seconds(done: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while !done() && began.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(1));
    }
    done()
}

/// No thread of the log steps in for it, so a sleeper that nobody wakes sleeps for ever.
#[test]
fn a_waiter_that_sleeps_while_another_group_is_written_is_woken_to_lead_its_own() {
    let clock = Arc::new(GatedClock {
        gate: Some(Barrier::new(2)),
        ..GatedClock::default()
    });
    let gate = clock.gate.as_ref().unwrap();
    let options = Options {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ..options(false)
    };
    let log = Log::open(Arc::new(MemoryDisk::default()), Path::new("/log"), options).unwrap();
    let first = append(&log, b"first", Durability::Local).unwrap();
    clock.armed.store(true, Ordering::SeqCst);
    thread::scope(|scope| {
        scope.spawn(|| first.commit.wait().unwrap());
        gate.wait();
        // The first group is being led, so this one is another.
        let next = append(&log, b"next", Durability::Local).unwrap();
        let group = Arc::clone(&next.commit.pending.as_ref().unwrap().group);
        scope.spawn(|| next.commit.wait().unwrap());
        let slept = within_ten_seconds(|| group.sleepers.load(Ordering::SeqCst) > 0);
        gate.wait();
        let ended = within_ten_seconds(|| group.state() == DONE);
        if !ended {
            // Otherwise the test would wait for its sleeper.
            group.elect();
        }
        assert!(slept && ended, "slept: {slept}, ended: {ended}");
    });
    assert_eq!(log.partitions()[0].status().syncs, 2);
}
