//! Keeping the index on disk: when runs are written, and index files that are of no use.
//!
//! ```text
//! a segment is sealed -> its memtable waits -> step_run: the run is written and synced
//!                     -> the memtable goes, the run stands in its place
//! runs are many       -> step_merge: their entries go into redb in one transaction, with the
//!                        offset that is covered -> the runs leave the levels, their files stay
//! ```
//!
//! Levels are only ever replaced by ones that give the same answers. Writers keep pace with all this
//! ([`super::pace`]), so nothing grows without bound and nothing is refused.
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
use std::sync::atomic::Ordering;
use std::time::Instant;

use cairn_log::SegmentSpan;
use cairn_log::vfs::Vfs;

use super::gc::Garbage;
use super::pace::Pressure;
use super::pieces::Rounds;
use super::replay::{Learnt, Replay};
use super::retention::Retention;
use super::sweep::{Pass, Rest};
use super::{Keyspace, Pin};
use crate::error::{Error, ErrorKind, Result};
use crate::index::levels::{Estimate, LevelError, Levels};
use crate::index::memtable::{Memtable, Node};
use crate::index::merged::{Fault, Identity, Merged, View};
use crate::index::run::{Place, Run, RunBucket, RunEntry, RunFault, RunHead, RunIdentity};
use crate::index::state::IndexState;
use crate::index::versions::Kind;

/// What only the one who writes index files may touch.
#[derive(Default)]
pub(super) struct Maintenance {
    pub(super) merged: Option<Merged>,
    pub(super) garbage: Garbage,
    pub(super) pass: Option<Pass>,
    pub(super) rest: Rest,
    pub(super) rounds: Rounds,
    pub(super) retention: Retention,
    pub(super) pressure: Pressure,
    /// The last attempt to write an index file found no room for it.
    pub(super) is_starved: bool,
}

impl Maintenance {
    /// Notes whether an index file found room.
    pub(super) fn noting<T>(&mut self, written: Result<T>) -> Result<T> {
        let error = written.as_ref().err();
        self.is_starved = error.is_some_and(|error| error.kind() == ErrorKind::DiskFull);
        written
    }
}

impl Keyspace {
    /// Writes a run or merges some, if it is time to; says whether it did anything.
    ///
    /// # Errors
    ///
    /// `Io`, `Corrupt`: nothing has changed then, and a later step tries again.
    pub(crate) fn step_index(&self) -> Result<bool> {
        self.watchers.move_pins(&self.log);
        self.grow_hot();
        let mut maintenance = self.maintenance.lock();
        if let Some(merged) = &maintenance.merged {
            merged.close_former();
        }
        if self.log.is_poisoned() {
            return Ok(false);
        }
        // What is given back on a full disk goes to the log's reserve before the index takes some.
        if self.is_disk_full(&maintenance) && postponed(self.collect_garbage(&mut maintenance))? {
            self.note_victims(&maintenance);
            return Ok(true);
        }
        if postponed(self.write_oldest_run(&mut maintenance))? {
            return Ok(true);
        }
        // Writers wait for garbage to go, and only then for more of it to be known. What stands in the
        // way of the one stops the other no longer than that.
        let accepted = self.accepted_garbage.load(Ordering::Relaxed);
        let space = self.space(&self.levels.read());
        let collected = match space.is_over(accepted) {
            true => postponed(self.collect_garbage(&mut maintenance)),
            false => Ok(false),
        };
        let worked = matches!(collected, Ok(true))
            || postponed(self.merge_runs(&mut maintenance))?
            || collected?
            || postponed(self.collect_garbage(&mut maintenance))?;
        if worked {
            self.note_victims(&maintenance);
            return Ok(true);
        }
        Ok(postponed(self.sweep(&mut maintenance))?
            || postponed(self.forget_pieces(&mut maintenance))?
            || postponed(self.retain_topics(&mut maintenance))?)
    }

    /// Whether the log or the index lacks space.
    pub(super) fn is_disk_full(&self, maintenance: &Maintenance) -> bool {
        self.log.is_disk_full() || maintenance.is_starved
    }

    fn grow_hot(&self) {
        if !self.hot.is_crowded() {
            return;
        }
        let before = {
            let _sequencer = self.sequencer.lock();
            // Somebody else who steps may have been faster.
            if !self.hot.is_crowded() {
                return;
            }
            self.hot.grow()
        };
        self.hot.clear(before);
    }

    /// Grows the hot index although it is not crowded.
    #[cfg(test)]
    pub(crate) fn grow_hot_at_once(&self) {
        let before = {
            let _sequencer = self.sequencer.lock();
            self.hot.grow()
        };
        self.hot.clear(before);
    }

