use super::*;
use crate::bucket::name::BucketName;
use crate::keyspace::buckets::Dropping;

#[test]
fn a_bucket_is_created_once_and_found_again_also_by_the_next_open() {
    let bench = Bench::new(1);
    let store = bench.open();
    let options = BucketOptions {
        history_ms: Some(5),
        ..Default::default()
    };
    let (bucket, created) = store.create_bucket("b", options).unwrap();
    assert!(created);
    let (_, created) = store.create_bucket("b", options).unwrap();
    assert!(!created);
    assert_eq!(
        kind(store.create_bucket("b", BucketOptions::default())),
        ErrorKind::BucketExists
    );
    let info = bucket.info().unwrap();
    assert_eq!(
        (&info.name[..], info.keys, info.created_ms),
        ("b", 0, START_MS)
    );
    assert_eq!(info.options, options);
    bucket.put("k", "value").unwrap();
    let info = store.bucket("b").unwrap().info().unwrap();
    assert_eq!((info.keys, info.bytes), (1, 6));
    store.close().unwrap();
    drop((store, bucket));

    bench.clock.pass(1_000);
    let store = bench.open();
    assert_eq!(store.buckets().unwrap(), [info]);
    assert_eq!(kind(store.open_bucket("c")), ErrorKind::BucketNotFound);
    assert_eq!(kind(store.open_bucket("C")), ErrorKind::InvalidArgument);
    assert_eq!(kind(store.bucket("x.at.y")), ErrorKind::InvalidArgument);
}

#[test]
fn keys_of_one_bucket_are_not_those_of_another() {
    let store = Store::memory();
    let (a, b) = (store.bucket("a").unwrap(), store.bucket("b").unwrap());
    a.put("k", "a's").unwrap();
    b.put("k", "b's").unwrap();
    assert_eq!(
        (value(&a, "k").unwrap(), value(&b, "k").unwrap()),
        ("a's".into(), "b's".into())
    );
    a.delete("k").unwrap();
    assert_eq!(
        (value(&a, "k"), value(&b, "k").unwrap()),
        (None, "b's".into())
    );
    assert_eq!(b.scan(Scan::default()).unwrap().count(), 1);
}

#[test]
fn only_an_empty_bucket_is_removed_without_force() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    bucket
        .put_with(
            "k",
            "v",
            &PutOptions {
                ttl_ms: Some(10),
                ..Default::default()
            },
        )
        .unwrap();
    assert_eq!(
        kind(store.remove_bucket("b", false)),
        ErrorKind::BucketNotEmpty
    );
    bench.clock.pass(10);
    store.remove_bucket("b", false).unwrap();
    assert_eq!(
        kind(store.remove_bucket("b", false)),
        ErrorKind::BucketNotFound
    );

    store.bucket("b").unwrap().put("k", "v").unwrap();
    store.remove_bucket("b", true).unwrap();
    let again = store.bucket("b").unwrap();
    again.put("k", "v").unwrap();
    again.delete("k").unwrap();
    store.remove_bucket("b", false).unwrap();
    assert!(store.buckets().unwrap().is_empty());
}

#[test]
fn a_handle_of_a_removed_bucket_finds_nothing_not_even_its_namesake() {
    let bench = Bench::new(1);
    let store = bench.open();
    let old = store.bucket("b").unwrap();
    old.put("k", "old").unwrap();
    store.remove_bucket("b", true).unwrap();
    let new = store.bucket("b").unwrap();
    new.put("k", "new").unwrap();
    assert_ne!(old_id(&new), 0);
    for result in [
        old.get("k").map(drop),
        old.put("k", "").map(drop),
        old.delete("k").map(drop),
        old.multi_get(&["k"]).map(drop),
        old.scan(Scan::default()).map(drop),
        old.info().map(drop),
        old.write(Batch::new(), Durability::Buffered).map(drop),
    ] {
        assert_eq!(kind(result), ErrorKind::BucketNotFound);
    }
    assert_eq!(value(&new, "k").unwrap(), "new");
    store.close().unwrap();
    drop((old, new, store));
    let store = bench.open();
    assert_eq!(value(&store.open_bucket("b").unwrap(), "k").unwrap(), "new");
}

fn old_id(bucket: &Bucket) -> u32 {
    bucket.info().unwrap().id
}

