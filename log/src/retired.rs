//! The segments that were dropped: a small file named `retired` beside the superblock.
//!
//! ```text
//!  0  "CAIRNRET"
//!  8  u32  format
//! 12  u16  partition, u16 0
//! 16  16   log id
//! 32  u32  ranges, u32 0
//! 40  32 bytes a range, in order:
//!       u64 first, u64 last   numbers of dropped segments, all from first to last
//!       u64 start             where the log stood before the first of them
//!       u64 end               where the last of them ended
//!     u32  CRC of all before
//! ```
//!
//! Ranges are as long as they can be: a number between two of them is of a retained segment.
//! `start` is kept because a footer has no sync of its own: the end of a segment is told by the
//! header of the next, and that goes when the next is dropped.
//!
//! # Order of a drop
//!
//! The file is replaced as a whole: a new one under a temporary name, synced, renamed, and the
//! directory synced. Only then is the dropped segment unlinked. So a number that is missing is
//! always listed, and one that is not is corruption. The unlink itself needs no sync: a name that
//! comes back after a power loss is listed, and unlinked at the next open. Before that unlink the
//! open replaces the file once more, because the rename that it found may be one whose directory
//! sync failed or never came.
//!
//! A file that does not verify is corruption if any segment is missing. If none is, no drop is
//! known to have been finished, and the file is written anew, empty.

use std::io;
use std::path::{Path, PathBuf};

use crate::checksum::crc32;
use crate::error::{Error, Result};
use crate::identity::{LogId, Offset, PartitionId, SegmentNumber};
use crate::slots::{FORMAT_VERSION, Fields};
use crate::vfs::{SyncSite, Vfs};

pub(crate) const FILE_NAME: &str = "retired";
/// What a replacement is called until it is whole; unlinked when it is found at open.
pub(crate) const TEMPORARY_NAME: &str = "retired.new";

/// The content of a replacement, before it gets its name.
pub(crate) const CONTENT: SyncSite = SyncSite("retired segments");
/// The name of a replacement, before a segment that it lists is unlinked.
pub(crate) const NAME: SyncSite = SyncSite("retired segments named");

/// The longest file: half a million ranges, so as many retained segments between them.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Where a `retired` file is and whose it is.
#[derive(Clone, Copy)]
pub(crate) struct Owner<'a> {
    pub(crate) vfs: &'a dyn Vfs,
    pub(crate) directory: &'a Path,
    pub(crate) log: LogId,
    pub(crate) partition: PartitionId,
}

/// The set of dropped segments. See the module for its rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retired {
    ranges: Vec<Hole>,
}

/// Dropped segments that follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) first: SegmentNumber,
    pub(crate) last: SegmentNumber,
    /// Where the log stood before the first of them.
    pub(crate) start: Offset,
    /// Where the last of them ended.
    pub(crate) end: Offset,
}

/// What an open found under the name.
#[derive(Debug)]
pub(crate) enum Found {
    /// The set; empty if there is no file.
    Whole(Retired),
    /// The file does not verify; the error says so.
    Damaged(Error),
}

