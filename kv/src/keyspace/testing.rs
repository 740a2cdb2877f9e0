//! What the unit tests of a keyspace share: small stores whose index is kept step by step.

use std::ops::Range;

use super::Keyspace;
use crate::{Bucket, Options, Store};

/// Of a store without threads, whose segments take some dozen values of [`put_round`], and that
/// merges whatever there is.
pub(super) fn options() -> Options {
    Store::options()
        .threads(false)
        .segment_bytes(16 << 10)
        .merge_entries(1)
        .history_bytes_min(0)
}

/// Puts values of 900 bytes, each of which is `round`.
pub(super) fn put_round(bucket: &Bucket, keys: Range<u32>, round: u8) {
    for number in keys {
        bucket.put(number.to_be_bytes(), vec![round; 900]).unwrap();
    }
}

pub(super) fn write_runs(keyspace: &Keyspace) {
    let mut maintenance = keyspace.maintenance.lock();
    while keyspace.write_oldest_run(&mut maintenance).unwrap() {}
}

/// Writes runs and merges them, and collects nothing.
pub(super) fn index(keyspace: &Keyspace) {
    write_runs(keyspace);
    let mut maintenance = keyspace.maintenance.lock();
    keyspace.merge_runs(&mut maintenance).unwrap();
}
