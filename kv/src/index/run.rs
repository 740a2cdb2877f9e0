//! Run files: the index of one sealed segment of the log.
//!
//! A *run* lists every record of its segment twice: sorted by the hash of its key, newest first,
//! for point reads; and in key order, for scans and merges. Beside that it holds a filter over the
//! hashes, what the segment adds to each bucket's counts, and the places of control records,
//! which are no key's. Keys stay in the log: a run holds places only, and whoever follows one
//! checks the key that stands there.
//!
//! A run is written once, whole, and never changes. It is *rebuildable*: everything in it follows
//! from the segment, so any fault only means that the owner writes it anew.
//!
//! # Bytes
//!
//! `<segment, 16 hex digits>.run`, in the directory of the partition. Integers are little-endian.
//! The file is a row of blocks of 4096 bytes. The last four of a block are the CRC-32 of those
//! before, exclusive-or a mask drawn (XXH3) from the run's identity and the block's number: a
//! block that was moved, zeroed or left over from another run does not verify.
//!
//! The sections follow one another, each from a block of its own. A section is a row of items of
//! one size; a block has as many as fit whole, then zeros.
//!
//! ```text
//! section    bytes an item   a block
//! head       116             1         one item
//! buckets     40             102       ascending by id
//! controls     4             1023      offset of a control record, ascending
//! fences       4             1023      of each by-hash block: its first top
//! filter      64             63        a line (see `filter`)
//! by hash     12             341       u32 top · place, sorted as below
//! by key       8             511       place, in order of (bucket, key), newest first within a key
//!
//! head                                           bucket
//!  0  8   magic "CAIRNRUN"                        0 u32 bucket id
//!  8 u32  format, 1                               4 u32 0
//! 12 u16  partition                               8 u64 records
//! 14 u16  0                                      16 i64 what they add to the bucket's keys
//! 16 16   log id                                 24 i64 what they add to its bytes
//! 32 u64  segment                                32 u64 version of the newest
//! 40 u64  base, logical offset of its start
//! 48 u64  end, logical offset of its end         place
//! 56 u64  newest version in the segment           0 u32 offset of the record
//! 64 u64  newest time_ms in it                    4 u24 bytes from its batch to the record
//! 72 u32  buckets                                 7 u8  flags: 1 tombstone, 2 relocated, 4 superseded
//! 76 u32  controls
//! 80 u32  filter lines
//! 84 u32  records of keys
//! 88 u32  x7: first block of buckets, controls, fences, filter, by hash, by key; end of the file
//! ```
//!
//! An offset counts from `base`. *Top* is the upper half of a key's hash. The version of a record
//! is the offset of its batch; that of a relocated one stands in the record, its bytes from the
//! batch are 0 here. By hash, records are sorted by top, then: relocated ones last (they are older
//! than the segment), the higher version first, the higher offset first; relocated ones of one top
//! in key order, newest first within a key.
//!
//! Every later format keeps the first 56 bytes and the sum of the first block, so that another
//! format is told from damage.
//!
//! # What is checked when
//!
//! Opening reads and checks everything up to the by-hash section; it costs a handful of calls and
//! what the filter takes in memory. The last two sections are mapped, and a block of them is
//! checked at every access. Nothing that does not verify is ever answered from, and no bytes make
//! a reader panic.
//!
//! # Crashes
//!
//! A run is written and synced under a temporary name, `<segment>.new.run`, and then renamed. So a
//! crash leaves the whole run or none; the temporary file may stay behind, and the next write of
//! that run replaces it. Once `write` has returned, the run survives a power loss.

mod block;
mod check;
mod cursor;
mod load;
mod name;
mod place;
mod write;

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_log::LogId;
use cairn_log::vfs::{Map, Vfs};

use self::block::{BLOCK_BYTES, Layout, Section, Seed, in_memory, items};
pub(crate) use self::cursor::Cursor;
use self::load::{First, Loaded, read};
pub(crate) use self::name::{file_name, remove_file, segment_of};
use crate::index::filter::{Filter, LINE_BYTES};

/// What a run must be the run of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RunIdentity {
    pub(crate) log: LogId,
    pub(crate) partition: u16,
    pub(crate) segment: u64,
    /// The logical offset at which the segment starts.
    pub(crate) base: u64,
    /// The logical offset at which it ends, at most a gibibyte on.
    pub(crate) end: u64,
}

/// Where a record stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// The logical offset of the record.
    pub(crate) record: u64,
    /// Its version, the logical offset of its batch. `None`: it was relocated into this segment,
    /// and itself says which version it is.
    pub(crate) version: Option<u64>,
    pub(crate) is_tombstone: bool,
    /// A newer version existed when it was relocated: history may ask for it, others skip it.
    pub(crate) is_superseded: bool,
}

