//! Garbage collection: how the space of what is dead is given back.
//!
//! A *victim* is a merged segment that is at least half dead. What is alive in it is written once
//! more at the end of the log, through the same order as writes, and then the segment is dropped.
//!
//! ```text
//! choose    the merged segment below the history floor with the most dead bytes, by the counts
//!           of the merges; the floor is raised first if it is due
//! judge     every record of it, in key order; if more than half must be moved, leave it
//! move      in small batches under the sequencer: a record whose key has been written since goes
//!           out of the batch
//! sync      everything that was sequenced when the last record was judged
//! wait      until no reader holds levels from before the moves
//! drop      the segment, its run, its counts
//! ```
//!
//! # What is alive
//!
//! * The newest version of a key, if it is a value.
//! * A superseded version that can be seen at the history floor or above it. It is moved as such:
//!   who asks for the newest version skips it.
//! * A tombstone, while another retained segment may hold an older version of its key: without it
//!   an index made anew from the log would bring that version back.
//! * The creation, and the drop, of a bucket that exists, that bore its name last, or of which
//!   another retained segment holds records.
//! * The newest history floor.
//! * A piece of a large value, while `large` says so; history does not hold pieces.
//!
//! A version makes another one dead when it is sequenced; if that is lost before it is durable, so
//! is the decision: the victim goes only after a sync that covers both.
//!
//! # Bounds
//!
//! Every move frees at least as much as it writes, so merged segments take at most about twice
//! what is alive in them. A segment that was judged and left is judged again when another one has
//! been dropped or it has lost an eighth more. Only what is merged is counted, and merges come
//! before the log outgrows what they are worth.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use cairn_log::{BatchBuffer, Dropped, Durability, Offset};
use smallvec::SmallVec;

use super::Keyspace;
use super::maintain::{Maintenance, decode_state};
use super::open::control_time_ms;
use super::sweep::{BATCH_KEYS, Doomed};
use crate::error::{Error, ErrorKind, Result};
use crate::index::levels::{LevelError, Levels, key_location, run_error};
use crate::index::memtable::Memtable;
use crate::index::run::{self, Place, Run, RunFault};
use crate::index::state::{IndexState, SegmentRow};
use crate::index::versions::{Kind, Location};
use crate::record::{Body, BucketId, Moved, Origin, Record};

/// What garbage collection remembers from step to step.
#[derive(Default)]
pub(super) struct Garbage {
    /// The segment whose records are moved, and the levels that may still lead to it.
    leaving: Option<Leaving>,
    /// Segments that were judged and left: by base, the dead bytes and the drops at that time.
    left: HashMap<u64, (u64, u64)>,
    /// How many segments have been dropped.
    drops: u64,
}

struct Leaving {
    base: u64,
    number: u64,
    held_by: Vec<Weak<Levels>>,
}

/// What is to be done with a record of a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Dead,
    /// The newest version of its key.
    Current,
    /// History keeps it.
    Superseded,
    /// A piece that no value needs: it goes from the index as well.
    Forgotten,
    /// It cannot be told yet.
    Unknown,
}

/// What is to be done with a victim's records.
struct Judged {
    moves: Vec<Move>,
    forgotten: Vec<(BucketId, Doomed)>,
}

/// A record that is to be moved.
struct Move {
    place: Place,
    verdict: Verdict,
    hash: u64,
    version: u64,
}

/// A victim under judgement.
struct Trial<'a> {
    state: &'a IndexState,
    levels: &'a Arc<Levels>,
    /// The runs of all other retained segments that are sealed.
    others: Vec<Arc<Run>>,
    /// The same and the victim's, newest first.
    archive: Vec<Arc<Run>>,
    victim: Arc<Run>,
    floor: u64,
}

impl Keyspace {
    /// Does one step: gives a segment back whose records are moved, or chooses a victim and moves
    /// them. Says whether it did anything.
    pub(super) fn collect_garbage(&self, maintenance: &mut Maintenance) -> Result<bool> {
        if let Some(leaving) = &maintenance.garbage.leaving {
            if leaving
                .held_by
                .iter()
                .any(|levels| levels.strong_count() > 0)
            {
                return Ok(false);
            }
            return self.drop_leaving(maintenance);
        }
        let levels = Arc::clone(&self.levels.read());
        let Some(merged) = &levels.merged else {
            return Ok(false);
        };
        let state =
            decode_state(merged).map_err(|fault| super::maintain::merged_failure(&fault))?;
        let garbage = &maintenance.garbage;
        let floor = self.floor().max(self.floor_due(&state));
        let Some((row, dead)) = choose(&state, garbage, floor) else {
            return Ok(false);
        };
        let drops = garbage.drops;
        self.raise_floor(floor)?;
        let moved = self.move_out(maintenance, &levels, &state, &row)?;
        let garbage = &mut maintenance.garbage;
        match moved {
            Some(leaving) => garbage.leaving = Some(leaving),
            None => {
                garbage.left.insert(row.base, (dead, drops));
            }
        }
        Ok(true)
    }

