//! Reads of what is not in memory.
//!
//! A record that the page cache does not hold comes in by page faults, one after another: one of
//! 4 KiB lies on two pages and waits for the disk twice. So where reads are found to wait, those that follow ask
//! for their pages beforehand, all of a record's at once ([`Map::will_need`](crate::vfs::Map)).
//!
//! Asking is a system call, which a read from memory is too fast to pay. What tells is time: while
//! reads are warm, one in [`SAMPLE`] is timed, chosen by its place so that threads share nothing,
//! and one that took longer than memory takes makes the next [`GRANTED`] reads cold. Those are all
//! timed, and each that waits grants as many again: asking goes on while one read in so many waits,
//! which is about where it costs what it saves.
//!
//! Time is the injected clock's: where it stands still, all reads are warm.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::Partition;
use crate::frame::RECORD_HEADER_BYTES;
use crate::identity::Offset;
use crate::segment::Segment;

/// What is known of the reads before.
#[derive(Debug)]
pub(super) struct Coldness {
    /// Reads that are still to ask beforehand.
    granted: AtomicU32,
    /// How long the newest cold record was, header included: the next one is likely as long.
    record_bytes: AtomicU64,
}

/// A read that is timed.
pub(super) struct Timed(Duration);

impl Default for Coldness {
    /// What was just opened may be nowhere but on the disk.
    fn default() -> Coldness {
        Coldness {
            granted: AtomicU32::new(GRANTED),
            record_bytes: AtomicU64::new(0),
        }
    }
}

impl Coldness {
    fn is_cold(&self) -> bool {
        self.granted.load(Ordering::Relaxed) > 0
    }

    /// Takes one of the reads that were granted, if there is one.
    fn spend(&self) -> bool {
        let left = self.granted.load(Ordering::Relaxed);
        if left > 0 {
            // Of two who take the same one, neither is wrong.
            self.granted.store(left - 1, Ordering::Relaxed);
        }
        left > 0
    }

    /// A timed read took so long.
    fn took(&self, time: Duration) {
        if time >= WAITED {
            self.granted.store(GRANTED, Ordering::Relaxed);
        }
    }
}

impl Partition {
    /// Before the record at `offset` is read: asks for its pages if reads are cold, and begins to
    /// time the read if it counts.
    pub(super) fn before_read(&self, segment: &Segment, offset: Offset) -> Option<Timed> {
        if !self.coldness.is_cold() && !is_sampled(offset) {
            return None;
        }
        let began = self.options.clock.elapsed();
        if self.coldness.spend() {
            self.ask(segment, offset);
        }
        Some(Timed(began))
    }

    /// Before records far from one another are touched, `first` the first of them: begins to time
    /// that if it counts.
    pub(super) fn before_touches(&self, first: Offset) -> Option<Timed> {
        let counts = self.coldness.is_cold() || is_sampled(first);
        counts.then(|| Timed(self.options.clock.elapsed()))
    }

    /// Asks for a record that is to be touched; false if reads are warm.
    pub(super) fn ask_before_touch(&self, segment: &Segment, offset: Offset) -> bool {
        let is_cold = self.coldness.spend();
        if is_cold {
            self.ask(segment, offset);
        }
        is_cold
    }

    /// After all of them were touched.
    pub(super) fn after_touches(&self, timed: Option<Timed>) {
        if let Some(Timed(began)) = timed {
            let took = self.options.clock.elapsed().saturating_sub(began);
            self.coldness.took(took / TOUCHES_A_WAIT);
        }
    }

    fn ask(&self, segment: &Segment, offset: Offset) {
        let bytes = self.coldness.record_bytes.load(Ordering::Relaxed);
        segment.will_need(offset, bytes.max(RECORD_HEADER_BYTES as u64));
    }

    /// After a record with a payload of so many bytes was read.
    pub(super) fn after_read(&self, timed: Option<Timed>, payload_bytes: usize) {
        if let Some(Timed(began)) = timed {
            let took = self.options.clock.elapsed().saturating_sub(began);
            self.coldness.took(took);
            let bytes = (RECORD_HEADER_BYTES + payload_bytes) as u64;
            self.coldness
                .record_bytes
                .store(bytes.min(ASKED_BYTES_MAX), Ordering::Relaxed);
        }
    }
}

/// Whether a warm read of this place is timed.
fn is_sampled(offset: Offset) -> bool {
    // Records begin at multiples of eight or close to them; the high bits of the product depend on
    // all bits of the place (Knuth's multiplicative hash).
    offset.get().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SAMPLE.ilog2()) == 0
}

/// One warm read in so many is timed.
const SAMPLE: u32 = 64;

/// So many reads ask beforehand once one has waited.
const GRANTED: u32 = 64;

/// A record from memory takes a microsecond or two, of 64 KiB some five; a disk ten at the least.
const WAITED: Duration = Duration::from_micros(20);

/// The touches of some dozen warm records take as long as so many reads.
const TOUCHES_A_WAIT: u32 = 4;

/// Nobody asks for more before it is known how long the record is.
const ASKED_BYTES_MAX: u64 = 64 << 10;

#[cfg(test)]
mod tests;
