//! Named snapshots: law 7, what a pin protects is never lost and space stays bounded; law 1 and 5
//! for the pins themselves.

mod crash;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::testing::Random;

type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// A store of small segments whose garbage is collected as soon as it can be, and whose history
/// reaches back to next to nothing.
fn eager(bench: Bench) -> Bench {
    let options = bench.options.clone();
    let options = options.merge_entries(1).history_bytes_min(0);
    Bench {
        options: options.segment_bytes(16 << 10),
        ..bench
    }
}

fn settle(store: &Store) {
    while store.step().unwrap() {}
}

/// What a view shows: by scans in both directions, and each key by itself.
fn shown(view: &View) -> State {
    let scan = |reverse| {
        let scan = Scan {
            reverse,
            ..Scan::default()
        };
        let rows = view.scan(&scan).map(|row| row.unwrap());
        let rows = rows.map(|(key, entry)| (key.to_vec(), entry.value.to_vec()));
        rows.collect::<Vec<_>>()
    };
    let mut backwards = scan(true);
    backwards.reverse();
    let forwards = scan(false);
    assert!(forwards == backwards);
    let state: State = forwards.into_iter().collect();
    for (key, value) in &state {
        assert_eq!(view.get(key).unwrap().unwrap().value, value[..]);
    }
    state
}

fn key(number: usize) -> Vec<u8> {
    format!("key {number:03}").into_bytes()
}

/// Overwrites and deletes keys at random, and has garbage collected meanwhile.
fn churn(store: &Store, bucket: &Bucket, state: &mut State, random: &mut Random, writes: usize) {
    for _ in 0..writes {
        // Some keys are written often, others seldom.
        let key = key(random.below(60) / (1 + random.below(3)));
        if random.below(5) == 0 {
            bucket.delete(&key).unwrap();
            state.remove(&key);
        } else {
            let value = vec![random.next().to_le_bytes()[0]; random.below(1_200)];
            bucket.put(&key, &value).unwrap();
            state.insert(key, value);
        }
        if random.below(4) == 0 {
            settle(store);
        }
    }
    settle(store);
}

/// The same directory after a kill, without its runs and its merged index.
fn without_index(bench: &Bench) -> Bench {
    let disk = bench.disk.process_death();
    for path in disk.paths() {
        let suffix = path.extension().unwrap_or_default();
        if suffix == "run" || suffix == "redb" {
            disk.erase(&path);
        }
    }
    eager(Bench::on(disk))
}

fn check(store: &Store, newest: &State, snapshots: &BTreeMap<&'static str, (Version, State)>) {
    let bucket = store.open_bucket("b").unwrap();
    assert!(shown(&bucket.view().unwrap()) == *newest);
    let listed = bucket.snapshots().unwrap();
    let listed: Vec<_> = listed
        .iter()
        .map(|one| (&one.name[..], one.version))
        .collect();
    let known = snapshots
        .iter()
        .map(|(&name, (version, _))| (name, *version));
    assert_eq!(listed, known.collect::<Vec<_>>());
    for (name, (version, state)) in snapshots {
        let view = bucket.snapshot_view(name).unwrap();
        assert_eq!(view.version(), *version);
        assert!(shown(&view) == *state, "{name}");
        assert!(shown(&bucket.at(*version).unwrap()) == *state, "at {name}");
        for number in 0..60 {
            let found = view
                .get(key(number))
                .unwrap()
                .map(|entry| entry.value.to_vec());
            assert!(found.as_ref() == state.get(&key(number)), "{name} {number}");
        }
    }
}

