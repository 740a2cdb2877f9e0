//! The time that the store believes.
//!
//! Deadlines are absolute, so a clock that goes back would bring expired keys to life and one that
//! leaps ahead would kill live ones. Believed time therefore
//!
//! * never decreases, also across restarts: it begins at the greatest time found in the log;
//! * advances by the time elapsed since boot, and is pulled forward by the wall clock;
//! * follows a wall clock that jumps more than an hour ahead only when that has held for a minute.
//!   Until then the clock is *suspect*, which the store's status shows;
//! * ignores a wall clock that is behind.
//!
//! While the clock is suspect, a time to live counts from the later of the two times: whichever
//! turns out to be right, no key lives shorter than was asked for.
//!
//! A store that knows no time yet (it has never been written) believes the wall clock at once.

use std::sync::Arc;
use std::time::Duration;

use cairn_log::Clock;
use parking_lot::Mutex;

use crate::limits::VERSION_END;

/// A clock corrected by the rules above.
pub(crate) struct BelievedClock {
    source: Arc<dyn Clock>,
    belief: Mutex<Belief>,
}

struct Belief {
    /// Believed time when `elapsed` was read; 0 if nothing is known yet.
    now_ms: u64,
    elapsed: Duration,
    suspicion: Option<Suspicion>,
}

/// A wall clock that has leapt ahead and is being watched.
struct Suspicion {
    since: Duration,
    wall_ms: u64,
}

impl BelievedClock {
    pub(crate) fn new(source: Arc<dyn Clock>) -> BelievedClock {
        let elapsed = source.elapsed();
        BelievedClock {
            source,
            belief: Mutex::new(Belief {
                now_ms: 0,
                elapsed,
                suspicion: None,
            }),
        }
    }

    /// Learns that it has been `known_ms`: a batch in the log says so.
    pub(crate) fn learn(&self, known_ms: u64) {
        let mut belief = self.belief.lock();
        if known_ms > belief.now_ms {
            belief.now_ms = known_ms;
            belief.elapsed = self.source.elapsed();
        }
    }

    /// Believed time, in milliseconds since 1970. Never less than any earlier answer.
    pub(crate) fn now_ms(&self) -> u64 {
        let mut belief = self.belief.lock();
        belief.advance(self.source.elapsed(), self.source.now_ms());
        belief.now_ms
    }

    /// The deadline of what is to live for `ttl_ms` from now.
    pub(crate) fn deadline_ms(&self, ttl_ms: u64) -> u64 {
        let now_ms = self.now_ms();
        let wall_ms = if self.is_suspect() {
            self.source.now_ms()
        } else {
            now_ms
        };
        now_ms
            .max(wall_ms)
            .saturating_add(ttl_ms)
            .min(DEADLINE_MS_MAX)
    }

    /// Whether the wall clock is more than an hour ahead and not yet believed.
    pub(crate) fn is_suspect(&self) -> bool {
        self.belief.lock().suspicion.is_some()
    }
}

/// The log marks the time when it is idle or closed; it too must not believe a leap.
impl Clock for BelievedClock {
    fn now_ms(&self) -> u64 {
        BelievedClock::now_ms(self)
    }

    fn elapsed(&self) -> Duration {
        self.source.elapsed()
    }
}

impl Belief {
    fn advance(&mut self, elapsed: Duration, wall_ms: u64) {
        if self.now_ms == 0 {
            self.now_ms = wall_ms;
            self.elapsed = elapsed;
            return;
        }
        // Only whole milliseconds are carried over, so that frequent calls lose no time.
        let passed_ms = millis(elapsed.saturating_sub(self.elapsed));
        self.now_ms = self.now_ms.saturating_add(passed_ms);
        self.elapsed += Duration::from_millis(passed_ms);
        if wall_ms <= self.now_ms {
            self.suspicion = None;
        } else if wall_ms - self.now_ms <= LEAP_MS || self.has_held(elapsed, wall_ms) {
            self.now_ms = wall_ms;
            self.suspicion = None;
        }
    }

    /// Whether the leap that the wall clock shows has been watched for long enough.
    fn has_held(&mut self, elapsed: Duration, wall_ms: u64) -> bool {
        if let Some(suspicion) = &self.suspicion {
            let watched = elapsed.saturating_sub(suspicion.since);
            let expected_ms = suspicion.wall_ms.saturating_add(millis(watched));
            if wall_ms.abs_diff(expected_ms) <= LEAP_MS {
                return watched >= HOLD;
            }
        }
        self.suspicion = Some(Suspicion {
            since: elapsed,
            wall_ms,
        });
        false
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Deadlines keep to the numbers that JSON carries exactly.
const DEADLINE_MS_MAX: u64 = VERSION_END - 1;

/// How far the wall clock may run ahead without being doubted.
const LEAP_MS: u64 = 3_600_000;

/// How long a leap must hold to be believed.
const HOLD: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
