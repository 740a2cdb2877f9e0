//! The space of values in pieces comes back by itself, whatever became of them.

use super::large::{bytes, pieces, read, upload};
use super::*;
use crate::testing::Random;

fn bench() -> Bench {
    let bench = Bench::new(4);
    let options = bench.options.clone();
    let options = options.history_bytes_min(0).merge_entries(20);
    Bench { options, ..bench }
}

/// Keys of which each has a value of about this many bytes.
const KEYS: usize = 4;
const VALUE_BYTES: usize = 60_000;

#[test]
fn law_7_space_stays_bounded_under_endless_overwrites_of_large_values() {
    let bench = bench();
    let mut store = bench.open();
    let mut random = Random(5);
    let mut held: [Option<Vec<u8>>; KEYS] = Default::default();
    let mut most = 0;
    for round in 0..300_u64 {
        let bucket = store.bucket("b").unwrap();
        let number = random.below(KEYS);
        let key = number.to_string();
        match random.below(10) {
            0 => {
                bucket.delete(&key).unwrap();
                held[number] = None;
            }
            1 => {
                bucket.put(&key, "small").unwrap();
                held[number] = Some(b"small".to_vec());
            }
            // Given up half way.
            2 => {
                let mut given_up = bucket.upload(&key, PutOptions::default()).unwrap();
                given_up.write(&bytes(round, VALUE_BYTES)).unwrap();
            }
            _ => {
                let value = bytes(round, VALUE_BYTES + random.below(1_000));
                upload(&bucket, &key, &value).unwrap();
                held[number] = Some(value);
            }
        }
        while store.step().unwrap() {}
        let used = store.status().partitions[0].bytes;
        most = most.max(used);
        if random.below(20) == 0 {
            drop((bucket, store));
            store = bench.open();
        }
    }
    let bucket = store.open_bucket("b").unwrap();
    for (number, value) in held.iter().enumerate() {
        assert_eq!(read(&bucket, &number.to_string()), *value);
    }
    // Segments of 64 KiB, and merges of three.
    let live = (KEYS * (VALUE_BYTES + 1_000)) as u64;
    let bound = 2 * live + 6 * SEGMENT_BYTES;
    assert!(most <= bound, "{most} bytes of log, the bound is {bound}");
    let digest = store.state_digest().unwrap();
    drop((bucket, store));
    let disk = bench.disk.process_death();
    erase_index(&disk);
    let again = Bench {
        options: bench.options.clone(),
        ..Bench::on(disk)
    };
    assert_eq!(again.open().state_digest().unwrap(), digest);
}

#[test]
fn pieces_go_once_nothing_needs_them_and_not_before() {
    let bench = bench();
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let settle = || {
        // What was written is sealed and merged, and so are the tombstones that follow.
        for round in 0..4_u64 {
            upload(&bucket, "filler", &bytes(round, VALUE_BYTES)).unwrap();
            while store.step().unwrap() {}
        }
    };
    let count = |store: &Store, upload: u64| {
        let of_upload = |key: &&Vec<u8>| key.starts_with(&upload.to_be_bytes());
        pieces(store).iter().filter(of_upload).count()
    };
    let first = bytes(1, VALUE_BYTES);
    upload(&bucket, "k", &first).unwrap();
    let upload_of_first = pieces(&store)
        .iter()
        .map(|key| u64::from_be_bytes(*key.first_chunk().unwrap()))
        .max()
        .unwrap();
    settle();
    assert!(count(&store, upload_of_first) > 4, "it is the newest");
    let reader = bucket.open("k").unwrap().unwrap();
    bucket.snapshot("kept").unwrap();
    upload(&bucket, "k", &bytes(2, VALUE_BYTES)).unwrap();
    settle();
    assert!(count(&store, upload_of_first) > 4, "a reader holds it");
    drop(reader);
    settle();
    assert!(count(&store, upload_of_first) > 4, "a snapshot shows it");
    let view = bucket.snapshot_view("kept").unwrap();
    let kept = view.open("k").unwrap().unwrap();
    let mut found = vec![0; VALUE_BYTES];
    assert_eq!(kept.read_at(0, &mut found).unwrap(), VALUE_BYTES);
    assert!(found == first);
    drop((view, kept));
    bucket.remove_snapshot("kept").unwrap();
    // No merge is needed to learn that.
    while store.step().unwrap() {}
    assert_eq!(count(&store, upload_of_first), 0);
}

#[test]
fn pieces_stay_while_it_cannot_be_told_whose_they_are() {
    let bench = bench();
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let fill = |round| {
        upload(&bucket, "filler", &bytes(round, VALUE_BYTES)).unwrap();
        // What is damaged may be met by a step.
        while let Ok(true) = store.step() {}
    };
    let value = bytes(100, VALUE_BYTES);
    upload(&bucket, "k", &value).unwrap();
    let of_k = || {
        let keys = pieces(&store).into_iter();
        keys.filter(|key| key.ends_with(b"k")).count()
    };
    (0..4).for_each(fill);
    let before = of_k();
    assert!(before > 4);
    // The commit record says which upload is the key's.
    let hash = *blake3::hash(&value).as_bytes();
    let mut flipped = 0;
    for path in bench.disk.paths() {
        let content = bench.disk.read(&path);
        if let Some(at) = content.windows(32).position(|window| window == hash) {
            bench.disk.flip_bit(&path, at as u64, 3);
            flipped += 1;
        }
    }
    assert_eq!(flipped, 1);
    assert_eq!(kind(bucket.open("k")), ErrorKind::Corrupt);
    (4..12).for_each(fill);
    assert_eq!(of_k(), before);
}
