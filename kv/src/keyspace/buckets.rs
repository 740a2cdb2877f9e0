//! How buckets come and go in one partition.
//!
//! A bucket exists from its creation record on and is gone from its drop record on, each a batch of
//! its own. The keys of a dropped bucket stay in the index, where nobody asks for them any more,
//! until a merge leaves them out.

use std::sync::Arc;

use cairn_log::{Appended, BatchBuffer, Claim};

use super::{Keyspace, Sequencer};
use crate::bucket::name::BucketName;
use crate::bucket::options::BucketOptions;
use crate::bucket::state::{BucketState, Created};
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Body, BucketId, Origin, Record};
use crate::scan::Entries;

/// How an attempt to drop a bucket went.
pub(crate) enum Dropping {
    /// The drop is sequenced.
    Sequenced(cairn_log::Commit),
    /// The log has no room for so many bytes: make some.
    NoRoom(usize),
    /// A batch was sequenced for the bucket, or a snapshot taken, since the caller looked: look
    /// again.
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
        let mut sequencer = self.sequencer.lock();
        let created = self.append_control(&mut sequencer, Claim::Write, &batch, |_, _| {})?;
        let Some((appended, time_ms)) = created else {
            return Ok(None);
        };
        let created = Created {
            version: appended.offset.get(),
            time_ms,
        };
        let bucket = BucketState::new(id, name.clone(), self.log.id().0, options, created);
        let bucket = Arc::new(bucket);
        self.live.lock().push(Arc::clone(&bucket));
        Ok(Some((bucket, appended.commit)))
    }

    /// Sequences the drop of a bucket and the removal of its snapshots, in one batch; with `written`
    /// only if it has no snapshots and no batch was sequenced for it after that version. The caller
    /// holds the catalogue's lock.
    pub(crate) fn try_drop(
        &self,
        bucket: &Arc<BucketState>,
        written: Option<u64>,
    ) -> Result<Dropping> {
        let mut sequencer = self.sequencer.lock();
        let (batch, removed) = self.drop_batch(bucket.id);
        let is_bare = |written| written == bucket.written() && removed.is_empty();
        if !written.is_none_or(is_bare) {
            return Ok(Dropping::Written);
        }
        let settled = self.settled();
        let note = |sequencer: &mut Sequencer, version| {
            bucket.drop_at(version);
            self.enter_removed(sequencer, bucket.id, &removed, version);
            let mut dropping = self.dropping.lock();
            // The others are gone for every reader to come.
            dropping.retain(|bucket| bucket.dropped().is_some_and(|at| at >= settled));
            dropping.push(Arc::clone(bucket));
        };
        match self.append_control(&mut sequencer, Claim::Delete, &batch, note)? {
            Some((appended, _)) => Ok(Dropping::Sequenced(appended.commit)),
            None => Ok(Dropping::NoRoom(batch.byte_len())),
        }
    }

    /// Sequences a record that is no key's, and has its version noted before readers may see it.
    /// `None` if the log has no room for it.
    pub(super) fn append_control(
        &self,
        sequencer: &mut Sequencer,
        claim: Claim,
        batch: &BatchBuffer,
        note: impl FnOnce(&mut Sequencer, u64),
    ) -> Result<Option<(Appended, u64)>> {
        let time_ms = self.clock.now_ms();
        let durability = cairn_log::Durability::Local;
        let appended = self
            .log
            .try_append_claiming(claim, batch, time_ms, durability)?;
        let Some(appended) = appended else {
            return Ok(None);
        };
        self.begin_segment(sequencer, &appended);
        let record = appended.offset.get() + BatchBuffer::FIRST_PLACE;
        sequencer.memtable.enter_control(record);
        note(sequencer, appended.offset.get());
        self.publish(sequencer, &appended, time_ms);
        Ok(Some((appended, time_ms)))
    }

    /// Refuses if the bucket has snapshots or some key of it is live in what is sequenced now;
    /// otherwise the version of the newest batch sequenced for it before the look.
    pub(crate) fn check_empty(self: &Arc<Self>, bucket: &Arc<BucketState>) -> Result<u64> {
        if !self.snapshots.lock().names(bucket.id).is_empty() {
            let message = format!(
                "the bucket {:?} still has snapshots; remove them, or remove it by force",
                bucket.name
            );
            return Err(self.once_durable(Error::new(ErrorKind::BucketNotEmpty, message)));
        }
        let written = bucket.written();
        let Some(newest) = Entries::first_sequenced(self, bucket)? else {
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
}

fn lone_record(bucket: BucketId, body: Body<'_>) -> BatchBuffer {
    let mut batch = BatchBuffer::new();
    let place = batch.next_place();
    let record = Record {
        origin: Origin::Here { place },
        bucket,
        body,
    };
    batch.record(|bytes| record.encode(bytes));
    batch
}
