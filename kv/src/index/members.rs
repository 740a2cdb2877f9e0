//! The keys of one bucket in one memtable: in the order they came, in byte order once a scan asks
//! for it, and counted.
//!
//! Writers only note which nodes came; the first scan afterwards sorts what was noted into the
//! ordered set. Measured with a million 24-byte keys (see DESIGN.md), putting a new key into an
//! ordered structure costs a writer over a microsecond of cache misses, more than all the rest of
//! a put; sorting many at once costs a quarter of that, and bulk loads that nobody scans pay it
//! when their run is written, in the background.
//!
//! A scan needs no key that came after it began, so it settles what was noted once, at its start,
//! and writers never wait for it.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering as Memory};

use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;

use super::memtable::Node;
use super::versions::{Kind, Location};

/// The keys of one bucket. See the module.
#[derive(Debug, Default)]
pub(crate) struct Members {
    came: Mutex<Came>,
    sorted: RwLock<Sorted>,
    keys: AtomicI64,
    bytes: AtomicI64,
}

#[derive(Debug, Default)]
struct Sorted {
    nodes: BTreeSet<ByKey>,
    is_retired: bool,
}

#[derive(Debug, Default)]
struct Came {
    /// All nodes, in the order they came.
    nodes: Vec<Arc<Node>>,
    /// How many of them are sorted.
    settled: usize,
    /// Those that have not been looked up in older levels yet.
    uncompared: Vec<Arc<Node>>,
    /// What the others count for there.
    older: Counts,
}

/// Nodes that are to be noted together.
#[derive(Debug, Default)]
pub(in crate::index) struct Noted {
    /// Those that are new.
    pub(in crate::index) came: Vec<Arc<Node>>,
    /// Those that count from now on.
    pub(in crate::index) uncompared: Vec<Arc<Node>>,
}

/// Keys that exist, and bytes of them and their values; also as differences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) keys: i64,
    pub(crate) bytes: i64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.keys += other.keys;
        self.bytes += other.bytes;
    }
}

impl std::ops::Sub for Counts {
    type Output = Counts;

    fn sub(self, other: Counts) -> Counts {
        Counts {
            keys: self.keys - other.keys,
            bytes: self.bytes - other.bytes,
        }
    }
}

impl Counts {
    /// Bytes of a key and its value, on average.
    pub(crate) fn average_bytes(&self) -> i64 {
        self.bytes / self.keys.max(1)
    }

    pub(crate) fn key_bytes(key_bytes: usize) -> i64 {
        i64::try_from(key_bytes).unwrap_or(i64::MAX)
    }

    /// What a key counts for if this is its version.
    pub(crate) fn of(key_bytes: usize, location: &Location) -> Counts {
        match location.kind {
            Kind::Value | Kind::Large => Counts {
                keys: 1,
                bytes: Counts::key_bytes(key_bytes)
                    + i64::try_from(location.value_bytes).unwrap_or(i64::MAX),
            },
            Kind::Tombstone => Counts::default(),
        }
    }
}

impl Noted {
    /// Notes them, and is empty afterwards.
    pub(in crate::index) fn give_to(&mut self, members: &Members) {
        let mut came = members.came.lock();
        came.nodes.append(&mut self.came);
        came.uncompared.append(&mut self.uncompared);
    }
}

impl Members {
    /// Notes a node that is new.
    pub(crate) fn note(&self, node: Arc<Node>) {
        let mut came = self.came.lock();
        came.uncompared.push(Arc::clone(&node));
        came.nodes.push(node);
    }

    /// Notes that a node of superseded versions only has got another version.
    pub(crate) fn note_first(&self, node: &Arc<Node>) {
        self.came.lock().uncompared.push(Arc::clone(node));
    }

    /// Notes a node that is new and has superseded versions only. It counts for nothing.
    pub(crate) fn note_superseded(&self, node: Arc<Node>) {
        self.came.lock().nodes.push(node);
    }

    /// Counts that a key went from one version to the next. The caller holds the sequencer's
    /// lock, so plain loads and stores lose nothing.
    pub(crate) fn count(&self, key_bytes: usize, before: &Location, after: &Location) {
        let change = Counts::of(key_bytes, after) - Counts::of(key_bytes, before);
        for (number, change) in [(&self.keys, change.keys), (&self.bytes, change.bytes)] {
            number.store(number.load(Memory::Relaxed) + change, Memory::Relaxed);
        }
    }

