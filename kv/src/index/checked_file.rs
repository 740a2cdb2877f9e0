//! A file of checked pages, as redb wants its storage: no byte of it is believed unless its sum
//! matches.
//!
//! redb checks its pages when it repairs a file, never when it reads one, and a flipped bit in a
//! branch page makes keys vanish. So this file keeps a CRC-32 of every 4 KiB page beside the pages
//! and checks it at each read. What does not match is an error of kind `InvalidData` that names
//! the file and the offset; it is remembered ([`CheckedFile::damage`]), for redb turns every later
//! error into "an earlier error". Nothing here repairs: the index is made again from the log.
//!
//! # Layout
//!
//! Integers are little-endian. *Place* is an offset in the file. The logical file that redb sees
//! is cut into pages of 4 KiB; page 0 is its header.
//!
//! ```text
//! 0       file header (512 B) | zeros | 2048 second slot of page 0 (512 B) | zeros
//! 4096    group 0: sums, copy 0 (4 KiB) | sums, copy 1 (4 KiB) | pages 0..1008
//! +1010 p group 1: sums, copy 0         | sums, copy 1         | pages 1008..2016
//! ...     the last group ends with the last page of the logical file; an empty one has no group
//!
//! file header: 0 magic "CairnIdx" | 8 format u32 | 12 identity length u32 | 16 identity | zeros
//!              508 CRC u32 of bytes 0..508
//! sum sector s of a copy, at s * 512 of it, for the pages s * 126 .. (s + 1) * 126 of the group:
//!              0 126 sums u32 | 504 sequence u32 | 508 CRC u32 of bytes 0..508
//! slot of page 0 (the first where it would stand, the rest of which is not used):
//!              0 redb's header | 496 sequence u64 | 504 zeros | 508 CRC u32 of bytes 0..508
//! ```
//!
//! Each CRC but the first is xor-ed with a mask made of its place and of the file's identity, so
//! that a page or sector that stands in another place, or in the index of another log, is not
//! taken. A page's sum that comes out as 0 is stored as 1: **0 says that the page was never
//! written** since it was last beyond the end, and then it must be zeros. A sector of zeros says
//! so of its 126 pages. Of the two copies of a sector the one with the greater sequence counts.
//! The last sequence is neither taken nor written.
//!
//! The length is that of the file; no other is kept. It is set in one call, so after a crash it is
//! one that redb had asked for. A length that ends elsewhere than with a page is damage.
//!
//! # Crashes
//!
//! [`sync_data`](redb::StorageBackend::sync_data) writes the sums that changed, then syncs the
//! file once. What this rests on:
//!
//! * redb never writes into a page that the last durable commit refers to, and with quick repair
//!   (two-phase commit) a commit becomes the one in force only by a header write that follows the
//!   sync of all its pages. So **a page that may be read after a crash was synced together with
//!   its sum** and not touched since. A page whose sum does not match because either was still on
//!   its way is free, and a free page is never read before it is written anew. No second sum of a
//!   write in progress needs to be kept or accepted, neither in memory (a page and its sum change
//!   while no transaction can see the page) nor in the file.
//! * What changes while others rely on it is therefore only what pages share. A *sum sector*
//!   holds sums of pages in force beside those of pages being written: it is written alternately to
//!   its two copies, so the one that was synced last stays whatever becomes of the write. The disk
//!   writes a sector whole, but a write that fails, or a process that dies in it, may stop within
//!   one. A page in force has the same sum in both states.
//! * *redb's header* is written into both slots, one after the other, before anything is synced.
//!   Torn in one, it is whole in the other, as it was before or after the write; redb expects
//!   either. If both are whole, the later one counts. A header that was synced stands in both
//!   slots, so a damaged slot never brings an older state back; nor does one that the disk forgot
//!   to write, since the slots stand in blocks of their own.
//! * The file header is written once, before the file gets its name.
//!
//! Not noticed is a disk that forgets, after a sync, both slots, or a page *and* its sum.
//!
//! # Cost
//!
//! 4 B of memory for each page of a group that was touched, 1/1000 of the file at most, kept until
//! the file is closed; 2 pages of disk for 1,008. A read costs one CRC of each page it covers and
//! a shared lock for the look-up of each sum, which is not held while the disk is read.

mod frozen;
mod header;
mod layout;
mod seal;
mod sums;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

pub(crate) use self::frozen::Frozen;
use self::header::HEADER_PLACES;
use self::layout::{is_whole_pages, logical_length, pages_of, physical_length, place_of, runs};
use self::seal::{CRC_AT, Seal};
use self::sums::Sums;
use cairn_log::vfs::{File, SECTOR_BYTES, SyncSite};