#[test]
fn law_7_a_snapshot_shows_its_moment_whatever_is_written_collected_and_lost() {
    for seed in 1..6 {
        let mut random = Random(seed);
        let bench = eager(Bench::new(seed));
        let store = bench.open();
        let bucket = store.bucket("b").unwrap();
        let (mut state, mut taken) = (State::new(), BTreeMap::new());
        for (round, name) in ["one", "two", "three", "four"].into_iter().enumerate() {
            churn(&store, &bucket, &mut state, &mut random, 40 + 200 * round);
            let info = bucket.snapshot(name).unwrap();
            taken.insert(name, (info.version, state.clone()));
        }
        churn(&store, &bucket, &mut state, &mut random, 400);
        let floor = store.0.floor(&bucket);
        let newest = taken.values().map(|(version, _)| version.get()).max();
        assert!(newest < Some(floor), "history shows {newest:?}: {floor}");
        let between = Version::new(taken["two"].0.get() - 1);
        assert_eq!(kind(bucket.at(between)), ErrorKind::Compacted);
        check(&store, &state, &taken);
        assert!(store.verify().unwrap().damaged.is_empty());
        // What is older than the first goes, what lies between two of them too.
        bucket.remove_snapshot("two").unwrap();
        taken.remove("two");
        churn(&store, &bucket, &mut state, &mut random, 300);
        check(&store, &state, &taken);
        let digest = store.state_digest().unwrap();
        for again in [
            eager(Bench::on(bench.disk.process_death())),
            without_index(&bench),
        ] {
            let store = again.open();
            assert_eq!(store.state_digest().unwrap(), digest);
            check(&store, &state, &taken);
            let bucket = store.bucket("b").unwrap();
            let mut state = state.clone();
            churn(&store, &bucket, &mut state, &mut random, 300);
            check(&store, &state, &taken);
            store.close().unwrap();
            drop((store, bucket));
            check(&again.open(), &state, &taken);
        }
    }
}

#[test]
fn law_7_space_is_bounded_by_what_is_live_and_what_snapshots_show() {
    let bench = eager(Bench::new(7));
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let write = |round: u8| {
        for number in 0..60 {
            bucket.put(key(number), vec![round; 900]).unwrap();
            // Unique keys that come and go leave nothing behind.
            let unique = format!("unique {round} {number}");
            bucket.put(&unique, "x").unwrap();
            bucket.delete(&unique).unwrap();
            settle(&store);
        }
    };
    let used = || store.status().partitions[0].bytes;
    let one = 60 * 920;
    let bound = |moments: u64| 2 * moments * one + 3 * (16 << 10);
    write(0);
    bucket.snapshot("first").unwrap();
    for round in 1..40 {
        write(round);
        assert!(used() <= bound(2), "{round}: {}", used());
    }
    bucket.snapshot("second").unwrap();
    for round in 40..80 {
        write(round);
        assert!(used() <= bound(3), "{round}: {}", used());
    }
    let with_both = used();
    assert!(with_both > bound(1), "{with_both}: they held nothing");
    for name in ["first", "second"] {
        bucket.remove_snapshot(name).unwrap();
    }
    settle(&store);
    let without_a_write = used();
    assert!(without_a_write <= bound(1), "{without_a_write}");
    write(80);
    assert!(used() <= bound(1), "{}", used());
    // The name can be taken again.
    bucket.snapshot("first").unwrap();
    write(81);
    let view = bucket.snapshot_view("first").unwrap();
    assert!(shown(&view).values().all(|value| value[0] == 80));
}

#[test]
fn a_deleted_key_stays_deleted_and_stays_in_the_snapshot() {
    let bench = eager(Bench::new(3));
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    bucket.put("deleted after", "old").unwrap();
    bucket.put("deleted before", "older").unwrap();
    bucket.delete("deleted before").unwrap();
    bucket.snapshot("s").unwrap();
    bucket.delete("deleted after").unwrap();
    bucket.put("deleted before", "newer").unwrap();
    let later = bucket.snapshot("later").unwrap();
    // All of that stands in one segment, and is moved out of it together, again and again.
    let (mut state, mut random) = (State::new(), Random(5));
    for round in 0..20 {
        churn(&store, &bucket, &mut state, &mut random, 60);
        let expect = |bucket: &Bucket| {
            let look = |view: &View| {
                let value = |key: &str| view.get(key).unwrap().map(|entry| entry.value);
                (value("deleted after"), value("deleted before"))
            };
            let found = look(&bucket.snapshot_view("s").unwrap());
            assert_eq!(found, (Some("old".into()), None), "{round}");
            let gone = (None, Some("newer".into()));
            assert_eq!(look(&bucket.snapshot_view("later").unwrap()), gone);
            assert_eq!(look(&bucket.at(later.version).unwrap()), gone);
            assert_eq!(look(&bucket.at(bucket.version()).unwrap()), gone);
            assert_eq!(look(&bucket.view().unwrap()), gone, "{round}");
        };
        expect(&bucket);
        let again = without_index(&bench).open();
        expect(&again.open_bucket("b").unwrap());
    }
    let dropped = store.0.log.partitions()[0].dropped_end().get();
    assert!(dropped > later.version.get(), "{dropped}");
}

