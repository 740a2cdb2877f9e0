//! Frames: the bytes of a batch in the log, and how they are checked.
//!
//! A **batch** is the unit that is written wholly or not at all. It is a header frame followed by
//! record frames; all integers are little-endian.
//!
//! ```text
//! batch header, 24 bytes                       record frame, 8 bytes + payload
//!  0  u32  sum     CRC of 4..24, masked         0  u32  sum     CRC of 4.., masked
//!  4  u32  body    bytes of records             4  u32  length  bytes of payload
//!  8  u32  behind  offset - W                   8  ...  payload
//! 12  u8   kind    1; 0 is illegal
//! 13  u8   flags   0
//! 14  u16  magic   0xCA12
//! 16  u64  time_ms
//! ```
//!
//! Sums are bound to the logical offset and to the identity of the segment ([`crate::checksum`]).
//! W says: every byte of the partition below it was synced before this batch was written. It is
//! the evidence that tells a torn tail from rot (see `recovery`).
//!
//! What a reader may rely on:
//!
//! * a header that verifies was written at this place by this log; its `body` can be trusted even
//!   if the records are damaged;
//! * a record that verifies is whole, at its place, and of this log: a point read checks one
//!   record, not the batch around it;
//! * decoding never panics and never reads outside the slice, whatever the bytes.

use crate::checksum::{Seed, crc32};
use crate::error::{Error, Result};
use crate::identity::Offset;

/// Bytes of a batch before its first record.
pub(crate) const BATCH_HEADER_BYTES: usize = 24;

/// Bytes of a record before its payload.
pub(crate) const RECORD_HEADER_BYTES: usize = 8;

/// The most bytes one batch may take in the log, headers included.
pub const BATCH_BYTES_MAX: usize = 16 << 20;

const KIND_RECORDS: u8 = 1;
const MAGIC: u16 = 0xCA12;

/// The encoded records of one batch, not yet bound to a place.
///
/// The CRC of each record is computed when the record is added, outside every lock; binding it to
/// its place when the batch is appended costs one copy and one exclusive-or a record.
#[derive(Clone, Debug)]
pub struct BatchBuffer {
    bytes: Vec<u8>,
    places: Vec<u32>,
}

impl BatchBuffer {
    /// The place of a batch's first record.
    pub const FIRST_PLACE: u64 = BATCH_HEADER_BYTES as u64;

    /// An empty batch.
    pub fn new() -> BatchBuffer {
        BatchBuffer {
            bytes: vec![0; BATCH_HEADER_BYTES],
            places: Vec::new(),
        }
    }

    /// Adds a record whose payload is what `encode` appends to the buffer, and returns the
    /// record's place: bytes from the start of the batch.
    ///
    /// `encode` must only append: the buffer holds the records before this one.
    pub fn record(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> u32 {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
        encode(&mut self.bytes);
        // A batch past the limit is refused when it is appended, so saturated numbers are never
        // written.
        let length = self.bytes.len().saturating_sub(start + RECORD_HEADER_BYTES);
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.bytes[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
        let sum = crc32(&self.bytes[start + 4..]);
        self.bytes[start..start + 4].copy_from_slice(&sum.to_le_bytes());
        let place = u32::try_from(start).unwrap_or(u32::MAX);
        self.places.push(place);
        place
    }

    /// The place that the next record will get.
    pub fn next_place(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }

    /// Bytes of the batch in the log, headers included.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no record was added.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.truncate(BATCH_HEADER_BYTES);
        self.places.clear();
    }

    /// Refuses a batch that is too large for any segment.
    pub(crate) fn check_size(&self) -> Result<()> {
        if self.bytes.len() <= BATCH_BYTES_MAX {
            return Ok(());
        }
        let what = format!(
            "a batch of {} bytes; the most is {BATCH_BYTES_MAX}",
            self.bytes.len()
        );
        Err(Error::Invalid { what })
    }

    /// Appends the batch to `group` as it will stand at `offset`; only the header's sum and W are
    /// still open, see [`seal_header`].
    pub(crate) fn place_at(&self, offset: Offset, seed: Seed, time_ms: u64, group: &mut Vec<u8>) {
        let start = group.len();
        group.extend_from_slice(&self.bytes);
        let batch = &mut group[start..];
        let body = u32::try_from(batch.len() - BATCH_HEADER_BYTES).unwrap_or(u32::MAX);
        batch[4..8].copy_from_slice(&body.to_le_bytes());
        batch[12] = KIND_RECORDS;
        batch[14..16].copy_from_slice(&MAGIC.to_le_bytes());
        batch[16..24].copy_from_slice(&time_ms.to_le_bytes());
        for &place in &self.places {
            let mask = seed.record_mask(offset.plus(u64::from(place)));
            let sum = &mut batch[place as usize..place as usize + 4];
            for (byte, mask) in sum.iter_mut().zip(mask.to_le_bytes()) {
                *byte ^= mask;
            }
        }
    }
}

impl Default for BatchBuffer {
    fn default() -> BatchBuffer {
        BatchBuffer::new()
    }
}

/// Writes W and the sum into the header of a batch placed at `offset`.
pub(crate) fn seal_header(batch: &mut [u8], offset: Offset, seed: Seed, synced: Offset) {
    let behind = u32::try_from(offset.since(synced)).unwrap_or(u32::MAX);
    assert!(
        behind < u32::MAX,
        "unsynced bytes are bounded far below 4 GiB"
    );
    batch[8..12].copy_from_slice(&behind.to_le_bytes());
    let sum = crc32(&batch[4..BATCH_HEADER_BYTES]) ^ seed.header_mask(offset);
    batch[0..4].copy_from_slice(&sum.to_le_bytes());
}

/// A batch header that verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    /// Bytes of records that follow.
    pub(crate) body_bytes: u32,
    /// W: everything below was synced before this batch was written.
    pub(crate) synced: Offset,
    /// The time the batch was judged by.
    pub(crate) time_ms: u64,
}

