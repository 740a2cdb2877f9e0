//! What fuzzing asks of a decoder, and the decoders of the log as targets.
//!
//! A [`Target`] is one decoder with an invariant: what decodes encodes back to the same bytes (or,
//! where the format lets a writer choose, to an equal value), and nothing panics whatever the
//! bytes. The same target runs in three ways: guided by coverage (`tests/fuzz`), over mutations of
//! its own seeds in an ordinary test run ([`storm`]), and over a single input that once failed.
//!
//! Where bytes carry a checksum, a target also looks at them with their sums made right: no
//! mutation finds a CRC, and what lies behind one must hold against a disk that returns the sector
//! of somewhere else.
//!
//! Each target lives in `fuzzing.rs` beside the decoder that it tests, so that the decoder stays
//! private.

use std::fmt::Write as _;

/// One decoder, and what must hold of it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name, of `a-z` and `_`, unique in the project.
    pub name: &'static str,
    /// Panics if the invariant does not hold for these bytes. Never fails otherwise.
    pub check: fn(&[u8]),
    /// Inputs that reach far: valid encodings, large and small.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// The targets of this crate.
pub const TARGETS: &[Target] = &[
    crate::frame::fuzzing::TARGET,
    crate::segment::sectors::fuzzing::TARGET,
    crate::slots::fuzzing::TARGET,
    crate::retired::fuzzing::TARGET,
];

/// Feeds a target its seeds and then `inputs` mutations of them, always the same ones.
///
/// # Panics
///
/// If the invariant does not hold; the input is printed in hexadecimal.
pub fn storm(target: &Target, inputs: u64) {
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{} has no seeds", target.name);
    for seed in &seeds {
        run(target, seed);
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..inputs {
        let mut input = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut input, &seeds, &mut random);
        }
        run(target, &input);
    }
}

fn run(target: &Target, input: &[u8]) {
    /// Prints the input if the check panics.
    struct Shown<'a>(&'a Target, &'a [u8]);
    impl Drop for Shown<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let hex = self.1.iter().fold(String::new(), |mut hex, byte| {
                    let _ = write!(hex, "{byte:02x}");
                    hex
                });
                eprintln!("{}: this input breaks it: {hex}", self.0.name);
            }
        }
    }
    let _shown = Shown(target, input);
    (target.check)(input);
}

/// Changes an input in one of the ways that break decoders.
fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len());
    match random.below(8) {
        _ if input.is_empty() => input.push(random.byte()),
        0 => input[at] ^= 1 << random.below(8),
        1 => input[at] = random.byte(),
        2 => input.insert(at, random.byte()),
        3 => drop(input.remove(at)),
        4 => input.truncate(at),
        5 => {
            // An extreme number of some width.
            let width = [1, 2, 4, 8][random.below(4)];
            let fill = [0, 0xff, 0x80, 0x7f][random.below(4)];
            let end = (at + width).min(input.len());
            input[at..end].fill(fill);
        }
        6 => {
            let length = random.below(input.len() - at).min(64);
            let piece = input[at..at + length].to_vec();
            let to = random.below(input.len());
            input.splice(to..to, piece);
        }
        _ => {
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
    }
}

/// A small seeded generator (xorshift64*, Vigna 2016).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, or 0 if `end` is 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % end.max(1)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[7]
    }
}

/// Reads an input as a row of choices; past its end all are zero.
#[derive(Clone, Copy, Debug)]
pub struct Choices<'a>(pub &'a [u8]);

impl<'a> Choices<'a> {
    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Up to `length` bytes.
    pub fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// The next `N` bytes, filled up with zeros.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.take(N);
        let mut bytes = [0; N];
        bytes[..taken.len()].copy_from_slice(taken);
        bytes
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let [byte] = self.bytes();
        byte
    }

    /// The next two bytes as a number.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes())
    }

    /// The next eight bytes as a number.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutated_encodings_break_no_decoder_of_the_log() {
        for target in TARGETS {
            storm(target, 10_000);
        }
    }

    #[test]
    fn a_target_that_does_not_hold_is_noticed() {
        let target = Target {
            name: "never_seven",
            check: |bytes| assert!(bytes.first() != Some(&7)),
            seeds: || vec![vec![0, 1, 2]],
        };
        assert!(std::panic::catch_unwind(|| storm(&target, 10_000)).is_err());
    }
}
