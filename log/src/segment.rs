//! Segments: the files a partition's byte stream is cut into.
//!
//! ```text
//! 0000000000000007.seg
//!    0  header sector (512 B)   written and synced before the file gets its name
//!  512  footer sector (512 B)   zeros until the segment is sealed
//! 4096  frames                  logical offset `base` stands here
//!       zeros                   to the file's length, `file_bytes` until the segment is sealed
//! ```
//!
//! Header and footer share the first page, so that opening a store costs one small read a segment
//! and giving back the unused tail of a sealed segment can never cut off its footer. They are two
//! sectors, so writing the footer cannot tear the header.
//!
//! A segment is *prepared* (zero-filled and synced under a `.spare` name), *begun* (header synced,
//! then renamed), *written* (by one leader at a time, front to back), and *sealed* (all its frames
//! synced, then the footer written). It never changes after that, and frames enter a segment only
//! when the one before it is sealed and its own header is synced. The end of a segment is what the
//! next one names as `previous_end`, so a footer that a power loss took is no loss; only an unclean
//! close leaves a gap between that end and the next base.
//!
//! Once the next segment is durable, the unused tail of a sealed file is given back. Nothing waits
//! for that cut to be durable, so the file of a sealed segment is anything from the page its log
//! ends in to `file_bytes` long; only that it holds the log to its end is checked.

pub(crate) mod ahead;
pub(crate) mod prepare;
pub(crate) mod sectors;
pub(crate) mod spares;
pub(crate) mod unused;

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::checksum::Seed;
use crate::error::{Error, Result};
use crate::frame::{RECORD_HEADER_BYTES, decode_record, record_length};
use crate::identity::{Offset, SegmentNumber};
use crate::retired;
use crate::vfs::{File, Map, Vfs};
use sectors::Header;

/// Bytes of a segment file before its first frame.
pub(crate) const PAGE_BYTES: u64 = 4096;

/// The smallest segment; tests may go lower so that segments roll often.
pub const SEGMENT_BYTES_MIN: u64 = if cfg!(any(test, feature = "testing")) {
    16 << 10
} else {
    32 << 20
};

/// The largest segment: its frames must lie less than 4 GiB behind what is synced.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// The default size of a segment.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// A segment that can be read: a mapped file and the part of it that the log covers.
#[derive(Debug)]
pub(crate) struct Segment {
    path: PathBuf,
    header: Header,
    seed: Seed,
    map: Arc<dyn Map>,
    /// The logical end of what readers may see through the map: the durable offset of the segment
    /// being written, the end of a sealed one.
    published: AtomicU64,
}

