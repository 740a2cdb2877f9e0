//! Relocation: writing once more, at the end of the log, what is alive in a victim.
//!
//! In small batches through the same order as writes. A record whose key has been written since it
//! was judged is moved as a superseded one: the moment before that write can still be read. If that
//! cannot be told of a record, the step fails and the victim stays.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cairn_log::{BatchBuffer, Claim, Durability, Offset};

use super::judge::{Move, Trial, Verdict};
use crate::error::{Error, ErrorKind, Result};
use crate::index::levels::{Levels, key_location};
use crate::index::memtable::Memtable;
use crate::index::versions::Location;
use crate::keyspace::Keyspace;
use crate::keyspace::maintain::{Maintenance, postponed};
use crate::keyspace::open::{control_time_ms, damaged};
use crate::keyspace::pace::MEMTABLES_WAITING_MAX;
use crate::keyspace::read::is_hot;
use crate::keyspace::sweep::{BATCH_KEYS, Doomed};
use crate::record::{BucketId, Moved, Origin, Record};

impl Keyspace {
    /// Writes records once more at the end of the log; those whose key has been written since they
    /// were judged as superseded ones, since what was written is above the floor.
    pub(super) fn move_batch(
        &self,
        maintenance: &mut Maintenance,
        trial: &Trial<'_>,
        moves: &[Move],
    ) -> Result<()> {
        let mut moves = moves.to_vec();
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
                Sequenced::NoRoom => {
                    self.make_room_for_moves(maintenance, Claim::Collect, batch.byte_len())?
                }
                Sequenced::Overtaken(stale) => {
                    // From the back, so that the places of the others stay what they are.
                    for &index in stale.iter().rev() {
                        if entered[index].bucket.is_pieces() {
                            moves.remove(index);
                        } else {
                            moves[index].verdict = Verdict::Superseded;
                        }
                    }
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
        moves: &[Move],
        batch: &BatchBuffer,
        entered: &[Entered],
    ) -> Result<Sequenced> {
        let mut sequencer = self.sequencer.lock();
        self.check_poison()?;
        let stale: BTreeSet<usize> = {
            let levels = self.levels.read();
            // All that was written since stands in its segment or later ones, and nothing is merged
            // meanwhile.
            let since = trial.levels.active().base();
            let mut stale = BTreeSet::new();
            for (index, (one, entered)) in moves.iter().zip(entered).enumerate() {
                if one.verdict == Verdict::Current
                    && self.is_overtaken(&levels, since, one, entered)?
                {
                    stale.insert(index);
                }
            }
            stale
        };
        if !stale.is_empty() {
            return Ok(Sequenced::Overtaken(stale));
        }
        let time_ms = self.clock.now_ms();
        // On a full disk, what a recovery must copy after a crash is kept short.
        let durability = if self.log.is_disk_full() {
            Durability::Local
        } else {
            Durability::Buffered
        };
        let appended = self
            .log
            .try_append_claiming(Claim::Collect, batch, time_ms, durability)?;
        let Some(appended) = appended else {
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
    /// who maintains takes one away, and that is us. A version that was overtaken since its move was
    /// sequenced is superseded here, although its record does not say so: that stands before the
    /// newer one in the log.
    fn enter_moved(&self, moves: &[Move], entered: &[Entered], offset: u64, base: u64) {
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
                if !bucket.is_pieces() {
                    memtable.enter_superseded(&members, bucket, one.hash, key, location);
                }
                continue;
            }
            let is_newer = memtable.enter(&members, bucket, one.hash, key, location);
            assert!(is_newer, "no memtable had a version of the key");
            let place = if is_hot(&location) {
                location.record
            } else {
                0
            };
            self.hot.outbid(one.hash, place);
        }
    }

    /// Whether a newer version of the key stands in the segments from `since` on. Asks the disk, under
    /// the sequencer's lock, only for what a run of those seems to know.
    ///
    /// # Errors
    ///
    /// If it cannot be told: then the record must not be taken for dead, and its segment stays.
    fn is_overtaken(
        &self,
        levels: &Levels,
        since: u64,
        one: &Move,
        entered: &Entered,
    ) -> Result<bool> {
        let (bucket, key) = (entered.bucket, &entered.key);
        match levels.locate_since(&self.log, since, one.hash, bucket, key) {
            Ok(newest) => Ok(newest.version > one.version),
            Err(error) => Err(Error::new(ErrorKind::Io, error.to_string())),
        }
    }

    /// Makes room for what who maintains writes to the log.
    pub(in crate::keyspace) fn make_room_for_moves(
        &self,
        maintenance: &mut Maintenance,
        claim: Claim,
        bytes: usize,
    ) -> Result<()> {
        // Not `make_room`: that waits for who maintains, and that is us.
        while self.levels.read().memtables.len() > MEMTABLES_WAITING_MAX {
            // On a full disk more of them wait: there are not many segments to come.
            if !postponed(self.write_oldest_run(maintenance))? {
                break;
            }
        }
        self.log
            .make_room_claiming(claim, bytes)
            .map_err(Error::from)
    }

    /// Moves the records of a victim that are no key's.
    pub(super) fn move_controls(
        &self,
        maintenance: &mut Maintenance,
        trial: &Trial<'_>,
    ) -> Result<()> {
        for &control in &trial.victim.head().controls {
            let offset = Offset::new(control);
            let time_ms = control_time_ms(&self.log, offset)?;
            let moved = self.log.with_record(offset, |payload| {
                trial.moved_control(Record::decode(payload)?, control, time_ms)
            })?;
            // What cannot be read must not be taken for dead.
            let Some(batch) = moved.map_err(|malformed| damaged(&self.log, offset, malformed))?
            else {
                continue;
            };
            loop {
                let mut sequencer = self.sequencer.lock();
                if self
                    .append_control(&mut sequencer, Claim::Collect, &batch, |_, _| {})?
                    .is_some()
                {
                    break;
                }
                drop(sequencer);
                self.make_room_for_moves(maintenance, Claim::Collect, batch.byte_len())?;
            }
        }
        Ok(())
    }

    /// Logs the tombstones of pieces that no value needs.
    pub(super) fn forget(
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
                self.bury(maintenance, levels, &bucket, id, some, Claim::Collect)?;
            }
        }
        Ok(())
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

/// Records and bytes of one batch of moves.
pub(super) const MOVE_RECORDS: usize = 512;
const MOVE_BYTES: usize = 256 << 10;
