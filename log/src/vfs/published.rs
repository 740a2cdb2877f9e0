//! What a handle knows of its map: which bytes are published, and so never change again.
//!
//! A [`Published`] belongs to one open handle and is shared with the map that the handle makes.
//! It upholds two promises on which the soundness of a real map rests:
//!
//! * the published end never moves back, and never covers a byte that a write of the same handle
//!   is changing at that moment, that lies past the map, or that a cut has taken from the file;
//! * a write or a cut of the handle that would touch a published byte is refused before it starts.
//!
//! It knows nothing of other handles on the same file: the store opens each file once.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// No file is longer, in bytes: file offsets are signed.
pub(super) const FILE_BYTES_MAX: u64 = i64::MAX.unsigned_abs();

/// The watermark of one handle. Nothing is mapped at first.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// The end of the published bytes; meaningful only to a map, which knows its start.
    end: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The mapped bytes that the file still has; a cut shortens it for good.
    mapped: Option<Range<u64>>,
    /// The ranges that are being written now.
    writes: Vec<Range<u64>>,
}

impl Published {
    /// Runs `map`, which maps `range`; `AlreadyExists` if the handle has a map, `InvalidInput` if
    /// the range ends before it starts. Cuts wait meanwhile.
    pub(super) fn map<T>(
        &self,
        range: Range<u64>,
        map: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.state.lock();
        if range.start > range.end {
            return Err(refused("a map ends before it starts"));
        }
        if state.mapped.is_some() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the handle has a map",
            ));
        }
        let map = map()?;
        self.end.store(range.start, Ordering::Release);
        state.mapped = Some(range);
        Ok(map)
    }

    /// Moves the published end up to `end`, as far as the promises above allow.
    pub(super) fn publish(&self, end: u64) {
        let state = self.state.lock();
        let Some(mapped) = &state.mapped else { return };
        let now = self.end.load(Ordering::Relaxed);
        let unfinished = state.writes.iter().filter(|write| write.end > now);
        let first_change = unfinished
            .map(|write| write.start)
            .min()
            .unwrap_or(u64::MAX);
        let end = end.min(mapped.end).min(first_change);
        if end > now {
            // Release: pairs with `covers`, so that a reader who sees the end sees the bytes.
            self.end.store(end, Ordering::Release);
        }
    }

    /// Whether all of `range` is published in a map that starts at `map_start`.
    pub(super) fn covers(&self, map_start: u64, range: &Range<u64>) -> bool {
        map_start <= range.start
            && range.start <= range.end
            && range.end <= self.end.load(Ordering::Acquire)
    }

    /// Whether `range` meets a published byte.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn meets(&self, range: &Range<u64>) -> bool {
        self.state
            .lock()
            .mapped
            .as_ref()
            .is_some_and(|mapped| self.overlaps(mapped, range))
    }

    /// Registers a write; `InvalidInput` if it meets published bytes or ends past what a file can
    /// hold. The bytes may change until the guard is dropped.
    pub(super) fn begin_write(&self, offset: u64, length: usize) -> io::Result<WriteInFlight<'_>> {
        let end = u64::try_from(length)
            .ok()
            .and_then(|length| offset.checked_add(length));
        let end = end.filter(|end| *end <= FILE_BYTES_MAX);
        let range = offset..end.ok_or_else(|| refused("a write ends past what a file can hold"))?;
        let mut state = self.state.lock();
        if state
            .mapped
            .as_ref()
            .is_some_and(|mapped| self.overlaps(mapped, &range))
        {
            return Err(refused("a write meets published bytes"));
        }
        state.writes.push(range.clone());
        Ok(WriteInFlight {
            published: self,
            range,
        })
    }

    /// Runs `cut`, which sets the file's length; `InvalidInput` if that would cut off published
    /// bytes or is past what a file can hold. Publishing waits meanwhile.
    pub(super) fn cut(&self, length: u64, cut: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if length > FILE_BYTES_MAX {
            return Err(refused("a length past what a file can hold"));
        }
        let mut state = self.state.lock();
        if let Some(mapped) = &mut state.mapped {
            if self.overlaps(mapped, &(length..u64::MAX)) {
                return Err(refused("a cut meets published bytes"));
            }
            // Before the cut: bytes that a failed cut may have taken can't be published either.
            mapped.end = mapped.end.min(length);
        }
        cut()
    }

    fn overlaps(&self, mapped: &Range<u64>, range: &Range<u64>) -> bool {
        let end = self.end.load(Ordering::Relaxed);
        range.start < end && mapped.start < range.end && range.start < range.end
    }
}

/// A write that has started and not ended.
#[derive(Debug)]
pub(super) struct WriteInFlight<'a> {
    published: &'a Published,
    range: Range<u64>,
}

impl Drop for WriteInFlight<'_> {
    fn drop(&mut self) {
        let mut state = self.published.state.lock();
        if let Some(at) = state.writes.iter().position(|write| *write == self.range) {
            state.writes.swap_remove(at);
        }
    }
}

fn refused(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests;
