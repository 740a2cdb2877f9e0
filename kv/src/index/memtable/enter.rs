//! Entering versions: one by one while others read, and many at once while nobody does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use smallvec::SmallVec;

use super::node::node_bytes;
use super::table::{Entry, Table};
use super::{Memtable, Node, shard_number};
use crate::index::members::{Members, Noted};
use crate::index::versions::Location;
use crate::record::BucketId;

/// A version of a key that is to be entered, as the node it becomes if the key is new.
pub(crate) struct Entering {
    node: Arc<Node>,
    location: Location,
    is_superseded: bool,
}

impl Entering {
    /// `is_superseded`: it was so when it was moved.
    pub(crate) fn new(
        bucket: BucketId,
        hash: u64,
        key: &[u8],
        location: Location,
        is_superseded: bool,
    ) -> Entering {
        let node = if is_superseded {
            Node::of_past(bucket, hash, key, location)
        } else {
            Node::of_newest(bucket, hash, key, location)
        };
        Entering {
            node,
            location,
            is_superseded,
        }
    }
}

/// What entering a version did.
enum Entered {
    /// The key is new, and its node is to be noted.
    New(Arc<Node>),
    /// Its node had superseded versions only, and is to be noted as well.
    First(Arc<Node>),
    /// It had this version before.
    Again(Location),
    /// A superseded version of a key that is known.
    Superseded,
    /// It is not newer than the newest one here.
    Refused,
}

impl Memtable {
    /// Has brought in what entering a key of this hash will ask, without waiting for it.
    pub(crate) fn prefetch(&self, hash: u64) {
        self.shard(hash).0.read().prefetch(hash);
    }

    /// Enters a version of a key. Does nothing and says so if it is not newer than the newest one
    /// here. The caller holds the sequencer's lock.
    #[must_use]
    pub(crate) fn enter(
        &self,
        members: &Members,
        bucket: BucketId,
        hash: u64,
        key: &[u8],
        after: Location,
    ) -> bool {
        let node = || Node::of_newest(bucket, hash, key, after);
        let entered = {
            let mut table = self.shard(hash).0.write();
            enter_newest(&mut table, bucket, hash, key, after, node)
        };
        self.count(members, key.len(), &entered, &after);
        match entered {
            Entered::New(node) => members.note(node),
            Entered::First(node) => members.note_first(&node),
            Entered::Again(_) | Entered::Superseded => {}
            Entered::Refused => return false,
        }
        true
    }

    /// Enters a version that was superseded when it was moved. The caller holds the sequencer's
    /// lock.
    pub(crate) fn enter_superseded(
        &self,
        members: &Members,
        bucket: BucketId,
        hash: u64,
        key: &[u8],
        location: Location,
    ) {
        let node = || Node::of_past(bucket, hash, key, location);
        let entered = {
            let mut table = self.shard(hash).0.write();
            enter_past(&mut table, bucket, hash, key, location, node)
        };
        self.count_superseded(key.len(), &entered);
        if let Entered::New(node) = entered {
            members.note_superseded(node);
        }
    }

    /// Enters versions one after another while nobody else knows the memtable. Stops and returns
    /// the first that is not newer than what is known of its key.
    ///
    /// Cost: less than entering them one by one, since the misses of the caches overlap, and no
    /// lock that is given back waits for them.
    pub(crate) fn enter_all(
        &mut self,
        versions: impl IntoIterator<Item = Entering>,
    ) -> Result<(), Location> {
        let mut versions = versions.into_iter();
        let mut together: SmallVec<[Entering; ENTERED_TOGETHER]> = SmallVec::new();
        let mut noted = Noted::default();
        let mut members: Option<(BucketId, Arc<Members>)> = None;
        loop {
            together.extend(versions.by_ref().take(ENTERED_TOGETHER));
            for entering in &together {
                self.unshared(entering.node.hash)
                    .prefetch(entering.node.hash);
            }
            let is_end = together.is_empty();
            for entering in together.drain(..) {
                let bucket = entering.node.bucket;
                if members.as_ref().is_none_or(|(of, _)| *of != bucket) {
                    if let Some((_, members)) = &members {
                        noted.give_to(members);
                    }
                    members = Some((bucket, self.members(bucket)));
                }
                if let Some((_, members)) = &members {
                    self.enter_one(members, entering, &mut noted)?;
                }
            }
            if let Some((_, members)) = &members {
                noted.give_to(members);
            }
            if is_end {
                return Ok(());
            }
        }
    }

