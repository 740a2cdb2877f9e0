//! Single steps of a write, shown to micro-benchmarks.

use crate::checksum::Seed;
use crate::frame::{BatchBuffer, seal_header};
use crate::identity::{Incarnation, LogId, Offset, PartitionId, Term};

/// Appends a batch as it stands at an offset, its sums bound to that place.
pub fn place(batch: &BatchBuffer, offset: u64, group: &mut Vec<u8>) {
    let log = LogId(*b"0123456789abcdef");
    let seed = Seed::new(log, PartitionId(0), Incarnation(1), Term(0));
    let (start, offset) = (group.len(), Offset::new(offset));
    batch.place_at(offset, seed, 0, group);
    seal_header(&mut group[start..], offset, seed, offset);
}
