//! The log itself: partitions, records, and what an append answers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Base64;

/// The reply to `GET /v1/log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogInfo {
    /// Each partition.
    pub partitions: Vec<LogPartition>,
}

/// One partition of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogPartition {
    /// The number of the partition, from 0.
    pub partition: u16,
    /// The first offset still kept; topic records below it are kept as well.
    pub start: u64,
    /// The end of what is written.
    pub end: u64,
    /// The end of what is synced.
    pub durable: u64,
    /// The end of what a committee certified; `null` without one.
    pub certified: Option<u64>,
    /// Segments on disk.
    pub segments: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// The reply to an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Appended {
    /// The record's offset, for ever.
    pub offset: u64,
    /// Where to read on after it.
    pub next: u64,
}

/// A record of the log, as a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogLine {
    /// Where the record stands; of a topic record, where it was first written.
    pub offset: u64,
    /// `topic`, `put`, `delete`, `bucket_created`, `bucket_dropped` or `internal`.
    pub kind: String,
    /// The topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The bucket, if it still exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// The key, where it is valid UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub key_b64: Option<Base64>,
    /// The size of the topic's record or the key's value in bytes.
    pub size: u64,
    /// The record of a topic, or the value of a key unless it is above
    /// [`INLINE_VALUE_BYTES_MAX`](super::INLINE_VALUE_BYTES_MAX).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub data_b64: Option<Base64>,
}

impl LogLine {
    /// The same line with the key that it is about.
    #[must_use]
    pub fn with_key(mut self, key: Bytes) -> Self {
        self.key = std::str::from_utf8(&key).ok().map(str::to_owned);
        self.key_b64 = Some(Base64(key));
        self
    }
}