/// What a page of the logical file holds, in bytes; writes are of whole pages.
pub(crate) const PAGE_BYTES: usize = 4096;

/// What can be stored of page 0, in bytes, from its start.
pub(crate) const HEADER_BYTES_MAX: usize = 496;

/// The longest identity that a file can be bound to, in bytes.
pub(crate) const IDENTITY_BYTES_MAX: usize = 64;

/// Makes pages and their sums durable.
pub(crate) const SYNC: SyncSite = SyncSite("index file");

/// A handle on an open file of checked pages. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct CheckedFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: Arc<dyn File>,
    /// What errors call the file.
    name: String,
    seal: Seal,
    /// Of the logical file.
    length: AtomicU64,
    sums: Sums,
    /// Of pages, since it was opened.
    written_bytes: AtomicU64,
    /// The sequence of the newest slot of page 0. Held while a slot is read or written.
    header: Mutex<u64>,
    damage: OnceLock<String>,
    failure: OnceLock<String>,
}

impl CheckedFile {
    /// Makes an empty file into one of checked pages, with no page. Nothing is durable before the
    /// first sync.
    pub(crate) fn create(
        file: Arc<dyn File>,
        name: String,
        identity: &[u8],
    ) -> io::Result<CheckedFile> {
        assert!(identity.len() <= IDENTITY_BYTES_MAX, "a short identity");
        let mut page = [0; PAGE_BYTES];
        page[..8].copy_from_slice(&MAGIC);
        page[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        let length = u32::try_from(identity.len()).expect("checked above");
        page[12..16].copy_from_slice(&length.to_le_bytes());
        page[16..16 + identity.len()].copy_from_slice(identity);
        let crc = crc32fast::hash(&page[..CRC_AT]);
        page[CRC_AT..SECTOR_BYTES].copy_from_slice(&crc.to_le_bytes());
        file.write_at(&page, 0)?;
        Ok(CheckedFile::new(file, name, identity, 0))
    }

    /// Opens a file and returns it with the identity it is bound to, which is the caller's to
    /// judge. `InvalidData` if it is damaged, `Unsupported` if it is of another format.
    pub(crate) fn open(file: Arc<dyn File>, name: String) -> io::Result<(CheckedFile, Vec<u8>)> {
        let damaged = |what: &str| {
            let message = format!("{name}: {what}");
            io::Error::new(io::ErrorKind::InvalidData, message)
        };
        let physical = file.length()?;
        if physical < PAGE_BYTES as u64 {
            return Err(damaged("cut short within its header"));
        }
        let mut sector = [0; SECTOR_BYTES];
        file.read_exact_at(&mut sector, 0)?;
        if crc32fast::hash(&sector[..CRC_AT]) != u32_at(&sector, CRC_AT) {
            return Err(damaged("damaged header at offset 0"));
        }
        if sector[..8] != MAGIC || u32_at(&sector, 8) != FORMAT {
            let message = format!("{name}: not an index file of format {FORMAT}");
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        let identity_bytes = u32_at(&sector, 12) as usize;
        if identity_bytes > IDENTITY_BYTES_MAX {
            return Err(damaged("damaged header at offset 12"));
        }
        let identity = sector[16..16 + identity_bytes].to_vec();
        let length = logical_length(physical)
            .ok_or_else(|| damaged(&format!("cut within a page at offset {physical}")))?;
        let opened = CheckedFile::new(file, name, &identity, length);
        let mut newest = 0;
        for place in HEADER_PLACES {
            if let Ok(Some((sequence, _))) = opened.0.header_slot(place) {
                newest = newest.max(sequence);
            }
        }
        *opened.0.header.lock() = newest;
        Ok((opened, identity))
    }

    fn new(file: Arc<dyn File>, name: String, identity: &[u8], length: u64) -> CheckedFile {
        let seal = Seal(xxh3_64(identity));
        CheckedFile(Arc::new(Inner {
            file,
            name,
            seal,
            length: AtomicU64::new(length),
            sums: Sums::new(seal, pages_of(length)),
            written_bytes: AtomicU64::new(0),
            header: Mutex::new(0),
            damage: OnceLock::new(),
            failure: OnceLock::new(),
        }))
    }

    /// What errors call the file.
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// The first mismatch that a read has met. Once there is one, the file is not to be used.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.0.damage.get().map(String::as_str)
    }

    /// The first error of another kind that the disk has answered with.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.0.failure.get().map(String::as_str)
    }

