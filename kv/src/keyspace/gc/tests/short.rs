use super::*;
use crate::Options;
use crate::keyspace::testing::write_runs;

/// More short segments than are kept, all merged.
fn with_short_segments(disk: &Arc<SimulatedDisk>) -> (Store, Bucket) {
    let options = options().segment_bytes(1 << 20);
    let vfs = Arc::clone(disk) as Arc<dyn Vfs>;
    let store = options.open_on(vfs, "/store").unwrap();
    let bucket = store.bucket("b").unwrap();
    for number in 0..100_u32 {
        bucket.put(number.to_be_bytes(), [7; 900]).unwrap();
        bucket.keyspace().log().seal().unwrap();
        write_runs(bucket.keyspace());
    }
    bucket.put("another segment", "x").unwrap();
    index(bucket.keyspace());
    assert_eq!(bases(&bucket).len(), 101);
    (store, bucket)
}

#[test]
fn the_oldest_are_emptied_until_few_enough_are_left_and_no_other_is_judged_again_for_it() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let (store, bucket) = with_short_segments(&disk);
    let first = bases(&bucket)[0];
    settle(&store);
    let left = bases(&bucket);
    assert!((60..70).contains(&left.len()), "{}", left.len());
    assert!(left[0] > first);
    assert_eq!(bucket.keyspace().maintenance.lock().garbage.drops, 0);
    for number in 0..100_u32 {
        let entry = bucket.get(number.to_be_bytes()).unwrap();
        assert_eq!(entry.unwrap().value[..], [7; 900], "{number}");
    }
}

#[test]
fn none_is_emptied_on_a_full_disk() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let (_store, bucket) = with_short_segments(&disk);
    let keyspace = bucket.keyspace();
    let mut maintenance = keyspace.maintenance.lock();
    maintenance.is_starved = true;
    assert!(!keyspace.collect_short(&mut maintenance).unwrap());
    maintenance.is_starved = false;
    assert!(keyspace.collect_short(&mut maintenance).unwrap());
}

#[test]
fn one_that_cannot_be_read_is_tried_once_and_the_next_ones_go() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let (store, bucket) = with_short_segments(&disk);
    let keyspace = bucket.keyspace();
    let levels = Arc::clone(&keyspace.levels.read());
    // The oldest holds the creation of the bucket as well.
    let second = keyspace.archive(&levels).unwrap().into_iter().nth_back(1);
    let second = second.unwrap();
    drop(levels);
    let base = second.head().identity.base;
    let place = 4_096 + second.in_key_order(0).unwrap().record - base + 10;
    disk.flip_bit("/store/p0000/0000000000000002.seg", place, 0);
    let refused = (0..200).filter_map(|_| store.step().err()).count();
    assert_eq!(refused, 1);
    let left = bases(&bucket);
    assert_eq!(left[0], base);
    assert!(left.len() < 70, "{}", left.len());
}

#[test]
fn what_small_memtables_make_is_not_short() {
    let is_short = |options: Options| {
        let disk = Arc::new(SimulatedDisk::new(0));
        let store = options.open_on(disk as Arc<dyn Vfs>, "/store").unwrap();
        let bucket = store.bucket("b").unwrap();
        let row = SegmentRow {
            end: 10 << 10,
            ..SegmentRow::default()
        };
        bucket.keyspace().is_short(&row)
    };
    let options = || options().segment_bytes(1 << 20);
    assert!(is_short(options()));
    assert!(!is_short(options().memtable_bytes(128 << 10)));
    assert!(!is_short(options().segment_bytes(64 << 10)));
}
