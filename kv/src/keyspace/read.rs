//! Point reads: key -> location -> record -> entry.
//!
//! Every value returned was checked on this read: the log verifies the record's checksum, and the
//! record names its bucket and key. Small values are copied out of the log; a large one keeps the
//! log's memory map alive instead, so it costs no copy, and holds its segment for as long as the
//! caller holds it.

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use cairn_log::{Offset, RecordBytes};
use smallvec::SmallVec;

use super::{Keyspace, Pin};
use crate::attributes::Attributes;
use crate::bucket::state::BucketState;
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::index::hot::Stamp;
use crate::index::levels::{Found, LevelError, Levels};
use crate::index::versions::{Kind, Location};
use crate::record::{Body, BucketId, Put, Record};
use crate::scan::chunk::Chunk;
use crate::version::Version;

impl Keyspace {
    /// What readers see of `key` now.
    ///
    /// # Errors
    ///
    /// `BucketNotFound` if the bucket is dropped, `Corrupt`, `Io`.
    pub(crate) fn get(&self, bucket: &BucketState, key: &[u8]) -> Result<Option<Entry>> {
        let hash = self.seed.hash(bucket.id, key);
        // Before the look: see the hot index.
        let watermark = self.watermark();
        self.check_bucket(bucket, watermark)?;
        if WAS_ABSENT.get() {
            let levels = self.levels.read();
            if levels.deny(hash, bucket.id, key, self.watermark()) {
                return Ok(None);
            }
        }
        if let Some(record) = self.hot.find(hash)
            && let Some(found) = self.read_hot(bucket.id, key, record, watermark)
        {
            WAS_ABSENT.set(false);
            return Ok(self.unless_expired(found));
        }
        let stamp = self.hot.stamp(hash);
        let (found, entry) = self.get_located(hash, bucket.id, key)?;
        WAS_ABSENT.set(found.location.version == 0);
        if let (Some(stamp), true, Some(_)) = (stamp, found.is_newest, &entry) {
            self.fill_hot(hash, &found.location, stamp);
        }
        Ok(entry)
    }

