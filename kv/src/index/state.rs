//! What the merged index knows beside its entries: the buckets, and how far time had come.
//!
//! The blob stands in the transaction that merges what it describes. Integers are LEB128 varints,
//! but for the checks of their limits the same as those of records.
//!
//! ```text
//! version 1 · last version · newest time_ms · greatest bucket id · history floor
//! number of buckets
//! for each bucket, ids ascending:
//!   length of its creation record · that record (see `record`, its place 0)
//!     · version of its creation · its time_ms
//!   or 0 · its id, if its creation is not merged
//!   version of its drop, 0 if there is none
//!   version written last · keys · bytes of keys and values
//! number of segments
//! for each merged segment, ascending:
//!   base · end · bytes of records that are the newest of their key · bytes of tombstones
//!   · bytes of versions that its records superseded · newest time_ms
//! ```
//!
//! Buckets that were dropped stay: ids are never given again, and a name keeps its partition.
//!
//! Garbage collection moves creations and drops, so an index made anew from the log meets them, and
//! the bucket's keys, in any order. A row therefore begins with whatever is met first and takes up
//! the rest as it comes: what is known depends on which records are merged, not on their order.

use crate::bucket::name::BucketName;
use crate::bucket::options::BucketOptions;
use crate::record::varint;
use crate::record::{Body, BucketId, Origin, Record};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexState {
    pub(crate) last_version: u64,
    pub(crate) newest_time_ms: u64,
    pub(crate) last_bucket: u32,
    pub(crate) floor: u64,
    /// By id.
    pub(crate) buckets: Vec<BucketRow>,
    /// By base.
    pub(crate) segments: Vec<SegmentRow>,
}

/// What is known of one merged segment. Bytes are those of records, frames included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentRow {
    pub(crate) base: u64,
    pub(crate) end: u64,
    /// Records that are the newest of their key.
    pub(crate) live_bytes: u64,
    pub(crate) tombstone_bytes: u64,
    /// Versions that records of this segment superseded, wherever they stand.
    pub(crate) superseded_bytes: u64,
    pub(crate) newest_time_ms: u64,
}

/// One bucket as of the end of what is merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BucketRow {
    pub(crate) id: BucketId,
    /// `None` while its creation, which was moved, stands behind what is merged.
    pub(crate) creation: Option<Creation>,
    pub(crate) dropped: Option<u64>,
    pub(crate) written: u64,
    pub(crate) keys: u64,
    pub(crate) bytes: u64,
}

/// What the creation record of a bucket says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Creation {
    pub(crate) name: BucketName,
    pub(crate) options: BucketOptions,
    pub(crate) version: u64,
    pub(crate) time_ms: u64,
}

impl BucketRow {
    /// Of a bucket of which nothing is known yet.
    fn new(id: BucketId) -> BucketRow {
        BucketRow {
            id,
            creation: None,
            dropped: None,
            written: 0,
            keys: 0,
            bytes: 0,
        }
    }

    /// Takes up its creation, which may have been met before.
    pub(crate) fn create(&mut self, creation: Creation) {
        self.written = self.written.max(creation.version);
        self.creation.get_or_insert(creation);
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        if let Some(creation) = &self.creation {
            let record = Record {
                origin: Origin::Here { place: 0 },
                bucket: self.id,
                body: Body::BucketCreated {
                    name: creation.name.clone(),
                    options: creation.options,
                },
            };
            let mut encoded = Vec::new();
            record.encode(&mut encoded);
            varint::push(bytes, encoded.len() as u64);
            bytes.extend_from_slice(&encoded);
            varint::push(bytes, creation.version);
            varint::push(bytes, creation.time_ms);
        } else {
            varint::push(bytes, 0);
            varint::push(bytes, u64::from(self.id.0));
        }
        for number in [
            self.dropped.unwrap_or(0),
            self.written,
            self.keys,
            self.bytes,
        ] {
            varint::push(bytes, number);
        }
    }

    fn decode(rest: &mut &[u8]) -> Option<BucketRow> {
        let length = usize::try_from(varint::take(rest)?).ok()?;
        let (id, creation) = if length == 0 {
            let id = u32::try_from(varint::take(rest)?).ok()?;
            if !(1..=BucketId::MAX.0).contains(&id) {
                return None;
            }
            (BucketId(id), None)
        } else {
            let (record, after) = rest.split_at_checked(length)?;
            *rest = after;
            let Ok(Record {
                origin: Origin::Here { place: 0 },
                bucket,
                body: Body::BucketCreated { name, options },
            }) = Record::decode(record)
            else {
                return None;
            };
            let creation = Creation {
                name,
                options,
                version: varint::take(rest)?,
                time_ms: varint::take(rest)?,
            };
            (bucket, Some(creation))
        };
        Some(BucketRow {
            id,
            creation,
            dropped: Some(varint::take(rest)?).filter(|&version| version != 0),
            written: varint::take(rest)?,
            keys: varint::take(rest)?,
            bytes: varint::take(rest)?,
        })
    }
}

