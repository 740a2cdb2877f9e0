//! Each check by itself: damage that no other one finds.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use cairn_log::BatchBuffer;
use cairn_log::vfs::simulated::SimulatedDisk;

use super::*;
use crate::record::{Body, BucketId, Origin, Record};
use crate::{Batch, Bucket, Durability, Options};

const SEGMENTS: u32 = 8;
const KEYS: u32 = 100;
const PAGE_BYTES: u64 = 4_096;
const RUN: &str = "0000000000000002.run";
const SEGMENT: &str = "0000000000000001.seg";

fn options(merges: bool) -> Options {
    Store::options()
        .threads(false)
        .segment_bytes(64 << 10)
        .merge_entries(if merges { 1 } else { u64::MAX })
}

fn append(bucket: &Bucket, encode: impl FnOnce(&mut Vec<u8>)) {
    let mut batch = BatchBuffer::new();
    batch.record(encode);
    let log = bucket.keyspace().log();
    let appended = log.try_append(&batch, u64::MAX / 2, cairn_log::Durability::Local);
    appended.unwrap().unwrap().commit.wait().unwrap();
}

/// Fills some segments, whose runs are written, and merged if the options say so.
fn fill(store: &Store, bucket: &Bucket) {
    for segment in 0..SEGMENTS {
        let batch = (0..KEYS).fold(Batch::new(), |batch, number| {
            let key = [segment.to_be_bytes(), number.to_be_bytes()].concat();
            batch.put(key, [7; 20])
        });
        bucket.write(batch, Durability::Local).unwrap();
        bucket.keyspace().log().seal().unwrap();
        bucket.put("overwritten", "x").unwrap();
        while store.step().unwrap() {}
    }
}

/// Makes a store in a directory and closes it; the digest of what it holds.
fn make(directory: &Path, change: impl FnOnce(&Store, &Bucket)) -> Option<StateDigest> {
    let store = options(true).open(directory).unwrap();
    let bucket = store.bucket("b").unwrap();
    bucket.put("overwritten", "nobody reads this").unwrap();
    change(&store, &bucket);
    let digest = store.state_digest().ok();
    store.close().unwrap();
    digest
}

fn verify(directory: &Path) -> Verification {
    let found = Store::verify_directory(directory, |_, _| ());
    found.unwrap().unwrap()
}

