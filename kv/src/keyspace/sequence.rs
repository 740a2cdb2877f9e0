//! The order of a write.
//!
//! ```text
//! encode, checksum        no lock: `Draft`
//! lock the sequencer
//!   bucket still there?   a removed one refuses
//!   conditions            against the newest sequenced version of each key, durable or not
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

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cairn_log::{Appended, BatchBuffer};
use parking_lot::MutexGuard;
use smallvec::SmallVec;

use super::{Deleted, Keyspace, Sequencer};
use crate::batch::{EffectRef, Expect, OperationRef};
use crate::bucket::state::BucketState;
use crate::clock::BelievedClock;
use crate::commit::{Commit, Receipt, Then};
use crate::error::{Error, ErrorKind, Result};
use crate::index::versions::{Horizon, Kind, Location, Versions};
use crate::record::{Body, BucketId, Put, Record};
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
        let draft = Draft::encode(bucket.id, operations, &self.clock);
        let outcome = self
            .check_size(&draft)
            .and_then(|()| self.sequence(bucket, &draft, conditions, durability));
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
        durability: Durability,
    ) -> Result<Commit> {
        loop {
            if let Some(commit) =
                self.try_sequence(bucket, draft, conditions.clone(), durability)?
            {
                return Ok(commit);
            }
            self.log.make_room(draft.buffer.byte_len())?;
        }
    }

    /// `None` if the log has no room for the batch.
    fn try_sequence<'a>(
        self: &Arc<Self>,
        bucket: &Arc<BucketState>,
        draft: &Draft<'a>,
        conditions: impl Iterator<Item = Condition<'a>>,
        durability: Durability,
    ) -> Result<Option<Commit>> {
        let mut sequencer = self.sequencer.lock();
        self.check_poison()?;
        if let Some(version) = bucket.dropped() {
            drop(sequencer);
            let refusal = Error::bucket_not_found(bucket.name.as_str());
            return self.refuse(refusal, version, durability).map(Some);
        }
        let now_ms = self.clock.now_ms();
        let judged = self.judge(bucket.id, draft, conditions, now_ms);
        if let Some(refusal) = judged.refusal {
            drop(sequencer);
            return self.refuse(refusal, judged.cause, durability).map(Some);
        }
        if !draft.has_puts && !judged.existed {
            drop(sequencer);
            return self.unchanged(judged.cause, durability).map(Some);
        }
        let appended = self
            .log
            .try_append(&draft.buffer, now_ms, durability.into())?;
        let Some(Appended {
            offset,
            end,
            commit,
        }) = appended
        else {
            return Ok(None);
        };
        self.apply(&mut sequencer, bucket, draft, offset.get(), end.get());
        drop(sequencer);
        let version = Version::new(offset.get());
        let receipt = Receipt {
            version,
            durability,
            existed: judged.existed,
        };
        Ok(Some(Commit::pending(commit, Then::Written(receipt))))
    }

    /// Checks conditions, and whether what is to be deleted exists.
    fn judge<'a>(
        &self,
        bucket: BucketId,
        draft: &Draft<'a>,
        conditions: impl Iterator<Item = Condition<'a>>,
        now_ms: u64,
    ) -> Judged {
        let mut judged = Judged {
            refusal: None,
            cause: 0,
            existed: false,
        };
        for (key, expect) in conditions {
            let newest = self.memtable.locate(bucket, key, Versions::newest);
            let current = if newest.is_live(now_ms) {
                newest.version
            } else {
                0
            };
            if !expect.holds(Version::new(current)) {
                judged.refusal = Some(Error::version_mismatch(key, Version::new(current)));
                judged.cause = newest.version;
                return judged;
            }
            judged.cause = judged.cause.max(newest.version);
        }
        if draft.has_deletes {
            for entry in draft
                .entries
                .iter()
                .filter(|entry| entry.after.kind == Kind::Tombstone)
            {
                let newest = self.memtable.locate(bucket, entry.key, Versions::newest);
                judged.existed |= newest.is_live(now_ms);
                judged.cause = judged.cause.max(newest.version);
            }
        }
        judged
    }

    /// Enters a batch into the memtable.
    fn apply(
        &self,
        sequencer: &mut MutexGuard<'_, Sequencer>,
        bucket: &Arc<BucketState>,
        draft: &Draft<'_>,
        version: u64,
        end: u64,
    ) {
        let horizon = self.horizon();
        for entry in &draft.entries {
            let after = Location {
                version,
                record: version + entry.after.record,
                ..entry.after
            };
            let entered = self.enter(sequencer, bucket, entry.key, after, &horizon);
            assert!(
                entered,
                "the log hands out offsets in order, and no key is in a batch twice"
            );
        }
        bucket.written_at(version);
        self.publish(version, end, &horizon);
        self.forget(sequencer, 2 * draft.entries.len(), &horizon);
    }

    /// Enters one version of a key. Does nothing and says so if it is not newer than the newest.
    pub(super) fn enter(
        &self,
        sequencer: &mut Sequencer,
        bucket: &Arc<BucketState>,
        key: &[u8],
        after: Location,
        horizon: &Horizon,
    ) -> bool {
        let (node, is_new) = self.memtable.node_or_new(bucket.id, key);
        if is_new {
            bucket.order.note_new(Arc::clone(&node));
        }
        let Some(before) = node.versions().push(after, horizon) else {
            return false;
        };
        bucket.count(key.len(), &before, &after);
        if after.kind == Kind::Tombstone {
            let bucket = Arc::clone(bucket);
            sequencer.deleted.push_back(Deleted {
                version: after.version,
                bucket,
                node,
            });
        }
        true
    }

    /// Shows a batch that is entered whole to readers, as far as the log lets them.
    pub(super) fn publish(&self, version: u64, end: u64, horizon: &Horizon) {
        self.heads.lock().push(version, horizon.stable);
        self.applied.store(end, Ordering::Release);
    }

    /// Forgets deleted keys that no reader can see any more, at most `limit` of them.
    pub(super) fn forget(&self, sequencer: &mut Sequencer, limit: usize, horizon: &Horizon) {
        for _ in 0..limit {
            let Some(deleted) = sequencer.deleted.front() else {
                return;
            };
            if deleted.version >= horizon.stable {
                return;
            }
            let mut versions = deleted.node.versions();
            if versions.newest().version == deleted.version {
                versions.weed(horizon);
                if !versions.is_forgettable(horizon) {
                    // A pin still shows what was there. Later ones can wait for it.
                    return;
                }
                drop(versions);
                self.memtable.remove(&deleted.node);
                deleted.bucket.order.note_gone(Arc::clone(&deleted.node));
            } else {
                drop(versions);
            }
            sequencer.deleted.pop_front();
        }
    }

    /// Answers `refusal` once the version that caused it is durable.
    pub(super) fn refuse(
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

/// What the checks under the lock found.
struct Judged {
    refusal: Option<Error>,
    /// The newest version that the answer rests on.
    cause: u64,
    /// Whether a key to be deleted exists.
    existed: bool,
}

/// A batch encoded for the log, and what will be entered of it.
struct Draft<'a> {
    buffer: BatchBuffer,
    entries: SmallVec<[DraftEntry<'a>; 1]>,
    has_puts: bool,
    has_deletes: bool,
}

struct DraftEntry<'a> {
    key: &'a [u8],
    /// The version is still open, and `record` counts from the start of the batch.
    after: Location,
}

