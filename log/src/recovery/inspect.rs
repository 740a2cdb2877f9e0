//! Checking every byte that a log relies on, and telling all that is damaged rather than the first.
//!
//! An open refuses at the first damage it meets, and does not look into sealed segments. This looks
//! at each file by itself, as far as it can be judged without the others: both slots of the
//! two-slot files, the list of dropped segments, header and footer of each segment, that the files
//! follow one another, and each batch and record up to the end of the log. Behind a batch that does
//! not verify it goes on at the next header that does.
//!
//! What is not damage: bytes that no reader is ever shown (the unused tail of a segment, files that
//! never became part of the log), and above D whatever a crash left of a write that was under way.
//! What only an open could repair, like one slot of two, is damage all the same: by what is assumed
//! of the disk no crash makes it.

use std::fmt;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::found::{FoundFile, chain, is_without_holes};
use super::{Place, read_superblock};
use crate::error::{Error, Result};
use crate::frame::{BATCH_HEADER_BYTES, BatchHeader, Records, looks_like_header};
use crate::identity::{Incarnation, LogId, Offset, PartitionId};
use crate::log::{Identified, identify, partition_directory};
use crate::partition::next_batch;
use crate::retired::{self, Retired};
use crate::segment::ahead::Ahead;
use crate::segment::sectors::FOOTER_POSITION;
use crate::segment::{Listing, PAGE_BYTES, Segment};
use crate::superblock::{self, Superblock};
use crate::vfs::Vfs;

/// A place in a file of a log that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where in the file, in bytes.
    pub position: u64,
    /// What is wrong there.
    pub what: String,
}

impl Damage {
    /// Damage that whoever reads the records finds.
    pub fn new(path: PathBuf, position: u64, what: impl Into<String>) -> Damage {
        let what = what.into();
        Damage {
            path,
            position,
            what,
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, position) = (self.path.display(), self.position);
        write!(formatter, "{path} at byte {position}: {}", self.what)
    }
}

/// What an inspection has read and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// All damage, in the order of partitions and files.
    pub damage: Vec<Damage>,
    /// Number of partitions.
    pub partitions: u16,
    /// Segment files.
    pub segments: u64,
    /// Batches that are whole.
    pub batches: u64,
    /// Records that are whole.
    pub records: u64,
    /// Bytes of log that were read.
    pub bytes: u64,
    /// Bytes that a crash left of writes that were under way, and that an open will drop. None of
    /// them belongs to a batch that was acknowledged as `Local`.
    pub unfinished_bytes: u64,
}

/// A batch that an inspection has read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InspectedBatch<'a> {
    /// The file that it stands in.
    pub path: &'a Path,
    /// Bytes of the batch.
    pub bytes: u64,
    /// Its records that verify: where in the file each stands, and its payload.
    pub records: Vec<(u64, &'a [u8])>,
}

/// Reads and checks all of the log in `directory`, and shows each batch to `visit`. Changes
/// nothing, takes no lock. `None` if there is no log in the directory.
///
/// Cost: one pass over all segments.
///
/// # Errors
///
/// [`Error::Format`] if the directory is of another version; [`Error::Io`]. Damage is no error.
pub fn inspect(
    vfs: &dyn Vfs,
    directory: &Path,
    visit: &mut dyn FnMut(InspectedBatch<'_>),
) -> Result<Option<Inspection>> {
    let mut inspecting = Inspecting {
        vfs,
        visit,
        found: Inspection::default(),
    };
    match identify(vfs, directory) {
        Ok(None) => return Ok(None),
        Ok(Some(identified)) => inspecting.log(directory, &identified)?,
        // Without it nobody knows what the other files have to be.
        Err(error) => inspecting.note(error)?,
    }
    Ok(Some(inspecting.found))
}

struct Inspecting<'a> {
    vfs: &'a dyn Vfs,
    visit: &'a mut dyn FnMut(InspectedBatch<'_>),
    found: Inspection,
}

