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
    };

    /// Whether the key exists at `now_ms`, if this is its version.
    pub(crate) fn is_live(&self, now_ms: u64) -> bool {
        self.kind != Kind::Tombstone && (self.expires_ms == 0 || now_ms < self.expires_ms)
    }
}

/// The versions of one key in one memtable. Never empty once a node is entered.
#[derive(Debug)]
pub(crate) struct Versions {
    newest: Location,
    /// Ascending.
    older: Vec<Location>,
}

impl Versions {
    pub(crate) const fn new(first: Location) -> Versions {
        Versions {
            newest: first,
            older: Vec::new(),
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
        let count = self
            .older
            .partition_point(|location| location.version < watermark);
        match count.checked_sub(1) {
            Some(at) => self.older[at],
            None => Location::NONE,
        }
    }

    /// All versions, the newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = Location> {
        std::iter::once(self.newest).chain(self.older.iter().rev().copied())
    }

    /// Adds the next version and returns the one before. Does nothing and returns `None` if the
    /// location is not newer than the newest.
    #[must_use]
    pub(crate) fn push(&mut self, location: Location) -> Option<Location> {
        if location.version <= self.newest.version {
            return None;
        }
        let before = std::mem::replace(&mut self.newest, location);
        self.older.push(before);
        Some(before)
    }
}

#[cfg(test)]
mod tests;
