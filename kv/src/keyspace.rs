//! One partition of the store: its log, its keys, and the order of its writes.
//!
//! # Watermarks
//!
//! The log says up to where batches are *visible* (see `cairn_log::Partition`). A batch may become
//! visible there before the thread that sequenced it has entered it into the memtable, so a
//! keyspace keeps one more watermark: `applied`, the end of the last batch that is entered whole.
//! Readers go by the lesser of the two, and see each batch wholly or not at all. After a failure
//! of the log its visible watermark falls back to the durable one, and with it what readers see.
//!
//! # Readers and levels
//!
//! The [levels](crate::index::levels) are replaced as a whole when a segment begins, a run is
//! written or runs are merged. A reader takes them first and its watermark while they are the
//! current ones: then every version below the watermark is in them, and stays. Only sealed, hence
//! durable and visible, segments are ever below the memtables, so no watermark is below what is
//! merged.
//!
//! # Parts
//!
//! * `sequence`: the order of a write;
//! * `recent`: what was written lately, for transactions that have scanned;
//! * `buckets`: how buckets come and go;
//! * `read`: point reads;
//! * `count`: how many keys there are;
//! * `open`: how all of this is rebuilt at open;
//! * `replay`: how a segment becomes a memtable again;
//! * `maintain`: which work on the index is next;
//! * `runs`: how a memtable becomes a run;
//! * `repair`: index files that are of no use;
//! * `merge`: how runs become one index;
//! * `pace`: who waits for whom;
//! * `signal`: how the thread that writes index files is woken;
//! * `history`: reads of the past, and how far they reach;
//! * `snapshots`: moments of the past that are kept by name;
//! * `gc`: how the space of what is dead is given back;
//! * `status`: what all of this has come to;
//! * `sweep`: tombstones for keys whose deadline has passed;
//! * `pieces`: tombstones for the pieces of large values that are gone;
//! * `retention`: tombstones for records of topics that are too old or too many;
//! * `warm`: how what is merged comes into the hot index;
//! * `verify`: whether every byte is what was written.
//!
//! # Locks
//!
//! `sequencer` is held for the checks of a write, its append (a copy in memory) and its entry into
//! the memtable; never across a write, a sync, or a change of segments. Under it, in this order:
//! `levels`; a shard, a node; a bucket's members; `snapshots`; `recent`; `heads`. Readers never take it. `maintenance` is
//! held while index files are written; nobody waits for it, and a writer that is two segments ahead
//! of the runs only tries. It comes before the sequencer.

pub(crate) mod buckets;
mod count;
mod gc;
mod heads;
mod history;
mod maintain;
mod merge;
mod open;
mod pace;
mod pieces;
mod read;
pub(crate) mod recent;
mod repair;
mod replay;
mod retention;
mod runs;
pub(crate) mod sequence;
mod signal;
mod snapshots;
mod space;
mod status;
mod sweep;
#[cfg(test)]
mod testing;
mod verify;
mod warm;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard, RwLock};

use crate::bucket::state::BucketState;
use crate::clock::BelievedClock;
use crate::error::Result;
use crate::index::hash::HashSeed;
use crate::index::hot::HotIndex;
use crate::index::levels::Levels;
use crate::index::members::Members;
use crate::index::memtable::Memtable;
use crate::index::run::Run;
use crate::index::walk::Archive;
use crate::large::Uses;
use crate::options::IndexOptions;
use crate::record::BucketId;
use crate::snapshot::pins::Pins;
use crate::version::Version;
use crate::watch::watchers::Watchers;
use heads::Heads;
use maintain::Maintenance;
use recent::Recent;

pub(crate) use sequence::Condition;
pub(crate) use signal::Signal;

/// A partition's keys and the order of its writes. See the module.
pub(crate) struct Keyspace {
    log: Arc<cairn_log::Partition>,
    clock: Arc<BelievedClock>,
    options: IndexOptions,
    seed: HashSeed,
    levels: RwLock<Arc<Levels>>,
    hot: HotIndex,
    /// Uploads whose pieces somebody writes or reads.
    uses: Uses,
    sequencer: Mutex<Sequencer>,
    /// The keys written while a transaction has to know.
    recent: Recent,
    heads: Mutex<Heads>,
    /// The end of the last batch that is entered whole.
    applied: AtomicU64,
    /// Buckets whose drop is sequenced and may not be visible yet.
    dropping: Mutex<Vec<Arc<BucketState>>>,
    maintenance: Mutex<Maintenance>,
    watchers: Watchers,
    figures: status::Figures,
    signal: Signal,
    /// Superseded versions that nobody at or above it sees may be gone.
    floor: AtomicU64,
    /// Before it no deadline passes; `u64::MAX` if none is known.
    next_deadline_ms: AtomicU64,
    /// The snapshots that are sequenced. Changed under the sequencer's lock.
    snapshots: Mutex<Pins>,
    /// The buckets that are neither dropped nor unknown to the catalogue.
    live: Mutex<Vec<Arc<BucketState>>>,
    /// How many segments garbage collection has yet to empty.
    victims: AtomicUsize,
    /// What is alive of the merged segments, as note_victims found it.
    live_bytes: AtomicU64,
    /// Garbage about which writers could do nothing when they last looked.
    accepted_garbage: AtomicU64,
    /// Reads that found their key in the merged index, since it was last offered to the hot index.
    cold_reads: AtomicU64,
    /// As many of them as have it offered.
    cold_reads_due: AtomicU64,
    /// Levels that have been replaced and may still be in use.
    superseded_levels: Mutex<Vec<Weak<Levels>>>,
    /// The runs of merged segments that were asked for, by the base of their segment.
    archive: Mutex<BTreeMap<u64, Arc<Run>>>,
}

