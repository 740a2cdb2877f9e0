//! The bytes of a file at one moment: a length, and the pages that were ever written.
//!
//! Pages are shared between contents and copied on the first change, a hole is a page that is not
//! there, and every page of zeros is the same one: a copy of a file, a sparse file and a file of
//! zeros all cost next to nothing.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use super::SECTOR_BYTES;

/// The unit of allocation and of copying, in bytes.
pub(super) const PAGE_BYTES: usize = 4096;
/// The sectors of a page.
pub(super) const SECTORS_PER_PAGE: usize = PAGE_BYTES / SECTOR_BYTES;

pub(super) type Page = [u8; PAGE_BYTES];
pub(super) type Sector = [u8; SECTOR_BYTES];

static ZERO_PAGE: LazyLock<Arc<Page>> = LazyLock::new(|| Arc::new([0; PAGE_BYTES]));
const ZERO_SECTOR: Sector = [0; SECTOR_BYTES];

/// Invariant: no page lies wholly past the length, and bytes past the length are zero, except
/// between [`Content::set_sector`] and the [`Content::set_length`] that follows it.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    length: u64,
    pages: Arc<BTreeMap<u64, Arc<Page>>>,
}

impl Content {
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// How many pages are allocated.
    pub(super) fn page_count(&self) -> u64 {
        self.pages.len() as u64
    }

    pub(super) fn has_page(&self, page: u64) -> bool {
        self.pages.contains_key(&page)
    }

    /// The allocated pages that hold bytes at or past `offset`.
    pub(super) fn pages_from(&self, offset: u64) -> Vec<u64> {
        self.pages
            .range(offset / PAGE_BYTES as u64..)
            .map(|(page, _)| *page)
            .collect()
    }

    /// Fills the buffer; what lies past the length reads as zeros.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) {
        for piece in pieces(offset, buffer.len()) {
            let target = &mut buffer[piece.of_buffer];
            match self.pages.get(&piece.page) {
                Some(page) => target.copy_from_slice(&page[piece.of_page]),
                None => target.fill(0),
            }
        }
    }

    pub(super) fn sector(&self, page: u64, sector: usize) -> &Sector {
        match self.pages.get(&page) {
            Some(bytes) => &bytes.as_chunks().0[sector],
            None => &ZERO_SECTOR,
        }
    }

    /// Changes part of a page, allocating it.
    pub(super) fn write_page(&mut self, page: u64, within: Range<usize>, bytes: &[u8]) {
        self.allocate(page);
        let shared = &self.pages[&page];
        if shared[within.clone()] == *bytes {
            return;
        }
        let pages = Arc::make_mut(&mut self.pages);
        if let Some(shared) = pages.get_mut(&page) {
            Arc::make_mut(shared)[within].copy_from_slice(bytes);
        }
    }

    /// Changes one sector, also past the length.
    pub(super) fn set_sector(&mut self, page: u64, sector: usize, bytes: &Sector) {
        let start = sector * SECTOR_BYTES;
        self.write_page(page, start..start + SECTOR_BYTES, bytes);
    }

    pub(super) fn allocate(&mut self, page: u64) {
        if !self.has_page(page) {
            Arc::make_mut(&mut self.pages).insert(page, Arc::clone(&ZERO_PAGE));
        }
    }

    /// Makes a page that equals the other content's one the same memory; gives it back if the
    /// other content does not have it.
    pub(super) fn share_page(&mut self, page: u64, other: &Self) {
        match (self.pages.get(&page), other.pages.get(&page)) {
            (Some(mine), Some(theirs)) if !Arc::ptr_eq(mine, theirs) && mine == theirs => {
                Arc::make_mut(&mut self.pages).insert(page, Arc::clone(theirs));
            }
            (Some(_), None) => {
                Arc::make_mut(&mut self.pages).remove(&page);
            }
            _ => {}
        }
    }

    /// Cuts or grows, leaving zeros past the length.
    pub(super) fn set_length(&mut self, length: u64) {
        self.length = length;
        let whole_pages = length.div_ceil(PAGE_BYTES as u64);
        if self
            .pages
            .last_key_value()
            .is_some_and(|(page, _)| *page >= whole_pages)
        {
            Arc::make_mut(&mut self.pages).split_off(&whole_pages);
        }
        let used = within_page(length);
        let last = length / PAGE_BYTES as u64;
        if used > 0 && self.has_page(last) {
            self.write_page(last, used..PAGE_BYTES, &[0; PAGE_BYTES][used..]);
        }
    }
}

/// The part of a buffer that lies in one page.
pub(super) struct Piece {
    pub(super) page: u64,
    pub(super) of_page: Range<usize>,
    pub(super) of_buffer: Range<usize>,
}

/// Divides a buffer of `length` bytes at `offset` by pages.
pub(super) fn pieces(offset: u64, length: usize) -> impl Iterator<Item = Piece> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        let start = within_page(at);
        let taken = (PAGE_BYTES - start).min(length - done);
        let piece = Piece {
            page: at / PAGE_BYTES as u64,
            of_page: start..start + taken,
            of_buffer: done..done + taken,
        };
        done += taken;
        Some(piece)
    })
}

fn within_page(offset: u64) -> usize {
    usize::try_from(offset % PAGE_BYTES as u64).expect("less than a page")
}
