//! Leading a group: one write, one sync, one wake.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use super::tail::wake;
use super::{Active, OpenGroup, Partition, Tail};
use crate::commit::{Group, LEADING};
use crate::error::{Error, Result};
use crate::frame::seal_header;
use crate::identity::Offset;

/// The largest buffer that is kept between groups however little of it they fill.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

impl Partition {
    /// Blocks until the group has ended, leading it if nobody does.
    pub(crate) fn wait_for(&self, group: &Arc<Group>) -> Result<()> {
        loop {
            // One look decides: a second one might see the end and sleep on it.
            let seen = group.state();
            if let Some(outcome) = group.outcome_in(seen) {
                return outcome;
            }
            if seen != LEADING {
                let tail = self.tail.lock();
                if tail.may_lead(group) {
                    self.lead(tail);
                    continue;
                }
            }
            group.sleep_while(seen);
        }
    }

    /// Gives a group without a waiting thread to whoever steps the partition.
    pub(crate) fn hand_over(&self, group: &Arc<Group>) {
        let mut tail = self.tail.lock();
        if let Some(open) = &mut tail.open
            && Arc::ptr_eq(&open.group, group)
            && !open.handed_over
        {
            open.handed_over = true;
            self.changed.notify_all();
        }
    }

    /// Leads the open group if it was handed over and nobody leads; says whether it did.
    pub fn step_commit(&self) -> bool {
        let tail = self.tail.lock();
        if !tail.has_work() {
            return false;
        }
        self.lead(tail);
        true
    }

    /// Loops [`Partition::step_commit`] until the partition stops.
    pub(crate) fn run_commits(&self) {
        loop {
            let mut tail = self.tail.lock();
            while !tail.has_work() {
                if tail.stopping && tail.open.is_none() {
                    return;
                }
                self.changed.wait(&mut tail);
            }
            self.lead(tail);
        }
    }

    /// Writes and syncs the open group. The caller has seen that nobody leads.
    pub(super) fn lead(&self, mut tail: MutexGuard<'_, Tail>) {
        let Some(active) = tail.active.clone() else {
            // Nothing was ever appended, so there is nothing to make durable.
            let open = tail.open.take();
            drop(tail);
            if let Some(open) = open {
                open.group.finish(Ok(()));
            }
            return;
        };
        tail.leading = true;
        let mut tail = self.gather(tail);
        let Some(mut open) = tail.open.take() else {
            tail.leading = false;
            return;
        };
        self.waiting.store(0, Ordering::Relaxed);
        open.group.begin_leading();
        drop(tail);

        // Who waits for no sync is not worth a look at the clock.
        let began = open.needs_sync.then(|| self.options.clock.elapsed());
        let outcome = self
            .write_group(&active, &mut open)
            .map_err(|error| self.poison_with(&error));

        let mut tail = self.tail.lock();
        tail.leading = false;
        if let Some(began) = began {
            let waiting = tail.open.as_ref().map_or(0, |open| open.waiting);
            let now = self.options.clock.elapsed();
            tail.gathering.ended(open.waiting, waiting, began, now);
        }
        tail.keep_buffer(std::mem::take(&mut open.bytes));
        let mut abandoned = None;
        if outcome.is_err() {
            abandoned = tail.open.take().map(|open| open.group);
        } else if let Some(next) = &tail.open {
            // The next leader starts before the waiters of this group are woken, so the disk does
            // not wait for them.
            next.group.elect();
        }
        let watchers = tail.take_watchers(self.durable());
        let wake_others = tail.rolling || tail.stopping || tail.has_work();
        drop(tail);
        if wake_others {
            self.changed.notify_all();
        }
        if let (Some(group), Err(error)) = (abandoned, &outcome) {
            group.finish(Err(error.clone()));
        }
        open.group.finish(outcome);
        wake(watchers);
    }

    fn write_group(&self, active: &Active, open: &mut OpenGroup) -> Result<()> {
        self.check_poison()?;
        let segment = &active.segment;
        let end = open.base.plus(open.bytes.len() as u64);
        let synced = self.durable();
        if !open.bytes.is_empty() {
            open.seal(synced, active);
            active
                .file
                .write_at(&open.bytes, segment.position(open.base))
                .map_err(|error| Error::io("write", segment.path(), error))?;
            let now_ms = self.elapsed_ms();
            self.written_at_ms.store(now_ms, Ordering::Relaxed);
            if synced == open.base {
                self.unsynced_since_ms.store(now_ms, Ordering::Relaxed);
            }
            self.written.store(end.get(), Ordering::Release);
            self.counters.writes.fetch_add(1, Ordering::Relaxed);
            self.counters
                .batches
                .fetch_add(open.starts.len() as u64, Ordering::Relaxed);
            self.counters
                .bytes
                .fetch_add(open.bytes.len() as u64, Ordering::Relaxed);
            let visible = open.first_local.unwrap_or(end);
            self.visible.fetch_max(visible.get(), Ordering::Release);
        }
        self.see_to_sync(active, end, open.needs_sync)
    }

    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.options.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl OpenGroup {
    fn seal(&mut self, synced: Offset, active: &Active) {
        let seed = active.segment.seed();
        for &start in &self.starts {
            let offset = self.base.plus(u64::from(start));
            seal_header(&mut self.bytes[start as usize..], offset, seed, synced);
        }
    }
}

impl Tail {
    fn may_lead(&self, group: &Arc<Group>) -> bool {
        !self.leading
            && self
                .open
                .as_ref()
                .is_some_and(|open| Arc::ptr_eq(&open.group, group))
    }

    /// Whether a group waits for a thread that is not its own.
    fn has_work(&self) -> bool {
        !self.leading && self.open.as_ref().is_some_and(|open| open.handed_over)
    }

    /// Keeps the buffer of a group for one to come. A large one stays for as long as groups fill
    /// some of it: to grow one anew for each costs copies, and leaves the allocator of every thread
    /// that does with one more.
    fn keep_buffer(&mut self, mut bytes: Vec<u8>) {
        let is_used = bytes.capacity() <= BUFFER_BYTES_KEPT.max(bytes.len().saturating_mul(4));
        if is_used && bytes.capacity() > self.buffer.capacity() {
            bytes.clear();
            self.buffer = bytes;
        }
    }
}
