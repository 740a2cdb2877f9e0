use super::*;
use crate::index::versions::{Horizon, Kind};

const BUCKET: BucketId = BucketId(1);

fn put(memtable: &Memtable, bucket: BucketId, key: &[u8], version: u64) -> Arc<Node> {
    let (node, _) = memtable.node_or_new(bucket, key);
    let location = Location {
        version,
        record: version,
        expires_ms: 0,
        value_bytes: 0,
        kind: Kind::Value,
    };
    let _ = node.versions().push(
        location,
        &Horizon {
            stable: version,
            pinned: SmallVec::new(),
        },
    );
    node
}

fn newest(memtable: &Memtable, bucket: BucketId, key: &[u8]) -> u64 {
    memtable.locate(bucket, key, Versions::newest).version
}

#[test]
fn keys_of_any_length_are_found_in_their_own_bucket_only() {
    let memtable = Memtable::new();
    let keys: Vec<Vec<u8>> = [1, 23, 24, 25, 4096]
        .iter()
        .map(|&length| vec![b'k'; length])
        .collect();
    for (version, key) in (1..).zip(&keys) {
        put(&memtable, BUCKET, key, version);
        put(&memtable, BucketId(2), key, version + 100);
    }
    for (version, key) in (1..).zip(&keys) {
        assert_eq!(newest(&memtable, BUCKET, key), version);
        assert_eq!(newest(&memtable, BucketId(2), key), version + 100);
        assert_eq!(newest(&memtable, BucketId(3), key), 0);
    }
    assert_eq!(memtable.len(), 10);
}

#[test]
fn a_node_is_made_once_and_found_again() {
    let memtable = Memtable::new();
    let (first, made) = memtable.node_or_new(BUCKET, b"a");
    assert!(made);
    let (again, made) = memtable.node_or_new(BUCKET, b"a");
    assert!(!made && Arc::ptr_eq(&first, &again));
}

#[test]
fn removing_a_node_spares_the_one_that_took_its_place() {
    let memtable = Memtable::new();
    let old = put(&memtable, BUCKET, b"a", 1);
    memtable.remove(&old);
    assert_eq!(newest(&memtable, BUCKET, b"a"), 0);
    put(&memtable, BUCKET, b"a", 2);
    memtable.remove(&old);
    assert_eq!(newest(&memtable, BUCKET, b"a"), 2);
    assert_eq!(memtable.len(), 1);
}

#[test]
fn many_keys_survive_the_growth_of_the_table() {
    let memtable = Memtable::new();
    for number in 0..50_000_u64 {
        put(&memtable, BUCKET, &number.to_be_bytes(), number + 1);
    }
    for number in 0..50_000_u64 {
        assert_eq!(newest(&memtable, BUCKET, &number.to_be_bytes()), number + 1);
    }
}
