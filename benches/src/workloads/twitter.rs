//! `twitter-N`: traffic in the shape of Twitter's caches, after row N of their published table
//! (Yang, Yue, Rashmi: A large scale analysis of hundreds of in-memory cache clusters at Twitter,
//! OSDI 2020; twitter/cache-trace, 2020Mar.md, CC BY 4.0).
//!
//! A row gives key size, value size, the mix of operations and the Zipf exponent of popularity.
//! The store is loaded with all keys, then one thread runs the mix. `get` and `gets` read; `set`
//! writes; `add` reads and writes what is absent; `cas`, `incr`, `decr`, `append`, `prepend` and
//! `replace` read and write back; `delete` deletes. Writes are buffered, with a flush once a
//! second for every engine. The sequence of operations is made before the clock starts and is the
//! same for all; it repeats when it runs out. Every read is compared with what was last written.
//! The table's expiry times, miss ratios and request rates are not modelled.

use super::{Expectation, Gauge, Store, set_shape, set_speed, steady};
use crate::compare::Context;
use crate::data::{self, KEY_BYTES_MIN, Random, Rows, Shape, Zipf};
use crate::engines::{Durability, Engine, Outcome, Purpose, ReadMode, Reader, Registration};
use crate::measure::{Histogram, release_free_memory};
use crate::report::{Check, Row, figure};
use std::time::{Duration, Instant};

pub(crate) const PREFIX: &str = "twitter-";
pub(crate) const TABLE_FILE: &str = "twitter-cache-workloads-2020Mar.md";

/// Rows that differ in what they ask of a store; the first six are enough for a quick run.
const CLUSTERS: [u32; 8] = [
    2,  // reads only, 68 B values, very skewed
    12, // four writes to a read, 1 KiB, hardly skewed
    14, // 96 B keys, a fifth deletes
    19, // a quarter writes, 101 B, nearly flat
    25, // values shorter than their keys
    49, // 10 KiB values, half of them written
    15, // writes only, no skew
    23, // a third read-modify-write
];
const QUICK_CLUSTERS: usize = 6;

const OPERATIONS: usize = 1 << 20;
const KEYS_MAX: u64 = 1_000_000;
const KEYS_MIN: u64 = 1_000;
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
const DELETED: u32 = u32::MAX;

/// One line of the table, as far as a generator needs it.
#[derive(Clone, Debug, PartialEq)]
struct Cluster {
    number: u32,
    shape: Shape,
    /// Shares by operation; they need not add up to 1.
    mix: Vec<(Kind, f64)>,
    alpha: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    WriteIfAbsent,
    ReadThenWrite,
    Delete,
}

impl Kind {
    fn named(name: &str) -> Option<Kind> {
        Some(match name {
            "get" | "gets" => Kind::Read,
            "set" => Kind::Write,
            "add" => Kind::WriteIfAbsent,
            "cas" | "incr" | "decr" | "append" | "prepend" | "replace" => Kind::ReadThenWrite,
            "delete" => Kind::Delete,
            _ => return None,
        })
    }
}

pub(crate) fn run(context: &Context, table: &str) -> Outcome<Vec<Row>> {
    let clusters = parse(table);
    let mut rows = Vec::new();
    for number in numbers(context) {
        let cluster = clusters
            .iter()
            .find(|cluster| cluster.number == number)
            .ok_or_else(|| format!("the table has no usable row for cluster {number}"))?;
        let trace = Trace::make(cluster, context.scale.twitter_bytes);
        for registration in &context.engines {
            release_free_memory();
            let name = format!("{PREFIX}{number}");
            let row = steady(context, Row::new(&name, registration.name, "", 1), |row| {
                replay(context, *registration, &trace, row)
            });
            context.progress(&row);
            rows.push(row);
        }
    }
    Ok(rows)
}

/// The clusters chosen by name, or the standing choice.
fn numbers(context: &Context) -> Vec<u32> {
    let named: Vec<u32> = context
        .workloads
        .iter()
        .filter_map(|name| name.strip_prefix(PREFIX)?.parse().ok())
        .collect();
    if !named.is_empty() {
        return named;
    }
    let count = if context.scale.quick {
        QUICK_CLUSTERS
    } else {
        CLUSTERS.len()
    };
    CLUSTERS[..count].to_vec()
}

/// The rows of the Markdown table that have all a generator needs.
fn parse(table: &str) -> Vec<Cluster> {
    table.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Cluster> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    let number = cells.get(1)?.strip_prefix("cluster")?.trim().parse().ok()?;
    let key_bytes: usize = cells.get(4)?.parse().ok()?;
    let value_bytes = cells.get(5)?.parse().ok()?;
    let mix = cells
        .get(13)?
        .split_whitespace()
        .map(|share| {
            let (name, share) = share.split_once(':')?;
            Some((Kind::named(name)?, share.parse().ok()?))
        })
        .collect::<Option<Vec<_>>>()?;
    let alpha = cells.get(14)?.parse().ok()?;
    (!mix.is_empty()).then_some(Cluster {
        number,
        shape: Shape {
            key_bytes: key_bytes.max(KEY_BYTES_MIN),
            value_bytes,
        },
        mix,
        alpha,
    })
}

/// The operations of one cluster, made once and replayed on every engine.
struct Trace {
    shape: Shape,
    keys: u64,
    operations: Vec<(Kind, u32)>,
}

