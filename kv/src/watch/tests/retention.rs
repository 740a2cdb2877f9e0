//! What a watch keeps, and what it is told when something is gone.

use cairn_log::Dropped;

use super::*;

/// A bucket whose puts each stand in a segment of their own, and their versions.
fn one_put_a_segment(store: &Store, count: usize) -> (Bucket, Vec<u64>) {
    let bucket = store.bucket("b").unwrap();
    let versions = (0..count).map(|number| {
        bucket.keyspace().log().seal().unwrap();
        bucket.put("k", number.to_string()).unwrap().get()
    });
    let versions = versions.collect();
    (bucket, versions)
}

fn drop_segment(bucket: &Bucket, base: u64) -> Dropped {
    let keyspace = bucket.keyspace();
    keyspace.watchers().move_pins(keyspace.log());
    keyspace.log().drop_segment(Offset::new(base)).unwrap()
}

fn numbers(watch: &mut Watch) -> Vec<String> {
    let all = drained(watch).into_iter();
    all.map(|(_, mut events)| events.remove(0).1.unwrap())
        .collect()
}

#[test]
fn below_the_floor_and_inside_a_dropped_segment_a_watch_is_compacted() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let store = open(&disk);
    let (bucket, versions) = one_put_a_segment(&store, 6);
    assert_eq!(drop_segment(&bucket, versions[2]), Dropped::Done);
    let floor = bucket.keyspace().log().dropped_end().get();
    // Also where the segments right behind are still there: the hole comes later.
    let below = [0, versions[0], versions[1], versions[2], floor - 1];
    for from in below {
        assert_eq!(refusal(&bucket, from), ErrorKind::Compacted, "{from}");
    }
    assert_eq!(numbers(&mut watch(&bucket, floor)), ["4", "5"]);
    assert_eq!(numbers(&mut watch(&bucket, versions[3])), ["4", "5"]);
}

#[test]
fn whoever_has_seen_everything_misses_nothing_when_all_of_it_is_dropped() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let store = open(&disk);
    let (bucket, versions) = one_put_a_segment(&store, 3);
    let mut connected = bucket.watch(None, "").unwrap();
    bucket.keyspace().log().seal().unwrap();
    for span in bucket.keyspace().log().segments() {
        let _ = drop_segment(&bucket, span.base.get());
    }
    assert!(bucket.keyspace().log().dropped_end().get() > versions[2]);
    let mut resumed = watch(&bucket, versions[2]);
    assert_eq!(connected.version().get(), versions[2]);
    bucket.put("k", "next").unwrap();
    for watch in [&mut resumed, &mut connected] {
        assert_eq!(numbers(watch), ["next"]);
    }
    assert_eq!(refusal(&bucket, versions[2]), ErrorKind::Compacted);
}

#[test]
fn a_connected_watch_keeps_what_it_has_not_seen_and_lets_go_of_what_it_has() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let store = open(&disk);
    let (bucket, versions) = one_put_a_segment(&store, 5);
    let mut watch = watch(&bucket, versions[0]);
    // The first batch stands at the position's segment, which therefore stays.
    assert_eq!(drop_segment(&bucket, versions[1]), Dropped::Pinned);
    assert_eq!(drop_segment(&bucket, versions[3]), Dropped::Pinned);
    watch.next(NO_WAIT).unwrap().unwrap();
    assert_eq!(drop_segment(&bucket, versions[1]), Dropped::Done);
    assert_eq!(drop_segment(&bucket, versions[2]), Dropped::Pinned);
    assert_eq!(numbers(&mut watch), ["2", "3", "4"]);
    assert_eq!(drop_segment(&bucket, versions[3]), Dropped::Done);
    drop(watch);
    assert_eq!(drop_segment(&bucket, versions[2]), Dropped::Done);
}

