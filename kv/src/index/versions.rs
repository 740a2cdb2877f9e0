//! Where the versions of one key stand, as far as one memtable knows them.
//!
//! A memtable keeps every version of its segment: a reader at an older watermark, a scan that
//! began earlier and the run that is written when the segment is sealed all find what they need,
//! and nothing has to be weeded. What that may cost is bounded by the memtable's size, at which
//! its segment is sealed.

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
    pub(crate) value_bytes: u64,
    pub(crate) kind: Kind,
    /// The record was moved: it says its version itself.
    pub(crate) is_moved: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Value,
    /// A value in pieces: the record says which.
    Large,
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
        is_moved: false,
    };

    /// Whether the key exists at `now_ms`, if this is its version.
    pub(crate) fn is_live(&self, now_ms: u64) -> bool {
        self.kind != Kind::Tombstone && (self.expires_ms == 0 || now_ms < self.expires_ms)
    }
}

/// The versions of one key in one memtable. Most keys have one, and take no more memory than that.
#[derive(Debug)]
pub(crate) struct Versions {
    /// [`Location::NONE`] if all that is here is superseded.
    newest: Location,
    others: Option<Box<Others>>,
}

#[derive(Debug, Default)]
struct Others {
    /// Ascending.
    older: Vec<Location>,
    /// Versions that were moved here although newer ones existed, in no order. Only history asks
    /// for them.
    superseded: Vec<Location>,
}

impl Versions {
    pub(crate) const fn new() -> Versions {
        Versions {
            newest: Location::NONE,
            others: None,
        }
    }

    /// The newest sequenced version.
    pub(crate) fn newest(&self) -> Location {
        self.newest
    }

    /// The newest version below `watermark`, [`Location::NONE`] if all are newer.
    pub(crate) fn below(&self, watermark: u64) -> Location {
        if self.newest.version < watermark {
            return self.newest;
        }
        let older = self.older();
        let count = older.partition_point(|location| location.version < watermark);
        match count.checked_sub(1) {
            Some(at) => older[at],
            None => Location::NONE,
        }
    }

    /// The newest version below `watermark` of all that are here, superseded ones included.
    pub(crate) fn ever_below(&self, watermark: u64) -> Location {
        self.superseded()
            .iter()
            .filter(|location| location.version < watermark)
            .fold(self.below(watermark), |best, location| {
                if location.version > best.version {
                    *location
                } else {
                    best
                }
            })
    }

    /// All versions but superseded ones, the newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = Location> {
        std::iter::once(self.newest)
            .filter(|newest| newest.version != 0)
            .chain(self.older().iter().rev().copied())
    }

    fn older(&self) -> &[Location] {
        self.others.as_ref().map_or(&[], |others| &others.older)
    }

    /// The versions that were moved here although newer ones existed.
    pub(crate) fn superseded(&self) -> &[Location] {
        self.others
            .as_ref()
            .map_or(&[], |others| &others.superseded)
    }

    /// Adds a version that was superseded when it was moved here.
    pub(crate) fn add_superseded(&mut self, location: Location) {
        let others = self.others.get_or_insert_default();
        others.superseded.push(location);
    }

    /// Adds the next version and returns the one before. Does nothing and returns `None` if the
    /// location is not newer than the newest.
    #[must_use]
    pub(crate) fn push(&mut self, location: Location) -> Option<Location> {
        if location.version <= self.newest.version {
            return None;
        }
        let before = std::mem::replace(&mut self.newest, location);
        if before.version != 0 {
            let others = self.others.get_or_insert_default();
            if others.older.is_empty() {
                // Most keys that are overwritten are so once.
                others.older.reserve_exact(1);
            }
            others.older.push(before);
        }
        Some(before)
    }
}

#[cfg(test)]
mod tests;
