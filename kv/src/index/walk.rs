//! Walking the keys of one bucket in order, over all levels at once.
//!
//! Each level gives its keys in order, each with its newest version below the watermark; the walk
//! merges them, and of a key that several levels have it takes the version of the newest level.
//! Tombstones are given as well: who asks for keys that exist leaves them out.

use std::ops::Bound;
use std::sync::Arc;

use cairn_log::{Offset, Partition};
use smallvec::SmallVec;

use super::levels::{LevelError, Levels, complete, key_location, run_error};
use super::members::Members;
use super::merged::{Entry, Range};
use super::run::{Place, Run, RunFault};
use super::versions::Location;
use crate::record::{BucketId, Record};

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

struct Source {
    level: Level,
    head: Option<(Key, Location)>,
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
        let bound = Bound::Excluded(key.to_vec());
        if self.reverse {
            self.end = bound;
        } else {
            self.start = bound;
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
            if let Some(members) = memtable.members_of(course.bucket) {
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
            let entry = None;
            walks.push(Level::Merged(Box::new(MergedWalk { range, entry })));
        }
        let mut sources = Vec::with_capacity(walks.len());
        for mut level in walks {
            let head = level.next(log)?;
            sources.push(Source { level, head });
        }
        Ok(Walk {
            reverse: course.reverse,
            is_history: course.archive.is_some(),
            sources,
        })
    }

    /// The next key and its newest version below the watermark, which may be a tombstone.
    pub(crate) fn next(&mut self, log: &Partition) -> Result<Option<(Key, Location)>, LevelError> {
        let heads = self.sources.iter().enumerate();
        let keys = heads.filter_map(|(at, source)| Some((at, &source.head.as_ref()?.0)));
        // Of equal keys the first, which is of the newest level.
        let first = if self.reverse {
            keys.reduce(|best, next| if next.1 > best.1 { next } else { best })
        } else {
            keys.reduce(|best, next| if next.1 < best.1 { next } else { best })
        };
        let Some((first, _)) = first else {
            return Ok(None);
        };
        let Some((key, mut location)) = self.sources[first].take(log)? else {
            return Ok(None);
        };
        for source in &mut self.sources[first + 1..] {
            let is_same = |(other, _): &(Key, Location)| *other == key;
            if let Some((_, other)) = source.head.take_if(|head| is_same(head)) {
                if self.is_history && other.version > location.version {
                    location = other;
                }
                source.head = source.level.next(log)?;
            }
        }
        Ok(Some((key, location)))
    }
}

impl Source {
    /// Takes what stands first, and goes on.
    fn take(&mut self, log: &Partition) -> Result<Option<(Key, Location)>, LevelError> {
        let mut taken = self.head.take();
        if let (Level::Merged(walk), Some((_, location))) = (&mut self.level, &mut taken)
            && let Some(entry) = walk.entry.take()
        {
            // Only now: where a newer level has the key, the record may be gone.
            *location = complete(log, entry)?;
        }
        self.head = self.level.next(log)?;
        Ok(taken)
    }
}

impl Level {
    fn next(&mut self, log: &Partition) -> Result<Option<(Key, Location)>, LevelError> {
        match self {
            Level::Memtable(walk) => Ok(walk.next()),
            Level::Run(walk) => walk.next(log),
            Level::Merged(walk) => walk.next(),
        }
    }
}

struct MemtableWalk {
    members: Arc<Members>,
    course: Course,
    /// What was gathered, the next key last.
    ahead: Vec<(Key, Location)>,
    chunk: Chunk,
    exhausted: bool,
}

impl MemtableWalk {
    fn new(members: Arc<Members>, course: &Course) -> MemtableWalk {
        MemtableWalk {
            members,
            course: course.clone(),
            ahead: Vec::new(),
            chunk: Chunk::default(),
            exhausted: false,
        }
    }

    fn next(&mut self) -> Option<(Key, Location)> {
        while self.ahead.is_empty() && !self.exhausted {
            self.gather();
        }
        self.ahead.pop()
    }

