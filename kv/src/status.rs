//! Where a store stands, for people and for metrics.

use cairn_log::LogId;

/// A store's state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The random name of the store's log.
    pub log_id: LogId,
    /// By number.
    pub partitions: Vec<PartitionStatus>,
    /// Number of buckets.
    pub buckets: usize,
    /// The time that deadlines are judged by, in milliseconds since 1970.
    pub now_ms: u64,
    /// Whether the wall clock has leapt more than an hour ahead and is not yet believed.
    pub clock_is_suspect: bool,
}

/// A partition's state. Offsets are bytes from the start of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionStatus {
    /// Its number.
    pub partition: u16,
    /// Where the retained log begins.
    pub start: u64,
    /// Everything below has its place.
    pub end: u64,
    /// Everything below survives a power loss.
    pub durable: u64,
    /// Readers see the batches below this offset.
    pub visible: u64,
    /// Whether a failure of the log has stopped all writes.
    pub poisoned: bool,
    /// Number of segment files.
    pub segments: usize,
    /// Bytes of log in them.
    pub bytes: u64,
    /// Bytes of files that are prepared for log to come.
    pub prepared_bytes: u64,
    /// Keys of all its buckets that are held in memory, deleted ones included until they are
    /// forgotten.
    pub keys_in_memory: usize,
    /// Batches appended since the store was opened.
    pub batches: u64,
    /// Write calls for them.
    pub writes: u64,
    /// Syncs for them.
    pub syncs: u64,
    /// Bytes that can still be written on its disk; `None` if the disk does not say.
    pub free_bytes: Option<u64>,
    /// Its index, garbage and watches.
    pub index: IndexStatus,
}

/// The index, garbage and watches of a partition. Counts are since the store was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexStatus {
    /// Memtables: one takes writes, the others wait for their run.
    pub memtables: usize,
    /// Bytes of memory that they take, counted rather than measured.
    pub memtable_bytes: u64,
    /// Runs that are not merged.
    pub runs: usize,
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
    /// Open watches.
    pub watches: usize,
    /// Bytes of log that the watch with the most has yet to see.
    pub watch_lag_bytes: u64,
}

/// What a verification has read and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Batches of the log, all of them whole.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Runs that are whole.
    pub runs: u64,
    /// Entries of merged indexes.
    pub entries: u64,
    /// Index files that are damaged. They lose nothing: they are made again from the log.
    pub damaged: Vec<String>,
}

#[cfg(test)]
mod tests;
