//! How a keyspace is rebuilt at open.
//!
//! What is merged tells the buckets as of the offset it covers; each newer sealed segment is told
//! by its run, and the rest is replayed: the newest segment, and at most two more that were sealed
//! shortly before the store went down. A run that is missing or of no use is written again before
//! the next segment is looked at, so older versions never stand above newer ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use cairn_log::{BatchBuffer, Offset, Partition, SegmentSpan};
use parking_lot::{Mutex, RwLock};

use super::heads::Heads;
use super::maintain::{MERGED_NAME, decode_state, merged_failure};
use super::recent::Recent;
use super::replay::{Learnt, Replay};
use super::signal::Signal;
use super::status::Figures;
use super::sweep::Rest;
use super::{Keyspace, Sequencer};
use crate::bucket::state::{BucketState, Created};
use crate::clock::BelievedClock;
use crate::error::{Error, ErrorKind, Result};
use crate::index::hash::HashSeed;
use crate::index::hot::HotIndex;
use crate::index::levels::Levels;
use crate::index::memtable::Memtable;
use crate::index::merged::{Fault, Merged};
use crate::index::run::{self, Run, RunHead};
use crate::index::state::IndexState;
use crate::large::Uses;
use crate::options::IndexOptions;
use crate::record::{Body, BucketId, Malformed, Origin, Record};
use crate::watch::watchers::Watchers;

/// The buckets that an open met, also those that were dropped.
pub(crate) type Buckets = HashMap<BucketId, Arc<BucketState>>;

impl Keyspace {
    /// Opens the keys of a partition, and returns its buckets.
    ///
    /// # Errors
    ///
    /// `Corrupt`, naming the offset, if a record cannot have been written by this code; `Io`, and
    /// of the merged index `DiskFull`, if an index file has to be written again and cannot be.
    pub(crate) fn open(
        log: Arc<Partition>,
        clock: Arc<BelievedClock>,
        options: IndexOptions,
    ) -> Result<(Keyspace, Buckets)> {
        let seed = HashSeed::new(log.log_id());
        let first = Arc::new(Memtable::new(0));
        let levels = Arc::new(Levels {
            memtables: vec![Arc::clone(&first)],
            runs: Vec::new(),
            merged: None,
            emptied: Arc::default(),
        });
        let keyspace = Keyspace {
            applied: AtomicU64::new(log.end().get()),
            log,
            clock,
            options,
            seed,
            levels: RwLock::new(levels),
            hot: HotIndex::new(options.hot_index_bytes),
            uses: Uses::default(),
            sequencer: Mutex::new(Sequencer::new(first)),
            recent: Recent::new(),
            heads: Mutex::default(),
            dropping: Mutex::default(),
            maintenance: Mutex::default(),
            watchers: Watchers::default(),
            figures: Figures::default(),
            signal: Signal::default(),
            floor: AtomicU64::new(0),
            // Until a first pass has looked.
            next_deadline_ms: AtomicU64::new(0),
            snapshots: Mutex::default(),
            live: Mutex::default(),
            victims: AtomicUsize::new(0),
            live_bytes: AtomicU64::new(0),
            accepted_garbage: AtomicU64::new(0),
            cold_reads: AtomicU64::new(0),
            cold_reads_due: AtomicU64::new(u64::MAX),
            superseded_levels: Mutex::default(),
            archive: Mutex::default(),
        };
        let buckets = keyspace.fill()?;
        Ok((keyspace, buckets))
    }

    fn fill(&self) -> Result<Buckets> {
        let (merged, state) = self.usable_merged()?;
        let view = merged.view();
        let covered = view.covered();
        {
            let mut maintenance = self.maintenance.lock();
            maintenance.merged = Some(merged);
            maintenance.rest = Rest::after_open(self.clock.now_ms());
        }
        let mut levels = Levels {
            memtables: Vec::new(),
            runs: Vec::new(),
            merged: Some(view),
            emptied: Arc::default(),
        };
        let mut opening = Opening::new(self, &state);
        let spans = self.log.segments();
        self.remove_stray_runs(&spans);
        for (at, span) in spans.iter().enumerate() {
            if span.end.get() <= covered || span.base == span.end {
                continue;
            }
            let is_newest = at + 1 == spans.len();
            let mut run = (!is_newest).then(|| self.open_run(span)).flatten();
            // Runs lie below memtables. If the disk is too full for those, more of the log is
            // replayed into memory instead.
            if run.is_some() && !self.write_waiting(&mut levels, &spans)? {
                run = None;
            }
            match run {
                Some(run) => {
                    opening.run(&run)?;
                    levels.runs.insert(0, Arc::new(run));
                }
                None => {
                    if levels.memtables.len() > WAITING_MAX {
                        self.write_waiting(&mut levels, &spans)?;
                    }
                    let memtable = opening.replay(span.base)?;
                    levels.memtables.insert(0, Arc::new(memtable));
                }
            }
        }
        let newest = spans.last().filter(|span| span.base != span.end);
        let is_active = |memtable: &Arc<Memtable>| {
            newest.is_some_and(|span| span.base.get() == memtable.base())
        };
        if !levels.memtables.first().is_some_and(is_active) {
            levels.memtables.insert(0, Arc::new(Memtable::new(0)));
        }
        self.clock.learn(opening.newest_time_ms);
        *self.heads.lock() = Heads::starting_at(opening.last_version);
        self.floor.store(opening.floor, Ordering::Release);
        *self.sequencer.lock() = Sequencer::new(Arc::clone(levels.active()));
        *self.levels.write() = Arc::new(levels);
        self.signal.raise();
        let buckets = opening.finish()?;
        *self.live.lock() = buckets.values().cloned().collect();
        self.note_victims(&self.maintenance.lock());
        Ok(buckets)
    }

