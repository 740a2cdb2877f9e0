//! Values in pieces: law 1, 2 and 14 hold for them, and nothing else of the store sees pieces.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use cairn_log::vfs::simulated::Survival;

use super::*;
use crate::index::versions::Kind;
use crate::index::walk::{Course, Walk};
use crate::keyspace::Keyspace;
use crate::limits::{UPLOAD_BATCH_BYTES_MAX, VALUE_BYTES_MAX, VALUE_RECORD_BYTES_MAX};
use crate::record::BucketId;
use crate::testing::{Random, stride};

/// With segments of 64 KiB: a batch of four pieces, with room to spare.
const PIECE_BYTES: usize = 7_680;
const BATCH_BYTES: usize = 4 * PIECE_BYTES;

pub(super) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random(seed * 2 + 1);
    let words = std::iter::repeat_with(|| random.next().to_le_bytes());
    words.flatten().take(length).collect()
}

pub(super) fn upload(bucket: &Bucket, key: &str, value: &[u8]) -> Result<Version> {
    let mut upload = bucket.upload(key, PutOptions::default())?;
    for part in value.chunks(10_000) {
        upload.write(part)?;
    }
    let commit = upload.finish(&[], Durability::Local)?;
    commit.wait().map(|receipt| receipt.version)
}

pub(super) fn read(bucket: &Bucket, key: &str) -> Option<Vec<u8>> {
    let reader = bucket.open(key).unwrap()?;
    Some(read_all(&reader).unwrap())
}

fn read_all(reader: &ValueReader) -> Result<Vec<u8>> {
    let mut value = vec![0; usize::try_from(reader.entry().size).unwrap() + 1];
    let length = reader.read_at(0, &mut value)?;
    value.truncate(length);
    Ok(value)
}

/// The keys of the pieces that the index holds for the bucket "b".
pub(super) fn pieces(store: &Store) -> Vec<Vec<u8>> {
    pieces_of(store, id(store, "b"))
}

fn id(store: &Store, bucket: &str) -> BucketId {
    BucketId(store.open_bucket(bucket).unwrap().info().unwrap().id)
}

fn pieces_of(store: &Store, bucket: BucketId) -> Vec<Vec<u8>> {
    let pieces = pieces_and_versions(store, bucket).into_iter();
    pieces.map(|(key, _)| key).collect()
}

fn pieces_and_versions(store: &Store, bucket: BucketId) -> Vec<(Vec<u8>, u64)> {
    let keyspace = keyspace(store);
    let course = Course {
        bucket: bucket.pieces(),
        start: Bound::Unbounded,
        end: Bound::Unbounded,
        reverse: false,
        watermark: u64::MAX,
        archive: None,
        value_bytes_max: 0,
    };
    let (pin, _) = keyspace.pin();
    let mut walk = Walk::new(&pin.levels, keyspace.log(), &course)
        .ok()
        .unwrap();
    let mut keys = Vec::new();
    while let Some(next) = walk.next(keyspace.log()).ok().unwrap() {
        if next.location.kind != Kind::Tombstone {
            keys.push((next.key.to_vec(), next.location.version));
        }
    }
    keys
}

fn keyspace(store: &Store) -> &Arc<Keyspace> {
    &store.0.keyspaces[0]
}

/// Takes every dead piece out of the index, as a collector does, and says how many.
fn collect(store: &Store) -> usize {
    let keyspace = keyspace(store);
    let catalogue = store.0.catalogue.read();
    let bucket = catalogue
        .live()
        .find(|bucket| bucket.name.as_str() == "b")
        .unwrap();
    let internal = bucket.id.pieces();
    let mut dead = pieces(store);
    dead.retain(|key| !keyspace.is_piece_live(internal, key).unwrap());
    let keys: Vec<_> = dead.iter().map(Vec::as_slice).collect();
    if !keys.is_empty() {
        keyspace
            .forget_pieces_at_once(bucket, &keys)
            .unwrap()
            .wait()
            .unwrap();
    }
    keys.len()
}

/// Writes runs and merges until there is nothing to do.
fn settle(store: &Store) {
    while store.step().unwrap() {}
}

