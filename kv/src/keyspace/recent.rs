//! The keys written while somebody has to know: transactions that have scanned.
//!
//! A transaction commits only if nothing was written to the ranges that it scanned. To find that out
//! from the index, every level that came since would have to be walked, under the sequencer's lock
//! in the end. So from the first scan of a transaction until it ends, the writes of its bucket are
//! noted here, in the order of their versions; at the commit they are held against its ranges.
//! Without such a transaction a write pays one look at a flag.
//!
//! # What is noted
//!
//! Keys that were put or deleted. A record that garbage collection moves keeps its version and is
//! no write; the tombstone of an expired key changes nothing that anybody sees.
//!
//! # Bounds
//!
//! A partition spends at most [`TRANSACTION_NOTES_BYTES_MAX`] on notes. Beyond that the oldest ones
//! of the bucket are forgotten, and a transaction that would have needed one can't be judged.
//!
//! # Locks
//!
//! Transactions begin to note, and writers note, under the sequencer's lock; the lock here comes
//! after it and is held for a few instructions, or a bounded number of comparisons.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::{Keyspace, Pin};
use crate::bucket::state::BucketState;
use crate::index::levels::Levels;
use crate::index::memtable::Memtable;
use crate::limits::TRANSACTION_NOTES_BYTES_MAX;
use crate::record::BucketId;

/// The keys written lately, where somebody has to know. See the module.
pub(super) struct Recent {
    is_noting: AtomicBool,
    bytes_max: usize,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    buckets: HashMap<BucketId, Noted>,
    bytes: usize,
}

/// The writes of one bucket. They are numbered; numbers are given once while anybody reads them.
#[derive(Default)]
struct Noted {
    /// How many readers need the writes from this number on.
    readers: BTreeMap<u64, usize>,
    /// The number of the oldest write that is kept.
    first: u64,
    writes: VecDeque<Note>,
}

struct Note {
    version: u64,
    key: SmallVec<[u8; KEY_BYTES_INLINE]>,
}

/// A key that was written, and the version.
pub(crate) type Written = (SmallVec<[u8; KEY_BYTES_INLINE]>, u64);

/// Some of the notes that are needed were forgotten.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Forgotten;

/// Keeps the writes of a bucket being noted until it is dropped.
pub(crate) struct Noting {
    keyspace: Arc<Keyspace>,
    bucket: BucketId,
    start: u64,
    gap: Gap,
}

/// What is known of the writes between a moment that was pinned and the first note.
pub(crate) enum Gap {
    /// There was none.
    Empty,
    /// They are in these memtables.
    Kept(Arc<Levels>),
    /// Some are in no memtable any more.
    Lost,
}

impl Keyspace {
    /// Begins to note the writes of a bucket, for who has pinned a moment earlier.
    ///
    /// Cost: the sequencer's lock for an instant.
    pub(crate) fn begin_noting(self: &Arc<Self>, bucket: &BucketState, pin: &Pin) -> Noting {
        let (start, gap) = {
            // No batch has its place and is not entered yet.
            let _sequencer = self.sequencer.lock();
            let gap = if bucket.written() < pin.watermark {
                Gap::Empty
            } else {
                self.gap(pin)
            };
            (self.recent.begin(bucket.id), gap)
        };
        Noting {
            keyspace: Arc::clone(self),
            bucket: bucket.id,
            start,
            gap,
        }
    }

    /// Where what has been sequenced since a pin stands. The caller holds the sequencer's lock.
    fn gap(&self, pin: &Pin) -> Gap {
        let levels = self.levels.read();
        let (watermark, pinned) = (pin.watermark, &pin.levels.memtables);
        let is_pinned = |base: u64| pinned.iter().any(|memtable| memtable.base() == base);
        let are_known = levels.runs.iter().all(|run| {
            let identity = &run.head().identity;
            identity.end <= watermark || is_pinned(identity.base)
        });
        if levels.covered() > watermark || !are_known {
            return Gap::Lost;
        }
        let is_newer =
            |memtable: &&Arc<Memtable>| !pinned.iter().any(|known| Arc::ptr_eq(known, memtable));
        let memtables = levels.memtables.iter().filter(is_newer).chain(pinned);
        let memtables = memtables.filter(|memtable| memtable.last_version() >= watermark);
        Gap::Kept(Arc::new(Levels {
            memtables: memtables.cloned().collect(),
            runs: Vec::new(),
            merged: None,
            emptied: Arc::default(),
        }))
    }
}

impl Noting {
    /// The number of the first write that was noted.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// What is known of the writes before that one.
    pub(crate) fn gap(&self) -> &Gap {
        &self.gap
    }

