//! Giving batches their place: the open group, and what has room in it. Nothing here touches the
//! disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Durability, OpenGroup, Partition, Tail};
use crate::commit::Commit;
use crate::error::Result;
use crate::frame::BatchBuffer;
use crate::identity::Offset;
use crate::segment::spares::Claim;

/// The most bytes that wait in one group; past it, appends wait for the group to be written.
const GROUP_BYTES_MAX: usize = 16 << 20;

/// A batch that has its place in the log.
#[derive(Debug)]
pub struct Appended {
    /// Where the batch stands; also its version.
    pub offset: Offset,
    /// Where the next batch will stand, unless a segment ends here.
    pub end: Offset,
    /// The base of the segment that the batch stands in: another than the last batch's when a
    /// segment was sealed in between.
    pub segment: Offset,
    /// Completes when the batch is as durable as was asked for.
    pub commit: Commit,
}

impl Partition {
    /// Gives the batch its place behind everything sequenced so far, or `None` if there is no room
    /// for it yet: then call [`Partition::make_room`], with no lock held, and come again.
    ///
    /// Never touches the disk. Cost: one short lock and one copy of the batch. The batch is
    /// written when its commit is waited for, polled or dropped.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] if the batch is larger than [`crate::BATCH_BYTES_MAX`];
    /// [`crate::Error::Poisoned`].
    pub fn try_append(
        self: &Arc<Self>,
        batch: &BatchBuffer,
        time_ms: u64,
        durability: Durability,
    ) -> Result<Option<Appended>> {
        self.append_if(Claim::Write, batch, time_ms, durability, |_| true)
    }

    /// [`Partition::try_append`] for what may take a part of the reserve: then the room is made by
    /// [`Partition::make_room_claiming`], for the same claim.
    ///
    /// # Errors
    ///
    /// Those of [`Partition::try_append`].
    pub fn try_append_claiming(
        self: &Arc<Self>,
        claim: Claim,
        batch: &BatchBuffer,
        time_ms: u64,
        durability: Durability,
    ) -> Result<Option<Appended>> {
        self.append_if(claim, batch, time_ms, durability, |_| true)
    }

    /// [`Partition::try_append`] at this offset, for a batch that says where it stands: also
    /// `None` if the log ends elsewhere by now.
    ///
    /// # Errors
    ///
    /// Those of [`Partition::try_append`].
    pub fn try_append_at(
        self: &Arc<Self>,
        offset: Offset,
        batch: &BatchBuffer,
        time_ms: u64,
        durability: Durability,
    ) -> Result<Option<Appended>> {
        self.append_if(Claim::Write, batch, time_ms, durability, |end| {
            end == offset
        })
    }

    fn append_if(
        self: &Arc<Self>,
        claim: Claim,
        batch: &BatchBuffer,
        time_ms: u64,
        durability: Durability,
        is_there: impl FnOnce(Offset) -> bool,
    ) -> Result<Option<Appended>> {
        batch.check_size()?;
        let bytes = batch.byte_len();
        let mut tail = self.tail.lock();
        self.check_poison()?;
        if !tail.has_room(claim, bytes) || !is_there(tail.end) {
            return Ok(None);
        }
        let Some(active) = tail.active.clone() else {
            return Ok(None);
        };
        let offset = tail.end;
        let end = offset.plus(bytes as u64);
        let open = tail.open_group();
        open.starts
            .push(u32::try_from(open.bytes.len()).unwrap_or(u32::MAX));
        batch.place_at(offset, active.segment.seed(), time_ms, &mut open.bytes);
        if durability == Durability::Local {
            open.first_local.get_or_insert(offset);
            open.await_sync(&self.waiting);
        }
        let commit = Commit::pending(Arc::clone(self), Arc::clone(&open.group));
        tail.end = end;
        self.end.store(end.get(), Ordering::Release);
        self.newest_time_ms.fetch_max(time_ms, Ordering::Relaxed);
        Ok(Some(Appended {
            offset,
            end,
            segment: active.segment.base(),
            commit,
        }))
    }

    /// Completes once everything sequenced so far is durable.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Poisoned`] if the partition has failed already.
    pub fn barrier(self: &Arc<Self>) -> Result<Commit> {
        let mut tail = self.tail.lock();
        self.check_poison()?;
        if tail.open.is_none() && self.durable() == tail.end {
            return Ok(Commit::completed());
        }
        let open = tail.open_group();
        open.await_sync(&self.waiting);
        Ok(Commit::pending(Arc::clone(self), Arc::clone(&open.group)))
    }
}

impl OpenGroup {
    /// One more waits until all of the group is durable; `waiting` tells the partition so.
    fn await_sync(&mut self, waiting: &AtomicUsize) {
        self.needs_sync = true;
        self.waiting += 1;
        waiting.store(self.waiting, Ordering::Relaxed);
    }
}

impl Tail {
    pub(super) fn has_room(&self, claim: Claim, bytes: usize) -> bool {
        let pending = self.open.as_ref().map_or(0, |open| open.bytes.len());
        self.armed
            && !self.rolling
            && !self.stopping
            && self.active_has_room(claim, bytes)
            && (pending == 0 || pending + bytes <= GROUP_BYTES_MAX)
    }

    pub(super) fn open_group(&mut self) -> &mut OpenGroup {
        let base = self.end;
        let buffer = &mut self.buffer;
        self.open.get_or_insert_with(|| OpenGroup {
            group: Arc::default(),
            base,
            bytes: std::mem::take(buffer),
            starts: Vec::new(),
            first_local: None,
            needs_sync: false,
            waiting: 0,
            handed_over: false,
        })
    }
}