#[test]
fn values_of_every_size_come_back_whole_and_in_parts() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let mut random = Random(7);
    for size in [
        0,
        1,
        BATCH_BYTES - 1,
        BATCH_BYTES,
        BATCH_BYTES + 1,
        BATCH_BYTES + PIECE_BYTES,
        3 * BATCH_BYTES - 1,
        3 * BATCH_BYTES,
        200_000,
    ] {
        let value = bytes(size as u64, size);
        let version = upload(&bucket, "k", &value).unwrap();
        let reader = bucket.open("k").unwrap().unwrap();
        assert_eq!(reader.entry().version, version);
        assert_eq!(reader.entry().size, size as u64);
        assert!(read_all(&reader).unwrap() == value, "{size} bytes");
        for _ in 0..50 {
            let offset = random.below(size + 2);
            let mut part = vec![0; random.below(20_000)];
            let length = reader.read_at(offset as u64, &mut part).unwrap();
            let end = (offset + part.len()).min(size);
            assert!(
                part[..length] == value[offset.min(end)..end],
                "{size} bytes"
            );
            let chunk = reader.chunk_at(offset as u64).unwrap();
            assert_eq!(chunk.is_empty(), offset >= size);
            assert!(value[offset.min(size)..].starts_with(&chunk));
        }
        assert!(reader.chunk_at(u64::MAX).unwrap().is_empty());
    }
}

#[test]
fn an_upload_of_at_most_one_batch_is_a_put_like_any_other() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    upload(&bucket, "k", &bytes(1, BATCH_BYTES)).unwrap();
    assert!(pieces(&store).is_empty());
    upload(&bucket, "k", &bytes(1, BATCH_BYTES + 1)).unwrap();
    // Its name, four pieces of the first batch, and the rest.
    assert_eq!(pieces(&store).len(), 6);
}

#[test]
fn a_usual_log_cuts_values_into_pieces_of_64_kib() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    let size = UPLOAD_BATCH_BYTES_MAX + 100_000;
    let value = bytes(1, size);
    upload(&bucket, "k", &value).unwrap();
    assert_eq!(pieces(&store).len(), 1 + size.div_ceil(64 << 10));
    let reader = bucket.open("k").unwrap().unwrap();
    assert_eq!(reader.chunk_at(70_000).unwrap(), value[70_000..128 << 10]);
    assert_eq!(bucket.get("k").unwrap().unwrap().value, value);
}

#[test]
fn a_value_over_what_is_read_at_once_is_refused_by_get_and_left_out_of_lists() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    let value = bytes(1, VALUE_RECORD_BYTES_MAX + 1);
    upload(&bucket, "large", &value).unwrap();
    bucket.put("small", "v").unwrap();
    let refusal = bucket.get("large").unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::ValueTooLarge);
    assert!(refusal.message().contains("open the key"), "{refusal}");
    assert_eq!(
        kind(bucket.view().unwrap().get("large")),
        ErrorKind::ValueTooLarge
    );

    let several = bucket.multi_get(&["large", "small"]).unwrap();
    let listed = bucket.scan(Scan::default()).unwrap();
    let listed: Vec<_> = listed.map(|row| row.unwrap().1).collect();
    for entries in [several.into_iter().flatten().collect(), listed] {
        assert_eq!(
            (entries[0].size, &entries[0].value[..]),
            (value.len() as u64, &b""[..])
        );
        assert!(!entries[0].has_value() && entries[1].has_value());
    }
    upload(&bucket, "large", &value[1..]).unwrap();
    assert_eq!(bucket.get("large").unwrap().unwrap().value, value[1..]);
}

#[test]
fn nothing_of_an_upload_is_seen_before_it_is_finished_nor_when_it_is_dropped() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    bucket.put("k", "before").unwrap();
    let digest = store.state_digest().unwrap();
    let info = bucket.info().unwrap();
    let mut upload = bucket.upload("k", PutOptions::default()).unwrap();
    upload.write(&bytes(1, 100_000)).unwrap();
    store.sync().unwrap();
    assert_eq!(value(&bucket, "k").unwrap(), "before");
    assert_eq!(store.state_digest().unwrap(), digest);
    assert_eq!(
        (bucket.info().unwrap(), store.buckets().unwrap().len()),
        (info, 1)
    );
    assert_eq!(bucket.scan(Scan::default()).unwrap().count(), 1);
    drop(upload);
    drop((bucket, store));
    let store = bench.open();
    assert_eq!(store.state_digest().unwrap(), digest);
    assert_eq!(value(&store.bucket("b").unwrap(), "k").unwrap(), "before");
}