    /// [`Keyspace::get`] without a look at the disk; `None` if only that can tell.
    pub(crate) fn try_get(
        &self,
        bucket: &BucketState,
        key: &[u8],
    ) -> Result<Option<Option<Entry>>> {
        let hash = self.seed.hash(bucket.id, key);
        let watermark = self.watermark();
        self.check_bucket(bucket, watermark)?;
        if let Some(record) = self.hot.find(hash)
            && let Some(found) = self.read_hot(bucket.id, key, record, watermark)
        {
            return Ok(Some(self.unless_expired(found)));
        }
        let location = {
            let levels = self.levels.read();
            let watermark = self.watermark();
            let found = levels.locate_in_memory(hash, bucket.id, key, watermark);
            if found.location.version == 0 && levels.may_hold_on_disk(hash) {
                return Ok(None);
            }
            found.location
        };
        match self.resolve(bucket.id, key, &location) {
            // Moved in between.
            Err(error) if error.is_out_of_range() => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    /// What a reader that holds `pin` sees of `key`.
    pub(crate) fn get_at(
        &self,
        bucket: &BucketState,
        key: &[u8],
        pin: &Pin,
    ) -> Result<Option<Entry>> {
        let hash = self.seed.hash(bucket.id, key);
        let (id, watermark, log) = (bucket.id, pin.watermark, &self.log);
        if let Some(past) = &pin.past {
            let locate = |pin: &Pin| {
                let archive = pin.past.as_ref().map_or(&[][..], |past| &past.archive);
                pin.levels
                    .locate_ever(archive, log, hash, id, key, watermark)
            };
            let location = self.locate_pinned(pin, locate)?;
            return self.resolve_at(id, key, &location, || past.time_ms);
        }
        if WAS_ABSENT.get() && pin.levels.deny(hash, id, key, watermark) {
            return Ok(None);
        }
        // The newest version that was ever sequenced, if this reader sees it, is the one.
        if let Some(record) = self.hot.find(hash)
            && let Some(found) = self.read_hot(id, key, record, watermark)
        {
            WAS_ABSENT.set(false);
            return Ok(self.unless_expired(found));
        }
        let stamp = self.hot.stamp(hash);
        pin.levels.prefetch_filters(hash);
        let locate = |pin: &Pin| pin.levels.locate(log, hash, id, key, watermark);
        let found = self.locate_pinned(pin, locate)?;
        WAS_ABSENT.set(found.location.version == 0);
        let entry = self.resolve(id, key, &found.location)?;
        // Older levels do not know what was written behind them; those that are current now were
        // so when they were asked.
        let is_current = || Arc::ptr_eq(self.levels.read().active(), pin.levels.active());
        if let (Some(stamp), Some(_)) = (stamp, &entry)
            && found.is_newest
            && is_current()
        {
            self.fill_hot(hash, &found.location, stamp);
        }
        Ok(entry)
    }

    /// Asks what a pin leads to, and asks again with index files made anew if some are of no use.
    fn locate_pinned<T>(
        &self,
        pin: &Pin,
        locate: impl Fn(&Pin) -> std::result::Result<T, LevelError>,
    ) -> Result<T> {
        let mut error = match locate(pin) {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        let mut pin = pin.clone();
        for _ in 0..REPAIRS_MAX {
            self.repair_pin(&mut pin, error)?;
            error = match locate(&pin) {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
        }
        let message = format!("the index could not be rebuilt: {error}");
        Err(Error::new(ErrorKind::Io, message))
    }

    /// Whether a reader at `watermark` sees the bucket.
    pub(crate) fn check_bucket(&self, bucket: &BucketState, watermark: u64) -> Result<()> {
        if bucket.is_visible(watermark) {
            return Ok(());
        }
        Err(Error::bucket_not_found(bucket.name.as_str()))
    }

    /// What the index says of the newest version of `key` that readers see.
    pub(crate) fn newest_visible(&self, bucket: BucketId, key: &[u8]) -> Result<Location> {
        let found = self.locate_newest(self.seed.hash(bucket, key), bucket, key)?;
        Ok(found.location)
    }

    /// What the index says of the newest version of `key` that is sequenced, visible or not. Makes
    /// no damaged index file anew.
    pub(crate) fn newest_as_it_is(&self, bucket: BucketId, key: &[u8]) -> Result<Location> {
        let levels = Arc::clone(&self.levels.read());
        let hash = self.seed.hash(bucket, key);
        match levels.locate(&self.log, hash, bucket, key, u64::MAX) {
            Ok(found) => Ok(found.location),
            Err(LevelError::Log(error)) => Err(error.into()),
            Err(error) => Err(Error::new(ErrorKind::Io, error.to_string())),
        }
    }

    /// What the index says of `key` to a reader that holds `pin`.
    pub(crate) fn visible_at(&self, bucket: BucketId, key: &[u8], pin: &Pin) -> Result<Location> {
        let hash = self.seed.hash(bucket, key);
        let (log, watermark) = (&self.log, pin.watermark);
        self.locate_pinned(pin, |pin| match &pin.past {
            Some(past) => pin
                .levels
                .locate_ever(&past.archive, log, hash, bucket, key, watermark),
            None => pin
                .levels
                .locate(log, hash, bucket, key, watermark)
                .map(|found| found.location),
        })
    }

    /// The newest visible version of a key, and what stands there. Between the look-up and the read
    /// the record may be moved, and the place it was at be given back: then both are done again.
    fn get_located(
        &self,
        hash: u64,
        bucket: BucketId,
        key: &[u8],
    ) -> Result<(Found, Option<Entry>)> {
        loop {
            let found = self.locate_newest(hash, bucket, key)?;
            match self.resolve(bucket, key, &found.location) {
                Err(error) if error.is_out_of_range() => {}
                outcome => return Ok((found, outcome?)),
            }
        }
    }

    /// The newest visible version of a key.
    fn locate_newest(&self, hash: u64, bucket: BucketId, key: &[u8]) -> Result<Found> {
        let (levels, watermark, found) = {
            let levels = self.levels.read();
            levels.prefetch_filters(hash);
            let watermark = self.watermark();
            let found = levels.locate_in_memory(hash, bucket, key, watermark);
            if found.location.version != 0 || !levels.may_hold_on_disk(hash) {
                return Ok(found);
            }
            (Arc::clone(&levels), watermark, found)
        };
        let locate =
            |levels: &Levels| levels.locate_on_disk(&self.log, hash, bucket, key, watermark);
        let location = self.repairing(&levels, locate)?;
        Ok(Found { location, ..found })
    }

    /// The newest sequenced version of a key in these levels.
    pub(super) fn newest_in(
        &self,
        levels: &Arc<Levels>,
        hash: u64,
        bucket: BucketId,
        key: &[u8],
    ) -> Result<Location> {
        let locate = |levels: &Levels| levels.locate(&self.log, hash, bucket, key, u64::MAX);
        self.repairing(levels, locate).map(|found| found.location)
    }

    /// Asks levels, and asks again with index files made anew if some are of no use.
    pub(crate) fn repairing<T>(
        &self,
        levels: &Arc<Levels>,
        mut ask: impl FnMut(&Levels) -> std::result::Result<T, LevelError>,
    ) -> Result<T> {
        let mut error = match ask(levels) {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let mut levels = Arc::clone(levels);
        let mut repairs = 0;
        while repairs < REPAIRS_MAX {
            // No file is to be made anew, and each memtable is retired once.
            repairs += usize::from(!matches!(error, LevelError::Retired));
            levels = self.repaired(&levels, error)?;
            error = match ask(&levels) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
        }
        let message = format!("the index could not be rebuilt: {error}");
        Err(Error::new(ErrorKind::Io, message))
    }

    fn resolve(&self, bucket: BucketId, key: &[u8], location: &Location) -> Result<Option<Entry>> {
        self.resolve_at(bucket, key, location, || self.clock.now_ms())
    }

    fn resolve_at(
        &self,
        bucket: BucketId,
        key: &[u8],
        location: &Location,
        now_ms: impl FnOnce() -> u64,
    ) -> Result<Option<Entry>> {
        // Asking the time costs more than the look-up.
        let now_ms = if location.expires_ms == 0 {
            0
        } else {
            now_ms()
        };
        if !location.is_live(now_ms) {
            return Ok(None);
        }
        self.read(bucket, key, location).map(Some)
    }

    fn unless_expired(&self, entry: Entry) -> Option<Entry> {
        match entry.expires_ms {
            Some(deadline) if self.clock.now_ms() >= deadline => None,
            _ => Some(entry),
        }
    }

    fn fill_hot(&self, hash: u64, location: &Location, stamp: Stamp) {
        if !is_hot(location) {
            return;
        }
        if location.record < self.levels.read().covered() {
            self.note_cold_read();
        }
        if self.hot.fill(hash, location.record, stamp) {
            self.signal.raise();
        }
    }

    /// What stands at a place of the hot index, if it is this key's and below the watermark.
    fn read_hot(&self, bucket: BucketId, key: &[u8], record: u64, watermark: u64) -> Option<Entry> {
        if record >= watermark {
            // Written since, or moved: the levels have what stood here before.
            return None;
        }
        let offset = Offset::new(record);
        let found = self.log.with_record(offset, |payload| {
            let (put, version) = expect_put(payload, bucket, key, record)?;
            if version >= watermark || put.value.len() > VALUE_BYTES_COPIED {
                return None;
            }
            Some(entry(&put, Bytes::copy_from_slice(put.value), version))
        });
        // Whatever is wrong with the place, the levels know better.
        found.ok().flatten()
    }

    /// Reads the value that stands at `location`. Of a large one the entry says all but the value.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the record does not verify or is not this key's.
    pub(crate) fn read(&self, bucket: BucketId, key: &[u8], location: &Location) -> Result<Entry> {
        if location.kind == Kind::Large {
            return self
                .read_large(bucket, key, location)
                .map(|(entry, _)| entry);
        }
        let offset = Offset::new(location.record);
        let record = if location.value_bytes <= VALUE_BYTES_COPIED as u64 {
            self.log.with_record(offset, |payload| {
                let (put, _) = expect_put(payload, bucket, key, location.record)?;
                let value = Bytes::copy_from_slice(put.value);
                Some(entry(&put, value, location.version))
            })?
        } else {
            self.read_borrowed(offset, bucket, key, location)?
        };
        record.ok_or_else(|| self.not_the_value(key, location))
    }

    /// Reads values of at most `value_bytes_max` that a chunk lacks, together. Where anything is
    /// wrong they stay unread.
    pub(crate) fn read_small(&self, bucket: BucketId, chunk: &mut Chunk, value_bytes_max: u64) {
        let is_small = |location: &Location| {
            location.kind == Kind::Value && location.value_bytes <= value_bytes_max
        };
        let mut offsets: SmallVec<[Offset; KEYS_OF_A_CHUNK]> = SmallVec::new();
        let mut keys: SmallVec<[usize; KEYS_OF_A_CHUNK]> = SmallVec::new();
        for (at, location) in chunk.unread().filter(|(_, location)| is_small(location)) {
            offsets.push(Offset::new(location.record));
            keys.push(at);
        }
        self.log.with_records(&offsets, |index, payload| {
            let (key, location) = chunk.location(keys[index]);
            let put = payload
                .ok()
                .and_then(|payload| expect_put(payload, bucket, key, location.record));
            if let Some((put, _)) = put {
                chunk.read(keys[index], &put);
            }
        });
    }

    /// The error of a record that is not what the index says.
    pub(crate) fn not_the_value(&self, key: &[u8], location: &Location) -> Error {
        let (partition, offset) = (self.log.id(), location.record);
        let key = key.escape_ascii();
        let message = format!(
            "the record at offset {offset} of partition {partition} is not the value of the key \
             \"{key}\" that the index says it is"
        );
        Error::new(ErrorKind::Corrupt, message)
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
        let put = expect_put(payload.as_ref(), bucket, key, location.record);
        let Some((put, _)) = put else {
            return Ok(None);
        };
        let start = payload.as_ref().len() - put.value.len();
        let found = entry(&put, Bytes::new(), location.version);
        let value = Bytes::from_owner(payload).slice(start..);
        Ok(Some(Entry { value, ..found }))
    }
}

/// The put that the payload of the record at `offset` is, if it is of this key, and its version.
fn expect_put<'a>(
    payload: &'a [u8],
    bucket: BucketId,
    key: &[u8],
    offset: u64,
) -> Option<(Put<'a>, u64)> {
    let record = Record::decode(payload).ok()?;
    let version = record.version(offset)?;
    match record.body {
        Body::Put(put) if record.bucket == bucket && put.key == key => Some((put, version)),
        _ => None,
    }
}

fn entry(put: &Put<'_>, value: Bytes, version: u64) -> Entry {
    Entry {
        version: Version::new(version),
        value,
        attributes: Attributes::copied(put.attributes),
        expires_ms: Some(put.expires_ms).filter(|&deadline| deadline != 0),
        size: put.value.len() as u64,
    }
}

thread_local! {
    /// Whether the key that this thread asked for last was not there. The next one may not be there
    /// either: then what can deny it is asked first, and the hot index, which can not, only if that does not.
    static WAS_ABSENT: Cell<bool> = const { Cell::new(false) };
}

/// Whether the value at a place may be read by way of the hot index.
pub(super) fn is_hot(location: &Location) -> bool {
    location.kind == Kind::Value && location.value_bytes <= VALUE_BYTES_COPIED as u64
}

/// Values up to this length are copied out of the log.
pub(super) const VALUE_BYTES_COPIED: usize = 16 << 10;

/// For how many keys of a chunk there is room without an allocation.
const KEYS_OF_A_CHUNK: usize = 64;

/// How often one read has index files made anew before it gives up.
const REPAIRS_MAX: usize = 4;
