//! Reading the log front to back.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Partition, starting_at};
use crate::error::{Error, Result};
use crate::frame::{BATCH_HEADER_BYTES, BatchHeader, Records};
use crate::identity::Offset;
use crate::segment::Segment;
use crate::segment::ahead::Ahead;

/// A batch as it stands in the log. All of it has been verified.
#[derive(Clone, Debug)]
pub struct ReplayedBatch<'a> {
    /// Where the batch stands.
    pub offset: Offset,
    /// Where the next one stands, unless a segment ends here.
    pub end: Offset,
    /// The time the batch was judged by, in milliseconds since 1970.
    pub time_ms: u64,
    records: Vec<(Offset, &'a [u8])>,
}

impl<'a> ReplayedBatch<'a> {
    /// The batch's records: where each stands, and its payload.
    pub fn records(&self) -> impl ExactSizeIterator<Item = (Offset, &'a [u8])> + '_ {
        self.records.iter().copied()
    }
}

impl Partition {
    /// Where the newest retained durable batch at or below `offset` stands, and the time it was
    /// judged by in milliseconds since 1970; `None` if there is none. Cost: the headers of the
    /// batches before it in its segment are walked.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if a batch on the way does not verify.
    pub fn batch_at_or_below(&self, offset: Offset) -> Result<Option<(Offset, u64)>> {
        let segments: Vec<Arc<Segment>> = self.segments.read().clone();
        let holds = |segment: &&Arc<Segment>| {
            segment.base() <= offset && segment.base() < segment.published()
        };
        let Some(segment) = segments.iter().rfind(holds) else {
            return Ok(None);
        };
        let end = segment.published();
        let (mut at, mut found) = (segment.base(), None);
        while at < end && at <= offset {
            let Some((next, header)) = next_batch(segment, at, end) else {
                return Err(damaged(segment, at));
            };
            found = Some((at, header.time_ms));
            at = next;
        }
        Ok(found)
    }

    /// The time that the durable batch at `offset` was judged by, in milliseconds since 1970.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] if no retained segment holds the offset; [`Error::Corrupt`] if no
    /// batch stands there.
    pub fn batch_time_ms(&self, offset: Offset) -> Result<u64> {
        let segment = Arc::clone(super::find(&self.segments.read(), offset)?);
        let header = next_batch(&segment, offset, segment.published());
        let (_, header) = header.ok_or_else(|| damaged(&segment, offset))?;
        Ok(header.time_ms)
    }

    /// Calls `visit` with every retained durable batch from `from` on, in log order, until it
    /// breaks or the durable end (as it was at the call) is reached. Segments that end at or below
    /// `from` are not looked at.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], naming file and position, at the first batch that does not verify:
    /// everything below the durable end was written and synced, so this is damage and no tail.
    pub fn replay(
        &self,
        from: Offset,
        mut visit: impl FnMut(ReplayedBatch<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let durable = self.durable();
        let segments: Vec<Arc<Segment>> = self.segments.read().clone();
        let beyond = segments
            .iter()
            .filter(|segment| segment.published().min(durable) > from);
        for segment in beyond {
            if walk(segment, from, durable, &mut visit)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Calls `visit` with every durable batch of the one segment that begins at `base`, in log
    /// order, until it breaks. The segment is held meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] if no retained segment begins at `base`; [`Error::Corrupt`] as
    /// [`Partition::replay`] has it.
    pub fn replay_segment(
        &self,
        base: Offset,
        mut visit: impl FnMut(ReplayedBatch<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let durable = self.durable();
        let segment = Arc::clone(starting_at(&self.segments.read(), base)?);
        walk(&segment, base, durable, &mut visit).map(drop)
    }
}

/// Visits the batches of one segment that begin at `from` or later and end by `durable`.
fn walk(
    segment: &Segment,
    from: Offset,
    durable: Offset,
    visit: &mut impl FnMut(ReplayedBatch<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>> {
    let end = segment.published().min(durable);
    let (mut offset, mut ahead) = (segment.base(), Ahead::default());
    while offset < end {
        let Some((batch_end, header)) = next_batch(segment, offset, end) else {
            return Err(damaged(segment, offset));
        };
        if offset >= from {
            ahead.come_to(segment, offset, batch_end);
            let body_start = offset.plus(BATCH_HEADER_BYTES as u64);
            let Some(body) = segment.bytes(body_start..batch_end) else {
                return Err(damaged(segment, offset));
            };
            let records = Records::new(&body, body_start, segment.seed())
                .collect::<std::result::Result<Vec<_>, Offset>>()
                .map_err(|at| damaged(segment, at))?;
            let batch = ReplayedBatch {
                offset,
                end: batch_end,
                time_ms: header.time_ms,
                records,
            };
            if visit(batch).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        offset = batch_end;
    }
    Ok(ControlFlow::Continue(()))
}

/// The end and the header of the batch at `offset`, if it ends by `end`. Its records are not looked
/// at.
pub(crate) fn next_batch(
    segment: &Segment,
    offset: Offset,
    end: Offset,
) -> Option<(Offset, BatchHeader)> {
    let head = segment.bytes(offset..offset.plus(BATCH_HEADER_BYTES as u64).min(end))?;
    let header = BatchHeader::decode(&head, offset, segment.seed())?;
    let batch_end = offset.plus(header.batch_bytes());
    (batch_end <= end).then_some((batch_end, header))
}

pub(super) fn damaged(segment: &Segment, offset: Offset) -> Error {
    let what = "a batch that was durable does not verify";
    Error::corrupt(segment.path(), segment.position(offset), what)
}
