//! How buckets come and go in one partition.
//!
//! A bucket exists from its creation record on and is gone from its drop record on, each a batch of
//! its own. The keys of a dropped bucket stay in the memtable while a pinned reader sees them, and
//! are purged afterwards.

use std::sync::Arc;

use cairn_log::{Appended, BatchBuffer};

use super::Keyspace;
use crate::bucket::name::BucketName;
use crate::bucket::options::BucketOptions;
use crate::bucket::state::{BucketState, Created};
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Body, BucketId, Record};

/// How an attempt to drop a bucket went.
pub(crate) enum Dropping {
    /// The drop is sequenced.
    Sequenced(cairn_log::Commit),
    /// The log has no room for the drop's record: make some.
    NoRoom,
    /// A batch was sequenced for the bucket since the caller looked: look again.
    Written,
}

impl Keyspace {
    /// Sequences the creation of a bucket; `None` if the log has no room for it. The caller holds
    /// the catalogue's lock, so that nobody else creates one of that name.
    pub(crate) fn try_create(
        &self,
        id: BucketId,
        name: &BucketName,
        options: BucketOptions,
    ) -> Result<Option<(Arc<BucketState>, cairn_log::Commit)>> {
        let body = Body::BucketCreated {
            name: name.clone(),
            options,
        };
        let batch = lone_record(id, body);
        let _sequencer = self.sequencer.lock();
        let time_ms = self.clock.now_ms();
        let Some(Appended {
            offset,
            end,
            commit,
        }) = self
            .log
            .try_append(&batch, time_ms, cairn_log::Durability::Local)?
        else {
            return Ok(None);
        };
        let created = Created {
            version: offset.get(),
            time_ms,
        };
        let bucket = BucketState::new(id, name.clone(), self.log.id().0, options, created);
        self.publish(offset.get(), end.get(), &self.horizon());
        Ok(Some((Arc::new(bucket), commit)))
    }

    /// Sequences the drop of a bucket, unless a batch after `written` was sequenced for it. The
    /// caller holds the catalogue's lock.
    pub(crate) fn try_drop(
        &self,
        bucket: &Arc<BucketState>,
        written: Option<u64>,
    ) -> Result<Dropping> {
        let batch = lone_record(bucket.id, Body::BucketDropped);
        let _sequencer = self.sequencer.lock();
        if written.is_some_and(|written| written != bucket.written()) {
            return Ok(Dropping::Written);
        }
        let time_ms = self.clock.now_ms();
        let Some(Appended {
            offset,
            end,
            commit,
        }) = self
            .log
            .try_append(&batch, time_ms, cairn_log::Durability::Local)?
        else {
            return Ok(Dropping::NoRoom);
        };
        bucket.drop_at(offset.get());
        self.dropping.lock().push(Arc::clone(bucket));
        self.publish(offset.get(), end.get(), &self.horizon());
        Ok(Dropping::Sequenced(commit))
    }

    /// Refuses if some key of the bucket is live in what is sequenced now; otherwise the version
    /// of the newest batch sequenced for it before the look.
    pub(crate) fn check_empty(&self, bucket: &BucketState) -> Result<u64> {
        let written = bucket.written();
        if bucket.counts().keys == 0 {
            return Ok(written);
        }
        // What is counted may have expired.
        let now_ms = self.clock.now_ms();
        let newest = bucket.order.find_newest(|newest| newest.is_live(now_ms));
        let Some(newest) = newest else {
            return Ok(written);
        };
        let message = format!("the bucket {:?} still holds keys", bucket.name);
        let refusal = Error::new(ErrorKind::BucketNotEmpty, message);
        if !self.is_durable(newest.version) {
            self.log
                .barrier()
                .and_then(cairn_log::Commit::wait)
                .map_err(Error::cause_lost)?;
        }
        Err(refusal)
    }

    /// Blocks until the batch of `version` is durable.
    ///
    /// # Errors
    ///
    /// `Poisoned` if it was lost.
    pub(crate) fn wait_durable(&self, version: u64) -> Result<()> {
        if self.is_durable(version) {
            return Ok(());
        }
        self.log
            .barrier()
            .and_then(cairn_log::Commit::wait)
            .map_err(Error::cause_lost)
    }

    /// Dropped buckets that a reader at `watermark` still sees.
    pub(crate) fn dropped_but_visible(&self, watermark: u64) -> Vec<Arc<BucketState>> {
        let dropping = self.dropping.lock();
        dropping
            .iter()
            .filter(|bucket| bucket.is_visible(watermark))
            .cloned()
            .collect()
    }

    /// Frees the keys of dropped buckets that no reader sees any more.
    pub(crate) fn purge(&self) {
        let horizon = self.horizon();
        let oldest = horizon
            .pinned
            .first()
            .map_or(horizon.stable, |&pin| pin.min(horizon.stable));
        // Gone for the oldest reader, and so for all.
        let is_gone = |bucket: &Arc<BucketState>| bucket.dropped().is_some_and(|at| at < oldest);
        let gone: Vec<_> = self
            .dropping
            .lock()
            .extract_if(.., |bucket| is_gone(bucket))
            .collect();
        for bucket in gone {
            // No writer reaches a dropped bucket, so the nodes stand still without the sequencer.
            for node in bucket.order.drain() {
                self.memtable.remove(&node);
            }
        }
    }
}

fn lone_record(bucket: BucketId, body: Body<'_>) -> BatchBuffer {
    let mut batch = BatchBuffer::new();
    let place = batch.next_place();
    let record = Record {
        place,
        bucket,
        body,
    };
    batch.record(|bytes| record.encode(bytes));
    batch
}
