//! The sweep: tombstones for keys whose deadline has passed.
//!
//! To readers such a key is absent from its deadline on; the tombstone makes it so for the log, the
//! digest, the counts and whoever watches. A *pass* walks all keys in small steps and notes the
//! next deadline, before which no other pass begins. A key is swept only if the version that
//! expired is still the newest when the tombstone is sequenced.
//!
//! # Cost
//!
//! One pass some seconds after an open learns whether there are deadlines at all; a partition
//! without any is not walked again. A pass costs some tens of nanoseconds a merged key without a
//! deadline and a read of the record for others; passes are at least a second, and twenty times
//! their own duration, apart.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use cairn_log::{BatchBuffer, Claim, Durability};

use super::Keyspace;
use super::maintain::Maintenance;
use crate::bucket::state::BucketState;
use crate::error::Result;
use crate::index::levels::{LevelError, Levels};
use crate::index::versions::{Kind, Location};
use crate::index::walk::{Course, Key, Walk};
use crate::record::{Body, BucketId, Origin, Record};

/// Where a pass stands.
pub(super) struct Pass {
    buckets: Vec<Arc<BucketState>>,
    course: Option<Course>,
    /// The least deadline met that has not passed.
    next_deadline_ms: u64,
    began: Instant,
    /// By the store's clock.
    began_ms: u64,
}

/// How long the next pass waits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rest {
    until_ms: u64,
}

impl Rest {
    /// What a store that was opened at this time takes before it looks for deadlines.
    pub(super) fn after_open(now_ms: u64) -> Rest {
        Rest {
            until_ms: now_ms.saturating_add(FIRST_REST_MS),
        }
    }

    /// What follows a pass that began then and ended at this time by the store's clock.
    pub(super) fn after_pass(began: Instant, now_ms: u64) -> Rest {
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let rest_ms = took.saturating_mul(REST_FACTOR).max(REST_MS_MIN);
        Rest {
            until_ms: now_ms.saturating_add(rest_ms),
        }
    }

    pub(super) fn is_over(self, now_ms: u64) -> bool {
        self.until_ms <= now_ms
    }
}

/// A key that is to get a tombstone, unless it is written meanwhile.
pub(super) struct Doomed {
    pub(super) key: Key,
    pub(super) hash: u64,
    pub(super) location: Location,
}

impl Keyspace {
    /// Notes a deadline that was given to a key.
    pub(super) fn note_deadline(&self, deadline_ms: u64) {
        if deadline_ms != 0 {
            self.next_deadline_ms
                .fetch_min(deadline_ms, Ordering::Relaxed);
        }
    }

    /// Looks at some more keys, if a deadline may have passed. Says whether it did anything.
    pub(super) fn sweep(&self, maintenance: &mut Maintenance) -> Result<bool> {
        let now_ms = self.clock.now_ms();
        let mut pass = match maintenance.pass.take() {
            Some(pass) => pass,
            None => {
                let due = self.next_deadline_ms.load(Ordering::Relaxed);
                if now_ms < due || !maintenance.rest.is_over(now_ms) {
                    return Ok(false);
                }
                // Deadlines given from here on are met by the next pass.
                self.next_deadline_ms.store(u64::MAX, Ordering::Relaxed);
                Pass {
                    buckets: self.live_buckets(),
                    course: None,
                    next_deadline_ms: u64::MAX,
                    began: Instant::now(),
                    began_ms: now_ms,
                }
            }
        };
        match self.sweep_some(maintenance, &mut pass, now_ms) {
            Ok(true) => maintenance.pass = Some(pass),
            Ok(false) => {
                self.note_deadline(pass.next_deadline_ms);
                maintenance.rest = Rest::after_pass(pass.began, pass.began_ms.max(now_ms));
            }
            Err(error) => {
                self.note_deadline(now_ms);
                return Err(error);
            }
        }
        Ok(true)
    }

