//! Key -> versions, in memory: the index of the segment that is being written, and of sealed ones
//! until their run is written.
//!
//! A hash table of nodes, one node a key, split into shards so that a writer adding a key delays
//! few readers. The table holds the hash beside the node: growing it touches no node, and a lookup
//! touches one. Short keys stand in the node itself. Only keys and locations are kept here; values
//! stay in the log. Nodes and versions only ever come. All of them go at once when the memtable is
//! *retired*: its run is written then, and whoever holds levels from before is sent there. So what
//! scans and leases hold on to is no memory.
//!
//! # Locks
//!
//! Only the holder of the sequencer's lock adds nodes and versions. Readers take a shard's lock
//! shared and a node's lock for the few instructions that choose a version; nothing else is done
//! under either.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use hashbrown::hash_table::{Entry, HashTable};
use parking_lot::{Mutex, MutexGuard, RwLock};
use smallvec::SmallVec;

use super::members::Members;
use super::run::Run;
use super::versions::{Location, Versions};
use crate::record::BucketId;

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

/// One key and its versions.
#[derive(Debug)]
pub(crate) struct Node {
    bucket: BucketId,
    hash: u64,
    key: SmallVec<[u8; KEY_BYTES_INLINE]>,
    versions: Mutex<Versions>,
}

/// A version of a key that is to be entered.
pub(crate) struct Entering {
    pub(crate) bucket: BucketId,
    pub(crate) hash: u64,
    pub(crate) location: Location,
    /// It was superseded when it was moved.
    pub(crate) is_superseded: bool,
}

/// Aligned so that two shards' locks never share a cache line.
#[repr(align(64))]
#[derive(Default)]
struct Shard(RwLock<HashTable<Hashed>>);

