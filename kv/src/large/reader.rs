//! Reading a value of any size, at one version. See [`super`].

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use cairn_log::Offset;

use super::piece::PieceKey;
use super::uses::Hold;
use crate::attributes::Attributes;
use crate::bucket::state::BucketState;
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::index::versions::{Kind, Location};
use crate::keyspace::{Keyspace, Pin};
use crate::limits::VALUE_RECORD_BYTES_MAX;
use crate::record::{Body, BucketId, Large, Record};
use crate::store::Open;
use crate::version::Version;

/// One version of a key, whose value is read part by part.
///
/// It goes on showing that version although the key is overwritten or deleted. Holding it keeps a
/// large value's pieces from being freed.
pub struct ValueReader {
    /// With the value if it is small.
    entry: Entry,
    pieces: Option<Pieces>,
}

/// Where the value of a reader stands.
struct Pieces {
    keyspace: Arc<Keyspace>,
    bucket: Arc<BucketState>,
    key: Vec<u8>,
    large: Large,
    /// Keeps the store open.
    _store: Arc<Open>,
    _hold: Hold,
}

impl ValueReader {
    /// Of a value that was read already.
    pub(crate) fn whole(entry: Entry) -> ValueReader {
        let pieces = None;
        ValueReader { entry, pieces }
    }

    /// Opens the newest version that readers see.
    pub(crate) fn newest(
        store: &Arc<Open>,
        keyspace: &Arc<Keyspace>,
        bucket: &Arc<BucketState>,
        key: &[u8],
    ) -> Result<Option<ValueReader>> {
        loop {
            match keyspace.get(bucket, key)? {
                None => return Ok(None),
                Some(entry) if entry.has_value() => {
                    let pieces = None;
                    return Ok(Some(ValueReader { entry, pieces }));
                }
                Some(_) => {}
            }
            let location = keyspace.newest_visible(bucket.id, key)?;
            if location.kind != Kind::Large {
                continue;
            }
            let reader = ValueReader::over(store, keyspace, bucket, key, &location)?;
            // Nobody who judges from here on takes the pieces away. Who did before has seen a newer
            // version that is durable.
            if !keyspace.is_outlived(bucket.id, key, location.version)? {
                return Ok(Some(reader));
            }
        }
    }

    /// Opens the version that a reader sees who holds `pin`. Its pieces may be gone.
    pub(crate) fn pinned(
        store: &Arc<Open>,
        keyspace: &Arc<Keyspace>,
        bucket: &Arc<BucketState>,
        key: &[u8],
        pin: &Pin,
    ) -> Result<Option<ValueReader>> {
        match keyspace.get_at(bucket, key, pin)? {
            None => Ok(None),
            Some(entry) if entry.has_value() => {
                let pieces = None;
                Ok(Some(ValueReader { entry, pieces }))
            }
            Some(_) => {
                let location = keyspace.visible_at(bucket.id, key, pin)?;
                ValueReader::over(store, keyspace, bucket, key, &location).map(Some)
            }
        }
    }

    fn over(
        store: &Arc<Open>,
        keyspace: &Arc<Keyspace>,
        bucket: &Arc<BucketState>,
        key: &[u8],
        location: &Location,
    ) -> Result<ValueReader> {
        let (entry, large) = keyspace.read_large(bucket.id, key, location)?;
        let pieces = Pieces {
            _hold: keyspace.uses().hold(large.upload),
            keyspace: Arc::clone(keyspace),
            bucket: Arc::clone(bucket),
            key: key.to_vec(),
            large,
            _store: Arc::clone(store),
        };
        Ok(ValueReader {
            entry,
            pieces: Some(pieces),
        })
    }

