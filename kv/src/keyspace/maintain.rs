//! Keeping the index on disk: runs, merges, and index files that are of no use.
//!
//! ```text
//! a segment is sealed -> its memtable waits -> step_run: the run is written and synced
//!                     -> the memtable goes, the run stands in its place
//! runs are many       -> step_merge: their entries go into redb in one transaction, with the
//!                        offset that is covered -> the runs leave the levels, their files stay
//! ```
//!
//! Levels are only ever replaced by ones that give the same answers. A writer that is two segments
//! ahead of the runs, or many runs ahead of the merges, does the work itself or waits for who does
//! it; so nothing grows without bound and nothing is refused.
//!
//! # Damage
//!
//! A run that does not verify is written again from its segment. If the merged index does not, it
//! is set aside, the runs of all segments take its place in the levels, and a new one is merged
//! from them in time. A run's file stays as long as its segment for that reason.
//!
//! After a failure of the log nothing is written any more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cairn_log::{BatchBuffer, Offset, SegmentSpan};
use parking_lot::{Condvar, Mutex};

use super::Keyspace;
use super::open::Replay;
use crate::error::{Error, ErrorKind, Result};
use crate::index::levels::{Estimate, LevelError, Levels, key_location, run_error};
use crate::index::members::Counts;
use crate::index::memtable::Memtable;
use crate::index::merged::{Entry, EntryKind, Expected, Fault, Identity, Merged, Summary, View};
use crate::index::run::{Place, Run, RunBucket, RunEntry, RunFault, RunHead, RunIdentity};
use crate::index::state::{BucketRow, IndexState};
use crate::index::versions::{Kind, Location};
use crate::record::{Body, BucketId, Record};

/// What only the one who writes index files may touch.
pub(super) struct Maintenance {
    pub(super) merged: Option<Merged>,
}

/// Wakes the thread that writes index files.
#[derive(Default)]
pub(crate) struct Signal {
    raised: Mutex<Raised>,
    changed: Condvar,
}

#[derive(Default)]
struct Raised {
    work: bool,
    stop: bool,
}

impl Signal {
    pub(crate) fn raise(&self) {
        self.raised.lock().work = true;
        self.changed.notify_all();
    }

    fn stop(&self) {
        self.raised.lock().stop = true;
        self.changed.notify_all();
    }

    /// Waits for work; `false` if it is time to stop.
    fn wait(&self) -> bool {
        let mut raised = self.raised.lock();
        while !raised.work && !raised.stop {
            self.changed.wait(&mut raised);
        }
        raised.work = false;
        !raised.stop
    }

    /// Waits a while before another attempt; `false` if it is time to stop.
    fn pause(&self) -> bool {
        let mut raised = self.raised.lock();
        if !raised.stop {
            self.changed.wait_for(&mut raised, RETRY);
        }
        !raised.stop
    }
}

impl Keyspace {
    /// Writes a run or merges some, if it is time to; says whether it did anything.
    ///
    /// # Errors
    ///
    /// `DiskFull`, `Io`, `Corrupt`: nothing has changed then, and a later step tries again.
    pub(crate) fn step_index(&self) -> Result<bool> {
        self.watchers.move_pins(&self.log);
        let mut maintenance = self.maintenance.lock();
        if self.log.is_poisoned() {
            return Ok(false);
        }
        if self.write_oldest_run(&mut maintenance)? {
            return Ok(true);
        }
        self.merge_runs(&mut maintenance)
    }

    /// Loops [`Keyspace::step_index`] until [`Keyspace::stop_maintaining`].
    pub(crate) fn maintain(&self) {
        while self.signal.wait() {
            loop {
                match self.step_index() {
                    Ok(true) => {}
                    Ok(false) => break,
                    // Writers meet the same once they are too far ahead, and are told.
                    Err(_) if !self.signal.pause() => return,
                    Err(_) => {}
                }
            }
        }
    }

