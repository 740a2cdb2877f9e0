//! Topics: opaque records that are appended to the log of a partition and keep their offset.
//!
//! A topic record is a put in a system bucket, one for each partition, created with the first
//! append. Users can't name it, and no listing shows it, but to the index, to merges and to garbage
//! collection it is a bucket like any other: so a record that is moved keeps its key, and its
//! offset with it.
//!
//! ```text
//! bucket  $topics-N, in partition N
//! key     topic, UTF-8 · 0x00 · offset u64 big-endian
//! value   the record
//! ```
//!
//! Records go when they are older than the options allow or too many ([`TopicRetention`]). What a
//! topic has lost its `floor` tells, a key of the same bucket.
//!
//! The offset is that of the record's frame when it was first written. It is known only once the
//! record has its place, and the record holds its key: so it is encoded, under the sequencer's
//! lock, for the place at the log's end, and the log takes it at that place or not at all.

pub(crate) mod floor;
pub(crate) mod retention;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use cairn_log::{BatchBuffer, Offset, SegmentSpan};

use crate::bucket::name::BucketName;
use crate::bucket::state::BucketState;
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::Keyspace;
use crate::keyspace::sequence::Placed;
use crate::limits::TOPIC_NAME_BYTES_MAX;
use crate::record::{Body, BucketId, Malformed, Origin, Record};
use crate::scan::{Entries, Scan};
use floor::{RECORDS_START, is_floor_key};

/// A record that has its place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its offset, for ever.
    pub offset: u64,
    /// Where the next record stands or later: everything up to here is read from below it.
    pub next: u64,
}

impl Appended {
    pub(crate) fn of(placed: &Placed) -> Appended {
        Appended {
            offset: placed.at.get() + BatchBuffer::FIRST_PLACE,
            next: placed.end.get(),
        }
    }
}

/// What to read of the log of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogScan {
    /// Only records at or above this offset; 0 for the oldest there is.
    pub from: u64,
    /// At most this many. A page may end earlier, once it has about four mebibytes.
    pub limit: usize,
    /// Only the records of this topic; all records that are in the log otherwise.
    pub topic: Option<String>,
}

/// A record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogRecord {
    /// Where it stands; of a topic record, where it was first written.
    pub offset: u64,
    /// What it is.
    pub kind: LogKind,
    /// The topic it was appended to.
    pub topic: Option<String>,
    /// The bucket it is about, if that still exists.
    pub bucket: Option<String>,
    /// The key it is about.
    pub key: Option<Bytes>,
    /// The record of a topic, or the value of a key.
    pub data: Bytes,
}

/// What a record of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LogKind {
    /// It was appended to a topic.
    Topic,
    /// It sets a key.
    Put,
    /// It removes a key.
    Delete,
    /// It creates a bucket.
    BucketCreated,
    /// It removes a bucket.
    BucketDropped,
    /// It is the store's own.
    Internal,
}

impl LogKind {
    /// The word used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            LogKind::Topic => "topic",
            LogKind::Put => "put",
            LogKind::Delete => "delete",
            LogKind::BucketCreated => "bucket_created",
            LogKind::BucketDropped => "bucket_dropped",
            LogKind::Internal => "internal",
        }
    }
}

/// Refuses what is no name of a topic: it has 1 to 255 bytes of UTF-8 without control characters.
pub(crate) fn check_topic(topic: &str) -> Result<()> {
    let length = topic.len();
    if (1..=TOPIC_NAME_BYTES_MAX).contains(&length) && !topic.contains(char::is_control) {
        return Ok(());
    }
    let shown: String = topic.chars().take(80).collect();
    Err(Error::invalid(format!(
        "the topic {shown:?} must have 1 to {TOPIC_NAME_BYTES_MAX} bytes of UTF-8 without control \
         characters"
    )))
}

/// The key of the record of a topic in a batch that stands at `batch`.
pub(crate) fn key_at(topic: &str, batch: Offset) -> Vec<u8> {
    key(topic, batch.get() + BatchBuffer::FIRST_PLACE)
}

/// The key of the record of a topic that stands, or would stand, at `offset`.
pub(crate) fn key(topic: &str, offset: u64) -> Vec<u8> {
    [topic.as_bytes(), &[0], &offset.to_be_bytes()].concat()
}

/// The topic and the offset of a record; `None` if the key is none of a record.
pub(crate) fn split_key(key: &[u8]) -> Option<(&str, u64)> {
    let (topic, offset) = key.split_last_chunk::<8>()?;
    let topic = std::str::from_utf8(topic.strip_suffix(&[0])?).ok()?;
    Some((topic, u64::from_be_bytes(*offset)))
}

/// [`split_key`] of a key that must be a record's.
///
/// # Errors
///
/// `Corrupt` if it is not.
pub(crate) fn topic_and_offset(key: &[u8]) -> Result<(&str, u64)> {
    split_key(key).ok_or_else(|| no_key_of_a_topic(key))
}

