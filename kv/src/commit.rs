//! A write on its way, and what it came to.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::version::{Durability, Version};

/// A write that has its place in the log, or an answer that rests on one.
///
/// Wait for it with [`Commit::wait`], or await it: it is a future that needs no executor of its
/// own. Dropping it cancels nothing.
///
/// # Errors
///
/// `OutcomeUnknown` if the log failed under the write; a refusal (such as `VersionMismatch`), once
/// what caused it is durable; `Poisoned` if that cause was lost.
#[must_use = "a write is acknowledged only when its commit has completed"]
pub struct Commit(State);

/// What a write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The version that all its operations share. If nothing had to be written (every operation
    /// deletes an absent key), the current version of the bucket.
    pub version: Version,
    /// What was reached.
    pub durability: Durability,
    /// Whether any key that the write deletes existed.
    pub existed: bool,
}

enum State {
    Pending { log: cairn_log::Commit, then: Then },
    Ready(Result<Receipt>),
    Taken,
}

/// What the log's commit means once it has completed.
pub(crate) enum Then {
    /// The batch is written.
    Written(Receipt),
    /// The cause of this refusal is durable.
    Refused(Error),
    /// The absence of all keys to delete is durable.
    Unchanged(Arc<Keyspace>, Durability),
}

impl Commit {
    pub(crate) fn pending(log: cairn_log::Commit, then: Then) -> Commit {
        Commit(State::Pending { log, then })
    }

    pub(crate) fn ready(then: Then) -> Commit {
        Commit(State::Ready(then.finish(Ok(()))))
    }

    /// The version of a write that has its place in the log, and can only be stopped by a failure.
    pub(crate) fn sequenced_as(&self) -> Option<Version> {
        match &self.0 {
            State::Pending {
                then: Then::Written(receipt),
                ..
            } => Some(receipt.version),
            _ => None,
        }
    }

    /// Blocks until the write is acknowledged or refused. The waiting thread itself writes and
    /// syncs the log if nobody else is doing so.
    ///
    /// # Errors
    ///
    /// Those of [`Commit`].
    pub fn wait(self) -> Result<Receipt> {
        match self.0 {
            State::Pending { log, then } => then.finish(log.wait()),
            State::Ready(outcome) => outcome,
            State::Taken => Err(taken()),
        }
    }
}

impl Future for Commit {
    type Output = Result<Receipt>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Receipt>> {
        let outcome = match &mut self.0 {
            State::Pending { log, .. } => match Pin::new(log).poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(outcome) => outcome,
            },
            State::Ready(_) | State::Taken => Ok(()),
        };
        Poll::Ready(match std::mem::replace(&mut self.0, State::Taken) {
            State::Pending { then, .. } => then.finish(outcome),
            State::Ready(outcome) => outcome,
            State::Taken => Err(taken()),
        })
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.0 {
            State::Pending { .. } => "pending",
            State::Ready(_) => "ready",
            State::Taken => "taken",
        };
        write!(formatter, "Commit({state})")
    }
}

impl Then {
    fn finish(self, outcome: cairn_log::Result<()>) -> Result<Receipt> {
        match (self, outcome) {
            (Then::Written(receipt), Ok(())) => Ok(receipt),
            (Then::Written(_), Err(error)) => Err(error.into()),
            (Then::Refused(refusal), Ok(())) => Err(refusal),
            (Then::Unchanged(keyspace, durability), Ok(())) => Ok(Receipt {
                version: keyspace.head(),
                durability,
                existed: false,
            }),
            (Then::Refused(_) | Then::Unchanged(..), Err(error)) => Err(Error::cause_lost(error)),
        }
    }
}

fn taken() -> Error {
    Error::invalid("the outcome of this commit was taken already")
}