    pub(crate) fn stop_maintaining(&self) {
        self.signal.stop();
    }

    /// Makes room in the log, at the pace of those who write runs and merge them.
    pub(super) fn make_room(&self, bytes: usize) -> Result<()> {
        self.keep_pace()?;
        self.log.make_room(bytes).map_err(Error::from)
    }

    /// Goes on to another segment if the memtable of this one has grown too large.
    pub(super) fn seal_if_full(&self) -> Result<()> {
        let is_full = || {
            let levels = self.levels.read();
            levels.active().byte_len() as u64 >= self.options.memtable_bytes
        };
        if !is_full() {
            return Ok(());
        }
        self.keep_pace()?;
        if is_full() {
            self.log.seal()?;
        }
        Ok(())
    }

    fn keep_pace(&self) -> Result<()> {
        loop {
            let levels = Arc::clone(&self.levels.read());
            let is_behind =
                levels.memtables.len() > MEMTABLES_WAITING_MAX || levels.runs.len() >= RUNS_MAX;
            if !is_behind {
                return Ok(());
            }
            self.check_poison()?;
            drop(levels);
            let mut maintenance = self.maintenance.lock();
            let levels = Arc::clone(&self.levels.read());
            if levels.memtables.len() > MEMTABLES_WAITING_MAX {
                self.write_oldest_run(&mut maintenance)?;
            } else if levels.runs.len() >= RUNS_MAX {
                self.merge_runs(&mut maintenance)?;
            }
        }
    }

    /// Writes the run of the oldest memtable that takes no writes any more.
    fn write_oldest_run(&self, _maintenance: &mut Maintenance) -> Result<bool> {
        let levels = Arc::clone(&self.levels.read());
        let Some(memtable) = levels.memtables[1..].last() else {
            return Ok(false);
        };
        let span = self.span(memtable.base())?;
        let run = Arc::new(self.write_run(&levels, memtable, &span)?);
        let mut current = self.levels.write();
        let mut memtables = current.memtables.clone();
        memtables.retain(|other| !Arc::ptr_eq(other, memtable));
        let mut runs = current.runs.clone();
        runs.insert(0, run);
        *current = Arc::new(Levels {
            memtables,
            runs,
            merged: current.merged.clone(),
        });
        Ok(true)
    }

    /// Writes the run of a sealed segment that `memtable` holds.
    pub(super) fn write_run(
        &self,
        below: &Levels,
        memtable: &Memtable,
        span: &SegmentSpan,
    ) -> Result<Run> {
        let identity = self.run_identity(span);
        let mut entries = Vec::with_capacity(memtable.records());
        let mut buckets = Vec::new();
        for (bucket, members) in memtable.buckets() {
            let before = entries.len();
            let mut written = 0;
            for node in members.all_in_key_order() {
                for location in node.versions().newest_first() {
                    written = location.version.max(written);
                    entries.push(RunEntry {
                        hash: node.hash(),
                        place: Place {
                            record: location.record,
                            version: Some(location.version),
                            is_tombstone: location.kind == Kind::Tombstone,
                        },
                    });
                }
            }
            let average = self
                .counts_below(below, bucket, memtable.base())
                .average_bytes();
            let delta = members.counts(|node| {
                below.counted_below(memtable, bucket, node, average, Estimate::Quick)
            });
            buckets.push(RunBucket {
                bucket: bucket.0,
                entries: (entries.len() - before) as u64,
                keys_delta: delta.keys,
                bytes_delta: delta.bytes,
                written,
                first: before as u64,
            });
        }
        let head = RunHead {
            identity,
            last_version: memtable.last_version(),
            newest_time_ms: memtable.newest_time_ms(),
            buckets,
            controls: memtable.controls(),
        };
        let (vfs, directory) = (self.log.vfs().as_ref(), self.log.directory());
        Run::write(vfs, directory, &head, entries.into_iter())
            .and_then(|()| Run::open(vfs, directory, &identity))
            .map_err(|fault| run_failure(&fault))
    }

