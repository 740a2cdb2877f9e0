//! What the store knows of one bucket while it is open.

use std::sync::atomic::{AtomicU64, Ordering};

use super::name::BucketName;
use super::options::BucketOptions;
use crate::record::BucketId;

/// One bucket: what its creation record says, and what was written to it last.
#[derive(Debug)]
pub(crate) struct BucketState {
    pub(crate) id: BucketId,
    pub(crate) name: BucketName,
    /// The number of the partition it lives in.
    pub(crate) partition: u16,
    pub(crate) options: BucketOptions,
    pub(crate) created: Created,
    /// The version of the batch that dropped it, `u64::MAX` while there is none.
    dropped: AtomicU64,
    /// The version of the newest batch sequenced for it.
    written: AtomicU64,
}

/// The batch that created a bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Created {
    pub(crate) version: u64,
    pub(crate) time_ms: u64,
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
            dropped: AtomicU64::new(u64::MAX),
            written: AtomicU64::new(created.version),
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
}
