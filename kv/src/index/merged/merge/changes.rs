//! The changes of a merge under way: what each does to the entries that stand and to the filter over
//! their keys, and, anew, what is copied between them.

use redb::{ReadableTable, ReadableTableMetadata, StorageError, Table, WriteTransaction};

use super::{FILTER_BYTES_MAX, Way, filter_for};
use crate::index::checked_file::CheckedFile;
use crate::index::filter::Filter;
use crate::index::hash::HashSeed;
use crate::index::merged::anew::{Older, Spread};
use crate::index::merged::{BucketBytes, ENTRIES, Entry, Fault, bucket_bounds, entry, full_key};
use crate::record::BucketId;

/// A merge under way.
///
/// Changes take effect in the order in which they are given. Ascending order of bucket and key is
/// the fast one: each page is then written once.
pub(crate) struct Merge<'a> {
    entries: Table<'a, &'static [u8], &'static [u8; entry::BYTES]>,
    /// What is written anew, from behind the last change on.
    older: Option<Older<'a>>,
    /// Bucket and key of the last change of a merge anew.
    last: Vec<u8>,
    seed: HashSeed,
    /// Bytes of the keys that changed, and how many there were.
    changed: (u64, u64),
    filter: Filter,
    filter_keys: u64,
    /// Hashes on their way into the filter, while its lines are brought in.
    hashes: Vec<u64>,
    target: Target<'a>,
}

/// The file that a merge writes.
#[derive(Clone, Copy)]
struct Target<'a> {
    file: &'a CheckedFile,
    way: Way,
}

/// What a change has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The entry that stood there.
    pub(crate) before: Option<Entry>,
    /// Whether the change was made. Not if a later version stood there, and `before` still does.
    pub(crate) applied: bool,
}

