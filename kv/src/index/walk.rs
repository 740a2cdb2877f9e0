//! Walking the keys of one bucket in order, over all levels at once.
//!
//! ```text
//! level -> ahead: some dozen keys, read together -+
//! level -> ahead ---------------------------------+-> the next key, of the newest level that has it
//! level -> ahead ---------------------------------+
//! ```
//!
//! Each level gives its keys in order, each with its newest version below the watermark; the walk
//! merges them, and of a key that several levels have it takes the version of the newest level.
//! Tombstones are given as well: who asks for keys that exist leaves them out.

mod ahead;
mod memtable;
mod merged;
mod run;

use std::ops::Bound;
use std::sync::Arc;

use cairn_log::Partition;
use smallvec::SmallVec;

use super::levels::{LevelError, Levels};
use super::run::Run;
use super::versions::Location;
use crate::record::BucketId;
use ahead::Ahead;
use memtable::MemtableWalk;
use merged::MergedWalk;
use run::RunWalk;

/// A key on its way.
pub(crate) type Key = SmallVec<[u8; 32]>;

/// Which keys, and from which end.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    pub(crate) bucket: BucketId,
    pub(crate) start: Bound<Vec<u8>>,
    pub(crate) end: Bound<Vec<u8>>,
    pub(crate) reverse: bool,
    pub(crate) watermark: u64,
    /// The runs of what is merged, to ask for the past; superseded versions are seen then.
    pub(crate) archive: Option<Archive>,
    /// Values up to this length are of use, where they are read on the way.
    pub(crate) value_bytes_max: u64,
}

/// The runs of merged segments.
pub(crate) type Archive = Arc<[Arc<Run>]>;

/// A walk under way. See the module.
pub(crate) struct Walk {
    reverse: bool,
    /// Levels are asked for the past, where an older one may have the newer version.
    is_history: bool,
    /// Newest level first.
    sources: Vec<Source>,
}

/// A key, and what is known of it.
pub(crate) struct Found<'a> {
    pub(crate) key: &'a [u8],
    /// Of its newest version below the watermark, which may be a tombstone.
    pub(crate) location: Location,
    /// Its value, if that was read on the way and nothing stands beside it.
    pub(crate) value: Option<&'a [u8]>,
}

struct Source {
    level: Level,
    /// What it gave; the first of it has not been passed yet.
    ahead: Ahead,
    /// The first of it stands at the key that the walk gave last.
    is_given: bool,
}

enum Level {
    Memtable(MemtableWalk),
    Run(RunWalk),
    Merged(Box<MergedWalk>),
}

impl Course {
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (slice(&self.start), slice(&self.end))
    }

    /// What is left of the course behind a key.
    pub(crate) fn go_on_behind(&mut self, key: &[u8]) {
        let bound = if self.reverse {
            &mut self.end
        } else {
            &mut self.start
        };
        match bound {
            // Step by step over many keys: the memory serves again.
            Bound::Excluded(before) => {
                before.clear();
                before.extend_from_slice(key);
            }
            _ => *bound = Bound::Excluded(key.to_vec()),
        }
    }
}

impl Walk {
    /// Begins a walk.
    ///
    /// Cost: keys that are new in the memtables since the last walk are sorted; in each run the
    /// first key is searched for.
    pub(crate) fn new(
        levels: &Levels,
        log: &Partition,
        course: &Course,
    ) -> Result<Walk, LevelError> {
        let mut walks = Vec::new();
        for memtable in &levels.memtables {
            // Members first: who finds none because they have just retired finds the run.
            let members = memtable.members_of(course.bucket);
            if let Some(run) = memtable.run() {
                walks.extend(RunWalk::new(&run, log, course)?.map(Level::Run));
            } else if let Some(members) = members {
                members.settle();
                walks.push(Level::Memtable(MemtableWalk::new(members, course)));
            }
        }
        let archive = course.archive.iter().flat_map(|archive| archive.iter());
        for run in levels.runs.iter().chain(archive) {
            walks.extend(RunWalk::new(run, log, course)?.map(Level::Run));
        }
        if let Some(merged) = &levels.merged
            && merged.len() > 0
            && course.archive.is_none()
        {
            let range = merged.range(course.bucket, course.bounds(), course.reverse)?;
            walks.push(Level::Merged(Box::new(MergedWalk::new(range))));
        }
        let mut sources = Vec::with_capacity(walks.len());
        for level in walks {
            let mut source = Source {
                level,
                ahead: Ahead::default(),
                is_given: false,
            };
            source.fill(log)?;
            sources.push(source);
        }
        Ok(Walk {
            reverse: course.reverse,
            is_history: course.archive.is_some(),
            sources,
        })
    }

    /// The next key and its newest version below the watermark, which may be a tombstone. After an
    /// error the walk is over; another one can go on behind the last key.
    pub(crate) fn next(&mut self, log: &Partition) -> Result<Option<Found<'_>>, LevelError> {
        for source in &mut self.sources {
            if std::mem::take(&mut source.is_given) {
                source.pass(log)?;
            }
        }
        let mut first: Option<(usize, &[u8])> = None;
        for (at, source) in self.sources.iter().enumerate() {
            let Some(key) = source.ahead.key() else {
                continue;
            };
            // Of equal keys the first, which is of the newest level.
            let is_before = |best: &[u8]| if self.reverse { key > best } else { key < best };
            if first.is_none_or(|(_, best)| is_before(best)) {
                first = Some((at, key));
            }
        }
        let Some((mut first, _)) = first else {
            return Ok(None);
        };
        self.sources[first].is_given = true;
        for at in first + 1..self.sources.len() {
            let (newer, older) = self.sources.split_at_mut(at);
            let (best, other) = (&newer[first].ahead, &mut older[0]);
            if other.ahead.key().is_none() || other.ahead.key() != best.key() {
                continue;
            }
            other.is_given = true;
            if self.is_history && other.ahead.version() > best.version() {
                first = at;
            }
        }
        self.sources[first].found(log)
    }
}

impl Source {
    /// Goes on behind the first key.
    fn pass(&mut self, log: &Partition) -> Result<(), LevelError> {
        self.ahead.pass();
        if self.ahead.key().is_none() {
            self.fill(log)?;
        }
        Ok(())
    }

    fn fill(&mut self, log: &Partition) -> Result<(), LevelError> {
        self.ahead.clear();
        match &mut self.level {
            Level::Memtable(walk) => walk.fill(&mut self.ahead)?,
            Level::Run(walk) => walk.fill(log, &mut self.ahead)?,
            Level::Merged(walk) => walk.fill(&mut self.ahead)?,
        }
        Ok(())
    }

    fn found(&self, log: &Partition) -> Result<Option<Found<'_>>, LevelError> {
        let found = self.ahead.first();
        let (Some(found), Level::Merged(walk)) = (found, &self.level) else {
            return Ok(self.ahead.first());
        };
        // Only now: where a newer level has the key, the record may be gone.
        let location = walk.location(log, self.ahead.passed())?;
        Ok(Some(Found { location, ..found }))
    }
}

/// How many keys are taken from a level at once: few at first, since many a scan is short.
#[derive(Default)]
struct Chunk(usize);

impl Chunk {
    fn next(&mut self) -> usize {
        self.0 = (self.0 * 4).clamp(CHUNK_MIN, CHUNK_MAX);
        self.0
    }
}

fn slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// Keys taken from a level at once.
const CHUNK_MIN: usize = 4;
const CHUNK_MAX: usize = 64;
