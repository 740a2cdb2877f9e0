//! Merging newer records into the index.

use std::io;
use std::sync::{Arc, OnceLock};

use redb::{Database, Durability, ReadableTable, ReadableTableMetadata, Table, WriteTransaction};

use super::view::View;
use super::{
    ENTRIES, Entry, FILTER, FILTER_CHUNK_BYTES, Fault, META, META_COVERED, META_STATE, Merged,
    entry, full_key,
};
use crate::index::checked_file::{CheckedFile, PAGE_BYTES};
use crate::index::filter::Filter;
use crate::index::hash::HashSeed;
use crate::record::BucketId;

/// How much a merge is about to bring, to see beforehand whether there is room for it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Expected {
    pub(crate) changes: u64,
    /// Of all their keys.
    pub(crate) key_bytes: u64,
}

/// What is stored with the changes of a merge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The offset up to which the log is in the index now; never below what it was.
    pub(crate) covered: u64,
    /// The owner's.
    pub(crate) state: Vec<u8>,
}

/// A merge under way.
///
/// Changes take effect in the order in which they are given. Ascending order of bucket and key is
/// the fast one: each page is then written once.
pub(crate) struct Merge<'a> {
    entries: Table<'a, &'static [u8], &'static [u8; entry::BYTES]>,
    filter: Filter,
    filter_keys: u64,
    /// Hashes on their way into the filter, while its lines are brought in.
    hashes: Vec<u64>,
    file: &'a CheckedFile,
}

/// What a change has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The entry that stood there.
    pub(crate) before: Option<Entry>,
    /// Whether the change was made. Not if a later version stood there, and `before` still does.
    pub(crate) applied: bool,
}

