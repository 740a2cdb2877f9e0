//! One key of a memtable and its versions.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use crate::index::versions::{Location, Versions};
use crate::record::BucketId;

/// One key and its versions.
#[derive(Debug)]
pub(crate) struct Node {
    pub(super) bucket: BucketId,
    pub(super) hash: u64,
    pub(super) key: SmallVec<[u8; KEY_BYTES_INLINE]>,
    pub(super) versions: Mutex<Versions>,
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
    pub(super) fn of_newest(
        bucket: BucketId,
        hash: u64,
        key: &[u8],
        location: Location,
    ) -> Arc<Node> {
        let mut versions = Versions::new();
        // Nothing is newer than it, since nothing is there.
        let _ = versions.push(location);
        Node::new(bucket, hash, key, versions)
    }

    /// Of a key whose only version was superseded when it was moved.
    pub(super) fn of_past(
        bucket: BucketId,
        hash: u64,
        key: &[u8],
        location: Location,
    ) -> Arc<Node> {
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

    pub(super) fn is(&self, bucket: BucketId, key: &[u8]) -> bool {
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

/// What a new key takes.
pub(super) fn node_bytes(key_bytes: usize) -> usize {
    if key_bytes > KEY_BYTES_INLINE {
        NODE_BYTES + key_bytes
    } else {
        NODE_BYTES
    }
}

/// Keys up to this length cost no allocation and no cache miss of their own.
const KEY_BYTES_INLINE: usize = 24;

/// What a key takes: its node, its place in the table, and its place in the bucket's order.
const NODE_BYTES: usize = 144;
