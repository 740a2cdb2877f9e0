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

mod backup;
mod gather;
mod lead;
mod mark;
mod read;
mod replay;
mod retention;
mod roll;
mod tail;

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex, RwLock};

use crate::commit::{Commit, Group};
use crate::error::{Error, Result};
use crate::frame::{BatchBuffer, RECORD_HEADER_BYTES, decode_record, record_length};
use crate::identity::{LogId, Offset, PartitionId};
use crate::log::Options;
use crate::recovery::{Recovered, RecoveryReport};
use crate::retired::Retired;
use crate::segment::Segment;
use crate::segment::spares::{Claim, Spares};
use crate::slots::Slots;
use crate::superblock::Superblock;
use crate::vfs::{File, Vfs};
use gather::Gathering;
use retention::Pins;
use tail::Watcher;

pub(crate) use backup::{BACKUP_FILES, BACKUP_NAMES};
pub use lead::BUFFERED_BYTES_MAX;
pub use replay::ReplayedBatch;
pub(crate) use replay::next_batch;
pub use retention::{Dropped, SegmentPin};
pub use tail::{TailBatch, TailReader};

/// The most bytes that wait in one group; past it, appends wait for the group to be written.
const GROUP_BYTES_MAX: usize = 16 << 20;

/// When a batch counts as acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Written to the kernel: survives the death of the process, not a power loss. Synced within
    /// [`Options::buffered_sync`].
    Buffered,
    /// Synced to the local disk: survives a power loss.
    Local,
}

/// A batch that has its place in the log.
#[derive(Debug)]
pub struct Appended {
    /// Where the batch stands; also its version.
    pub offset: Offset,
    /// Where the next batch will stand, unless a segment ends here.
    pub end: Offset,
    /// The base of the segment that the batch stands in: another than the last batch's when a
    /// segment was sealed in between.
    pub segment: Offset,
    /// Completes when the batch is as durable as was asked for.
    pub commit: Commit,
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
    /// The last attempt to prepare a segment found no room for it.
    full: AtomicBool,
    newest_time_ms: AtomicU64,
    /// Commits that wait for the open group to be synced.
    waiting: AtomicUsize,
    /// When (clock's elapsed time, in ms) the newest group was written.
    written_at_ms: AtomicU64,
    /// When the oldest byte that is not yet durable was written.
    unsynced_since_ms: AtomicU64,
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

/// One segment of a partition, as it stood at the call of [`Partition::segments`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSpan {
    /// The number of its file, from 1; greater numbers hold later batches.
    pub number: u64,
    /// Where its first batch stands, and its name for [`Partition::replay_segment`].
    pub base: Offset,
    /// Where its last batch ends; of the segment being written, the last durable one.
    pub end: Offset,
    /// It takes no more batches, so `end` is final.
    pub sealed: bool,
}

