//! Topics: how records are appended to them, and how the log of a partition is read.

use std::sync::Arc;

use super::Store;
use crate::bucket::name::BucketName;
use crate::bucket::options::BucketOptions;
use crate::catalogue::Named;
use crate::commit::Commit;
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::Keyspace;
use crate::limits::VALUE_RECORD_BYTES_MAX;
use crate::topic::{self, Appended, LogRecord, LogScan};
use crate::version::Durability;

impl Store {
    /// Appends a record to a topic of a partition, and blocks until it survives a power loss.
    ///
    /// A topic comes into being with its first record. Its name has 1 to 255 bytes of UTF-8 without
    /// control characters.
    ///
    /// ```
    /// use cairn_kv::LogScan;
    ///
    /// let store = cairn_kv::Store::memory();
    /// let appended = store.append(0, "orders", b"one")?;
    /// let scan = LogScan { from: 0, limit: 10, topic: Some("orders".into()) };
    /// let records = store.read_log(0, &scan)?;
    /// assert_eq!((records[0].offset, &records[0].data[..]), (appended.offset, &b"one"[..]));
    /// # Ok::<(), cairn_kv::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Store::submit_append`]; `OutcomeUnknown`.
    pub fn append(&self, partition: u16, topic: &str, data: impl AsRef<[u8]>) -> Result<Appended> {
        let (appended, commit) =
            self.submit_append(partition, topic, data.as_ref(), Durability::Local)?;
        commit.wait()?;
        Ok(appended)
    }

    /// Gives a record of a topic its place, without waiting until it is acknowledged.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if there is no such partition or the topic's name is not allowed;
    /// `ValueTooLarge`; `DiskFull`, `Poisoned`.
    pub fn submit_append(
        &self,
        partition: u16,
        topic: &str,
        data: &[u8],
        durability: Durability,
    ) -> Result<(Appended, Commit)> {
        let keyspace = self.topics_of(partition, topic, data)?;
        let name = BucketName::topics(partition);
        let (topics, _) =
            self.0
                .open_or_create_in(name, BucketOptions::default(), Some(partition))?;
        let placed = keyspace.append_topic(&topics, topic, data, durability)?;
        Ok((Appended::of(&placed), placed.commit))
    }

    /// [`Store::submit_append`], unless that would wait for the disk or for work that is behind:
    /// then nothing was done, and `None` says so. For callers that must not block.
    ///
    /// # Errors
    ///
    /// Those of [`Store::submit_append`].
    pub fn try_submit_append(
        &self,
        partition: u16,
        topic: &str,
        data: &[u8],
        durability: Durability,
    ) -> Result<Option<(Appended, Commit)>> {
        let keyspace = self.topics_of(partition, topic, data)?;
        let name = BucketName::topics(partition);
        let named = self.0.catalogue.read().named(name.as_str()).cloned();
        let Some(Named::Live(topics)) = named else {
            return Ok(None);
        };
        if !keyspace.is_durable(topics.created.version) {
            return Ok(None);
        }
        let placed = keyspace.try_append_topic(&topics, topic, data, durability)?;
        Ok(placed.map(|placed| (Appended::of(&placed), placed.commit)))
    }

    /// The partition, if it takes such a record.
    fn topics_of(&self, partition: u16, topic: &str, data: &[u8]) -> Result<&Arc<Keyspace>> {
        topic::check_topic(topic)?;
        if data.len() > VALUE_RECORD_BYTES_MAX {
            let message = format!(
                "a record of {} bytes; the most is {VALUE_RECORD_BYTES_MAX}",
                data.len()
            );
            return Err(Error::new(ErrorKind::ValueTooLarge, message));
        }
        self.0.partition(partition)
    }

    /// Reads durable records of the log of a partition, by offset: those of a topic, or all that
    /// are there. Topic records keep the offset at which they were first written, and of a topic
    /// they are there until its retention removes them; others, and what was removed, are there as
    /// long as their part of the log is.
    ///
    /// Cost: of a topic, that of a scan. Of all records, a look-up for each topic if `from` lies
    /// below what was dropped, and a walk over the batch headers of one segment.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if there is no such partition or the topic's name is not allowed;
    /// `Compacted` if records of the topic at or above `from` were removed, unless that is 0;
    /// `Corrupt`, `Io`.
    pub fn read_log(&self, partition: u16, scan: &LogScan) -> Result<Vec<LogRecord>> {
        scan.topic.as_deref().map_or(Ok(()), topic::check_topic)?;
        let keyspace = self.0.partition(partition)?;
        let topics = match self.0.existing(&BucketName::topics(partition)) {
            Ok(topics) => Some(topics),
            Err(error) if error.kind() == ErrorKind::BucketNotFound => None,
            Err(error) => return Err(error),
        };
        let catalogue = self.0.catalogue.read();
        let names = catalogue
            .live()
            .map(|state| (state.id, state.name.as_str().to_owned()))
            .collect();
        drop(catalogue);
        topic::read(keyspace, topics.as_ref(), &names, scan)
    }
}