impl Merged {
    /// Makes the changes that `apply` asks for, with the summary that it ends with, all or none,
    /// durably. Returns what readers see from now on.
    ///
    /// An error of `apply` undoes the merge and leaves everything as it was. What the owner does
    /// about a fault is said there.
    pub(crate) fn merge<E: From<Fault>>(
        &self,
        expected: Expected,
        apply: impl FnOnce(&mut Merge<'_>) -> Result<Summary, E>,
    ) -> Result<Arc<View>, E> {
        let _alone = self.merging.lock();
        if let Some(damage) = self.file.damage() {
            return Err(Fault::Damaged(damage.to_owned()).into());
        }
        if let Some(cause) = self.broken.get() {
            let message = format!("{}: no merges after {cause}", self.file.name());
            return Err(Fault::Io(io::Error::other(message)).into());
        }
        self.check_room(expected)?;
        let _watch = PanicWatch(&self.broken);
        let merged = self.transact(apply);
        // redb does not go on after an error of its file, nor after a commit that failed.
        let cause = match &merged {
            Err(Failed::Commit(fault)) => Some(fault.to_string()),
            _ => self
                .file
                .damage()
                .or(self.file.failure())
                .map(str::to_owned),
        };
        if let Some(cause) = cause {
            self.broken.get_or_init(|| cause);
        }
        merged.map_err(|failed| match failed {
            Failed::Commit(fault) => fault.into(),
            Failed::Apply(error) => error,
        })
    }

    fn transact<E: From<Fault>>(
        &self,
        apply: impl FnOnce(&mut Merge<'_>) -> Result<Summary, E>,
    ) -> Result<Arc<View>, Failed<E>> {
        let before = self.view();
        let transaction = begin(&self.database, &self.file).map_err(Failed::of)?;
        let filter = self.change(&transaction, &before, apply)?;
        transaction
            .commit()
            .map_err(|error| Failed::Commit(Fault::of_commit(error, &self.file)))?;
        let view = View::open(&self.database, &self.file, Some(Arc::new(filter)));
        let view = Arc::new(view.map_err(Failed::Commit)?);
        before.supersede();
        *self.current.write() = Arc::clone(&view);
        Ok(view)
    }

    /// All that is done in the transaction; returns the filter as it is stored with it.
    fn change<E: From<Fault>>(
        &self,
        transaction: &WriteTransaction,
        before: &View,
        apply: impl FnOnce(&mut Merge<'_>) -> Result<Summary, E>,
    ) -> Result<Filter, Failed<E>> {
        let entries = transaction.open_table(ENTRIES);
        let mut merge = Merge {
            entries: entries.map_err(|error| Failed::of(Fault::of_table(error, &self.file)))?,
            filter: Filter::clone(&before.filter),
            filter_keys: before.filter_keys,
            hashes: Vec::with_capacity(HASHES_AT_ONCE),
            file: &self.file,
        };
        let summary = apply(&mut merge).map_err(Failed::Apply)?;
        assert!(summary.covered >= before.covered(), "merges go forward");
        merge.fill();
        merge.refill(self.seed).map_err(Failed::of)?;
        let (filter, keys) = (merge.filter, merge.filter_keys);
        store(transaction, &summary, &filter, keys, &self.file).map_err(Failed::of)?;
        Ok(filter)
    }

    /// Whether the merge will have room, so that a full disk is met before anything is written.
    /// Supposes that each change is alone in its leaf, and that the file doubles.
    fn check_room(&self, expected: Expected) -> Result<(), Fault> {
        let page = PAGE_BYTES as u64;
        let rewritten = expected.changes.saturating_mul(page + page / 8);
        let rewritten = rewritten.min(self.file.length());
        let added = expected.key_bytes + expected.changes * ENTRY_BYTES;
        let filter = self.view().filter.byte_len() as u64 * 2;
        let needed = rewritten + added * 2 + filter + ROOM_BYTES_MIN;
        let free = self.vfs.free_bytes(&self.path).map_err(Fault::Io)?;
        if free < needed {
            let name = self.file.name();
            return Err(Fault::Full(format!(
                "{name}: a merge of {} changes needs {needed} bytes, free are {free}",
                expected.changes
            )));
        }
        Ok(())
    }
}

impl Merge<'_> {
    /// Notes where the newest version of a key stands; `hash` is the key's.
    pub(crate) fn put(
        &mut self,
        bucket: BucketId,
        key: &[u8],
        hash: u64,
        entry: Entry,
    ) -> Result<Outcome, Fault> {
        let full = full_key(bucket, key);
        let before = self.insert(&full, entry)?;
        // Newer ones are the exception: to look first would cost each change a second descent.
        if let Some(newer) = before.filter(|before| before.version > entry.version) {
            self.insert(&full, newer)?;
            return Ok(Outcome {
                before,
                applied: false,
            });
        }
        if before.is_none() {
            self.filter.prefetch(hash);
            self.hashes.push(hash);
            self.filter_keys += 1;
            if self.hashes.len() == HASHES_AT_ONCE {
                self.fill();
            }
        }
        Ok(Outcome {
            before,
            applied: true,
        })
    }

    /// Forgets a key that this version of it has deleted. It is no error if there is none.
    pub(crate) fn remove(
        &mut self,
        bucket: BucketId,
        key: &[u8],
        version: u64,
    ) -> Result<Outcome, Fault> {
        let full = full_key(bucket, key);
        let removed = self.entries.remove(full.as_slice());
        let removed = removed.map_err(|error| Fault::of(error, self.file))?;
        let before = removed.map(|bytes| Entry::decode(bytes.value(), self.file.name()));
        let before = before.transpose()?;
        let newer = before.filter(|before| before.version > version);
        if let Some(newer) = newer {
            self.insert(&full, newer)?;
        }
        Ok(Outcome {
            before,
            applied: newer.is_none(),
        })
    }

    /// Forgets all keys of a bucket, which never gets one again, and shows each entry with the bytes
    /// of its key.
    pub(crate) fn remove_bucket(
        &mut self,
        bucket: BucketId,
        mut removed: impl FnMut(u64, Entry),
    ) -> Result<(), Fault> {
        let name = self.file.name();
        let in_storage = |error| Fault::of(error, self.file);
        let first = bucket.0.to_be_bytes();
        let next = bucket.0.checked_add(1).map(u32::to_be_bytes);
        let bounds = (
            std::ops::Bound::Included(first.as_slice()),
            next.as_ref().map_or(std::ops::Bound::Unbounded, |next| {
                std::ops::Bound::Excluded(next.as_slice())
            }),
        );
        let extracted = self
            .entries
            .extract_from_if::<&[u8], _>(bounds, |_, _| true);
        for found in extracted.map_err(in_storage)? {
            let (full, entry) = found.map_err(in_storage)?;
            let key_bytes = full.value().len().saturating_sub(first.len());
            removed(key_bytes as u64, Entry::decode(entry.value(), name)?);
        }
        Ok(())
    }

    fn insert(&mut self, full: &[u8], entry: Entry) -> Result<Option<Entry>, Fault> {
        let before = self.entries.insert(full, &entry.encode());
        let before = before.map_err(|error| Fault::of(error, self.file))?;
        before
            .map(|bytes| Entry::decode(bytes.value(), self.file.name()))
            .transpose()
    }

    fn fill(&mut self) {
        for hash in self.hashes.drain(..) {
            self.filter.insert(hash);
        }
    }

    /// Makes the filter anew, for twice the keys, if it has more than it is good for. Keys that
    /// are gone may be many of them, and fill no new one.
    fn refill(&mut self, seed: HashSeed) -> Result<(), Fault> {
        let in_storage = |error| Fault::of(error, self.file);
        let capacity = self.filter.capacity() as u64;
        let len = self.entries.len().map_err(in_storage)?;
        let is_largest = self.filter.byte_len() >= FILTER_BYTES_MAX;
        let is_full = self.filter_keys > capacity;
        if !is_full || (is_largest && self.filter_keys < len.saturating_mul(2)) {
            return Ok(());
        }
        let keys = usize::try_from(len.saturating_mul(2)).unwrap_or(usize::MAX);
        let mut filter = Filter::with_capacity(keys.max(FILTER_KEYS_MIN));
        for found in self.entries.iter().map_err(in_storage)? {
            let (full, _) = found.map_err(in_storage)?;
            let Some((bucket, key)) = full.value().split_first_chunk() else {
                return Err(Fault::Damaged(format!("{}: a short key", self.file.name())));
            };
            filter.insert(seed.hash(BucketId(u32::from_be_bytes(*bucket)), key));
        }
        self.filter = filter;
        self.filter_keys = len;
        Ok(())
    }
}

/// Ends merging if the owner panics in a merge: redb stores no page map after that, and without
/// one the next open could only read the whole file.
struct PanicWatch<'a>(&'a OnceLock<String>);

impl Drop for PanicWatch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.get_or_init(|| "a panic in a merge".to_owned());
        }
    }
}