impl Segment {
    /// Makes a segment of a file whose header is `header`, and which is readable up to `end`.
    pub(crate) fn new(
        path: &Path,
        header: Header,
        file: &dyn File,
        end: Offset,
    ) -> Result<Segment> {
        let io = |error| Error::io("map", path, error);
        let length = file.length().map_err(io)?;
        let used = PAGE_BYTES + end.since(header.base);
        if length < used {
            let what = format!("the file ends here, but the log in it reaches byte {used}");
            return Err(Error::corrupt(path, length, what));
        }
        let map = file
            .map(PAGE_BYTES..length.max(PAGE_BYTES + 1).min(length))
            .map_err(io)?;
        map.expect_random_reads();
        let segment = Segment {
            path: path.to_owned(),
            seed: header.seed(),
            header,
            map,
            published: AtomicU64::new(header.base.get()),
        };
        segment.publish(end);
        Ok(segment)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn number(&self) -> SegmentNumber {
        self.header.number
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn base(&self) -> Offset {
        self.header.base
    }

    pub(crate) fn seed(&self) -> Seed {
        self.seed
    }

    /// The logical end of what can be read through the map.
    pub(crate) fn published(&self) -> Offset {
        Offset::new(self.published.load(Ordering::Acquire))
    }

    /// Lets readers see everything below `end`, which must be durable.
    pub(crate) fn publish(&self, end: Offset) {
        self.map.publish(self.position(end));
        self.published.store(end.get(), Ordering::Release);
    }

    /// Where in the file a logical offset stands.
    pub(crate) fn position(&self, offset: Offset) -> u64 {
        PAGE_BYTES + offset.since(self.header.base)
    }

    /// The logical offset one past the last byte the file has room for.
    pub(crate) fn limit(&self) -> Offset {
        self.header.base.plus(self.header.file_bytes - PAGE_BYTES)
    }

    /// Bytes of the log, borrowed from the map; `None` where they are not published.
    pub(crate) fn bytes(&self, range: Range<Offset>) -> Option<Cow<'_, [u8]>> {
        if range.start < self.header.base {
            return None;
        }
        self.map
            .bytes(self.position(range.start)..self.position(range.end))
    }

    /// Whether `offset` lies where this segment can be read.
    pub(crate) fn holds(&self, offset: Offset) -> bool {
        self.header.base <= offset && offset < self.published()
    }

    /// Has the processor fetch what stands at `offset`, as far as a small record reaches, without
    /// waiting for it.
    pub(crate) fn touch(&self, offset: Offset) {
        let end = offset.plus(TOUCHED_BYTES).min(self.published());
        if offset >= end {
            return;
        }
        if let Some(Cow::Borrowed(bytes)) = self.bytes(offset..end) {
            let lines = bytes.chunks(LINE_BYTES).map(|line| line[0]);
            std::hint::black_box(lines.fold(0, |sum, byte| sum ^ byte));
        }
    }

    /// Asks for up to `bytes` from `offset` on, which are about to be read.
    pub(crate) fn will_need(&self, offset: Offset, bytes: u64) {
        let end = offset.plus(bytes).min(self.published());
        if self.header.base <= offset && offset < end {
            self.map
                .will_need(self.position(offset)..self.position(end));
        }
    }

    /// The payload of the record at `offset`, checked on this read.
    pub(crate) fn record(&self, offset: Offset) -> Result<Cow<'_, [u8]>> {
        let payload_start = offset.plus(RECORD_HEADER_BYTES as u64);
        let head = self
            .bytes(offset..payload_start)
            .ok_or(Error::OutOfRange { offset })?;
        let damaged = || {
            Error::corrupt(
                &self.path,
                self.position(offset),
                "the record's checksum does not match",
            )
        };
        let length = record_length(&head).ok_or_else(damaged)?;
        let end = payload_start.plus(length as u64);
        match self.bytes(offset..end).ok_or_else(damaged)? {
            Cow::Borrowed(frame) => decode_record(frame, offset, self.seed)
                .map(Cow::Borrowed)
                .ok_or_else(damaged),
            Cow::Owned(frame) => decode_record(&frame, offset, self.seed)
                .map(|payload| Cow::Owned(payload.to_vec()))
                .ok_or_else(damaged),
        }
    }
}

/// What [`Segment::touch`] fetches; more would displace what others need.
const TOUCHED_BYTES: u64 = 192;
const LINE_BYTES: usize = 64;

/// The name of a segment file.
pub(crate) fn file_name(number: SegmentNumber) -> String {
    format!("{:016x}.{SUFFIX}", number.0)
}

/// The name of a file that recovery copied a tail to, until a superblock slot names it.
pub(crate) fn copy_name(number: SegmentNumber) -> String {
    format!("{:016x}.{COPY_SUFFIX}", number.0)
}

/// The name of a prepared file that is not yet a segment.
pub(crate) fn spare_name(number: u64) -> String {
    format!("{number:016x}.{SPARE_SUFFIX}")
}

const SUFFIX: &str = "seg";
const COPY_SUFFIX: &str = "copy";
const SPARE_SUFFIX: &str = "spare";

/// What the files of a partition's directory are, by their names.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) segments: Vec<SegmentNumber>,
    pub(crate) copies: Vec<SegmentNumber>,
    /// Files that never became part of the log.
    pub(crate) temporary: Vec<String>,
}

impl Listing {
    pub(crate) fn read(vfs: &dyn Vfs, directory: &Path) -> Result<Listing> {
        let names = vfs
            .list(directory)
            .map_err(|error| Error::io("list", directory, error))?;
        let mut listing = Listing::default();
        for name in names {
            let Some((stem, suffix)) = name.split_once('.') else {
                continue;
            };
            let number = (stem.len() == 16)
                .then(|| u64::from_str_radix(stem, 16).ok())
                .flatten()
                .map(SegmentNumber);
            match (number, suffix) {
                (Some(number), SUFFIX) => listing.segments.push(number),
                (Some(number), COPY_SUFFIX) => listing.copies.push(number),
                (Some(_), SPARE_SUFFIX) => listing.temporary.push(name),
                _ if name == retired::TEMPORARY_NAME => listing.temporary.push(name),
                _ => {}
            }
        }
        listing.segments.sort_unstable();
        Ok(listing)
    }
}