    fn enter_one(
        &mut self,
        members: &Members,
        entering: Entering,
        noted: &mut Noted,
    ) -> Result<(), Location> {
        let Entering { node, location, .. } = entering;
        let (bucket, hash) = (node.bucket, node.hash);
        let key_bytes = node.key.len();
        let table = self.unshared(hash);
        if entering.is_superseded {
            let entered = enter_past(table, bucket, hash, &node.key, location, || {
                Arc::clone(&node)
            });
            self.count_superseded(key_bytes, &entered);
            if let Entered::New(node) = entered {
                noted.came.push(node);
            }
            return Ok(());
        }
        let entered = enter_newest(table, bucket, hash, &node.key, location, || {
            Arc::clone(&node)
        });
        self.count(members, key_bytes, &entered, &location);
        match entered {
            Entered::New(node) => {
                noted.uncompared.push(Arc::clone(&node));
                noted.came.push(node);
            }
            Entered::First(node) => noted.uncompared.push(node),
            Entered::Again(_) | Entered::Superseded => {}
            Entered::Refused => return Err(location),
        }
        Ok(())
    }

    /// The shard of a key, while nobody else knows the memtable.
    fn unshared(&mut self, hash: u64) -> &mut Table {
        self.shards[shard_number(hash)].0.get_mut()
    }

    /// Counts what entering a version added, and what the key counts for from now on.
    fn count(&self, members: &Members, key_bytes: usize, entered: &Entered, after: &Location) {
        let (before, added) = match entered {
            Entered::New(_) => (Location::NONE, node_bytes(key_bytes)),
            Entered::First(_) => (Location::NONE, VERSION_BYTES),
            Entered::Again(before) => (*before, VERSION_BYTES),
            Entered::Superseded | Entered::Refused => return,
        };
        members.count(key_bytes, &before, after);
        self.added(added);
    }

    fn count_superseded(&self, key_bytes: usize, entered: &Entered) {
        let node = match entered {
            Entered::New(_) => node_bytes(key_bytes),
            _ => 0,
        };
        self.added(node + VERSION_BYTES);
    }

    /// Counts a record; only the holder of the sequencer's lock does.
    fn added(&self, bytes: usize) {
        let add = |number: &AtomicUsize, more: usize| {
            number.store(number.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        };
        add(&self.bytes, bytes);
        add(&self.records, 1);
    }
}

fn enter_newest(
    table: &mut Table,
    bucket: BucketId,
    hash: u64,
    key: &[u8],
    after: Location,
    node: impl FnOnce() -> Arc<Node>,
) -> Entered {
    match table.entry(hash, |node| node.is(bucket, key)) {
        Entry::Known(node) => {
            let pushed = node.versions.lock().push(after);
            match pushed {
                None => Entered::Refused,
                Some(before) if before.version == 0 => Entered::First(Arc::clone(node)),
                Some(before) => Entered::Again(before),
            }
        }
        Entry::Vacant(vacant) => {
            let node = node();
            vacant.fill(Arc::clone(&node));
            Entered::New(node)
        }
    }
}

fn enter_past(
    table: &mut Table,
    bucket: BucketId,
    hash: u64,
    key: &[u8],
    location: Location,
    node: impl FnOnce() -> Arc<Node>,
) -> Entered {
    match table.entry(hash, |node| node.is(bucket, key)) {
        Entry::Known(node) => {
            node.versions.lock().add_superseded(location);
            Entered::Superseded
        }
        Entry::Vacant(vacant) => {
            let node = node();
            vacant.fill(Arc::clone(&node));
            Entered::New(node)
        }
    }
}

/// Versions whose places are fetched together.
const ENTERED_TOGETHER: usize = 32;

/// What each further version of a key takes, the first of them more than others.
const VERSION_BYTES: usize = 96;
