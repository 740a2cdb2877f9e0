//! Recovery: deciding where a partition's log ends, and making that decision durable.
//!
//! # What can be told from the files
//!
//! Every batch, header, footer and superblock slot vouches for some offset W: everything below it
//! was synced before those bytes were written. **D** is the greatest W in anything that verifies,
//! searched past damage to the end of the newest segment, because unsynced writes reach the disk
//! in any order.
//!
//! * Damage below D is corruption: the open is refused, and nothing is changed.
//! * Above D the log ends at the last whole batch before the first damage, whatever verifies after
//!   it. That tail was never acknowledged as `Local`, or it is whole.
//! * What no W vouches for yet, the last group before a kill, cannot be told from a torn tail if
//!   it rots before the next open.
//!
//! Only the newest segment can have a tail: frames enter a segment after the one before it was
//! sealed, and a segment's end is also told by the `previous_end` of the next.
//!
//! # After an unclean close
//!
//! No sync of a found file is trusted (the kernel may have dropped its dirty pages after a failed
//! sync and show them clean), and nothing is appended to one. What is kept above D is copied
//! verbatim to a new, synced file; then both superblock slots publish the cut, the copy, one more
//! incarnation, and the offset above everything ever handed out at which appends resume.
//!
//! ```text
//!    0007.seg                         0008.copy -> 0008.seg       0009.seg (made when needed)
//!   |== below D ==|-- kept --|~torn~|   |-- kept --|                |== new ==
//!   base          D          X          D          X    ...gap...   resume
//!                 ^ cut: bytes past D of 0007 are never read again
//! ```
//!
//! A copy bears a temporary name until a slot names it. A crash anywhere in this recovers the
//! same: the same files give the same D and X, copies that no slot names are unlinked, and a copy
//! that one names is only given its name.
//!
//! # What is unlinked
//!
//! `.spare` files and an unfinished `retired.new`; copies that no slot names; segments that the
//! `retired` file lists; and, after the slots are published, a newest segment in which no frame
//! ever stood. Nothing else ever is. The last of these also keeps a crash loop from filling the
//! disk, and a name whose directory sync failed from being trusted: no frame is written before
//! that sync, so such a file is always an empty one.
//!
//! # Dropped segments
//!
//! The files chain across the holes that [`crate::retired`] lists, which says where the log stood
//! on both sides of each. The newest file is never dropped, so the search for D and X is as before.
//! A cut file may be dropped, and so may its copy: the slots go on naming them, but a cut counts
//! only while its file is the newest, and where a cut file ends is told by what follows it, the
//! copy, a later segment, or the hole.

mod copy;
mod found;
pub(crate) mod inspect;
mod scan;

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::identity::{Incarnation, LogId, Offset, PartitionId, SegmentNumber};
use crate::retired::{self, Owner, Retired};
use crate::segment::unused::Unused;
use crate::segment::{Segment, file_name};
use crate::slots::Slots;
use crate::superblock::{self, Cut, Superblock};
use crate::vfs::{File, SyncSite, Vfs};

use copy::{adopt, copy_tail, tidy};
use found::{Files, FoundFile, Tail, chain, is_without_holes};

/// The first batch of a partition stands here: above 0, so that 0 can mean "no version", and
/// where it also stands in the first segment file.
pub(crate) const START: Offset = Offset::new(4096);

/// The superblock slots that publish a recovery.
pub(crate) const PUBLISH: SyncSite = SyncSite("recovery published");
/// The name of an unused segment that is gone.
pub(crate) const UNUSED: SyncSite = SyncSite("recovery unused segment removed");

/// What opening a partition found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The partition had been closed cleanly.
    pub clean: bool,
    /// Everything below this offset was vouched for as synced (D).
    pub vouched: Offset,
    /// Bytes above it that were whole, and kept.
    pub kept_bytes: u64,
    /// Bytes behind those that were not whole, or stood behind ones that were not, and were
    /// dropped. None of them belonged to a batch acknowledged as `Local`.
    pub dropped_bytes: u64,
}

/// A partition's files, opened and decided upon.
pub(crate) struct Recovered {
    pub(crate) superblock: (Slots, Superblock),
    pub(crate) retired: Retired,
    pub(crate) segments: Vec<Arc<Segment>>,
    /// The segment to append to, after a clean close.
    pub(crate) active: Option<(Arc<Segment>, Arc<dyn File>)>,
    /// The end of the log, all of it durable.
    pub(crate) end: Offset,
    /// Room that a cut left, which the next segment may need on a full disk.
    pub(crate) unused: Option<Unused>,
    pub(crate) report: RecoveryReport,
}

