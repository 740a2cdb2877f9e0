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

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard, RwLock};
use smallvec::SmallVec;

use self::table::{Entry, Table};
use super::members::{Members, Noted};
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

/// A version of a key that is to be entered, as the node it becomes if the key is new.
pub(crate) struct Entering {
    node: Arc<Node>,
    location: Location,
    is_superseded: bool,
}

impl Entering {
    /// `is_superseded`: it was so when it was moved.
    pub(crate) fn new(
        bucket: BucketId,
        hash: u64,
        key: &[u8],
        location: Location,
        is_superseded: bool,
    ) -> Entering {
        let node = if is_superseded {
            Node::of_past(bucket, hash, key, location)
        } else {
            Node::of_newest(bucket, hash, key, location)
        };
        Entering {
            node,
            location,
            is_superseded,
        }
    }
}

/// Aligned so that two shards' locks never share a cache line.
#[repr(align(64))]
#[derive(Default)]
struct Shard(RwLock<Table>);

/// What entering a version did.
enum Entered {
    /// The key is new, and its node is to be noted.
    New(Arc<Node>),
    /// Its node had superseded versions only, and is to be noted as well.
    First(Arc<Node>),
    /// It had this version before.
    Again(Location),
    /// A superseded version of a key that is known.
    Superseded,
    /// It is not newer than the newest one here.
    Refused,
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

    /// Has brought in what entering a key of this hash will ask, without waiting for it.
    pub(crate) fn prefetch(&self, hash: u64) {
        self.shard(hash).0.read().prefetch(hash);
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
        let node = || Node::of_newest(bucket, hash, key, after);
        let entered = {
            let mut table = self.shard(hash).0.write();
            enter_newest(&mut table, bucket, hash, key, after, node)
        };
        self.count(members, key.len(), &entered, &after);
        match entered {
            Entered::New(node) => members.note(node),
            Entered::First(node) => members.note_first(&node),
            Entered::Again(_) | Entered::Superseded => {}
            Entered::Refused => return false,
        }
        true
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
        let node = || Node::of_past(bucket, hash, key, location);
        let entered = {
            let mut table = self.shard(hash).0.write();
            enter_past(&mut table, bucket, hash, key, location, node)
        };
        self.count_superseded(key.len(), &entered);
        if let Entered::New(node) = entered {
            members.note_superseded(node);
        }
    }

    /// Enters versions one after another while nobody else knows the memtable. Stops and returns
    /// the first that is not newer than what is known of its key.
    ///
    /// Cost: less than entering them one by one, since the misses of the caches overlap, and no
    /// lock that is given back waits for them.
    pub(crate) fn enter_all(
        &mut self,
        versions: impl IntoIterator<Item = Entering>,
    ) -> Result<(), Location> {
        let mut versions = versions.into_iter();
        let mut together: SmallVec<[Entering; ENTERED_TOGETHER]> = SmallVec::new();
        let mut noted = Noted::default();
        let mut members: Option<(BucketId, Arc<Members>)> = None;
        loop {
            together.extend(versions.by_ref().take(ENTERED_TOGETHER));
            for entering in &together {
                self.unshared(entering.node.hash)
                    .prefetch(entering.node.hash);
            }
            let is_end = together.is_empty();
            for entering in together.drain(..) {
                let bucket = entering.node.bucket;
                if members.as_ref().is_none_or(|(of, _)| *of != bucket) {
                    if let Some((_, members)) = &members {
                        noted.give_to(members);
                    }
                    members = Some((bucket, self.members(bucket)));
                }
                if let Some((_, members)) = &members {
                    self.enter_one(members, entering, &mut noted)?;
                }
            }
            if let Some((_, members)) = &members {
                noted.give_to(members);
            }
            if is_end {
                return Ok(());
            }
        }
    }

