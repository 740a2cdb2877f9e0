use cairn_log::vfs::Vfs;
use cairn_log::vfs::simulated::SimulatedDisk;

use super::*;
use crate::keyspace::testing::{index, options, write_runs};
use crate::{Bucket, Durability, Options, PutOptions, Store};

fn open_as(disk: &Arc<SimulatedDisk>, options: Options) -> Store {
    let vfs = Arc::clone(disk) as Arc<dyn Vfs>;
    options.open_on(vfs, "/store").unwrap()
}

fn open(disk: &Arc<SimulatedDisk>) -> Store {
    open_as(disk, options())
}

fn key(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

fn put(bucket: &Bucket, keys: std::ops::Range<u32>) {
    for number in keys {
        bucket.put(key(number), vec![1; 20]).unwrap();
    }
}

/// A store with so many merged keys in each of two buckets, opened anew.
fn reopened(keys: u32, disk: &Arc<SimulatedDisk>) -> (Store, [Bucket; 2]) {
    let store = open(disk);
    for name in ["one", "two"] {
        put(&store.bucket(name).unwrap(), 0..keys);
    }
    let bucket = store.bucket("one").unwrap();
    merge_all(&bucket);
    drop((bucket, store));
    let store = open(disk);
    let buckets = ["one", "two"].map(|name| store.bucket(name).unwrap());
    (store, buckets)
}

fn id(bucket: &Bucket) -> BucketId {
    let live = bucket.keyspace().live_buckets();
    let is_it = |state: &&Arc<BucketState>| state.name.as_str() == bucket.name();
    live.iter().find(is_it).unwrap().id
}

fn is_in_hot(bucket: &Bucket, number: u32) -> bool {
    place_in_hot(bucket, &key(number)).is_some()
}

fn place_in_hot(bucket: &Bucket, key: &[u8]) -> Option<u64> {
    let keyspace = bucket.keyspace();
    keyspace.hot.find(keyspace.seed.hash(id(bucket), key))
}

fn in_hot(bucket: &Bucket, keys: u32) -> usize {
    (0..keys)
        .filter(|&number| is_in_hot(bucket, number))
        .count()
}

/// Goes on to another segment, with a key that is none of the others.
fn begin_segment(bucket: &Bucket) {
    bucket.keyspace().log().seal().unwrap();
    bucket.put("another segment", "").unwrap();
}

fn merge_all(bucket: &Bucket) {
    begin_segment(bucket);
    index(bucket.keyspace());
}

/// As often as makes a pass due.
fn read_cold(bucket: &Bucket, keys: std::ops::Range<u32>) {
    for number in keys {
        assert!(bucket.get(key(number)).unwrap().is_some());
    }
}

fn warm(keyspace: &Keyspace) -> usize {
    let mut maintenance = keyspace.maintenance.lock();
    let mut steps = 0;
    while keyspace.warm_hot(&mut maintenance).unwrap() {
        steps += 1;
        assert!(steps < 1_000, "it does not come to its end");
    }
    steps
}

#[test]
fn a_store_that_was_opened_anew_offers_what_is_merged_once_reads_have_asked_for_some() {
    let disk = Arc::new(SimulatedDisk::new(1));
    let (_store, [one, two]) = reopened(500, &disk);
    let keyspace = one.keyspace();
    assert_eq!((in_hot(&one, 500), in_hot(&two, 500)), (0, 0));
    assert_eq!(warm(keyspace), 0, "nobody has read");
    read_cold(&one, 0..3);
    assert_eq!(warm(keyspace), 0, "hardly anybody has");
    read_cold(&two, 3..20);
    // Bytes of keys and values are of no interest here: steps are counted in keys.
    assert!(warm(keyspace) >= 1_000 / STEP_KEYS);
    // Keys of one handful that share a set stand in one another's way.
    assert!(in_hot(&one, 500) > 480 && in_hot(&two, 500) > 480);
    assert_eq!(keyspace.cold_reads.load(Ordering::Relaxed), 0);
    read_cold(&one, 0..500);
    let asked = keyspace.cold_reads.load(Ordering::Relaxed);
    assert!(
        asked < 20,
        "the merged index was asked {asked} times after all"
    );
}

#[test]
fn the_thread_of_the_index_does_it_by_itself() {
    let disk = Arc::new(SimulatedDisk::new(2));
    drop(reopened(500, &disk));
    let store = open_as(&disk, options().threads(true));
    let bucket = store.bucket("one").unwrap();
    let begun = std::time::Instant::now();
    for number in (0..500).cycle() {
        read_cold(&bucket, number..number + 1);
        if in_hot(&store.bucket("two").unwrap(), 500) > 480 {
            break;
        }
        assert!(begun.elapsed().as_secs() < 60, "it does not");
    }
}

#[test]
fn what_was_written_since_is_not_taken_for_merged() {
    let disk = Arc::new(SimulatedDisk::new(3));
    let (_store, [one, _]) = reopened(100, &disk);
    let keyspace = one.keyspace();
    // In a run, then in a memtable. The hot index forgets what it was told of them.
    one.put(key(1), "in a run").unwrap();
    one.delete(key(2)).unwrap();
    begin_segment(&one);
    write_runs(keyspace);
    one.put(key(3), "in a memtable").unwrap();
    one.delete(key(4)).unwrap();
    keyspace.grow_hot_at_once();
    read_cold(&one, 10..20);
    warm(keyspace);
    for number in 1..=4 {
        assert!(!is_in_hot(&one, number), "{number}");
    }
    assert!(in_hot(&one, 100) > 90);
    assert_eq!(one.get(key(1)).unwrap().unwrap().value, "in a run");
    assert!(one.get(key(2)).unwrap().is_none());
    assert_eq!(one.get(key(3)).unwrap().unwrap().value, "in a memtable");
    assert!(one.get(key(4)).unwrap().is_none());
}

/// Between a look at the merged index and the offer there may be a commit, or levels that know more.
#[test]
fn what_is_written_in_the_midst_of_an_offer_wins() {
    let disk = Arc::new(SimulatedDisk::new(4));
    let (_store, [one, _]) = reopened(100, &disk);
    let keyspace = one.keyspace();
    let merged = || keyspace.levels.read().merged.clone().unwrap();
    let all = |view: &Arc<View>| -> Vec<(Key, Entry)> {
        let range = view.range(id(&one), (Bound::Unbounded, Bound::Unbounded), false);
        range.unwrap().map(|found| found.unwrap()).collect()
    };
    let before = merged();
    let some = all(&before);
    put(&one, 0..50);
    keyspace.grow_hot_at_once();
    assert!(keyspace.offer(id(&one), &before, &some) > 40);
    assert_eq!((0..50).filter(|&number| is_in_hot(&one, number)).count(), 0);
    // Another merge: what was read of the one before is old.
    merge_all(&one);
    keyspace.grow_hot_at_once();
    assert_eq!(keyspace.offer(id(&one), &before, &some), 0);
    let after = merged();
    assert!(keyspace.offer(id(&one), &after, &all(&after)) > 90);
}

#[test]
fn what_is_not_read_by_way_of_the_hot_index_does_not_enter_it() {
    let disk = Arc::new(SimulatedDisk::new(5));
    let large = || options().segment_bytes(4 << 20);
    let store = open_as(&disk, large());
    let bucket = store.bucket("bucket").unwrap();
    let long = vec![7; 20 << 10];
    bucket.put("long", long.clone()).unwrap();
    bucket.put("short", "value").unwrap();
    store.append(0, "topic", b"record").unwrap();
    assert!(place_in_hot(&bucket, b"short").is_some());
    assert_eq!(place_in_hot(&bucket, b"long"), None);
    // Nor are pieces read by their keys, short as the last one may be, nor records of topics.
    let mut upload = bucket.upload("pieces", PutOptions::default()).unwrap();
    upload.write(&vec![7; (1 << 20) + (70 << 10)]).unwrap();
    let commit = upload.finish(&[], Durability::Local).unwrap();
    commit.wait().unwrap();
    assert_eq!(bucket.keyspace().hot.used(), 1);
    merge_all(&bucket);
    drop((bucket, store));
    let store = open_as(&disk, large());
    let bucket = store.bucket("bucket").unwrap();
    let keyspace = bucket.keyspace();
    for _ in 0..10 {
        assert_eq!(bucket.get("long").unwrap().unwrap().value, long);
    }
    assert_eq!(keyspace.cold_reads.load(Ordering::Relaxed), 0);
    keyspace.cold_reads.store(100, Ordering::Relaxed);
    assert!(warm(keyspace) > 0);
    assert!(place_in_hot(&bucket, b"short").is_some());
    assert_eq!(place_in_hot(&bucket, b"long"), None);
    // A short value takes the key in, a long one takes it out again.
    bucket.put("long", "short").unwrap();
    assert!(place_in_hot(&bucket, b"long").is_some());
    bucket.put("long", long).unwrap();
    assert_eq!(place_in_hot(&bucket, b"long"), None);
}

#[test]
fn passes_that_are_of_no_use_become_rare() {
    let disk = Arc::new(SimulatedDisk::new(6));
    let (_store, [one, _]) = reopened(100, &disk);
    let keyspace = one.keyspace();
    let due = || keyspace.cold_reads_due.load(Ordering::Relaxed);
    read_cold(&one, 0..4);
    assert!(warm(keyspace) > 0);
    assert_eq!(due(), COLD_READS_MIN);
    for times in 1..=3 {
        // As if keys took the entries of one another.
        keyspace.cold_reads.store(due(), Ordering::Relaxed);
        assert!(warm(keyspace) > 0);
        assert_eq!(due(), COLD_READS_MIN * PATIENCE.pow(times));
        keyspace.cold_reads.store(due() - 1, Ordering::Relaxed);
        assert_eq!(warm(keyspace), 0);
    }
    // A growth loses what is there, so the next pass is not waited for.
    keyspace.grow_hot_at_once();
    keyspace.cold_reads.store(COLD_READS_MIN, Ordering::Relaxed);
    assert!(warm(keyspace) > 0);
    assert!(in_hot(&one, 100) > 90);
    assert_eq!(due(), COLD_READS_MIN);
}

#[test]
fn a_large_bucket_that_is_dropped_leaves_room() {
    let disk = Arc::new(SimulatedDisk::new(9));
    let (store, [one, two]) = reopened(500, &disk);
    let keyspace = Arc::clone(one.keyspace());
    // Some keys are not merged yet.
    put(&two, 500..600);
    read_cold(&one, 0..20);
    warm(&keyspace);
    assert!(keyspace.hot.used() > 1_000);
    drop(two);
    store.remove_bucket("two", true).unwrap();
    merge_all(&one);
    assert_eq!(keyspace.hot.used(), 0);
    read_cold(&one, 0..20);
    warm(&keyspace);
    assert!(in_hot(&one, 500) > 480);
    // A small one is not worth it.
    let used = keyspace.hot.used();
    put(&store.bucket("two").unwrap(), 0..10);
    store.remove_bucket("two", true).unwrap();
    merge_all(&one);
    assert!(keyspace.hot.used() >= used);
    // One that was never merged is.
    put(&store.bucket("two").unwrap(), 0..500);
    store.remove_bucket("two", true).unwrap();
    merge_all(&one);
    assert_eq!(keyspace.hot.used(), 0);
}

#[test]
fn without_room_nothing_is_walked_and_a_pass_ends_when_there_is_none_left() {
    let disk = Arc::new(SimulatedDisk::new(7));
    drop(reopened(500, &disk));
    let store = open_as(&disk, options().hot_index_bytes(0));
    let bucket = store.bucket("one").unwrap();
    read_cold(&bucket, 0..100);
    assert_eq!(warm(bucket.keyspace()), 0);
    drop((bucket, store));
    // Sixteen sets of fifteen.
    let store = open_as(&disk, options().hot_index_bytes(2_048));
    let bucket = store.bucket("one").unwrap();
    let keyspace = bucket.keyspace();
    read_cold(&bucket, 0..10);
    assert!((1..1_000 / STEP_KEYS).contains(&warm(keyspace)));
    assert!(!keyspace.hot.has_room());
    read_cold(&bucket, 0..500);
    assert_eq!(warm(keyspace), 0);
}

#[test]
fn a_damaged_index_is_made_again_and_the_pass_begins_anew() {
    let disk = Arc::new(SimulatedDisk::new(8));
    drop(reopened(500, &disk));
    let damaged = disk
        .paths()
        .into_iter()
        .find(|path| path.ends_with(crate::keyspace::maintain::MERGED_NAME));
    let damaged = damaged.unwrap();
    // So that the pages are read from the file once more.
    let store = open_as(&disk, options().cache_bytes(0));
    let bucket = store.bucket("one").unwrap();
    let keyspace = bucket.keyspace();
    for at in (0..disk.length(&damaged)).step_by(512) {
        disk.flip_bit(&damaged, at, 1);
    }
    keyspace.cold_reads.store(1_000, Ordering::Relaxed);
    assert!(warm(keyspace) > 0);
    assert!(
        keyspace.index_status().rebuilds > 0,
        "the pass did not mend it"
    );
    while keyspace.step_index().unwrap() {}
    read_cold(&bucket, 0..500);
    keyspace.cold_reads.store(1_000, Ordering::Relaxed);
    warm(keyspace);
    assert!(in_hot(&store.bucket("two").unwrap(), 500) > 480);
}

#[test]
fn whoever_closes_the_store_waits_for_no_pass() {
    let disk = Arc::new(SimulatedDisk::new(10));
    let (_store, [one, _]) = reopened(500, &disk);
    let keyspace = one.keyspace();
    read_cold(&one, 0..20);
    let mut maintenance = keyspace.maintenance.lock();
    assert!(keyspace.warm_hot(&mut maintenance).unwrap());
    keyspace.stop_maintaining();
    assert!(!keyspace.warm_hot(&mut maintenance).unwrap());
    assert!(in_hot(&one, 500) < 480, "the pass was at its end");
}
