//! The data every engine is given: keys, values and orders that depend on a seed and nothing else.
//!
//! A row is named by its index. Its key is the index through a bijection, so keys taken in index
//! order arrive in random order and no two are equal; the first eight bytes, big endian, already
//! decide how two keys sort. Its value is the output of a generator seeded by index and version:
//! it does not compress, and its first bytes (the *stamp*) tell which write it came from, so any
//! read can be checked without keeping a copy of the data.
//!
//! The generator is SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
//! Generators, 2014): a counter through a 64-bit finaliser that is itself a bijection.

/// Seeds every sequence of a run, for every engine alike.
pub(crate) const SEED: u64 = 0x6361_6972_6e5f_6b76;

/// The shortest key that is still unique by construction.
pub(crate) const KEY_BYTES_MIN: usize = 8;

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// Sizes of the rows of one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) key_bytes: usize,
    pub(crate) value_bytes: usize,
}

impl Shape {
    pub(crate) const SMALL: Shape = Shape {
        key_bytes: 24,
        value_bytes: 100,
    };
    pub(crate) const LARGE: Shape = Shape {
        key_bytes: 24,
        value_bytes: 4096,
    };

    /// Key and value together: what counts as live data.
    pub(crate) fn row_bytes(self) -> usize {
        self.key_bytes + self.value_bytes
    }

    /// "100 B" or "4 KiB": how tables name the size of a value.
    pub(crate) fn value_label(self) -> String {
        if self.value_bytes >= 1024 && self.value_bytes.is_multiple_of(1024) {
            format!("{} KiB", self.value_bytes / 1024)
        } else {
            format!("{} B", self.value_bytes)
        }
    }
}

/// Writes the key of row `index` into `key`, whose length is the key's size.
pub(crate) fn fill_key(index: u64, key: &mut [u8]) {
    debug_assert!(key.len() >= KEY_BYTES_MIN);
    fill(scramble(index ^ SEED), key);
    key[..8].copy_from_slice(&key_word(index).to_be_bytes());
}

/// The first eight bytes of the key of row `index`, as a number that sorts as the key does.
pub(crate) fn key_word(index: u64) -> u64 {
    scramble(index ^ SEED)
}

/// Writes version `version` of the value of row `index` into `value`.
pub(crate) fn fill_value(index: u64, version: u32, value: &mut [u8]) {
    fill(value_seed(index, version), value);
}

/// The first word of a value: it names the write that the value came from.
pub(crate) fn stamp(index: u64, version: u32) -> u64 {
    scramble(value_seed(index, version))
}

/// Whether `value` has the size and the first bytes of this version of row `index`.
pub(crate) fn bears_stamp(value: &[u8], value_bytes: usize, index: u64, version: u32) -> bool {
    let stamp = stamp(index, version).to_le_bytes();
    let head = value.len().min(stamp.len());
    value.len() == value_bytes && value[..head] == stamp[..head]
}

/// Touches every byte of a value.
pub(crate) fn sum_of_words(bytes: &[u8]) -> u64 {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().fold(0, |sum, word| {
        u64::wrapping_add(sum, u64::from_le_bytes(*word))
    })
}

/// The leading bytes of a key or value as a number; shorter ones are padded with zeros.
pub(crate) fn leading_word(bytes: &[u8]) -> u64 {
    if let Some(word) = bytes.first_chunk() {
        return u64::from_be_bytes(*word);
    }
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_be_bytes(word)
}

/// What one row adds to the sum over a store, in whatever order its rows are visited.
pub(crate) fn row_sum(key_word: u64, value: &[u8]) -> u64 {
    key_word ^ leading_word(value)
}

/// What `row_sum` must give for this version of row `index`.
pub(crate) fn expected_row_sum(shape: Shape, index: u64, version: u32) -> u64 {
    let stamp = stamp(index, version).to_le_bytes();
    row_sum(key_word(index), &stamp[..shape.value_bytes.min(8)])
}

fn value_seed(index: u64, version: u32) -> u64 {
    scramble(index.wrapping_mul(GAMMA) ^ u64::from(version))
}

