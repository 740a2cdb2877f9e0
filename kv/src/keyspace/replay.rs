//! How a keyspace is rebuilt at open: the log is read front to back, and every record is entered
//! as it was when it was sequenced.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use cairn_log::{Offset, ReplayedBatch};

use super::{Keyspace, Sequencer};
use crate::bucket::state::{BucketState, Created};
use crate::error::{Error, ErrorKind, Result};
use crate::index::versions::{Horizon, Kind, Location};
use crate::record::{Body, BucketId, Malformed, Record};

/// The buckets that a replay met, also those that were dropped.
pub(crate) type Buckets = HashMap<BucketId, Arc<BucketState>>;

impl Keyspace {
    /// Rebuilds the memtable from the log, and returns the partition's buckets. Nobody else uses
    /// the keyspace yet.
    ///
    /// # Errors
    ///
    /// `Corrupt`, naming the offset, if a record cannot have been written by this code.
    pub(crate) fn replay(&self) -> Result<Buckets> {
        let mut replay = Replay {
            keyspace: self,
            sequencer: Sequencer::default(),
            buckets: Buckets::new(),
            // All of it is durable, and nobody reads yet: only the newest versions stay.
            horizon: Horizon {
                stable: u64::MAX,
                pinned: Default::default(),
            },
        };
        let mut outcome = Ok(());
        self.log.replay(Offset::default(), |batch| {
            outcome = replay.enter_batch(&batch);
            if outcome.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        outcome.map(|()| replay.buckets)
    }
}

struct Replay<'a> {
    keyspace: &'a Keyspace,
    sequencer: Sequencer,
    buckets: Buckets,
    horizon: Horizon,
}

impl Replay<'_> {
    fn enter_batch(&mut self, batch: &ReplayedBatch<'_>) -> Result<()> {
        let version = batch.offset.get();
        for (offset, payload) in batch.records() {
            self.enter_record(batch, offset, payload)
                .map_err(|malformed| self.damaged(offset, malformed))?;
        }
        self.keyspace.clock.learn(batch.time_ms);
        self.keyspace
            .heads
            .lock()
            .push(version, self.horizon.stable);
        Ok(())
    }

    fn enter_record(
        &mut self,
        batch: &ReplayedBatch<'_>,
        offset: Offset,
        payload: &[u8],
    ) -> std::result::Result<(), Malformed> {
        let record = Record::decode(payload)?;
        let version = batch.offset.get();
        if offset.get() - version != u64::from(record.place) {
            return Err(Malformed("it says that it stands elsewhere in its batch"));
        }
        let location = Location {
            version,
            record: offset.get(),
            ..Location::NONE
        };
        match record.body {
            Body::Put(put) => {
                let value_bytes = u32::try_from(put.value.len()).unwrap_or(u32::MAX);
                let expires_ms = put.expires_ms;
                let after = Location {
                    kind: Kind::Value,
                    value_bytes,
                    expires_ms,
                    ..location
                };
                self.enter_key(record.bucket, put.key, after)
            }
            Body::Delete { key } => self.enter_key(record.bucket, key, location),
            Body::BucketCreated { name, options } => {
                let created = Created {
                    version,
                    time_ms: batch.time_ms,
                };
                let partition = self.keyspace.log.id().0;
                let bucket = BucketState::new(record.bucket, name, partition, options, created);
                match self.buckets.insert(record.bucket, Arc::new(bucket)) {
                    None => Ok(()),
                    Some(_) => Err(Malformed("it creates a bucket a second time")),
                }
            }
            Body::BucketDropped => {
                let bucket = self.live_bucket(record.bucket)?;
                bucket.drop_at(version);
                for node in bucket.order.drain() {
                    self.keyspace.memtable.remove(&node);
                }
                Ok(())
            }
        }
    }

    fn enter_key(
        &mut self,
        bucket: BucketId,
        key: &[u8],
        after: Location,
    ) -> std::result::Result<(), Malformed> {
        let bucket = Arc::clone(self.live_bucket(bucket)?);
        if !self
            .keyspace
            .enter(&mut self.sequencer, &bucket, key, after, &self.horizon)
        {
            return Err(Malformed(
                "it writes a key that its batch has written already",
            ));
        }
        bucket.written_at(after.version);
        self.keyspace.forget(&mut self.sequencer, 1, &self.horizon);
        Ok(())
    }

    fn live_bucket(&self, id: BucketId) -> std::result::Result<&Arc<BucketState>, Malformed> {
        let bucket = self
            .buckets
            .get(&id)
            .filter(|bucket| bucket.dropped().is_none());
        bucket.ok_or(Malformed("it belongs to no bucket that exists there"))
    }

    fn damaged(&self, offset: Offset, malformed: Malformed) -> Error {
        let partition = self.keyspace.log.id();
        let message = format!(
            "the record at offset {offset} of partition {partition} is damaged: {malformed}; run \
             `cairn verify` on the data directory"
        );
        Error::new(ErrorKind::Corrupt, message)
    }
}