impl Inspecting<'_> {
    /// Takes damage down, and passes other errors on.
    fn note(&mut self, error: Error) -> Result<()> {
        match error {
            Error::Corrupt {
                path,
                position,
                what,
            } => {
                self.damaged(&path, position, what);
                Ok(())
            }
            error => Err(error),
        }
    }

    fn damaged(&mut self, path: &Path, position: u64, what: impl Into<String>) {
        let damage = Damage::new(path.to_owned(), position, what);
        self.found.damage.push(damage);
    }

    fn log(&mut self, directory: &Path, identified: &Identified) -> Result<()> {
        if let Some(position) = identified.damaged_slot {
            self.damaged(&identified.path, position, ONE_SLOT);
        }
        self.found.partitions = identified.partitions;
        for number in 0..identified.partitions {
            let partition = PartitionId(number);
            let directory = partition_directory(directory, partition);
            self.partition(&directory, identified.log, partition)?;
        }
        Ok(())
    }

    fn partition(&mut self, directory: &Path, log: LogId, partition: PartitionId) -> Result<()> {
        let place = Place {
            vfs: self.vfs,
            directory,
            log,
            partition,
        };
        let block = match read_superblock(&place) {
            Ok(read) => {
                let path = directory.join(superblock::FILE_NAME);
                if let Some(position) = read.damaged_slot {
                    self.damaged(&path, position, ONE_SLOT);
                }
                Some((read.block, read.older))
            }
            Err(error) => {
                self.note(error)?;
                None
            }
        };
        let retired = match Retired::read(&place.owner())? {
            retired::Found::Whole(retired) => Some(retired),
            retired::Found::Damaged(error) => {
                self.note(error)?;
                None
            }
        };
        let listing = match Listing::read(self.vfs, directory) {
            // The superblock is missing too then, which is told already.
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(()),
            listing => listing?,
        };
        let incarnation = block.map_or(Incarnation(u32::MAX), |(block, _)| block.incarnation);
        let newest = listing.segments.last().copied();
        let mut files = Vec::new();
        let mut are_all_known = true;
        for number in listing.segments {
            if retired.as_ref().is_some_and(|set| set.contains(number)) {
                continue;
            }
            self.found.segments += 1;
            match FoundFile::open(&place, incarnation, number) {
                Ok(file) => files.push(file),
                Err(error) => {
                    are_all_known = false;
                    self.note(error)?;
                }
            }
        }
        self.chain(&place, &files, block, retired.as_ref(), are_all_known)?;
        for (at, file) in files.iter().enumerate() {
            let end = if Some(file.header.number) == newest {
                self.newest_end(&place, file, block)?
            } else {
                sealed_end(file, files.get(at + 1), retired.as_ref())
            };
            self.segment(file, end)?;
        }
        Ok(())
    }

    /// Checks that the files follow one another, as far as all of them are known.
    fn chain(
        &mut self,
        place: &Place<'_>,
        files: &[FoundFile],
        block: Option<(Superblock, Option<Superblock>)>,
        retired: Option<&Retired>,
        are_all_known: bool,
    ) -> Result<()> {
        let Some((block, _)) = block.filter(|_| are_all_known) else {
            return Ok(());
        };
        if files.is_empty() {
            return super::check_empty(place, &block).or_else(|error| self.note(error));
        }
        if retired.is_none() && !is_without_holes(files) {
            // Which of the missing files were dropped is what the damaged list said.
            return Ok(());
        }
        let empty = Retired::default();
        match chain(place, files, &block, retired.unwrap_or(&empty)) {
            Ok(_) => Ok(()),
            Err(error) => self.note(error),
        }
    }

    fn segment(&mut self, file: &FoundFile, end: Offset) -> Result<()> {
        if file.footer_is_damaged {
            self.damaged(&file.path, FOOTER_POSITION, "the footer does not verify");
        }
        // A file that was cut is read as far as it goes.
        let length = file.file.length();
        let length = length.map_err(|error| Error::io("measure", &file.path, error))?;
        let used = PAGE_BYTES + end.since(file.header.base);
        if length < used {
            let what = format!("the file ends here, but the log in it reaches byte {used}");
            self.damaged(&file.path, length, what);
        }
        let reach = file.header.base.plus(length.saturating_sub(PAGE_BYTES));
        let segment = file.segment(end.min(reach))?;
        self.frames(&segment);
        Ok(())
    }

    /// Where the log ends in the newest file: what is vouched for has to be whole.
    fn newest_end(
        &mut self,
        place: &Place<'_>,
        file: &FoundFile,
        block: Option<(Superblock, Option<Superblock>)>,
    ) -> Result<Offset> {
        let Some((block, older)) = block else {
            // No slot says how far it was synced; the file may.
            let told = file.footer.map(|footer| footer.end);
            return Ok(told.unwrap_or(file.header.base));
        };
        let closed = block.closed && older.is_some();
        let marked = older.map_or(block.marked, |older| block.marked.max(older.marked));
        let vouched = file.header.previous_end.max(marked);
        let tail = match file.tail(place, &block, closed, vouched) {
            Ok(tail) => tail,
            Err(error) => {
                self.note(error)?;
                return Ok(file.header.base);
            }
        };
        if tail.end >= tail.vouched {
            self.found.unfinished_bytes += tail.dropped_bytes;
            return Ok(tail.end);
        }
        if tail.vouched <= file.limit() {
            // An open refuses it; here all that is damaged below is told, place by place.
            return Ok(tail.vouched);
        }
        self.note(file.short_of(&tail))?;
        Ok(tail.end)
    }

    /// Checks the batches of a segment up to what is published of it.
    fn frames(&mut self, segment: &Segment) {
        let (mut offset, end) = (segment.base(), segment.published());
        let mut ahead = Ahead::default();
        self.found.bytes += end.since(offset);
        while offset < end {
            let Some((batch_end, _)) = next_batch(segment, offset, end) else {
                let position = segment.position(offset);
                let next = next_header(segment, offset.plus(1)..end);
                let lost = next.unwrap_or(end).since(offset);
                let what = format!("the header of a batch does not verify; {lost} bytes are lost");
                self.damaged(segment.path(), position, what);
                offset = next.unwrap_or(end);
                continue;
            };
            ahead.come_to(segment, offset, batch_end);
            self.batch(segment, offset..batch_end);
            offset = batch_end;
        }
    }

    fn batch(&mut self, segment: &Segment, batch: Range<Offset>) {
        let body_start = batch.start.plus(BATCH_HEADER_BYTES as u64);
        let bytes = batch.end.since(batch.start);
        let Some(body) = segment.bytes(body_start..batch.end) else {
            return;
        };
        let mut records = Vec::new();
        let mut is_whole = true;
        for record in Records::new(&body, body_start, segment.seed()) {
            match record {
                Ok((offset, payload)) => records.push((segment.position(offset), payload)),
                Err(offset) => {
                    is_whole = false;
                    let what = "a record does not verify";
                    self.damaged(segment.path(), segment.position(offset), what);
                }
            }
        }
        self.found.batches += u64::from(is_whole);
        self.found.records += records.len() as u64;
        (self.visit)(InspectedBatch {
            path: segment.path(),
            bytes,
            records,
        });
    }
}

/// The end of a segment, as what follows it or its footer tells.
fn sealed_end(file: &FoundFile, next: Option<&FoundFile>, retired: Option<&Retired>) -> Offset {
    let following = file.header.number.next();
    let told = match next {
        Some(next) if next.header.number == following => Some(next.header.previous_end),
        _ => {
            let hole = retired.and_then(|retired| retired.hole_at(following));
            hole.map(|hole| hole.start)
        }
    };
    let told = told.filter(|end| (file.header.base..=file.limit()).contains(end));
    let footer = file.footer.map(|footer| footer.end);
    told.or(footer).unwrap_or(file.header.base)
}

/// The first batch header in the range that verifies.
fn next_header(segment: &Segment, range: Range<Offset>) -> Option<Offset> {
    let bytes = segment.bytes(range.clone())?;
    (0..bytes.len()).find_map(|at| {
        let offset = range.start.plus(at as u64);
        let is_header = looks_like_header(&bytes[at..])
            && BatchHeader::decode(&bytes[at..], offset, segment.seed()).is_some();
        is_header.then_some(offset)
    })
}

const ONE_SLOT: &str = "one of the two slots does not verify; the other one does";

#[cfg(test)]
mod tests;
