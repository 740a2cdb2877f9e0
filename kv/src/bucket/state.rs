//! What the store knows of one bucket while it is open.

use std::sync::atomic::{AtomicU64, Ordering};

use super::name::BucketName;
use super::options::BucketOptions;
use crate::index::order::Order;
use crate::index::versions::{Kind, Location};
use crate::record::BucketId;

/// One bucket: what its creation record says, its keys in order, and how many there are.
#[derive(Debug)]
pub(crate) struct BucketState {
    pub(crate) id: BucketId,
    pub(crate) name: BucketName,
    /// The number of the partition it lives in.
    pub(crate) partition: u16,
    pub(crate) options: BucketOptions,
    pub(crate) created: Created,
    pub(crate) order: Order,
    /// The version of the batch that dropped it, `u64::MAX` while there is none.
    dropped: AtomicU64,
    /// The version of the newest batch sequenced for it.
    written: AtomicU64,
    keys: AtomicU64,
    bytes: AtomicU64,
}

/// The batch that created a bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Created {
    pub(crate) version: u64,
    pub(crate) time_ms: u64,
}

/// What a bucket holds, counting what is sequenced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) keys: u64,
    /// Bytes of keys and values.
    pub(crate) bytes: u64,
}

impl BucketState {
    pub(crate) fn new(
        id: BucketId,
        name: BucketName,
        partition: u16,
        options: BucketOptions,
        created: Created,
    ) -> BucketState {
        BucketState {
            id,
            name,
            partition,
            options,
            created,
            order: Order::default(),
            dropped: AtomicU64::new(u64::MAX),
            written: AtomicU64::new(created.version),
            keys: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// The version of the batch that dropped the bucket, if one is sequenced.
    pub(crate) fn dropped(&self) -> Option<u64> {
        Some(self.dropped.load(Ordering::Acquire)).filter(|&version| version != u64::MAX)
    }

    /// Whether a reader at `watermark` sees the bucket.
    pub(crate) fn is_visible(&self, watermark: u64) -> bool {
        self.created.version < watermark && self.dropped.load(Ordering::Acquire) >= watermark
    }

    /// Notes the batch that dropped the bucket. The caller holds the sequencer's lock.
    pub(crate) fn drop_at(&self, version: u64) {
        self.dropped.store(version, Ordering::Release);
    }

    /// The version of the newest batch sequenced for the bucket.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Notes the newest batch. The caller holds the sequencer's lock.
    pub(crate) fn written_at(&self, version: u64) {
        self.written.store(version, Ordering::Release);
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            keys: self.keys.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// Counts that a key went from one version to the next. The caller holds the sequencer's
    /// lock, so plain loads and stores lose nothing.
    pub(crate) fn count(&self, key_bytes: usize, before: &Location, after: &Location) {
        let size = |location: &Location| match location.kind {
            Kind::Value => (1, key_bytes as u64 + u64::from(location.value_bytes)),
            Kind::Tombstone => (0, 0),
        };
        let ((keys_before, bytes_before), (keys_after, bytes_after)) = (size(before), size(after));
        let Counts { keys, bytes } = self.counts();
        self.keys
            .store(keys + keys_after - keys_before, Ordering::Relaxed);
        self.bytes
            .store(bytes + bytes_after - bytes_before, Ordering::Relaxed);
    }
}
