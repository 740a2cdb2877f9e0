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
//! # Growth
//!
//! As few sets are in use as the keys need, so that the table stays in the caches of the processor
//! for as long as it can; once most entries are taken, eight times as many are: each growth loses
//! what was found, so there are few. All stand in one reach of memory, of which only what is used is
//! taken from the system. A key's set is *hash x sets in use*, upper half, so it only ever moves up:
//! an entry that an earlier growth left behind is looked at for other keys alone, who find that it
//! is not theirs, and the promise has to be kept for sets where keys stand now. What is left behind
//! is cleared to make room.
//!
//! Growth happens under the sequencer's lock. A reader that still goes by the number before it has
//! taken its watermark before as well, so the commits that it may see outbid where it looks.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use cairn_log::vfs::AtomicWords;

/// Places of hot keys of one partition. See the module.
pub(crate) struct HotIndex {
    /// `None` if the system gave no memory, or none is allowed.
    words: Option<AtomicWords>,
    /// Sets in use.
    sets: AtomicUsize,
    sets_max: usize,
    /// Entries that are taken, or a few more.
    used: AtomicUsize,
    /// How often a key took the entry of another.
    #[cfg(test)]
    pub(crate) collisions: AtomicUsize,
}

/// What a filler saw of a key's set before it looked elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    set: usize,
    stamp: u64,
}

/// A cache line.
#[derive(Clone, Copy)]
struct Set<'a> {
    /// Odd while somebody changes the set.
    stamp: &'a AtomicU64,
    entries: &'a [AtomicU64; ENTRIES],
}

impl HotIndex {
    /// An empty index that takes at most `bytes` of memory.
    pub(crate) fn new(bytes: u64) -> HotIndex {
        let sets_max = usize::try_from(bytes).unwrap_or(usize::MAX) / (WORDS * size_of::<u64>());
        let words = match sets_max {
            0 => None,
            sets => AtomicWords::zeroed(sets * WORDS).ok(),
        };
        HotIndex {
            words,
            sets: AtomicUsize::new(sets_max.min(SETS_FIRST)),
            sets_max,
            used: AtomicUsize::new(0),
            #[cfg(test)]
            collisions: AtomicUsize::new(0),
        }
    }

    /// The offset of the record where the newest version of a key of this hash may stand.
    pub(crate) fn find(&self, hash: u64) -> Option<u64> {
        let set = self.set(self.number(hash))?;
        let tag = tag(hash);
        set.entries
            .iter()
            .map(|entry| entry.load(Ordering::Acquire))
            .find(|&entry| entry != 0 && entry & TAG_MASK == tag)
            .map(|entry| entry & !TAG_MASK)
    }

    /// What a later [`HotIndex::fill`] must show; `None` if it would be of no use.
    pub(crate) fn stamp(&self, hash: u64) -> Option<Stamp> {
        let number = self.number(hash);
        let stamp = self.set(number)?.stamp.load(Ordering::Acquire);
        (stamp & 1 == 0).then_some(Stamp { set: number, stamp })
    }

    /// Enters the place of the newest sequenced version of a key, unless something of its set was
    /// committed since `stamp` was taken. Says whether it is time to [grow](HotIndex::grow).
    pub(crate) fn fill(&self, hash: u64, record: u64, stamp: Stamp) -> bool {
        let Some(set) = self.set(stamp.set) else {
            return false;
        };
        if record & TAG_MASK != 0 || !set.lock(stamp.stamp) {
            return false;
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
        #[cfg(test)]
        if same.is_none() && !is_new {
            self.collisions.fetch_add(1, Ordering::Relaxed);
        }
        let at = same.or_else(free).unwrap_or_else(|| victim().unwrap_or(0));
        set.entries[at].store(tag | record, Ordering::Release);
        set.stamp.store(stamp.stamp + 2, Ordering::Release);
        if is_new {
            self.used.fetch_add(1, Ordering::Relaxed);
        }
        is_new && self.is_crowded()
    }

    /// A new version of a key is sequenced: `record` is its place, 0 if the key is deleted. The
    /// caller holds the sequencer's lock.
    pub(crate) fn outbid(&self, hash: u64, record: u64) {
        let Some(set) = self.set(self.number(hash)) else {
            return;
        };
        let stamp = set.lock_spinning();
        let tag = tag(hash);
        for entry in set.entries {
            let found = entry.load(Ordering::Relaxed);
            if found != 0 && found & TAG_MASK == tag {
                let after = if record == 0 || record & TAG_MASK != 0 {
                    0
                } else {
                    tag | record
                };
                entry.store(after, Ordering::Release);
                if after == 0 {
                    self.let_go();
                }
            }
        }
        set.stamp.store(stamp + 2, Ordering::Release);
    }

    /// Counts an entry that is free again, or keys that come and go would fill an empty table.
    fn let_go(&self) {
        let one_less = |used: usize| used.checked_sub(1);
        let _ = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
    }

    /// Whether more sets would hold more keys, and there is memory for them.
    pub(crate) fn is_crowded(&self) -> bool {
        let sets = self.sets.load(Ordering::Relaxed);
        let entries = sets * ENTRIES;
        sets < self.sets_max && self.used.load(Ordering::Relaxed) > entries / 8 * CROWDED_EIGHTHS
    }

    /// Takes more sets into use, and says how many there were: what they hold is to be
    /// [cleared](HotIndex::clear). The caller holds the sequencer's lock.
    pub(crate) fn grow(&self) -> usize {
        let sets = self.sets.load(Ordering::Relaxed);
        let more = (sets * GROWTH).min(self.sets_max);
        self.sets.store(more, Ordering::Release);
        sets
    }

    /// Empties the first `sets` sets. Nobody is kept from using them meanwhile.
    pub(crate) fn clear(&self, sets: usize) {
        self.used.store(0, Ordering::Relaxed);
        for set in (0..sets).filter_map(|number| self.set(number)) {
            let stamp = set.lock_spinning();
            for entry in set.entries {
                entry.store(0, Ordering::Release);
            }
            set.stamp.store(stamp + 2, Ordering::Release);
        }
    }

    /// The number of a hash's set.
    fn number(&self, hash: u64) -> usize {
        let sets = self.sets.load(Ordering::Acquire);
        // By the low half of the hash, since its highest bits are the tag (Lemire 2018).
        let low = hash & u64::from(u32::MAX);
        usize::try_from((low * sets as u64) >> 32).unwrap_or(0)
    }

    fn set(&self, number: usize) -> Option<Set<'_>> {
        let (lines, _) = self.words.as_deref()?.as_chunks::<WORDS>();
        let [stamp, entries @ ..] = lines.get(number)?;
        Some(Set { stamp, entries })
    }
}

impl Set<'_> {
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

/// Of a set: its stamp, and its entries.
const WORDS: usize = 1 + ENTRIES;
const ENTRIES: usize = 7;

/// Versions end below 2^53, and so do offsets.
const TAG_MASK: u64 = !0 << 53;

/// Sets in use at first: a quarter of a mebibyte.
const SETS_FIRST: usize = 4 << 10;

/// How many times as many sets a growth takes into use.
const GROWTH: usize = 8;

/// A table is crowded when more than this many eighths of its entries are taken. At five, one key
/// in thirty finds its set full.
const CROWDED_EIGHTHS: usize = 5;

#[cfg(test)]
mod tests;
