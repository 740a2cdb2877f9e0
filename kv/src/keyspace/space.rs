//! How much garbage no merge has counted yet.
//!
//! What the merges count is exact but late, and only what they have counted is collected. What was
//! overwritten since shows in the runs: as records that brought no key that was not there.

use std::sync::atomic::Ordering;

use super::Keyspace;
use crate::index::levels::Levels;

/// An estimate, by the counts of merges and runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Space {
    live_bytes: u64,
    /// Garbage that no merge has counted. What collection has moved seems to be some.
    unmerged_bytes: u64,
}

impl Space {
    /// Whether a merge makes known enough garbage to be worth it.
    pub(super) fn is_worth_a_merge(self) -> bool {
        self.unmerged_bytes >= (self.live_bytes / UNMERGED_PART).max(UNMERGED_BYTES_MIN)
    }
}

impl Keyspace {
    pub(super) fn space(&self, levels: &Levels) -> Space {
        let mut live_bytes = self.live_bytes.load(Ordering::Relaxed);
        let mut unmerged_bytes = 0;
        for run in &levels.runs {
            let bytes = run.head().identity.end - run.head().identity.base;
            let records = run.len().max(1);
            let new = bytes.saturating_mul(run.new_keys().min(records)) / records;
            live_bytes += new;
            unmerged_bytes += bytes - new;
        }
        Space {
            live_bytes,
            unmerged_bytes,
        }
    }
}

/// A merge is worth it when it makes known garbage of this part of what is alive,
const UNMERGED_PART: u64 = 3;

/// and of so much, a fraction of a segment.
const UNMERGED_BYTES_MIN: u64 = 16 << 20;

#[cfg(test)]
mod tests;