    /// Merges all runs into the merged index, if they are many enough.
    fn merge_runs(&self, maintenance: &mut Maintenance) -> Result<bool> {
        let levels = Arc::clone(&self.levels.read());
        let entries: u64 = levels.runs.iter().map(|run| run.len()).sum();
        let merged_keys = levels.merged.as_ref().map_or(0, |merged| merged.len());
        let enough = self.options.merge_entries.max(merged_keys / MERGED_PART);
        if levels.runs.is_empty() || (entries < enough && levels.runs.len() < RUNS_MAX) {
            return Ok(false);
        }
        self.merge(maintenance, &levels)?;
        Ok(true)
    }

    fn merge(&self, maintenance: &mut Maintenance, levels: &Arc<Levels>) -> Result<()> {
        let covered = levels.runs[0].head().identity.end;
        let view = match self.try_merge(maintenance, levels, covered) {
            Ok(view) => view,
            Err(MergeError::Level(error)) => {
                return self.repair(maintenance, levels, error).map(|_| ());
            }
            Err(MergeError::Other(error)) => return Err(error),
        };
        let mut current = self.levels.write();
        let mut runs = current.runs.clone();
        runs.retain(|run| run.head().identity.end > covered);
        *current = Arc::new(Levels {
            memtables: current.memtables.clone(),
            runs,
            merged: Some(view),
        });
        Ok(())
    }

    fn try_merge(
        &self,
        maintenance: &mut Maintenance,
        levels: &Levels,
        covered: u64,
    ) -> std::result::Result<Arc<View>, MergeError> {
        if maintenance.merged.is_none() {
            maintenance.merged = Some(self.new_merged()?);
        }
        let Some(merged) = &maintenance.merged else {
            return Err(MergeError::Level(LevelError::Merged(Fault::Other(
                "the merged index is closed".into(),
            ))));
        };
        let mut state = decode_state(&merged.view())?;
        let mut gone = BTreeSet::new();
        for run in levels.runs.iter().rev() {
            self.merge_controls(run, &mut state, &mut gone)?;
        }
        for row in state.buckets.iter_mut().filter(|row| row.dropped.is_some()) {
            (row.keys, row.bytes) = (0, 0);
        }
        let changes = levels.runs.iter().map(|run| run.len()).sum();
        let expected = Expected {
            changes,
            key_bytes: changes.saturating_mul(KEY_BYTES_EXPECTED),
        };
        let view = merged.merge(expected, |merge| -> std::result::Result<_, MergeError> {
            for &bucket in &gone {
                merge.remove_bucket(bucket, |_| {})?;
            }
            let mut newest = NewestEntries::new(self, levels, &state)?;
            while let Some(At {
                bucket,
                key,
                location,
            }) = newest.next()?
            {
                let before = if location.kind == Kind::Tombstone {
                    merge.remove(*bucket, key, location.version)?.before
                } else {
                    let hash = self.seed.hash(*bucket, key);
                    merge.put(*bucket, key, hash, entry(location))?.before
                };
                if let Some(row) = state.bucket_mut(*bucket) {
                    count_change(row, key.len() as u64, before, location);
                }
            }
            state.forget_former();
            Ok(Summary {
                covered,
                state: state.encode(),
            })
        })?;
        Ok(view)
    }

