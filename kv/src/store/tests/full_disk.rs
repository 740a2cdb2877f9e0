//! A full disk: writes are refused, deletes and collection go on, and writes resume by themselves.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use cairn_log::vfs::simulated::Survival;

use super::*;
use crate::testing::stride;

/// Small, so that there are many.
const SEGMENT: u64 = 64 << 10;

fn bench(seed: u64) -> Bench {
    with_options(Bench::new(seed))
}

fn with_options(bench: Bench) -> Bench {
    let options = bench.options.clone().merge_entries(1);
    Bench {
        options: options.segment_bytes(SEGMENT),
        ..bench
    }
}

impl Bench {
    fn free_bytes(&self) -> u64 {
        self.disk.free_bytes(Path::new("/")).unwrap()
    }

    /// Leaves this much of the disk free.
    fn leave(&self, bytes: u64) {
        self.disk.set_capacity(1 << 50);
        let used = (1 << 50) - self.free_bytes();
        self.disk.set_capacity(used + bytes);
    }
}

fn key(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

fn settle(store: &Store) {
    while store.step().unwrap() {}
}

/// What a store holds of the keys that the tests write, by their numbers.
fn numbers(bucket: &Bucket) -> BTreeMap<u32, u8> {
    let rows = bucket.scan(Scan::default()).unwrap();
    rows.map(|row| {
        let (key, entry) = row.unwrap();
        let number = u32::from_be_bytes(*key.first_chunk().unwrap());
        (number, entry.value[0])
    })
    .collect()
}

/// Some merged segments of values.
fn filled(bench: &Bench) -> Result<(Store, Bucket)> {
    let store = bench.try_open()?;
    let bucket = store.bucket("b")?;
    for number in 0..100 {
        bucket.put(key(number), vec![1; 3_600])?;
        if number % 10 == 0 {
            while store.step()? {}
        }
    }
    while store.step()? {}
    Ok((store, bucket))
}

/// Puts keys from `next` on until one is refused, and says which one and why.
fn put_until_refused(store: &Store, bucket: &Bucket, mut next: u32) -> (u32, Error) {
    loop {
        match bucket.put(key(next), vec![2; 3_600]) {
            Ok(_) => next += 1,
            Err(error) => return (next, error),
        }
        if let Err(error) = store.step() {
            return (next, error);
        }
    }
}

/// A store on a disk on which nothing is left, for nobody; also the keys it holds.
fn full(bench: &Bench) -> (Store, Bucket, BTreeMap<u32, u8>) {
    let (store, bucket) = filled(bench).unwrap();
    bench.leave(2 * SEGMENT + SEGMENT / 2);
    let (_, full) = put_until_refused(&store, &bucket, 1_000);
    assert_eq!(full.kind(), ErrorKind::DiskFull);
    bench.leave(0);
    settle(&store);
    let held = numbers(&bucket);
    (store, bucket, held)
}

/// Keys deleted to make room, and keys put into it.
fn doomed() -> impl Iterator<Item = u32> {
    (0..100).filter(|number| number % 4 != 0)
}
const NEWCOMERS: Range<u32> = 2_000..2_030;
/// After a crash the space of those that came before it is not collected yet.
const LATECOMERS: Range<u32> = 3_000..3_010;

/// Makes room and uses it, as far as the disk lets it; notes in `held` what was acknowledged. An
/// error comes with the key that was being written.
fn make_room(
    store: &Store,
    bucket: &Bucket,
    held: &mut BTreeMap<u32, u8>,
    newcomers: Range<u32>,
) -> std::result::Result<(), (Option<u32>, Error)> {
    let settle = || loop {
        match store.step() {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => return Err((None, error)),
        }
    };
    for number in doomed() {
        let deleted = bucket.delete(key(number));
        deleted.map_err(|error| (Some(number), error))?;
        held.remove(&number);
    }
    settle()?;
    for number in newcomers {
        let put = bucket.put(key(number), vec![3; 3_600]);
        put.map_err(|error| (Some(number), error))?;
        held.insert(number, 3);
        settle()?;
    }
    Ok(())
}

fn assert_reopens_to(digest: &StateDigest, bench: &Bench, context: &str) {
    for erased in [false, true] {
        let disk = bench.disk.process_death();
        if erased {
            erase_index(&disk);
            // Index files take space that the log's own recovery does not.
            disk.set_capacity(1 << 50);
        }
        let store = with_options(Bench::on(disk)).open();
        let found = store.state_digest().unwrap();
        assert_eq!(found, *digest, "{context}, index erased: {erased}");
    }
}

#[test]
fn deletes_on_a_full_disk_give_back_space_and_writes_resume() {
    let bench = bench(1);
    let (store, bucket, mut held) = full(&bench);
    assert_eq!(
        kind(bucket.put("more", vec![1; 36_000])),
        ErrorKind::DiskFull
    );
    assert_eq!(
        kind(store.append(0, "topic", vec![1; 36_000])),
        ErrorKind::DiskFull
    );
    assert!(held.len() > 100);
    let dropped = || store.0.log.partitions()[0].dropped_end().get();
    assert_eq!(dropped(), 0);
    make_room(&store, &bucket, &mut held, NEWCOMERS).unwrap();
    assert!(dropped() > 0);
    assert_eq!(numbers(&bucket), held);
    let digest = store.state_digest().unwrap();
    drop((bucket, store));
    assert_reopens_to(&digest, &bench, "calm");
}

#[test]
fn a_full_disk_is_opened_and_freed() {
    for clean in [true, false] {
        let bench = bench(1);
        let (store, bucket, mut held) = full(&bench);
        if clean {
            store.close().unwrap();
        }
        drop((bucket, store));
        let bench = with_options(Bench::on(bench.disk.process_death()));
        let store = bench.open();
        let bucket = store.open_bucket("b").unwrap();
        assert_eq!(numbers(&bucket), held);
        assert_eq!(
            kind(bucket.put("more", vec![1; 36_000])),
            ErrorKind::DiskFull
        );
        make_room(&store, &bucket, &mut held, NEWCOMERS).unwrap();
        assert_eq!(numbers(&bucket), held);
    }
}

#[test]
fn law_1_and_5_at_every_call_on_a_full_disk() {
    let calm = bench(1);
    let (store, bucket, mut held) = full(&calm);
    let first = calm.disk.calls();
    make_room(&store, &bucket, &mut held, NEWCOMERS).unwrap();
    let calls = calm.disk.calls();
    drop((bucket, store));
    // Every call of a few of them, and all in the larger run.
    for call in (first + 1..=calls).step_by(stride(5)) {
        let bench = bench(1);
        let (store, bucket, mut held) = full(&bench);
        bench.disk.reseed(call);
        bench.disk.crash_at(call);
        let failed = make_room(&store, &bucket, &mut held, NEWCOMERS).err();
        let lost = failed.and_then(|(number, _)| number);
        drop((bucket, store));
        for survival in [Survival::Nothing, Survival::Random(call)] {
            let context = format!("call {call}, {survival:?}");
            let bench = with_options(Bench::on(bench.disk.power_loss(survival)));
            let store = bench.open();
            let bucket = store.open_bucket("b").unwrap();
            let mut found = numbers(&bucket);
            let mut expected = held.clone();
            for map in [&mut found, &mut expected] {
                map.retain(|number, _| Some(*number) != lost);
            }
            assert_eq!(found, expected, "{context}");
            let mut held = numbers(&bucket);
            let made = make_room(&store, &bucket, &mut held, LATECOMERS);
            made.unwrap_or_else(|failed| panic!("{context}: {failed:?}"));
            assert_eq!(numbers(&bucket), held, "{context}");
            let digest = store.state_digest().unwrap();
            drop((bucket, store));
            assert_reopens_to(&digest, &bench, &context);
        }
    }
}
