//! Where the pages of the logical file and their sums stand in the file.

use cairn_log::vfs::SECTOR_BYTES;

use super::{PAGE_BYTES, to_usize};

/// Cuts a number of whole pages where groups end: the first page of each part, and the bytes of
/// the buffer that hold it.
pub(super) fn runs(
    first: u64,
    bytes: usize,
) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let (mut page, mut at) = (first, 0);
    std::iter::from_fn(move || {
        let left = (bytes - at) / PAGE_BYTES;
        let until_group_ends = GROUP_PAGES - to_usize(page % GROUP_PAGES as u64).ok()?;
        let count = left.min(until_group_ends);
        let run = (page, at..at + count * PAGE_BYTES);
        page += count as u64;
        at = run.1.end;
        (count > 0).then_some(run)
    })
}

/// Where a page stands in the file.
pub(super) const fn place_of(page: u64) -> u64 {
    let group = page / GROUP_PAGES as u64;
    let within = page % GROUP_PAGES as u64;
    group_place(group) + (SUM_COPIES as u64 + within) * PAGE_BYTES as u64
}

/// Where a group begins in the file.
pub(super) const fn group_place(group: u64) -> u64 {
    (1 + group * (GROUP_PAGES + SUM_COPIES) as u64) * PAGE_BYTES as u64
}

/// The length of the file that holds a logical one of whole pages.
pub(super) const fn physical_length(logical: u64) -> u64 {
    match pages_of(logical) {
        0 => PAGE_BYTES as u64,
        pages => place_of(pages - 1) + PAGE_BYTES as u64,
    }
}

/// The length of the logical file that one of this length holds, unless there is none.
pub(super) fn logical_length(physical: u64) -> Option<u64> {
    let pages = physical.checked_sub(PAGE_BYTES as u64)? / PAGE_BYTES as u64;
    let stride = (GROUP_PAGES + SUM_COPIES) as u64;
    let sums = pages.div_ceil(stride) * SUM_COPIES as u64;
    let logical = pages.checked_sub(sums)? * PAGE_BYTES as u64;
    (physical_length(logical) == physical).then_some(logical)
}

pub(super) const fn pages_of(length: u64) -> u64 {
    length / PAGE_BYTES as u64
}

pub(super) fn is_whole_pages(offset: u64, length: usize) -> bool {
    offset.is_multiple_of(PAGE_BYTES as u64) && length.is_multiple_of(PAGE_BYTES)
}

pub(super) const SUM_COPIES: usize = 2;
pub(super) const SECTOR_SUMS: usize = 126;
pub(super) const GROUP_SECTORS: usize = PAGE_BYTES / SECTOR_BYTES;
pub(super) const GROUP_PAGES: usize = GROUP_SECTORS * SECTOR_SUMS;
