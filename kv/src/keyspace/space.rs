//! How much garbage there is, and when that is too much.
//!
//! What the merges count is exact but late, and only what they have counted is collected. What was
//! overwritten since shows in the runs: as records that brought no key that was not there.
//!
//! Merges are made for their garbage once it is two thirds of what is alive. Where writers are faster
//! than merges and collection, there is soon more than three quarters in all: then they wait for it to
//! be collected, and for merges of half as much. So the segments that have an index take 1.75 times
//! what is alive, or a segment more than is alive in a small store; up to three beside them are in
//! memory. What holds garbage back, a snapshot or a reader, is not waited for.

use std::sync::atomic::Ordering;

use super::Keyspace;
use crate::index::levels::Levels;

/// An estimate, by the counts of merges and runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Space {
    live_bytes: u64,
    /// What is neither alive nor in memtables. Headers and what history keeps are some of it.
    pub(super) garbage_bytes: u64,
    /// Of it, what no merge has counted. What collection has moved seems to be some.
    unmerged_bytes: u64,
}

impl Space {
    /// Whether a merge makes known enough garbage to be worth it.
    pub(super) fn is_worth_a_merge(self) -> bool {
        let part = self.live_bytes / 3 * 2;
        self.unmerged_bytes >= part.max(UNMERGED_BYTES_MIN)
    }

    /// Whether it makes known enough to help writers that wait.
    pub(super) fn is_a_merge_of_use(self) -> bool {
        let part = self.live_bytes / 3;
        self.unmerged_bytes >= part.max(UNMERGED_BYTES_MIN)
    }

    /// Whether there is more garbage than writers may leave behind, and a third of that more than
    /// they have `accepted` because nothing could be done about it.
    pub(super) fn is_over(self, accepted: u64) -> bool {
        let most = (self.live_bytes / 4 * 3).max(GARBAGE_BYTES_MIN);
        let more = match accepted {
            0 => most,
            accepted => accepted.saturating_add(most / 3),
        };
        self.garbage_bytes > most.max(more)
    }
}

impl Keyspace {
    /// Cost: a look at each segment.
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
        let in_memory = |base| levels.memtables.iter().any(|one| one.base() == base);
        let spans = self.log.segments().into_iter();
        let indexed = spans.filter(|span| !in_memory(span.base.get()));
        let indexed_bytes: u64 = indexed.map(|span| span.end.since(span.base)).sum();
        Space {
            live_bytes,
            garbage_bytes: indexed_bytes.saturating_sub(live_bytes),
            unmerged_bytes,
        }
    }
}

/// The least garbage that is worth a merge: a fraction of a segment.
const UNMERGED_BYTES_MIN: u64 = 16 << 20;

/// The least garbage that writers wait for: about a segment.
const GARBAGE_BYTES_MIN: u64 = 64 << 20;

#[cfg(test)]
mod tests;