#[test]
fn conditions_are_decided_at_the_end_and_the_last_commit_wins() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let begin = |seed| {
        let mut upload = bucket.upload("k", PutOptions::default()).unwrap();
        upload.write(&bytes(seed, 50_000)).unwrap();
        upload
    };
    let (one, two, three, four) = (begin(1), begin(2), begin(3), begin(4));
    let commit = |upload: Upload, expects: &[Expect]| -> Result<Receipt> {
        upload.finish(expects, Durability::Local)?.wait()
    };
    let first = commit(two, &[Expect::Absent]).unwrap().version;
    let refusal = commit(one, &[Expect::Absent]).unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::VersionMismatch);
    assert_eq!(refusal.conflict().unwrap().version, first);
    assert!(read(&bucket, "k").unwrap() == bytes(2, 50_000));
    commit(three, &[Expect::OneOf(vec![first]), Expect::Exists]).unwrap();
    assert!(read(&bucket, "k").unwrap() == bytes(3, 50_000));
    commit(four, &[]).unwrap();
    assert!(read(&bucket, "k").unwrap() == bytes(4, 50_000));
}

#[test]
fn a_buffered_upload_is_acknowledged_as_local() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let mut upload = bucket.upload("k", PutOptions::default()).unwrap();
    upload.write(&bytes(1, 100_000)).unwrap();
    let receipt = upload
        .finish(&[], Durability::Buffered)
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(receipt.durability, Durability::Local);
    let store = Bench::on(bench.disk.power_loss(Survival::Nothing)).open();
    assert!(read(&store.bucket("b").unwrap(), "k").unwrap() == bytes(1, 100_000));
}

#[test]
fn attributes_and_deadlines_stand_beside_a_value_in_pieces() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let mut attributes = Attributes::new();
    attributes
        .set(Attributes::CONTENT_TYPE, "video/mp4")
        .unwrap();
    let options = PutOptions {
        ttl_ms: Some(1_000),
        attributes: attributes.clone(),
    };
    let mut upload = bucket.upload("k", options).unwrap();
    upload.write(&bytes(1, 100_000)).unwrap();
    upload
        .finish(&[], Durability::Local)
        .unwrap()
        .wait()
        .unwrap();
    for _ in 0..2 {
        let entry = bucket.open("k").unwrap().unwrap().entry().clone();
        assert_eq!(
            (&entry.attributes, entry.expires_ms),
            (&attributes, Some(START_MS + 1_000))
        );
        settle(&store);
    }
    bench.clock.pass(1_000);
    assert!(bucket.open("k").unwrap().is_none());
    assert!(bucket.get("k").unwrap().is_none());
    // A deadline is no tombstone: until that is logged, the pieces stay.
    assert_eq!(collect(&store), 1);
}