/// Where a partition's files are and which log they belong to.
pub(crate) struct Place<'a> {
    pub(crate) vfs: &'a dyn Vfs,
    pub(crate) directory: &'a Path,
    pub(crate) log: LogId,
    pub(crate) partition: PartitionId,
}

impl Place<'_> {
    fn owner(&self) -> Owner<'_> {
        Owner {
            vfs: self.vfs,
            directory: self.directory,
            log: self.log,
            partition: self.partition,
        }
    }
}

/// Opens a partition's files and decides where its log ends.
pub(crate) fn recover(place: &Place<'_>) -> Result<Recovered> {
    let Read {
        slots,
        block,
        older,
        ..
    } = read_superblock(place)?;
    let (retired, damage) = match Retired::read(&place.owner())? {
        retired::Found::Whole(retired) => (retired, None),
        retired::Found::Damaged(error) => (Retired::default(), Some(error)),
    };
    tidy(place, &block)?;
    let files = Files::read(place, &block, &retired)?;
    let retirement = Retirement {
        leftovers: &files.leftovers,
        is_damaged: damage.is_some(),
    };
    if let Some(error) = damage
        && !is_without_holes(&files.retained)
    {
        return Err(error);
    }
    let ends = chain(place, &files.retained, &block, &retired)?;
    let Some((newest, sealed)) = files.retained.split_last() else {
        retirement.complete(place, &retired)?;
        return without_segments(place, slots, block, older.is_some());
    };
    let mut segments = Vec::with_capacity(files.retained.len() + 1);
    for (file, &end) in sealed.iter().zip(&ends) {
        segments.push(Arc::new(file.segment(end)?));
    }

    let closed = block.closed && older.is_some();
    let vouched = [Some(block), older]
        .into_iter()
        .flatten()
        .map(|block| block.marked)
        .fold(newest.header.previous_end, Offset::max);
    let tail = newest.tail(place, &block, closed, vouched)?;
    if tail.end < tail.vouched {
        return Err(newest.short_of(&tail));
    }
    retirement.complete(place, &retired)?;
    if closed {
        let segment = Arc::new(newest.segment(tail.end)?);
        segments.push(Arc::clone(&segment));
        // A file from before the last recovery takes no more frames, whether or not its footer
        // is there: offsets past its end may have been handed out already.
        // One whose unused tail was given back takes none either: they would go into space that
        // was never zeroed and synced.
        let appendable = !tail.ended
            && newest.header.incarnation == block.incarnation
            && newest.has_full_length()?;
        let active = appendable.then(|| (segment, Arc::clone(&newest.file)));
        let report = RecoveryReport {
            clean: true,
            vouched: tail.end,
            ..Default::default()
        };
        return Ok(Recovered {
            superblock: (slots, block),
            retired,
            segments,
            active,
            end: tail.end,
            unused: None,
            report,
        });
    }
    let recovered = if newest.is_unused(&tail, &block, &retired) {
        drop_unused(place, slots, block, newest, segments)
    } else {
        cut(place, slots, block, newest, &tail, segments)
    };
    recovered.map(|recovered| Recovered {
        retired,
        ..recovered
    })
}

/// What is left to do for segments that were dropped before.
struct Retirement<'a> {
    leftovers: &'a [SegmentNumber],
    is_damaged: bool,
}

impl Retirement<'_> {
    /// Unlinks what is left of dropped segments.
    fn complete(&self, place: &Place<'_>, retired: &Retired) -> Result<()> {
        if self.is_damaged || !self.leftovers.is_empty() {
            // The name that was found may not be durable, and one whose directory sync failed
            // never will be. It must be before anything is unlinked on its word.
            retired.prepare(&place.owner())?;
            retired.publish(&place.owner())?;
        }
        self.leftovers.iter().try_for_each(|&number| {
            let path = place.directory.join(file_name(number));
            place
                .vfs
                .remove(&path)
                .map_err(|error| Error::io("remove", &path, error))
        })
    }
}

/// Goes on without a newest segment that no frame was ever written to.
fn drop_unused(
    place: &Place<'_>,
    mut slots: Slots,
    block: Superblock,
    newest: &FoundFile,
    segments: Vec<Arc<Segment>>,
) -> Result<Recovered> {
    let end = newest.header.previous_end;
    let published = Superblock {
        closed: false,
        incarnation: Incarnation(block.incarnation.0 + 1),
        // Without any other segment nothing was ever kept.
        marked: if segments.is_empty() { START } else { end },
        resume: block.resume.max(newest.past()),
        ..block
    };
    publish(&mut slots, &published)?;
    place
        .vfs
        .remove(&newest.path)
        .map_err(|error| Error::io("remove", &newest.path, error))?;
    // A later mark puts the end of the log into the segment before: if the name came back after
    // that, the newest segment would lie past the end.
    sync_directory(place, UNUSED)?;
    let report = RecoveryReport {
        vouched: end,
        ..Default::default()
    };
    let superblock = (slots, published);
    Ok(Recovered {
        superblock,
        retired: Retired::default(),
        segments,
        active: None,
        end,
        unused: None,
        report,
    })
}

