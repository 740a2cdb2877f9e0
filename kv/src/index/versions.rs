//! The versions of one key that somebody may still ask for.
//!
//! # Who may ask
//!
//! A reader works at a *watermark* W, an offset between batches, and sees of each key the newest
//! version below W. Watermarks in use are: those of [pins](super::pins), and any from the *stable*
//! offset on, which is the least of the partition's durable, visible and applied watermarks. So a
//! version is needed as long as there is such a W above it and not above its successor.
//!
//! In particular the newest durable version stays beside newer ones that are not durable yet:
//! after a poison it is what reads and scans show.
//!
//! # Cost
//!
//! The newest version stands in the key's node. Older ones are on the heap, usually none or one.
//! They are weeded at each write while they are few, and otherwise each time their number has
//! doubled, so a hot key costs O(1) a write whatever is pinned.

use smallvec::SmallVec;

/// Where one version of a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// The offset of the batch that wrote it; 0 for the version of a key that never was.
    pub(crate) version: u64,
    /// The offset of the record.
    pub(crate) record: u64,
    /// The deadline in milliseconds since 1970, 0 if there is none.
    pub(crate) expires_ms: u64,
    /// Bytes of the value.
    pub(crate) value_bytes: u32,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Value,
    Tombstone,
}

impl Location {
    /// Of a key that never was.
    pub(crate) const NONE: Location = Location {
        version: 0,
        record: 0,
        expires_ms: 0,
        value_bytes: 0,
        kind: Kind::Tombstone,
    };

    /// Whether the key exists at `now_ms`, if this is its version.
    pub(crate) fn is_live(&self, now_ms: u64) -> bool {
        self.kind == Kind::Value && (self.expires_ms == 0 || now_ms < self.expires_ms)
    }
}

/// The watermarks at which versions may still be read.
#[derive(Clone, Debug)]
pub(crate) struct Horizon {
    /// Every watermark from here on.
    pub(crate) stable: u64,
    /// And these below it, ascending.
    pub(crate) pinned: SmallVec<[u64; 4]>,
}

impl Horizon {
    /// Whether a reader may see a version although it has this successor.
    fn needs(&self, version: u64, successor: u64) -> bool {
        let after = self
            .pinned
            .partition_point(|&watermark| watermark <= version);
        let pinned = self
            .pinned
            .get(after)
            .is_some_and(|&watermark| watermark <= successor);
        successor >= self.stable || pinned
    }
}

/// The versions of one key. See the module.
#[derive(Debug)]
pub(crate) struct Versions {
    newest: Location,
    older: Option<Box<Older>>,
}

#[derive(Debug)]
struct Older {
    /// Ascending.
    locations: SmallVec<[Location; 1]>,
    /// How many there may be before they are weeded again.
    weed_at: usize,
}

impl Versions {
    /// Of a key that never was.
    pub(crate) const fn new() -> Versions {
        Versions {
            newest: Location::NONE,
            older: None,
        }
    }

    /// The newest sequenced version.
    pub(crate) fn newest(&self) -> Location {
        self.newest
    }

    /// The newest version below `watermark`.
    pub(crate) fn below(&self, watermark: u64) -> Location {
        if self.newest.version < watermark {
            return self.newest;
        }
        let Some(older) = &self.older else {
            return Location::NONE;
        };
        let count = older
            .locations
            .partition_point(|location| location.version < watermark);
        match count.checked_sub(1) {
            Some(at) => older.locations[at],
            None => Location::NONE,
        }
    }

    /// Adds the next version, drops those that nobody will ask for, and returns the one before.
    /// Does nothing and returns `None` if the location is not newer than the newest.
    #[must_use]
    pub(crate) fn push(&mut self, location: Location, horizon: &Horizon) -> Option<Location> {
        if location.version <= self.newest.version {
            return None;
        }
        let before = std::mem::replace(&mut self.newest, location);
        // Before its first version a key was absent, and nothing needs to be kept to say so.
        if before.version == 0 {
            return Some(before);
        }
        let needed = horizon.needs(before.version, location.version);
        match &mut self.older {
            Some(older) => {
                // Weeding comes first, so that a version which takes another's place needs no
                // memory.
                if older.locations.len() <= WEEDED_ALWAYS || older.locations.len() >= older.weed_at
                {
                    older.weed(before.version, horizon);
                }
                if needed {
                    older.locations.push(before);
                } else if older.locations.is_empty() {
                    self.older = None;
                }
            }
            None if needed => {
                let locations = SmallVec::from_buf([before]);
                self.older = Some(Box::new(Older {
                    locations,
                    weed_at: WEEDED_ALWAYS,
                }));
            }
            None => {}
        }
        Some(before)
    }

    /// Drops the versions that nobody will ask for.
    pub(crate) fn weed(&mut self, horizon: &Horizon) {
        let Some(older) = &mut self.older else { return };
        older.weed(self.newest.version, horizon);
        if older.locations.is_empty() {
            self.older = None;
        }
    }

    /// Whether the key could be forgotten without any reader noticing.
    pub(crate) fn is_forgettable(&self, horizon: &Horizon) -> bool {
        let gone = self.newest.kind == Kind::Tombstone && self.newest.version < horizon.stable;
        gone && self.older.is_none()
    }
}

impl Older {
    /// Drops the versions that nobody will ask for, given the version that follows them.
    fn weed(&mut self, successor: u64, horizon: &Horizon) {
        // `retain` walks upwards, but whether a version is needed depends on its successor in the
        // full list, not on which of the others are kept: mark first, then drop.
        let mut successor = successor;
        let mut needed: SmallVec<[bool; WEEDED_ALWAYS]> = SmallVec::new();
        for location in self.locations.iter().rev() {
            needed.push(horizon.needs(location.version, successor));
            successor = location.version;
        }
        self.locations.retain(|_| needed.pop().unwrap_or(true));
        if self.locations.len() <= 1 {
            self.locations.shrink_to_fit();
        }
        self.weed_at = (2 * self.locations.len()).max(WEEDED_ALWAYS);
    }
}

/// Up to this number, older versions are weeded at every write.
const WEEDED_ALWAYS: usize = 8;

#[cfg(test)]
mod tests;
