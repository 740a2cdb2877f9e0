//! The keys of a run, in order. They stand in the log, and so do small values, which are given with
//! them.

use std::ops::{Bound, Range};
use std::sync::Arc;

use cairn_log::{Offset, Partition};
use smallvec::SmallVec;

use super::ahead::{Ahead, Held};
use super::{CHUNK_MAX, Chunk, Course};
use crate::index::levels::{LevelError, key_location, run_error};
use crate::index::run::{Place, Run, RunFault};
use crate::index::versions::{Kind, Location};
use crate::record::{Body, BucketId, Record};

pub(super) struct RunWalk {
    run: Arc<Run>,
    bucket: BucketId,
    reverse: bool,
    watermark: u64,
    is_history: bool,
    value_bytes_max: u64,
    /// Places in key order that are left.
    left: Range<u64>,
    chunk: Chunk,
    /// Memory for places that were taken.
    places: Vec<Place>,
    /// The last key that was met: a better version of it may follow.
    held: Option<Held>,
    /// What is wrong with the record behind that.
    failed: Option<LevelError>,
}

/// What a record says of its key.
struct Told<'a> {
    key: &'a [u8],
    location: Location,
    value: Option<&'a [u8]>,
}

impl RunWalk {
    /// `None` if the run has no key of the course.
    pub(super) fn new(
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
            value_bytes_max: course.value_bytes_max,
            left: first..first + entries,
            chunk: Chunk::default(),
            places: Vec::new(),
            held: None,
            failed: None,
        };
        // In the walk's range all keys before `low` lie below the start, all from `high` on above
        // the end.
        let low = match &course.start {
            Bound::Unbounded => walk.left.start,
            Bound::Included(start) => walk.search(log, |key| key < &start[..])?,
            Bound::Excluded(start) => walk.search(log, |key| key <= &start[..])?,
        };
        let high = match &course.end {
            Bound::Unbounded => walk.left.end,
            Bound::Included(end) => walk.search(log, |key| key <= &end[..])?,
            Bound::Excluded(end) => walk.search(log, |key| key < &end[..])?,
        };
        walk.left = low..high;
        Ok((low < high).then_some(walk))
    }

    /// The first index whose key is not `before`.
    fn search(&self, log: &Partition, before: impl Fn(&[u8]) -> bool) -> Result<u64, LevelError> {
        let Range {
            start: mut low,
            end: mut high,
        } = self.left;
        while low < high {
            let middle = low + (high - low) / 2;
            let place = self.run.in_key_order(middle);
            let place = place.map_err(|fault| run_error(&self.run, fault))?;
            let found = log.with_record(Offset::new(place.record), |payload| {
                told(payload, &place, self.bucket).map(|told| before(told.key))
            })?;
            if found.ok_or_else(|| no_key(&self.run, &place))? {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Adds the next keys; none if there are no more.
    pub(super) fn fill(&mut self, log: &Partition, ahead: &mut Ahead) -> Result<(), LevelError> {
        while ahead.len() == 0 {
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            if let Some(held) = self.held.take() {
                ahead.push(&held.key, held.location, held.value.as_deref());
            }
            if self.left.is_empty() {
                return Ok(());
            }
            self.read(log, ahead)?;
            // The next records may be of this key, and so may one that can't be read.
            if !self.left.is_empty() || self.failed.is_some() {
                self.held = ahead.pop();
            }
        }
        Ok(())
    }

    /// Reads the next records, and adds the best visible version of each of their keys.
    fn read(&mut self, log: &Partition, ahead: &mut Ahead) -> Result<(), LevelError> {
        self.take()?;
        let offsets = self.places.iter().map(|place| Offset::new(place.record));
        let offsets: SmallVec<[Offset; CHUNK_MAX]> = offsets.collect();
        let mut failed = None;
        log.with_records(&offsets, |index, payload| {
            if failed.is_some() {
                return;
            }
            let place = &self.places[index];
            match payload.map(|payload| told(payload, place, self.bucket)) {
                Ok(Some(told)) => self.add(&told, ahead),
                Ok(None) => failed = Some(no_key(&self.run, place)),
                Err(error) => failed = Some(error.into()),
            }
        });
        self.failed = failed;
        Ok(())
    }

    /// Takes the next places.
    fn take(&mut self) -> Result<(), LevelError> {
        let (left, places) = (&mut self.left, &mut self.places);
        let count = (left.end - left.start).min(self.chunk.next() as u64);
        let indices = if self.reverse {
            left.end - count..left.end
        } else {
            left.start..left.start + count
        };
        places.clear();
        self.run
            .in_key_order_range(indices.clone(), places)
            .map_err(|fault| run_error(&self.run, fault))?;
        places.retain(|place| self.is_history || !place.is_superseded);
        if self.reverse {
            places.reverse();
            left.end = indices.start;
        } else {
            left.start = indices.end;
        }
        Ok(())
    }

    fn add(&self, told: &Told<'_>, ahead: &mut Ahead) {
        if told.location.version >= self.watermark {
            return;
        }
        if let Some((key, version)) = ahead.last()
            && key == told.key
        {
            // Walked backwards, the newest version of a key comes last.
            if told.location.version <= version {
                return;
            }
            let _ = ahead.pop();
        }
        let value = told
            .value
            .filter(|value| value.len() as u64 <= self.value_bytes_max);
        ahead.push(told.key, told.location, value);
    }
}

fn told<'a>(payload: &'a [u8], place: &Place, bucket: BucketId) -> Option<Told<'a>> {
    let record = Record::decode(payload).ok()?;
    let (key, location) = key_location(&record, place.record)?;
    let value = match &record.body {
        Body::Put(put) if put.attributes.is_empty() => Some(put.value),
        _ => None,
    };
    debug_assert!(value.is_none() || location.kind == Kind::Value);
    (record.bucket == bucket).then_some(Told {
        key,
        location,
        value,
    })
}

fn no_key(run: &Run, place: &Place) -> LevelError {
    let what = format!("no key of its bucket stands at offset {}", place.record);
    run_error(run, RunFault::Damaged(what))
}