impl Trace {
    fn make(cluster: &Cluster, data_bytes: u64) -> Trace {
        let keys = data_bytes / cluster.shape.row_bytes() as u64;
        let keys = keys.clamp(KEYS_MIN, KEYS_MAX);
        let ranks = u32::try_from(keys).expect("KEYS_MAX fits 32 bits");
        let zipf = Zipf::new(ranks, cluster.alpha);
        let mut random = Random::new(u64::from(cluster.number));
        let total: f64 = cluster.mix.iter().map(|(_, share)| share).sum();
        let operations = (0..OPERATIONS)
            .map(|_| {
                let rank = zipf.sample(&mut random);
                (cluster.kind_at(random.fraction() * total), rank)
            })
            .collect();
        Trace {
            shape: cluster.shape,
            keys,
            operations,
        }
    }
}

impl Cluster {
    /// The operation whose share of the mix covers `point`.
    fn kind_at(&self, point: f64) -> Kind {
        let mut covered = 0.0;
        for &(kind, share) in &self.mix {
            covered += share;
            if point < covered {
                return kind;
            }
        }
        self.mix[self.mix.len() - 1].0
    }
}

fn replay(
    context: &Context,
    registration: Registration,
    trace: &Trace,
    row: &mut Row,
) -> Outcome<()> {
    let purpose = Purpose::BufferedWrites;
    let store = Store::fresh(context, registration, purpose, trace.shape)?;
    let engine = store.engine.as_ref();
    engine.load(&mut Rows::new(trace.shape, trace.keys))?;
    engine.settle()?;

    let mut replayed = Replay::new(trace)?;
    let mut latency = Histogram::new();
    let gauge = Gauge::start(store.directory.path(), Some(engine))?;
    let mut operations = 0;
    engine.read(ReadMode::PerGet, &mut |reader| {
        operations = replayed.run_for(engine, reader, context.scale.row, &mut latency)?;
        Ok(())
    })?;
    let elapsed = gauge.elapsed();
    engine.flush()?;
    gauge.finish(row, engine, operations, elapsed)?;
    set_speed(row, operations, elapsed, &latency);
    set_shape(row, trace.shape);
    let expected = replayed.expectation();
    row.set(figure::LIVE_BYTES, expected.live_bytes());
    row.check = match replayed.wrong {
        0 => expected.check(engine)?,
        wrong => Check::Failed(format!("{wrong} reads were wrong")),
    };
    store.discard()
}

/// What a replay keeps to know the right answer.
struct Replay<'a> {
    trace: &'a Trace,
    /// The newest version of each key, or `DELETED`.
    versions: Vec<u32>,
    written: u32,
    wrong: u64,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Replay<'_> {
    fn new(trace: &Trace) -> Outcome<Replay<'_>> {
        Ok(Replay {
            trace,
            versions: vec![0; usize::try_from(trace.keys)?],
            written: 0,
            wrong: 0,
            key: vec![0; trace.shape.key_bytes],
            value: vec![0; trace.shape.value_bytes],
        })
    }

    fn run_for(
        &mut self,
        engine: &dyn Engine,
        reader: &dyn Reader,
        duration: Duration,
        latency: &mut Histogram,
    ) -> Outcome<u64> {
        let mut done = 0;
        let start = Instant::now();
        let (mut last, mut flushed) = (start, start);
        for &(kind, rank) in self.trace.operations.iter().cycle() {
            self.apply(engine, reader, kind, rank)?;
            done += 1;
            if last - flushed >= FLUSH_INTERVAL {
                engine.flush()?;
                flushed = Instant::now();
            }
            let now = Instant::now();
            latency.record(now - last);
            last = now;
            if last - start >= duration {
                break;
            }
        }
        Ok(done)
    }

    fn apply(
        &mut self,
        engine: &dyn Engine,
        reader: &dyn Reader,
        kind: Kind,
        rank: u32,
    ) -> Outcome<()> {
        data::fill_key(u64::from(rank), &mut self.key);
        match kind {
            Kind::Read => {
                self.read(reader, rank)?;
            }
            Kind::Write => self.write(engine, rank)?,
            Kind::WriteIfAbsent => {
                if !self.read(reader, rank)? {
                    self.write(engine, rank)?;
                }
            }
            Kind::ReadThenWrite => {
                self.read(reader, rank)?;
                self.write(engine, rank)?;
            }
            Kind::Delete => {
                engine.delete(&self.key, Durability::Buffered)?;
                self.versions[rank as usize] = DELETED;
            }
        }
        Ok(())
    }

    /// Whether the key was found.
    fn read(&mut self, reader: &dyn Reader, rank: u32) -> Outcome<bool> {
        let version = self.versions[rank as usize];
        let value_bytes = self.trace.shape.value_bytes;
        let mut right = false;
        let found = reader.get(&self.key, &mut |value| {
            right = data::bears_stamp(value, value_bytes, u64::from(rank), version);
        })?;
        self.wrong += u64::from(found != (version != DELETED) || found && !right);
        Ok(found)
    }

    fn write(&mut self, engine: &dyn Engine, rank: u32) -> Outcome<()> {
        // Versions are unique over the whole replay; 2^32 - 1 writes do not fit its time.
        self.written += 1;
        data::fill_value(u64::from(rank), self.written, &mut self.value);
        engine.put(&self.key, &self.value, Durability::Buffered)?;
        self.versions[rank as usize] = self.written;
        Ok(())
    }

    fn expectation(&self) -> Expectation {
        let mut expected = Expectation::new(self.trace.shape);
        for (index, &version) in (0..).zip(&self.versions) {
            if version != DELETED {
                expected.add(index, version);
            }
        }
        expected
    }
}

#[cfg(test)]
mod tests;
