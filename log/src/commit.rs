//! Commits: waiting for a group of batches to be written and synced.
//!
//! Batches that arrive while a group is being written form the next **group**: one write, one
//! sync, one wake. A waiter that finds nobody leading leads in its own thread, so a lone writer
//! pays no hop and no timer delays anyone (natural group commit; Helland et al., "Group Commit
//! Timers and High Volume Transaction Systems", 1988, for the trade against timers).
//!
//! A group's `state` is a futex word. Every sleeper of a group is woken by one system call when
//! the group is done; when a leader finishes, exactly one sleeper of the next group is woken to
//! lead it.
//!
//! A [`Commit`] that is polled as a future, or dropped, has no thread of its own: its group is
//! handed to the partition's thread (or, without threads, to whoever calls the partition's step).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::partition::Partition;

/// A batch on its way. It completes once the batch has reached the durability asked for.
///
/// Dropping it never cancels the batch. Errors: [`Error::OutcomeUnknown`] if a write or sync
/// failed under it.
#[derive(Debug)]
#[must_use = "a batch is acknowledged only when its commit has completed"]
pub struct Commit {
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    partition: Arc<Partition>,
    group: Arc<Group>,
    handed_over: bool,
}

impl Commit {
    /// A commit that has completed already.
    pub(crate) fn completed() -> Commit {
        Commit { pending: None }
    }

    pub(crate) fn pending(partition: Arc<Partition>, group: Arc<Group>) -> Commit {
        Commit {
            pending: Some(Pending {
                partition,
                group,
                handed_over: false,
            }),
        }
    }

    /// Blocks until the batch is as durable as was asked for; leads the group if nobody does.
    pub fn wait(mut self) -> Result<()> {
        match self.pending.take() {
            Some(pending) => pending.partition.wait_for(&pending.group),
            None => Ok(()),
        }
    }
}

impl Future for Commit {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(pending) = &mut self.pending else {
            return Poll::Ready(Ok(()));
        };
        if let Some(outcome) = pending.group.outcome_or_register(context.waker()) {
            self.pending = None;
            return Poll::Ready(outcome);
        }
        if !pending.handed_over {
            pending.handed_over = true;
            pending.partition.hand_over(&pending.group);
        }
        Poll::Pending
    }
}

impl Drop for Commit {
    fn drop(&mut self) {
        if let Some(pending) = &self.pending
            && !pending.handed_over
            && pending.group.outcome().is_none()
        {
            pending.partition.hand_over(&pending.group);
        }
    }
}

/// The batches that are written and synced together.
#[derive(Debug, Default)]
pub(crate) struct Group {
    state: AtomicU32,
    sleepers: AtomicU32,
    wakers: Mutex<Vec<Waker>>,
    failure: OnceLock<Error>,
}

// A new group is 0: batches still join, and somebody leads or has yet to look.
/// Batches still join, and nobody leads: a waiter should.
const ELECTING: u32 = 1;
/// Being written.
pub(crate) const LEADING: u32 = 2;
const DONE: u32 = 3;
const FAILED: u32 = 4;

impl Group {
    pub(crate) fn state(&self) -> u32 {
        self.state.load(Ordering::Acquire)
    }

    /// How the group ended, if it has.
    fn outcome(&self) -> Option<Result<()>> {
        self.outcome_in(self.state())
    }

    /// How the group ended, if `state` is an end.
    pub(crate) fn outcome_in(&self, state: u32) -> Option<Result<()>> {
        match state {
            DONE => Some(Ok(())),
            FAILED => Some(Err(self.failure.get().cloned().unwrap_or_else(|| {
                Error::OutcomeUnknown {
                    cause: "the log failed".into(),
                }
            }))),
            _ => None,
        }
    }

    fn outcome_or_register(&self, waker: &Waker) -> Option<Result<()>> {
        let mut wakers = self.wakers.lock();
        let outcome = self.outcome();
        if outcome.is_none() && !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
        outcome
    }

    /// Sleeps until the state is no longer `seen`.
    pub(crate) fn sleep_while(&self, seen: u32) {
        // The increment comes before the kernel's own look at the state, and a waker changes the
        // state before it looks at the count: one of the two sees the other.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        atomic_wait::wait(&self.state, seen);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Asks one sleeper to lead.
    pub(crate) fn elect(&self) {
        self.state.store(ELECTING, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            atomic_wait::wake_one(&self.state);
        }
    }

    pub(crate) fn begin_leading(&self) {
        self.state.store(LEADING, Ordering::SeqCst);
    }

    /// Ends the group and wakes everybody who waits for it.
    pub(crate) fn finish(&self, outcome: Result<()>) {
        let state = match outcome {
            Ok(()) => DONE,
            Err(error) => {
                let _ = self.failure.set(error);
                FAILED
            }
        };
        self.state.store(state, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            atomic_wait::wake_all(&self.state);
        }
        let wakers = std::mem::take(&mut *self.wakers.lock());
        wakers.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests;