fn verify_after(
    change: impl FnOnce(&Store, &Bucket),
    change_files: impl FnOnce(&Path),
) -> (Verification, Option<StateDigest>) {
    let directory = tempfile::tempdir().unwrap();
    let digest = make(directory.path(), change);
    change_files(&directory.path().join("p0000"));
    (verify(directory.path()), digest)
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[test]
fn a_whole_store_is_whole() {
    let (found, digest) = verify_after(fill, |_| ());
    assert!(found.is_whole() && found.verified.damaged.is_empty());
    assert_eq!(found.digest, digest);
    assert!(found.verified.runs >= u64::from(SEGMENTS), "{found:?}");
    assert!(found.verified.entries >= u64::from((SEGMENTS - 1) * KEYS));
}

#[test]
fn a_record_of_no_meaning_below_what_is_indexed_is_named_with_its_place() {
    let garbage = |store: &Store, bucket: &Bucket| {
        append(bucket, |bytes| bytes.extend_from_slice(b"\xff\xff"));
        fill(store, bucket);
        // It verifies as a frame, and nothing leads to it.
        let error = store.verify().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    };
    let (found, digest) = verify_after(garbage, |_| ());
    assert_eq!(found.digest, digest, "whatever can be read is");
    let [damage] = &found.damage[..] else {
        panic!("{found:?}");
    };
    assert!(damage.path.ends_with(SEGMENT) && damage.position > PAGE_BYTES);
    assert!(!found.is_whole());
}

#[test]
fn a_damaged_batch_that_nobody_reads_any_more_is_named() {
    let (found, digest) = verify_after(fill, |directory| {
        let path = directory.join(SEGMENT);
        let bytes = fs::read(&path).unwrap();
        let dead = b"nobody reads this";
        let at = bytes.windows(dead.len()).position(|part| part == dead);
        flip(&path, at.unwrap() as u64);
    });
    assert_eq!(found.digest, digest);
    assert_eq!(found.damage.len(), 1, "{found:?}");
    assert!(found.damage[0].path.ends_with(SEGMENT));
}

#[test]
fn a_record_that_says_what_cannot_be_keeps_the_store_shut_and_is_told() {
    let (found, _) = verify_after(
        |store, bucket| {
            fill(store, bucket);
            let record = Record {
                origin: Origin::Here {
                    place: BatchBuffer::new().next_place(),
                },
                bucket: BucketId(999),
                body: Body::Delete {
                    key: b"k",
                    expired: false,
                },
            };
            append(bucket, |bytes| record.encode(bytes));
        },
        |_| (),
    );
    assert_eq!((found.digest, found.damage.len()), (None, 1), "{found:?}");
    assert!(found.damage[0].what.contains("no bucket"), "{found:?}");
}

#[test]
fn a_run_is_checked_from_its_head_to_its_last_block() {
    let head: fn(&Path) -> u64 = |_| 20;
    let last: fn(&Path) -> u64 = |path| length(path) - 50;
    for place in [head, last] {
        let (found, digest) = verify_after(fill, |directory| {
            let path = directory.join(RUN);
            flip(&path, place(&path));
        });
        assert!(found.is_whole());
        assert_eq!(found.digest, digest);
        let [damaged] = &found.verified.damaged[..] else {
            panic!("{found:?}");
        };
        assert!(damaged.contains(RUN), "{damaged}");
    }
}

#[test]
fn every_page_of_the_merged_index_with_an_entry_is_checked() {
    let directory = tempfile::tempdir().unwrap();
    let digest = make(directory.path(), fill);
    let path = directory.path().join("p0000/index.redb");
    let pages = length(&path) / PAGE_BYTES;
    let mut damaged = 0;
    for page in 1..pages {
        flip(&path, page * PAGE_BYTES + 100);
        let found = verify(directory.path());
        flip(&path, page * PAGE_BYTES + 100);
        assert!(found.is_whole());
        assert_eq!(found.digest, digest, "page {page}");
        assert!(found.verified.damaged.len() <= 1, "{found:?}");
        damaged += found.verified.damaged.len();
    }
    // Of about 35 bytes an entry, whoever finds it: with assertions, redb itself reads all
    // pages when it opens a file.
    let with_entries = u64::from(SEGMENTS * KEYS) * 35 / PAGE_BYTES;
    assert!(damaged as u64 > with_entries, "{damaged} of {pages} pages");
}

#[test]
fn an_open_store_checks_the_runs_that_wait_and_those_that_are_merged() {
    for merges in [false, true] {
        let disk = Arc::new(SimulatedDisk::new(1));
        let vfs = Arc::clone(&disk) as Arc<dyn Vfs>;
        let store = options(merges).open_on(vfs, "/store").unwrap();
        let bucket = store.bucket("b").unwrap();
        fill(&store, &bucket);
        let whole = store.verify().unwrap();
        assert!(whole.damaged.is_empty() && whole.runs == u64::from(SEGMENTS));
        assert_eq!(merges, whole.entries > 0, "{whole:?}");
        let run = format!("/store/p0000/{RUN}");
        disk.flip_bit(&run, disk.length(&run) - 50, 0);
        let found = store.verify().unwrap();
        assert_eq!((found.damaged.len(), found.runs), (1, whole.runs - 1));
    }
}

#[test]
fn an_open_store_checks_the_pages_of_the_merged_index_that_it_has_not_at_hand() {
    let disk = Arc::new(SimulatedDisk::new(1));
    let vfs = Arc::clone(&disk) as Arc<dyn Vfs>;
    let options = options(true).cache_bytes(0);
    let store = options.open_on(vfs, "/store").unwrap();
    let bucket = store.bucket("b").unwrap();
    fill(&store, &bucket);
    let index = "/store/p0000/index.redb";
    for page in 1..disk.length(index) / PAGE_BYTES {
        disk.flip_bit(index, page * PAGE_BYTES + 100, 0);
    }
    let found = store.verify().unwrap();
    let [damaged] = &found.damaged[..] else {
        panic!("{found:?}");
    };
    assert!(damaged.contains("index.redb"), "{damaged}");
}
