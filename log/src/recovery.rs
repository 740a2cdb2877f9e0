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
//! `.spare` files; copies that no slot names; and, after the slots are published, a newest segment
//! in which no frame ever stood. Nothing else ever is. The last of these also keeps a crash loop
//! from filling the disk, and a name whose directory sync failed from being trusted: no frame is
//! written before that sync, so such a file is always an empty one.

mod scan;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::identity::{Incarnation, LogId, Offset, PartitionId, SegmentNumber};
use crate::segment::sectors::{Footer, Header, Sector, SectorFault};
use crate::segment::{Listing, PAGE_BYTES, Segment, copy_name, file_name};
use crate::slots::Slots;
use crate::superblock::{self, Cut, Superblock};
use crate::vfs::{File, SECTOR_BYTES, SyncSite, Vfs};

pub(crate) use scan::scan;

/// The first batch of a partition stands here: above 0, so that 0 can mean "no version", and
/// where it also stands in the first segment file.
pub(crate) const START: Offset = Offset::new(4096);

/// The copy of what was kept above the cut.
pub(crate) const COPY: SyncSite = SyncSite("recovery copy");
/// The temporary name of that copy.
pub(crate) const COPY_NAME: SyncSite = SyncSite("recovery copy name");
/// The superblock slots that publish a recovery.
pub(crate) const PUBLISH: SyncSite = SyncSite("recovery published");
/// The final name of the copy.
pub(crate) const ADOPT: SyncSite = SyncSite("recovery copy adopted");
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
    pub(crate) segments: Vec<Arc<Segment>>,
    /// The segment to append to, after a clean close.
    pub(crate) active: Option<(Arc<Segment>, Arc<dyn File>)>,
    /// The end of the log, all of it durable.
    pub(crate) end: Offset,
    pub(crate) report: RecoveryReport,
}

/// Where a partition's files are and which log they belong to.
pub(crate) struct Place<'a> {
    pub(crate) vfs: &'a dyn Vfs,
    pub(crate) directory: &'a Path,
    pub(crate) log: LogId,
    pub(crate) partition: PartitionId,
}

/// Opens a partition's files and decides where its log ends.
pub(crate) fn recover(place: &Place<'_>) -> Result<Recovered> {
    let (slots, block, older) = read_superblock(place)?;
    tidy(place, &block)?;
    let files = read_files(place, &block)?;
    let ends = chain(place, &files, &block)?;
    let Some((newest, sealed)) = files.split_last() else {
        return without_segments(place, slots, block, older.is_some());
    };
    let mut segments = Vec::with_capacity(files.len() + 1);
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
        let position = newest.position(tail.end);
        let what = format!(
            "the log is whole up to here, but everything up to byte {} was synced",
            newest.position(tail.vouched)
        );
        return Err(Error::corrupt(&newest.path, position, what));
    }
    if closed {
        let segment = Arc::new(newest.segment(tail.end)?);
        segments.push(Arc::clone(&segment));
        // A file from before the last recovery takes no more frames, whether or not its footer
        // is there: offsets past its end may have been handed out already.
        let appendable = !tail.ended && newest.header.incarnation == block.incarnation;
        let active = appendable.then(|| (segment, Arc::clone(&newest.file)));
        let report = RecoveryReport {
            clean: true,
            vouched: tail.end,
            ..Default::default()
        };
        return Ok(Recovered {
            superblock: (slots, block),
            segments,
            active,
            end: tail.end,
            report,
        });
    }
    if newest.is_unused(&tail, &block) {
        return drop_unused(place, slots, block, newest, segments);
    }
    cut(place, slots, block, newest, &tail, segments)
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
        segments,
        active: None,
        end,
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
    let copy = if cut_end < tail.end {
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
    segments.push(Arc::new(newest.segment(cut_end)?));
    if let Some(mut copy) = copy {
        copy.path = adopt(place, copy.header.number)?;
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
        segments,
        active: None,
        end: tail.end,
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
    if block.marked > START || block.cut.is_some() {
        let what = "every segment file is missing";
        return Err(Error::corrupt(place.directory, 0, what));
    }
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
        segments: Vec::new(),
        active: None,
        end,
        report,
    })
}

