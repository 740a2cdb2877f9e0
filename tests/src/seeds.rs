//! How many random histories a test runs: a few in every run, many in the long one.

use std::ops::Range;

/// The seeds to run: `CAIRN_SEEDS` of them if that is set, else `usual`.
///
/// # Panics
///
/// If `CAIRN_SEEDS` is not a number.
pub fn seeds(usual: u64) -> Range<u64> {
    let count = match std::env::var("CAIRN_SEEDS") {
        Ok(text) => text.parse().expect("CAIRN_SEEDS is a number"),
        Err(_) => usual,
    };
    0..count
}
