//! `overwrite` and `space`: random overwrites of ten times the data, and what the disk then holds.
//!
//! A store is loaded, then one thread overwrites uniformly random rows with buffered puts and
//! flushes once a second, so that every engine risks the same second and its background work
//! (checkpoints, compactions, GC) runs as it must for ever. `overwrite` shows the rate, its course
//! over time and the latency tail; an engine that is not done after the cap (10 minutes for both
//! value sizes together, the same for all) stops there, and the row says how often the data was
//! written. `space` shows allocated
//! blocks after the load and after the overwrites, at once and not after a rest, and the bytes
//! written per put.

use super::{Expectation, Gauge, Store, set_shape, set_speed, settle, steady};
use crate::compare::Context;
use crate::data::{self, Random, Rows, Shape};
use crate::engines::{Durability, Engine, Outcome, Purpose, Registration};
use crate::measure::{Histogram, release_free_memory};
use crate::report::{Row, figure};
use std::time::{Duration, Instant};

pub(crate) const OVERWRITE: &str = "overwrite";
pub(crate) const SPACE: &str = "space";
const TIMES: u64 = 10;
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Enough points to see a stall, few enough to print.
const INTERVALS_MAX: usize = 20;
const RANDOM_STREAM: u64 = 77;

/// A store of `keys` rows, overwritten for at most `cap`.
#[derive(Clone, Copy)]
struct Plan {
    shape: Shape,
    keys: u64,
    cap: Duration,
}

pub(crate) fn run(context: &Context) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    let [small_cap, large_cap] = context.scale.overwrite_caps;
    let plans = [
        Plan {
            shape: Shape::SMALL,
            keys: context.scale.overwrite_keys,
            cap: small_cap,
        },
        Plan {
            shape: Shape::LARGE,
            keys: context.scale.overwrite_large_keys,
            cap: large_cap,
        },
    ];
    for plan in plans {
        for registration in &context.engines {
            release_free_memory();
            let label = plan.shape.value_label();
            let named = |workload, variant: &str| Row::new(workload, registration.name, variant, 1);
            let mut loaded = named(SPACE, &format!("{label}, after the load"));
            let mut overwritten = named(SPACE, &format!("{label}, after the overwrites"));
            let row = steady(context, named(OVERWRITE, &label), |row| {
                let mut space = [&mut loaded, &mut overwritten];
                overwrite(context, *registration, plan, row, &mut space)
            });
            context.progress(&row);
            if !row.check.failed() && context.selects(SPACE) {
                rows.extend([loaded, overwritten]);
            }
            if row.check.failed() || context.selects(OVERWRITE) {
                rows.push(row);
            }
        }
    }
    rows.sort_by(|one, two| {
        let large = |row: &Row| row.get(figure::VALUE_BYTES) != Some(100.0);
        (&one.workload, large(one), &one.variant).cmp(&(&two.workload, large(two), &two.variant))
    });
    Ok(rows)
}

fn overwrite(
    context: &Context,
    registration: Registration,
    plan: Plan,
    row: &mut Row,
    space: &mut [&mut Row; 2],
) -> Outcome<()> {
    let Plan { shape, keys, .. } = plan;
    let store = Store::fresh(context, registration, Purpose::BufferedWrites, shape)?;
    let engine = store.engine.as_ref();
    let directory = store.directory.path();
    let [loaded, overwritten] = space;

    let gauge = Gauge::start(directory, Some(engine))?;
    engine.load(&mut Rows::new(shape, keys))?;
    let elapsed = gauge.elapsed();
    gauge.finish(loaded, engine, keys, elapsed)?;
    let expected = Expectation::loaded(shape, keys);
    loaded.set(figure::LIVE_BYTES, expected.live_bytes());
    loaded.check = expected.check(engine)?;
    set_shape(loaded, shape);

    let gauge = Gauge::start(directory, Some(engine))?;
    let done = overwrite_for(engine, plan)?;
    gauge.finish(row, engine, done.puts, done.elapsed)?;
    set_speed(row, done.puts, done.elapsed, &done.latency);
    set_shape(row, shape);
    row.set(figure::OVERWRITTEN_TIMES, done.puts as f64 / keys as f64);
    (row.over_time, row.interval_s) = done.course;
    let mut expected = Expectation::new(shape);
    for (index, &version) in (0..).zip(&done.versions) {
        expected.add(index, version);
    }
    row.set(figure::LIVE_BYTES, expected.live_bytes());
    row.check = expected.check(engine)?;

    let (workload, variant) = (overwritten.workload.clone(), overwritten.variant.clone());
    **overwritten = row.clone();
    (overwritten.workload, overwritten.variant) = (workload, variant);
    for not_of_space in [
        figure::OPS_PER_S,
        figure::P50_US,
        figure::P99_US,
        figure::P999_US,
    ] {
        overwritten.clear(not_of_space);
    }
    overwritten.over_time.clear();
    settle(overwritten, engine, directory)?;
    store.discard()
}

struct Overwritten {
    puts: u64,
    elapsed: Duration,
    latency: Histogram,
    /// The newest version of each row.
    versions: Vec<u32>,
    /// Puts a second in equal intervals, and their length in seconds.
    course: (Vec<f64>, f64),
}

fn overwrite_for(engine: &dyn Engine, plan: Plan) -> Outcome<Overwritten> {
    let Plan { shape, keys, cap } = plan;
    let mut random = Random::new(RANDOM_STREAM);
    let mut versions = vec![0u32; usize::try_from(keys)?];
    let mut key = vec![0; shape.key_bytes];
    let mut value = vec![0; shape.value_bytes];
    let mut latency = Histogram::new();
    let mut course = Course::default();
    let mut puts = 0;
    let start = Instant::now();
    let (mut last, mut flushed) = (start, start);
    while puts < keys * TIMES && last - start < cap {
        let index = random.below(keys);
        let version = &mut versions[usize::try_from(index)?];
        *version += 1;
        data::fill_key(index, &mut key);
        data::fill_value(index, *version, &mut value);
        engine.put(&key, &value, Durability::Buffered)?;
        puts += 1;
        if last - flushed >= FLUSH_INTERVAL {
            engine.flush()?;
            flushed = Instant::now();
        }
        let now = Instant::now();
        latency.record(now - last);
        course.count(now - start);
        last = now;
    }
    engine.flush()?;
    Ok(Overwritten {
        puts,
        elapsed: start.elapsed(),
        latency,
        versions,
        course: course.rates(),
    })
}

/// Counts by time, in steps of 50 ms.
#[derive(Default)]
struct Course {
    steps: Vec<u64>,
}

impl Course {
    const STEP_MS: u64 = 50;

    fn count(&mut self, since_start: Duration) {
        let step = since_start.as_millis() / u128::from(Self::STEP_MS);
        let step = usize::try_from(step).unwrap_or(usize::MAX - 1);
        if step >= self.steps.len() {
            self.steps.resize(step + 1, 0);
        }
        self.steps[step] += 1;
    }

    /// At most `INTERVALS_MAX` rates over intervals of equal length.
    fn rates(&self) -> (Vec<f64>, f64) {
        let merged = self.steps.len().div_ceil(INTERVALS_MAX).max(1);
        let interval_s = merged as f64 * Self::STEP_MS as f64 / 1e3;
        let rates = self
            .steps
            .chunks(merged)
            .filter(|interval| interval.len() == merged)
            .map(|interval| interval.iter().sum::<u64>() as f64 / interval_s)
            .collect();
        (rates, interval_s)
    }
}