    /// Sweeps a step's keys; says whether the pass has more before it.
    fn sweep_some(
        &self,
        maintenance: &mut Maintenance,
        pass: &mut Pass,
        now_ms: u64,
    ) -> Result<bool> {
        let (levels, watermark) = {
            let levels = self.levels.read();
            (Arc::clone(&levels), self.settled())
        };
        let mut left = STEP_KEYS;
        while let Some(bucket) = pass.buckets.last().cloned() {
            let mut course = pass.course.take().unwrap_or_else(|| whole(bucket.id));
            course.watermark = watermark;
            let (expired, ended) =
                self.find_expired(maintenance, &levels, &mut course, now_ms, &mut left, pass)?;
            for some in expired.chunks(BATCH_KEYS) {
                let claim = Claim::Delete;
                self.bury(maintenance, &levels, &bucket, bucket.id, some, claim)?;
            }
            if ended {
                pass.buckets.pop();
            } else {
                pass.course = Some(course);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Walks on through a bucket; says whether it is at its end.
    fn find_expired(
        &self,
        maintenance: &mut Maintenance,
        levels: &Arc<Levels>,
        course: &mut Course,
        now_ms: u64,
        left: &mut usize,
        pass: &mut Pass,
    ) -> Result<(Vec<Doomed>, bool)> {
        let bucket = course.bucket;
        let find = |levels: &Levels| -> std::result::Result<_, LevelError> {
            let mut found = Vec::new();
            let mut next_deadline_ms = u64::MAX;
            let mut walk = Walk::new(levels, &self.log, course)?;
            let mut walked = 0;
            let mut last = None;
            let ended = loop {
                if walked >= *left {
                    break false;
                }
                let Some(next) = walk.next(&self.log)? else {
                    break true;
                };
                let (key, location) = (Key::from_slice(next.key), next.location);
                walked += 1;
                if location.kind != Kind::Tombstone && location.expires_ms != 0 {
                    if location.expires_ms <= now_ms {
                        let hash = self.seed.hash(bucket, &key);
                        let key = key.clone();
                        found.push(Doomed {
                            key,
                            hash,
                            location,
                        });
                    } else {
                        next_deadline_ms = next_deadline_ms.min(location.expires_ms);
                    }
                }
                last = Some(key);
            };
            Ok((found, next_deadline_ms, walked, last, ended))
        };
        let (found, next_deadline_ms, walked, last, ended) = match find(levels) {
            Ok(found) => found,
            Err(error) => {
                // The next step goes on from here.
                *left = 0;
                self.repair(maintenance, levels, error)?;
                return Ok((Vec::new(), false));
            }
        };
        *left -= walked.min(*left);
        pass.next_deadline_ms = pass.next_deadline_ms.min(next_deadline_ms);
        if let Some(last) = last {
            course.go_on_behind(&last);
        }
        Ok((found, ended))
    }

    /// Logs the tombstones of keys of a bucket, or of its pieces, but of those written since they
    /// were found in `levels`.
    pub(super) fn bury(
        &self,
        maintenance: &mut Maintenance,
        levels: &Arc<Levels>,
        bucket: &Arc<BucketState>,
        id: BucketId,
        doomed: &[Doomed],
        claim: Claim,
    ) -> Result<()> {
        let mut expired: Vec<&Doomed> = doomed.iter().collect();
        while !expired.is_empty() {
            let mut batch = BatchBuffer::new();
            let mut places = Vec::with_capacity(expired.len());
            for one in &expired {
                let place = batch.next_place();
                let body = Body::Delete {
                    key: &one.key,
                    expired: !id.is_pieces(),
                };
                let record = Record {
                    origin: Origin::Here { place },
                    bucket: id,
                    body,
                };
                batch.record(|bytes| record.encode(bytes));
                places.push(u64::from(place));
            }
            let mut sequencer = self.sequencer.lock();
            self.check_poison()?;
            if bucket.dropped().is_some() {
                return Ok(());
            }
            let before = expired.len();
            {
                let current = self.levels.read();
                let active = levels.active();
                let is_kept = |memtable| Arc::ptr_eq(memtable, active);
                if !current.memtables.iter().any(is_kept) {
                    // Nobody knows any more what was written since: the next pass looks again.
                    self.note_deadline(self.clock.now_ms());
                    return Ok(());
                }
                expired.retain(|one| {
                    let newest = current.locate_in_memory(one.hash, id, &one.key, u64::MAX);
                    newest.location.version <= one.location.version
                });
            }
            if expired.len() < before {
                continue;
            }
            let time_ms = self.clock.now_ms();
            let durability = Durability::Buffered;
            let appended = self
                .log
                .try_append_claiming(claim, &batch, time_ms, durability)?;
            let Some(appended) = appended else {
                drop(sequencer);
                self.make_room_for_moves(maintenance, claim, batch.byte_len())?;
                continue;
            };
            self.begin_segment(&mut sequencer, &appended);
            let members = sequencer.members(id);
            let version = appended.offset.get();
            for (one, place) in expired.iter().zip(&places) {
                let tombstone = Location {
                    version,
                    record: version + place,
                    ..Location::NONE
                };
                let memtable = &sequencer.memtable;
                let entered = memtable.enter(&members, id, one.hash, &one.key, tombstone);
                assert!(entered, "the log hands out offsets in order");
                self.hot.outbid(one.hash, 0);
            }
            if !id.is_pieces() {
                bucket.written_at(version);
                self.figures.keys_expired.add(expired.len() as u64);
            }
            self.publish(&sequencer, &appended, time_ms);
            return Ok(());
        }
        Ok(())
    }
}

fn whole(bucket: BucketId) -> Course {
    Course {
        bucket,
        start: Bound::Unbounded,
        end: Bound::Unbounded,
        reverse: false,
        watermark: 0,
        archive: None,
        value_bytes_max: 0,
    }
}

/// Keys looked at in one step.
const STEP_KEYS: usize = 16_384;

/// Keys buried by one batch.
pub(super) const BATCH_KEYS: usize = 512;

/// The first pass begins this long after an open.
const FIRST_REST_MS: u64 = 5_000;

/// Passes are this much apart at least, and this many times their own duration.
const REST_MS_MIN: u64 = 1_000;
const REST_FACTOR: u64 = 20;
