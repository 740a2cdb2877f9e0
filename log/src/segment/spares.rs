//! The prepared files of a partition, and the reserve among them.
//!
//! The last prepared segment is the *reserve*: ordinary writes go on to a new segment only if one
//! more stays behind, so that on a full disk there is still room for what gives space back.
//!
//! ```text
//! Claim::Write     takes a segment if another stays; none of what was taken from the reserve
//! Claim::Delete    takes the reserve too, and fills a quarter of it
//! Claim::Collect   fills all of it
//! ```
//!
//! A collector moves at most half of a segment before it drops one, so three quarters of the
//! smallest reserve hold the moves of the next victim whatever deletes have taken, and what the
//! victims give back makes up the next reserve. That may be smaller than a segment by a quarter:
//! the unused tail of a sealed file was given back long before. If a crash has left no reserve,
//! whoever claims one takes what is free, down to a quarter of a segment: it will do for a victim
//! of which little is alive.
//!
//! While plenty of space is free there is no reserve: it is prepared when less is left than four
//! segments, so a log on a disk with room pays nothing for it.
//!
//! Whoever finds nothing prepared waits until something is: the first write of a log, and the first
//! after each open that was not clean. While plenty of space is free that is a *short* segment, so
//! the wait is that for a few megabytes, and a process that always dies early still gets on; the
//! housekeeper prepares a whole one meanwhile.
//!
//! What is prepared while the log is written in pieces of [`LARGE_WRITE_BYTES`] and more is allocated
//! rather than filled ([`Filling`]). A file stays as it was prepared: when small writes come again,
//! those that fit into two segments or so pay for it.
//!
//! Beside the reserve stands the *ballast*, a small file that is unlinked when there is no other room for
//! the bookkeeping of a drop. Like all spares it is unlinked at open, and then makes room for the
//! copy of the last group.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::prepare::{Filling, Spare};
use crate::error::{Error, Result};
use crate::segment::PAGE_BYTES;
use crate::vfs::Vfs;

/// What a batch may take of the reserve, the room that is kept for when the disk is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Claim {
    /// Nothing: for what makes the log larger.
    #[default]
    Write,
    /// A part: for what lets other batches be dropped, in time.
    Delete,
    /// All of it: for what lets a segment be dropped now. Whoever claims it must move less than
    /// half a segment before it drops one.
    Collect,
}

/// Where and of which size segments are prepared.
#[derive(Clone, Copy)]
pub(crate) struct Site<'a> {
    pub(crate) vfs: &'a dyn Vfs,
    pub(crate) directory: &'a Path,
    pub(crate) segment_bytes: u64,
}

/// The prepared files. See the module for which of them may be taken.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    /// Full-sized ones first.
    segments: Vec<Spare>,
    ballast: Option<Spare>,
    serial: AtomicU64,
    bytes: Arc<AtomicU64>,
    /// Writes and bytes of the log at the last look.
    seen: (u64, u64),
    filling: Filling,
}

impl Spares {
    /// Whether any segment is prepared: the last one is the reserve.
    pub(crate) fn has_reserve(&self) -> bool {
        !self.segments.is_empty()
    }

