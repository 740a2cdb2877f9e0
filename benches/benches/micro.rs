//! Single steps of a read and of a write, each alone: where a regression of `compare` comes from.
//!
//! Keys are 24 bytes, values 100. Tables hold a million keys that are asked for in random order, so
//! a look-up pays its cache misses; a step that is over in nanoseconds is repeated over a row of
//! keys by Criterion. README.md says how to run it.

// A bench that cannot go on has nobody to tell but the terminal.
#![allow(clippy::unwrap_used)]

use cairn_kv::probes::{self, FilterProbe, HotProbe, MemtableProbe, RunProbe};
use cairn_kv::vfs::{RealDisk, Vfs};
use cairn_kv::{Batch, Durability, Store};
use cairn_log::BatchBuffer;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::path::PathBuf;

const KEYS: u64 = 1_000_000;
const VALUE: [u8; 100] = [7; 100];
const BATCH_PUTS: u64 = 100;

/// A bijection that scatters: SplitMix64's finaliser.
fn scatter(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

fn key(number: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..8].copy_from_slice(&scatter(number).to_be_bytes());
    key
}

fn hashes(numbers: std::ops::Range<u64>) -> Vec<u64> {
    numbers.map(|number| probes::hash(&key(number))).collect()
}

/// Numbers below `KEYS` in an order that no prefetcher follows.
struct Wandering(u64);

impl Wandering {
    fn number(&mut self) -> u64 {
        self.0 += 1;
        scatter(self.0) % KEYS
    }
}

fn hash_and_tables(criterion: &mut Criterion) {
    let mut wandering = Wandering(0);
    criterion.bench_function("hash of a key", |bencher| {
        let key = key(1);
        bencher.iter(|| probes::hash(black_box(&key)));
    });

    let present = hashes(0..KEYS);
    let absent = hashes(KEYS..2 * KEYS);
    let mut of = |hashes: &[u64]| hashes[usize::try_from(wandering.number()).unwrap()];

    let filter = FilterProbe::of(&present);
    criterion.bench_function("filter, present", |bencher| {
        bencher.iter(|| filter.may_hold(of(&present)));
    });
    criterion.bench_function("filter, absent", |bencher| {
        bencher.iter(|| filter.may_hold(of(&absent)));
    });
    drop(filter);

    let hot = HotProbe::of(&present, 64 << 20);
    criterion.bench_function("hot index, find", |bencher| {
        bencher.iter(|| hot.find(of(&present)));
    });
    drop(hot);

    let directory = scratch("run");
    let disk = RealDisk;
    let run = RunProbe::of(&present, &disk, &directory);
    criterion.bench_function("run, find a present hash", |bencher| {
        bencher.iter(|| run.find(of(&present)));
    });
    criterion.bench_function("run, find an absent hash", |bencher| {
        bencher.iter(|| run.find(of(&absent)));
    });
    drop(run);
    std::fs::remove_dir_all(directory).unwrap();
}

fn memtable(criterion: &mut Criterion) {
    let table = MemtableProbe::new();
    let mut entered = 0;
    criterion.bench_function("memtable, enter a new key", |bencher| {
        bencher.iter(|| {
            entered += 1;
            table.enter(&key(entered), entered * 160)
        });
    });
    drop(table);
    let table = MemtableProbe::new();
    for number in 0..KEYS {
        table.enter(&key(number), (number + 1) * 160);
    }
    let mut wandering = Wandering(0);
    criterion.bench_function("memtable, locate a present key", |bencher| {
        bencher.iter(|| table.locate(&key(wandering.number())));
    });
    criterion.bench_function("memtable, locate an absent key", |bencher| {
        bencher.iter(|| table.locate(&key(KEYS + wandering.number())));
    });
}

fn frames_and_records(criterion: &mut Criterion) {
    let mut payload = Vec::new();
    probes::encode_put(&key(1), &VALUE, &mut payload);
    criterion.bench_function("record, encode", |bencher| {
        let mut into = Vec::with_capacity(256);
        bencher.iter(|| {
            into.clear();
            probes::encode_put(&key(1), black_box(&VALUE), &mut into);
        });
    });
    criterion.bench_function("record, decode", |bencher| {
        bencher.iter(|| probes::decode_put(black_box(&payload)));
    });
    let mut group = criterion.benchmark_group("frame, encode and checksum");
    for (name, bytes) in [("100 B", 100), ("4 KiB", 4096)] {
        let payload = vec![7; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(name, |bencher| {
            let (mut batch, mut placed) = (BatchBuffer::new(), Vec::new());
            bencher.iter(|| {
                batch.clear();
                placed.clear();
                batch.record(|out| out.extend_from_slice(black_box(&payload)));
                cairn_log::probes::place(&batch, 1 << 30, &mut placed);
            });
        });
    }
    group.finish();
}

fn store(criterion: &mut Criterion) {
    let directory = scratch("store");
    let store = Store::open(&directory).unwrap();
    let bucket = store.bucket("rows").unwrap();
    for first in (0..KEYS).step_by(1_000) {
        let batch = (first..first + 1_000)
            .fold(Batch::new(), |batch, number| batch.put(key(number), VALUE));
        bucket.write(batch, Durability::Buffered).unwrap();
    }
    store.sync().unwrap();
    let mut wandering = Wandering(0);
    criterion.bench_function("Bucket::get of a million keys", |bencher| {
        bencher.iter(|| bucket.get(key(wandering.number())).unwrap());
    });
    let hot: Vec<_> = (0..1_000).map(key).collect();
    let mut turn = 0;
    criterion.bench_function("Bucket::get of a thousand hot keys", |bencher| {
        bencher.iter(|| {
            turn = (turn + 1) % hot.len();
            bucket.get(hot[turn]).unwrap()
        });
    });
    drop(bucket);
    store.close().unwrap();
    std::fs::remove_dir_all(directory).unwrap();

    let store = Store::memory();
    let bucket = store.bucket("rows").unwrap();
    let mut written = 0;
    let mut group = criterion.benchmark_group("memory store");
    group.throughput(Throughput::Elements(BATCH_PUTS));
    group.bench_function("batch of 100 puts", |bencher| {
        bencher.iter_batched(
            || {
                let rows = written..written + BATCH_PUTS;
                // Old keys again after a while: the log grows, and nothing else without bound.
                written = (written + BATCH_PUTS) % 100_000;
                rows.fold(Batch::new(), |batch, number| batch.put(key(number), VALUE))
            },
            |batch| bucket.write(batch, Durability::Buffered).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// An empty folder below the build directory, which is on a real disk.
fn scratch(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("micro-{name}"));
    if directory.exists() {
        std::fs::remove_dir_all(&directory).unwrap();
    }
    RealDisk.create_directory(&directory).unwrap();
    directory
}

criterion_group!(steps, hash_and_tables, memtable, frames_and_records, store);
criterion_main!(steps);