    /// Loops [`Keyspace::step_index`] until [`Keyspace::stop_maintaining`].
    pub(crate) fn maintain(&self) {
        while self.signal.wait() {
            loop {
                let (now, end) = (Instant::now(), self.log.end());
                self.maintenance.lock().pressure.look(now, end);
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

    /// Writes the run of the oldest memtable that takes no writes any more.
    pub(super) fn write_oldest_run(&self, maintenance: &mut Maintenance) -> Result<bool> {
        let written = self.write_waiting_run();
        Ok(maintenance.noting(written)?.is_some())
    }

    /// [`Keyspace::write_oldest_run`] for who holds the maintenance already. Returns the run.
    pub(super) fn write_waiting_run(&self) -> Result<Option<Arc<Run>>> {
        let levels = Arc::clone(&self.levels.read());
        let Some(memtable) = levels.memtables[1..].last() else {
            return Ok(None);
        };
        let span = self.span(memtable.base())?;
        let run = Arc::new(self.write_run(&levels, memtable, &span)?);
        self.replace_levels(|current| {
            let mut memtables = current.memtables.clone();
            memtables.retain(|other| !Arc::ptr_eq(other, memtable));
            let mut runs = current.runs.clone();
            runs.insert(0, Arc::clone(&run));
            Levels {
                memtables,
                runs,
                merged: current.merged.clone(),
                emptied: Arc::clone(&current.emptied),
            }
        });
        // Not before: current levels have no retired memtable.
        memtable.retire(Arc::clone(&run));
        Ok(Some(run))
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
                let versions = node.versions();
                let current = versions.newest_first().map(|location| (location, false));
                let superseded = versions.superseded().iter();
                for (location, is_superseded) in
                    current.chain(superseded.map(|&location| (location, true)))
                {
                    written = location.version.max(written);
                    entries.push(RunEntry {
                        hash: node.hash(),
                        place: Place {
                            record: location.record,
                            version: (!location.is_moved).then_some(location.version),
                            is_tombstone: location.kind == Kind::Tombstone,
                            is_superseded,
                        },
                    });
                }
            }
            let average = self
                .counts_below(below, bucket, memtable.base())
                .average_bytes();
            let prepare = |node: &Node| below.prefetch_filters(node.hash());
            let delta = members.counts(prepare, |node| {
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

    pub(super) fn run_identity(&self, span: &SegmentSpan) -> RunIdentity {
        RunIdentity {
            log: self.log.log_id(),
            partition: self.log.id().0,
            segment: span.number,
            base: span.base.get(),
            end: span.end.get(),
        }
    }

    /// Puts levels that give the same answers in the place of the current ones.
    pub(super) fn replace_levels(&self, replace: impl FnOnce(&Levels) -> Levels) -> Arc<Levels> {
        let mut current = self.levels.write();
        let next = Arc::new(replace(&current));
        let before = std::mem::replace(&mut *current, Arc::clone(&next));
        let mut superseded = self.superseded_levels.lock();
        superseded.retain(|levels| levels.strong_count() > 0);
        superseded.push(Arc::downgrade(&before));
        next
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

    /// Makes a pin give the answers it should have given, after one of the files that it leads to
    /// turned out to be of no use.
    pub(crate) fn repair_pin(&self, pin: &mut Pin, error: LevelError) -> Result<()> {
        let repaired = self.repaired(&pin.levels, error)?;
        let before = std::mem::replace(&mut pin.levels, repaired);
        pin.first.get_or_insert(before);
        if let Some(past) = &mut pin.past {
            past.archive = self.archive(&pin.levels)?.into();
        }
        Ok(())
    }

    /// Levels that give the answers these should have given, after one of their files turned out
    /// to be of no use.
    pub(super) fn repaired(&self, levels: &Arc<Levels>, error: LevelError) -> Result<Arc<Levels>> {
        match error {
            LevelError::Log(error) => return Err(error.into()),
            LevelError::Retired => return Ok(Arc::clone(levels)),
            LevelError::Run { .. } | LevelError::Merged(_) => {}
        }
        let mut maintenance = self.maintenance.lock();
        self.repair(&mut maintenance, levels, error)
    }

    pub(super) fn repair(
        &self,
        maintenance: &mut Maintenance,
        levels: &Arc<Levels>,
        error: LevelError,
    ) -> Result<Arc<Levels>> {
        match error {
            LevelError::Log(error) => Err(error.into()),
            LevelError::Retired => Ok(Arc::clone(levels)),
            LevelError::Run { base, .. } => self.repair_run(levels, base),
            LevelError::Merged(fault @ (Fault::Full(_) | Fault::Unwritten(_))) => {
                Err(merged_failure(&fault))
            }
            LevelError::Merged(_) => self.repair_merged(maintenance, levels),
        }
    }

    fn repair_run(&self, levels: &Arc<Levels>, base: u64) -> Result<Arc<Levels>> {
        self.archive.lock().remove(&base);
        let is_it = |run: &&Arc<Run>| run.head().identity.base == base;
        let broken = levels.runs.iter().find(is_it).cloned();
        let current = Arc::clone(&self.levels.read());
        let known = current.runs.iter().find(is_it).cloned();
        let run = match (known, &broken) {
            // Somebody else was faster.
            (Some(known), Some(broken)) if !Arc::ptr_eq(&known, broken) => known,
            _ => Arc::new(self.rebuild_run(&self.span(base)?, levels)?),
        };
        for memtable in &levels.memtables {
            if memtable.base() == base && memtable.run().is_some() {
                memtable.retire(Arc::clone(&run));
            }
        }
        let replace = |levels: &Levels| {
            let mut runs = levels.runs.clone();
            for other in &mut runs {
                if other.head().identity.base == base {
                    *other = Arc::clone(&run);
                }
            }
            Levels {
                memtables: levels.memtables.clone(),
                runs,
                merged: levels.merged.clone(),
                emptied: Arc::clone(&levels.emptied),
            }
        };
        let was_current = Arc::ptr_eq(&self.levels.read(), levels);
        let current = self.replace_levels(replace);
        Ok(if was_current {
            current
        } else {
            Arc::new(replace(levels))
        })
    }

    /// Writes the run of a sealed segment from the log.
    pub(super) fn rebuild_run(&self, span: &SegmentSpan, levels: &Levels) -> Result<Run> {
        self.check_poison()?;
        let nobody_listens = |_: Learnt<'_, '_>| Ok(());
        let memtable = Replay::new(&self.log, self.seed, nobody_listens).segment(span.base)?;
        self.figures.rebuilds.add(1);
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
            Levels {
                memtables: levels.memtables.clone(),
                runs,
                merged,
                emptied: Arc::clone(&levels.emptied),
            }
        };
        let current = Arc::clone(&self.levels.read());
        let is_same = match (&current.merged, &broken) {
            (Some(current), Some(broken)) => Arc::ptr_eq(current, broken),
            _ => false,
        };
        if is_same {
            maintenance.merged = None;
            let fresh = self.new_merged()?;
            self.figures.rebuilds.add(1);
            let view = fresh.view();
            maintenance.merged = Some(fresh);
            self.replace_levels(|current| replace(current, Some(view)));
            self.signal.raise();
        }
        // What the caller holds has its own moment; the runs answer for what was merged in it.
        Ok(Arc::new(replace(levels, None)))
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

    pub(super) fn open_or_rebuild(&self, span: &SegmentSpan, levels: &Levels) -> Result<Run> {
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
        self.open_merged_on(self.log.vfs())
    }

    /// Opens the file that stands on this disk.
    pub(super) fn open_merged_on(&self, disk: &Arc<dyn Vfs>) -> std::result::Result<Merged, Fault> {
        let path = self.log.directory().join(MERGED_NAME);
        let identity = Identity {
            log: self.log.log_id(),
            partition: self.log.id().0,
        };
        let cache_bytes = usize::try_from(self.options.cache_bytes).unwrap_or(usize::MAX);
        Merged::open(disk, &path, identity, cache_bytes)
    }
}

/// What a full disk stops is tried again by a later step, and until then nothing has changed.
pub(super) fn postponed(outcome: Result<bool>) -> Result<bool> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::DiskFull => Ok(false),
        outcome => outcome,
    }
}

pub(super) fn decode_state(view: &View) -> std::result::Result<IndexState, Fault> {
    if view.state().is_empty() {
        return Ok(IndexState::default());
    }
    IndexState::decode(view.state())
        .ok_or_else(|| Fault::Other("its state is of another format".into()))
}

pub(super) fn index_io(error: &std::io::Error) -> Error {
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
        Fault::Io(error) | Fault::Unwritten(error) => index_io(error),
        Fault::Full(message) => Error::new(ErrorKind::DiskFull, message.clone()),
        Fault::Damaged(_) | Fault::Other(_) => Error::new(ErrorKind::Io, fault.to_string()),
    }
}

/// The merged index of a partition.
pub(super) const MERGED_NAME: &str = "index.redb";
