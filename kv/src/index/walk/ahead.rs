//! What a level gave of its keys, in the order of the walk.

use std::ops::Range;

use super::Found;
use crate::index::versions::Location;

/// Some keys, and what is known of them; the bytes of all stand in one piece of memory, which
/// serves again and again.
#[derive(Default)]
pub(super) struct Ahead {
    bytes: Vec<u8>,
    keys: Vec<OneKey>,
    passed: usize,
}

struct OneKey {
    key: Range<usize>,
    location: Location,
    value: Option<Range<usize>>,
}

impl Ahead {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.keys.clear();
        self.passed = 0;
    }

    /// Adds the next key. A value is its whole value, with nothing beside it.
    pub(super) fn push(&mut self, key: &[u8], location: Location, value: Option<&[u8]>) {
        let key = self.keep(key);
        let value = value.map(|value| self.keep(value));
        self.keys.push(OneKey {
            key,
            location,
            value,
        });
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// The key that was added last, and its version.
    pub(super) fn last(&self) -> Option<(&[u8], u64)> {
        let last = self.keys.last()?;
        Some((&self.bytes[last.key.clone()], last.location.version))
    }

    /// Takes the key back that was added last, and what is known of it. Its bytes stay.
    pub(super) fn pop(&mut self) -> Option<Held> {
        let last = self.keys.pop()?;
        Some(Held {
            key: self.bytes[last.key].to_vec(),
            location: last.location,
            value: last.value.map(|value| self.bytes[value].to_vec()),
        })
    }

    /// How many keys are still to come.
    pub(super) fn len(&self) -> usize {
        self.keys.len() - self.passed
    }

    /// How many came.
    pub(super) fn passed(&self) -> usize {
        self.passed
    }

    /// The first key that is still to come.
    pub(super) fn key(&self) -> Option<&[u8]> {
        let first = self.keys.get(self.passed)?;
        Some(&self.bytes[first.key.clone()])
    }

    /// The version of the first key that is still to come, 0 if there is none.
    pub(super) fn version(&self) -> u64 {
        let first = self.keys.get(self.passed);
        first.map_or(0, |first| first.location.version)
    }

    pub(super) fn first(&self) -> Option<Found<'_>> {
        let first = self.keys.get(self.passed)?;
        let value = first.value.clone();
        Some(Found {
            key: &self.bytes[first.key.clone()],
            location: first.location,
            value: value.map(|value| &self.bytes[value]),
        })
    }

    pub(super) fn pass(&mut self) {
        self.passed += 1;
    }
}

/// A key that is kept for later.
pub(super) struct Held {
    pub(super) key: Vec<u8>,
    pub(super) location: Location,
    pub(super) value: Option<Vec<u8>>,
}
