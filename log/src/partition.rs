//! A partition: one append-only byte stream, its segments, and its commits.
//!
//! # Watermarks
//!
//! ```text
//! durable <= written <= end          visible <= written
//! ```
//!
//! * `end`: everything below has been *sequenced*, that is, given its place. Only poison or a
//!   crash can stop it from being written.
//! * `written`: everything below has reached the kernel; it survives the death of the process.
//! * `durable`: everything below was covered by a sync that returned; it survives a power loss.
//!   Only below it are bytes served from the memory map.
//! * `visible`: what readers may act on. A `Local` batch becomes visible when it is durable, a
//!   `Buffered` one when it is written and everything before it is visible.
//!
//! # Order of a write
//!
//! [`Partition::try_append`] copies the batch into the open group and gives it its offset; it
//! never touches the disk. The group is written and synced by whoever waits first (`lead`).
//! Segments change only in [`Partition::make_room`], with nothing pending (`roll`), so at most one
//! segment ever holds bytes that are not durable.
//!
//! # Failure
//!
//! A failed write or sync *poisons* the partition: the waiters get `OutcomeUnknown`, later appends
//! `Poisoned`, and `visible` falls back to `durable` for good. Nothing is retried on the same
//! file; no footer and no mark is written any more; the close counts as unclean.

mod append;
mod backup;
mod cold;
mod gather;
mod lead;
mod mark;
mod read;
mod replay;
mod retention;
mod roll;
mod status;
mod sync;
mod tail;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex, RwLock};

use crate::commit::Group;
use crate::error::{Error, Result};
use crate::identity::{LogId, Offset, PartitionId};
use crate::log::Options;
use crate::recovery::{Recovered, RecoveryReport};
use crate::retired::Retired;
use crate::segment::Segment;
use crate::segment::spares::{Claim, Spares};
use crate::segment::unused::Unused;
use crate::slots::Slots;
use crate::superblock::Superblock;
use crate::vfs::{File, Vfs};
use cold::Coldness;
use gather::Gathering;
use retention::Pins;
use tail::Watcher;

pub use append::Appended;
pub(crate) use backup::{BACKUP_FILES, BACKUP_NAMES};
pub use read::RecordBytes;
use read::{find, starting_at};
pub use replay::ReplayedBatch;
pub(crate) use replay::next_batch;
pub use retention::{Dropped, SegmentPin};
pub use status::{PartitionStatus, SegmentSpan};
pub use sync::BUFFERED_BYTES_MAX;
use sync::Syncing;
pub use tail::{TailBatch, TailReader};

/// When a batch counts as acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Written to the kernel: survives the death of the process, not a power loss. Synced within
    /// [`Options::buffered_sync`].
    Buffered,
    /// Synced to the local disk: survives a power loss.
    Local,
}

/// An open partition. See the module for its contract. All calls may come from many threads.
pub struct Partition {
    id: PartitionId,
    log: LogId,
    vfs: Arc<dyn Vfs>,
    directory: PathBuf,
    options: Options,
    tail: Mutex<Tail>,
    /// Signalled when `leading` or `rolling` ends, a group is handed over, or the partition stops.
    changed: Condvar,
    segments: RwLock<Vec<Arc<Segment>>>,
    active: RwLock<Option<Arc<Active>>>,
    end: AtomicU64,
    written: AtomicU64,
    durable: AtomicU64,
    visible: AtomicU64,
    poison: OnceLock<Arc<str>>,
    superblock: Mutex<(Slots, Superblock)>,
    /// Locked for the whole of a drop.
    retired: Mutex<Retired>,
    dropped_end: AtomicU64,
    pins: Arc<Pins>,
    spares: Mutex<Spares>,
    /// The size of all spares.
    prepared: Arc<AtomicU64>,
    /// Room that a cut at open left, until it is given back.
    unused: Mutex<Option<Unused>>,
    coldness: Coldness,
    /// The last attempt to prepare a segment found no room for it.
    full: AtomicBool,
    newest_time_ms: AtomicU64,
    /// Commits that wait for the open group to be synced.
    waiting: AtomicUsize,
    /// When (clock's elapsed time, in ms) the newest group was written.
    written_at_ms: AtomicU64,
    /// When the oldest byte that is not yet durable was written.
    unsynced_since_ms: AtomicU64,
    syncing: Syncing,
    recovery: RecoveryReport,
    counters: Counters,
}

/// The segment that is being written.
#[derive(Debug)]
struct Active {
    segment: Arc<Segment>,
    file: Arc<dyn File>,
}

/// What is decided under the tail's lock: the order of batches.
#[derive(Debug)]
struct Tail {
    end: Offset,
    active: Option<Arc<Active>>,
    open: Option<OpenGroup>,
    leading: bool,
    rolling: bool,
    /// The superblock says "open", so frames may be written.
    armed: bool,
    /// There is no reserve but what is left of the active segment.
    scarce: bool,
    stopping: bool,
    /// A written group's buffer, kept to be filled again.
    buffer: Vec<u8>,
    /// Who waits for something to become durable.
    watchers: Vec<Watcher>,
    gathering: Gathering,
}

/// A group that batches still join.
#[derive(Debug)]
struct OpenGroup {
    group: Arc<Group>,
    base: Offset,
    bytes: Vec<u8>,
    /// Where in `bytes` each batch starts.
    starts: Vec<u32>,
    first_local: Option<Offset>,
    needs_sync: bool,
    /// Commits that wait for the sync.
    waiting: usize,
    /// A commit of this group has no thread of its own.
    handed_over: bool,
}

