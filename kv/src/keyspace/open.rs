//! How a keyspace is rebuilt at open.
//!
//! What is merged tells the buckets as of the offset it covers; each newer sealed segment is told
//! by its run, and the rest is replayed: the newest segment, and at most two more that were sealed
//! shortly before the store went down. A run that is missing or of no use is written again before
//! the next segment is looked at, so older versions never stand above newer ones.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use cairn_log::{BatchBuffer, Offset, Partition, ReplayedBatch, SegmentSpan};
use parking_lot::{Mutex, RwLock};

use super::heads::Heads;
use super::maintain::{MERGED_NAME, Maintenance, Signal, decode_state, merged_failure};
use super::{Keyspace, Sequencer};
use crate::bucket::state::{BucketState, Created};
use crate::clock::BelievedClock;
use crate::error::{Error, ErrorKind, Result};
use crate::index::hash::HashSeed;
use crate::index::hot::HotIndex;
use crate::index::levels::{Levels, key_location};
use crate::index::memtable::Memtable;
use crate::index::merged::{Fault, Merged};
use crate::index::run::Run;
use crate::index::state::IndexState;
use crate::options::IndexOptions;
use crate::record::{Body, BucketId, Malformed, Record};
use crate::watch::watchers::Watchers;

/// The buckets that an open met, also those that were dropped.
pub(crate) type Buckets = HashMap<BucketId, Arc<BucketState>>;