    /// Takes over what a run says about buckets.
    fn merge_controls(
        &self,
        run: &Run,
        state: &mut IndexState,
        gone: &mut BTreeSet<BucketId>,
    ) -> std::result::Result<(), MergeError> {
        let head = run.head();
        for &control in &head.controls {
            let offset = Offset::new(control);
            // A control record is the first of its batch.
            let batch = Offset::new(control.saturating_sub(BatchBuffer::FIRST_PLACE));
            let time_ms = self.log.batch_time_ms(batch)?;
            let entered = self.log.with_record(offset, |payload| {
                let record = Record::decode(payload).ok()?;
                enter_control(state, gone, &record, control, time_ms)
            })?;
            if entered.is_none() {
                let what = format!("no control record stands at offset {offset}");
                return Err(run_error(run, RunFault::Damaged(what)).into());
            }
        }
        for bucket in &head.buckets {
            if let Some(row) = state.bucket_mut(BucketId(bucket.bucket)) {
                row.written = row.written.max(bucket.written);
            }
        }
        state.last_version = state.last_version.max(head.last_version);
        state.newest_time_ms = state.newest_time_ms.max(head.newest_time_ms);
        Ok(())
    }

    pub(super) fn run_identity(&self, span: &SegmentSpan) -> RunIdentity {
        RunIdentity {
            log: self.log.log_id(),
            partition: self.log.id().0,
            segment: span.number,
            base: span.base.get(),
            end: span.end.get(),
        }
    }

    fn span(&self, base: u64) -> Result<SegmentSpan> {
        let spans = self.log.segments();
        spans
            .into_iter()
            .rfind(|span| span.base.get() == base)
            .ok_or_else(|| {
                let message = format!("no segment of the log begins at offset {base}");
                Error::new(ErrorKind::Corrupt, message)
            })
    }

    /// Levels that give the answers these should have given, after one of their files turned out
    /// to be of no use.
    pub(crate) fn repaired(&self, levels: &Arc<Levels>, error: LevelError) -> Result<Arc<Levels>> {
        if let LevelError::Log(error) = error {
            return Err(error.into());
        }
        let mut maintenance = self.maintenance.lock();
        self.repair(&mut maintenance, levels, error)
    }

    fn repair(
        &self,
        maintenance: &mut Maintenance,
        levels: &Arc<Levels>,
        error: LevelError,
    ) -> Result<Arc<Levels>> {
        match error {
            LevelError::Log(error) => Err(error.into()),
            LevelError::Run { base, .. } => self.repair_run(levels, base),
            LevelError::Merged(fault @ Fault::Full(_)) => Err(merged_failure(&fault)),
            LevelError::Merged(_) => self.repair_merged(maintenance, levels),
        }
    }

    fn repair_run(&self, levels: &Arc<Levels>, base: u64) -> Result<Arc<Levels>> {
        let is_it = |run: &&Arc<Run>| run.head().identity.base == base;
        let broken = levels.runs.iter().find(is_it).cloned();
        let current = Arc::clone(&self.levels.read());
        let known = current.runs.iter().find(is_it).cloned();
        let run = match (known, &broken) {
            // Somebody else was faster.
            (Some(known), Some(broken)) if !Arc::ptr_eq(&known, broken) => known,
            _ => Arc::new(self.rebuild_run(&self.span(base)?, levels)?),
        };
        let replace = |levels: &Levels| {
            let mut runs = levels.runs.clone();
            for other in &mut runs {
                if other.head().identity.base == base {
                    *other = Arc::clone(&run);
                }
            }
            Arc::new(Levels {
                memtables: levels.memtables.clone(),
                runs,
                merged: levels.merged.clone(),
            })
        };
        let mut current = self.levels.write();
        let was_current = Arc::ptr_eq(&current, levels);
        *current = replace(&current);
        Ok(if was_current {
            Arc::clone(&current)
        } else {
            replace(levels)
        })
    }

    /// Writes the run of a sealed segment from the log.
    pub(super) fn rebuild_run(&self, span: &SegmentSpan, levels: &Levels) -> Result<Run> {
        self.check_poison()?;
        let memtable = Memtable::new(span.base.get());
        Replay::keys_only(self, &memtable).segment(span.base)?;
        self.write_run(levels, &memtable, span)
    }

