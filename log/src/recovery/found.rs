//! The segment files as an open finds them: who they are, that they follow one another, and where
//! the log ends in the newest. Only reads.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Place;
use super::scan::scan;
use crate::error::{Error, Result};
use crate::identity::{Incarnation, Offset, SegmentNumber};
use crate::retired::Retired;
use crate::segment::sectors::{Footer, Header, Sector, SectorFault};
use crate::segment::unused::Unused;
use crate::segment::{Listing, PAGE_BYTES, Segment, file_name};
use crate::superblock::Superblock;
use crate::vfs::{File, SECTOR_BYTES};

/// A segment file as it was found.
pub(super) struct FoundFile {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn File>,
    pub(super) header: Header,
    pub(super) footer: Option<Footer>,
    /// Something stands in the place of the footer that is none.
    pub(super) footer_is_damaged: bool,
}

/// Where the newest file's log ends, and what is known of it.
pub(super) struct Tail {
    pub(super) end: Offset,
    pub(super) vouched: Offset,
    /// The file takes no more frames: it is sealed, or an earlier recovery cut it.
    pub(super) ended: bool,
    pub(super) dropped_bytes: u64,
}

impl FoundFile {
    pub(super) fn open(
        place: &Place<'_>,
        newest: Incarnation,
        number: SegmentNumber,
    ) -> Result<FoundFile> {
        let path = place.directory.join(file_name(number));
        let file = place
            .vfs
            .open(&path)
            .map_err(|error| Error::io("open", &path, error))?;
        let mut page = [0; 2 * SECTOR_BYTES];
        file.read_exact_at(&mut page, 0)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => {
                    Error::corrupt(&path, 0, "the file is shorter than its header")
                }
                _ => Error::io("read", &path, error),
            })?;
        let (first, second) = page.split_at(SECTOR_BYTES);
        let sector = |bytes: &[u8]| {
            let mut sector: Sector = [0; SECTOR_BYTES];
            sector.copy_from_slice(bytes);
            sector
        };
        let header = Header::decode(&sector(first))
            .map_err(|fault| sector_error(&path, 0, "the header", fault))?;
        if (header.log, header.partition, header.number) != (place.log, place.partition, number) {
            return Err(Error::corrupt(&path, 0, "the header of another segment"));
        }
        if header.incarnation > newest {
            return Err(Error::corrupt(
                &path,
                0,
                "the segment is newer than the superblock",
            ));
        }
        // A footer that does not verify was torn by a crash, or has rotted. The end of the segment
        // is then told by the next one, by a slot, or by the frames; `verify` reports it.
        let (footer, footer_is_damaged) = match Footer::decode(&sector(second), &header) {
            Ok(footer) => (Some(footer), false),
            Err(SectorFault::Format(found)) => {
                return Err(sector_error(
                    &path,
                    0,
                    "the footer",
                    SectorFault::Format(found),
                ));
            }
            Err(SectorFault::Blank) => (None, false),
            Err(SectorFault::Damaged) => (None, true),
        };
        Ok(FoundFile {
            path,
            file,
            header,
            footer,
            footer_is_damaged,
        })
    }

    pub(super) fn position(&self, offset: Offset) -> u64 {
        PAGE_BYTES + offset.since(self.header.base)
    }

    /// Above every offset that was ever handed out while this file was the newest.
    pub(super) fn past(&self) -> Offset {
        self.header.base.plus(2 * self.header.file_bytes)
    }

    /// Whether no frame was ever written to this file, the newest.
    ///
    /// One that follows a dropped segment counts as used: without it the log's end would lie in a
    /// hole, and its number would be given twice. Its name is durable, or the segment before it
    /// would not have been dropped.
    pub(super) fn is_unused(&self, tail: &Tail, block: &Superblock, retired: &Retired) -> bool {
        !tail.ended
            && retired
                .last()
                .is_none_or(|hole| hole.last.next() != self.header.number)
            && tail.end == self.header.base
            && tail.dropped_bytes == 0
            && block
                .cut
                .is_none_or(|cut| cut.copy != Some(self.header.number))
    }

    pub(super) fn limit(&self) -> Offset {
        self.header.base.plus(self.header.file_bytes - PAGE_BYTES)
    }

    /// Whether the file has all the room it was prepared with.
    pub(super) fn has_full_length(&self) -> Result<bool> {
        let length = self.file.length();
        let length = length.map_err(|error| Error::io("measure", &self.path, error))?;
        Ok(length >= self.header.file_bytes)
    }

    /// What no open will read any more, once the slots say that the log ends here in this file.
    pub(super) fn unused_behind(&self, end: Offset) -> Unused {
        Unused::behind(Arc::clone(&self.file), self.position(end))
    }

    pub(super) fn segment(&self, end: Offset) -> Result<Segment> {
        Segment::new(&self.path, self.header, self.file.as_ref(), end)
    }

    /// Decides where the log ends in this file, the newest.
    pub(super) fn tail(
        &self,
        place: &Place<'_>,
        block: &Superblock,
        closed: bool,
        vouched: Offset,
    ) -> Result<Tail> {
        let decided = if let Some(footer) = &self.footer {
            Some((footer.end, true))
        } else if let Some(cut) = block.cut.filter(|cut| cut.segment == self.header.number) {
            Some((cut.end, true))
        } else if closed {
            Some((block.marked, false))
        } else {
            None
        };
        if let Some((end, ended)) = decided {
            if !(self.header.base..=self.limit()).contains(&end) {
                let what = "the superblock puts the end of the log outside of the newest segment";
                return Err(Error::corrupt(&self.path, 0, what));
            }
            return Ok(Tail {
                end,
                vouched: vouched.max(end),
                ended,
                dropped_bytes: 0,
            });
        }
        let found = scan(place.vfs, &self.path, self.header)?;
        Ok(Tail {
            end: found.end,
            vouched: vouched.max(found.vouched),
            ended: false,
            dropped_bytes: found.used_end.since(found.end),
        })
    }
}

