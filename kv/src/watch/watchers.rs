//! Where the watches of a partition stand, and the pins that keep what they have not seen.
//!
//! A watch only notes its position, which costs it a store. Its pin follows when somebody calls
//! [`Watchers::move_pins`]: whoever maintains the partition does, when a segment was begun and
//! before one is dropped. So a watch that is not polled is found to lag all the same, and one that
//! is quiet holds no old segment.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use cairn_log::{Offset, Partition, SegmentPin, SegmentSpan};
use parking_lot::Mutex;

/// The watches of a partition.
#[derive(Debug, Default)]
pub(crate) struct Watchers(Mutex<Vec<Weak<Watcher>>>);

/// One watch: its position and, unless it lags too far behind, its pin.
#[derive(Debug)]
pub(crate) struct Watcher {
    position: AtomicU64,
    lag_bytes: u64,
    pin: Mutex<Option<SegmentPin>>,
}

impl Watchers {
    /// Enters a watch that has everything above `position` before it. It counts until it is
    /// dropped.
    pub(crate) fn enter(&self, log: &Partition, position: Offset, lag_bytes: u64) -> Arc<Watcher> {
        let watcher = Arc::new(Watcher {
            position: AtomicU64::new(position.get()),
            lag_bytes,
            pin: Mutex::new(Some(log.pin(position))),
        });
        watcher.move_pin(log, &log.segments());
        let mut watchers = self.0.lock();
        watchers.retain(|watcher| watcher.strong_count() > 0);
        watchers.push(Arc::downgrade(&watcher));
        watcher
    }

    /// Lets go of what watches have seen, and of what is too far ahead of those that lag.
    ///
    /// Cost: nothing to speak of without watches; a short lock each otherwise, and the wait for a
    /// drop under way.
    pub(crate) fn move_pins(&self, log: &Partition) {
        let watchers: Vec<_> = self.0.lock().iter().filter_map(Weak::upgrade).collect();
        if watchers.is_empty() {
            return;
        }
        let spans = log.segments();
        for watcher in watchers {
            watcher.move_pin(log, &spans);
        }
    }

    /// How many watches there are, and the bytes of log before the one that has the most to see.
    pub(crate) fn lag(&self, log: &Partition) -> (usize, u64) {
        let watchers: Vec<_> = self.0.lock().iter().filter_map(Weak::upgrade).collect();
        if watchers.is_empty() {
            return (0, 0);
        }
        let spans = log.segments();
        let lag = |watcher: &Arc<Watcher>| {
            let position = watcher.position.load(Ordering::Acquire);
            bytes_above(&spans, Offset::new(position))
        };
        (watchers.len(), watchers.iter().map(lag).max().unwrap_or(0))
    }
}

impl Watcher {
    /// Notes that everything below `position` was yielded.
    pub(crate) fn move_to(&self, position: Offset) {
        self.position.store(position.get(), Ordering::Release);
    }

    fn move_pin(&self, log: &Partition, spans: &[SegmentSpan]) {
        let position = Offset::new(self.position.load(Ordering::Acquire));
        let mut pin = self.pin.lock();
        if bytes_above(spans, position) > self.lag_bytes {
            *pin = None;
        } else if pin.is_none() && position < log.dropped_end() {
            // Cut off: what it has not seen is gone in part, and the rest is no use to it.
        } else if pin.as_ref().is_none_or(|pin| pin.from() < position) {
            // The new one is taken before the old one goes.
            *pin = Some(log.pin(position));
        }
    }
}

fn bytes_above(spans: &[SegmentSpan], position: Offset) -> u64 {
    spans
        .iter()
        .map(|span| span.end.get().saturating_sub(span.base.max(position).get()))
        .sum()
}