#[test]
fn the_largest_value_is_taken_and_not_one_byte_more() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let mut upload = bucket.upload("k", PutOptions::default()).unwrap();
    let head = bytes(1, 2 * BATCH_BYTES);
    upload.write(&head).unwrap();
    let pieces = (VALUE_BYTES_MAX - upload.size()) / PIECE_BYTES as u64 - 1;
    upload.leave_out(u32::try_from(pieces).unwrap()).unwrap();
    let tail = bytes(2, usize::try_from(VALUE_BYTES_MAX - upload.size()).unwrap());
    upload.write(&tail[1..]).unwrap();
    assert_eq!(kind(upload.write(&[0, 0])), ErrorKind::ValueTooLarge);
    assert_eq!(
        kind(upload.write(&[0])),
        ErrorKind::ValueTooLarge,
        "it has failed"
    );
    assert_eq!(
        kind(upload.finish(&[], Durability::Local)),
        ErrorKind::ValueTooLarge
    );

    let mut upload = bucket.upload("k", PutOptions::default()).unwrap();
    upload.write(&head).unwrap();
    upload.leave_out(u32::try_from(pieces).unwrap()).unwrap();
    upload.write(&tail).unwrap();
    upload
        .finish(&[], Durability::Local)
        .unwrap()
        .wait()
        .unwrap();
    for _ in 0..2 {
        let reader = bucket.open("k").unwrap().unwrap();
        assert_eq!(reader.entry().size, VALUE_BYTES_MAX);
        let mut part = vec![0; 10_000];
        let offset = VALUE_BYTES_MAX - 5_000;
        assert_eq!(reader.read_at(offset, &mut part).unwrap(), 5_000);
        assert_eq!(part[..5_000], tail[tail.len() - 5_000..]);
        assert_eq!(reader.read_at(0, &mut part).unwrap(), 10_000);
        assert_eq!(part, head[..10_000]);
        assert_eq!(
            kind(reader.chunk_at(VALUE_BYTES_MAX / 2)),
            ErrorKind::Compacted
        );
        let mut keys = bucket
            .scan(Scan {
                keys_only: true,
                ..Scan::default()
            })
            .unwrap();
        assert_eq!(keys.next().unwrap().unwrap().1.size, VALUE_BYTES_MAX);
        assert!(bucket.info().unwrap().bytes > VALUE_BYTES_MAX);
        settle(&store);
    }
}

#[test]
fn a_reader_goes_on_although_its_key_is_overwritten_and_its_garbage_collected() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let old = bytes(1, 100_000);
    upload(&bucket, "k", &old).unwrap();
    let reader = bucket.open("k").unwrap().unwrap();
    let view = bucket.view().unwrap();
    bucket.put("k", "new").unwrap();
    // The record that names the upload is for nobody.
    assert_eq!(collect(&store), 1);
    assert!(read_all(&reader).unwrap() == old);
    assert!(read_all(&view.open("k").unwrap().unwrap()).unwrap() == old);
    drop(reader);
    assert_eq!(collect(&store), 100_000_usize.div_ceil(PIECE_BYTES));
    let late = view.open("k").unwrap().unwrap();
    let gone = late.chunk_at(0).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Compacted);
    assert!(gone.message().contains("open the key again"), "{gone}");
    assert_eq!(read(&bucket, "k").unwrap(), b"new");
}

#[test]
fn pieces_live_as_long_as_their_upload_is_open_or_may_be_the_keys_newest() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let count = 100_000_usize.div_ceil(PIECE_BYTES);
    let mut open = bucket.upload("k", PutOptions::default()).unwrap();
    open.write(&bytes(1, 100_000)).unwrap();
    assert_eq!(collect(&store), 1, "its name");
    assert_eq!(pieces(&store).len(), 3 * 4, "of whole batches");
    let commit = open.finish(&[], Durability::Local).unwrap();
    assert_eq!(collect(&store), 0, "committed, though not durable");
    commit.wait().unwrap();
    assert_eq!(collect(&store), 0, "the newest");
    let overwrite = Batch::new().put("k", "new");
    bucket.write(overwrite, Durability::Buffered).unwrap();
    assert_eq!(collect(&store), 0, "what follows it may be lost");
    store.sync().unwrap();
    assert_eq!(collect(&store), count, "superseded for good");
    assert_eq!(pieces(&store).len(), 0);

    let mut dropped = bucket.upload("k", PutOptions::default()).unwrap();
    dropped.write(&bytes(1, 100_000)).unwrap();
    drop(dropped);
    assert_eq!(collect(&store), 1 + 3 * 4, "nobody finishes it");
    let key = [&[0; 12][..], b"k"].concat();
    let internal = id(&store, "b").pieces();
    assert!(!keyspace(&store).is_piece_live(internal, &key).unwrap());
    assert_eq!(
        kind(keyspace(&store).is_piece_live(internal, &key[..12])),
        ErrorKind::Corrupt
    );
}

