//! Which watermarks readers hold on to.
//!
//! A pin makes sure that the versions below its watermark which a reader would see stay in the
//! index while the reader works. Pins are taken by scans and multi-gets, for as long as they last.
//!
//! # No version is lost between looking and pinning
//!
//! A writer that drops versions first reads the partition's watermarks, then the pins. A reader
//! announces itself (`oldest` = 0), then reads the watermark it will pin. A fence stands between
//! the two steps on both sides, so either the writer sees the announcement, and waits at the lock
//! for the pin, or the reader's watermark is at least the one that the writer goes by.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::versions::Horizon;

/// The pins of one partition.
#[derive(Debug)]
pub(crate) struct Pins {
    /// Watermark -> how many pins hold it.
    held: Mutex<BTreeMap<u64, usize>>,
    /// The least of them, `u64::MAX` if there is none, 0 while one is being taken.
    oldest: AtomicU64,
}

/// A pinned watermark. Released on drop.
#[derive(Debug)]
pub(crate) struct Pin {
    pins: Arc<Pins>,
    watermark: u64,
}

impl Pins {
    pub(crate) fn new() -> Arc<Pins> {
        Arc::new(Pins {
            held: Mutex::default(),
            oldest: AtomicU64::new(u64::MAX),
        })
    }

    /// Pins the watermark that `read` returns.
    pub(crate) fn pin(self: &Arc<Pins>, read: impl FnOnce() -> u64) -> Pin {
        let mut held = self.held.lock();
        self.oldest.store(0, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let watermark = read();
        *held.entry(watermark).or_default() += 1;
        self.publish_oldest(&held);
        Pin {
            pins: Arc::clone(self),
            watermark,
        }
    }

    /// What may still be read, given that `read` returns the stable offset.
    pub(crate) fn horizon(&self, read: impl FnOnce() -> u64) -> Horizon {
        let stable = read();
        fence(Ordering::SeqCst);
        let mut pinned = SmallVec::new();
        if self.oldest.load(Ordering::SeqCst) < stable {
            pinned.extend(
                self.held
                    .lock()
                    .range(..stable)
                    .map(|(&watermark, _)| watermark),
            );
        }
        Horizon { stable, pinned }
    }

    fn publish_oldest(&self, held: &BTreeMap<u64, usize>) {
        let oldest = held.keys().next().copied().unwrap_or(u64::MAX);
        self.oldest.store(oldest, Ordering::SeqCst);
    }
}

impl Pin {
    pub(crate) fn watermark(&self) -> u64 {
        self.watermark
    }
}

impl Clone for Pin {
    fn clone(&self) -> Pin {
        *self.pins.held.lock().entry(self.watermark).or_default() += 1;
        Pin {
            pins: Arc::clone(&self.pins),
            watermark: self.watermark,
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut held = self.pins.held.lock();
        if let Some(count) = held.get_mut(&self.watermark) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.watermark);
            }
        }
        self.pins.publish_oldest(&held);
    }
}

#[cfg(test)]
mod tests;
