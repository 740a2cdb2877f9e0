//! The hot index: key hash -> place in the log, for as many keys as it has room for. Bounded.
//!
//! A hit costs one cache miss here, of two lines side by side, and the record's own. Nothing here is
//! believed: the record at the place is verified by the log and must name the bucket and the key;
//! its version must be one the reader may see. What a record cannot show is that it is the *newest*
//! of its key. For that the index keeps one promise:
//!
//! > A place found here is that of the newest version sequenced for its key.
//!
//! # How the promise is kept
//!
//! ```text
//! one set, two cache lines:   stamp u64 · 15 x (tag, upper 11 bits | offset of the record, lower 53)
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
//! # Who is let in
//!
//! A key that is read takes the entry of another one if it must. One that is written, or offered because
//! it is merged (`keyspace::warm`), takes a free entry or none: the commit has the set at hand
//! anyway, and what nobody reads pushes nothing out.
//!
//! Keys of a dropped bucket stay until others take their entries; when a merge has taken in the drop of
//! many, all is cleared.
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
    used: Apart,
    /// How often a key took the entry of another.
    #[cfg(test)]
    pub(crate) collisions: AtomicUsize,
}

/// A counter on cache lines of its own: each write changes it, and what stands beside it is read by
/// every read.
#[repr(align(128))]
struct Apart(AtomicUsize);

/// What a filler saw of a key's set before it looked elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    set: usize,
    stamp: u64,
}