#[test]
fn an_owner_among_others_keeps_its_own_pieces_only() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let values: Vec<_> = (0..4).map(|seed| bytes(seed, 60_000 + 999)).collect();
    for (key, value) in ["a", "ab", "b", "b"].iter().zip(&values) {
        upload(&bucket, key, value).unwrap();
    }
    bucket.delete("a").unwrap();
    assert_eq!(collect(&store), 3 + 2 * 60_999_usize.div_ceil(PIECE_BYTES));
    assert!(read(&bucket, "ab").unwrap() == values[1]);
    assert!(read(&bucket, "b").unwrap() == values[3]);
    assert_eq!(read(&bucket, "a"), None);
}

#[test]
fn values_in_pieces_come_back_from_runs_from_what_is_merged_and_from_an_index_made_anew() {
    for (memtable_bytes, merge_entries) in [(1 << 20, 1 << 20), (4_000, 1 << 20), (4_000, 10)] {
        let mut bench = Bench::new(1);
        bench.options = bench
            .options
            .memtable_bytes(memtable_bytes)
            .merge_entries(merge_entries);
        let store = bench.open();
        let bucket = store.bucket("b").unwrap();
        let values: Vec<_> = (0..6).map(|seed| bytes(seed, 90_000)).collect();
        let check = |store: &Store| {
            let bucket = store.bucket("b").unwrap();
            for (number, value) in values.iter().enumerate() {
                let found = read(&bucket, &format!("k{number}")).unwrap();
                assert!(
                    found == *value,
                    "memtable of {memtable_bytes}, value {number}"
                );
            }
            assert_eq!(bucket.scan(Scan::default()).unwrap().count(), 6);
            assert_eq!(bucket.info().unwrap().keys, 6);
        };
        for (number, value) in values.iter().enumerate() {
            let key = format!("k{number}");
            if number % 2 == 0 {
                upload(&bucket, &key, &bytes(99, 40_000)).unwrap();
            }
            upload(&bucket, &key, value).unwrap();
            store.step().unwrap();
        }
        settle(&store);
        check(&store);
        let levels = &store.0.levels()[0];
        assert_eq!(levels.covered() > 0, merge_entries == 10);
        let digest = store.state_digest().unwrap();
        drop((bucket, store));
        let store = bench.open();
        check(&store);
        assert_eq!(store.state_digest().unwrap(), digest);
        drop(store);
        for path in bench.disk.paths() {
            let name = path.to_string_lossy().into_owned();
            if name.ends_with(".run") || name.ends_with(".redb") {
                bench.disk.erase(&path);
            }
        }
        let store = bench.open();
        check(&store);
        assert_eq!(store.state_digest().unwrap(), digest);
        settle(&store);
        check(&store);
    }
}

#[test]
fn the_digest_tells_values_in_pieces_apart_by_their_bytes() {
    let digest = |value: &[u8]| {
        let store = Bench::new(1).open();
        upload(&store.bucket("b").unwrap(), "k", value).unwrap();
        store.state_digest().unwrap()
    };
    let mut value = bytes(1, 100_000);
    let before = digest(&value);
    assert_eq!(digest(&value), before);
    value[50_000] ^= 1;
    assert_ne!(digest(&value), before);
}