/// What a partition holds and has done since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// Where the first retained segment begins.
    pub start: Offset,
    /// Where the highest dropped segment ended, 0 if none ever was: at or above it nothing was
    /// dropped, below it there may be holes.
    pub dropped_end: Offset,
    /// Everything below has its place.
    pub end: Offset,
    /// Everything below survives a power loss.
    pub durable: Offset,
    /// Number of segment files.
    pub segments: usize,
    /// Bytes of log in them.
    pub bytes: u64,
    /// Bytes of files that are prepared for log to come: the spares, and the unused room of the
    /// segment being written.
    pub prepared_bytes: u64,
    /// Batches appended since the partition was opened.
    pub batches: u64,
    /// Write calls for them.
    pub writes: u64,
    /// Syncs for them.
    pub syncs: u64,
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
            spares: Mutex::default(),
            full: AtomicBool::new(false),
            newest_time_ms: AtomicU64::new(time_ms),
            waiting: AtomicUsize::new(0),
            written_at_ms: AtomicU64::new(0),
            unsynced_since_ms: AtomicU64::new(0),
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

    /// Gives the batch its place behind everything sequenced so far, or `None` if there is no room
    /// for it yet: then call [`Partition::make_room`], with no lock held, and come again.
    ///
    /// Never touches the disk. Cost: one short lock and one copy of the batch. The batch is
    /// written when its commit is waited for, polled or dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the batch is larger than [`crate::BATCH_BYTES_MAX`];
    /// [`Error::Poisoned`].
    pub fn try_append(
        self: &Arc<Self>,
        batch: &BatchBuffer,
        time_ms: u64,
        durability: Durability,
    ) -> Result<Option<Appended>> {
        self.append_if(Claim::Write, batch, time_ms, durability, |_| true)
    }

    /// [`Partition::try_append`] for what may take a part of the reserve: then the room is made by
    /// [`Partition::make_room_claiming`], for the same claim.
    ///
    /// # Errors
    ///
    /// Those of [`Partition::try_append`].
    pub fn try_append_claiming(
        self: &Arc<Self>,
        claim: Claim,
        batch: &BatchBuffer,
        time_ms: u64,
        durability: Durability,
    ) -> Result<Option<Appended>> {
        self.append_if(claim, batch, time_ms, durability, |_| true)
    }

    /// [`Partition::try_append`] at this offset, for a batch that says where it stands: also
    /// `None` if the log ends elsewhere by now.
    ///
    /// # Errors
    ///
    /// Those of [`Partition::try_append`].
    pub fn try_append_at(
        self: &Arc<Self>,
        offset: Offset,
        batch: &BatchBuffer,
        time_ms: u64,
        durability: Durability,
    ) -> Result<Option<Appended>> {
        self.append_if(Claim::Write, batch, time_ms, durability, |end| {
            end == offset
        })
    }

    fn append_if(
        self: &Arc<Self>,
        claim: Claim,
        batch: &BatchBuffer,
        time_ms: u64,
        durability: Durability,
        is_there: impl FnOnce(Offset) -> bool,
    ) -> Result<Option<Appended>> {
        batch.check_size()?;
        let bytes = batch.byte_len();
        let mut tail = self.tail.lock();
        self.check_poison()?;
        if !tail.has_room(claim, bytes) || !is_there(tail.end) {
            return Ok(None);
        }
        let Some(active) = tail.active.clone() else {
            return Ok(None);
        };
        let offset = tail.end;
        let end = offset.plus(bytes as u64);
        let open = tail.open_group();
        open.starts
            .push(u32::try_from(open.bytes.len()).unwrap_or(u32::MAX));
        batch.place_at(offset, active.segment.seed(), time_ms, &mut open.bytes);
        if durability == Durability::Local {
            open.first_local.get_or_insert(offset);
            open.await_sync(&self.waiting);
        }
        let commit = Commit::pending(Arc::clone(self), Arc::clone(&open.group));
        tail.end = end;
        self.end.store(end.get(), Ordering::Release);
        self.newest_time_ms.fetch_max(time_ms, Ordering::Relaxed);
        Ok(Some(Appended {
            offset,
            end,
            segment: active.segment.base(),
            commit,
        }))
    }

    /// Completes once everything sequenced so far is durable.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`] if the partition has failed already.
    pub fn barrier(self: &Arc<Self>) -> Result<Commit> {
        let mut tail = self.tail.lock();
        self.check_poison()?;
        if tail.open.is_none() && self.durable() == tail.end {
            return Ok(Commit::completed());
        }
        let open = tail.open_group();
        open.await_sync(&self.waiting);
        Ok(Commit::pending(Arc::clone(self), Arc::clone(&open.group)))
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

    /// Calls `read` with the payload of the record at `offset`, its checksum verified on this
    /// read. Anything written can be read; what is not yet durable is copied from the page cache,
    /// the rest is borrowed from the memory map.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] if no retained segment holds the offset; [`Error::Corrupt`].
    pub fn with_record<T>(&self, offset: Offset, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        if offset < self.durable() {
            let segments = self.segments.read();
            let segment = find(&segments, offset)?;
            return Ok(read(&segment.record(offset)?));
        }
        self.unsynced_record(offset).map(|payload| read(&payload))
    }

    /// The payload of the record at `offset`, like [`Partition::with_record`], in a form that can
    /// be kept: it pins its segment's memory map rather than copying.
    pub fn record(&self, offset: Offset) -> Result<RecordBytes> {
        if offset >= self.durable() {
            return self.unsynced_record(offset).map(RecordBytes::owned);
        }
        let segment = Arc::clone(find(&self.segments.read(), offset)?);
        let length = match segment.record(offset)? {
            Cow::Owned(payload) => return Ok(RecordBytes::owned(payload)),
            Cow::Borrowed(payload) => payload.len() as u64,
        };
        let start = offset.plus(RECORD_HEADER_BYTES as u64);
        Ok(RecordBytes(Kept::Mapped {
            segment,
            start,
            end: start.plus(length),
        }))
    }

    /// The retained segments, in log order, each with a base of its own: a file in which no batch
    /// is kept is not told apart from the next one if that begins at the same offset.
    ///
    /// Cost: one short lock, and a copy of 32 bytes each.
    pub fn segments(&self) -> Vec<SegmentSpan> {
        let segments = self.segments.read();
        // Under the same lock as the list, so that both say the same.
        let active = self.active.read().clone();
        let active = active.map(|active| active.segment.number());
        let span = |segment: &Arc<Segment>| SegmentSpan {
            number: segment.number().0,
            base: segment.base(),
            end: segment.published(),
            sealed: active != Some(segment.number()),
        };
        let mut spans: Vec<SegmentSpan> = Vec::with_capacity(segments.len());
        for segment in segments.iter() {
            spans.pop_if(|before| before.base == segment.base());
            spans.push(span(segment));
        }
        spans
    }

    /// Where the partition stands.
    pub fn status(&self) -> PartitionStatus {
        // Not waited for while one is being prepared.
        let spares = self.spares.try_lock();
        let spares = spares.map_or(0, |spares| spares.byte_len());
        let active = self.active.read().clone();
        let room = active.map_or(0, |active| active.segment.limit().since(self.end()));
        let segments = self.segments.read();
        PartitionStatus {
            start: segments
                .first()
                .map_or(self.durable(), |segment| segment.base()),
            dropped_end: self.dropped_end(),
            end: self.end(),
            durable: self.durable(),
            segments: segments.len(),
            bytes: segments
                .iter()
                .map(|segment| segment.published().since(segment.base()))
                .sum(),
            prepared_bytes: spares + room,
            batches: self.counters.batches.load(Ordering::Relaxed),
            writes: self.counters.writes.load(Ordering::Relaxed),
            syncs: self.counters.syncs.load(Ordering::Relaxed),
        }
    }

    /// A record that is written but not durable: read from the page cache into memory of its own.
    fn unsynced_record(&self, offset: Offset) -> Result<Vec<u8>> {
        let missing = Error::OutOfRange { offset };
        let Some(active) = self.active.read().clone() else {
            return Err(missing);
        };
        let segment = &active.segment;
        if offset < segment.base() || offset.get() >= self.written.load(Ordering::Acquire) {
            // It may have become durable, and its segment sealed, since the caller looked.
            let segments = self.segments.read();
            return Ok(find(&segments, offset)?.record(offset)?.into_owned());
        }
        let position = segment.position(offset);
        let read = |length: usize| {
            let mut bytes = vec![0; length];
            active
                .file
                .read_exact_at(&mut bytes, position)
                .map(|()| bytes)
                .map_err(|error| Error::io("read", segment.path(), error))
        };
        let damaged = || {
            Error::corrupt(
                segment.path(),
                position,
                "the record's checksum does not match",
            )
        };
        let room = segment.limit().since(offset);
        let length = record_length(&read(RECORD_HEADER_BYTES)?)
            .map(|length| length + RECORD_HEADER_BYTES)
            .filter(|&length| length as u64 <= room)
            .ok_or_else(damaged)?;
        let frame = read(length)?;
        decode_record(&frame, offset, segment.seed())
            .map(<[u8]>::to_vec)
            .ok_or_else(damaged)
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

impl OpenGroup {
    /// One more waits until all of the group is durable; `waiting` tells the partition so.
    fn await_sync(&mut self, waiting: &AtomicUsize) {
        self.needs_sync = true;
        self.waiting += 1;
        waiting.store(self.waiting, Ordering::Relaxed);
    }
}

impl Tail {
    fn has_room(&self, claim: Claim, bytes: usize) -> bool {
        let pending = self.open.as_ref().map_or(0, |open| open.bytes.len());
        self.armed
            && !self.rolling
            && !self.stopping
            && self.active_has_room(claim, bytes)
            && (pending == 0 || pending + bytes <= GROUP_BYTES_MAX)
    }

    fn open_group(&mut self) -> &mut OpenGroup {
        let base = self.end;
        let buffer = &mut self.buffer;
        self.open.get_or_insert_with(|| OpenGroup {
            group: Arc::default(),
            base,
            bytes: std::mem::take(buffer),
            starts: Vec::new(),
            first_local: None,
            needs_sync: false,
            waiting: 0,
            handed_over: false,
        })
    }
}

fn closed() -> Error {
    Error::Poisoned {
        cause: "the store is closed".into(),
    }
}

/// The segment that holds an offset, as far as it is published. A gap and a dropped segment belong
/// to nobody, least of all to the segment before them.
fn find(segments: &[Arc<Segment>], offset: Offset) -> Result<&Arc<Segment>> {
    let after = segments.partition_point(|segment| segment.base() <= offset);
    segments[..after]
        .last()
        .filter(|segment| offset < segment.published())
        .ok_or(Error::OutOfRange { offset })
}

/// The segment that begins at `base`; behind it in the list stands none that does. An empty one
/// (a file of which recovery kept nothing) has the base of the next, and counts as part of it.
fn starting_at(segments: &[Arc<Segment>], base: Offset) -> Result<&Arc<Segment>> {
    let after = segments.partition_point(|segment| segment.base() <= base);
    segments[..after]
        .last()
        .filter(|segment| segment.base() == base)
        .ok_or(Error::OutOfRange { offset: base })
}

/// A record's payload that can be kept: it pins the memory map it lies in.
#[derive(Debug)]
pub struct RecordBytes(Kept);

#[derive(Debug)]
enum Kept {
    Mapped {
        segment: Arc<Segment>,
        start: Offset,
        end: Offset,
    },
    Owned(Vec<u8>),
}

impl RecordBytes {
    fn owned(payload: Vec<u8>) -> RecordBytes {
        RecordBytes(Kept::Owned(payload))
    }
}

impl AsRef<[u8]> for RecordBytes {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Kept::Owned(payload) => payload,
            Kept::Mapped {
                segment,
                start,
                end,
            } => match segment.bytes(*start..*end) {
                Some(Cow::Borrowed(payload)) => payload,
                // Only a range that was borrowed once is kept as `Mapped`, and what is published
                // stays published and borrowed.
                _ => &[],
            },
        }
    }
}

#[cfg(test)]
mod tests;