    /// Notes how many victims there are, so that writers can tell whether they are too far ahead.
    pub(super) fn note_victims(&self, maintenance: &Maintenance) {
        let levels = Arc::clone(&self.levels.read());
        let state = levels.merged.as_ref().map(|merged| decode_state(merged));
        let Some(Ok(state)) = state else { return };
        let floor = self.floor().max(self.floor_due(&state));
        let count = victims(&state, &maintenance.garbage, floor).count();
        self.victims.store(count, Ordering::Relaxed);
    }

    /// Judges a victim and moves what is alive in it; `None` if that is too much.
    fn move_out(
        &self,
        maintenance: &mut Maintenance,
        levels: &Arc<Levels>,
        state: &IndexState,
        row: &SegmentRow,
    ) -> Result<Option<Leaving>> {
        let archive = self.archive(levels)?;
        let is_victim = |run: &&Arc<Run>| run.head().identity.base == row.base;
        let Some(victim) = archive.iter().find(is_victim).cloned() else {
            return Ok(None);
        };
        let sealed = levels.runs.iter().chain(&archive);
        let trial = Trial {
            state,
            levels,
            others: sealed.filter(|run| !is_victim(run)).cloned().collect(),
            archive,
            victim: Arc::clone(&victim),
            floor: self.floor(),
        };
        let judged = self.judge_victim(&trial, row.end - row.base);
        let Judged { moves, forgotten } = match judged {
            Ok(Some(judged)) => judged,
            Ok(None) => return Ok(None),
            Err(LevelError::Run { base, fault }) => {
                self.archive.lock().remove(&base);
                return self
                    .repair(maintenance, levels, LevelError::Run { base, fault })
                    .map(|_| None);
            }
            Err(error) => return self.repair(maintenance, levels, error).map(|_| None),
        };
        self.move_controls(maintenance, &trial)?;
        for batch in moves.chunks(MOVE_RECORDS) {
            self.move_batch(maintenance, &trial, batch)?;
        }
        self.forget(maintenance, levels, forgotten)?;
        // What made records dead, and what was moved, is durable before the segment goes.
        self.log.barrier()?.wait()?;
        // Readers from here on find what was moved; those from before are waited for.
        self.replace_levels(|current| Levels {
            memtables: current.memtables.clone(),
            runs: current.runs.clone(),
            merged: current.merged.clone(),
        });
        let held_by = self.superseded_levels.lock().clone();
        Ok(Some(Leaving {
            base: row.base,
            number: victim.head().identity.segment,
            held_by,
        }))
    }

    /// Logs the tombstones of pieces that no value needs.
    fn forget(
        &self,
        maintenance: &mut Maintenance,
        levels: &Arc<Levels>,
        forgotten: Vec<(BucketId, Doomed)>,
    ) -> Result<()> {
        let mut of_buckets: HashMap<BucketId, Vec<Doomed>> = HashMap::new();
        for (bucket, doomed) in forgotten {
            of_buckets.entry(bucket).or_default().push(doomed);
        }
        for bucket in self.live_buckets() {
            let id = bucket.id.pieces();
            let doomed = of_buckets.remove(&id).unwrap_or_default();
            for some in doomed.chunks(BATCH_KEYS) {
                self.bury(maintenance, levels, &bucket, id, some)?;
            }
        }
        Ok(())
    }

