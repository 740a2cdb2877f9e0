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
//! # Parts
//!
//! * `sequence`: the order of a write;
//! * `buckets`: how buckets come and go;
//! * `read`: point reads;
//! * `replay`: how all of this is rebuilt at open.
//!
//! # Locks
//!
//! `sequencer` is held for the checks of a write, its append (a copy in memory) and its entry into
//! the memtable; never across a write, a sync, or a change of segments. Under it, in this order:
//! a shard or a bucket's notes, a node; `heads`, the pins. Readers never take it.

pub(crate) mod buckets;
mod heads;
mod read;
mod replay;
mod sequence;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::bucket::state::BucketState;
use crate::clock::BelievedClock;
use crate::error::Result;
use crate::index::memtable::{Memtable, Node};
use crate::index::pins::{Pin, Pins};
use crate::index::versions::Horizon;
use crate::version::Version;
use heads::Heads;

pub(crate) use sequence::Condition;

/// A partition's keys and the order of its writes. See the module.
pub(crate) struct Keyspace {
    log: Arc<cairn_log::Partition>,
    clock: Arc<BelievedClock>,
    memtable: Memtable,
    pins: Arc<Pins>,
    sequencer: Mutex<Sequencer>,
    heads: Mutex<Heads>,
    /// The end of the last batch that is entered whole.
    applied: AtomicU64,
    /// Buckets whose drop is sequenced and whose keys are still in the memtable.
    dropping: Mutex<Vec<Arc<BucketState>>>,
}

/// What only the thread that orders writes may touch.
#[derive(Default)]
struct Sequencer {
    /// Keys that were deleted, to be forgotten once nobody can see what was there; by version.
    deleted: VecDeque<Deleted>,
}

struct Deleted {
    version: u64,
    bucket: Arc<BucketState>,
    node: Arc<Node>,
}

impl Keyspace {
    pub(crate) fn new(log: Arc<cairn_log::Partition>, clock: Arc<BelievedClock>) -> Keyspace {
        Keyspace {
            applied: AtomicU64::new(log.end().get()),
            log,
            clock,
            memtable: Memtable::new(),
            pins: Pins::new(),
            sequencer: Mutex::default(),
            heads: Mutex::default(),
            dropping: Mutex::default(),
        }
    }

    /// The partition of the log below.
    pub(crate) fn log(&self) -> &Arc<cairn_log::Partition> {
        &self.log
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
        // Under the lock the watermark can't fall behind what the heads have settled.
        let heads = self.heads.lock();
        let pin = self.pins.pin(|| self.watermark());
        let version = Version::new(heads.below(pin.watermark()));
        (pin, version)
    }

    /// The version of the newest batch that readers see.
    pub(crate) fn head(&self) -> Version {
        let heads = self.heads.lock();
        Version::new(heads.below(self.watermark()))
    }

    /// The number of keys in the memtable, tombstones included.
    pub(crate) fn keys_in_memory(&self) -> usize {
        self.memtable.len()
    }

    /// Which versions must stay in the index.
    fn horizon(&self) -> Horizon {
        self.pins
            .horizon(|| self.watermark().min(self.log.durable().get()))
    }

    fn is_durable(&self, version: u64) -> bool {
        version < self.log.durable().get()
    }

    fn check_poison(&self) -> Result<()> {
        if self.log.is_poisoned() {
            // Only the log knows the cause.
            drop(self.log.barrier()?);
        }
        Ok(())
    }
}