impl Retired {
    /// Reads the file of a partition.
    pub(crate) fn read(owner: &Owner<'_>) -> Result<Found> {
        let path = owner.path();
        let file = match owner.vfs.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Found::Whole(Retired::default()));
            }
            opened => opened.map_err(|error| Error::io("open", &path, error))?,
        };
        let io = |error| Error::io("read", &path, error);
        let length = file.length().map_err(io)?;
        let damaged = || Found::Damaged(Error::corrupt(&path, 0, "the file does not verify"));
        let Some(length) = usize::try_from(length)
            .ok()
            .filter(|&length| length as u64 <= FILE_BYTES_MAX)
        else {
            return Ok(damaged());
        };
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, 0).map_err(io)?;
        match decode(&bytes, owner) {
            Decoded::Valid(retired) => Ok(Found::Whole(retired)),
            Decoded::OtherFormat(found) => Err(Error::Format {
                path,
                found,
                supported: FORMAT_VERSION,
            }),
            Decoded::Damaged => Ok(damaged()),
        }
    }

    /// Writes the replacement under its temporary name and syncs it. A failure harms nothing.
    pub(crate) fn prepare(&self, owner: &Owner<'_>) -> Result<()> {
        let bytes = self.encode(owner);
        if bytes.len() as u64 > FILE_BYTES_MAX {
            let what = "the retained segments are too scattered to drop one more".to_owned();
            return Err(Error::Invalid { what });
        }
        let path = owner.directory.join(TEMPORARY_NAME);
        let created = match owner.vfs.create(&path) {
            // What an earlier failure left. Not written again: its sync may have failed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => owner
                .vfs
                .remove(&path)
                .and_then(|()| owner.vfs.create(&path)),
            created => created,
        };
        let written = created.and_then(|file| {
            file.write_at(&bytes, 0)?;
            file.sync_data(CONTENT)
        });
        written.map_err(|error| {
            // A temporary file is unlinked at open anyway.
            let _ = owner.vfs.remove(&path);
            Error::io("write", &path, error)
        })
    }

    /// Gives the prepared replacement its name, durably. After a failure nobody knows which of the
    /// two files a power loss leaves.
    pub(crate) fn publish(&self, owner: &Owner<'_>) -> Result<()> {
        let from = owner.directory.join(TEMPORARY_NAME);
        owner
            .vfs
            .rename(&from, &owner.path())
            .map_err(|error| Error::io("rename", &from, error))?;
        owner
            .vfs
            .sync_directory(owner.directory, NAME)
            .map_err(|error| Error::io("sync", owner.directory, error))
    }

    /// This set and one more segment, which began behind `start` and ended at `end`.
    pub(crate) fn with(&self, number: SegmentNumber, start: Offset, end: Offset) -> Retired {
        let mut ranges = self.ranges.clone();
        let at = ranges.partition_point(|hole| hole.first < number);
        ranges.insert(
            at,
            Hole {
                first: number,
                last: number,
                start,
                end,
            },
        );
        ranges.dedup_by(|next, hole| {
            let follows = hole.last.next() == next.first;
            if follows {
                assert!(hole.end == next.start, "segments follow one another");
                (hole.last, hole.end) = (next.last, next.end);
            }
            follows
        });
        Retired { ranges }
    }

    pub(crate) fn contains(&self, number: SegmentNumber) -> bool {
        let after = self.ranges.partition_point(|hole| hole.first <= number);
        self.ranges[..after]
            .last()
            .is_some_and(|hole| number <= hole.last)
    }

    /// The hole that begins with this number.
    pub(crate) fn hole_at(&self, first: SegmentNumber) -> Option<&Hole> {
        self.ranges.iter().find(|hole| hole.first == first)
    }

    /// The hole with the greatest numbers.
    pub(crate) fn last(&self) -> Option<&Hole> {
        self.ranges.last()
    }

    /// Where the highest dropped segment ended; 0 if none was dropped.
    pub(crate) fn end(&self) -> Offset {
        self.last().map_or(Offset::default(), |hole| hole.end)
    }

    fn encode(&self, owner: &Owner<'_>) -> Vec<u8> {
        assert!(is_sane(&self.ranges), "holes are in order and apart");
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&owner.partition.0.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&owner.log.0);
        let ranges = u32::try_from(self.ranges.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&ranges.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        for hole in &self.ranges {
            let words = [hole.first.0, hole.last.0, hole.start.get(), hole.end.get()];
            bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        }
        bytes.extend_from_slice(&crc32(&bytes).to_le_bytes());
        bytes
    }
}

impl Owner<'_> {
    fn path(&self) -> PathBuf {
        self.directory.join(FILE_NAME)
    }
}

enum Decoded {
    Valid(Retired),
    OtherFormat(u32),
    Damaged,
}

fn decode(bytes: &[u8], owner: &Owner<'_>) -> Decoded {
    let Some((body, sum)) = bytes.split_last_chunk::<4>() else {
        return Decoded::Damaged;
    };
    let mut fields = Fields::new(body);
    if crc32(body).to_le_bytes() != *sum || fields.bytes() != MAGIC {
        return Decoded::Damaged;
    }
    let format = fields.u32();
    if format != FORMAT_VERSION {
        return Decoded::OtherFormat(format);
    }
    let partition = PartitionId(fields.u16());
    let mut reserved = u32::from(fields.u16());
    let log = LogId(fields.bytes());
    let count = fields.u32() as usize;
    reserved |= fields.u32();
    let is_whole = body.len() == HEADER_BYTES + count * HOLE_BYTES;
    if (log, partition) != (owner.log, owner.partition) || reserved != 0 || !is_whole {
        return Decoded::Damaged;
    }
    let ranges: Vec<Hole> = (0..count)
        .map(|_| Hole {
            first: SegmentNumber(fields.u64()),
            last: SegmentNumber(fields.u64()),
            start: Offset::new(fields.u64()),
            end: Offset::new(fields.u64()),
        })
        .collect();
    if fields.short || !is_sane(&ranges) {
        return Decoded::Damaged;
    }
    Decoded::Valid(Retired { ranges })
}

/// Whether the holes are in order, apart, and end after they begin.
fn is_sane(ranges: &[Hole]) -> bool {
    let each = ranges.iter().all(|hole| {
        hole.first.0 > 0
            && hole.last.0 < u64::MAX
            && hole.first <= hole.last
            && hole.start <= hole.end
            && hole.end < Offset::MAX
    });
    each && ranges
        .is_sorted_by(|hole, next| hole.last.next() < next.first && hole.end <= next.start)
}

const MAGIC: [u8; 8] = *b"CAIRNRET";
const HEADER_BYTES: usize = 40;
const HOLE_BYTES: usize = 32;

#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