#[test]
fn deadlines_are_judged_by_the_time_of_the_snapshot() {
    let bench = eager(Bench::new(4));
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let put = |key: &str, ttl_ms| {
        let options = PutOptions {
            ttl_ms: Some(ttl_ms),
            attributes: Attributes::new(),
        };
        bucket.put_with(key, "x", &options).unwrap();
    };
    put("short", 1_000);
    put("long", 60_000);
    bench.clock.pass(2_000);
    // No batch stands between: the time is that of the snapshot.
    let taken = bucket.snapshot("s").unwrap();
    assert_eq!(taken.created_ms, START_MS + 2_000);
    bench.clock.pass(100_000);
    settle(&store);
    let (mut state, mut random) = (State::new(), Random(5));
    for _ in 0..10 {
        churn(&store, &bucket, &mut state, &mut random, 60);
    }
    assert_eq!(value(&bucket, "long"), None);
    for store in [
        store,
        eager(Bench::on(bench.disk.process_death())).open(),
        without_index(&bench).open(),
    ] {
        let bucket = store.open_bucket("b").unwrap();
        assert_eq!(bucket.snapshots().unwrap(), std::slice::from_ref(&taken));
        let view = bucket.snapshot_view("s").unwrap();
        let shown: Vec<_> = shown(&view).into_keys().collect();
        assert_eq!(shown, [b"long"]);
    }
}

#[test]
fn a_snapshot_is_of_its_bucket_alone() {
    let bench = eager(Bench::new(2));
    let store = bench.open();
    let (one, other) = (store.bucket("b").unwrap(), store.bucket("other").unwrap());
    assert_eq!(one.snapshots().unwrap(), []);
    assert_eq!(kind(one.snapshot_view("s")), ErrorKind::SnapshotNotFound);
    assert_eq!(kind(one.remove_snapshot("s")), ErrorKind::SnapshotNotFound);
    let version = one.put("key", "one").unwrap();
    other.put("key", "other").unwrap();
    let taken = one.snapshot("s").unwrap();
    assert_eq!(kind(one.snapshot("s")), ErrorKind::SnapshotExists);
    assert_eq!(kind(other.snapshot_view("s")), ErrorKind::SnapshotNotFound);
    let of_other = other.snapshot("s").unwrap();
    assert!(version < taken.version && taken.version < of_other.version);
    for name in ["", "S", "a.b", &"s".repeat(21)] {
        for refused in [
            one.snapshot(name).map(drop),
            one.snapshot_view(name).map(drop),
            one.remove_snapshot(name),
        ] {
            assert_eq!(kind(refused), ErrorKind::InvalidArgument, "{name:?}");
        }
    }
    let (mut state, mut random) = (State::new(), Random(5));
    other.remove_snapshot("s").unwrap();
    for _ in 0..10 {
        churn(&store, &other, &mut state, &mut random, 60);
    }
    // Below the floor the version of one bucket's snapshot is no moment of another bucket.
    assert!(one.at(taken.version).is_ok());
    assert_eq!(kind(other.at(taken.version)), ErrorKind::Compacted);
    // Nobody sees the bucket in which snapshots are kept.
    assert_eq!(store.buckets().unwrap().len(), 2);
    assert_eq!(store.status().buckets, 2);
    let scan = LogScan {
        from: 0,
        limit: 10_000,
        topic: None,
    };
    let records = store.read_log(0, &scan).unwrap();
    assert!(records.iter().any(|one| one.kind == LogKind::Internal));
    let names = records.iter().filter_map(|record| record.bucket.as_deref());
    assert!(names.into_iter().all(|name| !name.starts_with('$')));
    let keys = records.iter().filter_map(|record| record.key.as_ref());
    assert!(keys.into_iter().all(|key| !key.ends_with(b"\0s")));
}