/// A record, as [`Run::write`] is given it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RunEntry {
    /// The hash of bucket and key.
    pub(crate) hash: u64,
    pub(crate) place: Place,
}

/// What the segment holds of one bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RunBucket {
    pub(crate) bucket: u32,
    /// How many of the run's records are the bucket's.
    pub(crate) entries: u64,
    pub(crate) keys_delta: i64,
    pub(crate) bytes_delta: i64,
    /// The newest version of the bucket in this segment.
    pub(crate) written: u64,
    /// The index of its first record in key order: the records of all buckets before.
    pub(crate) first: u64,
}

/// What a run says of its segment as a whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RunHead {
    pub(crate) identity: RunIdentity,
    pub(crate) last_version: u64,
    pub(crate) newest_time_ms: u64,
    /// Ascending by id.
    pub(crate) buckets: Vec<RunBucket>,
    /// Logical offsets of the control records, ascending.
    pub(crate) controls: Vec<u64>,
}

/// Why there is no answer. Whatever it is, the run can be made again from the log.
#[derive(Debug)]
pub(crate) enum RunFault {
    /// Bytes that are not what was written, with file and byte.
    Damaged(String),
    /// No file, or one of another segment or format.
    Other(String),
    /// What the disk said.
    Io(io::Error),
}

/// An open run. Reads may come from many threads at once.
pub(crate) struct Run {
    path: PathBuf,
    head: RunHead,
    seed: Seed,
    layout: Layout,
    fences: Vec<u32>,
    filter: Filter,
    map: Arc<dyn Map>,
}

impl Run {
    /// Opens the run of a segment. See the module for what is read and checked.
    pub(crate) fn open(
        vfs: &dyn Vfs,
        directory: &Path,
        identity: &RunIdentity,
    ) -> Result<Run, RunFault> {
        let path = directory.join(file_name(identity.segment));
        let file = match vfs.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RunFault::Other(format!("{}: no such run", path.display())));
            }
            opened => opened?,
        };
        let length = file.length()?;
        let mut first = vec![0; BLOCK_BYTES];
        read(&path, &*file, &mut first, 0)?;
        let first = First::decode(&path, &first, identity)?;
        let (seed, layout) = (Seed::new(identity), first.layout);
        let expected = layout.end() * BLOCK_BYTES as u64;
        if length != expected {
            let what = format!("the file has {length} bytes, not {expected}");
            return Err(damaged(&path, length.min(expected), &what));
        }

        let loaded = Loaded::read(&path, &*file, seed, &layout)?;
        let head = RunHead {
            identity: *identity,
            last_version: first.last_version,
            newest_time_ms: first.newest_time_ms,
            buckets: loaded.buckets(&path)?,
            controls: loaded.controls(&path, identity)?,
        };
        let fences = loaded.fences(&path)?;
        let lines = loaded.section::<LINE_BYTES>(&path, &layout.filter)?;
        let filter = Filter::from_bytes(lines.as_flattened())
            .ok_or_else(|| damaged(&path, layout.filter.byte_of(0), "no filter"))?;

        let map = file.map(0..length)?;
        map.publish(length);
        Ok(Run {
            path,
            head,
            seed,
            layout,
            fences,
            filter,
            map,
        })
    }

    /// What the run says of its segment.
    pub(crate) fn head(&self) -> &RunHead {
        &self.head
    }

    /// The number of records of keys.
    pub(crate) fn len(&self) -> u64 {
        self.layout.by_key.items
    }

    /// The number of its keys, or a few more.
    pub(crate) fn keys(&self) -> u64 {
        self.filter.capacity() as u64
    }

    /// How many keys it had more than the levels below it when it was written, or nearly so.
    pub(crate) fn new_keys(&self) -> u64 {
        let deltas = self.head.buckets.iter().map(|bucket| bucket.keys_delta);
        deltas.map(|delta| u64::try_from(delta).unwrap_or(0)).sum()
    }

    /// Whether a record of this hash may be here; `false` is certain. Costs a cache miss.
    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        self.filter.may_hold(hash)
    }

    /// Has brought in what [`Run::may_hold`] will ask, without waiting for it.
    pub(crate) fn prefetch(&self, hash: u64) {
        self.filter.prefetch(hash);
    }

    /// Calls `visit` with the places of this hash, newest first, until it breaks; says with what.
    ///
    /// Places of other keys may be among them, since only half of the hash is kept. Asks the
    /// filter first. What it lets through touches one block, or as many as the hash spans.
    pub(crate) fn find<B>(
        &self,
        hash: u64,
        visit: impl FnMut(Place) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, RunFault> {
        Cursor::new(self).find(hash, visit)
    }

    /// Whether some record of this hash with a version below `version` may be here. A tombstone of
    /// that version must be kept as long as one may.
    pub(crate) fn may_hold_below(&self, hash: u64, version: u64) -> Result<bool, RunFault> {
        let found = self.find(hash, |place| match place.version {
            Some(at) if at >= version => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        })?;
        Ok(found.is_break())
    }

    /// The place at `index` of the key order of the whole run: buckets ascending, keys ascending,
    /// newest first within a key.
    ///
    /// # Panics
    ///
    /// If the index is not below [`Run::len`].
    pub(crate) fn in_key_order(&self, index: u64) -> Result<Place, RunFault> {
        assert!(index < self.len(), "an index of the run");
        let section = &self.layout.by_key;
        let nth = index / section.items_a_block();
        let block = self.block(section, nth)?;
        let within = index - nth * section.items_a_block();
        // No more than 511, and the block has that many items: a place is always found.
        let place = items::<PLACE_BYTES>(section, nth, &block).get(in_memory(within));
        let place = place.ok_or_else(|| self.damaged(section, index, "no place"))?;
        self.place(section, index, *place)
    }

    /// Appends the places at these indices of the key order, checking each block once. Appends
    /// nothing if there is a fault.
    ///
    /// # Panics
    ///
    /// If an index is not below [`Run::len`].
    pub(crate) fn in_key_order_range(
        &self,
        indices: Range<u64>,
        into: &mut Vec<Place>,
    ) -> Result<(), RunFault> {
        assert!(indices.end <= self.len(), "indices of the run");
        let before = into.len();
        let appended = self.append_in_key_order(indices, into);
        if appended.is_err() {
            into.truncate(before);
        }
        appended
    }
}