    /// Removes the runs of segments that are gone. One that stays only takes space.
    fn remove_stray_runs(&self, spans: &[SegmentSpan]) {
        let (vfs, directory) = (self.log.vfs().as_ref(), self.log.directory());
        let names = vfs.list(directory).unwrap_or_default();
        let numbers = names.iter().filter_map(|name| run::segment_of(name));
        for number in numbers {
            if !spans.iter().any(|span| span.number == number) {
                let _ = run::remove_file(vfs, directory, number);
            }
        }
    }

    /// The merged index and its state, made anew if what is there is of no use.
    fn usable_merged(&self) -> Result<(Merged, IndexState)> {
        match self
            .open_merged()
            .and_then(|merged| self.check_merged(merged))
        {
            Ok(usable) => Ok(usable),
            Err(fault @ (Fault::Io(_) | Fault::Full(_) | Fault::Unwritten(_))) => {
                Err(merged_failure(&fault))
            }
            Err(_) => {
                self.figures.rebuilds.add(1);
                Ok((self.new_merged()?, IndexState::default()))
            }
        }
    }

    /// Refuses an index that is of another history, or ahead of the log.
    fn check_merged(&self, merged: Merged) -> std::result::Result<(Merged, IndexState), Fault> {
        let view = merged.view();
        let state = decode_state(&view)?;
        let covered = view.covered();
        let spans = self.log.segments();
        let cuts = |span: &SegmentSpan| span.base.get() < covered && covered < span.end.get();
        if covered > self.log.durable().get() || spans.iter().any(cuts) {
            let what = format!("{MERGED_NAME} covers offset {covered}, where no segment ends");
            return Err(Fault::Other(what));
        }
        Ok((merged, state))
    }

    fn open_run(&self, span: &SegmentSpan) -> Option<Run> {
        let (vfs, directory) = (self.log.vfs().as_ref(), self.log.directory());
        Run::open(vfs, directory, &self.run_identity(span)).ok()
    }