/// The number of snapshots that the index of a store has.
fn kept_in(store: &Store) -> usize {
    let system = store.0.known_snapshots_of(0).unwrap().unwrap();
    let keyspace = &store.0.keyspaces[0];
    let entries = Entries::begin(keyspace, &system, &Scan::default()).unwrap();
    let keys: Result<Vec<_>> = entries.collect();
    keys.unwrap().len()
}

#[test]
fn a_bucket_with_snapshots_is_removed_by_force_and_they_go_with_it() {
    let bench = eager(Bench::new(2));
    let store = bench.open();
    let (bucket, other) = (store.bucket("b").unwrap(), store.bucket("other").unwrap());
    other.put("key", "other").unwrap();
    other.snapshot("kept").unwrap();
    bucket.put("key", "x").unwrap();
    for name in ["one", "two"] {
        bucket.snapshot(name).unwrap();
    }
    bucket.delete("key").unwrap();
    let refused = store.remove_bucket("b", false).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::BucketNotEmpty);
    assert!(refused.message().contains("snapshots"), "{refused}");
    assert_eq!(kept_in(&store), 3);
    store.remove_bucket("b", true).unwrap();
    assert_eq!(kept_in(&store), 1);
    for refused in [
        bucket.snapshot("s").map(drop),
        bucket.snapshots().map(drop),
        bucket.snapshot_view("one").map(drop),
        bucket.remove_snapshot("one"),
    ] {
        assert_eq!(kind(refused), ErrorKind::BucketNotFound);
    }
    for again in [
        eager(Bench::on(bench.disk.process_death())),
        without_index(&bench),
    ] {
        let store = again.open();
        assert_eq!(kind(store.open_bucket("b")), ErrorKind::BucketNotFound);
        let bucket = store.bucket("b").unwrap();
        assert_eq!(bucket.snapshots().unwrap(), []);
        assert_eq!(kept_in(&store), 1);
        bucket.snapshot("one").unwrap();
        let other = store.open_bucket("other").unwrap();
        assert_eq!(other.snapshots().unwrap().len(), 1);
        bucket.remove_snapshot("one").unwrap();
        store.remove_bucket("b", false).unwrap();
    }
}

#[test]
fn a_record_among_the_snapshots_that_is_none_is_damage() {
    let bench = eager(Bench::new(2));
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    bucket.snapshot("s").unwrap();
    store.verify().unwrap();
    let system = store.0.known_snapshots_of(0).unwrap().unwrap();
    let keyspace = &store.0.keyspaces[0];
    let batch = Batch::new().put("no snapshot's", "x");
    let written = keyspace.submit(
        &system,
        batch.operations(),
        batch.conditions(),
        Durability::Local,
    );
    written.unwrap().wait().unwrap();
    assert_eq!(kind(store.verify()), ErrorKind::Corrupt);
    store.close().unwrap();
    drop((store, bucket));
    assert_eq!(kind(bench.try_open()), ErrorKind::Corrupt);
}

