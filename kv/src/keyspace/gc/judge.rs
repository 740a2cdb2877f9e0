//! The judgement of a victim: what of it is alive. The rules stand in the parent module.
//!
//! Every record is read and asked for in all levels, memtables included, so a verdict knows what
//! was sequenced up to now, whatever the counts of the merges say. What cannot be told is an error,
//! never a death.

use std::sync::Arc;

use cairn_log::{BatchBuffer, Offset};
use smallvec::SmallVec;

use crate::index::levels::{LevelError, Levels, complete, key_location, run_error};
use crate::index::merged::Entry;
use crate::index::run::{Place, Run, RunFault};
use crate::index::state::IndexState;
use crate::index::versions::{Kind, Location};
use crate::keyspace::Keyspace;
use crate::keyspace::sweep::Doomed;
use crate::record::{Body, BucketId, Malformed, Moved, Origin, Record};
use crate::snapshot::pins::Pinned;

/// What is to be done with a record of a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Dead,
    /// The newest version of its key.
    Current,
    /// History or a snapshot keeps it.
    Superseded,
    /// A piece that no value needs: it goes from the index as well.
    Forgotten,
}

/// What becomes of a victim.
pub(super) enum Judgement {
    /// It goes, once these are done.
    Goes(Judged),
    /// More of it would have to be moved than it is worth. Of that, snapshots alone hold at least so many
    /// bytes.
    Stays { held_bytes: u64 },
}

/// What is to be done with a victim's records.
pub(super) struct Judged {
    pub(super) moves: Vec<Move>,
    pub(super) forgotten: Vec<(BucketId, Doomed)>,
}

/// A record that is to be moved.
#[derive(Clone)]
pub(super) struct Move {
    pub(super) place: Place,
    pub(super) verdict: Verdict,
    pub(super) hash: u64,
    pub(super) version: u64,
}

/// A victim under judgement.
pub(super) struct Trial<'a> {
    pub(super) state: &'a IndexState,
    pub(super) levels: &'a Arc<Levels>,
    /// The runs of all other retained segments that are sealed.
    pub(super) others: Vec<Arc<Run>>,
    /// The same and the victim's, newest first.
    pub(super) archive: Vec<Arc<Run>>,
    pub(super) victim: Arc<Run>,
    pub(super) floor: u64,
    /// What snapshots hold. Those taken later are above the floor, as is whatever supersedes what
    /// they show.
    pub(super) pinned: Pinned,
}

impl Keyspace {
    /// Judges every record of a victim, until it is clear that more than `most_bytes` of it stay.
    pub(super) fn judge_victim(
        &self,
        trial: &Trial<'_>,
        most_bytes: u64,
    ) -> std::result::Result<Judgement, LevelError> {
        let victim = &trial.victim;
        let (mut moves, mut forgotten) = (Vec::new(), Vec::new());
        let (mut bytes, mut held_bytes) = (0, 0);
        #[cfg(test)]
        let mut tombstones = 0;
        let mut places = Vec::new();
        let mut walked = Walked::new();
        let mut next = 0;
        while next < victim.len() {
            let end = (next + JUDGED_AT_ONCE).min(victim.len());
            places.clear();
            victim
                .in_key_order_range(next..end, &mut places)
                .map_err(|fault| run_error(victim, fault))?;
            next = end;
            for place in &places {
                let (key, bucket, location, record_bytes) = self.read_record(victim, place)?;
                let hash = self.seed.hash(bucket, &key);
                let newer = walked.step(bucket, &key, location.version);
                let verdict = self.judge_record(trial, bucket, &key, hash, &location, newer)?;
                match verdict {
                    Verdict::Dead => {
                        #[cfg(test)]
                        if location.kind == Kind::Tombstone {
                            tombstones += 1;
                        }
                        continue;
                    }
                    Verdict::Forgotten => {
                        let key = SmallVec::from_slice(&key);
                        let doomed = Doomed {
                            key,
                            hash,
                            location,
                        };
                        forgotten.push((bucket, doomed));
                        continue;
                    }
                    Verdict::Current | Verdict::Superseded => {}
                }
                bytes += record_bytes + MOVED_BYTES;
                if trial.is_held(self, hash, bucket, &key, verdict, &location)? {
                    // As it would stand once moved, so that what fills half is half.
                    held_bytes += record_bytes + MOVED_BYTES;
                }
                if bytes > most_bytes {
                    return Ok(Judgement::Stays { held_bytes });
                }
                moves.push(Move {
                    place: *place,
                    verdict,
                    hash,
                    version: location.version,
                });
            }
        }
        #[cfg(test)]
        self.figures.tombstones_dropped.add(tombstones);
        Ok(Judgement::Goes(Judged { moves, forgotten }))
    }

