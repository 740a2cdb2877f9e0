//! The newest version of each key of some runs, in key order: a walk through each run beside the
//! others, some dozen records read at a time.

use std::collections::BTreeSet;

use cairn_log::Offset;

use super::{MergeError, MergeResult};
use crate::index::levels::{Levels, key_location, run_error};
use crate::index::run::{Place, Run, RunFault};
use crate::index::state::IndexState;
use crate::index::versions::Location;
use crate::keyspace::Keyspace;
use crate::record::{BucketId, Record};

/// The newest version of each key of some runs, in key order.
pub(super) struct NewestEntries<'a> {
    keyspace: &'a Keyspace,
    cursors: Vec<RunCursor<'a>>,
    /// Buckets whose keys are left out.
    dropped: BTreeSet<BucketId>,
    last: Option<At>,
    /// Where the newest version of the last key but one stands, and the bytes of versions met since
    /// that it supersedes.
    superseded: (u64, u64),
    pending: Vec<(u64, u64)>,
    /// Keys that were left out.
    pub(super) gone_keys: u64,
}

/// A walk through one run in key order.
struct RunCursor<'a> {
    run: &'a Run,
    next: u64,
    places: std::vec::IntoIter<Place>,
    /// What stands at the next places, last first.
    ready: Vec<At>,
    at: Option<At>,
    /// Memory of keys that are done with.
    memory: Vec<Vec<u8>>,
}

/// Where a cursor stands.
pub(super) struct At {
    pub(super) bucket: BucketId,
    pub(super) key: Vec<u8>,
    pub(super) location: Location,
    /// Of the record, its frame included.
    pub(super) bytes: u64,
}

impl<'a> NewestEntries<'a> {
    pub(super) fn new(
        keyspace: &'a Keyspace,
        levels: &'a Levels,
        state: &IndexState,
    ) -> MergeResult<NewestEntries<'a>> {
        let rows = state.buckets.iter();
        let mut entries = NewestEntries {
            keyspace,
            cursors: Vec::new(),
            dropped: rows
                .filter(|row| row.dropped.is_some())
                .map(|row| row.id)
                .collect(),
            last: None,
            superseded: (0, 0),
            pending: Vec::new(),
            gone_keys: 0,
        };
        for run in &levels.runs {
            let mut cursor = RunCursor {
                run,
                next: 0,
                places: Vec::new().into_iter(),
                ready: Vec::new(),
                at: None,
                memory: Vec::new(),
            };
            cursor.advance(keyspace)?;
            entries.cursors.push(cursor);
        }
        Ok(entries)
    }

    pub(super) fn next(&mut self) -> MergeResult<Option<&At>> {
        loop {
            let standing = self.cursors.iter_mut();
            let least = standing
                .filter(|cursor| cursor.at.is_some())
                .min_by(|one, other| At::order(one.at.as_ref(), other.at.as_ref()));
            let Some(cursor) = least else {
                return Ok(None);
            };
            let next = cursor.at.take();
            let Some(next) = next else {
                return Ok(None);
            };
            cursor.advance(self.keyspace)?;
            match self.last.take() {
                Some(last) if last.bucket == next.bucket && last.key == next.key => {
                    self.superseded.1 += next.bytes;
                    // The newest stays the one that is remembered.
                    cursor.memory.push(next.key);
                    self.last = Some(last);
                    continue;
                }
                Some(last) => cursor.memory.push(last.key),
                None => {}
            }
            let is_dropped = self.dropped.contains(&next.bucket.owner());
            self.gone_keys += u64::from(is_dropped && !next.bucket.is_pieces());
            let record = next.location.record;
            self.last = Some(next);
            if !is_dropped {
                self.pending
                    .push(std::mem::replace(&mut self.superseded, (record, 0)));
                return Ok(self.last.as_ref());
            }
        }
    }

    /// Counts the versions that were passed over since the last count.
    pub(super) fn count_superseded(&mut self, state: &mut IndexState) {
        for (record, bytes) in self.pending.drain(..) {
            if let Some(row) = state.segment_of(record) {
                row.superseded_bytes += bytes;
            }
        }
    }
}

impl At {
    /// What the payload of a record says; `None` if it is no key's. `key` is memory for its key.
    fn of(payload: &[u8], offset: u64, mut key: Vec<u8>) -> Option<At> {
        let record = Record::decode(payload).ok()?;
        let (found, location) = key_location(&record, offset)?;
        key.clear();
        key.extend_from_slice(found);
        Some(At {
            bucket: record.bucket,
            key,
            location,
            bytes: (payload.len() + RECORD_HEADER_BYTES) as u64,
        })
    }

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
    /// Goes on to the next record.
    fn advance(&mut self, keyspace: &Keyspace) -> MergeResult<()> {
        self.at = self.ready.pop();
        if self.at.is_none() {
            self.fetch(keyspace)?;
            self.at = self.ready.pop();
        }
        Ok(())
    }

    /// Reads the next records, all at once: they lie far from one another.
    fn fetch(&mut self, keyspace: &Keyspace) -> MergeResult<()> {
        let mut offsets = Vec::with_capacity(RECORDS_AT_ONCE);
        while offsets.len() < RECORDS_AT_ONCE {
            // Superseded versions are history's.
            match self.places.find(|place| !place.is_superseded) {
                Some(place) => offsets.push(Offset::new(place.record)),
                None if self.next < self.run.len() => self.take_places()?,
                None => break,
            }
        }
        offsets.reverse();
        let mut failure = None;
        keyspace.log.with_records(&offsets, |index, payload| {
            let key = self.memory.pop().unwrap_or_default();
            match payload.map(|payload| At::of(payload, offsets[index].get(), key)) {
                Ok(Some(at)) => self.ready.push(at),
                Ok(None) => {
                    let what = format!("no key's record stands at offset {}", offsets[index]);
                    let fault = run_error(self.run, RunFault::Damaged(what));
                    failure.get_or_insert(fault.into());
                }
                Err(error) => {
                    failure.get_or_insert(MergeError::from(error));
                }
            }
        });
        failure.map_or(Ok(()), Err)
    }

    fn take_places(&mut self) -> MergeResult<()> {
        let end = (self.next + CHUNK).min(self.run.len());
        let mut places = Vec::new();
        self.run
            .in_key_order_range(self.next..end, &mut places)
            .map_err(|fault| run_error(self.run, fault))?;
        self.next = end;
        self.places = places.into_iter();
        Ok(())
    }
}

/// Of a record's frame in the log.
const RECORD_HEADER_BYTES: usize = 8;

/// Records of a run that are read together.
const RECORDS_AT_ONCE: usize = 32;

/// Places of a run taken at once.
const CHUNK: u64 = 1_024;
