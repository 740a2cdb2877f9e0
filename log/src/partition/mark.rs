//! Marks: what the superblock vouches for while the partition is open, idle and closed.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Partition;
use crate::error::Result;
use crate::identity::Offset;
use crate::recovery::START;
use crate::vfs::SyncSite;

/// The superblock says "open" before the first frame after a clean close.
pub(crate) const ARM: SyncSite = SyncSite("superblock armed");
/// The superblock vouches for the durable offset of an idle partition.
pub(crate) const IDLE: SyncSite = SyncSite("superblock idle mark");
/// The superblock says "closed".
pub(crate) const CLOSE: SyncSite = SyncSite("superblock closed");

/// How long a partition has written nothing before its durable offset is marked.
const IDLE_MS: u64 = 1_000;

impl Partition {
    /// Makes the superblock say "open", once, before the first frame.
    pub(super) fn arm(&self) -> Result<()> {
        if self.tail.lock().armed {
            return Ok(());
        }
        {
            let mut superblock = self.superblock.lock();
            if superblock.1.closed {
                superblock.1.closed = false;
                let (slots, block) = &mut *superblock;
                slots
                    .write(&block.encode(), ARM)
                    .map_err(|error| self.poison_with(&error))?;
            }
        }
        self.tail.lock().armed = true;
        Ok(())
    }

    /// Syncs what `Buffered` batches left unsynced for longer than
    /// [`crate::Options::buffered_sync`], and marks the durable offset of a partition that has
    /// been idle for a second. Says whether it did anything.
    ///
    /// # Errors
    ///
    /// A failed sync or mark poisons the partition.
    pub fn step_idle(&self) -> Result<bool> {
        let since = |moment_ms: &AtomicU64| {
            let moment_ms = moment_ms.load(Ordering::Relaxed);
            self.elapsed_ms().saturating_sub(moment_ms)
        };
        let unsynced = self.written.load(Ordering::Acquire) > self.durable.load(Ordering::Acquire);
        let unsynced_ms = u128::from(since(&self.unsynced_since_ms));
        if unsynced && unsynced_ms >= self.options.buffered_sync.as_millis() {
            self.sync_written()?;
            return Ok(true);
        }
        if since(&self.written_at_ms) < IDLE_MS || unsynced || self.is_poisoned() {
            return Ok(false);
        }
        let mut superblock = self.superblock.lock();
        let durable = self.markable();
        if superblock.1.marked >= durable || superblock.1.closed {
            return Ok(false);
        }
        let (slots, block) = &mut *superblock;
        block.marked = durable;
        block.time_ms = self.mark_time_ms();
        slots
            .write(&block.encode(), IDLE)
            .map_err(|error| self.poison_with(&error))?;
        Ok(true)
    }

    /// Drains, and marks a clean close. Later appends are refused. A poisoned partition is left as
    /// it is: its close counts as unclean.
    ///
    /// # Errors
    ///
    /// What draining or marking failed with.
    pub fn close(&self) -> Result<()> {
        {
            let mut tail = self.tail.lock();
            if tail.stopping {
                return Ok(());
            }
            while tail.rolling {
                self.changed.wait(&mut tail);
            }
            tail.stopping = true;
        }
        self.changed.notify_all();
        self.stop_syncs();
        self.wake_watchers();
        self.finish_drops();
        self.give_back_unused();
        self.drain()?;
        self.spares.lock().clear(self.vfs.as_ref());
        let mut superblock = self.superblock.lock();
        let (slots, block) = &mut *superblock;
        if block.closed {
            return Ok(());
        }
        block.closed = true;
        block.marked = self.markable();
        block.time_ms = self.mark_time_ms();
        slots
            .write(&block.encode(), CLOSE)
            .map_err(|error| self.poison_with(&error))
    }

    /// Lets the partition's threads end, also without a close.
    pub(crate) fn stop(&self) {
        self.tail.lock().stopping = true;
        self.changed.notify_all();
        self.stop_syncs();
        self.wake_watchers();
        self.finish_drops();
    }

    /// The durable offset; without a segment there is nothing to vouch for, wherever appends will
    /// resume, and a mark above the start would say that segments are missing.
    fn markable(&self) -> Offset {
        if self.segments.read().is_empty() {
            return START;
        }
        self.durable()
    }

    pub(super) fn mark_time_ms(&self) -> u64 {
        self.newest_time_ms
            .load(Ordering::Relaxed)
            .max(self.options.clock.now_ms())
    }
}
