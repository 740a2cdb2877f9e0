//! How a segment of the log becomes a memtable again: at open, and where a run is of no use.
//!
//! ```text
//! this thread   read a batch, check it -> decode, hash the keys, make their nodes -> a chunk
//! another one                                     chunk by chunk -> enter them into the memtable
//! ```
//!
//! Both halves cost about the same, so a large segment is replayed in half the time. What reads the
//! disk, and what an open learns beside the keys, stays in the thread of the caller.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use cairn_log::{Offset, Partition, ReplayedBatch};

use super::open::damaged;
use crate::error::{Error, ErrorKind, Result};
use crate::index::hash::HashSeed;
use crate::index::levels::key_location;
use crate::index::memtable::{Entering, Memtable};
use crate::record::{BucketId, Malformed, Origin, Record};

/// What a replay tells beside the versions of keys.
pub(super) enum Learnt<'a, 'b> {
    /// A record that is no key's, where it stands, and the time of its batch.
    Control(&'a Record<'b>, Offset, u64),
    /// The newest version of a bucket in the segment, and where one of its records stands.
    Written(BucketId, u64, Offset),
    /// The version and time of a batch that was read to its end.
    Batch(u64, u64),
}

/// Reads a segment front to back and enters every record as it was when it was sequenced.
pub(super) struct Replay<'a, L> {
    log: &'a Partition,
    seed: HashSeed,
    listener: L,
    chunk: Chunk,
    /// Of each bucket that has keys in the segment.
    written: Vec<(BucketId, u64, Offset)>,
    /// Where each stands there, and the one that was met last.
    places: HashMap<BucketId, usize>,
    last: usize,
    controls: Vec<u64>,
    last_version: u64,
    newest_time_ms: u64,
}

/// Versions on their way into the memtable.
type Chunk = Vec<Entering>;

impl<'a, L> Replay<'a, L>
where
    L: FnMut(Learnt<'_, '_>) -> std::result::Result<(), Malformed>,
{
    pub(super) fn new(log: &'a Partition, seed: HashSeed, listener: L) -> Replay<'a, L> {
        Replay {
            log,
            seed,
            listener,
            chunk: Chunk::new(),
            written: Vec::new(),
            places: HashMap::new(),
            last: 0,
            controls: Vec::new(),
            last_version: 0,
            newest_time_ms: 0,
        }
    }

    /// Enters the segment that begins at `base`.
    ///
    /// # Errors
    ///
    /// `Corrupt`, naming the offset, if a record cannot have been written by this code.
    pub(super) fn segment(mut self, base: Offset) -> Result<Memtable> {
        let mut memtable = Memtable::new(base.get());
        let spans = self.log.segments();
        let span = spans.iter().find(|span| span.base == base);
        let bytes = span.map_or(0, |span| span.end.get() - span.base.get());
        if bytes < TWO_THREADS_BYTES_MIN {
            let log = self.log;
            self.read(base, |chunk| enter(&mut memtable, chunk, log))?;
        } else {
            let (sender, receiver) = sync_channel(CHUNKS_WAITING_MAX);
            let (log, memtable) = (self.log, &mut memtable);
            std::thread::scope(|scope| {
                let entering = scope.spawn(move || enter_all(memtable, &receiver, log));
                let read = self.read_for(base, sender);
                let entered = entering.join().unwrap_or_else(|_| Err(stopped()));
                // What could not be entered stands before what could not be read.
                entered.and(read)
            })?;
        }
        memtable.enter_controls(self.controls);
        memtable.entered_batch(self.last_version, self.newest_time_ms);
        for (bucket, version, offset) in self.written {
            let told = (self.listener)(Learnt::Written(bucket, version, offset));
            told.map_err(|malformed| damaged(self.log, offset, malformed))?;
        }
        Ok(memtable)
    }

    /// Gives what is read to another thread.
    fn read_for(&mut self, base: Offset, sender: SyncSender<Chunk>) -> Result<()> {
        // Whoever enters stops early only to say why.
        self.read(base, |chunk| sender.send(chunk).map_err(|_| stopped()))
    }

    fn read(&mut self, base: Offset, mut give: impl FnMut(Chunk) -> Result<()>) -> Result<()> {
        let mut outcome = Ok(());
        let log = self.log;
        log.replay_segment(base, |batch| {
            outcome = self.take_batch(&batch);
            if outcome.is_ok() && self.chunk.len() >= CHUNK_VERSIONS {
                let next = Chunk::with_capacity(self.chunk.len());
                outcome = give(std::mem::replace(&mut self.chunk, next));
            }
            if outcome.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        outcome?;
        give(std::mem::take(&mut self.chunk))
    }

    fn take_batch(&mut self, batch: &ReplayedBatch<'_>) -> Result<()> {
        for (offset, payload) in batch.records() {
            self.take_record(batch, offset, payload)
                .map_err(|malformed| damaged(self.log, offset, malformed))?;
        }
        let (version, time_ms) = (batch.offset.get(), batch.time_ms);
        self.last_version = version;
        self.newest_time_ms = self.newest_time_ms.max(time_ms);
        let told = (self.listener)(Learnt::Batch(version, time_ms));
        told.map_err(|malformed| damaged(self.log, batch.offset, malformed))
    }

    fn take_record(
        &mut self,
        batch: &ReplayedBatch<'_>,
        offset: Offset,
        payload: &[u8],
    ) -> std::result::Result<(), Malformed> {
        let record = Record::decode(payload)?;
        if matches!(record.origin, Origin::Here { .. })
            && record.version(offset.get()) != Some(batch.offset.get())
        {
            return Err(Malformed("it says that it stands elsewhere in its batch"));
        }
        let Some((key, location)) = key_location(&record, offset.get()) else {
            self.controls.push(offset.get());
            return (self.listener)(Learnt::Control(&record, offset, batch.time_ms));
        };
        self.note_written(record.bucket, location.version, offset);
        let bucket = record.bucket;
        let hash = self.seed.hash(bucket, key);
        let is_superseded = record.is_superseded();
        let entering = Entering::new(bucket, hash, key, location, is_superseded);
        self.chunk.push(entering);
        Ok(())
    }

    fn note_written(&mut self, bucket: BucketId, version: u64, offset: Offset) {
        let is_last = |last: &(BucketId, u64, Offset)| last.0 == bucket;
        if !self.written.get(self.last).is_some_and(is_last) {
            let written = &mut self.written;
            self.last = *self.places.entry(bucket).or_insert_with(|| {
                written.push((bucket, version, offset));
                written.len() - 1
            });
        }
        let known = &mut self.written[self.last].1;
        *known = version.max(*known);
    }
}

fn enter_all(memtable: &mut Memtable, chunks: &Receiver<Chunk>, log: &Partition) -> Result<()> {
    for chunk in chunks {
        enter(memtable, chunk, log)?;
    }
    Ok(())
}

fn enter(memtable: &mut Memtable, chunk: Chunk, log: &Partition) -> Result<()> {
    memtable.enter_all(chunk).map_err(|refused| {
        let malformed = Malformed("it writes a key that its batch has written already");
        damaged(log, Offset::new(refused.record), malformed)
    })
}

fn stopped() -> Error {
    Error::new(ErrorKind::Io, "the replay of the log stopped half-way")
}

/// Versions that are entered at once, or a few more.
const CHUNK_VERSIONS: usize = 1_024;

const CHUNKS_WAITING_MAX: usize = 4;

/// A smaller segment is not worth another thread.
const TWO_THREADS_BYTES_MIN: u64 = 1 << 20;
