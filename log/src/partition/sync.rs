//! Syncing what was written: by the leader of a group that somebody waits for, or beside the
//! writers.
//!
//! `Buffered` batches wait for no sync, but the disk is kept busy with them: once a few megabytes
//! are not durable a thread of its own syncs them, while writers go on. Only who has written
//! [`BUFFERED_BYTES_MAX`] more than is durable waits, in the next sync.
//!
//! One sync at a time. The kernel tells of a failed writeback once, to the first sync that asks: if
//! two ran side by side, the one that is told might not be the one whose bytes were lost. So whoever
//! comes second waits, and then looks for poison before anything else.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex};

use super::tail::wake;
use super::{Active, Partition};
use crate::error::{Error, Result};
use crate::identity::Offset;
use crate::vfs::SyncSite;

/// The sync that makes batches durable.
pub(crate) const GROUP: SyncSite = SyncSite("group");

/// Bytes that are not durable at which a group of `Buffered` batches is synced all the same.
pub const BUFFERED_BYTES_MAX: u64 = 16 << 20;

/// Bytes that are not durable at which they are synced beside the writers. A fraction of the above,
/// so that a writer can go on for longer than the sync takes.
const BESIDE_BYTES: u64 = BUFFERED_BYTES_MAX / 4;

/// The wish for a sync beside the writers, and what keeps syncs apart.
#[derive(Debug, Default)]
pub(super) struct Syncing {
    /// Held for the length of each sync.
    one_at_a_time: Mutex<()>,
    /// From the wish to the end of the sync that it led to.
    is_wanted: AtomicBool,
    stopping: Mutex<bool>,
    changed: Condvar,
}

impl Partition {
    /// Called when a group has been written to `end`: sees to the sync that it, or the bytes before
    /// it, need.
    pub(super) fn see_to_sync(
        &self,
        active: &Active,
        end: Offset,
        is_waited_for: bool,
    ) -> Result<()> {
        let durable = self.durable();
        if durable >= end {
            return Ok(());
        }
        let unsynced = end.since(durable);
        if is_waited_for || unsynced > BUFFERED_BYTES_MAX {
            return self.sync_active(active, end);
        }
        if unsynced > BESIDE_BYTES {
            self.syncing.want();
        }
        // A sync beside this write may have failed since it began.
        self.check_poison()
    }

    /// Makes everything below `end` durable, which must all have been written to this segment.
    pub(super) fn sync_active(&self, active: &Active, end: Offset) -> Result<()> {
        let _alone = self.syncing.one_at_a_time.lock();
        // A sync that has just failed may have been told of these bytes.
        self.check_poison()?;
        if self.durable() >= end {
            return Ok(());
        }
        active.file.sync_data(GROUP).map_err(|error| {
            // Before anybody else may sync.
            self.poison_with(&Error::io("sync", active.segment.path(), error))
        })?;
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        active.segment.publish(end);
        self.durable.store(end.get(), Ordering::Release);
        self.visible.fetch_max(end.get(), Ordering::Release);
        Ok(())
    }

    /// Syncs what has been written, if writers are a few megabytes ahead of the disk. Says whether
    /// it did.
    ///
    /// # Errors
    ///
    /// A failed sync poisons the partition.
    pub fn step_sync(&self) -> Result<bool> {
        if !self.syncing.is_wanted.load(Ordering::Acquire) {
            return Ok(false);
        }
        let synced = self.sync_written();
        self.syncing.is_wanted.store(false, Ordering::Release);
        synced.map(|()| true)
    }

    /// Syncs what has been written, and nothing that is yet to be. Writers go on meanwhile.
    pub(super) fn sync_written(&self) -> Result<()> {
        let began_ms = self.elapsed_ms();
        let (active, end) = {
            // A segment is replaced under this lock together with what is written.
            let tail = self.tail.lock();
            let written = Offset::new(self.written.load(Ordering::Acquire));
            (tail.active.clone(), written)
        };
        let Some(active) = active else { return Ok(()) };
        if self.durable() >= end {
            return Ok(());
        }
        self.sync_active(&active, end)?;
        // What is not durable now was written after the look at the clock.
        self.unsynced_since_ms.store(began_ms, Ordering::Relaxed);
        let watchers = self.tail.lock().take_watchers(self.durable());
        wake(watchers);
        Ok(())
    }

    /// Loops [`Partition::step_sync`] until the partition stops.
    pub(crate) fn run_syncs(&self) {
        while self.syncing.wait_for_wish() {
            // A failure is told to every writer from now on.
            let _ = self.step_sync();
        }
    }

    /// Lets [`Partition::run_syncs`] end.
    pub(super) fn stop_syncs(&self) {
        *self.syncing.stopping.lock() = true;
        self.syncing.changed.notify_all();
    }
}

impl Syncing {
    fn want(&self) {
        if !self.is_wanted.load(Ordering::Relaxed) {
            // Under the lock, so that the thread is either asleep or has yet to look.
            let _stopping = self.stopping.lock();
            self.is_wanted.store(true, Ordering::Release);
            self.changed.notify_one();
        }
    }

    /// Waits for a wish; `false` once there will be none.
    fn wait_for_wish(&self) -> bool {
        let mut stopping = self.stopping.lock();
        while !*stopping && !self.is_wanted.load(Ordering::Acquire) {
            self.changed.wait(&mut stopping);
        }
        !*stopping
    }
}

#[cfg(test)]
mod tests;
