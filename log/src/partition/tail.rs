//! Reading a log as it grows: durable batches in order, and waiting for the next.
//!
//! A [`TailReader`] is a position. It looks its segment up again for every batch and holds nothing
//! in between, so a reader that is slow keeps no space; [`TailReader::pin`] is for one that must
//! not be cut off. It never skips what was dropped: [`Error::Compacted`] tells that something is
//! missing, and from where on nothing is.
//!
//! # Waiting
//!
//! Waiters register under the lock that a leader takes anyway when its group is done, after it has
//! moved the durable offset. Whoever registers first is seen by the leader; whoever comes later
//! sees the new offset. So no wake is lost, and a commit that nobody waits for pays one look at an
//! empty list.

use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::replay::{damaged, next_batch};
use super::{Partition, RecordBytes, SegmentPin, Tail};
use crate::error::{Error, Result};
use crate::frame::{BATCH_HEADER_BYTES, RECORD_HEADER_BYTES, Records};
use crate::identity::{Offset, SegmentNumber};
use crate::recovery::START;
use crate::segment::Segment;
use crate::segment::ahead::Ahead;

/// Reads durable batches in order. See the module for what it holds and what it tells.
#[derive(Debug)]
pub struct TailReader {
    partition: Arc<Partition>,
    next: Offset,
    /// Whether a batch is known to begin at `next`, if any does.
    is_aligned: bool,
    /// Until it is aligned: whether a batch that began below `next` and holds it comes first.
    with_holder: bool,
    ahead: Ahead,
}

/// A durable batch. It keeps the segment's memory map rather than a copy, also when the segment is
/// dropped meanwhile.
#[derive(Debug)]
pub struct TailBatch {
    /// Where the batch stands.
    pub offset: Offset,
    /// Where the next one stands, unless a segment ends here.
    pub end: Offset,
    /// The time the batch was judged by, in milliseconds since 1970.
    pub time_ms: u64,
    body: RecordBytes,
    places: Vec<(Offset, Range<usize>)>,
}

impl TailBatch {
    /// The batch's records: where each stands, and its payload, which has been verified.
    pub fn records(&self) -> impl ExactSizeIterator<Item = (Offset, &[u8])> + '_ {
        let body = self.body.as_ref();
        self.places
            .iter()
            .map(|(offset, place)| (*offset, body.get(place.clone()).unwrap_or_default()))
    }

    /// The batch's bytes, for whoever keeps them longer than the batch: the payloads that
    /// [`TailBatch::records`] yields are parts of them, and keep the memory map they lie in.
    pub fn into_bytes(self) -> (RecordBytes, Vec<Range<usize>>) {
        let places = self.places.into_iter().map(|(_, place)| place).collect();
        (self.body, places)
    }
}

impl TailReader {
    /// The next durable batch, or `None` if there is none yet: then wait, with
    /// [`Partition::wait_durable`] or [`Partition::poll_durable`], beyond
    /// [`TailReader::position`].
    ///
    /// Cost: a short shared lock, and one pass over the batch to verify it. The first call walks
    /// the batch headers from the start of the segment if the reader began in its middle.
    ///
    /// # Errors
    ///
    /// [`Error::Compacted`] if the position lies in a segment that was dropped; the reader stays
    /// where it is. [`Error::Corrupt`] at a batch that does not verify.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator that has ended stays ended, and this one goes on"
    )]
    pub fn next(&mut self) -> Result<Option<TailBatch>> {
        loop {
            let Some(segment) = self.locate()? else {
                return Ok(None);
            };
            let end = segment.published();
            self.align(&segment, end)?;
            if self.next < end {
                let batch = read_batch(&segment, self.next, end, &mut self.ahead)?;
                self.next = batch.end;
                return Ok(Some(batch));
            }
        }
    }

    /// Where the reader stands: it has yielded everything from its start up to here.
    pub fn position(&self) -> Offset {
        self.next
    }

    /// Keeps what the reader has not yielded yet from being dropped. The pin stays where it is: to
    /// move it on, take another, then drop this one.
    pub fn pin(&self) -> SegmentPin {
        self.partition.pin(self.next)
    }

    /// The segment that holds the position; moves over gaps that unclean closes left.
    fn locate(&mut self) -> Result<Option<Arc<Segment>>> {
        let segments = self.partition.segments.read();
        loop {
            let after = segments.partition_point(|segment| segment.base() <= self.next);
            let (before, behind) = segments.split_at(after);
            if let Some(holder) = before.last()
                && self.next < holder.published()
            {
                return Ok(Some(Arc::clone(holder)));
            }
            let Some(following) = behind.first() else {
                return Ok(None);
            };
            // Before the first of all there was nothing, wherever it begins.
            let is_first = following.number() == SegmentNumber(1);
            if following.header().previous_end > self.next && !is_first {
                return Err(Error::Compacted {
                    offset: self.next,
                    floor: self.partition.dropped_end(),
                });
            }
            (self.next, self.is_aligned) = (following.base(), true);
        }
    }

    /// Moves on to where a batch begins. The offset may be anybody's guess, and the bytes there
    /// anybody's payload, so only a walk from the start of the segment can tell.
    fn align(&mut self, segment: &Segment, end: Offset) -> Result<()> {
        if self.is_aligned {
            return Ok(());
        }
        let mut offset = segment.base();
        while offset < self.next {
            let (batch_end, _) =
                next_batch(segment, offset, end).ok_or_else(|| damaged(segment, offset))?;
            if self.with_holder && batch_end > self.next {
                break;
            }
            offset = batch_end;
        }
        (self.next, self.is_aligned) = (offset, true);
        Ok(())
    }
}

