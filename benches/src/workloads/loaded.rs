//! Rows over a loaded store: `bulk`, `get-hot`, `get-absent` and `scan` with 100-byte values,
//! `bulk-4k` and `get-4k` with 4 KiB ones.
//!
//! A store is loaded once in random key order, timed until all of it is durable, then left to
//! settle (merges and compactions done), checked, warmed by random reads, and read. Reads go to uniformly random rows, in
//! one thread or two, through one snapshot held over all of them or with a fresh view each. Every
//! value read is compared with its stamp; a variant of `get-4k` touches every byte of it, since
//! engines that hand out a reference to a page have otherwise not read it at all. `get-absent`
//! asks for keys that fall between the present ones.

use super::{
    CLOCK_STRIDE, Expectation, Gauge, Scan, Store, attempt, set_shape, set_speed, settle, steady,
};
use crate::compare::Context;
use crate::data::{self, Random, Rows, Shape};
use crate::engines::{Engine, Outcome, Purpose, ReadMode, Reader, Registration};
use crate::floor;
use crate::measure::{Histogram, release_free_memory};
use crate::report::{Check, FLOOR, Row, figure};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// One shape's names and what is read from it.
struct Family {
    shape: Shape,
    bulk: &'static str,
    reads: &'static [Read],
    scan: Option<&'static str>,
}

/// One kind of read rows: both read modes, at each of the thread counts.
struct Read {
    workload: &'static str,
    threads: &'static [usize],
    target: Target,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    /// A present row; the stamp of its value is compared.
    Present,
    /// A present row; every byte is read as well.
    PresentWhole,
    Absent,
}

const SMALL: Family = Family {
    shape: Shape::SMALL,
    bulk: "bulk",
    reads: &[
        Read {
            workload: "get-hot",
            threads: &[1, 2],
            target: Target::Present,
        },
        Read {
            workload: "get-absent",
            threads: &[1],
            target: Target::Absent,
        },
    ],
    scan: Some("scan"),
};

const LARGE: Family = Family {
    shape: Shape::LARGE,
    bulk: "bulk-4k",
    reads: &[
        Read {
            workload: "get-4k",
            threads: &[1, 2],
            target: Target::Present,
        },
        Read {
            workload: "get-4k",
            threads: &[1],
            target: Target::PresentWhole,
        },
    ],
    scan: None,
};

const WARMING_STREAM: u64 = 1 << 32;

/// Absent rows have indexes from here on.
const ABSENT_FROM: u64 = 1 << 40;

pub(crate) fn run_small(context: &Context) -> Outcome<Vec<Row>> {
    run(context, &SMALL, context.scale.keys)
}

pub(crate) fn run_large(context: &Context) -> Outcome<Vec<Row>> {
    run(context, &LARGE, context.scale.large_keys)
}

pub(crate) fn workloads() -> impl Iterator<Item = &'static str> {
    [&SMALL, &LARGE].into_iter().flat_map(Family::workloads)
}

pub(crate) fn selected(context: &Context) -> (bool, bool) {
    let any = |family: &Family| family.workloads().any(|workload| context.selects(workload));
    (any(&SMALL), any(&LARGE))
}

impl Family {
    fn workloads(&self) -> impl Iterator<Item = &'static str> {
        let reads = self.reads.iter().map(|read| read.workload);
        std::iter::once(self.bulk).chain(reads).chain(self.scan)
    }
}

fn run(context: &Context, family: &Family, keys: u64) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    let mut floors = Vec::new();
    let wants_floor = context.selects(family.bulk);
    if wants_floor {
        floors.push(floor_rate(context, family.shape, keys)?);
    }
    for registration in &context.engines {
        release_free_memory();
        let bulk = Row::new(family.bulk, registration.name, "", 1);
        let mut of_engine = Vec::new();
        context.wait_for_calm();
        let bulk = attempt(context, bulk, |bulk| {
            of_engine = load_and_read(context, *registration, family, keys, bulk)?;
            Ok(())
        });
        if context.selects(family.bulk) || bulk.check.failed() {
            rows.push(bulk);
            if wants_floor {
                floors.push(floor_rate(context, family.shape, keys)?);
                let around = &floors[floors.len() - 2..];
                if let Some(row) = rows.last_mut() {
                    row.set(figure::FLOOR_OPS_PER_S, around[0].max(around[1]));
                    context.progress(row);
                }
            }
        }
        rows.extend(of_engine);
    }
    if let Some(best) = floors.into_iter().reduce(f64::max) {
        let mut row = Row::new(family.bulk, FLOOR, "", 1);
        row.settings = "all rows in 1 MiB writes over a pre-written file, one fdatasync".into();
        row.set(figure::OPS_PER_S, best);
        rows.push(row);
    }
    Ok(rows)
}