    /// Sets the merged index aside and lets the runs of all its segments take its place.
    fn repair_merged(
        &self,
        maintenance: &mut Maintenance,
        levels: &Arc<Levels>,
    ) -> Result<Arc<Levels>> {
        self.check_poison()?;
        let broken = levels.merged.clone();
        let covered = levels.covered();
        let older = self.runs_below(covered, levels)?;
        let replace = |levels: &Levels, merged: Option<Arc<View>>| {
            let known: BTreeSet<u64> = levels
                .runs
                .iter()
                .map(|run| run.head().identity.base)
                .collect();
            let missing = older
                .iter()
                .filter(|run| !known.contains(&run.head().identity.base));
            let mut runs: Vec<_> = levels.runs.iter().chain(missing).cloned().collect();
            runs.sort_by_key(|run| std::cmp::Reverse(run.head().identity.base));
            Arc::new(Levels {
                memtables: levels.memtables.clone(),
                runs,
                merged,
            })
        };
        let current = Arc::clone(&self.levels.read());
        let is_same = match (&current.merged, &broken) {
            (Some(current), Some(broken)) => Arc::ptr_eq(current, broken),
            _ => false,
        };
        if is_same {
            maintenance.merged = None;
            let fresh = self.new_merged()?;
            let view = fresh.view();
            maintenance.merged = Some(fresh);
            let mut current = self.levels.write();
            *current = replace(&current, Some(view));
            self.signal.raise();
        }
        // What the caller holds has its own moment; the runs answer for what was merged in it.
        Ok(replace(levels, None))
    }

    /// The runs of all segments below `covered`, newest first; those that are of no use are
    /// written again.
    pub(super) fn runs_below(&self, covered: u64, levels: &Levels) -> Result<Vec<Arc<Run>>> {
        let mut runs = Vec::new();
        for span in self.log.segments().into_iter().rev() {
            if span.end.get() > covered || span.base == span.end {
                continue;
            }
            runs.push(Arc::new(self.open_or_rebuild(&span, levels)?));
        }
        Ok(runs)
    }

    fn open_or_rebuild(&self, span: &SegmentSpan, levels: &Levels) -> Result<Run> {
        let (vfs, directory) = (self.log.vfs().as_ref(), self.log.directory());
        match Run::open(vfs, directory, &self.run_identity(span)) {
            Ok(run) => Ok(run),
            Err(_) => self.rebuild_run(span, levels),
        }
    }

    /// An empty merged index in the place of whatever is there.
    pub(super) fn new_merged(&self) -> Result<Merged> {
        let path = self.log.directory().join(MERGED_NAME);
        match self.log.vfs().remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(index_io(&error));
            }
            _ => {}
        }
        self.open_merged().map_err(|fault| merged_failure(&fault))
    }

    pub(super) fn open_merged(&self) -> std::result::Result<Merged, Fault> {
        let path = self.log.directory().join(MERGED_NAME);
        let identity = Identity {
            log: self.log.log_id(),
            partition: self.log.id().0,
        };
        let cache_bytes = usize::try_from(self.options.cache_bytes).unwrap_or(usize::MAX);
        Merged::open(self.log.vfs(), &path, identity, cache_bytes)
    }

    /// What is counted of a bucket in the merged index.
    pub(super) fn merged_counts(&self, levels: &Levels, bucket: BucketId) -> Counts {
        let Some(merged) = &levels.merged else {
            return Counts::default();
        };
        let state = IndexState::decode(merged.state()).unwrap_or_default();
        state
            .bucket(bucket)
            .map_or(Counts::default(), |row| Counts {
                keys: i64::try_from(row.keys).unwrap_or(i64::MAX),
                bytes: i64::try_from(row.bytes).unwrap_or(i64::MAX),
            })
    }
}

/// Why a merge came to nothing.
enum MergeError {
    Level(LevelError),
    Other(Error),
}

impl From<LevelError> for MergeError {
    fn from(error: LevelError) -> MergeError {
        MergeError::Level(error)
    }
}

impl From<Fault> for MergeError {
    fn from(fault: Fault) -> MergeError {
        MergeError::Level(LevelError::Merged(fault))
    }
}

