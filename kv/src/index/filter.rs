//! A blocked Bloom filter over key hashes: says "absent" of almost every key that is.
//!
//! Each hash has one line of 64 bytes, a cache line, and six bits in it, so an answer costs one
//! miss. At ten bits a key about one absent hash in a hundred is let through; no hash that was
//! inserted ever is refused. The filter can't grow and forgets nothing.
//!
//! Blocking is due to Putze, Sanders and Singler ("Cache-, Hash- and Space-Efficient Bloom
//! Filters", WEA 2007); how line and bits are drawn from the hash, and six probes as the best at
//! ten bits a key, to RocksDB's `FastLocalBloomImpl` (`util/bloom_impl.h`). The low half of the
//! hash picks the line by multiplication (Lemire, "Fast Random Integer Generation in an Interval",
//! 2019), the high half the bits by repeated multiplication with 2^32 / golden ratio: the two
//! don't share a bit.
//!
//! # Bytes
//!
//! The lines one after another, each eight little-endian words. Bit `n` of a line is bit `n % 64`
//! of word `n / 64`. What guards the bytes is up to whoever stores them.

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    lines: Vec<Line>,
}

/// One cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(64))]
struct Line([u64; LINE_WORDS]);

impl Filter {
    /// An empty filter for this many keys, rounded up to whole lines. More may be inserted, and
    /// then more absent ones are let through.
    pub(crate) fn with_capacity(keys: usize) -> Filter {
        let lines = keys
            .saturating_mul(BITS_PER_KEY)
            .div_ceil(LINE_BITS)
            .clamp(1, LINES_MAX);
        Filter {
            lines: vec![Line::default(); lines],
        }
    }

    /// Notes a hash.
    pub(crate) fn insert(&mut self, hash: u64) {
        let line = self.line_of(hash);
        if let Some(Line(words)) = self.lines.get_mut(line) {
            for (word, bit) in probes(hash) {
                words[word] |= bit;
            }
        }
    }

    /// Whether the hash may have been inserted; `false` is certain.
    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        match self.lines.get(self.line_of(hash)) {
            // Without branches between the probes: most are of one line that is in the cache.
            Some(Line(words)) => {
                probes(hash).fold(true, |held, (word, bit)| held & (words[word] & bit != 0))
            }
            None => false,
        }
    }

    /// Has the line of a hash brought in, without waiting for it.
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(line) = self.lines.get(self.line_of(hash)) {
            cairn_log::vfs::prefetch(line);
        }
    }

    /// The number of keys up to which it keeps its rate of false positives.
    pub(crate) fn capacity(&self) -> usize {
        self.byte_len() * 8 / BITS_PER_KEY
    }

    /// The length of its bytes, and nearly what it takes in memory.
    pub(crate) fn byte_len(&self) -> usize {
        self.lines.len() * LINE_BYTES
    }

    /// The lines, each in its bytes.
    pub(crate) fn lines(&self) -> impl ExactSizeIterator<Item = [u8; LINE_BYTES]> {
        self.lines.iter().map(|Line(words)| {
            let mut bytes = [0; LINE_BYTES];
            for (piece, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
                *piece = word.to_le_bytes();
            }
            bytes
        })
    }

    /// All its bytes. See the module.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.lines().flatten().collect()
    }

    /// The filter of these bytes, or `None` if they are not some number of whole lines.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Filter> {
        let (lines, rest) = bytes.as_chunks::<LINE_BYTES>();
        if lines.is_empty() || lines.len() > LINES_MAX || !rest.is_empty() {
            return None;
        }
        let words = |line: &[u8; LINE_BYTES]| {
            let mut words = [0; LINE_WORDS];
            for (word, piece) in words.iter_mut().zip(line.as_chunks().0) {
                *word = u64::from_le_bytes(*piece);
            }
            Line(words)
        };
        Some(Filter {
            lines: lines.iter().map(words).collect(),
        })
    }

    fn line_of(&self, hash: u64) -> usize {
        let low = hash & u64::from(u32::MAX);
        // Both factors are below 2^32, and the quotient is below the number of lines.
        ((low * self.lines.len() as u64) >> 32) as usize
    }
}

/// The bits of a hash within its line: word and mask.
fn probes(hash: u64) -> impl Iterator<Item = (usize, u64)> {
    let high = (hash >> 32) as u32;
    (0..PROBES).scan(high, |mixed, _| {
        let bit = *mixed >> (u32::BITS - LINE_BITS.ilog2());
        *mixed = mixed.wrapping_mul(0x9E37_79B9);
        Some((bit as usize / 64, 1 << (bit % 64)))
    })
}

/// Bytes of a line, in memory and stored.
pub(crate) const LINE_BYTES: usize = 64;

const LINE_WORDS: usize = LINE_BYTES / 8;
const LINE_BITS: usize = LINE_BYTES * 8;
pub(crate) const BITS_PER_KEY: usize = 10;
const PROBES: usize = 6;
/// As many as the half of a hash that picks one can tell apart.
const LINES_MAX: usize = u32::MAX as usize;

#[cfg(test)]
mod tests;
