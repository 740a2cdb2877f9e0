//! The burial of records of a topic: their tombstones and the floor above them, as one batch.

use std::sync::Arc;

use cairn_log::{BatchBuffer, Claim, Durability};

use crate::bucket::state::BucketState;
use crate::error::Result;
use crate::index::versions::{Kind, Location};
use crate::index::walk::Key;
use crate::keyspace::Keyspace;
use crate::keyspace::maintain::Maintenance;
use crate::keyspace::read::is_hot;
use crate::keyspace::sweep::Doomed;
use crate::record::{Body, BucketId, Origin, Put, Record};
use crate::topic;
use crate::topic::floor::{encode_floor, floor_key};

impl Keyspace {
    /// Logs the tombstones of the oldest records of a topic, and the floor above them.
    pub(super) fn bury_records(
        &self,
        maintenance: &mut Maintenance,
        topics: &Arc<BucketState>,
        topic: &str,
        doomed: &[Doomed],
    ) -> Result<()> {
        let Some(last) = doomed.last() else {
            return Ok(());
        };
        let (_, offset) = topic::topic_and_offset(&last.key)?;
        let floor = offset + 1;
        let burial = self.burial(topics.id, topic, doomed, floor);
        while !self.sequence_burial(topics, &burial)? {
            self.make_room_for_moves(maintenance, Claim::Delete, burial.batch.byte_len())?;
        }
        if let Some(known) = maintenance.retention.known.get_mut(topic) {
            let gone = doomed.iter().filter_map(|one| {
                let (_, offset) = topic::split_key(&one.key)?;
                (offset < known.weighed).then_some(one.location.value_bytes)
            });
            known.bytes = known.bytes.saturating_sub(gone.sum());
            known.floor = floor;
            known.weighed = known.weighed.max(floor);
        }
        Ok(())
    }

    fn burial(&self, topics: BucketId, topic: &str, doomed: &[Doomed], floor: u64) -> Burial {
        let mut batch = BatchBuffer::new();
        let mut add = |body| {
            let place = batch.next_place();
            let record = Record {
                origin: Origin::Here { place },
                bucket: topics,
                body,
            };
            batch.record(|bytes| record.encode(bytes));
            u64::from(place)
        };
        let mut entries = Vec::with_capacity(doomed.len() + 1);
        for one in doomed {
            let record = add(Body::Delete {
                key: &one.key,
                expired: false,
            });
            let tombstone = Location {
                record,
                ..Location::NONE
            };
            entries.push((one.hash, one.key.clone(), tombstone));
        }
        let (key, value) = (floor_key(topic), encode_floor(floor));
        let record = add(Body::Put(Put {
            key: &key,
            attributes: &[],
            expires_ms: 0,
            value: &value,
        }));
        let risen = Location {
            record,
            value_bytes: value.len() as u64,
            kind: Kind::Value,
            ..Location::NONE
        };
        entries.push((self.seed.hash(topics, &key), Key::from_vec(key), risen));
        Burial { batch, entries }
    }

    /// Gives a burial its place; `false` if the log has no room for it.
    fn sequence_burial(&self, topics: &Arc<BucketState>, burial: &Burial) -> Result<bool> {
        let mut sequencer = self.sequencer.lock();
        self.check_poison()?;
        let time_ms = self.clock.now_ms();
        let (claim, durability) = (Claim::Delete, Durability::Buffered);
        let appended = self
            .log
            .try_append_claiming(claim, &burial.batch, time_ms, durability)?;
        let Some(appended) = appended else {
            return Ok(false);
        };
        self.begin_segment(&mut sequencer, &appended);
        let members = sequencer.members(topics.id);
        let version = appended.offset.get();
        for (hash, key, location) in &burial.entries {
            let after = Location {
                version,
                record: version + location.record,
                ..*location
            };
            let memtable = &sequencer.memtable;
            let entered = memtable.enter(&members, topics.id, *hash, key, after);
            assert!(
                entered,
                "the log hands out offsets in order, and no key is in a batch twice"
            );
            let place = if is_hot(&after) { after.record } else { 0 };
            self.hot.outbid(*hash, place);
        }
        topics.written_at(version);
        self.publish(&sequencer, &appended, time_ms);
        Ok(true)
    }
}

/// Tombstones and a floor, as they go into the log and, with places from the start of the batch,
/// into the memtable.
struct Burial {
    batch: BatchBuffer,
    entries: Vec<(u64, Key, Location)>,
}