impl From<cairn_log::Error> for MergeError {
    fn from(error: cairn_log::Error) -> MergeError {
        MergeError::Other(error.into())
    }
}

impl From<Error> for MergeError {
    fn from(error: Error) -> MergeError {
        MergeError::Other(error)
    }
}

/// The newest version of each key of some runs, in key order.
struct NewestEntries<'a> {
    keyspace: &'a Keyspace,
    cursors: Vec<RunCursor<'a>>,
    /// Buckets whose keys are left out.
    dropped: BTreeSet<BucketId>,
    last: Option<At>,
}

/// A walk through one run in key order.
struct RunCursor<'a> {
    run: &'a Run,
    next: u64,
    places: std::vec::IntoIter<Place>,
    at: Option<At>,
}

/// Where a cursor stands.
struct At {
    bucket: BucketId,
    key: Vec<u8>,
    location: Location,
}

impl<'a> NewestEntries<'a> {
    fn new(
        keyspace: &'a Keyspace,
        levels: &'a Levels,
        state: &IndexState,
    ) -> std::result::Result<NewestEntries<'a>, MergeError> {
        let rows = state.buckets.iter();
        let mut entries = NewestEntries {
            keyspace,
            cursors: Vec::new(),
            dropped: rows
                .filter(|row| row.dropped.is_some())
                .map(|row| row.id)
                .collect(),
            last: None,
        };
        for run in &levels.runs {
            let mut cursor = RunCursor {
                run,
                next: 0,
                places: Vec::new().into_iter(),
                at: None,
            };
            cursor.advance(keyspace, Vec::new())?;
            entries.cursors.push(cursor);
        }
        Ok(entries)
    }

    fn next(&mut self) -> std::result::Result<Option<&At>, MergeError> {
        loop {
            let standing = self.cursors.iter_mut();
            let least = standing
                .filter(|cursor| cursor.at.is_some())
                .min_by(|one, other| At::order(one.at.as_ref(), other.at.as_ref()));
            let Some(cursor) = least else {
                return Ok(None);
            };
            let next = cursor.at.take();
            let (seen, memory) = match (self.last.take(), &next) {
                (Some(last), Some(next)) => {
                    let seen = last.bucket == next.bucket && last.key == next.key;
                    (seen, last.key)
                }
                _ => (false, Vec::new()),
            };
            cursor.advance(self.keyspace, memory)?;
            let is_dropped = |at: &At| self.dropped.contains(&at.bucket);
            let leave_out = seen || next.as_ref().is_some_and(is_dropped);
            self.last = next;
            if !leave_out {
                return Ok(self.last.as_ref());
            }
        }
    }
}

impl At {
    /// By key, and of one key the newest version first.
    fn order(one: Option<&At>, other: Option<&At>) -> std::cmp::Ordering {
        fn key(at: Option<&At>) -> Option<(BucketId, &[u8])> {
            at.map(|at| (at.bucket, at.key.as_slice()))
        }
        let version = |at: Option<&At>| at.map(|at| at.location.version);
        key(one)
            .cmp(&key(other))
            .then_with(|| version(other).cmp(&version(one)))
    }
}

impl RunCursor<'_> {
    /// Goes on to the next record; `key` is memory for its key.
    fn advance(
        &mut self,
        keyspace: &Keyspace,
        mut key: Vec<u8>,
    ) -> std::result::Result<(), MergeError> {
        self.at = None;
        if self.places.len() == 0 {
            let end = (self.next + CHUNK).min(self.run.len());
            let mut places = Vec::new();
            self.run
                .in_key_order_range(self.next..end, &mut places)
                .map_err(|fault| run_error(self.run, fault))?;
            self.next = end;
            self.places = places.into_iter();
        }
        let Some(place) = self.places.next() else {
            return Ok(());
        };
        let found = keyspace
            .log
            .with_record(Offset::new(place.record), |payload| {
                let record = Record::decode(payload).ok()?;
                let (found, location) = key_location(&record, place.record)?;
                key.clear();
                key.extend_from_slice(found);
                Some((record.bucket, location))
            })?;
        let Some((bucket, location)) = found else {
            let what = format!("no key's record stands at offset {}", place.record);
            return Err(run_error(self.run, RunFault::Damaged(what)).into());
        };
        self.at = Some(At {
            bucket,
            key,
            location,
        });
        Ok(())
    }
}

