//! When a failed call is made again, and after how long.
//!
//! Two kinds of failure are tried again: one that certainly did nothing (nobody answered, or the
//! server refused with `overloaded`), and any transport failure of a call that only reads. A write
//! that broke half-way is neither, and is reported as `outcome_unknown`.
//!
//! The wait grows twofold from `first` to `longest` and is drawn at random below that ("full
//! jitter", after Brooker, Exponential Backoff and Jitter, 2015), so that callers refused together
//! do not come back together.

use std::time::Duration;

/// How often and how patiently a call is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often a call is made in all; 1 never repeats.
    pub attempts: u32,
    /// The bound of the first wait.
    pub first: Duration,
    /// The bound of every wait.
    pub longest: Duration,
}

impl Retry {
    /// A policy that never repeats.
    pub const NEVER: Self = Self {
        attempts: 1,
        first: Duration::ZERO,
        longest: Duration::ZERO,
    };

    /// How long to wait after the failure of attempt `made` (the first is 1); `None` to give up.
    /// `asked` is what the server asked for.
    pub(crate) fn wait(&self, made: u32, asked: Option<Duration>) -> Option<Duration> {
        (made < self.attempts).then(|| self.pause(made, asked))
    }

    /// How long to wait after a number of failures in a row, for what is tried again for as long
    /// as it takes.
    pub(crate) fn pause(&self, made: u32, asked: Option<Duration>) -> Duration {
        let doubled = self
            .first
            .saturating_mul(1 << made.saturating_sub(1).min(16));
        let drawn = doubled.min(self.longest).mul_f64(fastrand::f64());
        drawn.max(asked.unwrap_or_default().min(self.longest))
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            first: Duration::from_millis(50),
            longest: Duration::from_secs(2),
        }
    }
}

#[cfg(test)]
mod tests;
