//! Ordered scans of one bucket, at one version.
//!
//! A scan pins the watermark at which it began and sees the bucket exactly as it was there,
//! whatever is written meanwhile; deadlines are judged by the time at which it began. A step
//! gathers a chunk of locations under the bucket's key lock, then reads one value at a time, so
//! memory is bounded by the chunk and one value.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::attributes::Attributes;
use crate::bucket::state::BucketState;
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::index::memtable::Node;
use crate::index::pins::Pin;
use crate::index::versions::Location;
use crate::keyspace::Keyspace;
use crate::version::Version;

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
/// Holding it keeps what it sees from being freed.
pub struct Entries {
    keyspace: Arc<Keyspace>,
    bucket: Arc<BucketState>,
    /// Released on drop, and then what it held back is purged.
    pin: Option<Pin>,
    watermark: u64,
    version: Version,
    now_ms: u64,
    start: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
    reverse: bool,
    keys_only: bool,
    remaining: usize,
    nodes: Vec<Arc<Node>>,
    /// Found locations, the next one last.
    found: Vec<(Arc<Node>, Location)>,
    exhausted: bool,
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
    fn bounds(&self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
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
        keyspace.check_bucket(bucket, pin.watermark())?;
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
        bucket.order.settle();
        let (start, end) = scan.bounds();
        Entries {
            keyspace: Arc::clone(keyspace),
            bucket: Arc::clone(bucket),
            watermark: pin.watermark(),
            pin: Some(pin.clone()),
            version,
            now_ms: keyspace.clock().now_ms(),
            start,
            end,
            reverse: scan.reverse,
            keys_only: scan.keys_only,
            remaining: scan.limit.unwrap_or(usize::MAX),
            nodes: Vec::new(),
            found: Vec::new(),
            exhausted: false,
        }
    }

    /// Begins another scan of what this one shows: at the same version, with deadlines judged by
    /// the same time, however far this one has come.
    pub fn again(&self, scan: &Scan) -> Entries {
        let pin = self.pin.as_ref().expect("held until the scan is dropped");
        let mut again = Entries::at(&self.keyspace, &self.bucket, scan, pin, self.version);
        again.now_ms = self.now_ms;
        again
    }

    /// The version of the bucket's partition that the scan shows: that of the newest batch readers
    /// saw when it began.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The next key, where its value stands, and when it expires, without reading the value.
    pub(crate) fn next_location(&mut self) -> Option<(Arc<Node>, Location)> {
        if self.remaining == 0 {
            return None;
        }
        while self.found.is_empty() && !self.exhausted {
            self.gather();
        }
        let next = self.found.pop()?;
        self.remaining -= 1;
        Some(next)
    }

    /// Also shows keys whose deadline has passed, until their tombstone is logged.
    pub(crate) fn including_expired(mut self) -> Entries {
        self.now_ms = 0;
        self
    }

    /// Reads what stands at a location that [`Entries::next_location`] gave.
    pub(crate) fn read(&self, node: &Node, location: &Location) -> Result<Entry> {
        let log = self.keyspace.log();
        if log.is_poisoned() && self.watermark > log.durable().get() {
            let message = "the log failed under the scan, and what it shows may be lost";
            return Err(Error::new(ErrorKind::Poisoned, message));
        }
        if !self.keys_only {
            return self.keyspace.read(self.bucket.id, node.key(), location);
        }
        Ok(Entry {
            version: Version::new(location.version),
            value: Bytes::new(),
            attributes: Attributes::new(),
            expires_ms: Some(location.expires_ms).filter(|&deadline| deadline != 0),
            size: u64::from(location.value_bytes),
        })
    }

    /// Finds the next chunk of keys that exist at the scan's version.
    fn gather(&mut self) {
        let chunk = CHUNK_KEYS.min(self.remaining);
        let bounds = (slice(&self.start), slice(&self.end));
        self.bucket
            .order
            .nodes(bounds, self.reverse, chunk, &mut self.nodes);
        self.exhausted = self.nodes.len() < chunk;
        if let Some(last) = self.nodes.last() {
            let bound = Bound::Excluded(last.key().to_vec());
            if self.reverse {
                self.end = bound
            } else {
                self.start = bound
            }
        }
        let (watermark, now_ms) = (self.watermark, self.now_ms);
        self.found
            .extend(self.nodes.drain(..).rev().filter_map(|node| {
                let location = node.versions().below(watermark);
                location.is_live(now_ms).then_some((node, location))
            }));
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
        let (node, location) = self.next_location()?;
        let read = self.read(&node, &location);
        if read.is_err() {
            self.remaining = 0;
        }
        Some(read.map(|entry| (Bytes::copy_from_slice(node.key()), entry)))
    }
}

impl std::iter::FusedIterator for Entries {}

impl Drop for Entries {
    fn drop(&mut self) {
        drop(self.pin.take());
        self.keyspace.purge();
    }
}

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

fn slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// Keys gathered under one holding of the bucket's key lock.
const CHUNK_KEYS: usize = 64;

#[cfg(test)]
mod tests;
