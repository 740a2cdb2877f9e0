//! Keeping the index on disk: which work is next.
//!
//! ```text
//! a segment is sealed -> its memtable waits -> `runs`: the run is written and synced
//!                     -> the memtable goes, the run stands in its place
//! runs are many       -> `merge`: their entries go into redb in one transaction, with the
//!                        offset that is covered -> the runs leave the levels, their files stay
//! ```
//!
//! Levels are only ever replaced by ones that give the same answers. Writers keep pace with all this
//! ([`super::pace`]), so nothing grows without bound and nothing is refused.
//!
//! Files that turn out to be of no use are made again by whoever meets them ([`super::repair`]).
//! After a failure of the log nothing is written any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use cairn_log::vfs::Vfs;

use super::Keyspace;
use super::gc::Garbage;
use super::pace::Pressure;
use super::pieces::Rounds;
use super::retention::Retention;
use super::sweep::{Pass, Rest};
use super::warm::Warmth;
use crate::error::{Error, ErrorKind, Result};
use crate::index::levels::Levels;
use crate::index::merged::{Fault, Identity, Merged, View};
use crate::index::run::RunFault;
use crate::index::state::IndexState;

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
    pub(super) warmth: Warmth,
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
        self.grow_hot(0);
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
            || postponed(self.retain_topics(&mut maintenance))?
            || postponed(self.warm_hot(&mut maintenance))?
            || postponed(self.collect_short(&mut maintenance))?)
    }

    /// Whether the log or the index lacks space.
    pub(super) fn is_disk_full(&self, maintenance: &Maintenance) -> bool {
        self.log.is_disk_full() || maintenance.is_starved
    }

    /// Sees to it that the hot index is not crowded, and has room for `keys` keys if it ever may.
    pub(super) fn grow_hot(&self, keys: u64) {
        let is_due = || self.hot.is_crowded() || self.hot.is_small_for(keys);
        if !is_due() {
            return;
        }
        let before = {
            let _sequencer = self.sequencer.lock();
            // Somebody else who steps may have been faster.
            if !is_due() {
                return;
            }
            self.hot.grow(keys)
        };
        self.hot.clear(before);
    }

    /// Grows the hot index although it is not crowded.
    #[cfg(test)]
    pub(crate) fn grow_hot_at_once(&self) {
        let before = {
            let _sequencer = self.sequencer.lock();
            self.hot.grow(0)
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
