//! How a store is opened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cairn_log::vfs::{MemoryDisk, RealDisk, Vfs};
use cairn_log::{Clock, SystemClock};

use crate::error::Result;
use crate::store::Store;
use crate::topic::retention::{TopicLimits, TopicRetention};

/// Options of a store; the defaults suit a container of 1 GiB.
///
/// ```no_run
/// let store = cairn_kv::Store::options().partitions(4).open("data")?;
/// # Ok::<(), cairn_kv::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "options do nothing until a store is opened with them"]
pub struct Options {
    pub(crate) partitions: u16,
    pub(crate) segment_bytes: u64,
    pub(crate) index: IndexOptions,
    pub(crate) buffered_sync: Duration,
    pub(crate) watch_lag_bytes: u64,
    pub(crate) topics: TopicLimits,
    pub(crate) threads: bool,
    pub(crate) clock: Arc<dyn Clock>,
}

/// What bounds the index of a partition. Bytes of hot index and cache are shared out among the
/// partitions when the store is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexOptions {
    pub(crate) memtable_bytes: u64,
    pub(crate) hot_index_bytes: u64,
    pub(crate) cache_bytes: u64,
    /// Runs are merged when they have this many entries, and a tenth of those merged already.
    pub(crate) merge_entries: u64,
    /// What the buckets of a partition may always keep of superseded versions together.
    pub(crate) history_bytes_min: u64,
}

impl IndexOptions {
    /// The share of one of so many partitions.
    pub(crate) fn share(self, partitions: usize) -> IndexOptions {
        let partitions = partitions.max(1) as u64;
        IndexOptions {
            hot_index_bytes: self.hot_index_bytes / partitions,
            cache_bytes: self.cache_bytes / partitions,
            ..self
        }
    }
}