/// SplitMix64's finaliser: a bijection on 64-bit numbers.
fn scramble(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

fn fill(seed: u64, bytes: &mut [u8]) {
    let mut state = seed;
    let mut words = bytes.chunks_exact_mut(8);
    for word in &mut words {
        word.copy_from_slice(&scramble(state).to_le_bytes());
        state = state.wrapping_add(GAMMA);
    }
    let rest = words.into_remainder();
    let last = scramble(state).to_le_bytes();
    let length = rest.len();
    rest.copy_from_slice(&last[..length]);
}

/// A deterministic sequence of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// The sequence numbered `stream`; streams do not overlap within a run.
    pub(crate) fn new(stream: u64) -> Self {
        Random {
            state: scramble(SEED ^ scramble(stream.wrapping_add(1))),
        }
    }

    pub(crate) fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        scramble(self.state)
    }

    /// Uniform in `0..bound`, by multiplication: the bias is below `bound / 2^64`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.word()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the upper half of a 128-bit product fits 64 bits")
    }

    /// Uniform in `[0, 1)`.
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Ranks by popularity: rank `r` (from 0) has weight `1 / (r + 1)^alpha`.
///
/// A table of the cumulated weights costs eight bytes a rank and takes any `alpha`, 0 (uniform)
/// and values far above 1 included, which the closed forms do not.
pub(crate) struct Zipf {
    cumulated: Vec<f64>,
}

impl Zipf {
    pub(crate) fn new(ranks: u32, alpha: f64) -> Self {
        let mut total = 0.0;
        let cumulated = (1..=ranks)
            .map(|rank| {
                total += f64::from(rank).powf(-alpha);
                total
            })
            .collect();
        Zipf { cumulated }
    }

    pub(crate) fn sample(&self, random: &mut Random) -> u32 {
        let total = self.cumulated.last().copied().unwrap_or(0.0);
        let target = random.fraction() * total;
        let rank = self.cumulated.partition_point(|&sum| sum <= target);
        u32::try_from(rank.min(self.cumulated.len().saturating_sub(1)))
            .expect("there are at most 2^32 ranks")
    }
}

/// Rows packed one after another, as a batch is handed to an engine.
pub(crate) struct Pairs {
    shape: Shape,
    bytes: Vec<u8>,
}

impl Pairs {
    pub(crate) fn new(shape: Shape) -> Self {
        Pairs {
            shape,
            bytes: Vec::new(),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    pub(crate) fn push(&mut self, index: u64, version: u32) {
        let start = self.bytes.len();
        self.bytes.resize(start + self.shape.row_bytes(), 0);
        let (key, value) = self.bytes[start..].split_at_mut(self.shape.key_bytes);
        fill_key(index, key);
        fill_value(index, version, value);
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() / self.shape.row_bytes()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.bytes
            .chunks_exact(self.shape.row_bytes())
            .map(|row| row.split_at(self.shape.key_bytes))
    }
}

/// The rows of a load, in the order every engine must take them: engines choose how many at a
/// time, never the order, so nobody sorts a load that the row calls random.
pub(crate) struct Rows {
    shape: Shape,
    next: u64,
    end: u64,
}

impl Rows {
    /// Rows 0 to `count`, version 0, in random key order.
    pub(crate) fn new(shape: Shape, count: u64) -> Self {
        Rows {
            shape,
            next: 0,
            end: count,
        }
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// Hands over the next rows one at a time, at most `rows_max`; returns how many there were.
    pub(crate) fn each<E>(
        &mut self,
        rows_max: u64,
        mut take: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut key = vec![0; self.shape.key_bytes];
        let mut value = vec![0; self.shape.value_bytes];
        let end = self.end.min(self.next.saturating_add(rows_max));
        let start = self.next;
        for index in start..end {
            fill_key(index, &mut key);
            fill_value(index, 0, &mut value);
            take(&key, &value)?;
            self.next = index + 1;
        }
        Ok(end - start)
    }

    /// Replaces the content of `pairs` by the next rows, at most `rows_max`; false at the end.
    pub(crate) fn next_chunk(&mut self, rows_max: u64, pairs: &mut Pairs) -> bool {
        pairs.clear();
        let end = self.end.min(self.next.saturating_add(rows_max));
        for index in self.next..end {
            pairs.push(index, 0);
        }
        self.next = end;
        pairs.len() > 0
    }
}

#[cfg(test)]
mod tests;
