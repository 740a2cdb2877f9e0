//! Memory maps of the real disk: one of the two files of the project that hold `unsafe`.
//!
//! A [`RealMap`] is the whole range mapped at once, shared and read-only, from whatever file
//! offset it starts at. Of it, only published bytes are ever turned into a slice.
//!
//! Two things would break a slice: a byte that changes under it, and a byte that leaves the file,
//! whose touch kills the process (SIGBUS). [`Published`] rules both out for the handle that made
//! the map. For everybody else the store does: it opens a mapped file through one handle, under
//! the lock of the store's directory, and unlinks files but never cuts one that it did not open.
//!
//! [`bound_free_memory`] is about the memory of the whole process, and stands here for its `unsafe`.
//! [`AtomicWords`] is memory of no file, for tables that are large and sparse, and [`prefetch`] asks
//! for some of any memory before it is needed.

#![expect(
    unsafe_code,
    reason = "a slice of mapped memory can't be had without it"
)]

use std::borrow::Cow;
use std::fs;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapMut, MmapOptions, MmapRaw};

use super::Map;
use super::published::Published;

/// A map of part of a file.
#[derive(Debug)]
pub(super) struct RealMap {
    memory: MmapRaw,
    /// The file offset of the first byte.
    start: u64,
    published: Arc<Published>,
}

impl RealMap {
    /// Maps a range of an open file for its handle, whose watermark is `published`. Errors are
    /// those of [`super::File::map`].
    pub(super) fn new(
        file: &fs::File,
        range: Range<u64>,
        published: &Arc<Published>,
    ) -> io::Result<Self> {
        let memory = published.map(range.clone(), || {
            if range.end > file.metadata()?.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let length = usize::try_from(range.end - range.start)
                .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
            MmapOptions::new()
                .offset(range.start)
                .len(length)
                .map_raw_read_only(file)
        })?;
        Ok(Self {
            memory,
            start: range.start,
            published: Arc::clone(published),
        })
    }
}

impl Map for RealMap {
    fn publish(&self, end: u64) {
        self.published.publish(end);
    }

    fn bytes(&self, range: Range<u64>) -> Option<Cow<'_, [u8]>> {
        if !self.published.covers(self.start, &range) {
            return None;
        }
        let offset = usize::try_from(range.start - self.start).ok()?;
        let length = usize::try_from(range.end - range.start).ok()?;
        assert!(
            offset + length <= self.memory.len(),
            "published bytes lie in the map"
        );
        // SAFETY: The bytes lie in the mapping (asserted), which `self` keeps for as long as the
        // slice is borrowed. They are published, so `Published` upholds that they lie in the file
        // and that the handle neither writes nor cuts them; the module says who upholds it for
        // other handles and processes. A shared mapping reads as initialised bytes, and every
        // write to a published byte happened before the `Release` store that `covers` acquired.
        let bytes = unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(offset), length) };
        Some(Cow::Borrowed(bytes))
    }

    fn expect_random_reads(&self) {
        // A wish, like the other one.
        #[cfg(unix)]
        let _ = self.memory.advise(memmap2::Advice::Random);
    }

    fn will_need(&self, range: Range<u64>) {
        if range.is_empty() || !self.published.covers(self.start, &range) {
            return;
        }
        // Both fit: what is published lies in the map.
        let place = usize::try_from(range.start - self.start);
        let length = usize::try_from(range.end - range.start);
        #[cfg(unix)]
        if let (Ok(place), Ok(length)) = (place, length) {
            let _ = self
                .memory
                .advise_range(memmap2::Advice::WillNeed, place, length);
        }
        #[cfg(not(unix))]
        let _ = (place, length);
    }
}

/// A row of words, all zero at first, that threads share. Memory that nobody touches is not taken
/// from the system, and what is touched comes in huge pages where the system has them, so that a
/// random look costs one miss and not a second one for the translation of its address.
#[derive(Debug)]
pub struct AtomicWords(MmapRaw);

impl AtomicWords {
    /// Begins at a page, hence at a cache line.
    ///
    /// # Errors
    ///
    /// What the system says of `words` times eight bytes; it refuses none.
    pub fn zeroed(words: usize) -> io::Result<AtomicWords> {
        let bytes = words.checked_mul(size_of::<AtomicU64>());
        let memory = MmapMut::map_anon(bytes.ok_or(io::ErrorKind::OutOfMemory)?)?;
        let memory = MmapRaw::from(memory);
        // A wish: without it all is as right, and slower.
        #[cfg(target_os = "linux")]
        let _ = memory.advise(memmap2::Advice::HugePage);
        Ok(AtomicWords(memory))
    }
}

impl std::ops::Deref for AtomicWords {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        let words = self.0.len() / size_of::<AtomicU64>();
        // SAFETY: The mapping is private and anonymous, `self` keeps it for as long as the slice is
        // borrowed, and it is reached through such slices alone. It begins at a page, so words are
        // aligned, all of `words` lie in it, and any bytes, zeros at first, are an `AtomicU64`,
        // which may be changed through a shared reference.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast::<AtomicU64>(), words) }
    }
}

/// Has the first cache line of `item` brought in, without waiting for it: an unrelated lock may be
/// taken meanwhile, which a plain read would hold up. Changes nothing but the time of the read that
/// follows, and on processors other than x86-64 not even that.
#[inline]
pub fn prefetch<T>(item: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: The instruction reads nothing that the program sees and faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(item).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = item;
}

/// Bounds what the allocator of the C library keeps of freed memory, for the whole process from here
/// on: every buffer of 128 KiB or more gets a map of its own, and there are no more arenas than
/// processors. For programs, to be called before the first thread is started.
///
/// By itself glibc raises that bound to the largest buffer that was ever freed, and then keeps twice
/// as much free memory in an arena for each of up to eight threads a processor: eight uploads grew
/// a server by 250 MiB of which 40 were in use. The index cache likewise leaves pages in the arena of
/// each thread that read it. Cost: a system call and fresh pages a large buffer; more threads to an
/// arena, which did not show in durable and buffered puts and made gets of many keys no slower.
/// With another C library nothing happens.
pub fn bound_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let arenas = libc::c_int::try_from(processors).unwrap_or(libc::c_int::MAX);
        // SAFETY: They set numbers that the allocator reads, under the allocator's own lock.
        unsafe {
            let _ = libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BUFFER_BYTES);
            let _ = libc::mallopt(libc::M_ARENA_MAX, arenas);
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BUFFER_BYTES: libc::c_int = 128 << 10;
