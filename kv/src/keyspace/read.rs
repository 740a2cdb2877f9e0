//! Point reads: key -> location -> record -> entry.
//!
//! Every value returned was checked on this read: the log verifies the record's checksum, and the
//! record names its bucket and key. Small values are copied out of the log; a large one keeps the
//! log's memory map alive instead, so it costs no copy, and holds its segment for as long as the
//! caller holds it.

use bytes::Bytes;
use cairn_log::{Offset, RecordBytes};

use super::Keyspace;
use crate::attributes::Attributes;
use crate::bucket::state::BucketState;
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::index::versions::{Location, Versions};
use crate::record::{Body, BucketId, Put, Record};
use crate::version::Version;

impl Keyspace {
    /// What readers see of `key` now.
    ///
    /// # Errors
    ///
    /// `BucketNotFound` if the bucket is dropped, `Corrupt`, `Io`.
    pub(crate) fn get(&self, bucket: &BucketState, key: &[u8]) -> Result<Option<Entry>> {
        let location = self.memtable.locate(bucket.id, key, |versions| {
            // Under the node's lock: see the memtable's contract.
            versions.below(self.watermark())
        });
        // Afterwards: a purge may have taken the node, but only once the drop was visible.
        self.check_bucket(bucket, self.watermark())?;
        self.resolve(bucket.id, key, &location)
    }

    /// What a reader at a pinned `watermark` sees of `key`.
    pub(crate) fn get_at(
        &self,
        bucket: &BucketState,
        key: &[u8],
        watermark: u64,
    ) -> Result<Option<Entry>> {
        let at = |versions: &Versions| versions.below(watermark);
        let location = self.memtable.locate(bucket.id, key, at);
        self.resolve(bucket.id, key, &location)
    }

    /// Whether a reader at `watermark` sees the bucket.
    pub(crate) fn check_bucket(&self, bucket: &BucketState, watermark: u64) -> Result<()> {
        if bucket.is_visible(watermark) {
            return Ok(());
        }
        Err(Error::bucket_not_found(bucket.name.as_str()))
    }

    fn resolve(&self, bucket: BucketId, key: &[u8], location: &Location) -> Result<Option<Entry>> {
        if location.expires_ms == 0 {
            // Asking the time costs more than the look-up.
            if !location.is_live(0) {
                return Ok(None);
            }
        } else if !location.is_live(self.clock.now_ms()) {
            return Ok(None);
        }
        self.read(bucket, key, location).map(Some)
    }

    /// Reads the value that stands at `location`.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the record does not verify or is not this key's.
    pub(crate) fn read(&self, bucket: BucketId, key: &[u8], location: &Location) -> Result<Entry> {
        let offset = Offset::new(location.record);
        let record = if location.value_bytes as usize <= VALUE_BYTES_COPIED {
            self.log.with_record(offset, |payload| {
                let put = expect_put(payload, bucket, key)?;
                Some(entry(&put, Bytes::copy_from_slice(put.value), location))
            })?
        } else {
            self.read_borrowed(offset, bucket, key, location)?
        };
        record.ok_or_else(|| {
            let partition = self.log.id();
            let key = key.escape_ascii();
            let message = format!(
                "the record at offset {offset} of partition {partition} is not the value of the \
                 key \"{key}\" that the index says it is"
            );
            Error::new(ErrorKind::Corrupt, message)
        })
    }

    fn read_borrowed(
        &self,
        offset: Offset,
        bucket: BucketId,
        key: &[u8],
        location: &Location,
    ) -> Result<Option<Entry>> {
        let payload: RecordBytes = self.log.record(offset)?;
        // The value is the rest of the payload, so its place can be told before `payload` moves.
        let Some(put) = expect_put(payload.as_ref(), bucket, key) else {
            return Ok(None);
        };
        let start = payload.as_ref().len() - put.value.len();
        let found = entry(&put, Bytes::new(), location);
        let value = Bytes::from_owner(payload).slice(start..);
        Ok(Some(Entry { value, ..found }))
    }
}

fn expect_put<'a>(payload: &'a [u8], bucket: BucketId, key: &[u8]) -> Option<Put<'a>> {
    let record = Record::decode(payload).ok()?;
    match record.body {
        Body::Put(put) if record.bucket == bucket && put.key == key => Some(put),
        _ => None,
    }
}

fn entry(put: &Put<'_>, value: Bytes, location: &Location) -> Entry {
    let attributes = if put.attributes.is_empty() {
        Attributes::new()
    } else {
        Attributes::from_block(Bytes::copy_from_slice(put.attributes))
    };
    Entry {
        version: Version::new(location.version),
        value,
        attributes,
        expires_ms: Some(put.expires_ms).filter(|&deadline| deadline != 0),
        size: put.value.len() as u64,
    }
}

/// Values up to this length are copied out of the log.
const VALUE_BYTES_COPIED: usize = 16 << 10;