fn publish(slots: &mut Slots, block: &Superblock) -> Result<()> {
    // Both slots: a single damaged one must never bring back what this recovery has replaced.
    for _ in 0..2 {
        slots.write(&block.encode(), PUBLISH)?;
    }
    Ok(())
}

fn read_superblock(place: &Place<'_>) -> Result<(Slots, Superblock, Option<Superblock>)> {
    let path = place.directory.join(superblock::FILE_NAME);
    let (slots, found) = Slots::open(place.vfs, &path, superblock::MAGIC)?;
    let decode = |content: &[u8]| {
        Superblock::decode(content)
            .filter(|block| block.log == place.log && block.partition == place.partition)
    };
    let block = decode(&found.content)
        .ok_or_else(|| Error::corrupt(&path, 0, "the superblock of another partition or log"))?;
    let older = found.older.as_deref().and_then(decode);
    Ok((slots, block, older))
}

/// Unlinks what never became part of the log, and gives a published copy its name.
///
/// A copy that is the newest file is named anew even if it has its name: the directory sync that
/// followed may have failed, and only a name that is given after it is covered by the next.
fn tidy(place: &Place<'_>, block: &Superblock) -> Result<()> {
    let listing = Listing::read(place.vfs, place.directory)?;
    let remove = |name: &str| {
        let path = place.directory.join(name);
        place
            .vfs
            .remove(&path)
            .map_err(|error| Error::io("remove", &path, error))
    };
    listing.spares.iter().try_for_each(|name| remove(name))?;
    let published = block.cut.and_then(|cut| cut.copy);
    if !block.closed
        && let Some(number) = published
        && listing.segments.last() == Some(&number)
    {
        let (named, unnamed) = (file_name(number), copy_name(number));
        let (named, unnamed) = (place.directory.join(named), place.directory.join(unnamed));
        place
            .vfs
            .rename(&named, &unnamed)
            .map_err(|error| Error::io("rename", &named, error))?;
        adopt(place, number)?;
    }
    for &number in &listing.copies {
        if Some(number) == published && !listing.segments.contains(&number) {
            adopt(place, number)?;
        } else {
            remove(&copy_name(number))?;
        }
    }
    Ok(())
}

fn adopt(place: &Place<'_>, number: SegmentNumber) -> Result<PathBuf> {
    let from = place.directory.join(copy_name(number));
    let to = place.directory.join(file_name(number));
    place
        .vfs
        .rename(&from, &to)
        .map_err(|error| Error::io("rename", &from, error))?;
    // Durable before any later recovery can publish a cut that no longer names this copy.
    sync_directory(place, ADOPT)?;
    Ok(to)
}

fn sync_directory(place: &Place<'_>, site: SyncSite) -> Result<()> {
    place
        .vfs
        .sync_directory(place.directory, site)
        .map_err(|error| Error::io("sync", place.directory, error))
}

/// A segment file as it was found.
struct FoundFile {
    path: PathBuf,
    file: Arc<dyn File>,
    header: Header,
    footer: Option<Footer>,
}

/// Where the newest file's log ends, and what is known of it.
struct Tail {
    end: Offset,
    vouched: Offset,
    /// The file takes no more frames: it is sealed, or an earlier recovery cut it.
    ended: bool,
    dropped_bytes: u64,
}

impl FoundFile {
    fn open(place: &Place<'_>, block: &Superblock, number: SegmentNumber) -> Result<FoundFile> {
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
        if header.incarnation > block.incarnation {
            return Err(Error::corrupt(
                &path,
                0,
                "the segment is newer than the superblock",
            ));
        }
        // A footer that does not verify was torn by a crash, or has rotted. The end of the segment
        // is then told by the next one, by a slot, or by the frames; `verify` reports it.
        let footer = match Footer::decode(&sector(second), &header) {
            Ok(footer) => Some(footer),
            Err(SectorFault::Format(found)) => {
                return Err(sector_error(
                    &path,
                    0,
                    "the footer",
                    SectorFault::Format(found),
                ));
            }
            Err(_) => None,
        };
        Ok(FoundFile {
            path,
            file,
            header,
            footer,
        })
    }

