//! The levels of a partition's index: memtables, runs, and what is merged.
//!
//! ```text
//! memtables   newest first; the first takes writes, the others wait for their run
//! runs        newest first; one a sealed segment that is not merged yet
//! merged      one redb file over all older segments
//! ```
//!
//! A key's newest version is in the first level that has the key. What a `Levels` says never
//! changes, but for what is entered into its first memtable: whoever holds one finds in it every
//! version that was there, whatever is merged meanwhile. A memtable that is replaced by its run
//! gives back its memory all the same, and the run answers for it. That, and a watermark read while it was the current
//! one, is what a scan, a view or a digest holds on to.

mod count;
mod place;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use cairn_log::Partition;
use smallvec::SmallVec;

pub(crate) use self::count::{Below, Estimate};
use self::place::read_place;
pub(crate) use self::place::{complete, key_location};
use super::memtable::Memtable;
use super::merged::{Entry, Fault, View};
use super::run::{Place, Run, RunFault};
use super::versions::Location;
use crate::record::BucketId;

/// One state of a partition's index. See the module.
pub(crate) struct Levels {
    /// Newest first, never empty.
    pub(crate) memtables: Vec<Arc<Memtable>>,
    /// Newest first.
    pub(crate) runs: Vec<Arc<Run>>,
    pub(crate) merged: Option<Arc<View>>,
    /// The bases of merged segments from which what is alive was moved into these levels: they may be
    /// dropped while somebody holds these, so nobody who does looks into them.
    pub(crate) emptied: Arc<[u64]>,
}

/// A version of a key, and whether nothing newer of that key was sequenced when it was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) location: Location,
    pub(crate) is_newest: bool,
}

/// Why a level could not answer.
pub(crate) enum LevelError {
    /// The run of the segment that begins at `base` is of no use: it is to be written again.
    Run { base: u64, fault: RunFault },
    /// The merged index is of no use: it is to be made again from the runs.
    Merged(Fault),
    /// A memtable was retired meanwhile: it is to be asked again, and its run answers.
    Retired,
    /// The log below.
    Log(cairn_log::Error),
}

impl From<cairn_log::Error> for LevelError {
    fn from(error: cairn_log::Error) -> LevelError {
        LevelError::Log(error)
    }
}

impl From<Fault> for LevelError {
    fn from(fault: Fault) -> LevelError {
        LevelError::Merged(fault)
    }
}

impl Levels {
    /// The memtable that takes writes.
    pub(crate) fn active(&self) -> &Arc<Memtable> {
        &self.memtables[0]
    }

    /// The newest version of `key` below `watermark`; [`Location::NONE`] if there is none.
    pub(crate) fn locate(
        &self,
        log: &Partition,
        hash: u64,
        bucket: BucketId,
        key: &[u8],
        watermark: u64,
    ) -> Result<Found, LevelError> {
        let found = self.locate_unmerged(log, hash, bucket, key, watermark)?;
        if found.location.version != 0 {
            return Ok(found);
        }
        let location = self.locate_merged(log, hash, bucket, key, watermark)?;
        Ok(Found { location, ..found })
    }

    /// [`Levels::locate`] in all but what is merged.
    pub(crate) fn locate_unmerged(
        &self,
        log: &Partition,
        hash: u64,
        bucket: BucketId,
        key: &[u8],
        watermark: u64,
    ) -> Result<Found, LevelError> {
        let mut is_newest = true;
        for memtable in &self.memtables {
            let (location, is_newest_here) = memtable.locate(hash, bucket, key, watermark);
            is_newest &= is_newest_here;
            if location.version != 0 {
                return Ok(Found {
                    location,
                    is_newest,
                });
            }
            if let Some(run) = memtable.run() {
                // It may know newer versions than the watermark lets us see.
                is_newest = false;
                let location = find_in_run(&run, log, hash, bucket, key, watermark)?;
                if location.version != 0 {
                    return Ok(Found {
                        location,
                        is_newest,
                    });
                }
            }
        }
        let location = find_in_runs(&self.runs, log, hash, bucket, key, watermark)?;
        Ok(Found {
            location,
            is_newest,
        })
    }

