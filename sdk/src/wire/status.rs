//! `GET /v1/status`: what a server says about itself.

use serde::{Deserialize, Serialize};

/// The reply to `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Status {
    /// The version of the program.
    pub version: String,
    /// The identity of the log, in hexadecimal.
    pub log_id: String,
    /// How long the store has been open, in milliseconds.
    pub uptime_ms: u64,
    /// Whether writes are taken.
    pub writable: bool,
    /// Whether the clock of the machine has leapt more than an hour ahead and is not yet believed.
    #[serde(default)]
    pub clock_is_suspect: bool,
    /// Each partition of the log.
    pub partitions: Vec<PartitionStatus>,
    /// The committee that certifies; `null` without one.
    #[serde(default)]
    pub committee: Option<String>,
}

/// One partition of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PartitionStatus {
    /// The number of the partition, from 0.
    pub partition: u16,
    /// The first offset still kept.
    pub start: u64,
    /// The end of what is written.
    pub end: u64,
    /// The end of what is synced.
    pub durable: u64,
    /// Segments on disk.
    pub segments: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Whether a failed write or sync has closed the partition to writes.
    pub poisoned: bool,
    /// Keys held in memory, deleted ones included until they are forgotten.
    #[serde(default)]
    pub keys_in_memory: u64,
    /// Batches appended since the store was opened.
    #[serde(default)]
    pub batches: u64,
    /// Write calls for them.
    #[serde(default)]
    pub writes: u64,
    /// Syncs for them.
    #[serde(default)]
    pub syncs: u64,
    /// Readers see the batches below this offset.
    #[serde(default)]
    pub visible: u64,
    /// Bytes of files that are prepared for log to come.
    #[serde(default)]
    pub prepared_bytes: u64,
    /// Bytes that can still be written on the disk; `null` if it does not say.
    #[serde(default)]
    pub free_bytes: Option<u64>,
    /// The index, garbage and watches.
    #[serde(default)]
    pub index: IndexStatus,
}

/// The index, garbage and watches of a partition. Counts are since the store was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct IndexStatus {
    /// Memtables: one takes writes, the others wait for their run.
    pub memtables: u64,
    /// Bytes of memory that they take.
    pub memtable_bytes: u64,
    /// Runs that are not merged.
    pub runs: u64,
    /// Records in them.
    pub run_records: u64,
    /// Entries of the merged index.
    pub merged_entries: u64,
    /// Bytes of merged segments that are the newest of their key.
    pub live_bytes: u64,
    /// Bytes of merged segments that seem dead, history included.
    pub dead_bytes: u64,
    /// Merges of runs into the merged index.
    pub merges: u64,
    /// Index files that were made again because they were lost or damaged.
    pub rebuilds: u64,
    /// Segments that garbage collection has dropped.
    pub segments_dropped: u64,
    /// Bytes of log that it has written again because they live.
    pub moved_bytes: u64,
    /// Keys that got their tombstone because their deadline had passed.
    pub keys_expired: u64,
    /// Open watches, those inside the server's process included.
    pub watches: u64,
    /// Bytes of log that the watch with the most has yet to see.
    pub watch_lag_bytes: u64,
}