#[test]
fn a_snapshot_keeps_the_pieces_of_large_values_and_gives_them_back() {
    let bench = Bench::new(6);
    let options = bench.options.clone().merge_entries(1).history_bytes_min(0);
    let bench = Bench { options, ..bench };
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let whole = |fill: u8| vec![fill; 300_000];
    let begin = |fill: u8| {
        let mut upload = bucket.upload("large", PutOptions::default()).unwrap();
        upload.write(&whole(fill)).unwrap();
        upload
    };
    let finish = |upload: Upload| {
        let commit = upload.finish(&[], Durability::Local).unwrap();
        commit.wait().unwrap();
    };
    let upload = |fill: u8| finish(begin(fill));
    // Those that name an upload are of none.
    let pieces = || {
        let pieces = large::pieces(&store).into_iter();
        pieces.filter(|key| key[..8] != [0; 8]).count()
    };
    upload(1);
    let one = pieces();
    assert!(one > 10, "{one}");
    // One that has begun is in no snapshot before it is finished.
    let second = begin(2);
    bucket.snapshot("one").unwrap();
    finish(second);
    bucket.snapshot("two").unwrap();
    upload(3);
    upload(4);
    bucket.snapshot("four").unwrap();
    bucket.delete("large").unwrap();
    bucket.snapshot("none").unwrap();
    upload(5);
    let uploaded = bucket.version().get();
    let (mut state, mut random) = (State::new(), Random(5));
    let collect = |state: &mut State, random: &mut Random| {
        // The floor passes what was uploaded, and every segment of it is judged.
        for _ in 0..16 {
            churn(&store, &bucket, state, random, 100);
            store.0.keyspaces[0].collect_everywhere().unwrap();
            settle(&store);
        }
    };
    collect(&mut state, &mut random);
    assert!(store.0.floor(&bucket) > uploaded);
    let check = |store: &Store, kept: &[(&str, u8)]| {
        let bucket = store.open_bucket("b").unwrap();
        for (name, fill) in kept {
            let view = bucket.snapshot_view(name).unwrap();
            let entry = view.get("large").unwrap().unwrap();
            assert!(entry.value == whole(*fill), "{name}");
        }
        let newest = bucket.get("large").unwrap().unwrap();
        assert!(newest.value == whole(5));
    };
    check(&store, &[("one", 1), ("two", 2), ("four", 4)]);
    let again = {
        let disk = bench.disk.process_death();
        let again = Bench::on(disk);
        let options = bench.options.clone();
        Bench { options, ..again }.open()
    };
    check(&again, &[("one", 1), ("two", 2), ("four", 4)]);
    drop(again);
    assert_eq!(pieces(), 4 * one, "what no snapshot shows is gone");
    let view = bucket.snapshot_view("none").unwrap();
    assert_eq!(view.get("large").unwrap(), None);
    for name in ["one", "two", "four"] {
        bucket.remove_snapshot(name).unwrap();
    }
    collect(&mut state, &mut random);
    check(&store, &[]);
    assert_eq!(pieces(), one);
}

/// Ends the threads that look at it when it is dropped.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_snapshot_taken_while_others_write_shows_whole_batches_up_to_its_version() {
    let bench = eager(Bench::new(8));
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let is_done = AtomicBool::new(false);
    let write = |writer: u8| {
        let mut versions = BTreeMap::new();
        let mut number = 0_u64;
        while !is_done.load(Ordering::Relaxed) {
            number += 1;
            let value = number.to_be_bytes();
            let batch = (0..3_u8).fold(Batch::new(), |batch, member| {
                batch.put([writer, member], [&value[..], &[b'.'; 400]].concat())
            });
            let receipt = bucket.write(batch, Durability::Buffered).unwrap();
            versions.insert(receipt.version, number);
        }
        versions
    };
    let names: Vec<_> = (0..12).map(|number| format!("s{number:02}")).collect();
    let (writers, taken) = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|writer| scope.spawn(move || write(writer)))
            .collect();
        let collector = scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                store.step().unwrap();
            }
        });
        // Also if this thread fails: the others would never end.
        let done = Done(&is_done);
        let mut taken = Vec::new();
        for name in &names {
            std::thread::sleep(std::time::Duration::from_millis(40));
            let info = bucket.snapshot(name).unwrap();
            let view = bucket.snapshot_view(name).unwrap();
            taken.push((info.version, shown(&view)));
        }
        drop(done);
        collector.join().unwrap();
        let writers = writers.into_iter().map(|writer| writer.join().unwrap());
        (writers.collect::<Vec<_>>(), taken)
    });
    settle(&store);
    for (name, (version, state)) in names.iter().zip(&taken) {
        let again = shown(&bucket.snapshot_view(name).unwrap());
        assert!(again == *state, "{name}");
        for (writer, versions) in (0..2_u8).zip(&writers) {
            let before = versions
                .range(..version)
                .next_back()
                .map(|(_, &number)| number);
            for member in 0..3_u8 {
                let value = state.get(&vec![writer, member]);
                let number = value.map(|value| u64::from_be_bytes(*value.first_chunk().unwrap()));
                assert_eq!(number, before, "{name}: writer {writer}");
            }
        }
    }
    let dropped = store.0.log.partitions()[0].dropped_end().get();
    assert!(dropped > taken[6].0.get(), "{dropped}");
}
