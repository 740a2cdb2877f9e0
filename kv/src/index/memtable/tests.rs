use super::*;
use crate::index::hash::HashSeed;
use crate::index::versions::Kind;

const BUCKET: BucketId = BucketId(1);

fn hash(bucket: BucketId, key: &[u8]) -> u64 {
    HashSeed::new(cairn_log::LogId([7; 16])).hash(bucket, key)
}

fn put(memtable: &Memtable, bucket: BucketId, key: &[u8], version: u64) -> bool {
    let location = Location {
        version,
        record: version,
        expires_ms: 0,
        value_bytes: 0,
        kind: Kind::Value,
        is_moved: false,
    };
    let members = memtable.members(bucket);
    memtable.enter(&members, bucket, hash(bucket, key), key, location)
}

fn newest(memtable: &Memtable, bucket: BucketId, key: &[u8]) -> u64 {
    let found = memtable.locate(hash(bucket, key), bucket, key, u64::MAX);
    found.0.version
}

#[test]
fn keys_of_any_length_are_found_in_their_own_bucket_only() {
    let memtable = Memtable::new(0);
    let keys: Vec<Vec<u8>> = [1, 23, 24, 25, 4096]
        .iter()
        .map(|&length| vec![b'k'; length])
        .collect();
    for (version, key) in (1..).zip(&keys) {
        assert!(put(&memtable, BUCKET, key, version));
        assert!(put(&memtable, BucketId(2), key, version + 100));
    }
    for (version, key) in (1..).zip(&keys) {
        assert_eq!(newest(&memtable, BUCKET, key), version);
        assert_eq!(newest(&memtable, BucketId(2), key), version + 100);
        assert_eq!(newest(&memtable, BucketId(3), key), 0);
    }
    assert_eq!((memtable.len(), memtable.records()), (10, 10));
}

#[test]
fn a_reader_finds_the_version_of_its_watermark_and_hears_of_newer_ones() {
    let memtable = Memtable::new(0);
    assert!(put(&memtable, BUCKET, b"a", 10) && put(&memtable, BUCKET, b"a", 20));
    let at = |watermark| {
        let (location, is_newest) = memtable.locate(hash(BUCKET, b"a"), BUCKET, b"a", watermark);
        (location.version, is_newest)
    };
    assert_eq!(
        (at(10), at(20), at(21)),
        ((0, false), (10, false), (20, true))
    );
    let absent = memtable.locate(hash(BUCKET, b"b"), BUCKET, b"b", 99);
    assert_eq!((absent.0.version, absent.1), (0, true));
}

#[test]
fn a_version_that_is_not_newer_changes_nothing() {
    let memtable = Memtable::new(0);
    assert!(put(&memtable, BUCKET, b"a", 10));
    assert!(!put(&memtable, BUCKET, b"a", 10) && !put(&memtable, BUCKET, b"a", 9));
    assert_eq!(
        (newest(&memtable, BUCKET, b"a"), memtable.records()),
        (10, 1)
    );
}

#[test]
fn memory_is_counted_for_keys_and_for_versions() {
    let memtable = Memtable::new(0);
    assert!(put(&memtable, BUCKET, &[1; 100], 1));
    let one = memtable.byte_len();
    assert!(one > 100);
    for version in 2..1_002 {
        assert!(put(&memtable, BUCKET, &[1; 100], version));
    }
    assert!(memtable.byte_len() >= one + 32 * 1_000);
}

#[test]
fn many_keys_survive_the_growth_of_the_table() {
    let memtable = Memtable::new(0);
    for number in 0..50_000_u64 {
        assert!(put(&memtable, BUCKET, &number.to_be_bytes(), number + 1));
    }
    for number in 0..50_000_u64 {
        assert_eq!(newest(&memtable, BUCKET, &number.to_be_bytes()), number + 1);
    }
}
