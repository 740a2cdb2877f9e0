//! The log of the store in this process, and its topics.

use bytes::Bytes;
use cairn_kv::{LogKind, LogRecord, LogScan};

use super::{Embedded, durability, error, reached};
use crate::client::LogRequest;
use crate::error::{Error, Result};
use crate::wire::{
    Appended, Base64, Code, Durability, INLINE_VALUE_BYTES_MAX, LogInfo, LogLine, LogPartition,
};

impl Embedded {
    /// Where each partition of the log stands.
    ///
    /// # Errors
    /// None yet.
    pub async fn log(&self) -> Result<LogInfo> {
        let partitions = self.status().await?.partitions.into_iter();
        let partition = |status: crate::wire::PartitionStatus| LogPartition {
            partition: status.partition,
            start: status.start,
            end: status.end,
            durable: status.durable,
            certified: None,
            segments: status.segments,
            bytes: status.bytes,
        };
        Ok(LogInfo {
            partitions: partitions.map(partition).collect(),
        })
    }

    /// Appends a record to a topic of a partition; says where it stands, and what was reached.
    ///
    /// # Errors
    /// `not_found` if there is no such partition, `invalid_argument` for a topic's name that is
    /// none, `value_too_large`; those of any write.
    pub async fn append(
        &self,
        partition: u16,
        topic: &str,
        data: Bytes,
        asked: Option<Durability>,
    ) -> Result<(Appended, Durability)> {
        self.check_partition(partition)?;
        let asked = durability(asked.unwrap_or_default())?;
        let store = &self.shared.store;
        let placed = store.try_submit_append(partition, topic, &data, asked);
        let (appended, commit) = match placed.map_err(error)? {
            Some(placed) => placed,
            // It would wait for the disk, which no thread of the executor does.
            None => {
                let (store, topic) = (store.clone(), topic.to_owned());
                self.run(move || store.submit_append(partition, &topic, &data, asked))
                    .await?
            }
        };
        let receipt = commit.await.map_err(error)?;
        let appended = Appended {
            offset: appended.offset,
            next: appended.next,
        };
        Ok((appended, reached(receipt.durability)))
    }

    /// Reads records of the log of a partition, by offset.
    ///
    /// # Errors
    /// `not_found` if there is no such partition, `invalid_argument` for a topic's name that is
    /// none, `compacted` if records of the topic at or above `from` were removed, unless that is 0;
    /// those of any read.
    pub async fn read_log(&self, partition: u16, request: LogRequest) -> Result<Vec<LogLine>> {
        self.check_partition(partition)?;
        let store = self.shared.store.clone();
        let scan = LogScan {
            from: request.from,
            limit: request.limit,
            topic: request.topic,
        };
        let records = self.run(move || store.read_log(partition, &scan)).await?;
        Ok(records.into_iter().map(line).collect())
    }

    /// Refuses a partition that there is none of.
    ///
    /// # Errors
    /// `not_found`.
    pub fn check_partition(&self, partition: u16) -> Result<()> {
        if partition < self.shared.store.partitions() {
            return Ok(());
        }
        let detail = format!("there is no partition {partition}");
        Err(Error::new(Code::NotFound, detail))
    }
}

fn line(record: LogRecord) -> LogLine {
    let size = record.data.len();
    let has_data = match record.kind {
        LogKind::Topic => true,
        LogKind::Put => size <= INLINE_VALUE_BYTES_MAX,
        _ => false,
    };
    let line = LogLine {
        offset: record.offset,
        kind: record.kind.as_str().to_owned(),
        topic: record.topic,
        bucket: record.bucket,
        key: None,
        key_b64: None,
        size: size as u64,
        data_b64: has_data.then(|| Base64(record.data)),
    };
    match record.key {
        Some(key) => line.with_key(key),
        None => line,
    }
}