struct Hashed {
    hash: u64,
    node: Arc<Node>,
}

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
        match table.find(hash, |hashed| hashed.is(hash, bucket, key)) {
            Some(hashed) => {
                let versions = hashed.node.versions.lock();
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
        match table.find(hash, |hashed| hashed.is(hash, bucket, key)) {
            Some(hashed) => hashed.node.versions.lock().ever_below(watermark),
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

    /// Enters a version of a key. Does nothing and says so if it is not newer than the newest one
    /// here. The caller holds the sequencer's lock.
    #[must_use]
    pub(crate) fn enter(
        &self,
        members: &Members,
        bucket: BucketId,
        hash: u64,
        key: &[u8],
        after: Location,
    ) -> bool {
        let mut table = self.shard(hash).0.write();
        let is_key = |hashed: &Hashed| hashed.is(hash, bucket, key);
        let (before, added) = match table.entry(hash, is_key, |hashed| hashed.hash) {
            Entry::Occupied(found) => {
                let node = &found.get().node;
                let pushed = node.versions.lock().push(after);
                let Some(before) = pushed else { return false };
                if before.version == 0 {
                    members.note_first(node);
                }
                (before, VERSION_BYTES)
            }
            Entry::Vacant(place) => {
                let mut versions = Versions::new();
                let _ = versions.push(after);
                let node = Node::new(bucket, hash, key, versions);
                place.insert(Hashed {
                    hash,
                    node: Arc::clone(&node),
                });
                drop(table);
                members.note(node);
                (Location::NONE, node_bytes(key))
            }
        };
        members.count(key.len(), &before, &after);
        self.added(added);
        true
    }

    /// Enters versions one after another while nobody else knows the memtable. Stops and returns
    /// the first that is not newer than what is known of its key.
    ///
    /// Cost: less than entering them one by one, since the misses of the caches overlap.
    pub(crate) fn enter_all<'k>(
        &mut self,
        mut versions: impl Iterator<Item = (&'k [u8], &'k Entering)>,
    ) -> Result<(), Location> {
        let mut together: SmallVec<[(&[u8], &Entering); ENTERED_TOGETHER]> = SmallVec::new();
        let mut members: Option<(BucketId, Arc<Members>)> = None;
        loop {
            together.clear();
            together.extend(versions.by_ref().take(ENTERED_TOGETHER));
            if together.is_empty() {
                return Ok(());
            }
            for (_, entering) in &together {
                let table = self.shards[shard_number(entering.hash)].0.get_mut();
                let found = table.find(entering.hash, |hashed| hashed.hash == entering.hash);
                std::hint::black_box(found.is_some());
            }
            for &(key, entering) in &together {
                let (bucket, hash, location) = (entering.bucket, entering.hash, entering.location);
                if members.as_ref().is_none_or(|(of, _)| *of != bucket) {
                    members = Some((bucket, self.members(bucket)));
                }
                let Some((_, members)) = &members else {
                    continue;
                };
                if entering.is_superseded {
                    self.enter_superseded(members, bucket, hash, key, location);
                } else if !self.enter(members, bucket, hash, key, location) {
                    return Err(location);
                }
            }
        }
    }

    /// Enters a version that was superseded when it was moved. The caller holds the sequencer's
    /// lock.
    pub(crate) fn enter_superseded(
        &self,
        members: &Members,
        bucket: BucketId,
        hash: u64,
        key: &[u8],
        location: Location,
    ) {
        let mut table = self.shard(hash).0.write();
        let is_key = |hashed: &Hashed| hashed.is(hash, bucket, key);
        let added = match table.entry(hash, is_key, |hashed| hashed.hash) {
            Entry::Occupied(found) => {
                let mut versions = found.get().node.versions.lock();
                versions.add_superseded(location);
                VERSION_BYTES
            }
            Entry::Vacant(place) => {
                let mut versions = Versions::new();
                versions.add_superseded(location);
                let node = Node::new(bucket, hash, key, versions);
                place.insert(Hashed {
                    hash,
                    node: Arc::clone(&node),
                });
                drop(table);
                members.note_superseded(node);
                node_bytes(key) + VERSION_BYTES
            }
        };
        self.added(added);
    }

    /// Counts a record; only the holder of the sequencer's lock does.
    fn added(&self, bytes: usize) {
        let add = |number: &AtomicUsize, more: usize| {
            number.store(number.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        };
        add(&self.bytes, bytes);
        add(&self.records, 1);
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

impl Node {
    fn new(bucket: BucketId, hash: u64, key: &[u8], versions: Versions) -> Arc<Node> {
        Arc::new(Node {
            bucket,
            hash,
            key: SmallVec::from_slice(key),
            versions: Mutex::new(versions),
        })
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Has the processor fetch the node without waiting for it.
    pub(crate) fn touch(&self) {
        let first = self.key.first().copied().unwrap_or(0);
        let locked = u64::from(self.versions.is_locked());
        std::hint::black_box(self.hash ^ u64::from(first) ^ locked);
    }

    pub(crate) fn versions(&self) -> MutexGuard<'_, Versions> {
        self.versions.lock()
    }

    #[cfg(test)]
    pub(crate) fn of(key: &[u8]) -> Arc<Node> {
        Node::new(BucketId(1), 0, key, Versions::new())
    }
}

impl Hashed {
    fn is(&self, hash: u64, bucket: BucketId, key: &[u8]) -> bool {
        self.hash == hash && self.node.bucket == bucket && self.node.key[..] == *key
    }
}

fn shard_number(hash: u64) -> usize {
    // The table itself goes by the lowest bits and the highest seven.
    (hash >> 40) as usize % SHARDS
}

/// What a new key takes.
fn node_bytes(key: &[u8]) -> usize {
    if key.len() > KEY_BYTES_INLINE {
        NODE_BYTES + key.len()
    } else {
        NODE_BYTES
    }
}

const SHARDS: usize = 256;

/// Versions whose places are fetched together.
const ENTERED_TOGETHER: usize = 32;

/// Keys up to this length cost no allocation and no cache miss of their own.
const KEY_BYTES_INLINE: usize = 24;

/// What a key takes: its node, its place in the table, and its place in the bucket's order.
const NODE_BYTES: usize = 144;

/// What each further version of a key takes, the first of them more than others.
const VERSION_BYTES: usize = 96;

#[cfg(test)]
mod tests;
