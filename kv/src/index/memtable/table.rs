//! Hash -> node, for one shard of a memtable: a table that is only ever added to.
//!
//! Open addressing with linear probing (Knuth, *The Art of Computer Programming*, volume 3, section
//! 6.4, algorithm L). A place is the hash beside the node, so a search reads one cache line or two,
//! growing touches no node, and where a key will stand is known from its hash alone: whoever is
//! about to enter it has the line fetched before. Measured, that line was most of what entering a
//! key cost (see DESIGN.md): the lock that is given back afterwards waits for the store.

use std::sync::Arc;

use super::Node;

/// Nodes by the hash of their key. See the module.
#[derive(Default)]
pub(super) struct Table {
    /// None, or a power of two of them, at most two thirds taken.
    places: Box<[Place]>,
    taken: usize,
}

#[derive(Clone, Default)]
struct Place {
    hash: u64,
    node: Option<Arc<Node>>,
}

/// What is at the place of a key.
pub(super) enum Entry<'a> {
    Known(&'a Arc<Node>),
    Vacant(Vacant<'a>),
}

/// The place of a key that is not there.
pub(super) struct Vacant<'a> {
    table: &'a mut Table,
    at: usize,
    hash: u64,
}

impl Table {
    /// The node of this hash that is the key's.
    pub(super) fn find(&self, hash: u64, is_key: impl Fn(&Node) -> bool) -> Option<&Arc<Node>> {
        if self.places.is_empty() {
            return None;
        }
        self.places[self.search(hash, is_key)].node.as_ref()
    }

    /// The node of this hash that is the key's, or the place for it.
    pub(super) fn entry(&mut self, hash: u64, is_key: impl Fn(&Node) -> bool) -> Entry<'_> {
        if 3 * (self.taken + 1) > 2 * self.places.len() {
            self.grow();
        }
        let at = self.search(hash, is_key);
        if self.places[at].node.is_none() {
            let table = self;
            return Entry::Vacant(Vacant { table, at, hash });
        }
        match &self.places[at].node {
            Some(node) => Entry::Known(node),
            None => unreachable!("it was looked at"),
        }
    }

    /// Has the processor fetch what a search for this hash reads first, without waiting for it.
    pub(super) fn prefetch(&self, hash: u64) {
        if let Some(place) = self.places.get(self.home(hash)) {
            cairn_log::vfs::prefetch(place);
        }
    }

    /// The place of the key, or the free one where its search ends: there always is one.
    fn search(&self, hash: u64, is_key: impl Fn(&Node) -> bool) -> usize {
        let mut at = self.home(hash);
        while let Some(node) = &self.places[at].node {
            if self.places[at].hash == hash && is_key(node) {
                break;
            }
            at = self.after(at);
        }
        at
    }

    fn home(&self, hash: u64) -> usize {
        // The upper half has chosen the shard.
        (hash & LOWER_HALF) as usize & self.places.len().wrapping_sub(1)
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.places.len() - 1)
    }

    fn grow(&mut self) {
        let places = (2 * self.places.len()).max(PLACES_MIN);
        let larger = vec![Place::default(); places].into_boxed_slice();
        let smaller = std::mem::replace(&mut self.places, larger);
        for place in smaller {
            if place.node.is_some() {
                let free = self.search(place.hash, |_| false);
                self.places[free] = place;
            }
        }
    }
}

impl Vacant<'_> {
    pub(super) fn fill(self, node: Arc<Node>) {
        self.table.places[self.at] = Place {
            hash: self.hash,
            node: Some(node),
        };
        self.table.taken += 1;
    }
}

const PLACES_MIN: usize = 8;

const LOWER_HALF: u64 = u32::MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(table: &mut Table, hash: u64, key: &[u8]) -> bool {
        match table.entry(hash, |node| node.key() == key) {
            Entry::Known(_) => false,
            Entry::Vacant(vacant) => {
                vacant.fill(Node::of(key));
                true
            }
        }
    }

    fn holds(table: &Table, hash: u64, key: &[u8]) -> bool {
        table.find(hash, |node| node.key() == key).is_some()
    }

    #[test]
    fn an_empty_table_holds_nothing_and_may_be_prefetched() {
        let table = Table::default();
        table.prefetch(7);
        assert!(!holds(&table, 7, b"a"));
    }

    #[test]
    fn every_key_is_found_whatever_hashes_they_have() {
        // All the same, all with one home, neighbours, the last place of the table, spread.
        let spread = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let hashes: [&dyn Fn(u64) -> u64; 5] = [
            &|_| 5,
            &|number| number << 32,
            &|number| number,
            &|number| u64::MAX - number % 2,
            &spread,
        ];
        for hash in hashes {
            let mut table = Table::default();
            for number in 0..300_u64 {
                let key = number.to_be_bytes();
                assert!(!holds(&table, hash(number), &key));
                assert!(enter(&mut table, hash(number), &key));
                assert!(!enter(&mut table, hash(number), &key), "a second time");
            }
            for number in 0..300 {
                assert!(holds(&table, hash(number), &u64::to_be_bytes(number)));
            }
            assert!(!holds(&table, hash(3), b"another key"));
            assert_eq!((table.taken, table.places.len()), (300, 512));
        }
    }
}
