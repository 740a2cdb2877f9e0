//! Every limit of the key-value layer, by name. Each is checked at the door, before anything is
//! reserved, encoded or sequenced; the edge of each has a test.

/// The longest key, in bytes. The shortest is one byte.
pub const KEY_BYTES_MAX: usize = 4096;

/// The largest value that is kept as one record of the log.
pub const VALUE_RECORD_BYTES_MAX: usize = 8 << 20;

/// The largest value: 5 TiB. One over [`VALUE_RECORD_BYTES_MAX`] is kept in pieces.
pub const VALUE_BYTES_MAX: u64 = 5 << 40;

/// The largest piece of a value that is kept in pieces.
pub const PIECE_BYTES_MAX: usize = 64 << 10;

/// The most bytes of an upload that are written at once, and so the most by which it delays
/// another write. A value that is not larger is kept as one record, although it was uploaded.
pub const UPLOAD_BATCH_BYTES_MAX: usize = 1 << 20;

/// The largest encoded attribute block of one key.
pub const ATTRIBUTES_BYTES_MAX: usize = 8 << 10;

/// The most operations in one batch.
pub const BATCH_OPS_MAX: usize = 10_000;

/// The most bytes of keys, values and attributes in one batch. A batch of a single operation is
/// bound by the limits of its key, value and attributes alone.
pub const BATCH_BYTES_MAX: usize = 8 << 20;

/// The most conditions in one batch.
pub const BATCH_CONDITIONS_MAX: usize = 10_000;

/// The most versions listed in one condition.
pub const CONDITION_VERSIONS_MAX: usize = 1_000;

/// The most keys in one `multi_get`.
pub const MULTI_GET_KEYS_MAX: usize = 10_000;

/// The most keys and ranges that one transaction reads.
pub const TRANSACTION_READS_MAX: usize = 10_000;

/// The most bytes of the keys and bounds that one transaction reads.
pub const TRANSACTION_READ_BYTES_MAX: usize = 8 << 20;

/// The most bytes of memory in which a partition notes what is written while transactions that
/// have scanned are under way: some 200,000 short keys. If more is needed to judge such a
/// transaction, it can't commit.
pub const TRANSACTION_NOTES_BYTES_MAX: usize = 16 << 20;

/// How often [`Bucket::transact`](crate::Bucket::transact) tries before it gives up.
pub const TRANSACTION_ATTEMPTS_MAX: usize = 64;

/// The longest bucket name, in bytes. The shortest is one byte.
pub const BUCKET_NAME_BYTES_MAX: usize = 63;

/// The longest name of a topic, in bytes. The shortest is one byte.
pub const TOPIC_NAME_BYTES_MAX: usize = 255;

/// The longest name of a snapshot, in bytes. The shortest is one byte.
pub const SNAPSHOT_NAME_BYTES_MAX: usize = 20;

/// The most snapshots of one bucket.
pub const SNAPSHOTS_OF_BUCKET_MAX: usize = 1_024;

/// The most snapshots of all buckets of one partition.
pub const SNAPSHOTS_OF_PARTITION_MAX: usize = 16_384;

/// The most buckets in one store.
pub const BUCKETS_MAX: usize = 10_000;

/// The most partitions in one store.
pub const PARTITIONS_MAX: u16 = 256;

/// The longest time to live, in milliseconds: a century.
pub const TTL_MS_MAX: u64 = 100 * 366 * 24 * 3_600_000;

/// Versions stay below this, so that every one of them is exact as a JSON number.
pub const VERSION_END: u64 = 1 << 53;
