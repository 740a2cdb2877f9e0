//! What one merge left, for readers.

use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use redb::{
    Database, ReadOnlyTable, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageError,
};

use super::range::Range;
use super::{
    BucketBytes, ENTRIES, Entry, FILTER, Fault, META, META_COVERED, META_STATE, bucket_bounds,
    entry, full_key,
};
use crate::index::checked_file::{CheckedFile, Frozen};
use crate::index::filter::Filter;
use crate::record::BucketId;

pub(super) type Entries = ReadOnlyTable<&'static [u8], &'static [u8; entry::BYTES]>;

/// The entries that one merge left. Shared by any number of threads; a read opens nothing and, for
/// keys up to 508 bytes, allocates nothing.
///
/// It keeps the file open. The last of an index and its views that goes closes it, which writes a
/// little.
pub(crate) struct View {
    entries: Entries,
    len: u64,
    covered: u64,
    state: Vec<u8>,
    pub(super) filter: Arc<Filter>,
    /// Put into the filter since it was made; those removed since count.
    pub(super) filter_keys: u64,
    frozen: Frozen,
    spare: OnceLock<Result<Spare, String>>,
    /// Whether a later merge has been made, so that what this view does not itself refer to may
    /// have been written over.
    superseded: AtomicBool,
    pub(super) file: CheckedFile,
    pub(super) database: Arc<Database>,
}

/// The entries once more, through a database that reads on where the other has stopped.
struct Spare {
    entries: Entries,
    _database: Database,
}

impl View {
    /// Of the last merge; its filter is `filter`, or read from the file.
    pub(super) fn open(
        database: &Arc<Database>,
        file: &CheckedFile,
        filter: Option<Arc<Filter>>,
    ) -> Result<View, Fault> {
        let in_table = |error| Fault::of_table(error, file);
        let in_storage = |error| Fault::of(error, file);
        let strange = |what| Fault::Damaged(format!("{}: {what}", file.name()));
        let frozen = Frozen::of(file).map_err(|error| in_storage(StorageError::Io(error)))?;
        let transaction = database
            .begin_read()
            .map_err(|error| Fault::of_transaction(error, file))?;
        let entries = transaction.open_table(ENTRIES).map_err(in_table)?;
        let meta = transaction.open_table(META).map_err(in_table)?;
        let counts = meta.get(META_COVERED).map_err(in_storage)?;
        let counts = counts.ok_or_else(|| strange("no covered offset"))?;
        let Some((&covered, &[filter_keys])) = counts.value().as_chunks::<8>().0.split_first()
        else {
            return Err(strange("a covered offset that is none"));
        };
        let state = meta.get(META_STATE).map_err(in_storage)?;
        let filter = match filter {
            Some(filter) => filter,
            None => {
                let chunks = transaction.open_table(FILTER).map_err(in_table)?;
                let mut bytes = Vec::new();
                for chunk in chunks.iter().map_err(in_storage)? {
                    let (_, chunk) = chunk.map_err(in_storage)?;
                    bytes.extend_from_slice(chunk.value());
                }
                let filter = Filter::from_bytes(&bytes);
                Arc::new(filter.ok_or_else(|| strange("a filter that is none"))?)
            }
        };
        Ok(View {
            len: entries.len().map_err(in_storage)?,
            entries,
            covered: u64::from_le_bytes(covered),
            state: state.map_or(Vec::new(), |state| state.value().to_vec()),
            filter,
            filter_keys: u64::from_le_bytes(filter_keys),
            frozen,
            spare: OnceLock::new(),
            superseded: AtomicBool::new(false),
            file: file.clone(),
            database: Arc::clone(database),
        })
    }

    /// The offset up to which the log is in the index; 0 in a new one.
    pub(crate) fn covered(&self) -> u64 {
        self.covered
    }

    /// What the owner stored with the last merge; empty in a new index.
    pub(crate) fn state(&self) -> &[u8] {
        &self.state
    }

    /// The number of keys, of all buckets.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Whether there may be a key with this hash: surely, if there is one; hardly ever, if not.
    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        self.filter.may_hold(hash)
    }

    /// Has brought in what [`View::may_hold`] will ask, without waiting for it.
    pub(crate) fn prefetch(&self, hash: u64) {
        self.filter.prefetch(hash);
    }

    /// The entry of a key. Does not ask the filter.
    pub(crate) fn get(&self, bucket: BucketId, key: &[u8]) -> Result<Option<Entry>, Fault> {
        let full = full_key(bucket, key);
        let found = match self.entries.get(full.as_slice()) {
            Ok(found) => found,
            Err(error) => self
                .spare(error)?
                .get(full.as_slice())
                .map_err(|error| Fault::of(error, &self.file))?,
        };
        found
            .map(|found| Entry::decode(found.value(), self.file.name()))
            .transpose()
    }

    /// The entries of a bucket with keys in these bounds, in the order of their keys or against
    /// it. Bounds that no key can meet are an empty range.
    pub(crate) fn range(
        self: &Arc<Self>,
        bucket: BucketId,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        reverse: bool,
    ) -> Result<Range, Fault> {
        Range::open(Arc::clone(self), bucket, bounds, reverse)
    }

    /// Shows each entry of a bucket with the bytes of its key.
    pub(super) fn entries_of(
        &self,
        bucket: BucketId,
        mut visit: impl FnMut(u64, Entry),
    ) -> Result<(), Fault> {
        let in_storage = |error| Fault::of(error, &self.file);
        let (lower, upper) = bucket_bounds(bucket);
        let bounds = (
            lower.as_ref().map(BucketBytes::as_slice),
            upper.as_ref().map(BucketBytes::as_slice),
        );
        for found in self.entries.range::<&[u8]>(bounds).map_err(in_storage)? {
            let (full, entry) = found.map_err(in_storage)?;
            let key_bytes = full.value().len().saturating_sub(size_of::<BucketBytes>());
            visit(
                key_bytes as u64,
                Entry::decode(entry.value(), self.file.name())?,
            );
        }
        Ok(())
    }

    pub(super) fn entries(&self) -> &Entries {
        &self.entries
    }

    pub(super) fn supersede(&self) {
        self.superseded.store(true, Ordering::Release);
    }

    /// Where to read on after this error, if it only says that there was one before.
    pub(super) fn spare(&self, error: StorageError) -> Result<&Entries, Fault> {
        let fault = Fault::of(error, &self.file);
        let is_final = !matches!(fault, Fault::Io(_)) || self.superseded.load(Ordering::Acquire);
        if is_final || self.file.failure().is_none() {
            return Err(fault);
        }
        let spare = self
            .spare
            .get_or_init(|| self.open_spare().map_err(|fault| fault.to_string()));
        match spare {
            Ok(spare) => Ok(&spare.entries),
            Err(message) => Err(Fault::Io(std::io::Error::other(message.clone()))),
        }
    }

    fn open_spare(&self) -> Result<Spare, Fault> {
        let database = Database::builder()
            .set_cache_size(SPARE_CACHE_BYTES)
            .set_repair_callback(|session| session.abort())
            .create_with_backend(self.frozen.storage())
            .map_err(|error| Fault::of_database(error, &self.file))?;
        let transaction = database
            .begin_read()
            .map_err(|error| Fault::of_transaction(error, &self.file))?;
        let entries = transaction
            .open_table(ENTRIES)
            .map_err(|error| Fault::of_table(error, &self.file))?;
        Ok(Spare {
            entries,
            _database: database,
        })
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("View")
            .field("covered", &self.covered)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// The cache of a database that serves reads after a failure.
const SPARE_CACHE_BYTES: usize = 16 << 20;