impl BatchHeader {
    /// Bytes of the whole batch.
    pub(crate) fn batch_bytes(&self) -> u64 {
        BATCH_HEADER_BYTES as u64 + u64::from(self.body_bytes)
    }

    /// The header at the start of `bytes`, or why there is none.
    pub(crate) fn decode(bytes: &[u8], offset: Offset, seed: Seed) -> Option<BatchHeader> {
        let header: &[u8; BATCH_HEADER_BYTES] = bytes.first_chunk()?;
        let [
            s0,
            s1,
            s2,
            s3,
            b0,
            b1,
            b2,
            b3,
            w0,
            w1,
            w2,
            w3,
            kind,
            flags,
            m0,
            m1,
            time @ ..,
        ] = *header;
        if kind != KIND_RECORDS || flags != 0 || u16::from_le_bytes([m0, m1]) != MAGIC {
            return None;
        }
        let sum = crc32(&header[4..]) ^ seed.header_mask(offset);
        if sum != u32::from_le_bytes([s0, s1, s2, s3]) {
            return None;
        }
        let body_bytes = u32::from_le_bytes([b0, b1, b2, b3]);
        let behind = u64::from(u32::from_le_bytes([w0, w1, w2, w3]));
        // The greatest distance is what the encoder saturates to, and then refuses.
        let behind_max = offset.get().min(u64::from(u32::MAX) - 1);
        if body_bytes as usize > BATCH_BYTES_MAX || behind > behind_max {
            return None;
        }
        Some(BatchHeader {
            body_bytes,
            synced: Offset::new(offset.get() - behind),
            time_ms: u64::from_le_bytes(time),
        })
    }
}

/// A cheap look before [`BatchHeader::decode`], for searching at every byte.
pub(crate) fn looks_like_header(bytes: &[u8]) -> bool {
    let [low, high] = MAGIC.to_le_bytes();
    matches!(bytes.get(12..16), Some(&[KIND_RECORDS, 0, a, b]) if a == low && b == high)
}

/// The payload of the record frame at the start of `bytes`, if it verifies at `offset`.
pub(crate) fn decode_record(bytes: &[u8], offset: Offset, seed: Seed) -> Option<&[u8]> {
    let length = record_length(bytes)?;
    let frame = bytes.get(..RECORD_HEADER_BYTES + length)?;
    let (sum, rest) = frame.split_first_chunk::<4>()?;
    (crc32(rest) ^ seed.record_mask(offset) == u32::from_le_bytes(*sum)).then(|| &rest[4..])
}

/// The length a record frame claims, before anything is checked.
pub(crate) fn record_length(bytes: &[u8]) -> Option<usize> {
    let (_, rest) = bytes.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*rest.first_chunk::<4>()?) as usize;
    (length <= BATCH_BYTES_MAX).then_some(length)
}

/// The records of a batch whose first record stands at `offset`, each checked as it is met.
///
/// Yields `Err(offset)` once, at the first record that does not verify, and then ends.
#[derive(Clone, Debug)]
pub(crate) struct Records<'a> {
    rest: &'a [u8],
    offset: Offset,
    seed: Seed,
}

impl<'a> Records<'a> {
    pub(crate) fn new(body: &'a [u8], offset: Offset, seed: Seed) -> Records<'a> {
        Records {
            rest: body,
            offset,
            seed,
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = std::result::Result<(Offset, &'a [u8]), Offset>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let offset = self.offset;
        let Some(payload) = decode_record(self.rest, offset, self.seed) else {
            self.rest = &[];
            return Some(Err(offset));
        };
        let frame_bytes = RECORD_HEADER_BYTES + payload.len();
        self.rest = &self.rest[frame_bytes..];
        self.offset = offset.plus(frame_bytes as u64);
        Some(Ok((offset, payload)))
    }
}

#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
