//! Ordered scans of one bucket, at one version.
//!
//! A scan pins the watermark at which it began and sees the bucket exactly as it was there,
//! whatever is written meanwhile; deadlines are judged by the time at which it began.
//!
//! Keys come in chunks: first their locations, from all levels at once, then their small values,
//! which lie anywhere in the log, together. Larger values are read one at a time, as they are asked
//! for, so memory is bounded by a chunk of small ones and one large one.

pub(crate) mod chunk;

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::attributes::Attributes;
use crate::bucket::state::BucketState;
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::index::levels::LevelError;
use crate::index::versions::{Kind, Location};
use crate::index::walk::{Course, Key, Walk};
use crate::keyspace::{Keyspace, Pin};
use crate::version::Version;
use chunk::Chunk;

/// Which keys to scan, and how. By default all of them, upwards, with their values.
///
/// ```
/// use cairn_kv::Scan;
///
/// let scan = Scan { prefix: b"user/".to_vec(), limit: Some(10), ..Scan::default() };
/// assert!(!scan.reverse);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Only keys that begin with this.
    pub prefix: Vec<u8>,
    /// Only keys from this one on, itself included.
    pub start: Option<Vec<u8>>,
    /// Only keys before this one.
    pub end: Option<Vec<u8>>,
    /// From the greatest key down.
    pub reverse: bool,
    /// At most this many keys.
    pub limit: Option<usize>,
    /// Leave values and attributes in the log: entries have their version, size and deadline only.
    pub keys_only: bool,
}

/// The keys and entries of a scan, in order. See the module for what they show.
///
/// Holding it keeps what it sees from being freed. The keys and small values of up to 64 rows
/// share one piece of memory: whoever keeps a few of many rows does well to copy them.
pub struct Entries {
    keyspace: Arc<Keyspace>,
    bucket: Arc<BucketState>,
    pin: Pin,
    version: Version,
    now_ms: u64,
    /// What is left behind the last key that was found.
    course: Course,
    walk: Option<Walk>,
    keys_only: bool,
    remaining: usize,
    /// Keys that exist.
    found: Chunk,
    /// The next of them.
    next: usize,
    chunk_keys: usize,
    exhausted: bool,
}

/// A key and its entry, as a scan lends them.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Row<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value. Empty in a scan of keys only, and where it is [kept in
    /// pieces](crate::ValueReader).
    pub value: &'a [u8],
    /// The version of the batch that wrote it.
    pub version: Version,
    /// The deadline, in milliseconds since 1970, after which the key no longer exists.
    pub expires_ms: Option<u64>,
    /// Bytes of the value, also where the value is left out.
    pub size: u64,
    /// An attribute block.
    attributes: &'a [u8],
}

impl Row<'_> {
    /// What stands beside the value. Empty in a scan of keys only.
    pub fn attributes(&self) -> Attributes {
        Attributes::copied(self.attributes)
    }
}

impl Scan {
    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Scan {
        Scan {
            prefix: prefix.into(),
            ..Scan::default()
        }
    }

    /// The keys that satisfy prefix, start and end alike.
    pub(crate) fn bounds(&self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        let start = self.start.iter().chain([&self.prefix]).max();
        let start = start.filter(|start| !start.is_empty());
        let prefix_end = successor_of_prefix(&self.prefix);
        let end = self.end.iter().chain(&prefix_end).min();
        (
            start.cloned().map_or(Bound::Unbounded, Bound::Included),
            end.cloned().map_or(Bound::Unbounded, Bound::Excluded),
        )
    }
}

impl Entries {
    /// Begins a scan.
    ///
    /// # Errors
    ///
    /// `BucketNotFound` if the bucket is dropped.
    pub(crate) fn begin(
        keyspace: &Arc<Keyspace>,
        bucket: &Arc<BucketState>,
        scan: &Scan,
    ) -> Result<Entries> {
        let (pin, version) = keyspace.pin();
        keyspace.check_bucket(bucket, pin.watermark)?;
        Ok(Entries::at(keyspace, bucket, scan, &pin, version))
    }

