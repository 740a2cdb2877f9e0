//! The one hash of a key: memtables, runs, filters and the hot index all go by it.
//!
//! XXH3 of the key, seeded with the store's seed and the bucket. The seed comes from the log's
//! random id, so that runs keep their meaning across restarts and two stores collide differently.
//! Nothing relies on two keys having two hashes: every place that a hash leads to is checked
//! against the key that stands there.

use cairn_log::LogId;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::record::BucketId;

/// What the keys of one store are hashed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HashSeed(u64);

impl HashSeed {
    /// The seed of the store over this log.
    pub(crate) fn new(log: LogId) -> HashSeed {
        HashSeed(xxh3_64(&log.0))
    }

    /// The hash of a key of a bucket.
    pub(crate) fn hash(self, bucket: BucketId, key: &[u8]) -> u64 {
        // An odd factor: different buckets get different seeds.
        let bucket = u64::from(bucket.0).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        xxh3_64_with_seed(key, self.0 ^ bucket)
    }
}
