//! Named snapshots: moments of a bucket that can be read until they are removed.
//!
//! A snapshot is a put in a system bucket, one for each partition, created with the first of them.
//! Users can't name it, and no listing shows it; to recovery, runs, merges and garbage collection
//! it is a bucket like any other. So a snapshot survives what its bucket's keys survive, and an
//! index made anew from the log knows it.
//!
//! ```text
//! bucket  $snapshots-N, in partition N
//! key     id of the bucket u32 big-endian · name, 1..=20 bytes of a-z 0-9 -
//! value   time_ms u64 big-endian, by which deadlines are judged
//! ```
//!
//! # Its version
//!
//! That of its own record. Under the lock that orders writes the record gets its place: every write
//! before it is in the snapshot, none after it is, and what is in the snapshot is durable once the
//! record is. Garbage collection moves the record and keeps its version, as of any other.
//!
//! # What it keeps
//!
//! Of each key of its bucket the newest version at or below its own, with the pieces of a large
//! value; nothing else that is older than the history. What garbage collection has to keep it takes
//! from [`pins`], a table in memory that changes under the lock that orders writes: a snapshot is in
//! it before anything newer can be sequenced, and leaves it when its tombstone is.

pub(crate) mod pins;

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::limits::{SNAPSHOT_NAME_BYTES_MAX, VERSION_END};
use crate::record::BucketId;
use crate::version::Version;

/// A snapshot of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// Its name, unique among the snapshots of its bucket.
    pub name: String,
    /// What it shows: every batch up to this version.
    pub version: Version,
    /// When it was taken, in milliseconds since 1970; deadlines are judged by this time.
    pub created_ms: u64,
}

/// A name that a snapshot may bear.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SnapshotName(Box<str>);

impl SnapshotName {
    pub(crate) fn new(name: &str) -> Result<SnapshotName> {
        let is_allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let length = name.len();
        if (1..=SNAPSHOT_NAME_BYTES_MAX).contains(&length) && name.bytes().all(is_allowed) {
            return Ok(SnapshotName(name.into()));
        }
        let shown: String = name.chars().take(80).collect();
        Err(Error::invalid(format!(
            "the snapshot name {shown:?} must have 1 to {SNAPSHOT_NAME_BYTES_MAX} bytes of a-z, \
             0-9 and '-'"
        )))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SnapshotName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

/// What the key of each snapshot of a bucket begins with.
pub(crate) fn prefix(bucket: BucketId) -> [u8; 4] {
    bucket.0.to_be_bytes()
}

/// The key of a snapshot.
pub(crate) fn key(bucket: BucketId, name: &SnapshotName) -> Vec<u8> {
    [&prefix(bucket)[..], name.as_str().as_bytes()].concat()
}

/// The value of a snapshot that was taken at this time.
pub(crate) fn encode_time(time_ms: u64) -> [u8; 8] {
    assert!(time_ms < VERSION_END, "a time of the store's clock");
    time_ms.to_be_bytes()
}

/// The bucket, the name and the time that a key and its value name.
///
/// # Errors
///
/// `Corrupt` if they are no snapshot's.
pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<(BucketId, SnapshotName, u64)> {
    parts(key, value).ok_or_else(|| {
        let message = format!(
            "the snapshot under the key \"{}\" is none; run `cairn verify` on the data directory",
            key.escape_ascii()
        );
        Error::new(ErrorKind::Corrupt, message)
    })
}

fn parts(key: &[u8], value: &[u8]) -> Option<(BucketId, SnapshotName, u64)> {
    let (id, name) = key.split_first_chunk::<4>()?;
    let id = u32::from_be_bytes(*id);
    let name = SnapshotName::new(std::str::from_utf8(name).ok()?).ok()?;
    let time_ms = u64::from_be_bytes(value.try_into().ok()?);
    let is_id = (1..=BucketId::MAX.0).contains(&id);
    (is_id && time_ms < VERSION_END).then_some((BucketId(id), name, time_ms))
}

#[cfg(test)]
mod tests;