    /// Begins a scan of what is pinned.
    pub(crate) fn at(
        keyspace: &Arc<Keyspace>,
        bucket: &Arc<BucketState>,
        scan: &Scan,
        pin: &Pin,
        version: Version,
    ) -> Entries {
        let (start, end) = scan.bounds();
        Entries {
            keyspace: Arc::clone(keyspace),
            bucket: Arc::clone(bucket),
            pin: pin.clone(),
            version,
            now_ms: match &pin.past {
                Some(past) => past.time_ms,
                None => keyspace.clock().now_ms(),
            },
            course: Course {
                bucket: bucket.id,
                start,
                end,
                reverse: scan.reverse,
                watermark: pin.watermark,
                archive: pin.past.as_ref().map(|past| Arc::clone(&past.archive)),
                value_bytes_max: if scan.keys_only {
                    0
                } else {
                    VALUE_BYTES_TOGETHER
                },
            },
            walk: None,
            keys_only: scan.keys_only,
            remaining: scan.limit.unwrap_or(usize::MAX),
            found: Chunk::default(),
            next: 0,
            chunk_keys: CHUNK_KEYS_MIN,
            exhausted: false,
        }
    }

    /// Where the newest version stands of some key that exists in what is sequenced now, visible
    /// or not.
    pub(crate) fn first_sequenced(
        keyspace: &Arc<Keyspace>,
        bucket: &Arc<BucketState>,
    ) -> Result<Option<Location>> {
        let scan = Scan {
            keys_only: true,
            limit: Some(1),
            ..Scan::default()
        };
        let (pin, version) = keyspace.pin();
        let mut entries = Entries::at(keyspace, bucket, &scan, &pin, version);
        entries.course.watermark = u64::MAX;
        let first = entries.next_location()?;
        Ok(first.map(|(_, location)| location))
    }

    /// Begins another scan of what this one shows: at the same version, with deadlines judged by
    /// the same time, however far this one has come.
    pub fn again(&self, scan: &Scan) -> Entries {
        let mut again = Entries::at(&self.keyspace, &self.bucket, scan, &self.pin, self.version);
        again.now_ms = self.now_ms;
        again
    }

