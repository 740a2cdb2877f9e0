//! Retention: dropping whole segments, and the pins that keep them.
//!
//! A sealed segment other than the newest is dropped in this order: it is decided under the pins'
//! lock that nobody holds it; the `retired` file that lists it is made durable; it leaves the list
//! of segments; its file is unlinked. See [`crate::retired`] for why a crash in between is no harm.
//!
//! A read or a replay that holds the segment already goes on to its end: the memory map outlives
//! the file's name. A read that comes later finds that no segment holds the offset.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::{Condvar, Mutex};

use super::{Partition, starting_at};
use crate::error::{Error, Result};
use crate::identity::Offset;
use crate::retired::Owner;
use crate::segment::Segment;

/// What became of a segment that was to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a pinned segment is still there"]
pub enum Dropped {
    /// It is gone, and stays gone after a power loss.
    Done,
    /// It is still there: a [`SegmentPin`] holds it. Try again when that is released.
    Pinned,
    /// It is still there: it is the newest. [`Partition::seal`] begins another.
    Newest,
}

impl Partition {
    /// Drops the sealed segment that begins at `base`, whichever of them it is: its batches are no
    /// longer read or replayed, and its space is given back once nobody reads it.
    ///
    /// The newest segment stays, so that the log's end is never lost. Cost: two syncs and an
    /// unlink; appends and reads go on meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] if no retained segment begins at `base`; [`Error::DiskFull`] if there
    /// is no room for a page of bookkeeping, not even what is reserved for it (nothing is dropped); [`Error::Poisoned`];
    /// [`Error::OutcomeUnknown`] if the bookkeeping failed, which poisons the partition: the next
    /// open shows all of the segment, or nothing. [`Error::Io`] if the file could not be unlinked
    /// although it is dropped: the next open unlinks it.
    pub fn drop_segment(&self, base: Offset) -> Result<Dropped> {
        let mut retired = self.retired.lock();
        self.check_poison()?;
        self.check_open()?;
        // Empty files that begin there hold nothing that is not in the segment, and go with it.
        let dropped: Vec<Arc<Segment>> = {
            let segments = self.segments.read();
            starting_at(&segments, base)?;
            let (_newest, others) = segments
                .split_last()
                .ok_or(Error::OutOfRange { offset: base })?;
            let others = others.iter().filter(|segment| segment.base() == base);
            others.cloned().collect()
        };
        let Some(last) = dropped.last() else {
            return Ok(Dropped::Newest);
        };
        let end = last.published();
        let Some(_undecided) = Dropping::begin(&self.pins, end) else {
            return Ok(Dropped::Pinned);
        };
        let owner = Owner {
            vfs: self.vfs.as_ref(),
            directory: &self.directory,
            log: self.log,
            partition: self.id,
        };
        let next = dropped.iter().fold(retired.clone(), |retired, segment| {
            let start = segment.header().previous_end;
            retired.with(segment.number(), start, segment.published())
        });
        next.prepare(&owner).or_else(|error| {
            let is_full = matches!(error, Error::DiskFull { .. });
            if is_full && self.spares.lock().release_ballast(self.vfs.as_ref()) {
                return next.prepare(&owner);
            }
            Err(error)
        })?;
        next.publish(&owner)
            .map_err(|error| self.poison_with(&error))?;
        self.dropped_end.store(next.end().get(), Ordering::Release);
        *retired = next;
        let is_newest = self.forget(&dropped, base);
        dropped.iter().try_for_each(|segment| {
            self.vfs
                .remove(segment.path())
                .map_err(|error| Error::io("remove", segment.path(), error))
        })?;
        Ok(if is_newest {
            Dropped::Newest
        } else {
            Dropped::Done
        })
    }

    /// Keeps every segment that ends above `from` until the pin is dropped. What was dropped before
    /// the call stays dropped: look at [`Partition::segments`] with the pin in hand.
    ///
    /// Cost: a short lock; waits for a drop under way of a segment that the pin would hold.
    pub fn pin(&self, from: Offset) -> SegmentPin {
        let mut held = self.pins.held.lock();
        while held.dropping.is_some_and(|end| end > from) {
            self.pins.decided.wait(&mut held);
        }
        *held.from.entry(from).or_default() += 1;
        SegmentPin {
            pins: Arc::clone(&self.pins),
            from,
        }
    }

    /// Whether a pin holds the segment that ends at `end`.
    ///
    /// Cost: a short lock.
    pub fn is_pinned(&self, end: Offset) -> bool {
        self.pins.held.lock().hold(end)
    }

    /// Waits until no drop is under way. Called when no new one can begin.
    pub(super) fn finish_drops(&self) {
        drop(self.retired.lock());
    }

    /// Takes dropped segments off the list; says whether the newest begins where they did.
    fn forget(&self, dropped: &[Arc<Segment>], base: Offset) -> bool {
        let mut segments = self.segments.write();
        segments.retain(|segment| !dropped.iter().any(|gone| Arc::ptr_eq(gone, segment)));
        segments.last().is_some_and(|last| last.base() == base)
    }
}

/// Keeps segments from being dropped while it lives. See [`Partition::pin`].
#[derive(Debug)]
pub struct SegmentPin {
    pins: Arc<Pins>,
    from: Offset,
}

impl SegmentPin {
    /// Segments that end above this offset are kept.
    pub fn from(&self) -> Offset {
        self.from
    }
}

impl Drop for SegmentPin {
    fn drop(&mut self) {
        let mut held = self.pins.held.lock();
        if let Some(count) = held.from.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                held.from.remove(&self.from);
            }
        }
    }
}

/// The pins of a partition.
#[derive(Debug, Default)]
pub(super) struct Pins {
    held: Mutex<Held>,
    decided: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    /// How many pins hold what lies above each offset.
    from: BTreeMap<Offset, usize>,
    /// The end of the segment that is being dropped now.
    dropping: Option<Offset>,
}

impl Held {
    /// Whether the segment that ends at `end` is held.
    fn hold(&self, end: Offset) -> bool {
        self.from.keys().next().is_some_and(|&from| from < end)
    }
}

/// A drop between its decision and its outcome: pins that would forbid it wait.
struct Dropping<'a>(&'a Pins);

impl Dropping<'_> {
    /// Decides to drop a segment that ends at `end`, unless a pin holds it.
    fn begin(pins: &Pins, end: Offset) -> Option<Dropping<'_>> {
        let mut held = pins.held.lock();
        if held.hold(end) {
            return None;
        }
        held.dropping = Some(end);
        Some(Dropping(pins))
    }
}

impl Drop for Dropping<'_> {
    fn drop(&mut self) {
        self.0.held.lock().dropping = None;
        self.0.decided.notify_all();
    }
}

#[cfg(test)]
mod tests;