/// What only the thread that orders writes may touch.
struct Sequencer {
    /// The first memtable of the levels.
    memtable: Arc<Memtable>,
    /// The keys in it of the bucket that was written last.
    members: Option<(BucketId, Arc<Members>)>,
}

/// What a reader holds on to: everything that is visible at one moment.
#[derive(Clone)]
pub(crate) struct Pin {
    pub(crate) levels: Arc<Levels>,
    /// The levels that those stand for, once they had to be repaired: garbage collection leaves the
    /// segments of levels that were current once, and knows no others.
    pub(crate) first: Option<Arc<Levels>>,
    pub(crate) watermark: u64,
    /// Of a moment in the past: its time, and the runs of what is merged.
    pub(crate) past: Option<Past>,
}

/// What it takes to read the past.
#[derive(Clone)]
pub(crate) struct Past {
    pub(crate) time_ms: u64,
    pub(crate) archive: Archive,
}

impl Keyspace {
    /// The partition of the log below.
    pub(crate) fn log(&self) -> &Arc<cairn_log::Partition> {
        &self.log
    }

    /// Uploads whose pieces somebody writes or reads.
    pub(crate) fn uses(&self) -> &Uses {
        &self.uses
    }

    /// What snapshots hold.
    pub(crate) fn pins(&self) -> MutexGuard<'_, Pins> {
        self.snapshots.lock()
    }

    pub(crate) fn clock(&self) -> &BelievedClock {
        &self.clock
    }

    /// Readers see the batches below this offset.
    pub(crate) fn watermark(&self) -> u64 {
        // The log may show a batch before it is applied, never the other way round for long.
        let applied = self.applied.load(Ordering::Acquire);
        self.log.visible().get().min(applied)
    }

    /// Pins what readers see now, and tells it as a version.
    pub(crate) fn pin(&self) -> (Pin, Version) {
        let levels = self.levels.read();
        // Under the lock the watermark can't fall behind what the heads have settled.
        let heads = self.heads.lock();
        let watermark = self.watermark();
        let version = Version::new(heads.below(watermark));
        let levels = Arc::clone(&levels);
        let pin = Pin {
            levels,
            first: None,
            watermark,
            past: None,
        };
        (pin, version)
    }

    /// The version of the newest batch that readers see.
    pub(crate) fn head(&self) -> Version {
        let heads = self.heads.lock();
        Version::new(heads.below(self.watermark()))
    }

    /// The version of the newest batch that is durable and that readers see, and where it ends or
    /// later, with nothing in between.
    pub(crate) fn durable_head(&self) -> (u64, u64) {
        let heads = self.heads.lock();
        let settled = self.settled();
        (heads.below(settled), settled)
    }

    /// The version of the newest batch that has its place, durable or not.
    pub(crate) fn newest_sequenced(&self) -> u64 {
        self.heads.lock().newest()
    }

    /// Returns once readers see every batch below `end`, all of which are durable: at the latest a
    /// moment after that, when the thread that sequenced the last one has entered it.
    pub(crate) fn wait_visible(&self, end: u64) {
        while self.watermark() < end {
            drop(self.sequencer.lock());
            std::thread::yield_now();
        }
    }

    /// The watches of the partition.
    pub(crate) fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    /// The number of keys in the memtables, tombstones included.
    pub(crate) fn keys_in_memory(&self) -> usize {
        let levels = self.levels.read();
        levels.memtables.iter().map(|memtable| memtable.len()).sum()
    }

    /// Everything below is durable and visible, and stays so.
    fn settled(&self) -> u64 {
        self.watermark().min(self.log.durable().get())
    }

    /// Buckets whose drop is not sequenced.
    fn live_buckets(&self) -> Vec<Arc<BucketState>> {
        let mut live = self.live.lock();
        live.retain(|bucket| bucket.dropped().is_none());
        live.clone()
    }

    pub(crate) fn is_durable(&self, version: u64) -> bool {
        version < self.log.durable().get()
    }

    pub(crate) fn check_poison(&self) -> Result<()> {
        if self.log.is_poisoned() {
            // Only the log knows the cause.
            drop(self.log.barrier()?);
        }
        Ok(())
    }
}
