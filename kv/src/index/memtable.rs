//! Key -> versions, in memory: the index of the segment that is being written, and of sealed ones
//! until their run is written.
//!
//! A hash table of nodes ([`table`]), one node a key, split into shards so that a writer adding a key
//! delays few readers. The table holds the hash beside the node: a lookup touches one node. Short keys stand in the node itself. Only keys and locations are kept here; values
//! stay in the log. Nodes and versions only ever come. All of them go at once when the memtable is
//! *retired*: its run is written then, and whoever holds levels from before is sent there. So what
//! scans and leases hold on to is no memory.
//!
//! # Locks
//!
//! Only the holder of the sequencer's lock adds nodes and versions. Readers take a shard's lock
//! shared and a node's lock for the few instructions that choose a version; nothing else is done
//! under either.

mod enter;
mod node;
mod table;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use self::table::Table;
use super::members::Members;
use super::run::Run;
use super::versions::Location;
use crate::record::BucketId;

pub(crate) use self::enter::Entering;
pub(crate) use self::node::Node;

/// The keys of one segment.
pub(crate) struct Memtable {
    /// Where the segment begins.
    base: u64,
    shards: Box<[Shard]>,
    members: RwLock<HashMap<BucketId, Arc<Members>>>,
    /// Offsets of the records that are no key's, ascending.
    controls: Mutex<Vec<u64>>,
    bytes: AtomicUsize,
    records: AtomicUsize,
    last_version: AtomicU64,
    newest_time_ms: AtomicU64,
    /// What stands in its place, once it is retired.
    run: RwLock<Option<Arc<Run>>>,
    /// Whether there is a run, for all who ask and mostly find none.
    is_retired: AtomicBool,
}

/// Aligned so that two shards' locks never share a cache line.
#[repr(align(64))]
#[derive(Default)]
struct Shard(RwLock<Table>);

impl Memtable {
    /// Of the segment that begins at `base`.
    pub(crate) fn new(base: u64) -> Memtable {
        Memtable {
            base,
            shards: std::iter::repeat_with(Shard::default)
                .take(SHARDS)
                .collect(),
            members: RwLock::default(),
            controls: Mutex::default(),
            bytes: AtomicUsize::new(0),
            records: AtomicUsize::new(0),
            last_version: AtomicU64::new(0),
            newest_time_ms: AtomicU64::new(0),
            run: RwLock::default(),
            is_retired: AtomicBool::new(false),
        }
    }

    /// Gives back its memory, since a run says all that it knows: whoever still holds old levels
    /// asks that one. Nobody who enters anything is left. Called again, only the run is replaced.
    pub(crate) fn retire(&self, run: Arc<Run>) {
        // The run comes first: who no longer finds a key here looks for it there.
        *self.run.write() = Some(run);
        self.is_retired.store(true, Ordering::Release);
        // Each in a statement of its own, so that it is freed outside of the lock.
        for shard in &self.shards {
            let table = std::mem::take(&mut *shard.0.write());
            drop(table);
        }
        let members = std::mem::take(&mut *self.members.write());
        for members in members.into_values() {
            members.retire();
        }
    }

    /// The run that stands in its place, if it is retired. To be asked after the memtable itself.
    pub(crate) fn run(&self) -> Option<Arc<Run>> {
        if !self.is_retired.load(Ordering::Acquire) {
            return None;
        }
        self.run.read().clone()
    }

    /// Where the segment begins.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// The newest version of `key` below `watermark`; [`Location::NONE`] if none is here. Also
    /// whether it is the newest of all.
    pub(crate) fn locate(
        &self,
        hash: u64,
        bucket: BucketId,
        key: &[u8],
        watermark: u64,
    ) -> (Location, bool) {
        let table = self.shard(hash).0.read();
        match table.find(hash, |node| node.is(bucket, key)) {
            Some(node) => {
                let versions = node.versions.lock();
                let found = versions.below(watermark);
                (found, found.version == versions.newest().version)
            }
            None => (Location::NONE, true),
        }
    }

    /// The newest version of `key` below `watermark`, superseded ones included.
    pub(crate) fn locate_ever(
        &self,
        hash: u64,
        bucket: BucketId,
        key: &[u8],
        watermark: u64,
    ) -> Location {
        let table = self.shard(hash).0.read();
        match table.find(hash, |node| node.is(bucket, key)) {
            Some(node) => node.versions.lock().ever_below(watermark),
            None => Location::NONE,
        }
    }

    /// The keys of a bucket, for entering some and for scans.
    pub(crate) fn members(&self, bucket: BucketId) -> Arc<Members> {
        if let Some(members) = self.members.read().get(&bucket) {
            return Arc::clone(members);
        }
        Arc::clone(self.members.write().entry(bucket).or_default())
    }

    /// The keys of a bucket, if it has any here.
    pub(crate) fn members_of(&self, bucket: BucketId) -> Option<Arc<Members>> {
        self.members.read().get(&bucket).cloned()
    }

    /// The buckets that have keys here, ascending.
    pub(crate) fn buckets(&self) -> Vec<(BucketId, Arc<Members>)> {
        let members = self.members.read();
        let mut buckets: Vec<_> = members
            .iter()
            .map(|(&bucket, members)| (bucket, Arc::clone(members)))
            .collect();
        buckets.sort_unstable_by_key(|&(bucket, _)| bucket);
        buckets
    }

    /// Notes a record that is no key's.
    pub(crate) fn enter_control(&self, record: u64) {
        self.controls.lock().push(record);
    }

    /// Notes records that are no key's.
    pub(crate) fn enter_controls(&self, records: Vec<u64>) {
        self.controls.lock().extend(records);
    }

    /// Notes that a batch is entered whole.
    pub(crate) fn entered_batch(&self, version: u64, time_ms: u64) {
        self.last_version.store(version, Ordering::Relaxed);
        self.newest_time_ms.fetch_max(time_ms, Ordering::Relaxed);
    }

    pub(crate) fn controls(&self) -> Vec<u64> {
        self.controls.lock().clone()
    }

    /// The version of the newest batch, 0 if there is none.
    pub(crate) fn last_version(&self) -> u64 {
        self.last_version.load(Ordering::Relaxed)
    }

    pub(crate) fn newest_time_ms(&self) -> u64 {
        self.newest_time_ms.load(Ordering::Relaxed)
    }

    /// Bytes of memory that it takes, counted rather than measured.
    pub(crate) fn byte_len(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Number of records of keys.
    pub(crate) fn records(&self) -> usize {
        self.records.load(Ordering::Relaxed)
    }

    /// Whether nothing was ever entered.
    pub(crate) fn is_empty(&self) -> bool {
        self.last_version() == 0
    }

    /// The number of keys, deleted ones included.
    pub(crate) fn len(&self) -> usize {
        self.members
            .read()
            .values()
            .map(|members| members.len())
            .sum()
    }

    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[shard_number(hash)]
    }
}

fn shard_number(hash: u64) -> usize {
    // The table itself goes by the lower half.
    (hash >> 40) as usize % SHARDS
}

const SHARDS: usize = 256;

#[cfg(test)]
mod tests;
