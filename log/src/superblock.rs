//! The superblock of a partition: where its log stands, in a [two-slot file](crate::slots).
//!
//! ```text
//!  0  16  log id
//! 16  u16 partition
//! 18  u8  state            1 open, 2 closed cleanly
//! 19  u8  0
//! 20  u32 incarnation
//! 24  u64 marked           W: everything below was synced when this was written
//! 32  u64 time_ms          believed time when this was written
//! 40  u64 cut segment      0: no recovery has cut a file
//! 48  u64 cut end          the log's end in that file; bytes past it are never read
//! 56  u64 copy segment     0: nothing above the cut was kept
//! 64  u64 resume           the least offset that a segment created later may begin at
//! ```
//!
//! What lies outside of these limits, or is not zero where it must be, is not a superblock: every
//! offset below `OFFSET_END`, an incarnation and a segment number that another can follow.
//!
//! It is written when a partition is created, after a recovery (both slots, before the first
//! append), before the first append after a clean close (state open), when the log has been idle
//! for a second with something new to vouch for, and at a clean close. A closed state counts only
//! if both slots verify: a damaged slot may have been the newer one that said open.

use crate::identity::{Incarnation, LogId, Offset, PartitionId, SegmentNumber};
use crate::slots::Fields;

pub(crate) const MAGIC: [u8; 8] = *b"CAIRNSUP";
pub(crate) const FILE_NAME: &str = "superblock";

/// Above every offset that a log reaches, and above where one at its limit would resume; far enough
/// down that no sum of a few overflows.
const OFFSET_END: u64 = 2 * Offset::MAX.get();

/// See the module's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) log: LogId,
    pub(crate) partition: PartitionId,
    pub(crate) closed: bool,
    pub(crate) incarnation: Incarnation,
    pub(crate) marked: Offset,
    pub(crate) time_ms: u64,
    pub(crate) cut: Option<Cut>,
    pub(crate) resume: Offset,
}

/// What the last recovery that found a tail did with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The file that was the newest, and where the log now ends in it.
    pub(crate) segment: SegmentNumber,
    pub(crate) end: Offset,
    /// The file that holds what was kept above `end`.
    pub(crate) copy: Option<SegmentNumber>,
}

impl Superblock {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(72);
        bytes.extend_from_slice(&self.log.0);
        bytes.extend_from_slice(&self.partition.0.to_le_bytes());
        bytes.extend_from_slice(&[if self.closed { 2 } else { 1 }, 0]);
        bytes.extend_from_slice(&self.incarnation.0.to_le_bytes());
        let (segment, end, copy) = match self.cut {
            Some(cut) => (
                cut.segment.0,
                cut.end.get(),
                cut.copy.map_or(0, |copy| copy.0),
            ),
            None => (0, 0, 0),
        };
        let words = [
            self.marked.get(),
            self.time_ms,
            segment,
            end,
            copy,
            self.resume.get(),
        ];
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Superblock> {
        let mut fields = Fields::new(bytes);
        let log = LogId(fields.bytes());
        let partition = PartitionId(fields.u16());
        let closed = match fields.u8() {
            1 => false,
            2 => true,
            _ => return None,
        };
        let reserved = fields.u8();
        let incarnation = Incarnation(fields.u32());
        let marked = Offset::new(fields.u64());
        let time_ms = fields.u64();
        let (segment, end, copy) = (fields.u64(), fields.u64(), fields.u64());
        let resume = Offset::new(fields.u64());
        let numbers_are_sane = incarnation.0 < u32::MAX
            && segment < u64::MAX
            && copy < u64::MAX
            && [marked.get(), end, resume.get()]
                .iter()
                .all(|&offset| offset < OFFSET_END);
        let cut_is_sane = segment != 0 || (end, copy) == (0, 0);
        if reserved != 0 || fields.short || !fields.is_empty() || !numbers_are_sane || !cut_is_sane
        {
            return None;
        }
        let cut = (segment != 0).then_some(Cut {
            segment: SegmentNumber(segment),
            end: Offset::new(end),
            copy: (copy != 0).then_some(SegmentNumber(copy)),
        });
        Some(Superblock {
            log,
            partition,
            closed,
            incarnation,
            marked,
            time_ms,
            cut,
            resume,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let cut = Cut {
            segment: SegmentNumber(4),
            end: Offset::new(99),
            copy: None,
        };
        for (closed, cut) in [
            (true, None),
            (false, Some(cut)),
            (
                false,
                Some(Cut {
                    copy: Some(SegmentNumber(5)),
                    ..cut
                }),
            ),
        ] {
            let block = Superblock {
                log: LogId(*b"0123456789abcdef"),
                partition: PartitionId(2),
                closed,
                incarnation: Incarnation(3),
                marked: Offset::new(1 << 40),
                time_ms: 17,
                cut,
                resume: Offset::new(1 << 41),
            };
            let bytes = block.encode();
            assert!(bytes.len() <= crate::slots::CONTENT_BYTES_MAX);
            assert_eq!(Superblock::decode(&bytes), Some(block));
            assert_eq!(Superblock::decode(&bytes[..bytes.len() - 1]), None);
            assert_eq!(Superblock::decode(&[&bytes[..], &[0]].concat()), None);
        }
    }

    #[test]
    fn numbers_that_nothing_can_follow_are_refused() {
        let whole = Superblock {
            log: LogId(*b"0123456789abcdef"),
            partition: PartitionId(2),
            closed: true,
            incarnation: Incarnation(3),
            marked: Offset::new(1 << 40),
            time_ms: 17,
            cut: None,
            resume: Offset::new(1 << 41),
        }
        .encode();
        let with = |at: usize, field: &[u8]| {
            let mut bytes = whole.clone();
            bytes[at..at + field.len()].copy_from_slice(field);
            Superblock::decode(&bytes)
        };
        assert!(with(0, &[]).is_some());
        assert_eq!(with(19, &[1]), None, "a reserved byte");
        assert_eq!(with(20, &[0xff; 4]), None, "the last incarnation");
        for offset in [24, 64] {
            assert_eq!(with(offset, &[0xff; 8]), None, "an offset at {offset}");
        }
        assert_eq!(with(40, &[0xff; 8]), None, "the last segment");
        assert_eq!(with(48, &[1]), None, "an end without a cut");
    }
}