    /// [`Levels::locate`] in the memtables alone, none of which is retired: in current levels.
    pub(crate) fn locate_in_memory(
        &self,
        hash: u64,
        bucket: BucketId,
        key: &[u8],
        watermark: u64,
    ) -> Found {
        let mut found = Found {
            location: Location::NONE,
            is_newest: true,
        };
        for memtable in &self.memtables {
            let (location, is_newest) = memtable.locate(hash, bucket, key, watermark);
            found.location = location;
            found.is_newest &= is_newest;
            if location.version != 0 {
                break;
            }
        }
        found
    }

    /// The newest version of `key` in the segments from `base` on, of which none is merged: in current
    /// levels. Runs that lack it deny it by their filters.
    pub(crate) fn locate_since(
        &self,
        log: &Partition,
        base: u64,
        hash: u64,
        bucket: BucketId,
        key: &[u8],
    ) -> Result<Location, LevelError> {
        let in_memory = self.locate_in_memory(hash, bucket, key, u64::MAX);
        if in_memory.location.version != 0 {
            return Ok(in_memory.location);
        }
        let is_since = |run: &&Arc<Run>| run.head().identity.base >= base;
        let since = self.runs.iter().take_while(is_since);
        find_in_runs(since, log, hash, bucket, key, u64::MAX)
    }

    /// [`Levels::locate`] in the runs and what is merged.
    pub(crate) fn locate_on_disk(
        &self,
        log: &Partition,
        hash: u64,
        bucket: BucketId,
        key: &[u8],
        watermark: u64,
    ) -> Result<Location, LevelError> {
        let location = find_in_runs(&self.runs, log, hash, bucket, key, watermark)?;
        if location.version != 0 {
            return Ok(location);
        }
        self.locate_merged(log, hash, bucket, key, watermark)
    }

    fn locate_merged(
        &self,
        log: &Partition,
        hash: u64,
        bucket: BucketId,
        key: &[u8],
        watermark: u64,
    ) -> Result<Location, LevelError> {
        let Some(entry) = self.merged_entry(hash, bucket, key)? else {
            return Ok(Location::NONE);
        };
        let location = complete(log, entry)?;
        Ok(if location.version < watermark {
            location
        } else {
            Location::NONE
        })
    }

    /// The newest version of `key` below `watermark`, superseded ones included, in the memtables,
    /// these runs, and the `archive` of runs of what is merged.
    pub(crate) fn locate_ever(
        &self,
        archive: &[Arc<Run>],
        log: &Partition,
        hash: u64,
        bucket: BucketId,
        key: &[u8],
        watermark: u64,
    ) -> Result<Location, LevelError> {
        self.locate_from(Location::NONE, archive, log, hash, bucket, key, watermark)
    }

