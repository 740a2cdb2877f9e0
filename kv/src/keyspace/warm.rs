//! Filling the hot index from what is merged.
//!
//! A key that the hot index does not hold and no run does is asked of the merged index, which takes
//! some microseconds. Keys are entered as they are written and as they are read; a store that was
//! opened anew has all of that before it. So once reads have asked the merged index for a part of
//! its keys, a *pass* walks all of it, in small steps between other work, and offers each
//! place to the hot index, as long as there are entries free.
//!
//! # Cost
//!
//! Some tenths of a microsecond a merged key, once the reads it may spare have cost a good part of that.
//! Whoever only writes, or reads what is in the hot index, pays nothing. After a pass
//! that entered few keys the next one waits eight times as long.
//!
//! # The promise of the hot index
//!
//! What is merged is the newest version of a key if no run and no memtable knows the key. Those are
//! asked after the stamp of the key's set is taken: what is sequenced before that is found in them,
//! and what is sequenced afterwards changes the stamp.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::Keyspace;
use super::maintain::Maintenance;
use super::read::VALUE_BYTES_COPIED;
use crate::bucket::state::BucketState;
use crate::error::Result;
use crate::index::levels::{LevelError, Levels};
use crate::index::merged::{Entry, EntryKind, Key, View};
use crate::index::state::IndexState;
use crate::record::BucketId;

/// Passes of a partition.
#[derive(Default)]
pub(super) struct Warmth {
    pass: Option<Pass>,
    /// Passes since one that was of use.
    futile: u32,
    /// Sets that the hot index had after the last of them.
    sets: usize,
}

/// Where a pass stands.
struct Pass {
    buckets: Vec<Arc<BucketState>>,
    /// The last key of the last of them that was offered.
    behind: Option<Vec<u8>>,
    offered: u64,
    entered: u64,
}

impl Keyspace {
    /// Notes a read for which the merged index was asked and had the key.
    pub(super) fn note_cold_read(&self) {
        let reads = self.cold_reads.fetch_add(1, Ordering::Relaxed) + 1;
        if reads == self.cold_reads_due.load(Ordering::Relaxed) {
            self.signal.raise();
        }
    }

    /// Offers some more merged keys to the hot index, if it is time to. Says whether it did anything.
    pub(super) fn warm_hot(&self, maintenance: &mut Maintenance) -> Result<bool> {
        if self.signal.is_stopping() {
            return Ok(false);
        }
        let mut pass = match maintenance.warmth.pass.take() {
            Some(pass) => pass,
            None if self.is_warming_due(&mut maintenance.warmth) => self.begin_warming(),
            None => return Ok(false),
        };
        let levels = Arc::clone(&self.levels.read());
        match self.offer_some(&levels, &mut pass) {
            Ok(true) if self.hot.has_room() => maintenance.warmth.pass = Some(pass),
            Ok(_) => self.end_warming(&mut maintenance.warmth, &pass),
            Err(error) => {
                self.repair(maintenance, &levels, error)?;
            }
        }
        Ok(true)
    }

    fn is_warming_due(&self, warmth: &mut Warmth) -> bool {
        if warmth.sets != self.hot.sets() {
            // A growth has lost what was there, whatever the passes before it were good for.
            warmth.futile = 0;
            warmth.sets = self.hot.sets();
            self.warming_due(warmth);
        }
        let reads = self.cold_reads.load(Ordering::Relaxed);
        reads >= COLD_READS_MIN && self.hot.has_room() && reads >= self.warming_due(warmth)
    }

    /// The reads that make the next pass due.
    fn warming_due(&self, warmth: &Warmth) -> u64 {
        let part = (self.warm_keys().0 / COLD_PART).max(COLD_READS_MIN);
        let due = part.saturating_mul(PATIENCE.saturating_pow(warmth.futile));
        self.cold_reads_due.store(due, Ordering::Relaxed);
        due
    }

    /// The merged keys that may be offered, and the buckets that have them.
    fn warm_keys(&self) -> (u64, Vec<Arc<BucketState>>) {
        let levels = Arc::clone(&self.levels.read());
        let merged = levels.merged.as_ref();
        let state = merged.and_then(|merged| IndexState::decode(merged.state()));
        let mut buckets = self.live_buckets();
        buckets.retain(|bucket| !bucket.name.is_system());
        let rows = buckets
            .iter()
            .filter_map(|bucket| state.as_ref()?.bucket(bucket.id));
        (rows.map(|row| row.keys).sum(), buckets)
    }

    fn begin_warming(&self) -> Pass {
        let (keys, buckets) = self.warm_keys();
        // What a growth loses in the midst of the pass would be lost to it; keys that are not merged
        // are here already.
        let levels = Arc::clone(&self.levels.read());
        let in_runs: u64 = levels.runs.iter().map(|run| run.new_keys()).sum();
        let in_memory: usize = levels.memtables.iter().map(|memtable| memtable.len()).sum();
        self.grow_hot(keys + (in_runs + in_memory as u64).min(self.hot.used()));
        Pass {
            buckets,
            behind: None,
            offered: 0,
            entered: 0,
        }
    }

