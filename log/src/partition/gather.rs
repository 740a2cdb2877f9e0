//! Letting the writers of the last group into the next one.
//!
//! A group is whoever came while the one before it was written. Its writers are woken when it is
//! done, which is too late for the next group: so writers who put one after another fall into two
//! halves that take turns, and each sync serves half of them.
//!
//! A leader that follows on another group therefore waits for as many commits as were on their way
//! when that one ended. It waits for a part of the time that a sync takes, at most, and gives its
//! processor away meanwhile. Where they don't come, the next leaders do not wait: once, then twice
//! as often with each failure. A lone writer is never waited for, since nobody else was on the way.
//!
//! Time is the injected clock's: where it stands still, nobody waits.

use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::MutexGuard;

use super::{Partition, Tail};

/// What is known of the groups before.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// Commits that were on their way when the last group ended.
    expected: usize,
    /// When that was, and how long it took.
    ended: Duration,
    took: Duration,
    /// Leaders that are not to wait.
    skipped: u32,
    failures: u32,
}

impl Gathering {
    /// A group has ended that `served` commits waited for; `waiting` ones wait for the next.
    pub(super) fn ended(&mut self, served: usize, waiting: usize, began: Duration, now: Duration) {
        self.expected = served + waiting;
        self.ended = now;
        self.took = now.saturating_sub(began);
    }

    /// How many commits to wait for, and until when, if `waiting` are there.
    fn plan(
        &mut self,
        waiting: usize,
        now: impl FnOnce() -> Duration,
    ) -> Option<(usize, Duration)> {
        let pause = self.took / SYNC_PARTS;
        if waiting >= self.expected || pause.is_zero() {
            return None;
        }
        let now = now();
        if now.saturating_sub(self.ended) > self.took {
            return None;
        }
        if self.skipped > 0 {
            self.skipped -= 1;
            return None;
        }
        Some((self.expected, now + pause))
    }

    fn waited(&mut self, came: bool) {
        self.failures = if came { 0 } else { self.failures + 1 };
        if !came {
            self.skipped = 1 << self.failures.min(SKIPPED_LOG2_MAX);
        }
    }
}

impl Partition {
    /// Waits until those have come who are about to. The caller leads.
    pub(super) fn gather<'a>(&'a self, mut tail: MutexGuard<'a, Tail>) -> MutexGuard<'a, Tail> {
        let worth_it = tail.open.as_ref().is_some_and(|open| {
            // Nobody can come while a segment ends.
            open.needs_sync
                && open.bytes.len() < GATHERED_BYTES_MAX
                && !tail.stopping
                && !tail.rolling
        });
        let waiting = self.waiting.load(Ordering::Relaxed);
        let plan = if worth_it {
            let now = || self.options.clock.elapsed();
            tail.gathering.plan(waiting, now)
        } else {
            None
        };
        let Some((expected, deadline)) = plan else {
            return tail;
        };
        drop(tail);
        let (began, mut looks) = (self.options.clock.elapsed(), 0);
        let came = loop {
            std::thread::yield_now();
            // Most of them do: the last ones may have had something else to do.
            if self.waiting.load(Ordering::Relaxed) >= expected {
                break true;
            }
            looks += 1;
            let elapsed = self.options.clock.elapsed();
            let stands_still = elapsed == began && looks >= STILL_LOOKS_MAX;
            if elapsed >= deadline || stands_still {
                break self.waiting.load(Ordering::Relaxed) > waiting + (expected - waiting) / 2;
            }
        };
        let mut tail = self.tail.lock();
        tail.gathering.waited(came);
        tail
    }
}

/// A leader waits for this part of the time that the last group took.
const SYNC_PARTS: u32 = 4;

/// After so many failures one leader in 64 waits.
const SKIPPED_LOG2_MAX: u32 = 6;

/// A clock that has not moved for so many looks stands still: it moved while the last group was
/// written, and whoever moves it may wait for this one.
const STILL_LOOKS_MAX: u32 = 1_000;

/// Larger groups are worth a sync of their own.
const GATHERED_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests;