fn floor_rate(context: &Context, shape: Shape, keys: u64) -> Outcome<f64> {
    let bytes = keys * shape.row_bytes() as u64;
    Ok(keys as f64 / floor::sequential_seconds(&context.directory, bytes)?)
}

/// Fills in the `bulk` row and returns the rows of the reads.
fn load_and_read(
    context: &Context,
    registration: Registration,
    family: &Family,
    keys: u64,
    bulk: &mut Row,
) -> Outcome<Vec<Row>> {
    let shape = family.shape;
    let store = Store::fresh(context, registration, Purpose::LoadThenRead, shape)?;
    let engine = store.engine.as_ref();
    let gauge = Gauge::start(store.directory.path(), Some(engine))?;
    engine.load(&mut Rows::new(shape, keys))?;
    let elapsed = gauge.elapsed();
    gauge.finish(bulk, engine, keys, elapsed)?;
    bulk.set(figure::OPS_PER_S, keys as f64 / elapsed.as_secs_f64());
    set_shape(bulk, shape);

    settle(bulk, engine, store.directory.path())?;
    let expected = Expectation::loaded(shape, keys);
    bulk.set(figure::LIVE_BYTES, expected.live_bytes());
    bulk.check = expected.check(engine)?;
    let mut rows = Vec::new();
    if family
        .reads
        .iter()
        .any(|read| context.selects(read.workload))
    {
        warm(context, engine, shape, keys)?;
    }
    for read in family.reads {
        if context.selects(read.workload) {
            rows.extend(read_rows(context, registration, &store, shape, keys, read));
        }
    }
    if let Some(workload) = family.scan.filter(|workload| context.selects(workload)) {
        let row = Row::new(workload, registration.name, "", 1);
        rows.push(steady(context, row, |row| {
            scan(context, &store, &expected, shape, row)
        }));
    }
    rows.iter().for_each(|row| context.progress(row));
    store.discard()?;
    Ok(rows)
}

/// Reads random rows for the time of one row, so that caches hold what they can.
fn warm(context: &Context, engine: &dyn Engine, shape: Shape, keys: u64) -> Outcome<()> {
    let plan = Gets {
        shape,
        keys,
        target: Target::Present,
        duration: context.scale.read,
    };
    engine.read(ReadMode::Held, &mut |reader| {
        plan.read_for(reader, WARMING_STREAM).map(|_| ())
    })
}

fn read_rows(
    context: &Context,
    registration: Registration,
    store: &Store,
    shape: Shape,
    keys: u64,
    read: &Read,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for &threads in read.threads {
        for mode in [ReadMode::Held, ReadMode::PerGet] {
            // Reading every byte tells the same story in both modes.
            if read.target == Target::PresentWhole && mode == ReadMode::PerGet {
                continue;
            }
            let variant = match read.target {
                Target::PresentWhole => format!("{}, every byte read", mode.label()),
                _ => mode.label().to_string(),
            };
            let row = Row::new(read.workload, registration.name, &variant, threads);
            rows.push(steady(context, row, |row| {
                let plan = Gets {
                    shape,
                    keys,
                    target: read.target,
                    duration: context.scale.read,
                };
                get(&plan, store, threads, mode, row)
            }));
        }
    }
    rows
}

/// What each reading thread does.
#[derive(Clone, Copy)]
struct Gets {
    shape: Shape,
    keys: u64,
    target: Target,
    duration: Duration,
}

