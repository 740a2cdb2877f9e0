//! What a partition says of itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Partition;
use crate::identity::Offset;
use crate::segment::Segment;

/// One segment of a partition, as it stood at the call of [`Partition::segments`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSpan {
    /// The number of its file, from 1; greater numbers hold later batches.
    pub number: u64,
    /// Where its first batch stands, and its name for [`Partition::replay_segment`].
    pub base: Offset,
    /// Where its last batch ends; of the segment being written, the last durable one.
    pub end: Offset,
    /// It takes no more batches, so `end` is final.
    pub sealed: bool,
}

/// What a partition holds and has done since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// Where the first retained segment begins.
    pub start: Offset,
    /// Where the highest dropped segment ended, 0 if none ever was: at or above it nothing was
    /// dropped, below it there may be holes.
    pub dropped_end: Offset,
    /// Everything below has its place.
    pub end: Offset,
    /// Everything below survives a power loss.
    pub durable: Offset,
    /// Number of segment files.
    pub segments: usize,
    /// Bytes of log in them.
    pub bytes: u64,
    /// Bytes of files that are prepared for log to come: the spares, and the unused room of the
    /// segment being written.
    pub prepared_bytes: u64,
    /// Batches appended since the partition was opened.
    pub batches: u64,
    /// Write calls for them.
    pub writes: u64,
    /// Syncs for them.
    pub syncs: u64,
}

impl Partition {
    /// The retained segments, in log order, each with a base of its own: a file in which no batch
    /// is kept is not told apart from the next one if that begins at the same offset.
    ///
    /// Cost: one short lock, and a copy of 32 bytes each.
    pub fn segments(&self) -> Vec<SegmentSpan> {
        let segments = self.segments.read();
        // Under the same lock as the list, so that both say the same.
        let active = self.active.read().clone();
        let active = active.map(|active| active.segment.number());
        let span = |segment: &Arc<Segment>| SegmentSpan {
            number: segment.number().0,
            base: segment.base(),
            end: segment.published(),
            sealed: active != Some(segment.number()),
        };
        let mut spans: Vec<SegmentSpan> = Vec::with_capacity(segments.len());
        for segment in segments.iter() {
            spans.pop_if(|before| before.base == segment.base());
            spans.push(span(segment));
        }
        spans
    }

    /// Where the partition stands.
    pub fn status(&self) -> PartitionStatus {
        let spares = self.prepared.load(Ordering::Relaxed);
        let active = self.active.read().clone();
        let room = active.map_or(0, |active| active.segment.limit().since(self.end()));
        let segments = self.segments.read();
        PartitionStatus {
            start: segments
                .first()
                .map_or(self.durable(), |segment| segment.base()),
            dropped_end: self.dropped_end(),
            end: self.end(),
            durable: self.durable(),
            segments: segments.len(),
            bytes: segments
                .iter()
                .map(|segment| segment.published().since(segment.base()))
                .sum(),
            prepared_bytes: spares + room,
            batches: self.counters.batches.load(Ordering::Relaxed),
            writes: self.counters.writes.load(Ordering::Relaxed),
            syncs: self.counters.syncs.load(Ordering::Relaxed),
        }
    }
}