#[test]
fn the_pieces_of_a_removed_bucket_leave_the_index_with_it() {
    let mut bench = Bench::new(1);
    bench.options = bench.options.memtable_bytes(4_000).merge_entries(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let kept = store.bucket("kept").unwrap();
    let value = bytes(2, 100_000);
    upload(&bucket, "k", &bytes(1, 100_000)).unwrap();
    upload(&kept, "k", &value).unwrap();
    settle(&store);
    let mut open = bucket.upload("open", PutOptions::default()).unwrap();
    open.write(&bytes(3, 40_000)).unwrap();
    let (removed, others) = (id(&store, "b"), id(&store, "kept"));
    let reader = bucket.open("k").unwrap().unwrap();
    assert_eq!(
        kind(store.remove_bucket("b", false)),
        ErrorKind::BucketNotEmpty
    );
    store.remove_bucket("b", true).unwrap();
    assert_eq!(
        kind(open.write(&bytes(3, 80_000))),
        ErrorKind::BucketNotFound
    );
    assert_eq!(kind(bucket.open("k")), ErrorKind::BucketNotFound);
    for number in 0..20 {
        kept.put(format!("filler {number}"), bytes(number, 6_000))
            .unwrap();
        settle(&store);
    }
    assert_eq!(pieces_of(&store, removed).len(), 0);
    assert_eq!(
        pieces_of(&store, others).len(),
        1 + 100_000_usize.div_ceil(PIECE_BYTES)
    );
    assert_eq!(kind(reader.chunk_at(0)), ErrorKind::Compacted);
    assert!(read(&kept, "k").unwrap() == value);
    let again = store.bucket("b").unwrap();
    assert!(again.open("k").unwrap().is_none());
    drop((again, kept, bucket, store, reader, open));
    let store = bench.open();
    assert!(read(&store.bucket("kept").unwrap(), "k").unwrap() == value);
    assert!(store.bucket("b").unwrap().open("k").unwrap().is_none());
}

#[test]
fn a_bucket_with_nothing_but_an_open_upload_is_empty() {
    let store = Bench::new(1).open();
    let bucket = store.bucket("b").unwrap();
    let mut open = bucket.upload("k", PutOptions::default()).unwrap();
    open.write(&bytes(1, 100_000)).unwrap();
    store.remove_bucket("b", false).unwrap();
    assert_eq!(
        kind(open.finish(&[], Durability::Local)),
        ErrorKind::BucketNotFound
    );
}

#[test]
fn a_damaged_piece_is_an_error_and_never_data() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let value = bytes(1, 40_000);
    upload(&bucket, "k", &value).unwrap();
    store.close().unwrap();
    drop((bucket, store));
    let needle = &value[20_000..20_032];
    let mut flipped = 0;
    for path in bench.disk.paths() {
        let content = bench.disk.read(&path);
        let at = content.windows(32).position(|window| window == needle);
        if let Some(at) = at {
            bench.disk.flip_bit(&path, at as u64, 3);
            flipped += 1;
        }
    }
    assert_eq!(flipped, 1);
    let Ok(store) = bench.try_open() else { return };
    let reader = store.bucket("b").unwrap().open("k").unwrap().unwrap();
    assert_eq!(kind(read_all(&reader)), ErrorKind::Corrupt);
    assert_eq!(reader.chunk_at(0).unwrap(), value[..PIECE_BYTES]);
}

#[test]
fn law_1_and_2_an_upload_stopped_at_any_call_is_there_whole_or_not_at_all() {
    fn workload(bench: &Bench, acknowledged: &mut Vec<u64>) -> Result<()> {
        let store = bench.try_open()?;
        let bucket = store.bucket("b")?;
        bucket.put("k", "before")?;
        acknowledged.push(0);
        for seed in 1..3 {
            let length = 100_000 + usize::try_from(seed).unwrap_or(0);
            let mut upload = bucket.upload("k", PutOptions::default())?;
            for part in bytes(seed, length).chunks(20_000) {
                upload.write(part)?;
                let beside = bucket.submit_put(
                    b"other",
                    b"x",
                    &PutOptions::default(),
                    Durability::Buffered,
                )?;
                drop(beside);
                store.step()?;
            }
            upload.finish(&[], Durability::Local)?.wait()?;
            acknowledged.push(seed);
        }
        store.close()
    }
    let calm = Bench::new(0);
    workload(&calm, &mut Vec::new()).unwrap();
    let calls = calm.disk.calls();
    let mut outcomes = BTreeSet::new();
    for call in 1..=calls {
        let survivals = [
            Survival::Nothing,
            Survival::Everything,
            Survival::Random(call),
        ];
        for (number, survival) in (0_u64..).zip(survivals) {
            let bench = Bench::new(call * 3 + number);
            bench.disk.crash_at(call);
            let mut acknowledged = Vec::new();
            let _ = workload(&bench, &mut acknowledged);
            let bench = Bench::on(bench.disk.power_loss(survival));
            let store = bench.open();
            let acknowledged = acknowledged.last().copied();
            let context = format!("call {call}, {survival:?}, acknowledged {acknowledged:?}");
            let found = store
                .open_bucket("b")
                .ok()
                .and_then(|bucket| read(&bucket, "k"));
            let found = found.map(|found| match &found[..] {
                b"before" => 0,
                long => {
                    let seed = long.len() as u64 - 100_000;
                    assert!(*long == bytes(seed, long.len()), "torn: {context}");
                    seed
                }
            });
            assert!(found >= acknowledged, "lost: {context}, found {found:?}");
            outcomes.insert((acknowledged, found));
            // What is left of it is garbage, and the next upload is none the worse for it.
            let bucket = store.bucket("b").unwrap();
            let next = bytes(9, 80_000);
            upload(&bucket, "k", &next).unwrap();
            collect(&store);
            assert!(read(&bucket, "k").unwrap() == next, "{context}");
            assert_eq!(pieces(&store).len(), 80_000_usize.div_ceil(PIECE_BYTES));
        }
    }
    // Both of what is unacknowledged and kept, and of what is acknowledged, every kind.
    let kept: BTreeSet<_> = outcomes.iter().map(|(_, found)| *found).collect();
    assert_eq!(kept, [None, Some(0), Some(1), Some(2)].into());
    assert!(
        outcomes.contains(&(Some(0), Some(1))),
        "kept although unacknowledged"
    );
}