    /// Writes the runs of all memtables, oldest first; `false` if the disk is too full, and then the
    /// others stay.
    fn write_waiting(&self, levels: &mut Levels, spans: &[SegmentSpan]) -> Result<bool> {
        while let Some(memtable) = levels.memtables.pop() {
            let base = memtable.base();
            let span = spans.iter().rfind(|span| span.base.get() == base);
            if let Some(span) = span {
                match self.write_run(levels, &memtable, span) {
                    Ok(run) => levels.runs.insert(0, Arc::new(run)),
                    Err(error) if error.kind() == ErrorKind::DiskFull => {
                        levels.memtables.push(memtable);
                        return Ok(false);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(true)
    }
}

/// What an open learns, segment by segment. Garbage collection may have moved a bucket's records
/// behind those of its keys, so what belongs together is put together at the end.
struct Opening<'a> {
    keyspace: &'a Keyspace,
    buckets: Buckets,
    /// The version of the drop of each bucket that has one.
    dropped: HashMap<BucketId, u64>,
    /// The newest version of each bucket that has keys, and where one of its records stands.
    written: HashMap<BucketId, (u64, Offset)>,
    floor: u64,
    last_version: u64,
    newest_time_ms: u64,
}

impl<'a> Opening<'a> {
    fn new(keyspace: &'a Keyspace, state: &IndexState) -> Opening<'a> {
        let partition = keyspace.log.id().0;
        let mut opening = Opening {
            keyspace,
            buckets: Buckets::new(),
            dropped: HashMap::new(),
            written: HashMap::new(),
            floor: state.floor,
            last_version: state.last_version,
            newest_time_ms: state.newest_time_ms,
        };
        for row in &state.buckets {
            if let Some(creation) = &row.creation {
                let created = Created {
                    version: creation.version,
                    time_ms: creation.time_ms,
                };
                let name = creation.name.clone();
                let bucket = BucketState::new(row.id, name, partition, creation.options, created);
                opening.buckets.insert(row.id, Arc::new(bucket));
            }
            if row.written != 0 {
                opening.wrote(row.id, row.written, Offset::new(row.written));
            }
            opening
                .dropped
                .extend(row.dropped.map(|version| (row.id, version)));
        }
        opening
    }

    /// Takes over what a run says.
    fn run(&mut self, run: &Run) -> Result<()> {
        let head = run.head();
        let log = &self.keyspace.log;
        for &control in &head.controls {
            let offset = Offset::new(control);
            let time_ms = control_time_ms(log, offset)?;
            let entered = log.with_record(offset, |payload| {
                let record = Record::decode(payload)?;
                self.control(&record, offset, time_ms)
            })?;
            entered.map_err(|malformed| damaged(log, offset, malformed))?;
        }
        for row in &head.buckets {
            self.wrote(BucketId(row.bucket).owner(), row.written, run_offset(head));
        }
        self.last_version = self.last_version.max(head.last_version);
        self.newest_time_ms = self.newest_time_ms.max(head.newest_time_ms);
        Ok(())
    }

    /// Enters a record that is no key's.
    fn control(
        &mut self,
        record: &Record<'_>,
        offset: Offset,
        time_ms: u64,
    ) -> std::result::Result<(), Malformed> {
        let version = record
            .version(offset.get())
            .ok_or(Malformed("it says that it stands elsewhere"))?;
        let (time_ms, is_moved) = match record.origin {
            Origin::Here { .. } => (time_ms, false),
            Origin::Moved(moved) => (moved.time_ms, true),
        };
        match &record.body {
            Body::BucketCreated { name, options } => {
                if let Some(known) = self.buckets.get(&record.bucket) {
                    let is_same = known.created.version == version && known.name == *name;
                    return if is_same && (is_moved || known.created.time_ms == time_ms) {
                        Ok(())
                    } else {
                        Err(Malformed("it creates a bucket a second time"))
                    };
                }
                let partition = self.keyspace.log.id().0;
                let created = Created { version, time_ms };
                let (id, name) = (record.bucket, name.clone());
                let bucket = BucketState::new(id, name, partition, *options, created);
                self.buckets.insert(id, Arc::new(bucket));
            }
            Body::BucketDropped => {
                self.dropped.insert(record.bucket, version);
            }
            Body::HistoryFloor { version } => self.floor = self.floor.max(*version),
            Body::Put(_) | Body::LargePut(_) | Body::Delete { .. } => {
                return Err(Malformed("it belongs to a key, which the index denies"));
            }
        }
        Ok(())
    }

    fn wrote(&mut self, bucket: BucketId, version: u64, at: Offset) {
        let known = self.written.entry(bucket).or_insert((version, at));
        known.0 = known.0.max(version);
    }

    /// Enters the segment that begins at `base`, record by record.
    fn replay(&mut self, base: Offset) -> Result<Memtable> {
        let keyspace = self.keyspace;
        let listener = |learnt: Learnt<'_, '_>| match learnt {
            Learnt::Control(record, offset, time_ms) => self.control(record, offset, time_ms),
            Learnt::Written(bucket, version, offset) => {
                self.wrote(bucket.owner(), version, offset);
                Ok(())
            }
            Learnt::Batch(version, time_ms) => {
                self.last_version = self.last_version.max(version);
                self.newest_time_ms = self.newest_time_ms.max(time_ms);
                Ok(())
            }
        };
        Replay::new(&keyspace.log, keyspace.seed, listener).segment(base)
    }

    /// Puts together what was found of each bucket.
    fn finish(self) -> Result<Buckets> {
        let log = &self.keyspace.log;
        for (id, (version, at)) in self.written {
            let Some(bucket) = self.buckets.get(&id) else {
                let malformed = Malformed("it belongs to no bucket that was ever created");
                return Err(damaged(log, at, malformed));
            };
            bucket.written_at(version.max(bucket.written()));
        }
        for (id, version) in self.dropped {
            if let Some(bucket) = self.buckets.get(&id) {
                bucket.drop_at(version);
            }
        }
        Ok(self.buckets)
    }
}

/// The time of the batch in which a control record stands, which is its first.
pub(super) fn control_time_ms(log: &Partition, offset: Offset) -> Result<u64> {
    let batch = offset.get().saturating_sub(BatchBuffer::FIRST_PLACE);
    Ok(log.batch_time_ms(Offset::new(batch))?)
}

fn run_offset(head: &RunHead) -> Offset {
    Offset::new(head.identity.base)
}

pub(super) fn damaged(log: &Partition, offset: Offset, malformed: Malformed) -> Error {
    let message = format!(
        "the record at offset {offset} of partition {} is damaged: {malformed}; run `cairn \
         verify` on the data directory",
        log.id()
    );
    Error::new(ErrorKind::Corrupt, message)
}

/// Memtables that may wait for their run when a store is opened.
const WAITING_MAX: usize = 2;