    fn end_warming(&self, warmth: &mut Warmth, pass: &Pass) {
        let is_of_use = pass.entered > pass.offered / OF_USE_PART;
        warmth.futile = if is_of_use { 0 } else { warmth.futile + 1 };
        warmth.sets = self.hot.sets();
        self.cold_reads.store(0, Ordering::Relaxed);
        self.warming_due(warmth);
    }

    /// A merge has taken away so many keys with their buckets. Nobody told the hot index.
    pub(super) fn clear_hot_of(&self, maintenance: &mut Maintenance, keys: u64) {
        if keys > self.hot.used() / GONE_PART {
            self.hot.clear(self.hot.sets());
            maintenance.warmth = Warmth::default();
        }
    }

    /// Offers a step's keys; says whether the pass has more before it.
    fn offer_some(
        &self,
        levels: &Levels,
        pass: &mut Pass,
    ) -> std::result::Result<bool, LevelError> {
        let Some(merged) = &levels.merged else {
            return Ok(false);
        };
        let mut left = STEP_KEYS;
        while let Some(bucket) = pass.buckets.last() {
            if bucket.dropped().is_some() {
                pass.buckets.pop();
                pass.behind = None;
                continue;
            }
            let bucket = bucket.id;
            let behind = pass.behind.as_deref();
            let from = behind.map_or(Bound::Unbounded, Bound::Excluded);
            let mut range = merged.range(bucket, (from, Bound::Unbounded), false)?;
            loop {
                if left == 0 {
                    return Ok(true);
                }
                let some = range.by_ref().take(KEYS_AT_ONCE);
                let some: Vec<(Key, Entry)> = some.collect::<std::result::Result<_, _>>()?;
                let Some((last, _)) = some.last() else {
                    break;
                };
                let behind = pass.behind.get_or_insert_default();
                behind.clear();
                behind.extend_from_slice(last);
                left = left.saturating_sub(some.len());
                pass.offered += some.len() as u64;
                let entered = self.offer(bucket, merged, &some);
                #[cfg(test)]
                self.figures.keys_warmed.add(entered);
                pass.entered += entered;
            }
            pass.buckets.pop();
            pass.behind = None;
        }
        Ok(false)
    }

    /// Offers what `merged` says of some keys to the hot index, and returns how many it took. Of two that
    /// share a set it takes one: the other one's stamp is no longer true. They are as rare as the
    /// table is large.
    fn offer(&self, bucket: BucketId, merged: &Arc<View>, some: &[(Key, Entry)]) -> u64 {
        let hashes: SmallVec<[u64; KEYS_AT_ONCE]> = some
            .iter()
            .map(|(key, _)| self.seed.hash(bucket, key))
            .collect();
        hashes.iter().for_each(|&hash| self.hot.prefetch(hash));
        let mut candidates: SmallVec<[_; KEYS_AT_ONCE]> = SmallVec::new();
        for (&hash, (key, entry)) in hashes.iter().zip(some) {
            let is_of_use = entry.kind != EntryKind::Large
                && u64::from(entry.value_bytes) <= VALUE_BYTES_COPIED as u64;
            if is_of_use
                && self.hot.find(hash).is_none()
                && let Some(stamp) = self.hot.stamp(hash)
            {
                candidates.push((hash, key, entry.record, stamp));
            }
        }
        // After the stamps: see the module.
        let levels = Arc::clone(&self.levels.read());
        let current = levels.merged.as_ref();
        if !current.is_some_and(|current| Arc::ptr_eq(current, merged)) {
            return 0;
        }
        for &(hash, ..) in &candidates {
            levels.prefetch_unmerged(hash);
        }
        candidates.retain(|(hash, key, ..)| {
            let in_memory = levels.locate_in_memory(*hash, bucket, key, u64::MAX);
            in_memory.location.version == 0 && !levels.may_hold_in_runs(*hash)
        });
        let offered = candidates.into_iter();
        let taken = offered.filter(|&(hash, _, record, stamp)| self.hot.offer(hash, record, stamp));
        taken.count() as u64
    }
}

/// A pass is due once the merged index was asked for this part of its keys.
const COLD_PART: u64 = 128;

/// And for no fewer than this many.
const COLD_READS_MIN: u64 = if cfg!(test) { 4 } else { 1_024 };

/// How many times as long the next pass waits after one that was of no use.
const PATIENCE: u64 = 8;

/// A pass was of use if the hot index took more than this part of what it was offered.
const OF_USE_PART: u64 = 16;

/// All is cleared if the keys that are gone are more than this part of what is taken.
const GONE_PART: u64 = 8;

/// Keys of a step: some milliseconds.
const STEP_KEYS: usize = if cfg!(test) { 64 } else { 8_192 };

/// Keys whose places in memory are fetched together.
const KEYS_AT_ONCE: usize = 32;

#[cfg(test)]
mod tests;
