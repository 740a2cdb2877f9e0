//! The order of a topic record. It says where it stands, so it is encoded under the sequencer's lock
//! for the place at the log's end, and taken there or not at all.

use std::sync::Arc;

use cairn_log::{Claim, Offset};

use super::Draft;
use crate::batch::{EffectRef, OperationRef, PutOptions};
use crate::bucket::state::BucketState;
use crate::commit::{Commit, Receipt, Then};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::topic;
use crate::version::{Durability, Version};

/// A record of a topic that has its place: where its batch stands and ends.
pub(crate) struct Placed {
    pub(crate) at: Offset,
    pub(crate) end: Offset,
    pub(crate) commit: Commit,
}

/// The log's segment has no room for so many bytes.
struct NoRoom(usize);

impl Keyspace {
    /// Appends a record to a topic of the partition.
    ///
    /// Cost: that of a put, but encoded under the sequencer's lock, since the record says where it
    /// stands.
    ///
    /// # Errors
    ///
    /// Those of a write without conditions.
    pub(crate) fn append_topic(
        self: &Arc<Self>,
        topics: &Arc<BucketState>,
        topic: &str,
        data: &[u8],
        durability: Durability,
    ) -> Result<Placed> {
        self.seal_if_full(Claim::Write)?;
        loop {
            match self.place_topic(topics, topic, data, durability)? {
                Ok(placed) => return Ok(placed),
                Err(NoRoom(bytes)) => self.make_room(Claim::Write, bytes)?,
            }
        }
    }

    /// [`Keyspace::append_topic`], unless it would have to wait; `None` then.
    pub(crate) fn try_append_topic(
        self: &Arc<Self>,
        topics: &Arc<BucketState>,
        topic: &str,
        data: &[u8],
        durability: Durability,
    ) -> Result<Option<Placed>> {
        if self.is_full() {
            return Ok(None);
        }
        Ok(self.place_topic(topics, topic, data, durability)?.ok())
    }

    fn place_topic(
        self: &Arc<Self>,
        topics: &Arc<BucketState>,
        topic: &str,
        data: &[u8],
        durability: Durability,
    ) -> Result<std::result::Result<Placed, NoRoom>> {
        let options = PutOptions::default();
        let mut sequencer = self.sequencer.lock();
        self.check_poison()?;
        // Nothing else is appended under the lock, but another segment may begin.
        let at = self.log.end();
        let key = topic::key_at(topic, at);
        let effect = EffectRef::Put {
            value: data,
            options: &options,
        };
        let operation = std::iter::once(OperationRef { key: &key, effect });
        let draft = Draft::encode(topics.id, operation, &self.clock, self.seed);
        self.check_size(&draft)?;
        let (now_ms, log_durability) = (self.clock.now_ms(), durability.into());
        let appended = self
            .log
            .try_append_at(at, &draft.buffer, now_ms, log_durability)?;
        let Some(appended) = appended else {
            return Ok(Err(NoRoom(draft.buffer.byte_len())));
        };
        self.apply(&mut sequencer, topics, &draft, &appended, now_ms);
        drop(sequencer);
        draft.recycle();
        let receipt = Receipt {
            version: Version::new(at.get()),
            durability,
            existed: false,
        };
        Ok(Ok(Placed {
            at,
            end: appended.end,
            commit: Commit::pending(appended.commit, Then::Written(receipt)),
        }))
    }
}
