//! The order of a write.
//!
//! ```text
//! encode, checksum        no lock: `Draft`
//! look up older levels    no lock: only for conditions and deletes
//! lock the sequencer
//!   bucket still there?   a removed one refuses
//!   conditions            against the newest sequenced version of each key, durable or not
//!   scanned ranges        against the keys written since, which were noted: `recent`
//!   append                the log gives the batch its place; no room -> unlock, make room, again
//!   apply                 versions into the memtable, `applied` moves
//! unlock
//! commit                  the caller waits, polls or drops
//! ```
//!
//! Once the log has given a batch its place, only poison or a crash can stop it: everything that
//! can be refused is refused before.
//!
//! # Refusals
//!
//! A refusal, and a delete of an absent key, rest on the version that caused them, which may not
//! be durable yet. They are answered once it is, by a barrier of the log that leads a sync if it
//! must; if it is lost they turn into `Poisoned`. Who asked for `Buffered` is answered at once.

mod draft;
mod judge;
mod topic;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use cairn_log::Appended;

pub(super) use self::draft::Draft;
use self::draft::ENTRIES_AHEAD;
use self::judge::Judging;
pub(crate) use self::topic::Placed;
use super::read::is_hot;
use super::{Keyspace, Sequencer};
use crate::batch::{Expect, OperationRef};
use crate::bucket::state::BucketState;
use crate::commit::{Commit, Receipt, Then};
use crate::error::{Error, ErrorKind, Result};
use crate::index::levels::Levels;
use crate::index::members::Members;
use crate::index::memtable::Memtable;
use crate::index::versions::Location;
use crate::record::BucketId;
use crate::transaction::scanned::Scanned;
use crate::version::{Durability, Version};

/// What must hold of a key for a write to happen.
pub(crate) type Condition<'a> = (&'a [u8], &'a Expect);