    fn read_record(
        &self,
        victim: &Run,
        place: &Place,
    ) -> std::result::Result<(Vec<u8>, BucketId, Location, u64), LevelError> {
        let read = self.log.with_record(Offset::new(place.record), |payload| {
            let record = Record::decode(payload).ok()?;
            let (key, location) = key_location(&record, place.record)?;
            Some((key.to_vec(), record.bucket, location, payload.len() as u64))
        })?;
        read.ok_or_else(|| {
            let what = format!("no key's record stands at offset {}", place.record);
            run_error(victim, RunFault::Damaged(what))
        })
    }

    /// The verdict on a record. `newer`: a version of its key that the victim holds as well, or 0.
    fn judge_record(
        &self,
        trial: &Trial<'_>,
        bucket: BucketId,
        key: &[u8],
        hash: u64,
        location: &Location,
        newer: u64,
    ) -> std::result::Result<Verdict, LevelError> {
        let row = trial.state.bucket(bucket.owner());
        if row.is_some_and(|row| row.dropped.is_some()) {
            return Ok(Verdict::Dead);
        }
        let moment = trial.first_moment(bucket, location.version);
        let is_shown = |version| location.version < version && version <= moment;
        // All but one of a key's versions die here, unless snapshots show more, so that what is asked
        // of the levels below does not grow with the square of them.
        if is_shown(newer) {
            return Ok(Verdict::Dead);
        }
        #[cfg(test)]
        self.figures.asked_of_levels.add(1);
        let levels = trial.levels;
        let merged = levels.merged_entry(hash, bucket, key)?;
        // Most are dead, and most of those by what is merged; the version of what was moved is not
        // kept there.
        let is_dead = |entry: &Entry| is_shown(entry.version);
        if !bucket.is_pieces() && merged.as_ref().is_some_and(is_dead) {
            return Ok(Verdict::Dead);
        }
        let unmerged = levels.locate_unmerged(&self.log, hash, bucket, key, u64::MAX)?;
        let newest = match merged {
            _ if unmerged.location.version != 0 => unmerged.location,
            Some(entry) => complete(&self.log, entry)?,
            // A tombstone that was merged is the newest version, though the index no longer says so.
            None => trial.ever(self, hash, bucket, key, u64::MAX)?,
        };
        if bucket.is_pieces() && newest.record != location.record {
            return Ok(Verdict::Dead);
        }
        if bucket.is_pieces() && location.kind == Kind::Value {
            // What cannot be told stays.
            let is_live = self.is_piece_live(bucket, key).unwrap_or(true);
            return Ok(if is_live {
                Verdict::Current
            } else {
                Verdict::Forgotten
            });
        }
        let verdict = if newest.record == location.record {
            Verdict::Current
        } else {
            // If it is not seen at the first moment that can be read, it is at none.
            if newest.version <= moment {
                return Ok(Verdict::Dead);
            }
            let (archive, log) = (&trial.archive, &self.log);
            let seen =
                levels.locate_from(*location, archive, log, hash, bucket, key, moment + 1)?;
            if seen.record != location.record {
                return Ok(Verdict::Dead);
            }
            Verdict::Superseded
        };
        let is_needed = location.kind != Kind::Tombstone
            // Above the floor a tombstone also ends what history shows of its key.
            || location.version > trial.floor
            || trial.has_older(hash, bucket, key, location.version)?
            || trial.hides_pinned(self, hash, bucket, key, location.version)?;
        Ok(if is_needed { verdict } else { Verdict::Dead })
    }
}

/// Where a walk through a victim in key order stands.
struct Walked {
    bucket: BucketId,
    key: Vec<u8>,
    version: u64,
}

impl Walked {
    /// Before the first record.
    fn new() -> Walked {
        Walked {
            bucket: BucketId(0),
            key: Vec::new(),
            version: 0,
        }
    }

    /// Goes on to a record; the version of the one before if that is of the same key, otherwise 0.
    fn step(&mut self, bucket: BucketId, key: &[u8], version: u64) -> u64 {
        let before = std::mem::replace(&mut self.version, version);
        if self.bucket == bucket && self.key == key {
            return before;
        }
        self.bucket = bucket;
        key.clone_into(&mut self.key);
        0
    }
}

