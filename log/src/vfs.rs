//! The disk, as Cairn sees it: every byte the store reads or writes goes through [`Vfs`].
//!
//! Four implementations stand behind the trait: [`RealDisk`] (the operating system), [`Overlay`]
//! (the same, on which nothing is changed), [`MemoryDisk`] (a store that lives as long as its
//! process) and, with the feature `testing`, a simulated disk that crashes, tears, forgets, lies
//! and fills up on request. What the tests break is therefore what ships.
//!
//! # Contract
//!
//! * **Writes** ([`File::write_at`]) reach the page cache before they return: a later read of any
//!   handle or [`Map`] of the file sees them, and they survive the death of the process. They
//!   survive a power loss only after [`File::sync_data`] on that file has returned `Ok`.
//! * **Sectors.** After a power loss each unsynced 512-byte sector holds its old bytes or one of
//!   the newer ones, independently of every other sector; a sector never mixes two states.
//! * **Lengths** behave like sectors: an unsynced length may be lost. `sync_data` covers the
//!   length that is needed to read the data back.
//! * **Names.** A create, rename, link or removal survives a power loss only after
//!   [`Vfs::sync_directory`] on the directory that holds the name; each may be lost or kept on its
//!   own. A rename is atomic: either name refers to the whole file.
//! * **A failed sync** says nothing about which writes are on disk, and a later successful sync of
//!   the same file says nothing about the writes before the failure. Nothing in Cairn retries one.
//! * Paths are plain: no symbolic links are followed on purpose, parents are never created.

#[cfg(test)]
mod conformance;
mod map;
mod memory;
mod overlay;
mod plain;
mod published;
mod real;
#[cfg(any(test, feature = "testing"))]
pub mod simulated;

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

pub use map::{AtomicWords, bound_free_memory, prefetch};
pub use memory::MemoryDisk;
pub use overlay::Overlay;
pub use real::RealDisk;

/// The unit that a disk writes atomically, in bytes.
pub const SECTOR_BYTES: usize = 512;

/// Names the place in the code that asked for a sync, so that a test can make exactly that sync
/// do nothing and watch a law break ("sync audit").
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SyncSite(pub &'static str);

impl fmt::Debug for SyncSite {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

/// A file system that holds one store. See the module for what each call promises.
pub trait Vfs: Send + Sync + 'static {
    /// Creates one directory; it is no error if it exists.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// Makes every earlier create, rename, link and removal in this directory durable.
    fn sync_directory(&self, path: &Path, site: SyncSite) -> io::Result<()>;

    /// The names in a directory, in byte order. Names that are not UTF-8 are left out: Cairn
    /// never makes one.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Creates an empty file for reading and writing; `AlreadyExists` if the name is taken.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens an existing file for reading and writing; `NotFound` if there is none.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Renames a file, replacing whatever had the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name; `AlreadyExists` if the name is taken.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name. Open handles and maps of the file stay valid.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Takes an exclusive lock on a file, creating it if needed, until the guard is dropped or
    /// the process ends; `WouldBlock` if another holder (of this process or another) has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;

    /// Bytes that can still be written on the file system of this path.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// An open file. All calls may come from many threads at once.
pub trait File: Send + Sync + fmt::Debug {
    /// Fills the buffer from `offset`; `UnexpectedEof` if the file ends before it is full.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes the whole buffer at `offset`, growing the file if needed.
    ///
    /// `InvalidInput` if the range meets bytes that a [`Map`] of this handle has published.
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()>;

    /// Makes every earlier write of this file durable (fdatasync). See the module on failure.
    fn sync_data(&self, site: SyncSite) -> io::Result<()>;

    /// The file's length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Cuts or grows (with zeros) the file.
    ///
    /// `InvalidInput` if that would cut off bytes that a [`Map`] of this handle has published.
    fn set_length(&self, length: u64) -> io::Result<()>;

    /// Grows the file to `length` with zeros that have their room on the disk, so that no later
    /// write below `length` finds the disk full. Does nothing to a file that is longer already. If
    /// there is no room, some of it may have been taken.
    ///
    /// A file system that can do so notes the room and writes nothing; elsewhere the zeros are
    /// written.
    fn allocate(&self, length: u64) -> io::Result<()> {
        write_zeros(self, length, |_| {})
    }

    /// Maps `range` of the file for reading; at most one map per handle (`AlreadyExists`).
    /// `UnexpectedEof` if the file ends before the range does.
    ///
    /// Nothing of the map can be read until it is published with [`Map::publish`].
    fn map(&self, range: Range<u64>) -> io::Result<Arc<dyn Map>>;
}

/// Grows a file to `length` by writing zeros, and tells of each piece how long it was.
pub(crate) fn write_zeros(
    file: &(impl File + ?Sized),
    length: u64,
    mut written: impl FnMut(u64),
) -> io::Result<()> {
    let mut position = file.length()?;
    while position < length {
        let left = usize::try_from(length - position).unwrap_or(usize::MAX);
        let piece = &ZEROS[..left.min(ZEROS.len())];
        file.write_at(piece, position)?;
        position += piece.len() as u64;
        written(piece.len() as u64);
    }
    Ok(())
}

/// The size is that of the pieces in which zeros are written. The page cache keeps a file in folios as
/// large as the writes that filled it, and ext4 walks every block of a folio at each write into it:
/// measured on Linux 6.18, a small write cost 1 us more in segments filled by 1 MiB than in those
/// filled by 64 KiB, and smaller pieces gained nothing.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A read-only memory map of a file.
///
/// Only published bytes can be read, and published bytes never change again: the handle that made
/// the map refuses to write or cut them. That is what makes handing out `&[u8]` sound.
pub trait Map: Send + Sync + fmt::Debug {
    /// Declares everything from the map's start up to the file offset `end` immutable and
    /// readable. Never moves back; an `end` past the map's range, past a cut that the handle has
    /// made since, or past the start of a write in flight is held to it.
    fn publish(&self, end: u64);

    /// The bytes at file offsets `range`, or `None` if they are not all published. The real disk
    /// borrows; the simulated one copies.
    fn bytes(&self, range: Range<u64>) -> Option<Cow<'_, [u8]>>;

    /// Says that the bytes at file offsets `range` are about to be read, so that they come from
    /// the disk together and not page by page. A wish that changes nothing but time: it never
    /// waits for the disk, and of bytes that are not all published it asks for none. Costs a system
    /// call on the real disk, and nothing elsewhere.
    fn will_need(&self, _range: Range<u64>) {}

    /// Says that the map is read at random, so that a read brings in its own pages and no
    /// neighbours. Who reads on then asks with [`Map::will_need`]. Changes nothing but time.
    fn expect_random_reads(&self) {}
}

/// An exclusive lock, released on drop.
pub trait Lock: Send + Sync + fmt::Debug {}