    fn enter_one(
        &mut self,
        members: &Members,
        entering: Entering,
        noted: &mut Noted,
    ) -> Result<(), Location> {
        let Entering { node, location, .. } = entering;
        let (bucket, hash) = (node.bucket, node.hash);
        let key_bytes = node.key.len();
        let table = self.unshared(hash);
        if entering.is_superseded {
            let entered = enter_past(table, bucket, hash, &node.key, location, || {
                Arc::clone(&node)
            });
            self.count_superseded(key_bytes, &entered);
            if let Entered::New(node) = entered {
                noted.came.push(node);
            }
            return Ok(());
        }
        let entered = enter_newest(table, bucket, hash, &node.key, location, || {
            Arc::clone(&node)
        });
        self.count(members, key_bytes, &entered, &location);
        match entered {
            Entered::New(node) => {
                noted.uncompared.push(Arc::clone(&node));
                noted.came.push(node);
            }
            Entered::First(node) => noted.uncompared.push(node),
            Entered::Again(_) | Entered::Superseded => {}
            Entered::Refused => return Err(location),
        }
        Ok(())
    }

    /// The shard of a key, while nobody else knows the memtable.
    fn unshared(&mut self, hash: u64) -> &mut Table {
        self.shards[shard_number(hash)].0.get_mut()
    }

    /// Counts what entering a version added, and what the key counts for from now on.
    fn count(&self, members: &Members, key_bytes: usize, entered: &Entered, after: &Location) {
        let (before, added) = match entered {
            Entered::New(_) => (Location::NONE, node_bytes(key_bytes)),
            Entered::First(_) => (Location::NONE, VERSION_BYTES),
            Entered::Again(before) => (*before, VERSION_BYTES),
            Entered::Superseded | Entered::Refused => return,
        };
        members.count(key_bytes, &before, after);
        self.added(added);
    }

    fn count_superseded(&self, key_bytes: usize, entered: &Entered) {
        let node = match entered {
            Entered::New(_) => node_bytes(key_bytes),
            _ => 0,
        };
        self.added(node + VERSION_BYTES);
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

    /// Of a key whose only version is this one.
    fn of_newest(bucket: BucketId, hash: u64, key: &[u8], location: Location) -> Arc<Node> {
        let mut versions = Versions::new();
        // Nothing is newer than it, since nothing is there.
        let _ = versions.push(location);
        Node::new(bucket, hash, key, versions)
    }

    /// Of a key whose only version was superseded when it was moved.
    fn of_past(bucket: BucketId, hash: u64, key: &[u8], location: Location) -> Arc<Node> {
        let mut versions = Versions::new();
        versions.add_superseded(location);
        Node::new(bucket, hash, key, versions)
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

    fn is(&self, bucket: BucketId, key: &[u8]) -> bool {
        self.bucket == bucket && self.key[..] == *key
    }

    pub(crate) fn versions(&self) -> MutexGuard<'_, Versions> {
        self.versions.lock()
    }

    #[cfg(test)]
    pub(crate) fn of(key: &[u8]) -> Arc<Node> {
        Node::new(BucketId(1), 0, key, Versions::new())
    }
}

fn enter_newest(
    table: &mut Table,
    bucket: BucketId,
    hash: u64,
    key: &[u8],
    after: Location,
    node: impl FnOnce() -> Arc<Node>,
) -> Entered {
    match table.entry(hash, |node| node.is(bucket, key)) {
        Entry::Known(node) => {
            let pushed = node.versions.lock().push(after);
            match pushed {
                None => Entered::Refused,
                Some(before) if before.version == 0 => Entered::First(Arc::clone(node)),
                Some(before) => Entered::Again(before),
            }
        }
        Entry::Vacant(vacant) => {
            let node = node();
            vacant.fill(Arc::clone(&node));
            Entered::New(node)
        }
    }
}

fn enter_past(
    table: &mut Table,
    bucket: BucketId,
    hash: u64,
    key: &[u8],
    location: Location,
    node: impl FnOnce() -> Arc<Node>,
) -> Entered {
    match table.entry(hash, |node| node.is(bucket, key)) {
        Entry::Known(node) => {
            node.versions.lock().add_superseded(location);
            Entered::Superseded
        }
        Entry::Vacant(vacant) => {
            let node = node();
            vacant.fill(Arc::clone(&node));
            Entered::New(node)
        }
    }
}

fn shard_number(hash: u64) -> usize {
    // The table itself goes by the lower half.
    (hash >> 40) as usize % SHARDS
}

/// What a new key takes.
fn node_bytes(key_bytes: usize) -> usize {
    if key_bytes > KEY_BYTES_INLINE {
        NODE_BYTES + key_bytes
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

mod table;
#[cfg(test)]
mod tests;