    /// The version of the bucket's partition that the scan shows: that of the newest batch readers
    /// saw when it began.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The next key and its entry, lent until the next call: that costs less than the iterator,
    /// which gives what can be kept.
    ///
    /// # Errors
    ///
    /// Those of the iterator. The scan ends after an error.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>> {
        match self.step() {
            Ok(Some(at)) => Ok(Some(self.found.row(at))),
            Ok(None) => Ok(None),
            Err(error) => {
                self.remaining = 0;
                Err(error)
            }
        }
    }

    /// The next key, where its value stands, and when it expires, without reading the value.
    pub(crate) fn next_location(&mut self) -> Result<Option<(Key, Location)>> {
        Ok(self.go_on(false)?.map(|at| {
            let (key, location) = self.found.location(at);
            (Key::from_slice(key), *location)
        }))
    }

    /// Also shows keys whose deadline has passed, until their tombstone is logged.
    pub(crate) fn including_expired(mut self) -> Entries {
        self.now_ms = 0;
        self
    }

    /// Reads what stands at a location that [`Entries::next_location`] gave.
    pub(crate) fn read(&self, key: &[u8], location: &Location) -> Result<Entry> {
        self.check_kept()?;
        if !self.keys_only {
            return self.keyspace.read(self.bucket.id, key, location);
        }
        Ok(Entry {
            version: Version::new(location.version),
            value: Bytes::new(),
            attributes: Attributes::new(),
            expires_ms: Some(location.expires_ms).filter(|&deadline| deadline != 0),
            size: location.value_bytes,
        })
    }

    /// Reads an entry, and the BLAKE3 of its value.
    pub(crate) fn read_hashed(&self, key: &[u8], location: &Location) -> Result<(Entry, [u8; 32])> {
        self.check_kept()?;
        if location.kind == Kind::Large {
            let (entry, large) = self.keyspace.read_large(self.bucket.id, key, location)?;
            return Ok((entry, large.hash));
        }
        let entry = self.read(key, location)?;
        let hash = *blake3::hash(&entry.value).as_bytes();
        Ok((entry, hash))
    }

    /// Refuses what a failure of the log has put in doubt.
    fn check_kept(&self) -> Result<()> {
        let log = self.keyspace.log();
        if log.is_poisoned() && self.pin.watermark > log.durable().get() {
            let message = "the log failed under the scan, and what it shows may be lost";
            return Err(Error::new(ErrorKind::Poisoned, message));
        }
        Ok(())
    }

    /// Goes on to the next key and has its entry read; says which of the chunk it is.
    fn step(&mut self) -> Result<Option<usize>> {
        let Some(at) = self.go_on(!self.keys_only)? else {
            return Ok(None);
        };
        self.check_kept()?;
        if !self.keys_only && !self.found.is_read(at) {
            let (key, location) = self.found.location(at);
            let entry = self.keyspace.read(self.bucket.id, key, location)?;
            self.found.read_apart(at, entry);
        }
        Ok(Some(at))
    }

    /// Goes on to the next key, with the small values of its chunk read if they are wanted.
    fn go_on(&mut self, with_values: bool) -> Result<Option<usize>> {
        if self.remaining == 0 {
            return Ok(None);
        }
        if self.next == self.found.len() {
            self.gather()?;
            if with_values {
                let id = self.bucket.id;
                self.keyspace
                    .read_small(id, &mut self.found, VALUE_BYTES_TOGETHER);
            }
        }
        if self.next == self.found.len() {
            return Ok(None);
        }
        self.next += 1;
        self.remaining -= 1;
        Ok(Some(self.next - 1))
    }

    /// Finds the next chunk of keys that exist at the scan's version.
    fn gather(&mut self) -> Result<()> {
        self.found.clear();
        self.next = 0;
        let chunk = self.chunk_keys.min(self.remaining);
        self.chunk_keys = CHUNK_KEYS_MAX.min(self.chunk_keys * 2);
        let mut repairs = 0;
        while self.found.len() < chunk && !self.exhausted {
            let Err(error) = self.walk_on(chunk) else {
                continue;
            };
            // Go on from the same key in levels whose damaged part was made anew.
            self.walk = None;
            if let Err(error) = self.repair(error, &mut repairs) {
                // What stands before the damage is shown first; the next chunk meets it again.
                return if self.found.len() > 0 {
                    Ok(())
                } else {
                    Err(error)
                };
            }
        }
        Ok(())
    }

    fn repair(&mut self, error: LevelError, repairs: &mut usize) -> Result<()> {
        // Of a retired memtable nothing is, and each is retired once.
        *repairs += usize::from(!matches!(error, LevelError::Retired));
        if *repairs > REPAIRS_MAX {
            let message = format!("the index could not be rebuilt: {error}");
            return Err(Error::new(ErrorKind::Io, message));
        }
        self.keyspace.repair_pin(&mut self.pin, error)?;
        let past = self.pin.past.as_ref();
        self.course.archive = past.map(|past| Arc::clone(&past.archive));
        Ok(())
    }

    fn walk_on(&mut self, chunk: usize) -> std::result::Result<(), LevelError> {
        let log = self.keyspace.log();
        let walk = match &mut self.walk {
            Some(walk) => walk,
            none => none.insert(Walk::new(&self.pin.levels, log, &self.course)?),
        };
        let (found, now_ms) = (&mut self.found, self.now_ms);
        let outcome = loop {
            if found.len() == chunk {
                break Ok(());
            }
            match walk.next(log) {
                Ok(Some(next)) if next.location.is_live(now_ms) => found.push(&next),
                Ok(Some(_)) => {}
                Ok(None) => {
                    self.exhausted = true;
                    break Ok(());
                }
                Err(error) => break Err(error),
            }
        };
        if let Some(last) = found.last_key() {
            self.course.go_on_behind(last);
        }
        outcome
    }
}

impl Iterator for Entries {
    type Item = Result<(Bytes, Entry)>;

    /// The next key and its entry.
    ///
    /// # Errors
    ///
    /// `Corrupt`, `Io`; `Poisoned` if the log failed and what the scan shows was not durable. The
    /// scan ends after an error.
    fn next(&mut self) -> Option<Result<(Bytes, Entry)>> {
        match self.step() {
            Ok(at) => at.map(|at| Ok(self.found.entry(at))),
            Err(error) => {
                self.remaining = 0;
                Some(Err(error))
            }
        }
    }
}

impl std::iter::FusedIterator for Entries {}

impl std::fmt::Debug for Entries {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "Entries({:?} at {})",
            self.bucket.name, self.version
        )
    }
}

/// The least key greater than all that begin with `prefix`, if there is one.
fn successor_of_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut successor = prefix[..=last].to_vec();
    successor[last] += 1;
    Some(successor)
}

/// How often one step has index files made anew before it gives up.
const REPAIRS_MAX: usize = 4;

/// Keys found at once, before their values are read: few at first, since many a scan is short.
const CHUNK_KEYS_MIN: usize = 8;
const CHUNK_KEYS_MAX: usize = 64;

/// Values up to this length are read with those of the other keys of their chunk.
const VALUE_BYTES_TOGETHER: u64 = 1 << 10;

#[cfg(test)]
mod tests;