impl FoundFile {
    /// The refusal of a file, the newest, whose log ends below what was synced.
    pub(super) fn short_of(&self, tail: &Tail) -> Error {
        let what = format!(
            "the log is whole up to here, but everything up to byte {} was synced",
            self.position(tail.vouched)
        );
        Error::corrupt(&self.path, self.position(tail.end), what)
    }
}

fn sector_error(path: &Path, position: u64, what: &str, fault: SectorFault) -> Error {
    match fault {
        SectorFault::Format(found) => Error::Format {
            path: path.to_owned(),
            found,
            supported: crate::slots::FORMAT_VERSION,
        },
        SectorFault::Blank => Error::corrupt(path, position, format!("{what} is missing")),
        SectorFault::Damaged => Error::corrupt(path, position, format!("{what} does not verify")),
    }
}

/// The files that an open found.
pub(super) struct Files {
    /// Those of retained segments, by number.
    pub(super) retained: Vec<FoundFile>,
    /// Dropped segments whose unlink a crash undid or prevented. They are not looked into.
    pub(super) leftovers: Vec<SegmentNumber>,
}

impl Files {
    pub(super) fn read(place: &Place<'_>, block: &Superblock, retired: &Retired) -> Result<Files> {
        let listing = Listing::read(place.vfs, place.directory)?;
        let (leftovers, retained) = listing
            .segments
            .into_iter()
            .partition::<Vec<_>, _>(|&number| retired.contains(number));
        let retained = retained
            .into_iter()
            .map(|number| FoundFile::open(place, block.incarnation, number))
            .collect::<Result<_>>()?;
        Ok(Files {
            retained,
            leftovers,
        })
    }
}

/// Whether no number up to the newest is missing.
pub(super) fn is_without_holes(files: &[FoundFile]) -> bool {
    let numbers = files.iter().map(|file| file.header.number.0);
    numbers.eq(1..=files.len() as u64)
}

/// Checks that the files follow one another, but for dropped segments, and returns the end of each
/// but the newest.
pub(super) fn chain(
    place: &Place<'_>,
    files: &[FoundFile],
    block: &Superblock,
    retired: &Retired,
) -> Result<Vec<Offset>> {
    let missing = |number: SegmentNumber| {
        let path = place.directory.join(file_name(number));
        Error::corrupt(&path, 0, "the segment file is missing")
    };
    let newest = files.last().map(|file| file.header.number);
    if let Some(hole) = retired.last()
        && newest < Some(hole.last)
    {
        // The newest segment is never dropped.
        return Err(missing(hole.last.next()));
    }
    if let Some(copy) = block.cut.and_then(|cut| cut.copy)
        && !files.iter().any(|file| file.header.number == copy)
        && !retired.contains(copy)
    {
        return Err(missing(copy));
    }
    let mut ends = Vec::with_capacity(files.len());
    let mut before: Option<&FoundFile> = None;
    for file in files {
        let expected = before.map_or(SegmentNumber(1), |before| before.header.number.next());
        let mut end = file.header.previous_end;
        if file.header.number != expected {
            let hole = retired.hole_at(expected).ok_or_else(|| missing(expected))?;
            if hole.last.next() != file.header.number {
                return Err(missing(hole.last.next()));
            }
            if hole.end != end {
                let what = format!("the segments dropped before it ended at {}", hole.end);
                return Err(Error::corrupt(&file.path, 0, what));
            }
            end = hole.start;
        }
        if let Some(before) = before {
            let sealed = before.footer.is_none_or(|footer| footer.end == end);
            if !sealed || !(before.header.base..=before.limit()).contains(&end) {
                let what = format!("the segment before it does not end at {end}");
                return Err(Error::corrupt(&file.path, 0, what));
            }
            ends.push(end);
        }
        before = Some(file);
    }
    Ok(ends)
}