#[test]
fn a_watch_that_is_not_polled_lags_out_and_is_told_where_something_is_missing() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let store = open_with(options().watch_lag_bytes(500), &disk);
    let (bucket, versions) = one_put_a_segment(&store, 2);
    let mut late = watch(&bucket, versions[0]);
    let mut lucky = watch(&bucket, versions[0]);
    let more: Vec<u64> = (2..5)
        .map(|number| {
            bucket.keyspace().log().seal().unwrap();
            bucket.put("k", number.to_string()).unwrap().get()
        })
        .collect();
    assert_eq!(drop_segment(&bucket, more[0]), Dropped::Pinned);
    for number in 5..15 {
        bucket.put("k", number.to_string()).unwrap();
    }
    // Too far behind, but nothing is gone yet: it catches up.
    store.step().unwrap();
    assert_eq!(numbers(&mut lucky).len(), 14);
    assert_eq!(drop_segment(&bucket, more[0]), Dropped::Done);
    assert_eq!(numbers_until_compacted(&mut late), ["1"]);
    let error = late.next(PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Compacted);
    assert_eq!(numbers(&mut lucky).len(), 0);
}

fn numbers_until_compacted(watch: &mut Watch) -> Vec<String> {
    let mut numbers = Vec::new();
    loop {
        match watch.next(PATIENCE) {
            Ok(batch) => numbers.extend(seen(&batch.unwrap()).1[0].1.clone()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Compacted);
                return numbers;
            }
        }
    }
}

#[test]
fn garbage_collection_under_a_watch_shows_no_moved_record_and_skips_nothing() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let options = options().merge_entries(50).history_bytes_min(0);
    let store = open_with(options, &disk);
    let bucket = store.bucket("b").unwrap();
    // Moved again and again, since nobody replaces them.
    let mut expected: Vec<u64> = (0..20)
        .map(|number| bucket.put(format!("kept {number}"), "v").unwrap().get())
        .collect();
    let mut connected = watch(&bucket, 0);
    let mut told = Vec::new();
    let first = bucket.keyspace().log().segments()[0].base;
    for number in 0..1_500 {
        let key = format!("k{}", number % 10);
        expected.push(bucket.put(key, vec![b'v'; 1_000]).unwrap().get());
        if number % 100 == 0 {
            told.extend(
                drained(&mut connected)
                    .into_iter()
                    .map(|(version, _)| version),
            );
        }
        while store.step().unwrap() {}
    }
    told.extend(
        drained(&mut connected)
            .into_iter()
            .map(|(version, _)| version),
    );
    assert_eq!(told, expected);
    let log = bucket.keyspace().log();
    assert!(log.segments()[0].base > first, "nothing was collected");
    // What is left can be resumed from anywhere above the floor, and is told to be less below it.
    let floor = log.dropped_end().get();
    let (gone, left) = expected.split_at(expected.partition_point(|&version| version < floor));
    assert!(
        gone.len() > 100 && left.len() > 20,
        "{} and {}",
        gone.len(),
        left.len()
    );
    for &from in gone.iter().step_by(50) {
        assert_eq!(refusal(&bucket, from), ErrorKind::Compacted);
    }
    for at in (0..left.len()).step_by(10) {
        let rest = drained(&mut watch(&bucket, left[at]));
        let versions: Vec<u64> = rest.into_iter().map(|(version, _)| version).collect();
        assert_eq!(versions, left[at + 1..]);
    }
}

#[test]
fn the_threads_of_a_store_release_what_a_watch_has_seen() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let store = open_with(options().threads(true), &disk);
    let (bucket, versions) = one_put_a_segment(&store, 2);
    let mut quiet = bucket.watch(None, "elsewhere").unwrap();
    bucket.put("k", "in the same segment").unwrap();
    let log = bucket.keyspace().log();
    log.seal().unwrap();
    let first = log.drop_segment(Offset::new(versions[1])).unwrap();
    assert_eq!(first, Dropped::Pinned, "it has not seen that segment's end");
    for tries in 0.. {
        assert_eq!(quiet.next(NO_WAIT).unwrap(), None);
        log.seal().unwrap();
        bucket.put("k", "v").unwrap();
        if log.drop_segment(Offset::new(versions[1])).unwrap() == Dropped::Done {
            break;
        }
        assert!(tries < 1_000, "the pin of a quiet watch never moves");
        thread::sleep(Duration::from_millis(5));
    }
}