    /// Looks from `next` on for a write of a key that matches, and moves `next` behind what it has
    /// looked at: all that there is, or up to the write that it found. Takes long enough to matter
    /// only if much was written since `next`, and lets writers come between.
    ///
    /// # Errors
    ///
    /// [`Forgotten`] if there was more than is kept.
    pub(crate) fn find(
        &self,
        next: &mut u64,
        matches: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<Written>, Forgotten> {
        loop {
            let before = *next;
            let recent = &self.keyspace.recent;
            let found = recent.find(self.bucket, next, &matches)?;
            if found.is_some() || *next - before < NOTES_AT_ONCE as u64 {
                return Ok(found);
            }
        }
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        self.keyspace.recent.end(self.bucket, self.start);
    }
}

impl Recent {
    pub(super) fn new() -> Recent {
        Recent::bounded(TRANSACTION_NOTES_BYTES_MAX)
    }

    fn bounded(bytes_max: usize) -> Recent {
        Recent {
            is_noting: AtomicBool::new(false),
            bytes_max,
            notes: Mutex::default(),
        }
    }

    /// Begins to note the writes of a bucket; the number of the next one. The caller holds the
    /// sequencer's lock.
    fn begin(&self, bucket: BucketId) -> u64 {
        let mut notes = self.notes.lock();
        let noted = notes.buckets.entry(bucket).or_default();
        let start = noted.end();
        *noted.readers.entry(start).or_default() += 1;
        self.is_noting.store(true, Ordering::Relaxed);
        start
    }

    /// Ends what began at this number, and forgets what nobody needs any more.
    fn end(&self, bucket: BucketId, start: u64) {
        let mut notes = self.notes.lock();
        let notes = &mut *notes;
        let Some(noted) = notes.buckets.get_mut(&bucket) else {
            return;
        };
        if let Some(readers) = noted.readers.get_mut(&start) {
            *readers -= 1;
            if *readers == 0 {
                noted.readers.remove(&start);
            }
        }
        let needed = noted.readers.first_key_value().map(|(&start, _)| start);
        while noted.first < needed.unwrap_or(u64::MAX) && noted.forget_oldest(&mut notes.bytes) {}
        if needed.is_none() {
            notes.buckets.remove(&bucket);
        }
        if notes.buckets.is_empty() {
            self.is_noting.store(false, Ordering::Relaxed);
        }
    }

    /// Whether anybody has to know of writes. The caller holds the sequencer's lock.
    pub(super) fn is_noting(&self) -> bool {
        // Set under the sequencer's lock; cleared at any time, which costs a look too many.
        self.is_noting.load(Ordering::Relaxed)
    }

    /// Notes a batch. The caller holds the sequencer's lock.
    pub(super) fn note<'a>(
        &self,
        bucket: BucketId,
        version: u64,
        keys: impl Iterator<Item = &'a [u8]>,
    ) {
        let mut notes = self.notes.lock();
        let notes = &mut *notes;
        let Some(noted) = notes.buckets.get_mut(&bucket) else {
            return;
        };
        for key in keys {
            let note = Note {
                version,
                key: SmallVec::from_slice(key),
            };
            notes.bytes += note.byte_len();
            noted.writes.push_back(note);
            while notes.bytes > self.bytes_max && noted.forget_oldest(&mut notes.bytes) {}
        }
    }

    /// [`Noting::find`], for a bounded number of notes.
    fn find(
        &self,
        bucket: BucketId,
        next: &mut u64,
        matches: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<Written>, Forgotten> {
        let notes = self.notes.lock();
        let noted = notes.buckets.get(&bucket).ok_or(Forgotten)?;
        let skipped = next.checked_sub(noted.first).ok_or(Forgotten)?;
        let skipped = usize::try_from(skipped).map_err(|_| Forgotten)?;
        let skipped = skipped.min(noted.writes.len());
        for note in noted.writes.range(skipped..).take(NOTES_AT_ONCE) {
            *next += 1;
            if matches(&note.key) {
                return Ok(Some((note.key.clone(), note.version)));
            }
        }
        Ok(None)
    }
}

impl Noted {
    /// The number that the next write gets.
    fn end(&self) -> u64 {
        self.first + self.writes.len() as u64
    }

    /// Says whether there was anything to forget.
    fn forget_oldest(&mut self, bytes: &mut usize) -> bool {
        let Some(oldest) = self.writes.pop_front() else {
            return false;
        };
        *bytes -= oldest.byte_len();
        self.first += 1;
        true
    }
}

impl Note {
    fn byte_len(&self) -> usize {
        let outside = if self.key.spilled() {
            self.key.len()
        } else {
            0
        };
        size_of::<Note>() + outside
    }
}

/// Keys up to this length cost no allocation.
const KEY_BYTES_INLINE: usize = 24;

/// Notes looked at before writers may come between.
const NOTES_AT_ONCE: usize = 256;

#[cfg(test)]
mod tests;