    /// What the bucket holds more than the levels below do. `older` tells what a key counts for
    /// there; it is asked once a key, and again about keys of which it could only guess, in the order
    /// of their hashes. `prepare` hears of each key some time before, to have brought in what `older`
    /// will look at.
    pub(crate) fn counts(
        &self,
        prepare: impl Fn(&Node),
        mut older: impl FnMut(&Node) -> Result<Counts, Counts>,
    ) -> Counts {
        let mut came = self.came.lock();
        let came = &mut *came;
        let mut guessed = Counts::default();
        let mut uncompared = std::mem::take(&mut came.uncompared);
        // Once a node: they lie anywhere in memory.
        uncompared.sort_by_cached_key(|node| node.hash());
        for group in uncompared.chunks(PREPARED) {
            group.iter().for_each(|node| prepare(node));
            for node in group {
                match older(node) {
                    Ok(counts) => came.older += counts,
                    Err(guess) => {
                        guessed += guess;
                        came.uncompared.push(Arc::clone(node));
                    }
                }
            }
        }
        let here = Counts {
            keys: self.keys.load(Memory::Relaxed),
            bytes: self.bytes.load(Memory::Relaxed),
        };
        here - came.older - guessed
    }

    /// The number of keys, deleted ones included.
    pub(crate) fn len(&self) -> usize {
        self.came.lock().nodes.len()
    }

    /// Sorts the nodes that came so far into the set.
    #[expect(
        clippy::mutable_key_type,
        reason = "nodes compare by their keys, which never change"
    )]
    pub(crate) fn settle(&self) {
        {
            let came = self.came.lock();
            if came.settled == came.nodes.len() {
                return;
            }
        }
        let mut sorted = self.sorted.write();
        if sorted.is_retired {
            return;
        }
        let sorted = &mut sorted.nodes;
        let new = {
            let mut came = self.came.lock();
            let new = came.nodes[came.settled..].to_vec();
            came.settled = came.nodes.len();
            new
        };
        let new = in_key_order(new);
        if sorted.len() <= 2 * new.len() {
            let mut new: BTreeSet<ByKey> = new.into_iter().map(ByKey).collect();
            sorted.append(&mut new);
        } else {
            sorted.extend(new.into_iter().map(ByKey));
        }
    }

    /// Calls `visit` with at most `limit` nodes of the settled keys within the bounds, from the low
    /// end or, if `reverse`, from the high one, and says how many there were.
    ///
    /// Nodes lie anywhere in memory: some dozen are fetched together, and only then looked at.
    pub(crate) fn nodes(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        reverse: bool,
        limit: usize,
        mut visit: impl FnMut(&Node),
    ) -> Option<usize> {
        let sorted = self.sorted.read();
        if sorted.is_retired {
            return None;
        }
        if is_empty(bounds) {
            return Some(0);
        }
        let range = sorted
            .nodes
            .range::<[u8], _>(bounds)
            .map(|by_key| &*by_key.0);
        let nodes: SmallVec<[&Node; NODES_AT_ONCE]> = if reverse {
            range.rev().take(limit).collect()
        } else {
            range.take(limit).collect()
        };
        for together in nodes.chunks(NODES_AT_ONCE) {
            together.iter().for_each(|node| node.touch());
            together.iter().for_each(|node| visit(node));
        }
        Some(nodes.len())
    }

    /// Forgets the nodes: the memtable is retired.
    pub(super) fn retire(&self) {
        let retired = Sorted {
            is_retired: true,
            ..Sorted::default()
        };
        let sorted = std::mem::replace(&mut *self.sorted.write(), retired);
        let came = std::mem::take(&mut *self.came.lock());
        // Freed outside of the locks.
        drop((sorted, came));
    }

    /// All nodes in key order, those included that are not settled.
    pub(crate) fn all_in_key_order(&self) -> Vec<Arc<Node>> {
        in_key_order(self.came.lock().nodes.clone())
    }
}

/// Sorts nodes by key.
///
/// Most comparisons look at the eight bytes behind what all keys have in common, which stand
/// beside the node, and touch none.
fn in_key_order(nodes: Vec<Arc<Node>>) -> Vec<Arc<Node>> {
    let Some(first) = nodes.first().map(|node| node.key()) else {
        return nodes;
    };
    let common = nodes.iter().fold(first.len(), |common, node| {
        first[..common]
            .iter()
            .zip(node.key())
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
    let mut headed: Vec<_> = nodes
        .into_iter()
        .map(|node| (head(node.key()), node))
        .collect();
    headed.sort_unstable_by(|(one, first), (other, second)| {
        one.cmp(other).then_with(|| first.key().cmp(second.key()))
    });
    headed.into_iter().map(|(_, node)| node).collect()
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

/// Nodes that are fetched together. More would push one another out of the nearest cache.
const NODES_AT_ONCE: usize = 64;

/// Whether no key can lie within the bounds: such a range makes a `BTreeSet` panic.
pub(crate) fn is_empty(bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> bool {
    match bounds {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (
            Bound::Included(start) | Bound::Excluded(start),
            Bound::Included(end) | Bound::Excluded(end),
        ) => start >= end,
    }
}

/// Keys whose counts are prepared together: as many misses as a core has under way at once.
const PREPARED: usize = 16;

#[cfg(test)]
mod tests;