/// Before the records of every later topic, and behind those of this one: no topic holds the byte
/// that stands here behind its name.
pub(crate) fn behind(topic: &str) -> Vec<u8> {
    [topic.as_bytes(), &[1]].concat()
}

/// Reads the log of a partition whose topics are in `topics`, if it ever had any.
pub(crate) fn read(
    keyspace: &Arc<Keyspace>,
    topics: Option<&Arc<BucketState>>,
    names: &HashMap<BucketId, String>,
    scan: &LogScan,
) -> Result<Vec<LogRecord>> {
    match (&scan.topic, topics) {
        (Some(topic), Some(topics)) => read_topic(keyspace, topics, topic, scan),
        (Some(_), None) => Ok(Vec::new()),
        (None, _) => read_all(keyspace, topics, names, scan),
    }
}

fn read_topic(
    keyspace: &Arc<Keyspace>,
    topics: &Arc<BucketState>,
    topic: &str,
    scan: &LogScan,
) -> Result<Vec<LogRecord>> {
    let floor = floor::floor(keyspace, topics, topic)?;
    floor::check_kept(topic, scan.from, floor)?;
    let range = Scan {
        start: Some(key(topic, scan.from.max(floor))),
        limit: Some(scan.limit),
        ..Scan::prefix(prefix(topic))
    };
    let durable = keyspace.log().durable().get();
    let mut page = Page::new(scan.limit);
    for found in Entries::begin(keyspace, topics, &range)? {
        let (key, entry) = found?;
        let (_, offset) = topic_and_offset(&key)?;
        if offset >= durable || !page.push(topic_record(topic, offset, entry.value)) {
            break;
        }
    }
    // Records may have gone before the scan began.
    let floor = floor::floor(keyspace, topics, topic)?;
    floor::check_kept(topic, scan.from, floor)?;
    Ok(page.records)
}

/// Everything in the log, and where segments were dropped what is left of them: topic records.
fn read_all(
    keyspace: &Arc<Keyspace>,
    topics: Option<&Arc<BucketState>>,
    names: &HashMap<BucketId, String>,
    scan: &LogScan,
) -> Result<Vec<LogRecord>> {
    let log = keyspace.log();
    // What is listed then stays while it is read.
    let _pin = log.pin(Offset::new(scan.from));
    let spans = log.segments();
    let mut page = read_spans(keyspace, &spans, topics, names, scan)?;
    if scan.from < log.dropped_end().get()
        && let Some(topics) = topics
    {
        let moved = read_moved(keyspace, topics, &spans, scan)?;
        // Behind where either of them had to stop, the other one has gaps.
        let end = page.end.min(moved.end);
        page.records.extend(moved.records);
        page.records.retain(|record| record.offset < end);
        page.records.sort_by_key(|record| record.offset);
        page.records.truncate(scan.limit);
    }
    Ok(page.records)
}

fn read_spans(
    keyspace: &Arc<Keyspace>,
    spans: &[SegmentSpan],
    topics: Option<&Arc<BucketState>>,
    names: &HashMap<BucketId, String>,
    scan: &LogScan,
) -> Result<Page> {
    let log = keyspace.log();
    let from = Offset::new(scan.from);
    let mut page = Page::new(scan.limit);
    for span in spans.iter().filter(|span| span.end > from) {
        let mut reader = log.tail_holding(from.max(span.base))?;
        while reader.position() < span.end
            && let Some(batch) = reader.next()?
        {
            for (offset, payload) in batch.records().filter(|(offset, _)| *offset >= from) {
                let record = Record::decode(payload)
                    .and_then(|record| log_record(offset.get(), &record, topics, names))
                    .map_err(|malformed| damaged(offset, malformed))?;
                if let Some(record) = record
                    && !page.push(record)
                {
                    return Ok(page);
                }
            }
        }
    }
    Ok(page)
}

/// Topic records whose first place is in none of these segments.
///
/// Cost: a look-up for each topic of the partition, since each has its records in order.
fn read_moved(
    keyspace: &Arc<Keyspace>,
    topics: &Arc<BucketState>,
    spans: &[SegmentSpan],
    scan: &LogScan,
) -> Result<Page> {
    let floor = keyspace.log().dropped_end().get();
    let is_retained = |offset: u64| {
        let mut spans = spans.iter();
        spans.any(|span| (span.base.get()..span.end.get()).contains(&offset))
    };
    let keys_only = Scan {
        keys_only: true,
        ..Scan::default()
    };
    let mut first: BTreeMap<u64, Bytes> = BTreeMap::new();
    let mut start = RECORDS_START.to_vec();
    loop {
        let next = Scan {
            start: Some(start),
            limit: Some(1),
            ..keys_only.clone()
        };
        let Some(found) = Entries::begin(keyspace, topics, &next)?.next() else {
            break;
        };
        let found = found?.0;
        let (topic, _) = topic_and_offset(&found)?;
        let range = Scan {
            start: Some(key(topic, scan.from)),
            end: Some(key(topic, floor)),
            prefix: prefix(topic),
            ..keys_only.clone()
        };
        let mut count = 0;
        for found in Entries::begin(keyspace, topics, &range)? {
            let key = found?.0;
            let (_, offset) = topic_and_offset(&key)?;
            if !is_retained(offset) {
                first.insert(offset, key);
                count += 1;
            }
            if first.len() > scan.limit {
                first.pop_last();
            }
            if count == scan.limit {
                break;
            }
        }
        start = behind(topic);
    }
    let mut page = Page::new(scan.limit);
    for (offset, key) in first {
        let Some(entry) = keyspace.get(topics, &key)? else {
            continue;
        };
        let (topic, _) = topic_and_offset(&key)?;
        if !page.push(topic_record(topic, offset, entry.value)) {
            break;
        }
    }
    Ok(page)
}

