//! Whether a topic is within its limits, and which of its records are the first to go.

use std::collections::HashMap;
use std::ops::Bound;

use cairn_log::Offset;

use crate::bucket::state::BucketState;
use crate::index::levels::{LevelError, Levels};
use crate::index::versions::{Kind, Location};
use crate::index::walk::{Course, Key, Walk};
use crate::keyspace::Keyspace;
use crate::keyspace::sweep::{BATCH_KEYS, Doomed};
use crate::record::{Body, Origin, Record};
use crate::topic;
use crate::topic::floor::{decode_floor, floor_key};
use crate::topic::retention::Limits;

type Result<T> = std::result::Result<T, LevelError>;

/// What was learnt of a topic.
pub(super) struct Known {
    pub(super) floor: u64,
    /// Bytes of its records from the floor up to `weighed`.
    pub(super) bytes: u64,
    pub(super) weighed: u64,
    /// The last pass that met it.
    pub(super) pass: u64,
}

/// A topic under a look.
pub(super) struct Subject<'a> {
    pub(super) levels: &'a Levels,
    pub(super) topics: &'a BucketState,
    pub(super) watermark: u64,
    pub(super) topic: &'a str,
    pub(super) limits: Limits,
    pub(super) now_ms: u64,
}

/// What a look at a topic has found.
pub(super) enum Verdict {
    /// There is more to look at than this step may.
    Unfinished,
    /// Its records are within the limits; the oldest gets too old at this time.
    Kept { due_ms: u64 },
    /// These go, and then it is looked at again.
    Doomed(Vec<Doomed>),
}

impl Keyspace {
    /// The first key of a record at or behind `start`, tombstones included.
    pub(super) fn first_key(
        &self,
        levels: &Levels,
        topics: &BucketState,
        start: &[u8],
        watermark: u64,
    ) -> Result<Option<Key>> {
        let course = course(topics, start.to_vec(), Bound::Unbounded, watermark);
        let mut walk = Walk::new(levels, &self.log, &course)?;
        let found = walk.next(&self.log)?;
        Ok(found.map(|found| Key::from_slice(found.key)))
    }

    /// What is known of a topic, or what the index tells of one that is not known yet.
    pub(super) fn known<'a>(
        &self,
        known: &'a mut HashMap<String, Known>,
        subject: &Subject<'_>,
        pass: u64,
    ) -> Result<&'a mut Known> {
        if !known.contains_key(subject.topic) {
            let floor = self.floor_of(subject)?;
            let fresh = Known {
                floor,
                bytes: 0,
                weighed: floor,
                pass,
            };
            known.insert(subject.topic.to_owned(), fresh);
        }
        let known = known.get_mut(subject.topic).expect("it was entered above");
        known.pass = pass;
        Ok(known)
    }

    fn floor_of(&self, subject: &Subject<'_>) -> Result<u64> {
        let key = floor_key(subject.topic);
        let id = subject.topics.id;
        let hash = self.seed.hash(id, &key);
        let found = subject
            .levels
            .locate(&self.log, hash, id, &key, subject.watermark)?;
        if found.location.kind != Kind::Value {
            return Ok(0);
        }
        let record = Offset::new(found.location.record);
        let floor =
            self.log
                .with_record(record, |payload| match Record::decode(payload).ok()?.body {
                    Body::Put(put) => decode_floor(put.value),
                    _ => None,
                })?;
        // What is none is told to who reads the topic; from 0 on the records are all found.
        Ok(floor.unwrap_or(0))
    }

    /// Judges a topic by its limits.
    pub(super) fn judge_topic(
        &self,
        known: &mut Known,
        subject: &Subject<'_>,
        left: &mut usize,
    ) -> Result<Verdict> {
        if subject.limits.bytes.is_some() && !self.weigh(known, subject, left)? {
            return Ok(Verdict::Unfinished);
        }
        let mut bytes = known.bytes;
        let mut doomed = Vec::new();
        let mut doomed_bytes = 0;
        let mut due_ms = u64::MAX;
        let mut walk = self.walk_from(known.floor, subject)?;
        while let Some(found) = walk.next(&self.log)? {
            if doomed.len() == BATCH_KEYS || doomed_bytes >= BATCH_BYTES {
                break;
            }
            let location = found.location;
            let Some((_, offset)) = topic::split_key(found.key) else {
                continue;
            };
            *left = left.saturating_sub(1);
            if location.kind == Kind::Tombstone {
                continue;
            }
            let is_excess = subject.limits.bytes.is_some_and(|limit| bytes > limit);
            if !is_excess {
                let Some(ms) = subject.limits.ms else { break };
                let until_ms = self.time_ms_of(&location)?.saturating_add(ms);
                if subject.now_ms < until_ms {
                    due_ms = until_ms;
                    break;
                }
            }
            if offset < known.weighed {
                bytes = bytes.saturating_sub(location.value_bytes);
            }
            let key = Key::from_slice(found.key);
            doomed_bytes += key.len();
            doomed.push(Doomed {
                hash: self.seed.hash(subject.topics.id, &key),
                key,
                location,
            });
        }
        if doomed.is_empty() {
            return Ok(Verdict::Kept { due_ms });
        }
        Ok(Verdict::Doomed(doomed))
    }

    /// Adds up the bytes of what was appended since the last look; `false` if that is not all.
    fn weigh(&self, known: &mut Known, subject: &Subject<'_>, left: &mut usize) -> Result<bool> {
        let mut walk = self.walk_from(known.weighed, subject)?;
        while let Some(found) = walk.next(&self.log)? {
            if *left == 0 {
                return Ok(false);
            }
            *left -= 1;
            let Some((_, offset)) = topic::split_key(found.key) else {
                continue;
            };
            if found.location.kind != Kind::Tombstone {
                known.bytes = known.bytes.saturating_add(found.location.value_bytes);
            }
            known.weighed = offset + 1;
        }
        Ok(true)
    }

    fn walk_from(&self, offset: u64, subject: &Subject<'_>) -> Result<Walk> {
        let start = topic::key(subject.topic, offset);
        let end = Bound::Excluded(topic::behind(subject.topic));
        let course = course(subject.topics, start, end, subject.watermark);
        Walk::new(subject.levels, &self.log, &course)
    }

    /// When a record was appended.
    fn time_ms_of(&self, location: &Location) -> Result<u64> {
        if !location.is_moved {
            return Ok(self.log.batch_time_ms(Offset::new(location.version))?);
        }
        let moved =
            self.log.with_record(
                Offset::new(location.record),
                |payload| match Record::decode(payload).ok()?.origin {
                    Origin::Moved(moved) => Some(moved.time_ms),
                    Origin::Here { .. } => None,
                },
            )?;
        // What is not what the index says is told to who reads it; until then it is kept.
        Ok(moved.unwrap_or(u64::MAX))
    }
}

fn course(topics: &BucketState, start: Vec<u8>, end: Bound<Vec<u8>>, watermark: u64) -> Course {
    Course {
        bucket: topics.id,
        start: Bound::Included(start),
        end,
        reverse: false,
        watermark,
        archive: None,
        value_bytes_max: 0,
    }
}

/// Bytes of keys buried by one batch.
const BATCH_BYTES: usize = 16 << 10;
