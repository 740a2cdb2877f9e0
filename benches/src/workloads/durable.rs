//! `put-durable`: 1, 16, 64 and 256 threads put rows that are synced when a put returns.
//!
//! Each thread writes rows of its own, as fast as it is answered, for a fixed time. The disk's
//! floor is measured before the first engine and after each one, so that every row stands between
//! two measurements: for one writer the better of a 4 KiB append and one of the row's own size,
//! for more the append of a whole group. With `--preload` the store is loaded first, and the
//! writers add to it.

use super::{Expectation, Gauge, Store, set_shape, set_speed, steady};
use crate::compare::Context;
use crate::data::{self, Rows, Shape};
use crate::engines::{Durability, Engine, Outcome, Purpose, Registration};
use crate::floor::{Floor, FloorSample, PAGE_BYTES};
use crate::measure::{Histogram, release_free_memory};
use crate::report::{FLOOR, Row, figure};
use std::sync::Barrier;
use std::time::{Duration, Instant};

pub(crate) const WORKLOAD: &str = "put-durable";
const WRITERS: [usize; 4] = [1, 16, 64, 256];
/// Puts before the clock starts: files exist, caches and prepared space are in place.
const WARMING_PUTS: u64 = 64;

pub(crate) fn run(context: &Context) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    let mut floor = Floor::prepare(&context.directory)?;
    let variant = match context.preload {
        true => format!("over {} rows", context.scale.keys),
        false => String::new(),
    };
    for writers in WRITERS {
        let mut samples = vec![measure_floor(context, &mut floor, writers)?];
        let first = rows.len();
        for registration in &context.engines {
            release_free_memory();
            let row = Row::new(WORKLOAD, registration.name, &variant, writers);
            rows.push(steady(context, row, |row| {
                put_durable(context, *registration, writers, row)
            }));
            samples.push(measure_floor(context, &mut floor, writers)?);
        }
        for (row, around) in rows[first..].iter_mut().zip(samples.windows(2)) {
            let higher = around[0].records_per_s.max(around[1].records_per_s);
            row.set(figure::FLOOR_OPS_PER_S, higher);
            context.progress(row);
        }
        rows.extend(floor_row(samples, &variant, writers));
    }
    Ok(rows)
}

fn put_durable(
    context: &Context,
    registration: Registration,
    writers: usize,
    row: &mut Row,
) -> Outcome<()> {
    let shape = Shape::SMALL;
    let store = Store::fresh(context, registration, Purpose::DurableWrites, shape)?;
    let engine = store.engine.as_ref();
    let loaded = match context.preload {
        true => context.scale.keys,
        false => 0,
    };
    if loaded > 0 {
        engine.load(&mut Rows::new(shape, loaded))?;
        engine.settle()?;
    }
    let mut expected = Expectation::loaded(shape, loaded);
    let first = loaded + WARMING_PUTS;
    for index in loaded..first {
        put(engine, shape, index)?;
        expected.add(index, 0);
    }

    let barrier = Barrier::new(writers + 1);
    let gauge = Gauge::start(store.directory.path(), Some(engine))?;
    let (done, elapsed) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|writer| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let rows = (first + writer as u64..).step_by(writers);
                    barrier.wait();
                    write_for(engine, shape, rows, context.scale.row)
                })
            })
            .collect();
        barrier.wait();
        let start = Instant::now();
        let done: Outcome<Vec<(u64, Histogram)>> = threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a writer panicked")?)
            .collect();
        (done, start.elapsed())
    });

    let mut latency = Histogram::new();
    let mut puts = 0;
    for (writer, (count, of_writer)) in done?.into_iter().enumerate() {
        latency.merge(&of_writer);
        puts += count;
        let rows = (first + writer as u64..).step_by(writers);
        rows.take(usize::try_from(count)?)
            .for_each(|index| expected.add(index, 0));
    }
    gauge.finish(row, engine, puts, elapsed)?;
    set_speed(row, puts, elapsed, &latency);
    set_shape(row, shape);
    row.check = expected.check(engine)?;
    store.discard()
}

fn put(engine: &dyn Engine, shape: Shape, index: u64) -> Outcome<()> {
    let mut key = vec![0; shape.key_bytes];
    let mut value = vec![0; shape.value_bytes];
    data::fill_key(index, &mut key);
    data::fill_value(index, 0, &mut value);
    engine.put(&key, &value, Durability::Synced)
}

fn write_for(
    engine: &dyn Engine,
    shape: Shape,
    rows: impl Iterator<Item = u64>,
    duration: Duration,
) -> Outcome<(u64, Histogram)> {
    let mut key = vec![0; shape.key_bytes];
    let mut value = vec![0; shape.value_bytes];
    let mut latency = Histogram::new();
    let mut puts = 0;
    let start = Instant::now();
    for index in rows {
        data::fill_key(index, &mut key);
        data::fill_value(index, 0, &mut value);
        let before = Instant::now();
        engine.put(&key, &value, Durability::Synced)?;
        let after = Instant::now();
        latency.record(after - before);
        puts += 1;
        if after - start >= duration {
            break;
        }
    }
    Ok((puts, latency))
}

fn measure_floor(context: &Context, floor: &mut Floor, writers: usize) -> Outcome<FloorSample> {
    let row_bytes = Shape::SMALL.row_bytes();
    let group = floor.append(row_bytes, writers, context.scale.floor)?;
    if writers > 1 {
        return Ok(group);
    }
    let page = floor.append(PAGE_BYTES, 1, context.scale.floor)?;
    Ok(group.better(page))
}

/// The best measurement around the engines, as a row of its own.
fn floor_row(samples: Vec<FloorSample>, variant: &str, writers: usize) -> Option<Row> {
    let best = samples.into_iter().reduce(FloorSample::better)?;
    let mut row = Row::new(WORKLOAD, FLOOR, variant, writers);
    row.settings = format!(
        "pwrite + fdatasync on a pre-written file: the better of 4 KiB and {} B for one writer, \
         the rows of all writers in one write and sync for more",
        Shape::SMALL.row_bytes()
    );
    row.set(figure::OPS_PER_S, best.records_per_s);
    row.set(figure::SECONDS, best.seconds);
    row.set(figure::SYNCS, best.syncs as f64);
    row.set(figure::OPERATIONS, best.records_per_s * best.seconds);
    row.set_known(figure::P50_US, best.latency.quantile_us(0.5));
    row.set_known(figure::P99_US, best.latency.quantile_us(0.99));
    row.set_known(figure::P999_US, best.latency.quantile_us(0.999));
    Some(row)
}