    fn gather(&mut self) {
        let (course, ahead) = (&self.course, &mut self.ahead);
        let (limit, mut last) = (self.chunk.next(), None);
        let found = self.members.nodes(course.bounds(), course.reverse, limit, |node| {
            let location = match &course.archive {
                Some(_) => node.versions().ever_below(course.watermark),
                None => node.versions().below(course.watermark),
            };
            let key = Key::from_slice(node.key());
            if location.version == 0 {
                last = Some(key);
            } else {
                last = None;
                ahead.push((key, location));
            }
        });
        self.exhausted = found < limit;
        let last = last.as_ref().or(ahead.last().map(|(key, _)| key));
        if let Some(last) = last {
            self.course.go_on_behind(last);
        }
        ahead.reverse();
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

struct RunWalk {
    run: Arc<Run>,
    bucket: BucketId,
    reverse: bool,
    watermark: u64,
    is_history: bool,
    /// Places in key order that are left.
    low: u64,
    high: u64,
    /// Records taken from there, the next one last.
    taken: Vec<(Key, Location)>,
    /// What is wrong with the record behind those.
    failed: Option<LevelError>,
    chunk: Chunk,
    /// The record behind the last key that was given.
    ahead: Option<(Key, Location)>,
}

impl RunWalk {
    /// `None` if the run has no key of the course.
    fn new(
        run: &Arc<Run>,
        log: &Partition,
        course: &Course,
    ) -> Result<Option<RunWalk>, LevelError> {
        let buckets = &run.head().buckets;
        let Ok(at) = buckets.binary_search_by_key(&course.bucket.0, |bucket| bucket.bucket) else {
            return Ok(None);
        };
        let (first, entries) = (buckets[at].first, buckets[at].entries);
        let mut walk = RunWalk {
            run: Arc::clone(run),
            bucket: course.bucket,
            reverse: course.reverse,
            watermark: course.watermark,
            is_history: course.archive.is_some(),
            low: first,
            high: first + entries,
            taken: Vec::new(),
            failed: None,
            chunk: Chunk::default(),
            ahead: None,
        };
        // In the walk's range all keys before `low` lie below the start, all from `high` on above
        // the end.
        let low = match &course.start {
            Bound::Unbounded => walk.low,
            Bound::Included(start) => walk.search(log, |key| key < &start[..])?,
            Bound::Excluded(start) => walk.search(log, |key| key <= &start[..])?,
        };
        let high = match &course.end {
            Bound::Unbounded => walk.high,
            Bound::Included(end) => walk.search(log, |key| key <= &end[..])?,
            Bound::Excluded(end) => walk.search(log, |key| key < &end[..])?,
        };
        if low >= high {
            return Ok(None);
        }
        (walk.low, walk.high) = (low, high);
        walk.ahead = walk.next_record(log)?;
        Ok(Some(walk))
    }

    /// The first index whose key is not `before`.
    fn search(&self, log: &Partition, before: impl Fn(&[u8]) -> bool) -> Result<u64, LevelError> {
        let (mut low, mut high) = (self.low, self.high);
        while low < high {
            let middle = low + (high - low) / 2;
            let place = self.run.in_key_order(middle);
            let place = place.map_err(|fault| run_error(&self.run, fault))?;
            if before(&self.record(log, &place)?.0) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn next(&mut self, log: &Partition) -> Result<Option<(Key, Location)>, LevelError> {
        let mut found: Option<(Key, Location)> = None;
        while let Some((key, location)) = self.ahead.take() {
            let is_visible = location.version < self.watermark;
            match &mut found {
                // Walked backwards, the newest version of a key comes last.
                Some((of, known)) if *of == key => {
                    let better = is_visible && location.version > known.version;
                    *known = if better { location } else { *known };
                }
                Some(_) => {
                    self.ahead = Some((key, location));
                    break;
                }
                None if is_visible => found = Some((key, location)),
                None => {}
            }
            self.ahead = self.next_record(log)?;
        }
        Ok(found)
    }

    fn next_record(&mut self, log: &Partition) -> Result<Option<(Key, Location)>, LevelError> {
        while self.taken.is_empty() && self.low < self.high {
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            self.take(log)?;
        }
        match self.taken.pop() {
            Some(record) => Ok(Some(record)),
            None => self.failed.take().map_or(Ok(None), Err),
        }
    }

    /// Reads the next records.
    fn take(&mut self, log: &Partition) -> Result<(), LevelError> {
        let count = (self.high - self.low).min(self.chunk.next() as u64);
        let indices = if self.reverse {
            self.high - count..self.high
        } else {
            self.low..self.low + count
        };
        let mut places = Vec::with_capacity(CHUNK_MAX);
        self.run
            .in_key_order_range(indices.clone(), &mut places)
            .map_err(|fault| run_error(&self.run, fault))?;
        let is_history = self.is_history;
        places.retain(|place| is_history || !place.is_superseded);
        if self.reverse {
            places.reverse();
        }
        let mut offsets: SmallVec<[Offset; CHUNK_MAX]> = SmallVec::new();
        offsets.extend(places.iter().map(|place| Offset::new(place.record)));
        let (taken, failed) = (&mut self.taken, &mut self.failed);
        let (run, bucket) = (&self.run, self.bucket);
        log.with_records(&offsets, |index, payload| {
            if failed.is_some() {
                return;
            }
            let place = &places[index];
            match payload.map(|payload| decoded(payload, place, bucket)) {
                Ok(Some(record)) => taken.push(record),
                Ok(None) => *failed = Some(no_key(run, place)),
                Err(error) => *failed = Some(error.into()),
            }
        });
        taken.reverse();
        if self.reverse {
            self.high = indices.start;
        } else {
            self.low = indices.end;
        }
        Ok(())
    }

    fn record(&self, log: &Partition, place: &Place) -> Result<(Key, Location), LevelError> {
        let found = log.with_record(Offset::new(place.record), |payload| {
            decoded(payload, place, self.bucket)
        })?;
        found.ok_or_else(|| no_key(&self.run, place))
    }
}

fn decoded(payload: &[u8], place: &Place, bucket: BucketId) -> Option<(Key, Location)> {
    let record = Record::decode(payload).ok()?;
    let (key, location) = key_location(&record, place.record)?;
    (record.bucket == bucket).then(|| (Key::from_slice(key), location))
}

fn no_key(run: &Run, place: &Place) -> LevelError {
    let what = format!("no key of its bucket stands at offset {}", place.record);
    run_error(run, RunFault::Damaged(what))
}

struct MergedWalk {
    range: Range,
    /// Of the key that was given last.
    entry: Option<Entry>,
}

impl MergedWalk {
    /// The next key, and what its entry says alone: see [`complete`].
    fn next(&mut self) -> Result<Option<(Key, Location)>, LevelError> {
        let Some(found) = self.range.next() else {
            return Ok(None);
        };
        let (key, entry) = found?;
        self.entry = Some(entry);
        let location = Location {
            version: entry.version,
            record: entry.record,
            ..Location::NONE
        };
        Ok(Some((SmallVec::from_slice(&key), location)))
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