fn entry(location: &Location) -> Entry {
    Entry {
        record: location.record,
        version: location.version,
        kind: if location.expires_ms == 0 {
            EntryKind::Value
        } else {
            EntryKind::Expiring
        },
        value_bytes: location.value_bytes,
    }
}

fn count_change(row: &mut BucketRow, key_bytes: u64, before: Option<Entry>, after: &Location) {
    if let Some(before) = before {
        let bytes = key_bytes + u64::from(before.value_bytes);
        row.keys = row.keys.saturating_sub(1);
        row.bytes = row.bytes.saturating_sub(bytes);
    }
    if after.kind == Kind::Value {
        row.keys += 1;
        row.bytes += key_bytes + u64::from(after.value_bytes);
    }
}

/// Enters a record that is no key's; `None` if it is none of that kind.
fn enter_control(
    state: &mut IndexState,
    gone: &mut BTreeSet<BucketId>,
    record: &Record<'_>,
    offset: u64,
    time_ms: u64,
) -> Option<()> {
    let version = offset.checked_sub(u64::from(record.place))?;
    match &record.body {
        Body::BucketCreated { name, options } => state.create(BucketRow {
            id: record.bucket,
            name: name.clone(),
            options: *options,
            created_version: version,
            created_ms: time_ms,
            dropped: None,
            written: version,
            keys: 0,
            bytes: 0,
        }),
        Body::BucketDropped => {
            gone.insert(record.bucket);
            state.bucket_mut(record.bucket)?.dropped = Some(version);
        }
        Body::Put(_) | Body::Delete { .. } => return None,
    }
    Some(())
}

pub(super) fn decode_state(view: &View) -> std::result::Result<IndexState, Fault> {
    if view.state().is_empty() {
        return Ok(IndexState::default());
    }
    IndexState::decode(view.state())
        .ok_or_else(|| Fault::Other("its state is of another format".into()))
}

fn index_io(error: &std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull => ErrorKind::DiskFull,
        _ => ErrorKind::Io,
    };
    Error::new(kind, format!("an index file cannot be written: {error}"))
}

pub(super) fn run_failure(fault: &RunFault) -> Error {
    match fault {
        RunFault::Io(error) => index_io(error),
        RunFault::Damaged(_) | RunFault::Other(_) => Error::new(ErrorKind::Io, fault.to_string()),
    }
}

pub(super) fn merged_failure(fault: &Fault) -> Error {
    match fault {
        Fault::Io(error) => index_io(error),
        Fault::Full(message) => Error::new(ErrorKind::DiskFull, message.clone()),
        Fault::Damaged(_) | Fault::Other(_) => Error::new(ErrorKind::Io, fault.to_string()),
    }
}

/// The merged index of a partition.
pub(super) const MERGED_NAME: &str = "index.redb";

/// Memtables that may wait for their run beside the one that takes writes.
const MEMTABLES_WAITING_MAX: usize = 2;

/// Runs at which a merge is due however small they are, and writers wait for it.
const RUNS_MAX: usize = 64;

/// Runs are merged when they have this part of what is merged.
const MERGED_PART: u64 = 10;

/// What a key is taken to have when room for a merge is looked for.
const KEY_BYTES_EXPECTED: u64 = 32;

/// Places of a run taken at once.
const CHUNK: u64 = 1_024;

/// How long after a failure maintenance is tried again.
const RETRY: Duration = Duration::from_secs(1);
