//! The keys of one bucket in byte order: answers scans.
//!
//! Writers only note which nodes came and went; the first scan afterwards sorts what was noted
//! into the ordered set. Measured with a million 24-byte keys (see DESIGN.md), putting a new key
//! into an ordered structure costs a writer over a microsecond of cache misses, more than all the
//! rest of a put; sorting many at once costs a quarter of that, and bulk loads that nobody scans
//! never pay it.
//!
//! A scan needs no key that came after it began, so it settles what was noted once, at its start,
//! and writers never wait for it.
//!
//! # Bounds
//!
//! Notes of keys that came take eight bytes beside the node. Keys that came and went before any
//! scan are struck from the notes once they are more than half of them, so endless put-then-delete
//! does not make them grow.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::memtable::Node;
use super::versions::Location;

/// The ordered keys of one bucket.
#[derive(Debug, Default)]
pub(crate) struct Order {
    notes: Mutex<Notes>,
    sorted: RwLock<BTreeSet<ByKey>>,
}

#[derive(Debug, Default)]
struct Notes {
    changes: Vec<Change>,
    /// How many of the changes say that a node went.
    gone: usize,
}

#[derive(Clone, Debug)]
enum Change {
    Came(Arc<Node>),
    Went(Arc<Node>),
}

impl Order {
    /// Notes a node that now stands for its key.
    pub(crate) fn note_new(&self, node: Arc<Node>) {
        self.notes.lock().changes.push(Change::Came(node));
    }

    /// Notes that a node no longer stands for its key.
    pub(crate) fn note_gone(&self, node: Arc<Node>) {
        let mut notes = self.notes.lock();
        notes.changes.push(Change::Went(node));
        notes.gone += 1;
        if notes.gone >= STRUCK_FROM && 4 * notes.gone > notes.changes.len() {
            notes.strike();
        }
    }

    /// Sorts what was noted so far into the set.
    #[expect(
        clippy::mutable_key_type,
        reason = "nodes compare by their keys, which never change"
    )]
    pub(crate) fn settle(&self) {
        if self.notes.lock().changes.is_empty() {
            return;
        }
        let mut sorted = self.sorted.write();
        let changes = in_key_order(std::mem::take(&mut *self.notes.lock()).changes);
        if sorted.len() <= 2 * changes.len() && changes.iter().all(Change::is_new) {
            // No key stands on both sides: an old node's going would be among the changes.
            let mut new: BTreeSet<ByKey> = changes.into_iter().map(Change::by_key).collect();
            sorted.append(&mut new);
            return;
        }
        for change in changes {
            match change {
                Change::Came(node) => drop(sorted.replace(ByKey(node))),
                Change::Went(node) => {
                    if sorted
                        .get(node.key())
                        .is_some_and(|held| Arc::ptr_eq(&held.0, &node))
                    {
                        sorted.remove(node.key());
                    }
                }
            }
        }
    }

    /// Appends to `into` at most `limit` nodes of the settled keys within the bounds, from the
    /// low end or, if `reverse`, from the high one.
    pub(crate) fn nodes(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        reverse: bool,
        limit: usize,
        into: &mut Vec<Arc<Node>>,
    ) {
        if is_empty(bounds) {
            return;
        }
        let sorted = self.sorted.read();
        let range = sorted.range::<[u8], _>(bounds).map(|by_key| &by_key.0);
        if reverse {
            into.extend(range.rev().take(limit).cloned());
        } else {
            into.extend(range.take(limit).cloned());
        }
    }

    /// The newest version of some key, if one satisfies `wanted`.
    pub(crate) fn find_newest(&self, wanted: impl Fn(&Location) -> bool) -> Option<Location> {
        self.settle();
        let sorted = self.sorted.read();
        sorted
            .iter()
            .map(|by_key| by_key.0.versions().newest())
            .find(wanted)
    }

    /// Takes out all nodes.
    pub(crate) fn drain(&self) -> Vec<Arc<Node>> {
        self.settle();
        std::mem::take(&mut *self.sorted.write())
            .into_iter()
            .map(|by_key| by_key.0)
            .collect()
    }
}

impl Notes {
    /// Drops the notes of nodes that both came and went among them.
    fn strike(&mut self) {
        let went: HashSet<*const Node> = self.changes.iter().filter_map(Change::gone).collect();
        let came = |change: &Change| match change {
            Change::Came(node) => Some(Arc::as_ptr(node)),
            Change::Went(_) => None,
        };
        let both: HashSet<*const Node> = self
            .changes
            .iter()
            .filter_map(came)
            .filter(|node| went.contains(node))
            .collect();
        self.changes
            .retain(|change| !both.contains(&Arc::as_ptr(change.node())));
        self.gone = self.changes.iter().filter_map(Change::gone).count();
    }
}

impl Change {
    fn node(&self) -> &Arc<Node> {
        match self {
            Change::Came(node) | Change::Went(node) => node,
        }
    }

    fn key(&self) -> &[u8] {
        self.node().key()
    }

    fn is_new(&self) -> bool {
        matches!(self, Change::Came(_))
    }

    fn gone(&self) -> Option<*const Node> {
        match self {
            Change::Came(_) => None,
            Change::Went(node) => Some(Arc::as_ptr(node)),
        }
    }

    fn by_key(self) -> ByKey {
        match self {
            Change::Came(node) | Change::Went(node) => ByKey(node),
        }
    }
}

/// Sorts changes by key, and those of one key as they came: the last one decides.
///
/// Most comparisons look at the eight bytes behind what all keys have in common, which stand
/// beside the change, and touch no node.
fn in_key_order(changes: Vec<Change>) -> Vec<Change> {
    let Some(first) = changes.first().map(Change::key) else {
        return changes;
    };
    let common = changes.iter().fold(first.len(), |common, change| {
        first[..common]
            .iter()
            .zip(change.key())
            .take_while(|(one, other)| one == other)
            .count()
    });
    let head = |key: &[u8]| {
        let mut head = [0; 8];
        head.iter_mut()
            .zip(&key[common..])
            .for_each(|(place, byte)| *place = *byte);
        u64::from_be_bytes(head)
    };
    let mut headed: Vec<_> = changes
        .into_iter()
        .map(|change| (head(change.key()), change))
        .collect();
    headed.sort_by(|(one, first), (other, second)| {
        one.cmp(other).then_with(|| first.key().cmp(second.key()))
    });
    headed.into_iter().map(|(_, change)| change).collect()
}

/// A node that compares as its key.
#[derive(Clone, Debug)]
struct ByKey(Arc<Node>);

impl Borrow<[u8]> for ByKey {
    fn borrow(&self) -> &[u8] {
        self.0.key()
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &ByKey) -> bool {
        self.0.key() == other.0.key()
    }
}

impl Eq for ByKey {}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &ByKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &ByKey) -> Ordering {
        self.0.key().cmp(other.0.key())
    }
}

/// Whether no key can lie within the bounds: such a range makes a `BTreeSet` panic.
fn is_empty(bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> bool {
    match bounds {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (
            Bound::Included(start) | Bound::Excluded(start),
            Bound::Included(end) | Bound::Excluded(end),
        ) => start >= end,
    }
}

/// Notes of nodes that went are struck only from this number on.
const STRUCK_FROM: usize = 1_024;

#[cfg(test)]
mod tests;
