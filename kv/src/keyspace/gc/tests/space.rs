//! What is given back although the counts or an earlier judgement say little of it.

use super::*;

#[test]
fn what_a_removed_snapshot_filled_is_collected_although_nothing_else_is_dropped() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let (store, bucket) = open(&disk, u64::MAX);
    put_round(&bucket, 0..200, 1);
    settle(&store);
    bucket.snapshot("s").unwrap();
    let before = bases(&bucket);
    put_round(&bucket, 0..200, 2);
    settle(&store);
    let drops = || bucket.keyspace().maintenance.lock().garbage.drops;
    let left = || {
        let left = bases(&bucket);
        left.iter().filter(|&base| before.contains(base)).count()
    };
    assert_eq!(
        (drops(), left()),
        (0, before.len()),
        "the snapshot fills them"
    );
    bucket.remove_snapshot("s").unwrap();
    settle(&store);
    // History still shows the last quarter or so as it was.
    assert!(2 * left() < before.len(), "{} of {}", left(), before.len());
}

#[test]
fn tombstones_of_what_no_snapshot_shows_go_although_there_is_an_older_snapshot() {
    const PAIRS: u32 = 1_500;
    let disk = Arc::new(SimulatedDisk::new(0));
    let (store, bucket) = open(&disk, u64::MAX);
    bucket.snapshot("of-nothing").unwrap();
    let dying = |number: u32| format!("dying {number:04}");
    let put_lasting = |number: u32, fill: u8| {
        let key = format!("lasting {number:04}");
        bucket.put(key, vec![fill; 40]).unwrap();
    };
    let churn = |rounds: std::ops::Range<u8>| {
        for round in rounds {
            put_round(&bucket, 0..KEYS, round);
            settle(&store);
        }
    };
    for number in 0..PAIRS {
        bucket.put(dying(number), "x").unwrap();
        put_lasting(number, 1);
    }
    settle(&store);
    let before = bases(&bucket).len();
    for number in 0..PAIRS {
        bucket.delete(dying(number)).unwrap();
    }
    let tombstones = bases(&bucket).split_off(before);
    assert!(tombstones.len() > 3, "{tombstones:?}");
    // They are judged while what they hide is there.
    churn(1..10);
    let left = || {
        let left = bases(&bucket);
        left.iter()
            .filter(|&base| tombstones.contains(base))
            .count()
    };
    assert_eq!(left(), tombstones.len());
    // Now what they hide goes.
    (0..PAIRS).for_each(|number| put_lasting(number, 2));
    churn(10..20);
    assert_eq!(left(), 0);
}

/// A store whose other bucket is merged, removed and so garbage, a version at which it was whole,
/// and the segments that it filled.
fn with_removed_bucket() -> (Store, Bucket, Bucket, crate::Version, Vec<u64>) {
    let disk = Arc::new(SimulatedDisk::new(0));
    let (store, bucket) = open(&disk, u64::MAX);
    let removed = store.bucket("removed").unwrap();
    put_round(&removed, 0..100, 1);
    settle(&store);
    let (filled, version) = (bases(&bucket), removed.version());
    assert!(removed.at(version).is_ok());
    store.remove_bucket("removed", true).unwrap();
    put_round(&bucket, 0..100, 1);
    settle(&store);
    (store, bucket, removed, version, filled)
}

#[test]
fn a_removed_bucket_gives_back_what_was_merged_of_it() {
    let (_store, bucket, _removed, _version, filled) = with_removed_bucket();
    let left = bases(&bucket);
    let left = left.iter().filter(|&base| filled.contains(base)).count();
    // History still shows the last quarter or so as it was.
    assert!(2 * left < filled.len(), "{left} of {}", filled.len());
}

#[test]
fn a_handle_of_a_removed_bucket_shows_no_part_of_a_past_that_is_being_collected() {
    let (_store, bucket, removed, version, _filled) = with_removed_bucket();
    assert!(bucket.keyspace().floor() <= version.get());
    let view = removed.at(version);
    let rows = view.map(|view| view.scan(&crate::Scan::default()).count());
    assert_eq!(rows.unwrap_err().kind(), ErrorKind::BucketNotFound);
    assert!(bucket.at(version).is_ok());
}