    fn drop_leaving(&self, maintenance: &mut Maintenance) -> Result<bool> {
        let Some(leaving) = &maintenance.garbage.leaving else {
            return Ok(false);
        };
        let base = leaving.base;
        match self.log.drop_segment(Offset::new(base)) {
            Ok(Dropped::Done) => {}
            Ok(Dropped::Pinned) => return Ok(false),
            // Neither can be: a victim is merged, and merged segments are not the newest.
            Ok(Dropped::Newest) | Err(cairn_log::Error::OutOfRange { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.archive.lock().remove(&base);
        let (vfs, directory) = (self.log.vfs().as_ref(), self.log.directory());
        // A run without its segment is never looked at; what is left is removed at the next open.
        let _ = run::remove_file(vfs, directory, leaving.number);
        maintenance.garbage.leaving = None;
        maintenance.garbage.left.remove(&base);
        maintenance.garbage.drops += 1;
        self.figures.segments_dropped.add(1);
        Ok(true)
    }

    /// The records of a victim that are to be moved, or `None` if they are more than half of it.
    fn judge_victim(
        &self,
        trial: &Trial<'_>,
        segment_bytes: u64,
    ) -> std::result::Result<Option<Judged>, LevelError> {
        let victim = &trial.victim;
        let (mut moves, mut forgotten, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut places = Vec::new();
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
                let verdict = self.judge_record(trial, bucket, &key, hash, &location)?;
                match verdict {
                    Verdict::Dead => continue,
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
                    Verdict::Unknown => return Ok(None),
                    Verdict::Current | Verdict::Superseded => {}
                }
                bytes += record_bytes + MOVED_BYTES;
                if 2 * bytes > segment_bytes {
                    return Ok(None);
                }
                moves.push(Move {
                    place: *place,
                    verdict,
                    hash,
                    version: location.version,
                });
            }
        }
        Ok(Some(Judged { moves, forgotten }))
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

    fn judge_record(
        &self,
        trial: &Trial<'_>,
        bucket: BucketId,
        key: &[u8],
        hash: u64,
        location: &Location,
    ) -> std::result::Result<Verdict, LevelError> {
        match trial.state.bucket(bucket.owner()) {
            Some(row) if row.dropped.is_some() => return Ok(Verdict::Dead),
            Some(_) => {}
            // Its creation was moved and is not merged yet: another time.
            None => return Ok(Verdict::Unknown),
        }
        let newest = trial
            .levels
            .locate(&self.log, hash, bucket, key, u64::MAX)?
            .location;
        // A tombstone that was merged is the newest version, though the index no longer says so.
        let newest = if newest.version == 0 {
            trial.ever(self, hash, bucket, key, u64::MAX)?
        } else {
            newest
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
        if newest.record == location.record {
            // Above the floor a tombstone also ends what history shows of its key.
            let is_needed = location.kind != Kind::Tombstone
                || location.version > trial.floor
                || trial.has_older(hash, bucket, key, location.version)?;
            return Ok(if is_needed {
                Verdict::Current
            } else {
                Verdict::Dead
            });
        }
        if newest.version <= trial.floor {
            return Ok(Verdict::Dead);
        }
        // The version that is seen at the floor, or this one's own moment if that is later.
        let watermark = location.version.max(trial.floor) + 1;
        let seen = trial.ever(self, hash, bucket, key, watermark)?;
        Ok(if seen.record == location.record {
            Verdict::Superseded
        } else {
            Verdict::Dead
        })
    }

    /// Writes records once more at the end of the log, but those whose key has been written since
    /// they were judged.
    fn move_batch(
        &self,
        maintenance: &mut Maintenance,
        trial: &Trial<'_>,
        moves: &[Move],
    ) -> Result<()> {
        let mut moves: Vec<&Move> = moves.iter().collect();
        while !moves.is_empty() {
            let mut batch = BatchBuffer::new();
            let mut entered = Vec::with_capacity(moves.len());
            let mut taken = 0;
            for one in &moves {
                if batch.byte_len() >= MOVE_BYTES && taken > 0 {
                    break;
                }
                entered.push(self.write_moved(&mut batch, one)?);
                taken += 1;
            }
            let (now, later) = moves.split_at(taken);
            match self.sequence_moves(trial, now, &batch, &entered)? {
                Sequenced::All => moves = later.to_vec(),
                Sequenced::NoRoom => self.make_room_for_moves(maintenance, batch.byte_len())?,
                Sequenced::Overtaken(stale) => {
                    let mut index = 0;
                    moves.retain(|_| {
                        index += 1;
                        !stale.contains(&(index - 1))
                    });
                }
            }
        }
        Ok(())
    }

    /// Adds a record to a batch as it will stand once moved.
    fn write_moved(&self, batch: &mut BatchBuffer, one: &Move) -> Result<Entered> {
        let offset = Offset::new(one.place.record);
        // Not within the read of the record: both take the same lock.
        let time_ms = match one.place.version {
            Some(version) => self.log.batch_time_ms(Offset::new(version))?,
            None => 0,
        };
        let place = batch.next_place();
        let written = self.log.with_record(offset, |payload| {
            let record = Record::decode(payload).ok()?;
            let time_ms = match record.origin {
                Origin::Here { .. } => time_ms,
                Origin::Moved(moved) => moved.time_ms,
            };
            let moved = Record {
                origin: Origin::Moved(Moved {
                    version: one.version,
                    time_ms,
                    superseded: one.verdict == Verdict::Superseded,
                }),
                ..record
            };
            let (key, location) = key_location(&moved, offset.get())?;
            batch.record(|bytes| moved.encode(bytes));
            Some(Entered {
                bucket: moved.bucket,
                key: key.to_vec(),
                location: Location {
                    record: u64::from(place),
                    ..location
                },
            })
        })?;
        written.ok_or_else(|| {
            let message = format!("the record at offset {offset} is not a key's any more");
            Error::new(ErrorKind::Corrupt, message)
        })
    }

    fn sequence_moves(
        &self,
        trial: &Trial<'_>,
        moves: &[&Move],
        batch: &BatchBuffer,
        entered: &[Entered],
    ) -> Result<Sequenced> {
        let mut sequencer = self.sequencer.lock();
        self.check_poison()?;
        let stale: BTreeSet<usize> = {
            let levels = self.levels.read();
            let active = trial.levels.active();
            let is_kept = |memtable| Arc::ptr_eq(memtable, active);
            // Without the memtable that was written to since, nobody knows what was.
            let all_stale = !levels.memtables.iter().any(is_kept);
            let mut stale = BTreeSet::new();
            for (index, (one, entered)) in moves.iter().zip(entered).enumerate() {
                let (bucket, key) = (entered.bucket, &entered.key);
                let found = levels.locate_in_memory(one.hash, bucket, key, u64::MAX);
                let is_stale = one.verdict == Verdict::Current
                    && (found.location.version > one.version
                        || (all_stale && self.is_overtaken(&levels, one, entered)?));
                if is_stale {
                    stale.insert(index);
                }
            }
            stale
        };
        if !stale.is_empty() {
            return Ok(Sequenced::Overtaken(stale));
        }
        let time_ms = self.clock.now_ms();
        let Some(appended) = self.log.try_append(batch, time_ms, Durability::Buffered)? else {
            return Ok(Sequenced::NoRoom);
        };
        self.begin_segment(&mut sequencer, &appended);
        self.publish(&sequencer, &appended, time_ms);
        drop(sequencer);
        // Readers see these versions already, so the new places are not shown before they can be
        // read.
        let (offset, base) = (appended.offset.get(), appended.segment.get());
        appended.commit.wait()?;
        self.enter_moved(moves, entered, offset, base);
        self.figures.moved_bytes.add(batch.byte_len() as u64);
        Ok(Sequenced::All)
    }

    /// Enters moves that are written into the memtable of their segment, which is still there: only
    /// who maintains takes one away, and that is us. A key that was written since its move was
    /// sequenced is left as it is: its newer version is durable before the victim goes.
    fn enter_moved(&self, moves: &[&Move], entered: &[Entered], offset: u64, base: u64) {
        let _sequencer = self.sequencer.lock();
        let levels = Arc::clone(&self.levels.read());
        let is_it = |memtable: &&Arc<Memtable>| memtable.base() == base;
        let memtable = levels.memtables.iter().find(is_it);
        let memtable = memtable.expect("no run is written meanwhile");
        for (one, entered) in moves.iter().zip(entered) {
            let location = Location {
                record: offset + entered.location.record,
                ..entered.location
            };
            let (bucket, key) = (entered.bucket, &entered.key[..]);
            let members = memtable.members(bucket);
            if one.verdict == Verdict::Superseded {
                memtable.enter_superseded(&members, bucket, one.hash, key, location);
                continue;
            }
            let newest = levels.locate_in_memory(one.hash, bucket, key, u64::MAX);
            if newest.location.version > one.version {
                continue;
            }
            let is_newer = memtable.enter(&members, bucket, one.hash, key, location);
            assert!(is_newer, "no memtable had a version of the key");
            let place = match location.kind {
                Kind::Value | Kind::Large => location.record,
                Kind::Tombstone => 0,
            };
            self.hot.outbid(one.hash, place);
        }
    }

    /// Whether a newer version of the key is anywhere; asks the disk, under the sequencer's lock,
    /// which is worth it only because it is rare.
    ///
    /// # Errors
    ///
    /// If it cannot be told: then the record must not be taken for dead, and its segment stays.
    fn is_overtaken(&self, levels: &Levels, one: &Move, entered: &Entered) -> Result<bool> {
        let newest = levels.locate(&self.log, one.hash, entered.bucket, &entered.key, u64::MAX);
        match newest {
            Ok(found) => Ok(found.location.version > one.version),
            Err(error) => Err(Error::new(ErrorKind::Io, error.to_string())),
        }
    }

    pub(super) fn make_room_for_moves(
        &self,
        maintenance: &mut Maintenance,
        bytes: usize,
    ) -> Result<()> {
        // Not `make_room`: that waits for who maintains, and that is us.
        while self.levels.read().memtables.len() > super::maintain::MEMTABLES_WAITING_MAX {
            self.write_oldest_run(maintenance)?;
        }
        self.log.make_room(bytes).map_err(Error::from)
    }

    /// Moves the records of a victim that are no key's.
    fn move_controls(&self, maintenance: &mut Maintenance, trial: &Trial<'_>) -> Result<()> {
        for &control in &trial.victim.head().controls {
            let offset = Offset::new(control);
            let time_ms = control_time_ms(&self.log, offset)?;
            let batches = self.log.with_record(offset, |payload| {
                let record = Record::decode(payload).ok()?;
                trial.moved_control(&record, control, time_ms)
            })?;
            // What cannot be read must not be taken for dead.
            let batches = batches.ok_or_else(|| {
                let message = format!("no control record stands at offset {offset}");
                Error::new(ErrorKind::Corrupt, message)
            })?;
            for batch in &batches {
                loop {
                    let mut sequencer = self.sequencer.lock();
                    if self
                        .append_control(&mut sequencer, batch, |_| {})?
                        .is_some()
                    {
                        break;
                    }
                    drop(sequencer);
                    self.make_room_for_moves(maintenance, batch.byte_len())?;
                }
            }
        }
        Ok(())
    }

    /// Logs a history floor, if it is higher than the one there is.
    fn raise_floor(&self, floor: u64) -> Result<()> {
        if floor <= self.floor() {
            return Ok(());
        }
        let mut batch = BatchBuffer::new();
        let place = batch.next_place();
        let record = Record {
            origin: Origin::Here { place },
            bucket: BucketId(0),
            body: Body::HistoryFloor { version: floor },
        };
        batch.record(|bytes| record.encode(bytes));
        let commit = loop {
            let mut sequencer = self.sequencer.lock();
            let appended = self.append_control(&mut sequencer, &batch, |_| {})?;
            drop(sequencer);
            match appended {
                Some((appended, _)) => break appended.commit,
                None => self.log.make_room(batch.byte_len())?,
            }
        };
        commit.wait()?;
        self.floor.store(floor, Ordering::Release);
        Ok(())
    }

    /// The least version that time and bytes leave to history; the first of a segment, so that the
    /// moments it leaves are all in retained ones.
    fn floor_due(&self, state: &IndexState) -> u64 {
        let now_ms = self.clock.now_ms();
        let rows = state.buckets.iter().filter(|row| row.dropped.is_none());
        let history_ms = rows
            .clone()
            .map(|row| row.options.history_ms.unwrap_or(HISTORY_MS))
            .max();
        let of_buckets: u64 = rows
            .filter_map(|row| row.options.history_bytes)
            .fold(0, u64::saturating_add);
        let live_bytes: u64 = state.segments.iter().map(|row| row.live_bytes).sum();
        let shared = (live_bytes / 4)
            .min(HISTORY_BYTES_MAX)
            .max(self.options.history_bytes_min);
        let bytes_max = shared.saturating_add(of_buckets);
        let oldest_ms = now_ms.saturating_sub(history_ms.unwrap_or(HISTORY_MS));
        let mut bytes = 0_u64;
        for row in state.segments.iter().rev() {
            bytes = bytes.saturating_add(row.superseded_bytes.max(row.dead_bytes()));
            if bytes > bytes_max || row.newest_time_ms < oldest_ms {
                let spans = self.log.segments();
                let mut behind = spans
                    .iter()
                    .filter(|span| span.base.get() >= row.end && span.base < span.end);
                return behind.next().map_or(0, |span| span.base.get());
            }
        }
        0
    }
}

impl Trial<'_> {
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
        for memtable in &self.levels.memtables {
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

    /// The batches that move a record which is no key's; none if it is dead.
    fn moved_control(
        &self,
        record: &Record<'_>,
        offset: u64,
        time_ms: u64,
    ) -> Option<Vec<BatchBuffer>> {
        let version = record.version(offset)?;
        let time_ms = match record.origin {
            Origin::Here { .. } => time_ms,
            Origin::Moved(moved) => moved.time_ms,
        };
        let lone = |body: Body<'_>, version| {
            let mut batch = BatchBuffer::new();
            let moved = Record {
                origin: Origin::Moved(Moved {
                    version,
                    time_ms,
                    superseded: false,
                }),
                bucket: record.bucket,
                body,
            };
            batch.record(|bytes| moved.encode(bytes));
            batch
        };
        let row = self.state.bucket(record.bucket);
        let holds = |run: &Arc<Run>| {
            let buckets = &run.head().buckets;
            let of = |id: BucketId| buckets.binary_search_by_key(&id.0, |one| one.bucket);
            of(record.bucket).is_ok() || of(record.bucket.pieces()).is_ok()
        };
        let is_needed = row.is_some() || self.others.iter().any(holds);
        let batches = match &record.body {
            Body::HistoryFloor { version: floor } if *floor >= self.floor => {
                vec![lone(record.body.clone(), version)]
            }
            Body::BucketCreated { .. } if is_needed => {
                let mut batches = vec![lone(record.body.clone(), version)];
                // Behind its creation, so that whoever reads the log meets both in this order.
                if let Some(dropped) = row.and_then(|row| row.dropped) {
                    batches.push(lone(Body::BucketDropped, dropped));
                }
                batches
            }
            Body::BucketDropped if is_needed => vec![lone(Body::BucketDropped, version)],
            _ => Vec::new(),
        };
        Some(batches)
    }
}

/// A record as it will stand once moved; its place counts from the start of the batch.
struct Entered {
    bucket: BucketId,
    key: Vec<u8>,
    location: Location,
}

/// How an attempt to sequence moves went.
enum Sequenced {
    All,
    NoRoom,
    /// These were written since they were judged, and nothing is sequenced.
    Overtaken(BTreeSet<usize>),
}

/// The merged segments that are worth a judgement and that history no longer reads whole, each
/// with how much seems dead in it.
fn victims(
    state: &IndexState,
    garbage: &Garbage,
    floor: u64,
) -> impl Iterator<Item = (SegmentRow, u64)> {
    // Tombstones count as dead here: the judgement tells.
    let dead_in = |row: &SegmentRow| row.dead_bytes() + row.tombstone_bytes;
    let is_due = move |(row, dead): &(SegmentRow, u64)| {
        let bytes = row.end - row.base;
        let known = garbage.left.get(&row.base);
        let is_left = known.is_some_and(|&(dead_then, drops_then)| {
            drops_then == garbage.drops && *dead < dead_then + bytes / 8
        });
        row.end <= floor && 2 * dead > bytes && !is_left
    };
    let rows = state.segments.iter().map(move |row| (*row, dead_in(row)));
    rows.filter(is_due)
}

/// The victim with the most to give back.
fn choose(state: &IndexState, garbage: &Garbage, floor: u64) -> Option<(SegmentRow, u64)> {
    // Of those that are about as dead, the oldest: what is dead in it keeps tombstones alive.
    let rank = |&(row, dead): &(SegmentRow, u64)| {
        let sixteenths = dead * 16 / (row.end - row.base).max(1);
        (sixteenths, std::cmp::Reverse(row.base))
    };
    victims(state, garbage, floor).max_by_key(rank)
}

/// How long superseded versions are kept if a bucket does not say.
const HISTORY_MS: u64 = 3_600_000;

/// The most bytes of superseded versions that the buckets of a partition share.
const HISTORY_BYTES_MAX: u64 = 64 << 20;

/// Records and bytes of one batch of moves.
const MOVE_RECORDS: usize = 512;
const MOVE_BYTES: usize = 256 << 10;

/// What a record takes more once it was moved, with its share of the batch's header.
const MOVED_BYTES: u64 = 24;

/// Records judged between looks into the run.
const JUDGED_AT_ONCE: u64 = 1_024;