impl<'a> Merge<'a> {
    /// Into the file in place, or anew if there is something older to copy. `filter` is what it
    /// begins with, and how many keys were put into that.
    pub(super) fn begin(
        transaction: &'a WriteTransaction,
        file: &'a CheckedFile,
        seed: HashSeed,
        (filter, filter_keys): (Filter, u64),
        older: Option<Older<'a>>,
    ) -> Result<Merge<'a>, Fault> {
        let way = older.as_ref().map_or(Way::InPlace, |_| Way::Anew);
        let target = Target { file, way };
        let entries = transaction.open_table(ENTRIES);
        Ok(Merge {
            entries: entries.map_err(|error| target.fault_of(Fault::of_table(error, file)))?,
            older,
            last: Vec::new(),
            seed,
            changed: (0, 0),
            filter,
            filter_keys,
            hashes: Vec::with_capacity(HASHES_AT_ONCE),
            target,
        })
    }

    /// What is left to do after the last change.
    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        self.copy_below(None)?;
        self.fill();
        self.refill()
    }

    /// The filter as it is to be stored, and how many keys were put into it.
    pub(super) fn filter(&self) -> (&Filter, u64) {
        (&self.filter, self.filter_keys)
    }

    /// What a fault of the file that is written means.
    pub(super) fn fault_of(&self, fault: Fault) -> Fault {
        self.target.fault_of(fault)
    }

    pub(super) fn into_changed(self) -> Changed {
        let (key_bytes, keys) = self.changed;
        Changed {
            changes: keys,
            entry_bytes: key_bytes.div_ceil(keys.max(1)) + ENTRY_BYTES,
            spread: self.older.as_ref().map(Older::spread).unwrap_or_default(),
            filter: self.filter,
        }
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
        self.note_changed(key);
        if self.is_ahead(&full) {
            let before = self.take_older(&full)?;
            let newer = before.filter(|before| before.version > entry.version);
            self.insert(&full, newer.unwrap_or(entry))?;
            self.note_hash(hash);
            let applied = newer.is_none();
            return Ok(Outcome { before, applied });
        }
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
            self.note_hash(hash);
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
        self.note_changed(key);
        if self.is_ahead(&full) {
            let before = self.take_older(&full)?;
            let newer = before.filter(|before| before.version > version);
            if let Some(newer) = newer {
                self.insert(&full, newer)?;
                self.note_hash(self.seed.hash(bucket, key));
            }
            let applied = newer.is_none();
            return Ok(Outcome { before, applied });
        }
        let target = self.target;
        let removed = self.entries.remove(full.as_slice());
        let removed = removed.map_err(|error| target.fault(error))?;
        let before = removed.map(|bytes| Entry::decode(bytes.value(), self.target.name()));
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
        if let Some(older) = &mut self.older {
            assert_eq!(self.changed, (0, 0), "buckets are removed first");
            older.leave_out(bucket);
            return older.view().entries_of(bucket, removed);
        }
        let name = self.target.name();
        let target = self.target;
        let in_storage = |error| target.fault(error);
        let (lower, upper) = bucket_bounds(bucket);
        let bounds = (
            lower.as_ref().map(BucketBytes::as_slice),
            upper.as_ref().map(BucketBytes::as_slice),
        );
        let extracted = self
            .entries
            .extract_from_if::<&[u8], _>(bounds, |_, _| true);
        for found in extracted.map_err(in_storage)? {
            let (full, entry) = found.map_err(in_storage)?;
            let key_bytes = full.value().len().saturating_sub(size_of::<BucketBytes>());
            removed(key_bytes as u64, Entry::decode(entry.value(), name)?);
        }
        Ok(())
    }

    fn insert(&mut self, full: &[u8], entry: Entry) -> Result<Option<Entry>, Fault> {
        let target = self.target;
        let before = self.entries.insert(full, &entry.encode());
        let before = match before {
            Ok(before) => before.map(|bytes| *bytes.value()),
            Err(error) => return Err(target.fault(error)),
        };
        before
            .map(|bytes| Entry::decode(&bytes, self.target.name()))
            .transpose()
    }

    /// Whether what stands of this bucket and key is still in the old file.
    fn is_ahead(&self, full: &[u8]) -> bool {
        self.older.is_some() && self.last.as_slice() < full
    }

    /// Copies the entries that come before a changed one, and returns that.
    fn take_older(&mut self, full: &[u8]) -> Result<Option<Entry>, Fault> {
        self.copy_below(Some(full))?;
        self.last.clear();
        self.last.extend_from_slice(full);
        match &mut self.older {
            Some(older) => older.take(full),
            None => Ok(None),
        }
    }

    /// Copies the entries below this bucket and key, or all that are left.
    fn copy_below(&mut self, end: Option<&[u8]>) -> Result<(), Fault> {
        while let Some(older) = &mut self.older {
            let Some(found) = older.next_below(end)? else {
                break;
            };
            self.insert(found.full(), found.entry)?;
            self.note_hash(self.seed.hash(found.bucket(), found.key()));
        }
        Ok(())
    }

    fn note_changed(&mut self, key: &[u8]) {
        self.changed.0 += key.len() as u64;
        self.changed.1 += 1;
    }

    /// Enters the hash of a key that is new in the filter.
    fn note_hash(&mut self, hash: u64) {
        self.filter.prefetch(hash);
        self.hashes.push(hash);
        self.filter_keys += 1;
        if self.hashes.len() == HASHES_AT_ONCE {
            self.fill();
        }
    }

    fn fill(&mut self) {
        for hash in self.hashes.drain(..) {
            self.filter.insert(hash);
        }
    }

    /// Makes the filter anew, for twice the keys, if it has more than it is good for. Keys that
    /// are gone may be many of them, and fill no new one.
    fn refill(&mut self) -> Result<(), Fault> {
        let target = self.target;
        let in_storage = |error| target.fault(error);
        let capacity = self.filter.capacity() as u64;
        let len = self.entries.len().map_err(in_storage)?;
        let is_largest = self.filter.byte_len() >= FILTER_BYTES_MAX;
        let is_full = self.filter_keys > capacity;
        if !is_full || (is_largest && self.filter_keys < len.saturating_mul(2)) {
            return Ok(());
        }
        let mut filter = filter_for(len.saturating_mul(2));
        for found in self.entries.iter().map_err(in_storage)? {
            let (full, _) = found.map_err(in_storage)?;
            let Some((bucket, key)) = full.value().split_first_chunk() else {
                return Err(Fault::Damaged(format!(
                    "{}: a short key",
                    self.target.name()
                )));
            };
            filter.insert(self.seed.hash(BucketId(u32::from_be_bytes(*bucket)), key));
        }
        self.filter = filter;
        self.filter_keys = len;
        Ok(())
    }
}

impl Target<'_> {
    fn name(&self) -> &str {
        self.file.name()
    }

    fn fault(&self, error: StorageError) -> Fault {
        self.fault_of(Fault::of(error, self.file))
    }

    /// What a fault of this file means.
    fn fault_of(&self, fault: Fault) -> Fault {
        match self.way {
            Way::InPlace => fault,
            Way::Anew => fault.unwritten(),
        }
    }
}

/// What was done in a transaction.
pub(super) struct Changed {
    /// As it is stored.
    pub(super) filter: Filter,
    pub(super) changes: u64,
    /// What an entry takes, by the keys that changed.
    pub(super) entry_bytes: u64,
    /// Of a merge anew.
    pub(super) spread: Spread,
}

/// Hashes that enter the filter together.
const HASHES_AT_ONCE: usize = 32;
/// What an entry takes beside its key.
pub(super) const ENTRY_BYTES: u64 = 24;