/// Publishes the cut of an uncleanly closed partition, and its copy if anything is kept.
fn cut(
    place: &Place<'_>,
    mut slots: Slots,
    block: Superblock,
    newest: &FoundFile,
    tail: &Tail,
    mut segments: Vec<Arc<Segment>>,
) -> Result<Recovered> {
    let cut_end = if tail.ended {
        tail.end
    } else {
        tail.vouched.max(newest.header.base)
    };
    let mut copy = if cut_end < tail.end {
        Some(copy_tail(place, newest, cut_end, tail.end)?)
    } else {
        None
    };
    let published = Superblock {
        closed: false,
        incarnation: Incarnation(block.incarnation.0 + 1),
        marked: tail.end,
        cut: Some(Cut {
            segment: newest.header.number,
            end: cut_end,
            copy: copy.as_ref().map(|copy| copy.header.number),
        }),
        resume: block.resume.max(newest.past()),
        ..block
    };
    publish(&mut slots, &published)?;
    if let Some(copy) = &mut copy {
        copy.path = adopt(place, copy.header.number)?;
    }
    segments.push(Arc::new(newest.segment(cut_end)?));
    if let Some(copy) = copy {
        segments.push(Arc::new(copy.segment(tail.end)?));
    }
    let report = RecoveryReport {
        clean: false,
        vouched: tail.vouched,
        kept_bytes: tail.end.since(cut_end),
        dropped_bytes: tail.dropped_bytes,
    };
    let superblock = (slots, published);
    Ok(Recovered {
        superblock,
        retired: Retired::default(),
        segments,
        active: None,
        end: tail.end,
        unused: Some(newest.unused_behind(cut_end)),
        report,
    })
}

/// A partition that never kept a segment: nothing was ever acknowledged.
fn without_segments(
    place: &Place<'_>,
    mut slots: Slots,
    block: Superblock,
    both_slots: bool,
) -> Result<Recovered> {
    check_empty(place, &block)?;
    if !both_slots {
        publish(&mut slots, &block)?;
    }
    let report = RecoveryReport {
        clean: true,
        vouched: block.resume,
        ..Default::default()
    };
    let end = block.resume;
    let superblock = (slots, block);
    Ok(Recovered {
        superblock,
        retired: Retired::default(),
        segments: Vec::new(),
        active: None,
        end,
        unused: None,
        report,
    })
}

/// Refuses a partition whose segments are gone.
fn check_empty(place: &Place<'_>, block: &Superblock) -> Result<()> {
    if block.marked > START || block.cut.is_some() {
        let what = "every segment file is missing";
        return Err(Error::corrupt(place.directory, 0, what));
    }
    Ok(())
}

fn publish(slots: &mut Slots, block: &Superblock) -> Result<()> {
    // Both slots: a single damaged one must never bring back what this recovery has replaced.
    for _ in 0..2 {
        slots.write(&block.encode(), PUBLISH)?;
    }
    Ok(())
}

/// A superblock as it was found.
struct Read {
    slots: Slots,
    block: Superblock,
    /// What the older slot says, if that slot is whole.
    older: Option<Superblock>,
    /// Where a slot stands that is not.
    damaged_slot: Option<u64>,
}

fn read_superblock(place: &Place<'_>) -> Result<Read> {
    let path = place.directory.join(superblock::FILE_NAME);
    let (slots, found) = Slots::open(place.vfs, &path, superblock::MAGIC)?;
    let decode = |content: &[u8]| {
        Superblock::decode(content)
            .filter(|block| block.log == place.log && block.partition == place.partition)
    };
    let block = decode(&found.content)
        .ok_or_else(|| Error::corrupt(&path, 0, "the superblock of another partition or log"))?;
    let older = found.older.as_deref().and_then(decode);
    Ok(Read {
        slots,
        block,
        older,
        damaged_slot: found.damaged,
    })
}

fn sync_directory(place: &Place<'_>, site: SyncSite) -> Result<()> {
    place
        .vfs
        .sync_directory(place.directory, site)
        .map_err(|error| Error::io("sync", place.directory, error))
}