fn get(plan: &Gets, store: &Store, threads: usize, mode: ReadMode, row: &mut Row) -> Outcome<()> {
    let engine = store.engine.as_ref();
    let barrier = Barrier::new(threads + 1);
    let gauge = Gauge::start(store.directory.path(), Some(engine))?;
    let (done, elapsed) = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..threads)
            .map(|thread| {
                let barrier = &barrier;
                scope.spawn(move || -> Outcome<Got> {
                    let mut got = Got::default();
                    barrier.wait();
                    engine.read(mode, &mut |reader| {
                        got = plan.read_for(reader, thread as u64)?;
                        Ok(())
                    })?;
                    Ok(got)
                })
            })
            .collect();
        barrier.wait();
        let start = Instant::now();
        let done: Outcome<Vec<Got>> = readers
            .into_iter()
            .map(|reader| reader.join().map_err(|_| "a reader panicked")?)
            .collect();
        (done, start.elapsed())
    });

    let mut latency = Histogram::new();
    let (mut gets, mut wrong) = (0, 0);
    for got in done? {
        gets += got.gets;
        wrong += got.wrong;
        if let Some(of_thread) = &got.latency {
            latency.merge(of_thread);
        }
    }
    gauge.finish(row, engine, gets, elapsed)?;
    set_speed(row, gets, elapsed, &latency);
    set_shape(row, plan.shape);
    row.check = match wrong {
        0 => Check::Passed(gets),
        wrong => Check::Failed(format!("{wrong} of {gets} reads were wrong")),
    };
    Ok(())
}

#[derive(Default)]
struct Got {
    gets: u64,
    wrong: u64,
    latency: Option<Histogram>,
}

impl Gets {
    fn read_for(&self, reader: &dyn Reader, thread: u64) -> Outcome<Got> {
        let mut random = Random::new(1_000 + thread);
        let mut key = vec![0; self.shape.key_bytes];
        let mut latency = Histogram::new();
        let (mut gets, mut wrong) = (0u64, 0u64);
        let start = Instant::now();
        let mut last = start;
        while last - start < self.duration {
            for _ in 1..CLOCK_STRIDE {
                wrong += u64::from(!self.read_one(reader, &mut random, &mut key)?);
            }
            let before = Instant::now();
            wrong += u64::from(!self.read_one(reader, &mut random, &mut key)?);
            last = Instant::now();
            latency.record(last - before);
            gets += CLOCK_STRIDE;
        }
        Ok(Got {
            gets,
            wrong,
            latency: Some(latency),
        })
    }

    /// Whether the answer was the right one.
    fn read_one(&self, reader: &dyn Reader, random: &mut Random, key: &mut [u8]) -> Outcome<bool> {
        let index = random.below(self.keys);
        let mut right = false;
        match self.target {
            Target::Absent => {
                data::fill_key(ABSENT_FROM + index, key);
                right = !reader.get(key, &mut |_| {})?;
            }
            Target::Present => {
                data::fill_key(index, key);
                reader.get(key, &mut |value| {
                    right = data::bears_stamp(value, self.shape.value_bytes, index, 0);
                })?;
            }
            Target::PresentWhole => {
                data::fill_key(index, key);
                reader.get(key, &mut |value| {
                    std::hint::black_box(data::sum_of_words(value));
                    right = data::bears_stamp(value, self.shape.value_bytes, index, 0);
                })?;
            }
        }
        Ok(right)
    }
}

/// Full scans until the time is up; a latency is that of a whole scan.
fn scan(
    context: &Context,
    store: &Store,
    expected: &Expectation,
    shape: Shape,
    row: &mut Row,
) -> Outcome<()> {
    let engine = store.engine.as_ref();
    let gauge = Gauge::start(store.directory.path(), Some(engine))?;
    let mut latency = Histogram::new();
    let mut scans = 0;
    while scans == 0 || gauge.elapsed() < context.scale.read {
        let mut scanned = Scan::default();
        let before = Instant::now();
        engine.read(ReadMode::Held, &mut |reader| {
            reader.scan(&mut |key, value| scanned.visit(key, value))
        })?;
        latency.record(before.elapsed());
        scans += 1;
        if !expected.matches(&scanned) {
            return Err("a scan differs from what was loaded".into());
        }
    }
    let elapsed = gauge.elapsed();
    let keys = scans * expected.rows();
    gauge.finish(row, engine, keys, elapsed)?;
    set_speed(row, keys, elapsed, &latency);
    set_shape(row, shape);
    row.check = Check::Passed(keys);
    Ok(())
}
