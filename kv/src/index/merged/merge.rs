//! Merging newer records into the index.

pub(super) mod changes;

use std::io;
use std::sync::{Arc, OnceLock};

use redb::{Database, Durability, ReadableTable, WriteTransaction};

use self::changes::{Changed, ENTRY_BYTES, Merge};
use super::anew::{Older, Spread};
use super::view::View;
use super::{
    ENTRIES, FILTER, FILTER_CHUNK_BYTES, Fault, META, META_COVERED, META_STATE, Merged,
    open_database,
};
use crate::index::checked_file::{CheckedFile, PAGE_BYTES};
use crate::index::filter::{BITS_PER_KEY, Filter};
use crate::index::hash::HashSeed;

/// How much a merge is about to bring, to see beforehand whether there is room for it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Expected {
    pub(crate) changes: u64,
    /// Of those, the ones that bring a key that was not there, as far as is known.
    pub(crate) new_keys: u64,
    /// Of all their keys.
    pub(crate) key_bytes: u64,
}

/// Where a merge writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Into the file that stands: the pages that change are copied.
    InPlace,
    /// All entries into a new file, which takes the place of the other. Buckets are removed before
    /// there is any other change.
    Anew,
}

/// What is stored with the changes of a merge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The offset up to which the log is in the index now; never below what it was.
    pub(crate) covered: u64,
    /// The owner's.
    pub(crate) state: Vec<u8>,
}

/// What only the one who merges may touch.
#[derive(Default)]
pub(super) struct Merging {
    /// Of the changes of the last merge.
    spread: Spread,
    /// Those made in place, many pages apart, since the file was written anew.
    changes: u64,
    /// The last new file could not be written, and no merge was made since.
    is_unwritten: bool,
    /// Databases whose files were written anew, while views read them. To close one is to write to
    /// it, which readers need not wait for.
    former: Vec<Arc<Database>>,
}

impl Merged {
    /// The way that costs least in the long run, by what the merges before have met.
    pub(crate) fn way(&self, expected: Expected) -> Way {
        self.close_former();
        let merging = self.merging.lock();
        let keys = self.view().len();
        let changes = match merging.spread {
            Spread::Few => 0,
            Spread::Many => expected.changes,
            // Keys that were there before are seldom next to one another.
            Spread::Unknown => expected.changes.saturating_sub(expected.new_keys),
        };
        let changes = changes.saturating_add(merging.changes);
        let is_worth_it = changes.saturating_mul(ANEW_PART) >= keys;
        // Each has a cache of its own.
        let is_possible = merging.former.is_empty() && !merging.is_unwritten;
        match is_worth_it && is_possible && changes > 0 && keys > 0 {
            true => Way::Anew,
            false => Way::InPlace,
        }
    }

    /// Closes the files that were written anew and are not read any more.
    pub(crate) fn close_former(&self) {
        if let Some(mut merging) = self.merging.try_lock() {
            merging
                .former
                .retain(|database| Arc::strong_count(database) > 1);
        }
    }