    /// The length of the logical file, in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.0.length.load(Ordering::Acquire)
    }

    /// Bytes of pages that have been written since the file was opened.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.0.written_bytes.load(Ordering::Relaxed)
    }

    /// Remembers the first error of each kind.
    fn noting<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            let note = match error.kind() {
                io::ErrorKind::InvalidData => &self.0.damage,
                _ => &self.0.failure,
            };
            note.get_or_init(|| error.to_string());
        }
        result
    }
}

impl redb::StorageBackend for CheckedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.length())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.noting(self.0.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.noting(self.0.set_length(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.noting(self.0.sync())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.noting(self.0.write(offset, data))
    }
}

impl Inner {
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset.saturating_add(out.len() as u64);
        if end > self.length.load(Ordering::Acquire) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if out.is_empty() {
            return Ok(());
        }
        let page = offset / PAGE_BYTES as u64;
        if page == 0 {
            return self.read_header(offset, out);
        }
        if is_whole_pages(offset, out.len()) {
            return self.read_pages(page, out);
        }
        // redb reads whole pages; this serves whoever looks at a part.
        let start = page * PAGE_BYTES as u64;
        let covered = (end - start).next_multiple_of(PAGE_BYTES as u64);
        let mut pages = vec![0; to_usize(covered)?];
        self.read_pages(page, &mut pages)?;
        let from = to_usize(offset - start)?;
        out.copy_from_slice(&pages[from..from + out.len()]);
        Ok(())
    }

    /// Reads and checks whole pages, none of them page 0.
    fn read_pages(&self, first: u64, out: &mut [u8]) -> io::Result<()> {
        for (page, range) in runs(first, out.len()) {
            let bytes = &mut out[range];
            self.file.read_exact_at(bytes, place_of(page))?;
            for (page, bytes) in (page..).zip(bytes.chunks_exact(PAGE_BYTES)) {
                self.check(page, bytes)?;
            }
        }
        Ok(())
    }

    fn check(&self, page: u64, bytes: &[u8]) -> io::Result<()> {
        let matches = match self.sums.of(page, &*self.file, &self.name)? {
            0 => is_zeros(bytes),
            sum => sum == self.seal.page_sum(place_of(page), bytes),
        };
        if matches {
            return Ok(());
        }
        let place = place_of(page);
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: damaged page at offset {place}", self.name),
        ))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        if offset == 0 && data.len() <= HEADER_BYTES_MAX && self.length.load(Ordering::Acquire) > 0
        {
            return self.write_header(data);
        }
        let end = offset.saturating_add(data.len() as u64);
        if offset == 0
            || !is_whole_pages(offset, data.len())
            || end > self.length.load(Ordering::Acquire)
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a write of {} bytes at {offset}, not of pages", data.len()),
            ));
        }
        self.written_bytes
            .fetch_add(data.len() as u64, Ordering::Relaxed);
        for (page, range) in runs(offset / PAGE_BYTES as u64, data.len()) {
            let bytes = &data[range];
            self.file.write_at(bytes, place_of(page))?;
            for (page, bytes) in (page..).zip(bytes.chunks_exact(PAGE_BYTES)) {
                let sum = self.seal.page_sum(place_of(page), bytes);
                self.sums.set(page, sum, &*self.file, &self.name)?;
            }
        }
        Ok(())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        if !length.is_multiple_of(PAGE_BYTES as u64) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let before = self.length.load(Ordering::Acquire);
        if length < before {
            self.length.store(length, Ordering::Release);
        }
        self.file.set_length(physical_length(length))?;
        if before == 0 && length > 0 {
            // The second slot of page 0 was not cut off with the page.
            self.write_header(&[])?;
        }
        // Pages between the two lengths are not written, whatever a sector that survived the
        // loss of a length says.
        let changed = pages_of(length.min(before))..pages_of(length.max(before));
        self.sums
            .resize(pages_of(length), changed, &*self.file, &self.name)?;
        self.length.store(length, Ordering::Release);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.sums.write_changed(&*self.file, &self.name)?;
        self.file.sync_data(SYNC)
    }
}

fn is_zeros(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

/// What would be written now, no open would take.
fn no_sequence(name: &str) -> io::Error {
    let message = format!("{name}: no sequence is left");
    io::Error::new(io::ErrorKind::InvalidData, message)
}

fn to_usize(number: u64) -> io::Result<usize> {
    usize::try_from(number).map_err(|_| io::ErrorKind::InvalidInput.into())
}

const MAGIC: [u8; 8] = *b"CairnIdx";
const FORMAT: u32 = 1;

#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