impl Run {
    fn append_in_key_order(
        &self,
        indices: Range<u64>,
        into: &mut Vec<Place>,
    ) -> Result<(), RunFault> {
        let section = &self.layout.by_key;
        let mut index = indices.start;
        while index < indices.end {
            let nth = index / section.items_a_block();
            let start = nth * section.items_a_block();
            let block = self.block(section, nth)?;
            let places = items::<PLACE_BYTES>(section, nth, &block);
            let (from, to) = (in_memory(index - start), in_memory(indices.end - start));
            for place in places.iter().take(to).skip(from) {
                into.push(self.place(section, index, *place)?);
                index += 1;
            }
        }
        Ok(())
    }

    /// The n-th block of a section, checked.
    fn block(&self, section: &Section, nth: u64) -> Result<Cow<'_, [u8]>, RunFault> {
        self.verified(section.first + nth)
    }

    fn verified(&self, number: u64) -> Result<Cow<'_, [u8]>, RunFault> {
        let start = number * BLOCK_BYTES as u64;
        let bytes = self.map.bytes(start..start + BLOCK_BYTES as u64);
        bytes
            .filter(|bytes| self.seed.verifies(number, bytes))
            .ok_or_else(|| damaged(&self.path, start, BAD_SUM))
    }

    /// The place at `index` of a section, if it lies in the segment.
    fn place(
        &self,
        section: &Section,
        index: u64,
        bytes: [u8; PLACE_BYTES],
    ) -> Result<Place, RunFault> {
        Place::decode(bytes, &self.head.identity)
            .ok_or_else(|| self.damaged(section, index, "no place of the segment"))
    }

    #[cold]
    fn damaged(&self, section: &Section, index: u64, what: &str) -> RunFault {
        damaged(&self.path, section.byte_of(index), what)
    }
}

/// The half of the hash that is kept.
fn top(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// An item of the by-hash section: its top and its place.
fn split(item: &[u8; BY_HASH_BYTES]) -> (u32, [u8; PLACE_BYTES]) {
    let [t0, t1, t2, t3, place @ ..] = *item;
    (u32::from_le_bytes([t0, t1, t2, t3]), place)
}

#[cold]
fn damaged(path: &Path, byte: u64, what: &str) -> RunFault {
    RunFault::Damaged(format!("{}: byte {byte}: {what}", path.display()))
}

const BAD_SUM: &str = "a block that does not verify";

impl From<io::Error> for RunFault {
    fn from(error: io::Error) -> RunFault {
        RunFault::Io(error)
    }
}

impl fmt::Display for RunFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunFault::Damaged(what) | RunFault::Other(what) => formatter.write_str(what),
            RunFault::Io(error) => error.fmt(formatter),
        }
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Run")
            .field("path", &self.path)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

const HEAD_BYTES: usize = 116;
const BUCKET_BYTES: usize = 40;
const BY_HASH_BYTES: usize = 4 + PLACE_BYTES;
const PLACE_BYTES: usize = 8;

#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