    /// Makes the changes that `apply` asks for, with the summary that it ends with, all or none,
    /// durably. Returns what readers see from now on.
    ///
    /// An error of `apply` undoes the merge and leaves everything as it was. What the owner does
    /// about a fault is said there.
    pub(crate) fn merge<E: From<Fault>>(
        &self,
        way: Way,
        expected: Expected,
        apply: impl FnOnce(&mut Merge<'_>) -> Result<Summary, E>,
    ) -> Result<Arc<View>, E> {
        let mut merging = self.merging.lock();
        let before = self.view();
        let file = &before.file;
        if let Some(damage) = file.damage() {
            return Err(Fault::Damaged(damage.to_owned()).into());
        }
        if let Some(cause) = self.broken.get() {
            let message = format!("{}: no merges after {cause}", file.name());
            return Err(Fault::Io(io::Error::other(message)).into());
        }
        self.check_room(&before, way, expected)?;
        let _watch = PanicWatch(&self.broken);
        let merged = match way {
            Way::InPlace => self.merge_in_place(&mut merging, &before, apply),
            Way::Anew => self.merge_anew(&mut merging, &before, expected, apply),
        };
        // redb does not go on after an error of its file, nor after a commit that failed.
        let cause = match &merged {
            Err(Failed::Commit(fault)) => Some(fault.to_string()),
            _ => file.damage().or(file.failure()).map(str::to_owned),
        };
        if let Some(cause) = cause {
            self.broken.get_or_init(|| cause);
        }
        merged.map_err(|failed| match failed {
            Failed::Commit(fault) => fault.into(),
            Failed::Apply(error) => error,
        })
    }

    fn merge_in_place<E: From<Fault>>(
        &self,
        merging: &mut Merging,
        before: &View,
        apply: impl FnOnce(&mut Merge<'_>) -> Result<Summary, E>,
    ) -> Result<Arc<View>, Failed<E>> {
        let (database, file) = (&before.database, &before.file);
        let written = file.written_bytes();
        let transaction = begin(database, file).map_err(Failed::of)?;
        let filter = (Filter::clone(&before.filter), before.filter_keys);
        let done = self.change(&transaction, file, filter, None, before.covered(), apply);
        let done = done.map_err(Failed::Apply)?;
        transaction
            .commit()
            .map_err(|error| Failed::Commit(Fault::of_commit(error, file)))?;
        let view = View::open(database, file, Some(Arc::new(done.filter)));
        let view = Arc::new(view.map_err(Failed::Commit)?);
        before.supersede();
        *self.current.write() = Arc::clone(&view);
        // Pages that have split are half full.
        let bytes_of = |entries: u64| entries.saturating_mul(2 * done.entry_bytes);
        // What is new is written either way.
        let new = bytes_of(view.len().saturating_sub(before.len()));
        let written = (file.written_bytes() - written).saturating_sub(new);
        merging.spread = Spread::of(written, bytes_of(before.len()));
        merging.is_unwritten = false;
        if merging.spread == Spread::Many {
            merging.changes = merging.changes.saturating_add(done.changes);
        }
        Ok(view)
    }

    fn merge_anew<E: From<Fault>>(
        &self,
        merging: &mut Merging,
        before: &View,
        expected: Expected,
        apply: impl FnOnce(&mut Merge<'_>) -> Result<Summary, E>,
    ) -> Result<Arc<View>, Failed<E>> {
        let (view, spread) = match self.write_anew(before, expected, apply) {
            Ok(written) => written,
            Err(error) => {
                merging.is_unwritten = true;
                // If this fails, the next merge does it, or the next open.
                let _ = self.home.vfs.remove(&self.home.unfinished());
                return Err(Failed::Apply(error));
            }
        };
        self.home.take_name().map_err(Failed::Commit)?;
        *self.current.write() = Arc::clone(&view);
        merging.former.push(Arc::clone(&before.database));
        merging.spread = spread;
        merging.changes = 0;
        merging.is_unwritten = false;
        Ok(view)
    }

    /// Writes a whole index under another name. A failure has changed nothing, but for what reading
    /// the file that stands has met.
    fn write_anew<E: From<Fault>>(
        &self,
        before: &View,
        expected: Expected,
        apply: impl FnOnce(&mut Merge<'_>) -> Result<Summary, E>,
    ) -> Result<(Arc<View>, Spread), E> {
        let file = self.home.new_file().map_err(Fault::Unwritten)?;
        let filter = filter_for(before.len().saturating_add(expected.changes));
        let database = open_database(&file, self.home.cache_bytes / UNFINISHED_CACHE_PART);
        let database = database.map_err(Fault::unwritten)?;
        let done = {
            let older = Older::of(before)?;
            let transaction = begin(&database, &file).map_err(Fault::unwritten)?;
            let covered = before.covered();
            let done = self.change(
                &transaction,
                &file,
                (filter, 0),
                Some(older),
                covered,
                apply,
            )?;
            transaction
                .commit()
                .map_err(|error| Fault::of_commit(error, &file).unwritten())?;
            done
        };
        // Once more, with the whole cache.
        drop(database);
        let database = open_database(&file, self.home.cache_bytes).map_err(Fault::unwritten)?;
        let view = View::open(&Arc::new(database), &file, Some(Arc::new(done.filter)));
        Ok((Arc::new(view.map_err(Fault::unwritten)?), done.spread))
    }

    /// All that is done in the transaction.
    fn change<E: From<Fault>>(
        &self,
        transaction: &WriteTransaction,
        file: &CheckedFile,
        filter: (Filter, u64),
        older: Option<Older<'_>>,
        covered: u64,
        apply: impl FnOnce(&mut Merge<'_>) -> Result<Summary, E>,
    ) -> Result<Changed, E> {
        let seed = HashSeed::new(self.home.identity.log);
        let mut merge = Merge::begin(transaction, file, seed, filter, older)?;
        let summary = apply(&mut merge)?;
        assert!(summary.covered >= covered, "merges go forward");
        merge.finish()?;
        let (filter, filter_keys) = merge.filter();
        store(transaction, &summary, filter, filter_keys, file)
            .map_err(|fault| merge.fault_of(fault))?;
        Ok(merge.into_changed())
    }

    /// Whether the merge will have room, so that a full disk is met before anything is written.
    /// Supposes that each change is alone in its leaf, and that the file doubles.
    fn check_room(&self, before: &View, way: Way, expected: Expected) -> Result<(), Fault> {
        let file = &before.file;
        let page = PAGE_BYTES as u64;
        let rewritten = match way {
            Way::InPlace => expected.changes.saturating_mul(page + page / 8),
            // A disk that is full before it ends changes nothing.
            Way::Anew => before.len().saturating_mul(ENTRY_BYTES_EXPECTED),
        };
        let rewritten = rewritten.min(file.length());
        let added = expected.key_bytes + expected.changes * ENTRY_BYTES;
        let filter = before.filter.byte_len() as u64 * 2;
        let needed = rewritten + added * 2 + filter + ROOM_BYTES_MIN;
        let free = self
            .home
            .vfs
            .free_bytes(&self.home.path)
            .map_err(Fault::Io)?;
        if free < needed {
            let name = file.name();
            return Err(Fault::Full(format!(
                "{name}: a merge of {} changes needs {needed} bytes, free are {free}",
                expected.changes
            )));
        }
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

/// An empty filter for so many keys, if that is not too many.
pub(super) fn filter_for(keys: u64) -> Filter {
    let keys = usize::try_from(keys).unwrap_or(usize::MAX);
    Filter::with_capacity(keys.clamp(FILTER_KEYS_MIN, FILTER_KEYS_MAX))
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

/// A file is written anew once this part of its keys has changed: a key costs half as much then as a
/// change in place.
const ANEW_PART: u64 = 3;
/// The part of the cache that a file has while it is written: the other is read with the whole.
const UNFINISHED_CACHE_PART: usize = 4;
/// The same with its key, as far as is known beforehand, in pages that are half full.
const ENTRY_BYTES_EXPECTED: u64 = 128;
/// Kept free beyond what a merge seems to need.
const ROOM_BYTES_MIN: u64 = 1 << 20;
/// The largest filter; of more keys it denies fewer.
pub(super) const FILTER_BYTES_MAX: usize = 64 << 20;
const FILTER_KEYS_MAX: usize = FILTER_BYTES_MAX * 8 / BITS_PER_KEY;
/// What the smallest filter is good for.
const FILTER_KEYS_MIN: usize = 10_000;
