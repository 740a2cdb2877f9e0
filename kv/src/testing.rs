//! What the unit tests of several modules share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A small seeded generator (xorshift64*, Vigna 2016), so that a failing test can be run again.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, or 0 if `end` is 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % end.max(1)
    }
}

/// A clock that stands still until a test moves it.
#[derive(Default)]
pub(crate) struct ManualClock {
    wall_ms: AtomicU64,
    elapsed_ms: AtomicU64,
}

impl ManualClock {
    pub(crate) fn at(wall_ms: u64) -> ManualClock {
        let clock = ManualClock::default();
        clock.set_wall(wall_ms);
        clock
    }

    pub(crate) fn set_wall(&self, wall_ms: u64) {
        self.wall_ms.store(wall_ms, Ordering::SeqCst);
    }

    /// Lets time pass, on the wall as well.
    pub(crate) fn pass(&self, ms: u64) {
        self.elapsed_ms.fetch_add(ms, Ordering::SeqCst);
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl cairn_log::Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.wall_ms.load(Ordering::SeqCst)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms.load(Ordering::SeqCst))
    }
}