    /// The size of them all, up to date also while one is being prepared.
    pub(crate) fn bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes)
    }

    /// Learns from what the log has written so far, in so many writes and bytes, how to fill what is
    /// prepared next.
    pub(crate) fn learn(&mut self, writes: u64, bytes: u64) {
        let (seen_writes, seen_bytes) = std::mem::replace(&mut self.seen, (writes, bytes));
        let average = (bytes - seen_bytes).checked_div(writes - seen_writes);
        if let Some(average) = average {
            self.filling = if average >= LARGE_WRITE_BYTES {
                Filling::Allocated
            } else {
                Filling::Written
            };
        }
    }

    /// Takes a segment in which a batch of `bytes` fits.
    pub(crate) fn take(&mut self, bytes: usize) -> Option<Spare> {
        let room = PAGE_BYTES + bytes as u64;
        self.segments
            .first()
            .filter(|first| first.file_bytes >= room)?;
        let taken = self.segments.remove(0);
        self.uncount(&taken);
        Some(taken)
    }

    /// Prepares a short segment for a batch of `bytes` if none is there and space is plenty; says
    /// whether one is there now.
    pub(crate) fn provide_short(&mut self, site: &Site<'_>, bytes: usize) -> Result<bool> {
        if self.segments.is_empty() && site.is_plenty()? {
            let room = PAGE_BYTES + bytes as u64;
            let short = room.max(SHORT_BYTES).next_multiple_of(PAGE_BYTES);
            let spare = self.prepare(site, short.min(site.segment_bytes))?;
            self.segments.push(spare);
            return Ok(true);
        }
        Ok(false)
    }

    /// Prepares one segment, for a log that has none: nothing can be given back there, so it needs
    /// no reserve.
    pub(crate) fn provide_first(&mut self, site: &Site<'_>) -> Result<()> {
        if self.segments.is_empty() {
            let spare = self.prepare(site, site.segment_bytes)?;
            self.segments.push(spare);
        }
        Ok(())
    }

    /// Sees to it that `taken` segments can be taken and a reserve stays, or that space for one is
    /// plenty. Says whether anything was prepared.
    ///
    /// # Errors
    ///
    /// `DiskFull` and other failures to prepare; what is there already stays.
    pub(crate) fn provide(&mut self, site: &Site<'_>, taken: usize) -> Result<bool> {
        let missing = |spares: &Spares| {
            let full_sized = |spare: &&Spare| spare.file_bytes >= site.segment_bytes;
            taken.saturating_sub(spares.segments.iter().filter(full_sized).count())
        };
        let is_reserved = self.segments.len() > taken && self.ballast.is_some();
        if is_reserved && missing(self) == 0 {
            return Ok(false);
        }
        let is_plenty = site.is_plenty()?;
        let mut worked = false;
        if self.ballast.is_none() && !is_plenty {
            let bytes = BALLAST_BYTES.min(site.segment_bytes / 2);
            self.ballast = Some(self.prepare(site, bytes)?);
            worked = true;
        }
        while missing(self) > 0 || (self.segments.len() <= taken && !is_plenty) {
            // The first may become the reserve; the next write to take it sees to a larger one.
            let bytes = if self.segments.is_empty() && !is_plenty {
                site.fitting_bytes(site.segment_bytes - site.segment_bytes / 4)?
            } else {
                site.segment_bytes
            };
            let spare = self.prepare(site, bytes)?;
            self.segments.push(spare);
            self.segments
                .sort_by_key(|spare| std::cmp::Reverse(spare.file_bytes));
            worked = true;
        }
        Ok(worked)
    }

    /// Prepares what fits on the disk if there is nothing else to take, for one who claims the
    /// reserve and has a batch of `bytes`.
    pub(crate) fn provide_last(&mut self, site: &Site<'_>, bytes: usize) -> Result<()> {
        if self.segments.is_empty() {
            let least = (site.segment_bytes / 4).max(PAGE_BYTES + bytes as u64);
            let fits = site.fitting_bytes(least)?;
            let spare = self.prepare(site, fits)?;
            self.segments.push(spare);
        }
        Ok(())
    }

    /// Gives up the ballast for more urgent things; says whether there was any.
    pub(crate) fn release_ballast(&mut self, vfs: &dyn Vfs) -> bool {
        self.ballast.take().is_some_and(|ballast| {
            self.uncount(&ballast);
            let Spare { path, file, .. } = ballast;
            // The space of an open file is not free.
            drop(file);
            vfs.remove(&path).is_ok()
        })
    }

    /// Unlinks all of them.
    pub(crate) fn clear(&mut self, vfs: &dyn Vfs) {
        for spare in self.segments.drain(..).chain(self.ballast.take()) {
            self.bytes.fetch_sub(spare.file_bytes, Ordering::Relaxed);
            let _ = vfs.remove(&spare.path);
        }
    }

    fn prepare(&self, site: &Site<'_>, bytes: u64) -> Result<Spare> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed) + 1;
        let (vfs, directory) = (site.vfs, site.directory);
        Spare::prepare(vfs, directory, serial, bytes, self.filling, &self.bytes)
    }

    fn uncount(&self, spare: &Spare) {
        self.bytes.fetch_sub(spare.file_bytes, Ordering::Relaxed);
    }
}

impl Site<'_> {
    fn free_bytes(&self) -> Result<u64> {
        self.vfs
            .free_bytes(self.directory)
            .map_err(|error| Error::io("measure", self.directory, error))
    }

    /// Whether free space is a reserve in itself.
    fn is_plenty(&self) -> Result<bool> {
        Ok(self.free_bytes()? >= PLENTY_SEGMENTS * self.segment_bytes)
    }

    /// The size of a segment, or what fits into the free space if that is less but not too little.
    fn fitting_bytes(&self, least: u64) -> Result<u64> {
        let free = self.free_bytes()?;
        let fits = (free - free / SLACK_PART) / PAGE_BYTES * PAGE_BYTES;
        Ok(if free < self.segment_bytes && fits >= least {
            fits
        } else {
            self.segment_bytes
        })
    }
}

/// So many segments of free space are a reserve, for the time being.
const PLENTY_SEGMENTS: u64 = 4;

/// The size of a segment that somebody waits for, unless its first batch is larger.
const SHORT_BYTES: u64 = 4 << 20;

/// A log is written in large pieces if they have this size on average. Measured on ext4, allocated
/// against filled: batches of 4 MiB +20 %, of 140 KiB +25 %; single buffered puts of 4 KiB -20 %, and
/// synced ones, one writer, -20 to -30 %.
pub(crate) const LARGE_WRITE_BYTES: u64 = 64 << 10;

/// What a file system takes for a file beside its bytes is less than this part of it.
const SLACK_PART: u64 = 64;

/// Room for the bookkeeping of a drop, or for a recovery's copy of what was written last.
const BALLAST_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests;
