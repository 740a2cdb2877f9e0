//! The hot index: key hash -> place in the log, for keys that were read lately. Bounded.
//!
//! A hit costs one cache miss here and the record's own. Nothing here is believed: the record at
//! the place is verified by the log and must name the bucket and the key; its version must be one
//! the reader may see. What a record cannot show is that it is the *newest* of its key. For that
//! the index keeps one promise:
//!
//! > A place found here is that of the newest version sequenced for its key.
//!
//! # How the promise is kept
//!
//! ```text
//! one set, a cache line:   stamp u64 · 7 x (tag, upper 11 bits | offset of the record, lower 53)
//! ```
//!
//! * A commit *outbids* what is there, under the sequencer's lock and before the batch becomes
//!   visible: an entry of the same tag gets the new place, or goes if the key was deleted. It
//!   raises the set's stamp whether or not it found one.
//! * A reader that looked a key up elsewhere *fills* it in only if the stamp is still what it was
//!   before the look: a commit in between wins.
//! * A filler must have found the newest sequenced version, not just the newest visible one.
//!
//! Sequencing is not visibility. A reader takes its watermark before it looks here; if the record
//! found is not below it, the reader goes to the memtable.
//!
//! Two keys of one set and one tag share an entry; they take it from one another, and lose only
//! time. Readers take no lock: an entry is one word.
//!
//! # Memory
//!
//! A small table at first; the large one, once that is half full. Eight bytes and a seventh a key.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Places of hot keys of one partition. See the module.
pub(crate) struct HotIndex {
    small: Table,
    large: Table,
    uses_large: AtomicBool,
}

/// What a filler saw of a key's set before it looked elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    of_large: bool,
    stamp: u64,
}

struct Table {
    sets: usize,
    memory: OnceLock<Box<[Set]>>,
    used: AtomicUsize,
}

#[repr(align(64))]
#[derive(Default)]
struct Set {
    /// Odd while somebody changes the set.
    stamp: AtomicU64,
    entries: [AtomicU64; ENTRIES],
}

impl HotIndex {
    /// An empty index that takes at most `bytes` of memory.
    pub(crate) fn new(bytes: u64) -> HotIndex {
        let sets = usize::try_from(bytes).unwrap_or(usize::MAX) / size_of::<Set>();
        let small = (sets / SMALL_PART).min(SMALL_SETS_MAX);
        HotIndex {
            small: Table::new(small),
            large: Table::new(sets - small),
            uses_large: AtomicBool::new(false),
        }
    }

    /// The offset of the record where the newest version of a key of this hash may stand.
    pub(crate) fn find(&self, hash: u64) -> Option<u64> {
        let set = self.table().set(hash)?;
        let tag = tag(hash);
        set.entries
            .iter()
            .map(|entry| entry.load(Ordering::Acquire))
            .find(|&entry| entry != 0 && entry & TAG_MASK == tag)
            .map(|entry| entry & !TAG_MASK)
    }

    /// What a later [`HotIndex::fill`] must show; `None` if it would be of no use.
    pub(crate) fn stamp(&self, hash: u64) -> Option<Stamp> {
        let of_large = self.uses_large.load(Ordering::Acquire);
        let set = self.of(of_large).set_or_new(hash)?;
        let stamp = set.stamp.load(Ordering::Acquire);
        (stamp & 1 == 0).then_some(Stamp { of_large, stamp })
    }

    /// Enters the place of the newest sequenced version of a key, unless something of its set was
    /// committed since `stamp` was taken.
    pub(crate) fn fill(&self, hash: u64, record: u64, stamp: Stamp) {
        let table = self.of(stamp.of_large);
        let Some(set) = table.set(hash) else { return };
        if record & TAG_MASK != 0 || !set.lock(stamp.stamp) {
            return;
        }
        let tag = tag(hash);
        let load = |entry: &AtomicU64| entry.load(Ordering::Relaxed);
        let same = set
            .entries
            .iter()
            .position(|entry| load(entry) != 0 && load(entry) & TAG_MASK == tag);
        let free = || set.entries.iter().position(|entry| load(entry) == 0);
        // Any victim does; this one depends on nothing that a caller chooses.
        let victim = || usize::try_from((stamp.stamp / 2 + record / 8) % ENTRIES as u64);
        let is_new = same.is_none() && free().is_some();
        let at = same.or_else(free).unwrap_or_else(|| victim().unwrap_or(0));
        set.entries[at].store(tag | record, Ordering::Release);
        set.stamp.store(stamp.stamp + 2, Ordering::Release);
        if is_new && table.used.fetch_add(1, Ordering::Relaxed) * 2 > table.sets * ENTRIES {
            self.uses_large.store(true, Ordering::Release);
        }
    }

    /// A new version of a key is sequenced: `record` is its place, 0 if the key is deleted. The
    /// caller holds the sequencer's lock.
    pub(crate) fn outbid(&self, hash: u64, record: u64) {
        // Both tables: readers may still be looking into the one that is left.
        for table in [&self.small, &self.large] {
            let Some(set) = table.set(hash) else { continue };
            let stamp = set.lock_spinning();
            let tag = tag(hash);
            for entry in &set.entries {
                let found = entry.load(Ordering::Relaxed);
                if found != 0 && found & TAG_MASK == tag {
                    let after = if record == 0 || record & TAG_MASK != 0 {
                        0
                    } else {
                        tag | record
                    };
                    entry.store(after, Ordering::Release);
                }
            }
            set.stamp.store(stamp + 2, Ordering::Release);
        }
    }

    fn table(&self) -> &Table {
        self.of(self.uses_large.load(Ordering::Acquire))
    }

    fn of(&self, large: bool) -> &Table {
        if large { &self.large } else { &self.small }
    }
}

impl Table {
    fn new(sets: usize) -> Table {
        Table {
            sets,
            memory: OnceLock::new(),
            used: AtomicUsize::new(0),
        }
    }

    /// The set of a hash, if the table is in use.
    fn set(&self, hash: u64) -> Option<&Set> {
        let memory = self.memory.get()?;
        // By the low half of the hash, since its highest bits are the tag (Lemire 2018).
        let low = hash & u64::from(u32::MAX);
        let number = (low * self.sets as u64) >> 32;
        memory.get(usize::try_from(number).ok()?)
    }

    fn set_or_new(&self, hash: u64) -> Option<&Set> {
        if self.sets == 0 {
            return None;
        }
        self.memory.get_or_init(|| {
            std::iter::repeat_with(Set::default)
                .take(self.sets)
                .collect()
        });
        self.set(hash)
    }
}

impl Set {
    /// Takes the set for a change if its stamp is still this one.
    fn lock(&self, stamp: u64) -> bool {
        let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
        self.stamp
            .compare_exchange(stamp, stamp + 1, success, failure)
            .is_ok()
    }

    fn lock_spinning(&self) -> u64 {
        loop {
            let stamp = self.stamp.load(Ordering::Relaxed);
            if stamp & 1 == 0 && self.lock(stamp) {
                return stamp;
            }
            std::hint::spin_loop();
        }
    }
}

fn tag(hash: u64) -> u64 {
    hash & TAG_MASK
}

const ENTRIES: usize = 7;

/// Versions end below 2^53, and so do offsets.
const TAG_MASK: u64 = !0 << 53;

/// The small table's part of the memory, and its limit: a quarter of a mebibyte.
const SMALL_PART: usize = 16;
const SMALL_SETS_MAX: usize = 4 << 10;

#[cfg(test)]
mod tests;