impl SegmentRow {
    /// What is neither the newest of its key nor a tombstone.
    pub(crate) fn dead_bytes(&self) -> u64 {
        let bytes = self.end - self.base;
        bytes.saturating_sub(self.live_bytes + self.tombstone_bytes)
    }
}

impl IndexState {
    pub(crate) fn bucket(&self, id: BucketId) -> Option<&BucketRow> {
        let at = self.buckets.binary_search_by_key(&id, |row| row.id).ok()?;
        Some(&self.buckets[at])
    }

    pub(crate) fn bucket_mut(&mut self, id: BucketId) -> Option<&mut BucketRow> {
        let at = self.buckets.binary_search_by_key(&id, |row| row.id).ok()?;
        Some(&mut self.buckets[at])
    }

    /// The row of a bucket that a record has been met of: a new one if it is the first.
    pub(crate) fn met(&mut self, id: BucketId) -> &mut BucketRow {
        self.last_bucket = self.last_bucket.max(id.0);
        let at = self.buckets.partition_point(|row| row.id < id);
        if self.buckets.get(at).is_none_or(|row| row.id != id) {
            self.buckets.insert(at, BucketRow::new(id));
        }
        &mut self.buckets[at]
    }

    /// The row of the segment in which an offset stands, if it is merged.
    pub(crate) fn segment_of(&mut self, offset: u64) -> Option<&mut SegmentRow> {
        let after = self.segments.partition_point(|row| row.base <= offset);
        let row = self.segments.get_mut(after.checked_sub(1)?)?;
        (offset < row.end).then_some(row)
    }

    /// Adds a segment that is newer than all the others here.
    pub(crate) fn add_segment(&mut self, row: SegmentRow) {
        let at = self.segments.partition_point(|other| other.base < row.base);
        match self.segments.get_mut(at) {
            Some(known) if known.base == row.base => *known = row,
            _ => self.segments.insert(at, row),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        varint::push(&mut bytes, FORMAT);
        varint::push(&mut bytes, self.last_version);
        varint::push(&mut bytes, self.newest_time_ms);
        varint::push(&mut bytes, u64::from(self.last_bucket));
        varint::push(&mut bytes, self.floor);
        varint::push(&mut bytes, self.buckets.len() as u64);
        for row in &self.buckets {
            row.encode(&mut bytes);
        }
        varint::push(&mut bytes, self.segments.len() as u64);
        for row in &self.segments {
            for number in [
                row.base,
                row.end,
                row.live_bytes,
                row.tombstone_bytes,
                row.superseded_bytes,
                row.newest_time_ms,
            ] {
                varint::push(&mut bytes, number);
            }
        }
        bytes
    }

    /// The state of these bytes; `None` if they are none of this format.
    pub(crate) fn decode(bytes: &[u8]) -> Option<IndexState> {
        let rest = &mut &bytes[..];
        if varint::take(rest)? != FORMAT {
            return None;
        }
        let mut state = IndexState {
            last_version: varint::take(rest)?,
            newest_time_ms: varint::take(rest)?,
            last_bucket: u32::try_from(varint::take(rest)?).ok()?,
            floor: varint::take(rest)?,
            ..IndexState::default()
        };
        for _ in 0..varint::take(rest)? {
            state.buckets.push(BucketRow::decode(rest)?);
        }
        for _ in 0..varint::take(rest)? {
            state.segments.push(SegmentRow {
                base: varint::take(rest)?,
                end: varint::take(rest)?,
                live_bytes: varint::take(rest)?,
                tombstone_bytes: varint::take(rest)?,
                superseded_bytes: varint::take(rest)?,
                newest_time_ms: varint::take(rest)?,
            });
        }
        let ascending = state.buckets.is_sorted_by(|one, other| one.id < other.id)
            && state
                .segments
                .is_sorted_by(|one, other| one.base < other.base);
        // Ids are given out above the greatest: one below would be given twice.
        let greatest = state.buckets.last().map_or(0, |row| row.id.0);
        (rest.is_empty() && ascending && greatest <= state.last_bucket).then_some(state)
    }
}

const FORMAT: u64 = 1;

#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
