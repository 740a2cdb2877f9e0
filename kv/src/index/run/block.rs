//! The blocks and sections of a run file. The format stands in [`super`].

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{BUCKET_BYTES, BY_HASH_BYTES, HEAD_BYTES, LINE_BYTES, PLACE_BYTES, RunIdentity};

/// Bytes of a block, its sum among them.
pub(super) const BLOCK_BYTES: usize = 4096;
/// Bytes of a block before its sum.
pub(super) const CONTENT_BYTES: usize = BLOCK_BYTES - SUM_BYTES;

const SUM_BYTES: usize = 4;

/// What the sums of a run are bound to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed(u64);

impl Seed {
    pub(super) fn new(identity: &RunIdentity) -> Seed {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&identity.log.0);
        bytes.extend_from_slice(&identity.partition.to_le_bytes());
        for word in [identity.segment, identity.base, identity.end] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        Seed(xxh3_64(&bytes))
    }

    /// The sum of a block with this content.
    pub(super) fn sum(self, number: u64, content: &[u8]) -> u32 {
        // Exclusive-or keeps all that a CRC detects.
        let mask = xxh3_64_with_seed(&number.to_le_bytes(), self.0);
        crc32fast::hash(content) ^ (mask >> 32) as u32
    }

    /// Whether these bytes are the block of this number.
    pub(super) fn verifies(self, number: u64, block: &[u8]) -> bool {
        match block.split_last_chunk::<SUM_BYTES>() {
            Some((content, sum)) => {
                content.len() == CONTENT_BYTES
                    && self.sum(number, content) == u32::from_le_bytes(*sum)
            }
            None => false,
        }
    }
}

/// A row of items of one size, from a block of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// The number of its first block.
    pub(super) first: u64,
    pub(super) items: u64,
    item_bytes: usize,
}

impl Section {
    /// How many items a block has, except the last.
    pub(super) fn items_a_block(&self) -> u64 {
        (CONTENT_BYTES / self.item_bytes) as u64
    }

    pub(super) fn blocks(&self) -> u64 {
        self.items.div_ceil(self.items_a_block())
    }

    /// Where an item stands in the file.
    pub(super) fn byte_of(&self, index: u64) -> u64 {
        let (nth, within) = (index / self.items_a_block(), index % self.items_a_block());
        (self.first + nth) * BLOCK_BYTES as u64 + within * self.item_bytes as u64
    }
}

/// The items of a section's n-th block.
pub(super) fn items<'a, const N: usize>(
    section: &Section,
    nth: u64,
    block: &'a [u8],
) -> &'a [[u8; N]] {
    debug_assert_eq!(section.item_bytes, N);
    let left = section.items.saturating_sub(nth * section.items_a_block());
    let count = in_memory(left.min(section.items_a_block()));
    let whole = block.as_chunks().0;
    whole.get(..count).unwrap_or(whole)
}

/// A number of items, blocks or bytes that are in memory or about to be.
pub(super) fn in_memory(number: u64) -> usize {
    usize::try_from(number).expect("no more than a file that was found to be as long")
}

/// How many items the sections have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub(super) buckets: u32,
    pub(super) controls: u32,
    pub(super) filter_lines: u32,
    pub(super) entries: u32,
}

/// Where the sections are.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) buckets: Section,
    pub(super) controls: Section,
    pub(super) fences: Section,
    pub(super) filter: Section,
    pub(super) by_hash: Section,
    pub(super) by_key: Section,
}

impl Layout {
    pub(super) fn new(counts: Counts) -> Layout {
        let mut end = 0;
        let mut section = |items: u64, item_bytes| {
            let section = Section {
                first: end,
                items,
                item_bytes,
            };
            end += section.blocks();
            section
        };
        let entries = u64::from(counts.entries);
        let _head = section(1, HEAD_BYTES);
        let buckets = section(u64::from(counts.buckets), BUCKET_BYTES);
        let controls = section(u64::from(counts.controls), 4);
        let by_hash_blocks = entries.div_ceil((CONTENT_BYTES / BY_HASH_BYTES) as u64);
        let fences = section(by_hash_blocks, 4);
        let filter = section(u64::from(counts.filter_lines), LINE_BYTES);
        let by_hash = section(entries, BY_HASH_BYTES);
        let by_key = section(entries, PLACE_BYTES);
        Layout {
            buckets,
            controls,
            fences,
            filter,
            by_hash,
            by_key,
        }
    }

    /// Blocks in the file.
    pub(super) fn end(&self) -> u64 {
        self.by_key.first + self.by_key.blocks()
    }

    /// The first block of each section, and the end.
    pub(super) fn starts(&self) -> [u64; 7] {
        [
            self.buckets.first,
            self.controls.first,
            self.fences.first,
            self.filter.first,
            self.by_hash.first,
            self.by_key.first,
            self.end(),
        ]
    }
}

/// Takes integers off the front of an item, whose length its section has settled; zeros past it.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk() {
            Some((taken, rest)) => {
                self.0 = rest;
                *taken
            }
            None => [0; N],
        }
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes())
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    pub(super) fn i64(&mut self) -> i64 {
        i64::from_le_bytes(self.bytes())
    }
}

/// Fields one after another, then zeros.
pub(super) fn item<const N: usize>(fields: &[&[u8]]) -> [u8; N] {
    let mut item = [0; N];
    let mut rest = &mut item[..];
    for field in fields {
        let (place, after) = rest.split_at_mut(field.len());
        place.copy_from_slice(field);
        rest = after;
    }
    item
}

/// Scrambles a word, so that sums of words tell sets apart (the finaliser of SplitMix64: Steele,
/// Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).
pub(super) fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