/// Records in order, until they are enough.
struct Page {
    records: Vec<LogRecord>,
    limit: usize,
    bytes: usize,
    /// Every record below this is here.
    end: u64,
}

impl Page {
    fn new(limit: usize) -> Page {
        Page {
            records: Vec::new(),
            limit,
            bytes: 0,
            end: u64::MAX,
        }
    }

    /// Adds a record, and says whether there may be more.
    fn push(&mut self, record: LogRecord) -> bool {
        if self.records.len() >= self.limit {
            self.end = record.offset;
            return false;
        }
        self.bytes += record.data.len() + record.key.as_ref().map_or(0, Bytes::len);
        let offset = record.offset;
        self.records.push(record);
        let is_full = self.records.len() == self.limit || self.bytes >= PAGE_BYTES_MAX;
        if is_full {
            self.end = offset + 1;
        }
        !is_full
    }
}

/// What a record of the log says; `None` if garbage collection moved it there.
fn log_record(
    offset: u64,
    record: &Record<'_>,
    topics: Option<&Arc<BucketState>>,
    names: &HashMap<BucketId, String>,
) -> std::result::Result<Option<LogRecord>, Malformed> {
    if matches!(record.origin, Origin::Moved(_)) {
        return Ok(None);
    }
    let of_key = |kind, key: &[u8], data: &[u8]| LogRecord {
        offset,
        kind,
        topic: None,
        bucket: names.get(&record.bucket).cloned(),
        key: Some(Bytes::copy_from_slice(key)),
        data: Bytes::copy_from_slice(data),
    };
    let of_bucket = |kind, bucket| LogRecord {
        offset,
        kind,
        topic: None,
        bucket,
        key: None,
        data: Bytes::new(),
    };
    let is_topic = topics.is_some_and(|topics| topics.id == record.bucket);
    let name = names.get(&record.bucket);
    let is_of_system = !is_topic && name.is_some_and(|name| BucketName::is_of_system(name));
    Ok(Some(match &record.body {
        // What was removed of a topic, and up to where.
        Body::Put(put) if is_topic && is_floor_key(put.key) => of_bucket(LogKind::Internal, None),
        Body::Delete { .. } if is_topic => of_bucket(LogKind::Internal, None),
        Body::Put(put) if is_topic => {
            let (topic, _) = split_key(put.key).ok_or(Malformed("it is no record of a topic"))?;
            topic_record(topic, offset, Bytes::copy_from_slice(put.value))
        }
        // A piece of a large value means nothing by itself, nor does a snapshot.
        Body::Put(_) | Body::Delete { .. } if is_of_system || record.bucket.is_pieces() => {
            of_bucket(LogKind::Internal, None)
        }
        Body::Put(put) => of_key(LogKind::Put, put.key, put.value),
        Body::LargePut(put) => of_key(LogKind::Put, put.key, &[]),
        Body::Delete { key, .. } => of_key(LogKind::Delete, key, &[]),
        Body::BucketCreated { name, .. } if name.is_system() => of_bucket(LogKind::Internal, None),
        Body::BucketCreated { name, .. } => {
            of_bucket(LogKind::BucketCreated, Some(name.as_str().to_owned()))
        }
        Body::BucketDropped => {
            of_bucket(LogKind::BucketDropped, names.get(&record.bucket).cloned())
        }
        Body::HistoryFloor { .. } => of_bucket(LogKind::Internal, None),
    }))
}

fn topic_record(topic: &str, offset: u64, data: Bytes) -> LogRecord {
    LogRecord {
        offset,
        kind: LogKind::Topic,
        topic: Some(topic.to_owned()),
        bucket: None,
        key: None,
        data,
    }
}

fn prefix(topic: &str) -> Vec<u8> {
    [topic.as_bytes(), &[0]].concat()
}

fn no_key_of_a_topic(key: &[u8]) -> Error {
    let message = format!(
        "the key \"{}\" of the topics is none; run `cairn verify` on the data directory",
        key.escape_ascii()
    );
    Error::new(ErrorKind::Corrupt, message)
}

fn damaged(offset: Offset, malformed: Malformed) -> Error {
    let message = format!(
        "the record at offset {offset} is damaged: {malformed}; run `cairn verify` on the data \
         directory"
    );
    Error::new(ErrorKind::Corrupt, message)
}

/// A page ends once it has this many bytes.
const PAGE_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests;
