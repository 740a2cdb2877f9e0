//! The log of a store and its topics.

use bytes::Bytes;

use super::{Backend, Cairn};
use crate::error::Result;
use crate::wire::{Appended, LogInfo, LogLine};

/// What to read of the log of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRequest {
    /// Only records at or above this offset; 0 for the oldest there is.
    pub from: u64,
    /// At most this many; a page also ends at 4 MiB.
    pub limit: usize,
    /// Only the records of this topic.
    pub topic: Option<String>,
}

impl Cairn {
    /// Where each partition of the log stands.
    ///
    /// # Errors
    /// `forbidden` unless the token covers all buckets.
    pub async fn log(&self) -> Result<LogInfo> {
        on!(&*self.backend, store => store.log().await)
    }

    /// Appends a record to a topic of a partition, and returns once it survives a power loss. A
    /// topic comes into being with its first record; the record keeps its offset for ever.
    ///
    /// # Errors
    /// `not_found` if there is no such partition, `invalid_argument` for a topic's name that is
    /// none, `value_too_large`; `forbidden` unless the token covers all buckets; those of any
    /// write.
    pub async fn append(
        &self,
        partition: u16,
        topic: &str,
        data: impl Into<Bytes>,
    ) -> Result<Appended> {
        let data = data.into();
        let appended =
            on!(&*self.backend, store => store.append(partition, topic, data, None).await);
        appended.map(|(appended, _)| appended)
    }

    /// Reads a page of records of the log of a partition, by offset: those of a topic, or all that
    /// are there. The next page begins above the last offset; an empty one says that the end is
    /// reached.
    ///
    /// # Errors
    /// `not_found` if there is no such partition, `invalid_argument` for a topic's name that is
    /// none, `compacted` if records of the topic at or above `from` were removed, unless that is 0;
    /// `forbidden` unless the token covers all buckets; those of any read.
    pub async fn read_log(&self, partition: u16, request: LogRequest) -> Result<Vec<LogLine>> {
        on!(&*self.backend, store => store.read_log(partition, request).await)
    }
}