    /// [`Levels::locate_ever`] if that is newer than `least`, a version of this key, or the same in a
    /// later place; otherwise `least`.
    #[expect(
        clippy::too_many_arguments,
        reason = "what is asked for, of whom, and as of when"
    )]
    pub(crate) fn locate_from(
        &self,
        least: Location,
        archive: &[Arc<Run>],
        log: &Partition,
        hash: u64,
        bucket: BucketId,
        key: &[u8],
        watermark: u64,
    ) -> Result<Location, LevelError> {
        let mut best = least;
        let mut retired: SmallVec<[Arc<Run>; 2]> = SmallVec::new();
        for memtable in &self.memtables {
            let found = memtable.locate_ever(hash, bucket, key, watermark);
            if (found.version, found.record) > (best.version, best.record) {
                best = found;
            }
            retired.extend(memtable.run());
        }
        for run in retired.iter().chain(&self.runs).chain(archive) {
            // Versions are offsets, and records stand behind theirs.
            if run.head().identity.end <= best.version {
                continue;
            }
            let found = run.find(hash, |place| -> ControlFlow<cairn_log::Error> {
                // A version known to be no better, or too new, needs no look at its record.
                let is_of_use = |version| {
                    (version, place.record) > (best.version, best.record) && version < watermark
                };
                if place.version.is_some_and(|version| !is_of_use(version)) {
                    return ControlFlow::Continue(());
                }
                match read_place(log, &place, bucket, key) {
                    Ok(Some(location)) if is_of_use(location.version) => best = location,
                    Ok(_) => {}
                    Err(error) => return ControlFlow::Break(error),
                }
                ControlFlow::Continue(())
            });
            match found {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(error)) => return Err(error.into()),
                Err(fault) => return Err(run_error(run, fault)),
            }
        }
        Ok(best)
    }

    /// What is merged of a key.
    pub(crate) fn merged_entry(
        &self,
        hash: u64,
        bucket: BucketId,
        key: &[u8],
    ) -> Result<Option<Entry>, LevelError> {
        match &self.merged {
            Some(merged) if merged.may_hold(hash) => Ok(merged.get(bucket, key)?),
            _ => Ok(None),
        }
    }

    /// Has brought in what [`Levels::may_hold_on_disk`] will ask, while a memtable is asked: the
    /// locks of that one would keep a plain read of the filters from running beside it.
    pub(crate) fn prefetch_filters(&self, hash: u64) {
        for run in &self.runs {
            run.prefetch(hash);
        }
        if let Some(merged) = &self.merged {
            merged.prefetch(hash);
        }
    }

    /// Has brought in what a memtable and the filters of runs will be asked.
    pub(crate) fn prefetch_unmerged(&self, hash: u64) {
        for memtable in &self.memtables {
            memtable.prefetch(hash);
        }
        for run in &self.runs {
            run.prefetch(hash);
        }
    }

    /// Whether a run may hold a key of this hash. Asks filters only.
    pub(crate) fn may_hold_in_runs(&self, hash: u64) -> bool {
        self.runs.iter().any(|run| run.may_hold(hash))
    }

    /// Whether a run or the merged index may hold a key of this hash. Asks filters only.
    pub(crate) fn may_hold_on_disk(&self, hash: u64) -> bool {
        let merged = self.merged.as_ref();
        self.may_hold_in_runs(hash)
            || merged.is_some_and(|merged| merged.len() > 0 && merged.may_hold(hash))
    }

    /// Whether there is surely no version of a key below `watermark`. Asks memtables and filters only.
    pub(crate) fn deny(&self, hash: u64, bucket: BucketId, key: &[u8], watermark: u64) -> bool {
        self.prefetch_filters(hash);
        for memtable in &self.memtables {
            let (location, _) = memtable.locate(hash, bucket, key, watermark);
            if location.version != 0 || memtable.run().is_some() {
                return false;
            }
        }
        !self.may_hold_on_disk(hash)
    }

    /// Whether there is anything below the memtables.
    pub(crate) fn has_older(&self) -> bool {
        !self.runs.is_empty() || self.merged.as_ref().is_some_and(|merged| merged.len() > 0)
    }

    /// Everything below this offset is in the merged index.
    pub(crate) fn covered(&self) -> u64 {
        self.merged.as_ref().map_or(0, |merged| merged.covered())
    }
}

/// The newest version of a key below `watermark` in runs, newest first.
fn find_in_runs<'a>(
    runs: impl IntoIterator<Item = &'a Arc<Run>>,
    log: &Partition,
    hash: u64,
    bucket: BucketId,
    key: &[u8],
    watermark: u64,
) -> Result<Location, LevelError> {
    for run in runs {
        let location = find_in_run(run, log, hash, bucket, key, watermark)?;
        if location.version != 0 {
            return Ok(location);
        }
    }
    Ok(Location::NONE)
}

/// The newest version of a key below `watermark` in a run.
fn find_in_run(
    run: &Run,
    log: &Partition,
    hash: u64,
    bucket: BucketId,
    key: &[u8],
    watermark: u64,
) -> Result<Location, LevelError> {
    let visit = |place: Place| {
        if place.is_superseded || place.version.is_some_and(|version| version >= watermark) {
            return ControlFlow::Continue(());
        }
        match read_place(log, &place, bucket, key) {
            Ok(Some(location)) if location.version < watermark => ControlFlow::Break(Ok(location)),
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Err(error)),
        }
    };
    match run.find(hash, visit) {
        Ok(ControlFlow::Break(found)) => found.map_err(LevelError::Log),
        Ok(ControlFlow::Continue(())) => Ok(Location::NONE),
        Err(fault) => Err(run_error(run, fault)),
    }
}

pub(crate) fn run_error(run: &Run, fault: RunFault) -> LevelError {
    let base = run.head().identity.base;
    LevelError::Run { base, fault }
}

impl fmt::Display for LevelError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LevelError::Run { fault, .. } => write!(formatter, "{fault}"),
            LevelError::Merged(fault) => write!(formatter, "{fault}"),
            LevelError::Log(error) => write!(formatter, "{error}"),
            LevelError::Retired => write!(formatter, "a memtable was retired"),
        }
    }
}
