//! `put-buffered` and `batch-sorted`: one thread writes without waiting for the disk.
//!
//! `put-buffered` puts one row an operation in random key order, for a fixed time. `batch-sorted`
//! commits atomic batches of 1,000 random keys, each batch sorted; making the batch is not timed,
//! and its latencies are a batch's. Neither syncs while the clock runs; the flush that makes all
//! of it durable is timed on its own and stands beside, as does what it wrote.

use super::{Expectation, Gauge, Store, set_shape, set_speed, steady};
use crate::compare::Context;
use crate::data::{self, Pairs, Shape};
use crate::engines::{Durability, Engine, Outcome, Purpose, Registration};
use crate::measure::{Histogram, release_free_memory};
use crate::report::{Row, figure};
use std::time::{Duration, Instant};

pub(crate) const PUT_BUFFERED: &str = "put-buffered";
pub(crate) const BATCH_SORTED: &str = "batch-sorted";
const BATCH_ROWS: u64 = 1_000;
/// Rows before the clock starts.
const WARMING_ROWS: u64 = 1_000;

type Write = fn(&dyn Engine, Shape, Duration) -> Outcome<Written>;

/// What one of the two did: rows `WARMING_ROWS..WARMING_ROWS + rows`, in `elapsed`.
struct Written {
    rows: u64,
    elapsed: Duration,
    latency: Histogram,
}

pub(crate) fn run(context: &Context) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    let both: [(&str, Write); 2] = [(PUT_BUFFERED, put_for), (BATCH_SORTED, batch_for)];
    for (workload, write) in both {
        if !context.selects(workload) {
            continue;
        }
        for registration in &context.engines {
            release_free_memory();
            let row = Row::new(workload, registration.name, "", 1);
            let row = steady(context, row, |row| {
                unsynced(context, *registration, write, row)
            });
            context.progress(&row);
            rows.push(row);
        }
    }
    Ok(rows)
}

fn unsynced(
    context: &Context,
    registration: Registration,
    write: Write,
    row: &mut Row,
) -> Outcome<()> {
    let shape = Shape::SMALL;
    let store = Store::fresh(context, registration, Purpose::BufferedWrites, shape)?;
    let engine = store.engine.as_ref();
    let mut pairs = Pairs::new(shape);
    (0..WARMING_ROWS).for_each(|index| pairs.push(index, 0));
    engine.batch(&pairs, Durability::Buffered)?;

    let gauge = Gauge::start(store.directory.path(), Some(engine))?;
    let written = write(engine, shape, context.scale.row)?;
    let flushing = Instant::now();
    engine.flush()?;
    row.set(figure::FLUSH_MS, flushing.elapsed().as_secs_f64() * 1e3);
    gauge.finish(row, engine, written.rows, written.elapsed)?;
    set_speed(row, written.rows, written.elapsed, &written.latency);
    set_shape(row, shape);
    let expected = Expectation::loaded(shape, WARMING_ROWS + written.rows);
    row.set(figure::LIVE_BYTES, expected.live_bytes());
    row.check = expected.check(engine)?;
    store.discard()
}

/// Each latency runs from one return to the next, so it holds the making of a row too: some 50 ns.
fn put_for(engine: &dyn Engine, shape: Shape, duration: Duration) -> Outcome<Written> {
    let mut key = vec![0; shape.key_bytes];
    let mut value = vec![0; shape.value_bytes];
    let mut latency = Histogram::new();
    let mut rows = 0;
    let start = Instant::now();
    let mut last = start;
    while last - start < duration {
        data::fill_key(WARMING_ROWS + rows, &mut key);
        data::fill_value(WARMING_ROWS + rows, 0, &mut value);
        engine.put(&key, &value, Durability::Buffered)?;
        rows += 1;
        let now = Instant::now();
        latency.record(now - last);
        last = now;
    }
    Ok(Written {
        rows,
        elapsed: last - start,
        latency,
    })
}

fn batch_for(engine: &dyn Engine, shape: Shape, duration: Duration) -> Outcome<Written> {
    let mut pairs = Pairs::new(shape);
    let mut latency = Histogram::new();
    let mut rows = 0;
    let mut elapsed = Duration::ZERO;
    while elapsed < duration {
        let first = WARMING_ROWS + rows;
        let mut indexes: Vec<u64> = (first..first + BATCH_ROWS).collect();
        indexes.sort_unstable_by_key(|&index| data::key_word(index));
        pairs.clear();
        indexes.iter().for_each(|&index| pairs.push(index, 0));
        let before = Instant::now();
        engine.batch(&pairs, Durability::Buffered)?;
        let took = before.elapsed();
        latency.record(took);
        elapsed += took;
        rows += BATCH_ROWS;
    }
    Ok(Written {
        rows,
        elapsed,
        latency,
    })
}