impl Trial<'_> {
    /// The first moment from `version` on that can be read: a snapshot's, or one of history.
    fn first_moment(&self, bucket: BucketId, version: u64) -> u64 {
        let of_history = version.max(self.floor);
        let of_snapshot = self.pinned.least_from(bucket, version);
        of_snapshot.map_or(of_history, |moment| moment.min(of_history))
    }

    /// Whether a snapshot shows an older version of a key, perhaps one of the victim, which will be
    /// moved: then a tombstone is needed for later moments.
    fn hides_pinned(
        &self,
        keyspace: &Keyspace,
        hash: u64,
        bucket: BucketId,
        key: &[u8],
        version: u64,
    ) -> std::result::Result<bool, LevelError> {
        let Some(moment) = self.pinned.greatest_below(bucket, version) else {
            return Ok(false);
        };
        let shown = self.ever(keyspace, hash, bucket, key, moment + 1)?;
        Ok(shown.version != 0)
    }

    /// Whether a record that stays does so at least for a snapshot, and so until one is removed. A
    /// tombstone that only hides what another segment holds does not: that may go before.
    fn is_held(
        &self,
        keyspace: &Keyspace,
        hash: u64,
        bucket: BucketId,
        key: &[u8],
        verdict: Verdict,
        location: &Location,
    ) -> std::result::Result<bool, LevelError> {
        let version = location.version;
        let is_tombstone = location.kind == Kind::Tombstone;
        let is_seen = match verdict {
            Verdict::Superseded => {
                let least = self.pinned.least_from(bucket, version);
                least.is_some_and(|moment| moment <= version.max(self.floor))
            }
            Verdict::Current => is_tombstone,
            Verdict::Dead | Verdict::Forgotten => false,
        };
        let hides = || self.hides_pinned(keyspace, hash, bucket, key, version);
        Ok(is_seen && (!is_tombstone || hides()?))
    }

    fn ever(
        &self,
        keyspace: &Keyspace,
        hash: u64,
        bucket: BucketId,
        key: &[u8],
        watermark: u64,
    ) -> std::result::Result<Location, LevelError> {
        let archive = &self.archive;
        let log = &keyspace.log;
        self.levels
            .locate_ever(archive, log, hash, bucket, key, watermark)
    }

    /// Whether another retained segment may hold an older version of a key.
    fn has_older(
        &self,
        hash: u64,
        bucket: BucketId,
        key: &[u8],
        version: u64,
    ) -> std::result::Result<bool, LevelError> {
        // None of them is retired meanwhile: only who holds the maintenance lock retires one, and
        // that is who judges. What was sequenced since is newer anyway.
        for memtable in &self.levels.memtables {
            debug_assert!(memtable.run().is_none(), "a memtable retired under a trial");
            if memtable.locate_ever(hash, bucket, key, version).version != 0 {
                return Ok(true);
            }
        }
        for run in &self.others {
            let may = run.may_hold_below(hash, version);
            if may.map_err(|fault| run_error(run, fault))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The batch that moves a record which is no key's; none if it is dead.
    pub(super) fn moved_control(
        &self,
        record: Record<'_>,
        offset: u64,
        time_ms: u64,
    ) -> std::result::Result<Option<BatchBuffer>, Malformed> {
        match &record.body {
            Body::BucketCreated { .. } | Body::BucketDropped => {}
            Body::HistoryFloor { version } if *version >= self.floor => {}
            Body::HistoryFloor { .. } => return Ok(None),
            Body::Put(_) | Body::LargePut(_) | Body::Delete { .. } => {
                return Err(Malformed("it belongs to a key, which the index denies"));
            }
        }
        let version = record
            .version(offset)
            .ok_or(Malformed("it says that it stands elsewhere"))?;
        let time_ms = match record.origin {
            Origin::Here { .. } => time_ms,
            Origin::Moved(moved) => moved.time_ms,
        };
        let moved = Record {
            origin: Origin::Moved(Moved {
                version,
                time_ms,
                superseded: false,
            }),
            ..record
        };
        let mut batch = BatchBuffer::new();
        batch.record(|bytes| moved.encode(bytes));
        Ok(Some(batch))
    }
}

/// What a record takes more once it was moved, with its share of the batch's header.
const MOVED_BYTES: u64 = 24;

/// Records judged between looks into the run.
const JUDGED_AT_ONCE: u64 = 1_024;