impl<'a> Draft<'a> {
    fn encode(
        bucket: BucketId,
        operations: impl ExactSizeIterator<Item = OperationRef<'a>>,
        clock: &BelievedClock,
    ) -> Draft<'a> {
        let mut buffer = BUFFER.take().unwrap_or_default();
        let mut entries = SmallVec::with_capacity(operations.len());
        let (mut has_puts, mut has_deletes) = (false, false);
        for operation in operations {
            let place = buffer.next_place();
            let key = operation.key;
            let mut after = Location {
                record: u64::from(place),
                ..Location::NONE
            };
            let body = match operation.effect {
                EffectRef::Put { value, options } => {
                    has_puts = true;
                    after.kind = Kind::Value;
                    after.value_bytes = u32::try_from(value.len()).unwrap_or(u32::MAX);
                    after.expires_ms = options.ttl_ms.map_or(0, |ttl| clock.deadline_ms(ttl));
                    let attributes = options.attributes.block();
                    Body::Put(Put {
                        key,
                        attributes,
                        expires_ms: after.expires_ms,
                        value,
                    })
                }
                EffectRef::Delete => {
                    has_deletes = true;
                    Body::Delete { key }
                }
            };
            let record = Record {
                place,
                bucket,
                body,
            };
            buffer.record(|bytes| record.encode(bytes));
            entries.push(DraftEntry { key, after });
        }
        Draft {
            buffer,
            entries,
            has_puts,
            has_deletes,
        }
    }

    /// Keeps the buffer for this thread's next write, unless it has grown large.
    fn recycle(mut self) {
        if self.buffer.byte_len() <= BUFFER_BYTES_KEPT {
            self.buffer.clear();
            BUFFER.set(Some(self.buffer));
        }
    }
}

thread_local! {
    static BUFFER: Cell<Option<BatchBuffer>> = const { Cell::new(None) };
}

/// The largest batch whose buffer a thread keeps.
const BUFFER_BYTES_KEPT: usize = 256 << 10;

impl From<Durability> for cairn_log::Durability {
    fn from(durability: Durability) -> cairn_log::Durability {
        match durability {
            Durability::Buffered => cairn_log::Durability::Buffered,
            Durability::Local => cairn_log::Durability::Local,
        }
    }
}
