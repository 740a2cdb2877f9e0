//! Scans of a transaction: what stood there when it began, and what it has written itself.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::sync::Arc;
use std::vec;

use bytes::Bytes;
use parking_lot::Mutex;

use super::scanned::Progress;
use crate::entry::Entry;
use crate::error::Result;
use crate::scan::Entries;

/// The keys and entries of a transaction's scan, in order.
///
/// It shows the moment at which the transaction began, with the transaction's own writes as they
/// were when the scan began. What it has given counts as read; see
/// [`Transaction`](super::Transaction).
pub struct TransactionEntries {
    stored: Entries,
    /// The next of what is stored.
    ahead: Option<(Bytes, Entry)>,
    own: Peekable<vec::IntoIter<Own>>,
    reverse: bool,
    remaining: usize,
    progress: Arc<Mutex<Progress>>,
}

/// A key that the transaction has written; nothing if it deletes it.
pub(super) type Own = (Bytes, Option<Entry>);

impl TransactionEntries {
    /// `stored` is not bound by the limit.
    pub(super) fn new(
        stored: Entries,
        own: Vec<Own>,
        reverse: bool,
        limit: Option<usize>,
        progress: Arc<Mutex<Progress>>,
    ) -> TransactionEntries {
        TransactionEntries {
            stored,
            ahead: None,
            own: own.into_iter().peekable(),
            reverse,
            remaining: limit.unwrap_or(usize::MAX),
            progress,
        }
    }

    fn advance(&mut self) -> Result<Option<(Bytes, Entry)>> {
        while self.remaining > 0 {
            if self.ahead.is_none() {
                self.ahead = self.stored.next().transpose()?;
            }
            let order = match (self.own.peek(), &self.ahead) {
                (None, None) => {
                    self.progress.lock().ended();
                    return Ok(None);
                }
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((own, _)), Some((stored, _))) if self.reverse => stored.cmp(own),
                (Some((own, _)), Some((stored, _))) => own.cmp(stored),
            };
            if order == Ordering::Greater {
                let row = self.ahead.take();
                if let Some((key, entry)) = &row {
                    let mut progress = self.progress.lock();
                    progress.gave(key);
                    if let Some(deadline_ms) = entry.expires_ms {
                        progress.gave_until(key, deadline_ms);
                    }
                }
                self.remaining -= 1;
                return Ok(row);
            }
            if order == Ordering::Equal {
                self.ahead = None;
            }
            if let Some((key, Some(entry))) = self.own.next() {
                self.progress.lock().gave(&key);
                self.remaining -= 1;
                return Ok(Some((key, entry)));
            }
        }
        Ok(None)
    }
}

impl Iterator for TransactionEntries {
    type Item = Result<(Bytes, Entry)>;

    /// The next key and its entry.
    ///
    /// # Errors
    ///
    /// Those of [`Entries`]. The scan ends after an error.
    fn next(&mut self) -> Option<Result<(Bytes, Entry)>> {
        let next = self.advance();
        if next.as_ref().is_ok_and(Option::is_some) {
            return next.transpose();
        }
        self.remaining = 0;
        next.transpose()
    }
}

impl std::iter::FusedIterator for TransactionEntries {}

impl std::fmt::Debug for TransactionEntries {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "TransactionEntries({:?})", self.stored)
    }
}