impl Keyspace {
    /// Orders one atomic write. What it holds has been checked at the door.
    ///
    /// Cost: encoding and checksums without a lock, then a few hundred nanoseconds an operation
    /// under the sequencer's. Blocks on the disk only if the log's segment is full.
    ///
    /// # Errors
    ///
    /// Refusals that are durable already (or that a `Buffered` caller gets at once); `DiskFull`,
    /// `Poisoned`. Other refusals come from the commit.
    pub(crate) fn submit<'a>(
        self: &Arc<Self>,
        bucket: &Arc<BucketState>,
        operations: impl ExactSizeIterator<Item = OperationRef<'a>>,
        conditions: impl Iterator<Item = Condition<'a>> + Clone,
        durability: Durability,
    ) -> Result<Commit> {
        self.submit_to(bucket.id, bucket, operations, conditions, durability)
    }

    /// [`Keyspace::submit`] to `bucket` itself or, if `id` is that one's, to its internal bucket.
    pub(crate) fn submit_to<'a>(
        self: &Arc<Self>,
        id: BucketId,
        bucket: &Arc<BucketState>,
        operations: impl ExactSizeIterator<Item = OperationRef<'a>>,
        conditions: impl Iterator<Item = Condition<'a>> + Clone,
        durability: Durability,
    ) -> Result<Commit> {
        let draft = Draft::encode(id, operations, &self.clock, self.seed);
        let outcome = self
            .check_size(&draft)
            .and_then(|()| self.sequence(bucket, &draft, conditions, None, durability));
        draft.recycle();
        outcome
    }

    /// [`Keyspace::submit`] of a transaction: what it has read of single keys are the conditions.
    pub(crate) fn submit_transaction<'a>(
        self: &Arc<Self>,
        bucket: &Arc<BucketState>,
        operations: impl ExactSizeIterator<Item = OperationRef<'a>>,
        conditions: impl Iterator<Item = Condition<'a>> + Clone,
        scanned: &'a Scanned,
        durability: Durability,
    ) -> Result<Commit> {
        let draft = Draft::encode(bucket.id, operations, &self.clock, self.seed);
        let scanned = Some(scanned);
        let outcome = self
            .check_size(&draft)
            .and_then(|()| self.sequence(bucket, &draft, conditions, scanned, durability));
        draft.recycle();
        outcome
    }

    /// [`Keyspace::submit`], unless it would have to wait; `None` then.
    pub(crate) fn try_submit<'a>(
        self: &Arc<Self>,
        bucket: &Arc<BucketState>,
        operations: impl ExactSizeIterator<Item = OperationRef<'a>>,
        conditions: impl Iterator<Item = Condition<'a>> + Clone,
        durability: Durability,
    ) -> Result<Option<Commit>> {
        if self.is_full() {
            return Ok(None);
        }
        let draft = Draft::encode(bucket.id, operations, &self.clock, self.seed);
        let outcome = self.check_size(&draft).and_then(|()| {
            let hashes = conditions
                .clone()
                .map(|(key, _)| self.seed.hash(bucket.id, key));
            let deletes = draft.entries.iter().filter(|entry| entry.is_delete());
            let mut hashes = hashes.chain(deletes.map(|entry| entry.hash));
            let levels = Arc::clone(&self.levels.read());
            // A key that is in a memtable as well is asked for on disk without need: it is rare.
            if levels.has_older() && hashes.any(|hash| levels.may_hold_on_disk(hash)) {
                return Ok(None);
            }
            let judging = self.look_up(bucket.id, &draft, conditions.clone(), None)?;
            match self.try_sequence(bucket, &draft, &judging, durability)? {
                Attempt::Answered(commit) => Ok(Some(commit)),
                Attempt::NoRoom | Attempt::Overtaken => Ok(None),
            }
        });
        draft.recycle();
        outcome
    }

    fn check_size(&self, draft: &Draft<'_>) -> Result<()> {
        let (bytes, bytes_max) = (draft.buffer.byte_len(), self.log.batch_bytes_max());
        if bytes <= bytes_max {
            return Ok(());
        }
        let message = format!("a batch of {bytes} bytes; a segment of the log takes {bytes_max}");
        Err(Error::new(ErrorKind::BatchTooLarge, message))
    }

    fn sequence<'a>(
        self: &Arc<Self>,
        bucket: &Arc<BucketState>,
        draft: &Draft<'a>,
        conditions: impl Iterator<Item = Condition<'a>> + Clone,
        scanned: Option<&'a Scanned>,
        durability: Durability,
    ) -> Result<Commit> {
        let claim = draft.claim();
        self.seal_if_full(claim)?;
        loop {
            let judging = self.look_up(draft.bucket, draft, conditions.clone(), scanned)?;
            match self.try_sequence(bucket, draft, &judging, durability)? {
                Attempt::Answered(commit) => return Ok(commit),
                Attempt::NoRoom => {
                    // Room may come of a segment that these levels lead to.
                    drop(judging);
                    self.make_room(claim, draft.buffer.byte_len())?;
                }
                Attempt::Overtaken => {}
            }
        }
    }

    fn try_sequence(
        self: &Arc<Self>,
        bucket: &Arc<BucketState>,
        draft: &Draft<'_>,
        judging: &Judging<'_>,
        durability: Durability,
    ) -> Result<Attempt> {
        let mut sequencer = self.sequencer.lock();
        // Wanted once the log has the batch.
        draft.prefetch(&sequencer.memtable, &self.hot, 0);
        self.check_poison()?;
        if let Some(version) = bucket.dropped() {
            drop(sequencer);
            let refusal = Error::bucket_not_found(bucket.name.as_str());
            return self
                .refuse(refusal, version, durability)
                .map(Attempt::Answered);
        }
        let now_ms = self.clock.now_ms();
        let Some(judged) = self.judge(draft.bucket, judging, now_ms) else {
            return Ok(Attempt::Overtaken);
        };
        if let Some(refusal) = judged.refusal {
            drop(sequencer);
            return self
                .refuse(refusal, judged.cause, durability)
                .map(Attempt::Answered);
        }
        if !draft.has_puts && !judged.existed {
            drop(sequencer);
            return self
                .unchanged(judged.cause, durability)
                .map(Attempt::Answered);
        }
        let appended = self.log.try_append_claiming(
            draft.claim(),
            &draft.buffer,
            now_ms,
            durability.into(),
        )?;
        let Some(appended) = appended else {
            return Ok(Attempt::NoRoom);
        };
        self.apply(&mut sequencer, bucket, draft, &appended, now_ms);
        drop(sequencer);
        let receipt = Receipt {
            version: Version::new(appended.offset.get()),
            durability,
            existed: judged.existed,
        };
        let commit = Commit::pending(appended.commit, Then::Written(receipt));
        Ok(Attempt::Answered(commit))
    }

    /// Enters a batch into the memtable.
    pub(super) fn apply(
        &self,
        sequencer: &mut Sequencer,
        bucket: &Arc<BucketState>,
        draft: &Draft<'_>,
        appended: &Appended,
        time_ms: u64,
    ) {
        let version = appended.offset.get();
        self.begin_segment(sequencer, appended);
        let members = sequencer.members(draft.bucket);
        let is_read_by_key = !draft.bucket.is_pieces() && !bucket.name.is_system();
        let mut is_crowded = false;
        for (at, entry) in draft.entries.iter().enumerate() {
            if at % ENTRIES_AHEAD == 0 {
                draft.prefetch(&sequencer.memtable, &self.hot, at + ENTRIES_AHEAD);
            }
            let after = Location {
                version,
                record: version + entry.after.record,
                ..entry.after
            };
            let entered =
                sequencer
                    .memtable
                    .enter(&members, draft.bucket, entry.hash, entry.key, after);
            assert!(
                entered,
                "the log hands out offsets in order, and no key is in a batch twice"
            );
            self.note_deadline(after.expires_ms);
            let place = if is_hot(&after) { after.record } else { 0 };
            if is_read_by_key {
                is_crowded |= self.hot.enter(entry.hash, place);
            } else {
                self.hot.outbid(entry.hash, place);
            }
        }
        if is_crowded {
            self.signal.raise();
        }
        // A piece is no key of the bucket: until its commit nothing has been written.
        if draft.bucket == bucket.id {
            bucket.written_at(version);
        }
        if self.recent.is_noting() {
            let keys = draft.entries.iter().map(|entry| entry.key);
            self.recent.note(draft.bucket, version, keys);
        }
        self.publish(sequencer, appended, time_ms);
    }

    /// Sees to it that the first memtable is that of the segment in which a batch stands.
    pub(super) fn begin_segment(&self, sequencer: &mut Sequencer, appended: &Appended) {
        let base = appended.segment.get();
        if sequencer.memtable.base() == base {
            return;
        }
        let memtable = Arc::new(Memtable::new(base));
        self.replace_levels(|levels| {
            let before = levels.memtables.iter();
            let kept = before.filter(|memtable| !memtable.is_empty()).cloned();
            Levels {
                memtables: std::iter::once(Arc::clone(&memtable)).chain(kept).collect(),
                runs: levels.runs.clone(),
                merged: levels.merged.clone(),
                emptied: Arc::clone(&levels.emptied),
            }
        });
        *sequencer = Sequencer::new(memtable);
        self.signal.raise();
    }

    /// Shows a batch that is entered whole to readers, as far as the log lets them.
    pub(super) fn publish(&self, sequencer: &Sequencer, appended: &Appended, time_ms: u64) {
        let version = appended.offset.get();
        sequencer.memtable.entered_batch(version, time_ms);
        self.heads.lock().push(version, self.settled());
        self.applied.store(appended.end.get(), Ordering::Release);
    }

    /// Answers `refusal` once the version that caused it is durable.
    pub(crate) fn refuse(
        &self,
        refusal: Error,
        cause: u64,
        durability: Durability,
    ) -> Result<Commit> {
        if durability == Durability::Buffered || self.is_durable(cause) {
            return Err(refusal);
        }
        let barrier = self.log.barrier().map_err(Error::cause_lost)?;
        Ok(Commit::pending(barrier, Then::Refused(refusal)))
    }

    /// Answers that nothing was there to delete, once that is durable.
    fn unchanged(self: &Arc<Self>, cause: u64, durability: Durability) -> Result<Commit> {
        let then = Then::Unchanged(Arc::clone(self), durability);
        if durability == Durability::Buffered || self.is_durable(cause) {
            return Ok(Commit::ready(then));
        }
        let barrier = self.log.barrier().map_err(Error::cause_lost)?;
        Ok(Commit::pending(barrier, then))
    }
}

impl Sequencer {
    pub(super) fn new(memtable: Arc<Memtable>) -> Sequencer {
        Sequencer {
            memtable,
            members: None,
        }
    }

    /// The keys of a bucket in the memtable; most batches are of the bucket of the one before.
    pub(super) fn members(&mut self, bucket: BucketId) -> Arc<Members> {
        match &self.members {
            Some((of, members)) if *of == bucket => Arc::clone(members),
            _ => {
                let members = self.memtable.members(bucket);
                self.members = Some((bucket, Arc::clone(&members)));
                members
            }
        }
    }
}

/// How an attempt to sequence a write went.
enum Attempt {
    Answered(Commit),
    /// The log has no room for the batch.
    NoRoom,
    /// What it was judged by is too old: look it up again.
    Overtaken,
}

impl From<Durability> for cairn_log::Durability {
    fn from(durability: Durability) -> cairn_log::Durability {
        match durability {
            Durability::Buffered => cairn_log::Durability::Buffered,
            Durability::Local => cairn_log::Durability::Local,
        }
    }
}