impl Keyspace {
    /// Opens the keys of a partition, and returns its buckets.
    ///
    /// # Errors
    ///
    /// `Corrupt`, naming the offset, if a record cannot have been written by this code; `DiskFull`
    /// and `Io` if an index file has to be written again and cannot be.
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
        });
        let keyspace = Keyspace {
            applied: AtomicU64::new(log.end().get()),
            log,
            clock,
            options,
            seed,
            levels: RwLock::new(levels),
            hot: HotIndex::new(options.hot_index_bytes),
            sequencer: Mutex::new(Sequencer::new(first)),
            heads: Mutex::default(),
            dropping: Mutex::default(),
            maintenance: Mutex::new(Maintenance { merged: None }),
            watchers: Watchers::default(),
            signal: Signal::default(),
        };
        let buckets = keyspace.fill()?;
        Ok((keyspace, buckets))
    }

    fn fill(&self) -> Result<Buckets> {
        let (merged, state) = self.usable_merged()?;
        let view = merged.view();
        let covered = view.covered();
        self.maintenance.lock().merged = Some(merged);
        let mut levels = Levels {
            memtables: Vec::new(),
            runs: Vec::new(),
            merged: Some(view),
        };
        let mut opening = Opening::new(self, &state);
        let spans = self.log.segments();
        for (at, span) in spans.iter().enumerate() {
            if span.end.get() <= covered || span.base == span.end {
                continue;
            }
            let is_newest = at + 1 == spans.len();
            match (!is_newest).then(|| self.open_run(span)).flatten() {
                Some(run) => {
                    self.write_waiting(&mut levels, &spans)?;
                    opening.run(&run)?;
                    levels.runs.insert(0, Arc::new(run));
                }
                None => {
                    if levels.memtables.len() > WAITING_MAX {
                        self.write_waiting(&mut levels, &spans)?;
                    }
                    let memtable = Arc::new(Memtable::new(span.base.get()));
                    opening.replay(&memtable).segment(span.base)?;
                    levels.memtables.insert(0, memtable);
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
        *self.sequencer.lock() = Sequencer::new(Arc::clone(levels.active()));
        *self.levels.write() = Arc::new(levels);
        self.signal.raise();
        Ok(opening.buckets)
    }

    /// The merged index and its state, made anew if what is there is of no use.
    fn usable_merged(&self) -> Result<(Merged, IndexState)> {
        match self
            .open_merged()
            .and_then(|merged| self.check_merged(merged))
        {
            Ok(usable) => Ok(usable),
            Err(fault @ (Fault::Io(_) | Fault::Full(_))) => Err(merged_failure(&fault)),
            Err(_) => Ok((self.new_merged()?, IndexState::default())),
        }
    }

    /// Refuses an index that is of another history, or ahead of the log.
    fn check_merged(&self, merged: Merged) -> std::result::Result<(Merged, IndexState), Fault> {
        let view = merged.view();
        let state = decode_state(&view)?;
        let covered = view.covered();
        let spans = self.log.segments();
        let is_end = |span: &SegmentSpan| span.end.get() == covered;
        if covered != 0 && !spans.iter().any(is_end) {
            let what = format!("{MERGED_NAME} covers offset {covered}, where no segment ends");
            return Err(Fault::Other(what));
        }
        Ok((merged, state))
    }

    fn open_run(&self, span: &SegmentSpan) -> Option<Run> {
        let (vfs, directory) = (self.log.vfs().as_ref(), self.log.directory());
        Run::open(vfs, directory, &self.run_identity(span)).ok()
    }

    /// Writes the runs of all memtables, oldest first.
    fn write_waiting(&self, levels: &mut Levels, spans: &[SegmentSpan]) -> Result<()> {
        while let Some(memtable) = levels.memtables.pop() {
            let base = memtable.base();
            let span = spans.iter().rfind(|span| span.base.get() == base);
            if let Some(span) = span {
                let run = self.write_run(levels, &memtable, span)?;
                levels.runs.insert(0, Arc::new(run));
            }
        }
        Ok(())
    }
}

/// What an open learns segment by segment.
struct Opening<'a> {
    keyspace: &'a Keyspace,
    buckets: Buckets,
    last_version: u64,
    newest_time_ms: u64,
}

impl<'a> Opening<'a> {
    fn new(keyspace: &'a Keyspace, state: &IndexState) -> Opening<'a> {
        let partition = keyspace.log.id().0;
        let mut buckets = Buckets::new();
        for row in &state.buckets {
            let created = Created {
                version: row.created_version,
                time_ms: row.created_ms,
            };
            let name = row.name.clone();
            let bucket = BucketState::new(row.id, name, partition, row.options, created);
            bucket.written_at(row.written);
            if let Some(version) = row.dropped {
                bucket.drop_at(version);
            }
            buckets.insert(row.id, Arc::new(bucket));
        }
        Opening {
            keyspace,
            buckets,
            last_version: state.last_version,
            newest_time_ms: state.newest_time_ms,
        }
    }

    /// Takes over what a run says.
    fn run(&mut self, run: &Run) -> Result<()> {
        let head = run.head();
        let log = &self.keyspace.log;
        for &control in &head.controls {
            let offset = Offset::new(control);
            let buckets = &mut self.buckets;
            // A control record is the first of its batch.
            let batch = Offset::new(control.saturating_sub(BatchBuffer::FIRST_PLACE));
            let time_ms = log.batch_time_ms(batch)?;
            let entered = log.with_record(offset, |payload| {
                let record = Record::decode(payload)?;
                enter_control(buckets, log.id().0, &record, offset, time_ms)
            })?;
            entered.map_err(|malformed| damaged(log, offset, malformed))?;
        }
        for row in &head.buckets {
            if let Some(bucket) = self.buckets.get(&BucketId(row.bucket)) {
                bucket.written_at(row.written.max(bucket.written()));
            }
        }
        self.last_version = self.last_version.max(head.last_version);
        self.newest_time_ms = self.newest_time_ms.max(head.newest_time_ms);
        Ok(())
    }

    fn replay<'b>(&'b mut self, memtable: &'b Memtable) -> Replay<'b> {
        Replay {
            log: &self.keyspace.log,
            seed: self.keyspace.seed,
            memtable,
            times: Some((&mut self.last_version, &mut self.newest_time_ms)),
            buckets: Some(&mut self.buckets),
        }
    }
}

/// Reads a segment front to back and enters every record as it was when it was sequenced.
pub(super) struct Replay<'a> {
    log: &'a Partition,
    seed: HashSeed,
    memtable: &'a Memtable,
    /// Of the newest batch met.
    times: Option<(&'a mut u64, &'a mut u64)>,
    /// The buckets there are; without them a record's bucket is taken for granted.
    buckets: Option<&'a mut Buckets>,
}

impl<'a> Replay<'a> {
    /// For a segment whose buckets are known already.
    pub(super) fn keys_only(keyspace: &'a Keyspace, memtable: &'a Memtable) -> Replay<'a> {
        Replay {
            log: &keyspace.log,
            seed: keyspace.seed,
            memtable,
            times: None,
            buckets: None,
        }
    }

    /// Enters the segment that begins at `base`.
    pub(super) fn segment(mut self, base: Offset) -> Result<()> {
        let mut outcome = Ok(());
        let log = self.log;
        log.replay_segment(base, |batch| {
            outcome = self.enter_batch(&batch);
            if outcome.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        outcome
    }

    fn enter_batch(&mut self, batch: &ReplayedBatch<'_>) -> Result<()> {
        let version = batch.offset.get();
        let mut members = BTreeMap::new();
        for (offset, payload) in batch.records() {
            self.enter_record(batch, offset, payload, &mut members)
                .map_err(|malformed| damaged(self.log, offset, malformed))?;
        }
        self.memtable.entered_batch(version, batch.time_ms);
        if let Some((last_version, newest_time_ms)) = &mut self.times {
            **last_version = version.max(**last_version);
            **newest_time_ms = batch.time_ms.max(**newest_time_ms);
        }
        Ok(())
    }

    fn enter_record(
        &mut self,
        batch: &ReplayedBatch<'_>,
        offset: Offset,
        payload: &[u8],
        members: &mut BTreeMap<BucketId, Arc<crate::index::members::Members>>,
    ) -> std::result::Result<(), Malformed> {
        let record = Record::decode(payload)?;
        let version = batch.offset.get();
        if offset.get() - version != u64::from(record.place) {
            return Err(Malformed("it says that it stands elsewhere in its batch"));
        }
        let Some((key, after)) = key_location(&record, offset.get()) else {
            self.memtable.enter_control(offset.get());
            return match &mut self.buckets {
                Some(buckets) => {
                    let partition = self.log.id().0;
                    enter_control(buckets, partition, &record, offset, batch.time_ms)
                }
                None => Ok(()),
            };
        };
        if let Some(buckets) = &mut self.buckets {
            live_bucket(buckets, record.bucket)?.written_at(version);
        }
        let members = members
            .entry(record.bucket)
            .or_insert_with(|| self.memtable.members(record.bucket));
        let hash = self.seed.hash(record.bucket, key);
        if !self
            .memtable
            .enter(members, record.bucket, hash, key, after)
        {
            return Err(Malformed(
                "it writes a key that its batch has written already",
            ));
        }
        Ok(())
    }
}

/// Enters a record that is no key's.
fn enter_control(
    buckets: &mut Buckets,
    partition: u16,
    record: &Record<'_>,
    offset: Offset,
    time_ms: u64,
) -> std::result::Result<(), Malformed> {
    let version = offset.get().saturating_sub(u64::from(record.place));
    match &record.body {
        Body::BucketCreated { name, options } => {
            let created = Created { version, time_ms };
            let (id, name) = (record.bucket, name.clone());
            let bucket = BucketState::new(id, name, partition, *options, created);
            match buckets.insert(id, Arc::new(bucket)) {
                None => Ok(()),
                Some(_) => Err(Malformed("it creates a bucket a second time")),
            }
        }
        Body::BucketDropped => {
            live_bucket(buckets, record.bucket)?.drop_at(version);
            Ok(())
        }
        Body::Put(_) | Body::Delete { .. } => {
            Err(Malformed("it belongs to a key, which the index denies"))
        }
    }
}

fn live_bucket(
    buckets: &Buckets,
    id: BucketId,
) -> std::result::Result<&Arc<BucketState>, Malformed> {
    let bucket = buckets.get(&id).filter(|bucket| bucket.dropped().is_none());
    bucket.ok_or(Malformed("it belongs to no bucket that exists there"))
}

fn damaged(log: &Partition, offset: Offset, malformed: Malformed) -> Error {
    let message = format!(
        "the record at offset {offset} of partition {} is damaged: {malformed}; run `cairn \
         verify` on the data directory",
        log.id()
    );
    Error::new(ErrorKind::Corrupt, message)
}

/// Memtables that may wait for their run when a store is opened.
const WAITING_MAX: usize = 2;
