//! What a partition says about its index and its garbage.
//!
//! Counters are raised where runs are merged, files made again, segments dropped and tombstones
//! logged: by maintenance, never by a read or a write. Everything else is looked up when somebody
//! asks.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Keyspace;
use crate::index::state::IndexState;
use crate::status::IndexStatus;

/// What maintenance has done since the keyspace was opened.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) merges: Counter,
    pub(super) rebuilds: Counter,
    pub(super) segments_dropped: Counter,
    pub(super) moved_bytes: Counter,
    pub(super) keys_expired: Counter,
    /// Tombstones that went with their segment, since nothing older of their keys is retained.
    #[cfg(test)]
    pub(super) tombstones_dropped: Counter,
    /// Records of victims of which the levels were asked.
    #[cfg(test)]
    pub(super) asked_of_levels: Counter,
    /// Merged keys that the hot index took although nobody had asked for them.
    #[cfg(test)]
    pub(super) keys_warmed: Counter,
}

/// Only ever grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Keyspace {
    /// How often keys took entries of the hot index from one another, and how many tombstones went.
    #[cfg(test)]
    pub(crate) fn collisions_and_tombstones_dropped(&self) -> (usize, u64) {
        let collisions = self.hot.collisions.load(Ordering::Relaxed);
        (collisions, self.figures.tombstones_dropped.total())
    }

    /// Of how many records of victims the levels were asked.
    #[cfg(test)]
    pub(crate) fn asked_of_levels(&self) -> u64 {
        self.figures.asked_of_levels.total()
    }

    /// How many merged keys passes have entered into the hot index.
    #[cfg(test)]
    pub(crate) fn keys_warmed(&self) -> u64 {
        self.figures.keys_warmed.total()
    }

    /// Cost: the state of the merged index is decoded, some tens of bytes a segment and bucket.
    pub(crate) fn index_status(&self) -> IndexStatus {
        let levels = std::sync::Arc::clone(&self.levels.read());
        let merged = levels.merged.as_ref();
        let state = merged.and_then(|merged| IndexState::decode(merged.state()));
        let segments = state.map_or_else(Vec::new, |state| state.segments);
        let memtables = levels.memtables.iter();
        let (watches, watch_lag_bytes) = self.watchers.lag(&self.log);
        let figures = &self.figures;
        IndexStatus {
            memtables: levels.memtables.len(),
            memtable_bytes: memtables.map(|memtable| memtable.byte_len() as u64).sum(),
            runs: levels.runs.len(),
            run_records: levels.runs.iter().map(|run| run.len()).sum(),
            merged_entries: merged.map_or(0, |merged| merged.len()),
            live_bytes: segments.iter().map(|row| row.live_bytes).sum(),
            dead_bytes: segments.iter().map(|row| row.dead_bytes()).sum(),
            merges: figures.merges.total(),
            rebuilds: figures.rebuilds.total(),
            segments_dropped: figures.segments_dropped.total(),
            moved_bytes: figures.moved_bytes.total(),
            keys_expired: figures.keys_expired.total(),
            watches,
            watch_lag_bytes,
        }
    }
}
