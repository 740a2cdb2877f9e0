//! Key -> versions, in memory: answers point reads and conditions.
//!
//! A hash table of nodes, one node a key, split into shards so that a writer adding a key delays
//! few readers. The table holds the hash beside the node: growing it touches no node, and a lookup
//! touches one. Short keys stand in the node itself. Only keys and locations are kept here; values
//! stay in the log.
//!
//! # Locks
//!
//! Only the holder of the sequencer's lock adds or removes nodes and versions. Readers take a
//! shard's lock shared and a node's lock for the few instructions that choose a version; nothing
//! else is done under either. A reader asks for its watermark *under the node's lock*: what a
//! writer has dropped from the node before then, no such watermark needs.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;
use hashbrown::hash_table::{Entry, HashTable};
use parking_lot::{Mutex, MutexGuard, RwLock};
use smallvec::SmallVec;

use super::versions::{Location, Versions};
use crate::record::BucketId;

/// The keys of one partition.
pub(crate) struct Memtable {
    shards: Box<[Shard]>,
    /// Seeded at random, so that nobody can choose keys that collide.
    hasher: DefaultHashBuilder,
}

/// One key and its versions.
#[derive(Debug)]
pub(crate) struct Node {
    bucket: BucketId,
    key: SmallVec<[u8; KEY_BYTES_INLINE]>,
    versions: Mutex<Versions>,
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
    pub(crate) fn new() -> Memtable {
        Memtable {
            shards: std::iter::repeat_with(Shard::default)
                .take(SHARDS)
                .collect(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// The version of `key` that `choose` picks; [`Location::NONE`] if the key was never written.
    pub(crate) fn locate(
        &self,
        bucket: BucketId,
        key: &[u8],
        choose: impl FnOnce(&Versions) -> Location,
    ) -> Location {
        let hash = self.hash(bucket, key);
        let table = self.shard(hash).0.read();
        match table.find(hash, |hashed| hashed.is(hash, bucket, key)) {
            Some(hashed) => choose(&hashed.node.versions.lock()),
            None => Location::NONE,
        }
    }

    /// The node of `key`, and whether it was made just now.
    pub(crate) fn node_or_new(&self, bucket: BucketId, key: &[u8]) -> (Arc<Node>, bool) {
        let hash = self.hash(bucket, key);
        let mut table = self.shard(hash).0.write();
        let is_key = |hashed: &Hashed| hashed.is(hash, bucket, key);
        match table.entry(hash, is_key, |hashed| hashed.hash) {
            Entry::Occupied(found) => (Arc::clone(&found.get().node), false),
            Entry::Vacant(place) => {
                let node = Arc::new(Node::new(bucket, key));
                place.insert(Hashed {
                    hash,
                    node: Arc::clone(&node),
                });
                (node, true)
            }
        }
    }

    /// Forgets a node. A no-op if another one has taken its key's place.
    pub(crate) fn remove(&self, node: &Arc<Node>) {
        let hash = self.hash(node.bucket, &node.key);
        let mut table = self.shard(hash).0.write();
        if let Ok(found) = table.find_entry(hash, |hashed| Arc::ptr_eq(&hashed.node, node)) {
            found.remove();
        }
    }

    /// The number of keys, tombstones included.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.0.read().len()).sum()
    }

    fn hash(&self, bucket: BucketId, key: &[u8]) -> u64 {
        self.hasher.hash_one((bucket.0, key))
    }

    fn shard(&self, hash: u64) -> &Shard {
        // The table itself goes by the lowest bits and the highest seven.
        &self.shards[(hash >> 40) as usize % SHARDS]
    }
}

impl Node {
    pub(crate) fn new(bucket: BucketId, key: &[u8]) -> Node {
        Node {
            bucket,
            key: SmallVec::from_slice(key),
            versions: Mutex::new(Versions::new()),
        }
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(crate) fn versions(&self) -> MutexGuard<'_, Versions> {
        self.versions.lock()
    }
}

impl Hashed {
    fn is(&self, hash: u64, bucket: BucketId, key: &[u8]) -> bool {
        self.hash == hash && self.node.bucket == bucket && self.node.key[..] == *key
    }
}

const SHARDS: usize = 256;

/// Keys up to this length cost no allocation and no cache miss of their own.
const KEY_BYTES_INLINE: usize = 24;

#[cfg(test)]
mod tests;
