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
