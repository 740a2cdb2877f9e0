//! Checksums that are bound to a place, so that a stale, moved or zeroed block never verifies.
//!
//! A sum is the CRC-32 of the bytes, exclusive-or a 32-bit mask drawn from the identity of the
//! file (log, partition, incarnation, term) and the logical offset of the bytes. A CRC seeded with
//! a prefix differs from the unseeded one by exactly such a mask (CRCs are affine), so nothing of
//! its strength is lost: every single-bit flip and every burst of up to 32 bits is detected. What
//! is won is that the CRC of a record is computed before its place is known, outside every lock,
//! and bound to its place with one exclusive-or.
//!
//! The mixing function is the finaliser of SplitMix64 (Steele, Lea, Flood: "Fast Splittable
//! Pseudorandom Number Generators", OOPSLA 2014).

use crate::identity::{Incarnation, LogId, Offset, PartitionId, Term};

/// What the sums of one segment file are bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u64);

impl Seed {
    pub(crate) fn new(
        log: LogId,
        partition: PartitionId,
        incarnation: Incarnation,
        term: Term,
    ) -> Seed {
        let mut halves = [[0u8; 8]; 2];
        halves[0].copy_from_slice(&log.0[..8]);
        halves[1].copy_from_slice(&log.0[8..]);
        let place = u64::from(partition.0) << 32 | u64::from(incarnation.0);
        [
            u64::from_le_bytes(halves[0]),
            u64::from_le_bytes(halves[1]),
            place,
            term.0,
        ]
        .into_iter()
        .fold(Seed(0), |seed, word| Seed(mix(seed.0 ^ mix(word))))
    }

    /// The mask of a batch header at `offset`.
    pub(crate) fn header_mask(self, offset: Offset) -> u32 {
        high_half(mix(self.0 ^ mix(offset.get())))
    }

    /// The mask of a record at `offset`. Its domain differs from that of headers.
    pub(crate) fn record_mask(self, offset: Offset) -> u32 {
        high_half(mix(self.0 ^ mix(!offset.get())))
    }
}

/// The unbound CRC-32 (IEEE) of some bytes.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

fn high_half(word: u64) -> u32 {
    let [_, _, _, _, a, b, c, d] = word.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