/// What each version ever seen was given to: a key, of which each is written only once.
#[derive(Default)]
struct Names {
    owners: BTreeMap<u64, Vec<u8>>,
    keys: u64,
}

impl Names {
    fn next_key(&mut self) -> Vec<u8> {
        self.keys += 1;
        format!("key {}", self.keys).into_bytes()
    }

    fn see(&mut self, version: u64, owner: &[u8], context: &str) {
        let known = self.owners.entry(version).or_insert_with(|| owner.to_vec());
        let [known, owner] = [&known[..], owner].map(String::from_utf8_lossy);
        assert_eq!(
            known, owner,
            "law 14: {version} names two batches: {context}"
        );
    }

    /// Sees the names of all uploads and the versions of all their pieces, and of all keys.
    fn see_all(&mut self, store: &Store, context: &str) -> Result<()> {
        let bucket = store.open_bucket("b")?;
        for (key, version) in pieces_and_versions(store, id(store, "b")) {
            let (name, owner) = key.split_first_chunk().unwrap();
            let owner = &owner[4..];
            self.see(version, owner, context);
            match u64::from_be_bytes(*name) {
                0 => {}
                name => self.see(name, owner, context),
            }
        }
        for row in bucket.scan(Scan {
            keys_only: true,
            ..Scan::default()
        })? {
            let (key, entry) = row?;
            self.see(entry.version.get(), &key, context);
        }
        Ok(())
    }

    /// Three uploads side by side, of which one is finished, and small values in between.
    fn work(&mut self, bench: &Bench, context: &str) -> Result<()> {
        let store = bench.try_open()?;
        let bucket = store.bucket("b")?;
        self.see_all(&store, context)?;
        let mut uploads = Vec::new();
        for _ in 0..3 {
            let key = self.next_key();
            uploads.push(bucket.upload(key, PutOptions::default())?);
        }
        for part in 0..4 {
            for upload in &mut uploads {
                let written = upload.write(&bytes(part, BATCH_BYTES / 2 + 100));
                // It may have a name although it has failed.
                self.see_all(&store, context)?;
                written?;
            }
            let key = self.next_key();
            let put = bucket.put(&key, "small")?;
            self.see(put.get(), &key, context);
        }
        let finished = uploads.remove(1).finish(&[], Durability::Local)?.wait();
        self.see_all(&store, context)?;
        finished.map(drop)
    }
}