#[test]
fn a_bucket_created_again_has_a_new_id_its_old_partition_and_higher_versions() {
    let bench = Bench::new(1);
    let bench = Bench {
        options: bench.options.clone().partitions(3),
        ..bench
    };
    let store = bench.open();
    let partitions: Vec<_> = ["a", "b", "c"]
        .map(|name| store.bucket(name).unwrap().info().unwrap().partition)
        .into();
    assert_eq!(partitions, [0, 1, 2]);
    let old = store.bucket("b").unwrap();
    let version = old.put("k", "v").unwrap();
    let id = old_id(&old);
    store.remove_bucket("b", true).unwrap();
    store.remove_bucket("a", true).unwrap();
    store.close().unwrap();
    drop((old, store));
    let store = bench.open();
    let new = store.bucket("b").unwrap();
    let info = new.info().unwrap();
    assert!(info.id > id && info.partition == 1);
    assert!(new.version() > version);
    assert!(new.put("k", "v").unwrap() > new.delete("x").map(|_| version).unwrap());
}

#[test]
fn an_empty_buckets_version_is_at_least_its_creations() {
    let store = Store::memory();
    let first = store.bucket("a").unwrap().version();
    let second = store.bucket("b").unwrap().version();
    assert!(first.is_valid() && second > first);
    assert_eq!(
        store
            .bucket("b")
            .unwrap()
            .scan(Scan::default())
            .unwrap()
            .version(),
        second
    );
    assert_eq!(
        store.bucket("b").unwrap().delete("k").unwrap().version,
        second
    );
}

#[test]
fn a_scan_goes_on_through_the_removal_of_its_bucket() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    for number in 0..200 {
        bucket.put(format!("{number:03}"), "v").unwrap();
    }
    let mut entries = bucket.scan(Scan::default()).unwrap();
    assert!(entries.next().is_some());
    store.remove_bucket("b", true).unwrap();
    assert_eq!(entries.filter(|entry| entry.is_ok()).count(), 199);
    assert_eq!(
        kind(bucket.scan(Scan::default())),
        ErrorKind::BucketNotFound
    );
}

#[test]
fn a_bucket_written_to_since_it_was_found_empty_is_not_dropped() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    let name = BucketName::new("b").unwrap();
    let state = store.0.existing(&name).unwrap();
    let keyspace = store.0.keyspace(&state);
    let written = keyspace.check_empty(&state).unwrap();
    bucket.put("k", "v").unwrap();
    assert!(matches!(
        keyspace.try_drop(&state, Some(written)).unwrap(),
        Dropping::Written
    ));
    assert_eq!(value(&bucket, "k").unwrap(), "v");
}

#[test]
fn threads_that_create_the_same_bucket_get_the_same_one() {
    for _ in 0..20 {
        let store = Store::memory();
        let created: Vec<(u32, bool)> = std::thread::scope(|scope| {
            let create = || {
                let (bucket, created) = store.create_bucket("b", BucketOptions::default()).unwrap();
                (bucket.info().unwrap().id, created)
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(create)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert_eq!(created.iter().filter(|(_, created)| *created).count(), 1);
        assert!(created.iter().all(|(id, _)| *id == created[0].0));
    }
}

#[test]
fn threads_that_create_write_and_remove_meet_only_what_they_may() {
    let store = Store::memory();
    let mut seen = std::collections::BTreeMap::<ErrorKind, usize>::new();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread: usize| {
                let store = &store;
                scope.spawn(move || {
                    let mut outcomes = vec![];
                    for round in 0..100 {
                        outcomes.push(match (round + thread) % 3 {
                            0 => store.bucket("b").map(drop),
                            1 => store.bucket("b").and_then(|b| b.put("k", "v")).map(drop),
                            _ => store.remove_bucket("b", round % 2 == 0),
                        });
                    }
                    outcomes
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    for outcome in outcomes {
        if let Err(error) = outcome {
            *seen.entry(error.kind()).or_default() += 1;
        }
    }
    assert!(
        seen.keys()
            .all(|kind| { matches!(kind, ErrorKind::BucketNotFound | ErrorKind::BucketNotEmpty) })
    );
    let digest = store.state_digest().unwrap();
    assert_eq!(digest, store.state_digest().unwrap());
}