impl Options {
    /// The defaults.
    pub fn new() -> Options {
        Options {
            partitions: 1,
            segment_bytes: cairn_log::SEGMENT_BYTES,
            index: IndexOptions {
                memtable_bytes: 64 << 20,
                hot_index_bytes: 128 << 20,
                cache_bytes: 64 << 20,
                merge_entries: 1 << 20,
                history_bytes_min: 8 << 20,
            },
            buffered_sync: Duration::from_millis(1_000),
            watch_lag_bytes: 256 << 20,
            topics: TopicLimits::default(),
            threads: true,
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// Partitions of a store that is created now, 1..=256; an existing one keeps its number.
    /// Default 1. Each has its own log, commits and order of writes; a bucket lives in one.
    pub fn partitions(mut self, partitions: u16) -> Options {
        self.partitions = partitions;
        self
    }

    /// Bytes of a segment file of the log, from now on. Default 64 MiB.
    pub fn segment_bytes(mut self, bytes: u64) -> Options {
        self.segment_bytes = bytes;
        self
    }

    /// Bytes of index over the newest part of the log that a partition holds in memory before it
    /// goes on to another segment and moves them to disk. Default 64 MiB; at most three times as
    /// much is held while writers outpace the disk.
    pub fn memtable_bytes(mut self, bytes: u64) -> Options {
        self.index.memtable_bytes = bytes;
        self
    }

    /// Bytes of memory for the places of keys, 0 for none. Taken as keys come; default 128 MiB:
    /// fifteen million keys.
    pub fn hot_index_bytes(mut self, bytes: u64) -> Options {
        self.index.hot_index_bytes = bytes;
        self
    }

    /// Bytes of memory for pages of the merged index. Default 64 MiB.
    pub fn cache_bytes(mut self, bytes: u64) -> Options {
        self.index.cache_bytes = bytes;
        self
    }

    /// Entries that runs have at least when they are merged. Default a million; for tests.
    #[doc(hidden)]
    pub fn merge_entries(mut self, entries: u64) -> Options {
        self.index.merge_entries = entries;
        self
    }

    /// `Buffered` writes are synced at the latest this many milliseconds after they were written.
    /// Default 1,000.
    pub fn buffered_sync_ms(mut self, ms: u64) -> Options {
        self.buffered_sync = Duration::from_millis(ms);
        self
    }

    /// Bytes of log that are kept for a [`Watch`](crate::Watch) that has not seen them yet. Default
    /// 256 MiB. One that lags further behind goes on while it can, and ends with `Compacted` where
    /// space was given back.
    pub fn watch_lag_bytes(mut self, bytes: u64) -> Options {
        self.watch_lag_bytes = bytes;
        self
    }

    /// Records of topics are removed once they are this many milliseconds old, 0 for never. Default
    /// 0. A topic is then read from the oldest record that is kept, and from below it only to hear
    /// `Compacted`. Space comes back as that of deleted keys does.
    pub fn topic_retention_ms(mut self, ms: u64) -> Options {
        self.topics.ms = ms;
        self
    }

    /// The oldest records of a topic are removed while all of its records in a partition together
    /// have more bytes than this, 0 for no limit. Default 0. Their names and offsets don't count.
    pub fn topic_retention_bytes(mut self, bytes: u64) -> Options {
        self.topics.bytes = bytes;
        self
    }

    /// What holds of one topic instead, in every partition.
    pub fn topic_retention(
        mut self,
        topic: impl Into<String>,
        retention: TopicRetention,
    ) -> Options {
        self.topics.named.insert(topic.into(), retention);
        self
    }

    /// Whether the store has threads of its own that commit what nobody waits for, and prepare and
    /// mark the log. Default true. Without them, whoever opened the store calls
    /// [`Store::step`], and everything that happens is decided by the caller.
    pub fn threads(mut self, threads: bool) -> Options {
        self.threads = threads;
        self
    }

    /// Where time comes from. Default: the system.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Options {
        self.clock = clock;
        self
    }

    /// Bytes of superseded versions that are always kept within a bucket's time. Default 8 MiB;
    /// for tests.
    #[doc(hidden)]
    pub fn history_bytes_min(mut self, bytes: u64) -> Options {
        self.index.history_bytes_min = bytes;
        self
    }

    /// Opens the store in a directory, creating it if there is none.
    ///
    /// Cost: recovery of the log and a replay of it, about a second for five million records.
    ///
    /// # Errors
    ///
    /// `Locked` if it is open elsewhere; `Corrupt` if something durable is damaged (nothing is
    /// changed then); `InvalidArgument` for options outside their limits or a directory of another
    /// format version; `Io`, `DiskFull`.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Store> {
        self.open_on(Arc::new(RealDisk), path)
    }

    /// Opens a store in memory, which is gone when it is dropped. It chooses its segments' size
    /// itself.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for options outside their limits; `Io` if a thread cannot be started.
    pub fn open_in_memory(self) -> Result<Store> {
        let options = self.segment_bytes(MEMORY_SEGMENT_BYTES);
        options.open_on(Arc::new(MemoryDisk::default()), "memory")
    }

    /// Opens the store in a directory of any disk.
    ///
    /// # Errors
    ///
    /// Those of [`Options::open`].
    pub fn open_on(self, disk: Arc<dyn Vfs>, path: impl AsRef<Path>) -> Result<Store> {
        Store::open_with(self, disk, path.as_ref())
    }
}

/// Segments in memory are small, but take the largest value a record can hold. Zeros cost nothing.
const MEMORY_SEGMENT_BYTES: u64 = 32 << 20;

impl Default for Options {
    fn default() -> Options {
        Options::new()
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Options")
            .field("partitions", &self.partitions)
            .field("segment_bytes", &self.segment_bytes)
            .field("index", &self.index)
            .field("buffered_sync", &self.buffered_sync)
            .field("watch_lag_bytes", &self.watch_lag_bytes)
            .field("topics", &self.topics)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}
