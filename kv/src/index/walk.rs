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
use super::memtable::Node;
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
    nodes: std::vec::IntoIter<Arc<Node>>,
    exhausted: bool,
}

impl MemtableWalk {
    fn new(members: Arc<Members>, course: &Course) -> MemtableWalk {
        MemtableWalk {
            members,
            course: course.clone(),
            nodes: Vec::new().into_iter(),
            exhausted: false,
        }
    }

    fn next(&mut self) -> Option<(Key, Location)> {
        loop {
            let Some(node) = self.nodes.next() else {
                if self.exhausted {
                    return None;
                }
                self.gather();
                continue;
            };
            let location = match &self.course.archive {
                Some(_) => node.versions().ever_below(self.course.watermark),
                None => node.versions().below(self.course.watermark),
            };
            if location.version != 0 {
                return Some((SmallVec::from_slice(node.key()), location));
            }
        }
    }

    fn gather(&mut self) {
        let mut nodes = Vec::with_capacity(CHUNK);
        let (bounds, reverse) = (self.course.bounds(), self.course.reverse);
        self.members.nodes(bounds, reverse, CHUNK, &mut nodes);
        self.exhausted = nodes.len() < CHUNK;
        if let Some(last) = nodes.last() {
            self.course.go_on_behind(last.key());
        }
        self.nodes = nodes.into_iter();
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
    /// Places taken from there, in the order of the walk.
    places: std::vec::IntoIter<Place>,
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
            places: Vec::new().into_iter(),
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
        let is_history = self.is_history;
        loop {
            if let Some(place) = self.places.find(|place| is_history || !place.is_superseded) {
                return self.record(log, &place).map(Some);
            }
            if self.low == self.high {
                return Ok(None);
            }
            let count = (self.high - self.low).min(CHUNK as u64);
            let mut places = Vec::with_capacity(CHUNK);
            if self.reverse {
                self.take(self.high - count..self.high, &mut places)?;
                places.reverse();
                self.high -= count;
            } else {
                self.take(self.low..self.low + count, &mut places)?;
                self.low += count;
            }
            self.places = places.into_iter();
        }
    }

    fn take(&self, indices: std::ops::Range<u64>, into: &mut Vec<Place>) -> Result<(), LevelError> {
        self.run
            .in_key_order_range(indices, into)
            .map_err(|fault| run_error(&self.run, fault))
    }

    fn record(&self, log: &Partition, place: &Place) -> Result<(Key, Location), LevelError> {
        let found = log.with_record(Offset::new(place.record), |payload| {
            let record = Record::decode(payload).ok()?;
            let (key, location) = key_location(&record, place.record)?;
            (record.bucket == self.bucket).then(|| (Key::from_slice(key), location))
        })?;
        found.ok_or_else(|| {
            let what = format!("no key of its bucket stands at offset {}", place.record);
            run_error(&self.run, RunFault::Damaged(what))
        })
    }
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
const CHUNK: usize = 64;