#[test]
fn law_14_no_two_uploads_have_one_name_whatever_crashes() {
    let calm = Bench::new(0);
    Names::default().work(&calm, "no crash").unwrap();
    let calls = calm.disk.calls();
    let mut lost = 0;
    for call in (1..=calls).step_by(stride(3)) {
        for survival in [
            Survival::Nothing,
            Survival::Everything,
            Survival::Random(call),
        ] {
            let context = format!("call {call}, {survival:?}");
            let mut names = Names::default();
            let mut bench = Bench::new(call);
            // Once more in the recovery or in what follows it, and then no more.
            for call in [call, 1 + call * 7 % calls, u64::MAX] {
                bench.disk.crash_at(call);
                let outcome = names.work(&bench, &context);
                assert!(outcome.is_ok() || bench.disk.has_crashed(), "{context}");
                bench = Bench::on(bench.disk.power_loss(survival));
            }
            let store = bench.open();
            names.see_all(&store, &context).unwrap();
            let mut there = Names::default();
            there.see_all(&store, &context).unwrap();
            lost += names.owners.len() - there.owners.len();
        }
    }
    assert!(lost > 50, "{lost} names were given and lost");
}

#[test]
fn a_full_disk_fails_an_upload_and_leaves_the_key_as_it_was() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    bucket.put("k", "before").unwrap();
    let lengths = bench
        .disk
        .paths()
        .into_iter()
        .map(|path| bench.disk.length(&path));
    bench
        .disk
        .set_capacity(lengths.sum::<u64>() + 3 * SEGMENT_BYTES);
    let mut stuck = bucket.upload("k", PutOptions::default()).unwrap();
    let full = (0..100).find_map(|seed| stuck.write(&bytes(seed, 10_000)).err());
    assert_eq!(full.map(|error| error.kind()), Some(ErrorKind::DiskFull));
    assert_eq!(kind(stuck.write(b"more")), ErrorKind::DiskFull);
    assert_eq!(
        kind(stuck.finish(&[], Durability::Local)),
        ErrorKind::DiskFull
    );
    assert_eq!(value(&bucket, "k").unwrap(), "before");
    bench.disk.set_capacity(1 << 30);
    upload(&bucket, "k", &bytes(1, 100_000)).unwrap();
    assert!(read(&bucket, "k").unwrap() == bytes(1, 100_000));
}

#[test]
fn writers_of_large_and_small_values_do_not_disturb_each_other() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let bucket = &bucket;
            scope.spawn(move || {
                for round in 0..3 {
                    upload(bucket, "shared", &bytes(seed, 3_000_000)).unwrap();
                    let found = read(bucket, "shared").unwrap();
                    assert!(
                        (0..3).any(|seed| found == bytes(seed, 3_000_000)),
                        "{round}: a mixture"
                    );
                }
            });
        }
        for number in 0..300_u32 {
            bucket.put(number.to_be_bytes(), "x").unwrap();
        }
    });
    assert_eq!(bucket.scan(Scan::default()).unwrap().count(), 301);
}

/// `cargo test --release -p cairn-kv -- --ignored --nocapture large_value_figures`
#[test]
#[ignore = "takes a gigabyte of disk; prints figures"]
fn large_value_figures() {
    let directory = std::env::temp_dir().join(format!("cairn-large-{}", std::process::id()));
    let store = Store::open(&directory).unwrap();
    let bucket = store.bucket("b").unwrap();
    let value = bytes(1, 1 << 20);
    for round in 0..3 {
        let began = std::time::Instant::now();
        let mut upload = bucket.upload("k", PutOptions::default()).unwrap();
        for _ in 0..256 {
            upload.write(&value).unwrap();
        }
        let put = upload.finish(&[], Durability::Local).unwrap();
        put.wait().unwrap();
        let put_s = began.elapsed().as_secs_f64();
        let began = std::time::Instant::now();
        let reader = bucket.open("k").unwrap().unwrap();
        let (mut offset, mut chunks) = (0, 0);
        while offset < reader.entry().size {
            offset += reader.chunk_at(offset).unwrap().len() as u64;
            chunks += 1;
        }
        let get_s = began.elapsed().as_secs_f64();
        let rate = |seconds: f64| 256.0 / seconds;
        println!(
            "round {round}: put {:.0} MiB/s, get {:.0} MiB/s in {chunks} pieces",
            rate(put_s),
            rate(get_s)
        );
    }
    drop((bucket, store));
    std::fs::remove_dir_all(directory).unwrap();
}