/// Two cache lines, which begin at a multiple of their size.
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
            used: Apart(AtomicUsize::new(0)),
            #[cfg(test)]
            collisions: AtomicUsize::new(0),
        }
    }

    /// The offset of the record where the newest version of a key of this hash may stand.
    pub(crate) fn find(&self, hash: u64) -> Option<u64> {
        let set = self.set(self.number(hash))?;
        // Beside the first, not after it.
        cairn_log::vfs::prefetch(&set.entries[SECOND_LINE]);
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
        let Some(set) = self.lock_as_stamped(record, stamp) else {
            return false;
        };
        let tag = tag(hash);
        let same = set.position_of(tag);
        let free = || set.free();
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
            self.used.0.fetch_add(1, Ordering::Relaxed);
        }
        is_new && self.is_crowded()
    }

    /// [`HotIndex::fill`] of a key that nobody asked for: only if the set has an entry free, and none of
    /// this tag. Says whether it was entered.
    pub(crate) fn offer(&self, hash: u64, record: u64, stamp: Stamp) -> bool {
        let Some(set) = self.lock_as_stamped(record, stamp) else {
            return false;
        };
        let tag = tag(hash);
        let free = match set.position_of(tag) {
            Some(_) => None,
            None => set.free(),
        };
        self.take(&set, free, tag | record);
        set.stamp.store(stamp.stamp + 2, Ordering::Release);
        free.is_some()
    }

    /// A new version of a key is sequenced: `record` is its place, 0 if the key is deleted or not to
    /// be found here. The caller holds the sequencer's lock.
    pub(crate) fn outbid(&self, hash: u64, record: u64) {
        if let Some(set) = self.set(self.number(hash)) {
            let stamp = set.lock_spinning();
            self.replace(&set, tag(hash), record);
            set.stamp.store(stamp + 2, Ordering::Release);
        }
    }

    /// [`HotIndex::outbid`] that takes a free entry if the key has none. Says whether it is time to
    /// [grow](HotIndex::grow).
    pub(crate) fn enter(&self, hash: u64, record: u64) -> bool {
        let Some(set) = self.set(self.number(hash)) else {
            return false;
        };
        let stamp = set.lock_spinning();
        let tag = tag(hash);
        let is_here = self.replace(&set, tag, record);
        let free = match is_here || record == 0 || record & TAG_MASK != 0 {
            true => None,
            false => set.free(),
        };
        self.take(&set, free, tag | record);
        set.stamp.store(stamp + 2, Ordering::Release);
        free.is_some() && self.is_crowded()
    }

    /// The set of a stamp, locked, if nothing was committed there since and `record` is a place.
    fn lock_as_stamped(&self, record: u64, stamp: Stamp) -> Option<Set<'_>> {
        let set = self.set(stamp.set)?;
        (record & TAG_MASK == 0 && set.lock(stamp.stamp)).then_some(set)
    }

    /// Puts an entry where a free one was found, if one was. The caller has locked the set.
    fn take(&self, set: &Set<'_>, free: Option<usize>, entry: u64) {
        if let Some(at) = free {
            set.entries[at].store(entry, Ordering::Release);
            self.used.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Puts `record` in the place of what has this tag, or takes that away; says whether there was any.
    fn replace(&self, set: &Set<'_>, tag: u64, record: u64) -> bool {
        let mut is_here = false;
        for entry in set.entries {
            let found = entry.load(Ordering::Relaxed);
            if found != 0 && found & TAG_MASK == tag {
                is_here = true;
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
        is_here
    }

    /// Has brought in what [`HotIndex::enter`] will change, without waiting for it.
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(set) = self.set(self.number(hash)) {
            cairn_log::vfs::prefetch(set.stamp);
            cairn_log::vfs::prefetch(&set.entries[SECOND_LINE]);
        }
    }

    /// Entries that are taken, or a few more.
    pub(crate) fn used(&self) -> u64 {
        self.used.0.load(Ordering::Relaxed) as u64
    }

    /// Sets in use; it only grows.
    pub(crate) fn sets(&self) -> usize {
        self.sets.load(Ordering::Relaxed)
    }

    /// Whether a good part of what it may ever hold is free.
    pub(crate) fn has_room(&self) -> bool {
        let entries = self.sets_max * ENTRIES;
        self.words.is_some() && self.used.0.load(Ordering::Relaxed) < entries / 8 * ROOM_EIGHTHS
    }

    /// Counts an entry that is free again, or keys that come and go would fill an empty table.
    fn let_go(&self) {
        let one_less = |used: usize| used.checked_sub(1);
        let _ = self
            .used
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
    }

    /// Whether more sets would hold more keys, and there is memory for them.
    pub(crate) fn is_crowded(&self) -> bool {
        let sets = self.sets.load(Ordering::Relaxed);
        let entries = sets * ENTRIES;
        sets < self.sets_max && self.used.0.load(Ordering::Relaxed) > entries / 8 * CROWDED_EIGHTHS
    }

    /// Takes more sets into use, for `keys` keys if there may be so many, and says how many there
    /// were: what they hold is to be [cleared](HotIndex::clear). The caller holds the sequencer's lock.
    pub(crate) fn grow(&self, keys: u64) -> usize {
        let sets = self.sets.load(Ordering::Relaxed);
        let mut more = self.next_size(sets);
        while more < self.sets_max && !are_enough(more, keys) {
            more = self.next_size(more);
        }
        self.sets.store(more, Ordering::Release);
        sets
    }

    /// What follows so many sets. The last step is not a small one: it would lose more than it wins.
    fn next_size(&self, sets: usize) -> usize {
        let more = sets * GROWTH;
        if more > self.sets_max / 2 {
            self.sets_max
        } else {
            more
        }
    }

    /// Whether it would [grow](HotIndex::grow) for so many keys.
    pub(crate) fn is_small_for(&self, keys: u64) -> bool {
        let sets = self.sets.load(Ordering::Relaxed);
        sets < self.sets_max && !are_enough(sets, keys)
    }

    /// Empties the first `sets` sets. Nobody is kept from using them meanwhile.
    pub(crate) fn clear(&self, sets: usize) {
        self.used.0.store(0, Ordering::Relaxed);
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

    fn position_of(&self, tag: u64) -> Option<usize> {
        self.position(|entry| entry != 0 && entry & TAG_MASK == tag)
    }

    fn free(&self) -> Option<usize> {
        self.position(|entry| entry == 0)
    }

    /// The first entry of which this holds.
    fn position(&self, holds: impl Fn(u64) -> bool) -> Option<usize> {
        let mut entries = self.entries.iter();
        entries.position(|entry| holds(entry.load(Ordering::Relaxed)))
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

/// Whether so many keys do not crowd so many sets.
fn are_enough(sets: usize, keys: u64) -> bool {
    keys <= (sets * ENTRIES / 8 * CROWDED_EIGHTHS) as u64
}

/// Of a set: its stamp, and its entries.
const WORDS: usize = 1 + ENTRIES;
const ENTRIES: usize = 15;

/// The first entry of a set's second cache line.
const SECOND_LINE: usize = 7;

/// Versions end below 2^53, and so do offsets.
const TAG_MASK: u64 = !0 << 53;

/// Sets in use at first: a quarter of a mebibyte.
const SETS_FIRST: usize = 2 << 10;

/// How many times as many sets a growth takes into use.
const GROWTH: usize = 8;

/// A table is crowded when more than this many eighths of its entries are taken. At five, one key
/// in a hundred and fifty finds its set full.
const CROWDED_EIGHTHS: usize = 5;

/// It has room while less than so many eighths of all entries are taken.
const ROOM_EIGHTHS: usize = 7;

#[cfg(test)]
mod tests;
