//! What a store must offer to be measured, and the list of those that are.
//!
//! The trait asks for what an application asks of a store: puts that are durable when they return,
//! puts that are not, atomic batches, point reads, an ordered scan, and a flush that waits until
//! everything acknowledged so far survives a power loss. An adapter translates and adds nothing:
//! no cache, no batching across callers, no thread of its own. It opens its store with the
//! settings the store's authors advise for the workload named in [`Tuning`], and says which.
//!
//! To add an engine, write `engines/NAME.rs` with a function `open` and add a line to [`ENGINES`].

mod cairn;
mod canopydb;
mod fjall;
mod lmdb;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;

use crate::data::{Pairs, Rows, Shape};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

/// Foreign engines bring their own errors; a row that meets one prints it and fails.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What a write promises when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// It survives a power loss: written and synced with fdatasync or stronger.
    Synced,
    /// It is visible and survives no more than the engine says in its settings; at best a kill.
    Buffered,
}

/// How a reader treats the engine's read transaction or snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadMode {
    /// One snapshot held over all reads.
    Held,
    /// Each read sees what is newest when it begins.
    PerGet,
}

impl ReadMode {
    pub(crate) fn label(self) -> &'static str {
        match self {
            ReadMode::Held => "held snapshot",
            ReadMode::PerGet => "per-get",
        }
    }
}

/// What a store is opened for, so that its adapter can choose the settings advised for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Every write is [`Durability::Synced`].
    DurableWrites,
    /// Single writes and small batches are [`Durability::Buffered`], with a flush now and then.
    BufferedWrites,
    /// A load through [`Engine::load`], then reads.
    LoadThenRead,
    /// Reads of a loaded store in a process whose memory is bounded: what the engine keeps for
    /// caches and indexes is within [`Tuning::cache_bytes`].
    CappedReads,
}

/// What an adapter is told at open. The same for every engine of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning {
    pub(crate) purpose: Purpose,
    pub(crate) shape: Shape,
    /// For block or page caches and hot indexes. Engines that map their file leave it to the
    /// kernel's page cache.
    pub(crate) cache_bytes: u64,
    /// `cache_bytes` was asked for: an engine with bounds of its own takes it instead of them.
    pub(crate) cache_is_given: bool,
}

/// A store that is open. Shared by reference between threads that write and read at once.
pub(crate) trait Engine: Send + Sync {
    /// One line for the report: version, what was set and why, what `Buffered` survives, and how
    /// many writers commit.
    fn settings(&self) -> String;

    /// Whether every value that a read returns was checked against a checksum since the process
    /// read it from disk.
    fn verifies_reads(&self) -> bool;

    fn put(&self, key: &[u8], value: &[u8], durability: Durability) -> Outcome<()>;

    fn delete(&self, key: &[u8], durability: Durability) -> Outcome<()>;

    /// All of `pairs` or none of them.
    fn batch(&self, pairs: &Pairs, durability: Durability) -> Outcome<()>;

    /// Takes all `rows` in their order, in portions of the engine's own choice, and returns when
    /// the last of them is durable.
    fn load(&self, rows: &mut Rows) -> Outcome<()> {
        let mut pairs = Pairs::new(rows.shape());
        let rows_a_batch = LOAD_BATCH_BYTES / rows.shape().row_bytes() as u64;
        while rows.next_chunk(rows_a_batch.clamp(1, LOAD_ROWS), &mut pairs) {
            self.batch(&pairs, Durability::Buffered)?;
        }
        self.flush()
    }

    /// Opens a reader on this thread and hands it to `body`.
    fn read(&self, mode: ReadMode, body: &mut dyn FnMut(&dyn Reader) -> Outcome<()>)
    -> Outcome<()>;

    /// Returns when everything acknowledged so far is durable.
    fn flush(&self) -> Outcome<()>;

    /// Returns when the engine's background work (flushes, merges, compactions, GC) has caught
    /// up: the state a loaded store is in a while later. Nothing to do without such work.
    fn settle(&self) -> Outcome<()> {
        Ok(())
    }

    /// Syncs issued since the store was opened, where the engine or its adapter knows.
    fn syncs(&self) -> Option<u64> {
        None
    }

    /// Allocated bytes that hold nothing yet: space prepared above the end of a log.
    fn prepared_bytes(&self) -> u64 {
        0
    }

    /// Closes it cleanly.
    fn close(self: Box<Self>) -> Outcome<()>;
}

/// Reads on one thread.
pub(crate) trait Reader {
    /// Calls `visit` with the value and returns true, or returns false for an absent key.
    fn get(&self, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Outcome<bool>;

    /// Calls `visit` with every key and value in key order.
    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()>;
}

/// Opens the store in `directory`, which exists and is empty or holds what an earlier process left.
type Open = fn(&Path, &Tuning) -> Outcome<Box<dyn Engine>>;

/// An engine by name.
#[derive(Clone, Copy)]
pub(crate) struct Registration {
    pub(crate) name: &'static str,
    pub(crate) open: Open,
}

/// The engine the others are the peers of.
pub(crate) const CAIRN: &str = "cairn";

/// All engines, in the order in which a row runs them.
pub(crate) const ENGINES: &[Registration] = &[
    Registration {
        name: CAIRN,
        open: cairn::open,
    },
    Registration {
        name: "redb",
        open: redb::open,
    },
    Registration {
        name: "fjall",
        open: fjall::open,
    },
    Registration {
        name: "lmdb",
        open: lmdb::open,
    },
    Registration {
        name: "canopydb",
        open: canopydb::open,
    },
    #[cfg(feature = "rocksdb")]
    Registration {
        name: "rocksdb",
        open: rocksdb::open,
    },
];

/// Waits until `busy` has said no for a quarter of a second, at most a minute: background work
/// may start a moment after other work ended.
fn wait_until_idle(busy: impl Fn() -> Outcome<bool>) -> Outcome<()> {
    let deadline = Instant::now() + SETTLE_TIME_MAX;
    let mut quiet_looks = 0;
    while quiet_looks < SETTLED_LOOKS && Instant::now() < deadline {
        quiet_looks = if busy()? { 0 } else { quiet_looks + 1 };
        std::thread::sleep(LOOK_INTERVAL);
    }
    Ok(())
}

const SETTLE_TIME_MAX: Duration = Duration::from_secs(60);
const SETTLED_LOOKS: u32 = 10;
const LOOK_INTERVAL: Duration = Duration::from_millis(25);

/// Rows of a batch where an engine has no better size for a load, and the bytes at which it holds
/// fewer: stores bound their batches.
const LOAD_ROWS: u64 = 1_000;
const LOAD_BATCH_BYTES: u64 = 4 << 20;

#[cfg(test)]
mod tests;