/// Which part of a merge has failed.
enum Failed<E> {
    /// The last one: redb is of no use any more.
    Commit(Fault),
    /// Another: the transaction is undone.
    Apply(E),
}

impl<E: From<Fault>> Failed<E> {
    fn of(fault: Fault) -> Failed<E> {
        Failed::Apply(fault.into())
    }
}

/// Fills a new database with empty tables.
pub(super) fn make_tables(database: &Database, file: &CheckedFile) -> Result<(), Fault> {
    let transaction = begin(database, file)?;
    transaction
        .open_table(ENTRIES)
        .map_err(|error| Fault::of_table(error, file))?;
    let filter = Filter::with_capacity(FILTER_KEYS_MIN);
    store(&transaction, &Summary::default(), &filter, 0, file)?;
    transaction
        .commit()
        .map_err(|error| Fault::of_commit(error, file))
}

fn begin(database: &Database, file: &CheckedFile) -> Result<WriteTransaction, Fault> {
    let mut transaction = database
        .begin_write()
        .map_err(|error| Fault::of_transaction(error, file))?;
    transaction
        .set_durability(Durability::Immediate)
        .map_err(|error| Fault::Damaged(format!("{}: {error}", file.name())))?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// Stores what a merge ends with.
fn store(
    transaction: &WriteTransaction,
    summary: &Summary,
    filter: &Filter,
    filter_keys: u64,
    file: &CheckedFile,
) -> Result<(), Fault> {
    let in_table = |error| Fault::of_table(error, file);
    let in_storage = |error| Fault::of(error, file);
    let mut meta = transaction.open_table(META).map_err(in_table)?;
    let counts = [summary.covered.to_le_bytes(), filter_keys.to_le_bytes()];
    meta.insert(META_COVERED, counts.as_flattened())
        .map_err(in_storage)?;
    meta.insert(META_STATE, summary.state.as_slice())
        .map_err(in_storage)?;
    let mut chunks = transaction.open_table(FILTER).map_err(in_table)?;
    let mut count = 0;
    for (number, chunk) in (0..).zip(filter.to_bytes().chunks(FILTER_CHUNK_BYTES)) {
        let stored = chunks.get(number).map_err(in_storage)?;
        let is_stored = stored.is_some_and(|stored| stored.value() == chunk);
        if !is_stored {
            chunks.insert(number, chunk).map_err(in_storage)?;
        }
        count = number + 1;
    }
    chunks
        .retain(|number, _| number < count)
        .map_err(in_storage)
}

/// Hashes that enter the filter together.
const HASHES_AT_ONCE: usize = 32;
/// What an entry takes beside its key.
const ENTRY_BYTES: u64 = 24;
/// Kept free beyond what a merge seems to need.
const ROOM_BYTES_MIN: u64 = 1 << 20;
/// The largest filter; of more keys it denies fewer.
const FILTER_BYTES_MAX: usize = 64 << 20;
/// What the smallest filter is good for.
const FILTER_KEYS_MIN: usize = 10_000;
