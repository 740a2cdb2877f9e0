//! A blocked Bloom filter (Putze, Sanders, Singler: "Cache-, Hash- and Space-Efficient Bloom
//! Filters", 2007): each key has its bits in one line of 64 bytes.

/// The largest filter, in bytes.
pub(crate) const FILTER_BYTES_MAX: usize = 64 << 20;

#[derive(Clone)]
pub(crate) struct Filter {
    words: Vec<u64>,
}

impl Filter {
    /// A filter for so many keys at ten bits each; with fewer bits a key, if it would be larger
    /// than [`FILTER_BYTES_MAX`].
    pub(crate) fn with_capacity(keys: usize) -> Filter {
        let lines = (keys.saturating_mul(10) / 512 + 1).min(FILTER_BYTES_MAX / 64);
        Filter {
            words: vec![0; lines * 8],
        }
    }

    pub(crate) fn insert(&mut self, hash: u64) {
        let line = self.line(hash);
        for (word, bit) in bits(hash) {
            self.words[line + word] |= bit;
        }
    }

    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        let line = self.line(hash);
        bits(hash).all(|(word, bit)| self.words[line + word] & bit != 0)
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.words.len() * 8
    }

    pub(crate) fn as_bytes(&self) -> Vec<u8> {
        let bytes = self.words.iter().flat_map(|word| word.to_le_bytes());
        bytes.collect()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Filter> {
        let (words, rest) = bytes.as_chunks::<8>();
        let is_whole = rest.is_empty() && !words.is_empty() && words.len().is_multiple_of(8);
        is_whole.then(|| Filter {
            words: words.iter().map(|word| u64::from_le_bytes(*word)).collect(),
        })
    }

    /// How many keys it is good for.
    pub(crate) fn capacity(&self) -> usize {
        self.byte_len() * 8 / 10
    }

    fn line(&self, hash: u64) -> usize {
        let lines = (self.words.len() / 8) as u128;
        let line = (u128::from(hash) * lines) >> 64;
        usize::try_from(line).unwrap_or(0) * 8
    }
}

/// Six bits of a line, by the hash's low bits stirred once more.
fn bits(hash: u64) -> impl Iterator<Item = (usize, u64)> {
    let stirred = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..6).map(move |at| {
        let bit = (stirred >> (10 + at * 9)) & 511;
        ((bit >> 6) as usize & 7, 1 << (bit & 63))
    })
}