    /// Version, size, attributes and deadline; the value too if it is kept as one record.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The bytes from `offset` on: as many as stand together, up to 64 KiB of a value in pieces,
    /// all of another. Empty at the end of the value and past it.
    ///
    /// Cost: of a value in pieces a look-up and a checksum; the bytes are borrowed from the log's
    /// map where they are durable. May wait for the disk.
    ///
    /// # Errors
    ///
    /// `Compacted` if the version is no longer kept: open the key again. `Corrupt`, `Io`.
    pub fn chunk_at(&self, offset: u64) -> Result<Bytes> {
        if offset >= self.entry.size {
            return Ok(Bytes::new());
        }
        let Some(pieces) = &self.pieces else {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            return Ok(self.entry.value.slice(start..));
        };
        let piece_bytes = u64::from(pieces.large.piece_bytes);
        let within = usize::try_from(offset % piece_bytes).unwrap_or(usize::MAX);
        let piece = pieces.read(offset / piece_bytes, self.entry.version)?;
        Ok(piece.slice(within..))
    }

    /// Reads the bytes from `offset` on into `buffer`, and says how many: fewer than it takes only
    /// where the value ends.
    ///
    /// # Errors
    ///
    /// Those of [`ValueReader::chunk_at`].
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let chunk = self.chunk_at(offset.saturating_add(filled as u64))?;
            if chunk.is_empty() {
                break;
            }
            let count = chunk.len().min(buffer.len() - filled);
            buffer[filled..filled + count].copy_from_slice(&chunk[..count]);
            filled += count;
        }
        Ok(filled)
    }

    /// The entry with its value, if that is no larger than a record may be.
    ///
    /// # Errors
    ///
    /// `ValueTooLarge`; those of [`ValueReader::chunk_at`].
    pub(crate) fn into_entry(mut self) -> Result<Entry> {
        if self.entry.has_value() {
            return Ok(self.entry);
        }
        let size = self.entry.size;
        if size > VALUE_RECORD_BYTES_MAX as u64 {
            let message = format!(
                "the value has {size} bytes; at most {VALUE_RECORD_BYTES_MAX} are read at once: \
                 open the key and read it in parts"
            );
            return Err(Error::new(ErrorKind::ValueTooLarge, message));
        }
        let mut value = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        self.read_at(0, &mut value)?;
        self.entry.value = value.into();
        Ok(self.entry)
    }
}

impl Pieces {
    fn read(&self, number: u64, version: Version) -> Result<Bytes> {
        let (bucket, piece_bytes) = (self.bucket.id.pieces(), u64::from(self.large.piece_bytes));
        let name = u32::try_from(number).unwrap_or(u32::MAX);
        let key = PieceKey::new(self.large.upload, name, &self.key);
        let location = self.keyspace.newest_visible(bucket, key.as_bytes())?;
        if location.kind != Kind::Value {
            let owner = self.key.escape_ascii();
            let message = format!(
                "version {version} of the key \"{owner}\" is no longer kept: open the key again"
            );
            return Err(Error::new(ErrorKind::Compacted, message));
        }
        let piece = self.keyspace.read(bucket, key.as_bytes(), &location)?.value;
        let expected = (self.large.size - number * piece_bytes).min(piece_bytes);
        if piece.len() as u64 == expected {
            return Ok(piece);
        }
        Err(self.keyspace.not_the_value(key.as_bytes(), &location))
    }
}

impl Keyspace {
    /// Reads the commit record that stands at `location`: all of the entry but its value, and
    /// where that is.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the record does not verify or is no commit of this key's; `Io`.
    pub(crate) fn read_large(
        &self,
        bucket: BucketId,
        key: &[u8],
        location: &Location,
    ) -> Result<(Entry, Large)> {
        let offset = Offset::new(location.record);
        let found = self.log().with_record(offset, |payload| {
            let record = Record::decode(payload).ok()?;
            let Body::LargePut(put) = record.body else {
                return None;
            };
            let entry = Entry {
                version: Version::new(location.version),
                value: Bytes::new(),
                attributes: Attributes::copied(put.attributes),
                expires_ms: Some(put.expires_ms).filter(|&deadline| deadline != 0),
                size: put.large.size,
            };
            (record.bucket == bucket && put.key == key).then_some((entry, put.large))
        })?;
        found.ok_or_else(|| self.not_the_value(key, location))
    }
}

impl fmt::Debug for ValueReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { version, size, .. } = self.entry;
        write!(formatter, "ValueReader({size} bytes at {version})")
    }
}
