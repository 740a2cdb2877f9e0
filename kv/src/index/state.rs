//! What the merged index knows beside its entries: the buckets, and how far time had come.
//!
//! The blob stands in the transaction that merges what it describes. Integers are LEB128 varints,
//! but for the checks of their limits the same as those of records.
//!
//! ```text
//! version 1 · last version · newest time_ms · greatest bucket id · number of buckets
//! for each bucket, ids ascending:
//!   length of its creation record · that record (see `record`, its place 0)
//!   version of its creation · its time_ms · version of its drop, 0 if there is none
//!   version written last · keys · bytes of keys and values
//! ```
//!
//! Of the buckets that bore one name, only the newest is kept once they are dropped.

use std::collections::HashMap;

use crate::bucket::name::BucketName;
use crate::bucket::options::BucketOptions;
use crate::record::varint;
use crate::record::{Body, BucketId, Record};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexState {
    pub(crate) last_version: u64,
    pub(crate) newest_time_ms: u64,
    pub(crate) last_bucket: u32,
    /// By id.
    pub(crate) buckets: Vec<BucketRow>,
}

/// One bucket as of the end of what is merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BucketRow {
    pub(crate) id: BucketId,
    pub(crate) name: BucketName,
    pub(crate) options: BucketOptions,
    pub(crate) created_version: u64,
    pub(crate) created_ms: u64,
    pub(crate) dropped: Option<u64>,
    pub(crate) written: u64,
    pub(crate) keys: u64,
    pub(crate) bytes: u64,
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

    /// Adds a bucket that was created later than all the others here.
    pub(crate) fn create(&mut self, row: BucketRow) {
        self.last_bucket = self.last_bucket.max(row.id.0);
        let at = self.buckets.partition_point(|other| other.id < row.id);
        self.buckets.insert(at, row);
    }

    /// Leaves out dropped buckets whose name another one has borne since.
    pub(crate) fn forget_former(&mut self) {
        let mut newest: HashMap<BucketName, u64> = HashMap::new();
        for row in &self.buckets {
            let known = newest.entry(row.name.clone()).or_default();
            *known = row.created_version.max(*known);
        }
        self.buckets
            .retain(|row| row.dropped.is_none() || newest[&row.name] == row.created_version);
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        varint::push(&mut bytes, FORMAT);
        varint::push(&mut bytes, self.last_version);
        varint::push(&mut bytes, self.newest_time_ms);
        varint::push(&mut bytes, u64::from(self.last_bucket));
        varint::push(&mut bytes, self.buckets.len() as u64);
        for row in &self.buckets {
            let mut record = Vec::new();
            let body = Body::BucketCreated {
                name: row.name.clone(),
                options: row.options,
            };
            Record {
                place: 0,
                bucket: row.id,
                body,
            }
            .encode(&mut record);
            varint::push(&mut bytes, record.len() as u64);
            bytes.extend_from_slice(&record);
            for number in [
                row.created_version,
                row.created_ms,
                row.dropped.unwrap_or(0),
                row.written,
                row.keys,
                row.bytes,
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
            buckets: Vec::new(),
        };
        for _ in 0..varint::take(rest)? {
            let length = usize::try_from(varint::take(rest)?).ok()?;
            let (record, after) = rest.split_at_checked(length)?;
            *rest = after;
            let Ok(Record {
                place: 0,
                bucket,
                body: Body::BucketCreated { name, options },
            }) = Record::decode(record)
            else {
                return None;
            };
            state.buckets.push(BucketRow {
                id: bucket,
                name,
                options,
                created_version: varint::take(rest)?,
                created_ms: varint::take(rest)?,
                dropped: Some(varint::take(rest)?).filter(|&version| version != 0),
                written: varint::take(rest)?,
                keys: varint::take(rest)?,
                bytes: varint::take(rest)?,
            });
        }
        let ascending = state.buckets.is_sorted_by(|one, other| one.id < other.id);
        // Ids are given out above the greatest: one below would be given twice.
        let greatest = state.buckets.last().map_or(0, |row| row.id.0);
        (rest.is_empty() && ascending && greatest <= state.last_bucket).then_some(state)
    }
}

const FORMAT: u64 = 1;

#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: u32, name: &str, created: u64, dropped: Option<u64>) -> BucketRow {
        BucketRow {
            id: BucketId(id),
            name: BucketName::new(name).unwrap(),
            options: BucketOptions {
                history_ms: Some(7),
                ..BucketOptions::default()
            },
            created_version: created,
            created_ms: 9,
            dropped,
            written: created + 5,
            keys: 3,
            bytes: 1 << 40,
        }
    }

    fn state() -> IndexState {
        let mut state = IndexState {
            last_version: 1 << 50,
            newest_time_ms: 1_795_507_200_000,
            ..IndexState::default()
        };
        state.create(row(1, "a", 4096, Some(5000)));
        state.create(row(2, "b", 4200, None));
        state.create(row(5, "a", 6000, None));
        state
    }

    #[test]
    fn what_is_encoded_is_decoded_and_what_is_cut_is_not() {
        let state = state();
        let bytes = state.encode();
        assert_eq!(IndexState::decode(&bytes), Some(state));
        for length in 0..bytes.len() {
            assert_eq!(IndexState::decode(&bytes[..length]), None, "{length}");
        }
    }

    #[test]
    fn a_bucket_above_the_greatest_id_is_no_state() {
        let mut state = state();
        state.last_bucket = 4;
        assert_eq!(IndexState::decode(&state.encode()), None);
    }

    #[test]
    fn a_creation_record_that_stands_anywhere_else_is_no_state() {
        let mut bytes = state().encode();
        let (tag, place) = (3, 0);
        let at = bytes.windows(2).position(|pair| pair == [tag, place]);
        bytes[at.unwrap() + 1] = 1;
        assert_eq!(IndexState::decode(&bytes), None);
    }

    #[test]
    fn a_name_that_is_borne_again_forgets_who_bore_it_before() {
        let mut state = state();
        state.forget_former();
        let ids: Vec<u32> = state.buckets.iter().map(|row| row.id.0).collect();
        assert_eq!((ids, state.last_bucket), (vec![2, 5], 5));
        state.bucket_mut(BucketId(5)).unwrap().dropped = Some(7000);
        state.forget_former();
        assert!(state.bucket(BucketId(5)).is_some(), "the newest stays");
    }
}