fn read_batch(
    segment: &Arc<Segment>,
    offset: Offset,
    end: Offset,
    ahead: &mut Ahead,
) -> Result<TailBatch> {
    let broken = || damaged(segment, offset);
    let (batch_end, header) = next_batch(segment, offset, end).ok_or_else(broken)?;
    ahead.come_to(segment, offset, batch_end);
    let start = offset.plus(BATCH_HEADER_BYTES as u64);
    let bytes = segment.bytes(start..batch_end).ok_or_else(broken)?;
    let mut place = 0;
    let places = Records::new(&bytes, start, segment.seed())
        .map(|record| {
            let (offset, payload) = record.map_err(|at| damaged(segment, at))?;
            let payload_start = place + RECORD_HEADER_BYTES;
            place = payload_start + payload.len();
            Ok((offset, payload_start..place))
        })
        .collect::<Result<_>>()?;
    let body = match bytes {
        std::borrow::Cow::Owned(bytes) => RecordBytes::owned(bytes),
        std::borrow::Cow::Borrowed(_) => RecordBytes::mapped(Arc::clone(segment), start, batch_end),
    };
    Ok(TailBatch {
        offset,
        end: batch_end,
        time_ms: header.time_ms,
        body,
        places,
    })
}

/// Following the log.
impl Partition {
    /// A reader of the durable batches from the first at or above `from` on; `from` may lie above
    /// the log's end.
    ///
    /// # Errors
    ///
    /// [`Error::Compacted`] if `from` lies in a segment that was dropped.
    pub fn tail(self: &Arc<Self>, from: Offset) -> Result<TailReader> {
        let mut reader = TailReader {
            partition: Arc::clone(self),
            next: from.max(START),
            is_aligned: false,
            with_holder: false,
            ahead: Ahead::default(),
        };
        reader.locate()?;
        Ok(reader)
    }

    /// [`Partition::tail`], but from the batch on that holds the byte at `from`, if one does.
    ///
    /// # Errors
    ///
    /// Those of [`Partition::tail`].
    pub fn tail_holding(self: &Arc<Self>, from: Offset) -> Result<TailReader> {
        let mut reader = self.tail(from)?;
        reader.with_holder = true;
        Ok(reader)
    }

    /// Blocks until something beyond this offset is durable, and says whether it is; `false` when
    /// the time is over, or the partition has failed or is closed, so that waiting on is in vain.
    pub fn wait_durable(&self, beyond: Offset, timeout: Duration) -> bool {
        let started = Instant::now();
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        while self.poll_durable(beyond, &mut context).is_pending() {
            let Some(left) = timeout.checked_sub(started.elapsed()) else {
                let mut tail = self.tail.lock();
                tail.watchers
                    .retain(|watcher| !watcher.waker.will_wake(&waker));
                break;
            };
            thread::park_timeout(left);
        }
        self.durable() > beyond
    }

    /// Ready once something beyond this offset is durable, or the partition has failed or is
    /// closed; otherwise the task is woken then, and perhaps earlier.
    pub fn poll_durable(&self, beyond: Offset, context: &mut Context<'_>) -> Poll<()> {
        if self.durable() > beyond || self.is_poisoned() {
            return Poll::Ready(());
        }
        let mut tail = self.tail.lock();
        // Looked at again under the lock: see the module on lost wakes.
        if self.durable() > beyond || self.is_poisoned() || tail.stopping {
            return Poll::Ready(());
        }
        let waker = context.waker();
        let known = tail.watchers.iter_mut();
        let known = known
            .into_iter()
            .find(|watcher| watcher.waker.will_wake(waker));
        match known {
            Some(watcher) => watcher.beyond = watcher.beyond.min(beyond),
            None => {
                let waker = waker.clone();
                tail.watchers.push(Watcher { beyond, waker });
            }
        }
        // Tasks that are gone leave their wakers behind. Those that are not come back.
        let crowd = if tail.watchers.len() > WATCHERS_MAX {
            std::mem::take(&mut tail.watchers)
        } else {
            Vec::new()
        };
        drop(tail);
        wake(crowd);
        Poll::Pending
    }

    /// Wakes everybody who waits for something durable: there will be no more.
    pub(super) fn wake_watchers(&self) {
        let watchers = std::mem::take(&mut self.tail.lock().watchers);
        wake(watchers);
    }
}

impl Tail {
    /// Those who wait for something that is durable now. Wake them when the lock is released.
    pub(super) fn take_watchers(&mut self, durable: Offset) -> Vec<Watcher> {
        self.watchers
            .extract_if(.., |watcher| watcher.beyond < durable)
            .collect()
    }
}

/// Somebody who waits until something beyond an offset is durable.
#[derive(Debug)]
pub(super) struct Watcher {
    beyond: Offset,
    waker: Waker,
}

pub(super) fn wake(watchers: Vec<Watcher>) {
    watchers
        .into_iter()
        .for_each(|watcher| watcher.waker.wake());
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Watchers past this number are woken to find out who is still there.
const WATCHERS_MAX: usize = 4_096;

#[cfg(test)]
mod tests;