    fn position(&self, offset: Offset) -> u64 {
        PAGE_BYTES + offset.since(self.header.base)
    }

    /// Above every offset that was ever handed out while this file was the newest.
    fn past(&self) -> Offset {
        self.header.base.plus(2 * self.header.file_bytes)
    }

    /// Whether no frame was ever written to this file, the newest.
    fn is_unused(&self, tail: &Tail, block: &Superblock) -> bool {
        !tail.ended
            && tail.end == self.header.base
            && tail.dropped_bytes == 0
            && block
                .cut
                .is_none_or(|cut| cut.copy != Some(self.header.number))
    }

    fn limit(&self) -> Offset {
        self.header.base.plus(self.header.file_bytes - PAGE_BYTES)
    }

    fn segment(&self, end: Offset) -> Result<Segment> {
        Segment::new(&self.path, self.header, self.file.as_ref(), end)
    }

    /// Decides where the log ends in this file, the newest.
    fn tail(
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

fn read_files(place: &Place<'_>, block: &Superblock) -> Result<Vec<FoundFile>> {
    Listing::read(place.vfs, place.directory)?
        .segments
        .into_iter()
        .map(|number| FoundFile::open(place, block, number))
        .collect()
}

/// Checks that the files follow one another, and returns the end of each but the newest.
fn chain(place: &Place<'_>, files: &[FoundFile], block: &Superblock) -> Result<Vec<Offset>> {
    let missing = |number: SegmentNumber| {
        let path = place.directory.join(file_name(number));
        Error::corrupt(&path, 0, "the segment file is missing")
    };
    let first = SegmentNumber(1);
    if let Some(found) = files.first()
        && found.header.number != first
    {
        return Err(missing(first));
    }
    if let Some(copy) = block.cut.and_then(|cut| cut.copy)
        && !files.iter().any(|file| file.header.number == copy)
    {
        return Err(missing(copy));
    }
    files
        .windows(2)
        .map(|pair| {
            let [file, next] = pair else {
                return Err(missing(first));
            };
            if next.header.number != file.header.number.next() {
                return Err(missing(file.header.number.next()));
            }
            let end = next.header.previous_end;
            let sealed = file.footer.is_none_or(|footer| footer.end == end);
            if !sealed || !(file.header.base..=file.limit()).contains(&end) {
                let what = format!("the segment before it does not end at {end}");
                return Err(Error::corrupt(&next.path, 0, what));
            }
            Ok(end)
        })
        .collect()
}

/// Copies the log from `start` to `end` out of the newest file into a synced file of its own.
fn copy_tail(
    place: &Place<'_>,
    newest: &FoundFile,
    start: Offset,
    end: Offset,
) -> Result<FoundFile> {
    let number = newest.header.number.next();
    let bytes = end.since(start);
    let header = Header {
        number,
        base: start,
        previous_end: start,
        file_bytes: PAGE_BYTES + bytes,
        ..newest.header
    };
    let path = place.directory.join(copy_name(number));
    let io = |error| Error::io("copy the log's tail to", &path, error);
    let file = place.vfs.create(&path).map_err(io)?;
    let mut buffer = vec![0; COPY_CHUNK_BYTES];
    let mut done = 0;
    while done < bytes {
        let chunk = usize::try_from(bytes - done)
            .unwrap_or(COPY_CHUNK_BYTES)
            .min(COPY_CHUNK_BYTES);
        newest
            .file
            .read_exact_at(&mut buffer[..chunk], newest.position(start) + done)
            .map_err(|error| Error::io("read", &newest.path, error))?;
        file.write_at(&buffer[..chunk], PAGE_BYTES + done)
            .map_err(io)?;
        done += chunk as u64;
    }
    let footer = Footer { end };
    file.write_at(&header.encode(), 0).map_err(io)?;
    file.write_at(&footer.encode(&header), SECTOR_BYTES as u64)
        .map_err(io)?;
    file.sync_data(COPY).map_err(io)?;
    sync_directory(place, COPY_NAME)?;
    Ok(FoundFile {
        path,
        file,
        header,
        footer: Some(footer),
    })
}

const COPY_CHUNK_BYTES: usize = 1 << 20;