/// Counts of what the partition asked of the disk since it was opened.
#[derive(Debug, Default)]
struct Counters {
    batches: AtomicU64,
    writes: AtomicU64,
    syncs: AtomicU64,
    bytes: AtomicU64,
}

impl Partition {
    pub(crate) fn start(
        id: PartitionId,
        log: LogId,
        vfs: Arc<dyn Vfs>,
        directory: &Path,
        options: Options,
        recovered: Recovered,
    ) -> Arc<Partition> {
        let end = recovered.end;
        let active = recovered
            .active
            .map(|(segment, file)| Arc::new(Active { segment, file }));
        let tail = Tail {
            end,
            active: active.clone(),
            open: None,
            leading: false,
            rolling: false,
            armed: false,
            // Not known before the first write asks for room.
            scarce: !recovered.segments.is_empty(),
            stopping: false,
            buffer: Vec::new(),
            watchers: Vec::new(),
            gathering: Gathering::default(),
        };
        let time_ms = recovered.superblock.1.time_ms;
        let spares = Spares::default();
        let partition = Arc::new(Partition {
            id,
            log,
            vfs,
            directory: directory.to_owned(),
            tail: Mutex::new(tail),
            changed: Condvar::new(),
            segments: RwLock::new(recovered.segments),
            active: RwLock::new(active),
            end: AtomicU64::new(end.get()),
            written: AtomicU64::new(end.get()),
            durable: AtomicU64::new(end.get()),
            visible: AtomicU64::new(end.get()),
            poison: OnceLock::new(),
            superblock: Mutex::new(recovered.superblock),
            dropped_end: AtomicU64::new(recovered.retired.end().get()),
            retired: Mutex::new(recovered.retired),
            pins: Arc::default(),
            prepared: spares.bytes(),
            spares: Mutex::new(spares),
            unused: Mutex::new(recovered.unused),
            coldness: Coldness::default(),
            full: AtomicBool::new(false),
            newest_time_ms: AtomicU64::new(time_ms),
            waiting: AtomicUsize::new(0),
            written_at_ms: AtomicU64::new(0),
            unsynced_since_ms: AtomicU64::new(0),
            syncing: Syncing::default(),
            recovery: recovered.report,
            counters: Counters::default(),
            options,
        });
        // Before others take the space. What hinders it is told to the first write.
        let _ = partition.restore_reserve(Claim::Collect);
        partition
    }

    /// The partition's number.
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// Where its files are. Whoever derives files from the log may keep them there, under names
    /// that do not end in `.seg`, `.copy` or `.spare`.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The disk its files are on.
    pub fn vfs(&self) -> &Arc<dyn Vfs> {
        &self.vfs
    }

    /// The random name of the log it is a part of.
    pub fn log_id(&self) -> LogId {
        self.log
    }

    /// What the opening of this partition found, kept and dropped.
    pub fn recovery(&self) -> &RecoveryReport {
        &self.recovery
    }

    /// Batches below this offset may be shown to readers. After poison: durable ones only.
    pub fn visible(&self) -> Offset {
        if self.poison.get().is_some() {
            return self.durable();
        }
        Offset::new(self.visible.load(Ordering::Acquire))
    }

    /// Everything below this offset survives a power loss.
    pub fn durable(&self) -> Offset {
        Offset::new(self.durable.load(Ordering::Acquire))
    }

    /// Where the highest dropped segment ended, 0 if none ever was. Whoever has read to here or
    /// further has missed nothing.
    pub fn dropped_end(&self) -> Offset {
        Offset::new(self.dropped_end.load(Ordering::Acquire))
    }

    /// Everything below this offset has its place.
    pub fn end(&self) -> Offset {
        Offset::new(self.end.load(Ordering::Acquire))
    }

    /// The greatest time that a retained or marked batch carries, in milliseconds since 1970.
    pub fn newest_time_ms(&self) -> u64 {
        self.newest_time_ms.load(Ordering::Relaxed)
    }

    /// Whether an earlier failure stops all writes.
    pub fn is_poisoned(&self) -> bool {
        self.poison.get().is_some()
    }

    /// Whether the partition was closed, or is closing: nothing is appended any more.
    pub fn is_closed(&self) -> bool {
        self.tail.lock().stopping
    }

    fn check_poison(&self) -> Result<()> {
        match self.poison.get() {
            Some(cause) => Err(Error::Poisoned {
                cause: Arc::clone(cause),
            }),
            None => Ok(()),
        }
    }

    /// Refuses what writes to the directory of a partition that is closed, or is closing.
    fn check_open(&self) -> Result<()> {
        if self.tail.lock().stopping {
            return Err(closed());
        }
        Ok(())
    }

    /// Records the failure that ends all writing, and turns it into what waiters are told. The
    /// caller does not hold the tail's lock.
    fn poison_with(&self, error: &Error) -> Error {
        let cause = self.poison.get_or_init(|| error.to_string().into());
        self.wake_watchers();
        Error::OutcomeUnknown {
            cause: Arc::clone(cause),
        }
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Partition({} of {})", self.id, self.log)
    }
}

fn closed() -> Error {
    Error::Poisoned {
        cause: "the store is closed".into(),
    }
}

#[cfg(test)]
mod tests;
