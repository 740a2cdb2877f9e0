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
}
