//! The workloads, a file for each family, and what they share: a fresh store for a row, the gauge
//! that reads a row's figures, and the check that reads back what was written.
//!
//! A family runs one pass over the engines it is given and returns a row for each; an engine that
//! errs or panics gets a row that says so, and the others run on.

pub(crate) mod capped;
pub(crate) mod durable;
pub(crate) mod http;
pub(crate) mod loaded;
pub(crate) mod overwrite;
pub(crate) mod reopen;
pub(crate) mod twitter;
pub(crate) mod unsynced;

use crate::compare::Context;
use crate::data::{self, Shape};
use crate::engines::{Engine, Outcome, Purpose, ReadMode, Registration, Tuning};
use crate::measure::{self, Counters, Histogram, ResidentWatch};
use crate::report::{Check, Row, figure};
use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The clock is read once in so many operations where an operation may take less than a
/// microsecond; latencies of those rows are sampled at the same rate.
pub(crate) const CLOCK_STRIDE: u64 = 32;

/// How often `--calm` runs a row that was disturbed each time.
const ATTEMPTS_MAX: u32 = 3;

const EXIT_HUNG: i32 = 3;

const SAMPLES_MAX: usize = 2_048;

/// A store in a directory of its own, which goes when the row is done.
pub(crate) struct Store {
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) directory: ScratchDirectory,
}

impl Store {
    /// Opens `registration` in an empty directory.
    pub(crate) fn fresh(
        context: &Context,
        registration: Registration,
        purpose: Purpose,
        shape: Shape,
    ) -> Outcome<Store> {
        let directory = ScratchDirectory::new(&context.directory.join(registration.name))?;
        let tuning = Tuning {
            purpose,
            shape,
            cache_bytes: context.cache_bytes,
            cache_is_given: context.cache_is_given,
        };
        Ok(Store {
            engine: (registration.open)(directory.path(), &tuning)?,
            directory,
        })
    }

    /// Closes the store and removes its directory.
    pub(crate) fn discard(self) -> Outcome<()> {
        self.engine.close()
    }
}

/// An empty directory that is removed when dropped.
pub(crate) struct ScratchDirectory(PathBuf);

impl ScratchDirectory {
    pub(crate) fn new(path: &Path) -> Outcome<ScratchDirectory> {
        if path.exists() {
            fs::remove_dir_all(path)?;
        }
        fs::create_dir_all(path)?;
        Ok(ScratchDirectory(path.to_path_buf()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchDirectory {
    fn drop(&mut self) {
        // What stays behind is removed by the next row that uses the path.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Reads a row's figures from its start to its end.
pub(crate) struct Gauge<'a> {
    directory: &'a Path,
    resident: ResidentWatch,
    counters: Counters,
    syncs: Option<u64>,
    start: Instant,
}

impl<'a> Gauge<'a> {
    pub(crate) fn start(directory: &'a Path, engine: Option<&dyn Engine>) -> Outcome<Gauge<'a>> {
        Ok(Gauge {
            directory,
            resident: ResidentWatch::start()?,
            syncs: engine.and_then(Engine::syncs),
            counters: Counters::read(directory)?,
            start: Instant::now(),
        })
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Writes what was counted into `row`: `operations` in `elapsed`. What the caller does
    /// between its last operation and this call (a flush, most often) counts as written too.
    pub(crate) fn finish(
        self,
        row: &mut Row,
        engine: &dyn Engine,
        operations: u64,
        elapsed: Duration,
    ) -> Outcome<()> {
        let counted = Counters::read(self.directory)?.since(self.counters);
        let wall = self.start.elapsed().as_secs_f64();
        let before = self.resident.before();
        let resident = self.resident.peak();
        row.settings = engine.settings();
        row.verifies_reads = engine.verifies_reads();
        row.set(figure::OPERATIONS, operations as f64);
        row.set(figure::SECONDS, elapsed.as_secs_f64());
        row.set(figure::BYTES_WRITTEN, counted.bytes_written as f64);
        row.set(figure::WRITE_CALLS, counted.write_calls as f64);
        row.set(figure::OTHER_CORES, counted.other_cpu_s() / wall.max(1e-3));
        if let Some(device) = counted.device {
            row.set(figure::DEVICE_BYTES_WRITTEN, device.bytes_written as f64);
            row.set(figure::DEVICE_FLUSHES, device.flushes as f64);
        }
        row.set(figure::RSS_BYTES, resident.anonymous as f64);
        row.set(figure::RSS_FILE_BYTES, resident.file as f64);
        row.set(figure::RSS_BEFORE_BYTES, before.anonymous as f64);
        row.set_known(
            figure::SYNCS,
            engine
                .syncs()
                .zip(self.syncs)
                .map(|(now, before)| (now - before) as f64),
        );
        set_space(row, engine, self.directory)
    }
}

/// Operations a second and percentiles.
pub(crate) fn set_speed(row: &mut Row, operations: u64, elapsed: Duration, latency: &Histogram) {
    row.set(figure::OPS_PER_S, operations as f64 / elapsed.as_secs_f64());
    row.set_known(figure::P50_US, latency.quantile_us(0.5));
    row.set_known(figure::P99_US, latency.quantile_us(0.99));
    row.set_known(figure::P999_US, latency.quantile_us(0.999));
}

/// Disk taken, with what is merely prepared taken off and shown beside.
fn set_space(row: &mut Row, engine: &dyn Engine, directory: &Path) -> Outcome<()> {
    row.set(figure::DISK_BYTES, used_bytes(engine, directory)?);
    row.set(figure::PREPARED_BYTES, engine.prepared_bytes() as f64);
    Ok(())
}

fn used_bytes(engine: &dyn Engine, directory: &Path) -> Outcome<f64> {
    let allocated = measure::disk_bytes(directory)?;
    Ok(allocated.saturating_sub(engine.prepared_bytes()) as f64)
}

/// Lets background work finish, and shows how long that took and what disk is taken then.
pub(crate) fn settle(row: &mut Row, engine: &dyn Engine, directory: &Path) -> Outcome<()> {
    let settling = Instant::now();
    engine.settle()?;
    row.set(figure::SETTLE_MS, settling.elapsed().as_secs_f64() * 1e3);
    row.set(figure::DISK_SETTLED_BYTES, used_bytes(engine, directory)?);
    Ok(())
}

pub(crate) fn set_shape(row: &mut Row, shape: Shape) {
    row.set(figure::KEY_BYTES, shape.key_bytes as f64);
    row.set(figure::VALUE_BYTES, shape.value_bytes as f64);
}

/// Runs a row, and with `--calm` waits for a calm machine first and runs a disturbed row again;
/// the least disturbed attempt counts, whatever its figures.
pub(crate) fn steady(
    context: &Context,
    row: Row,
    mut run: impl FnMut(&mut Row) -> Outcome<()>,
) -> Row {
    let others = |row: &Row| row.get(figure::OTHER_CORES).unwrap_or(0.0);
    context.wait_for_calm();
    let mut kept = attempt(context, row.clone(), &mut run);
    for _ in 1..ATTEMPTS_MAX {
        if context.calm.is_zero() || kept.check.failed() || !kept.disturbed() {
            break;
        }
        context.wait_for_calm();
        let again = attempt(context, row.clone(), &mut run);
        if again.check.failed() || others(&again) < others(&kept) {
            kept = again;
        }
    }
    kept
}

/// Runs a row; an error or a panic becomes a row whose check failed.
pub(crate) fn attempt(
    context: &Context,
    row: Row,
    run: impl FnOnce(&mut Row) -> Outcome<()>,
) -> Row {
    let _watchdog = Watchdog::start(&row, context.scale.row_time_max);
    let mut finished = row.clone();
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| run(&mut finished)));
    let reason = match outcome {
        Ok(Ok(())) => return finished,
        Ok(Err(error)) => error.to_string(),
        Err(panic) => panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into()))
            .unwrap_or_else(|| "panicked".into()),
    };
    let mut failed = row;
    failed.check = Check::Failed(reason);
    failed
}

/// Ends the process when a row hangs: threads that wait for ever cannot be taken back, and a run
/// that never ends tells nobody which engine it was.
struct Watchdog {
    _done: mpsc::Sender<()>,
}

impl Watchdog {
    fn start(row: &Row, limit: Duration) -> Watchdog {
        let (done, ended) = mpsc::channel::<()>();
        let name = format!(
            "{} on {}, {} threads",
            row.workload, row.engine, row.threads
        );
        std::thread::spawn(move || {
            if ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("cairn-benches: {name} hangs: nothing came of it in {limit:?}");
                std::process::exit(EXIT_HUNG);
            }
        });
        Watchdog { _done: done }
    }
}

/// What a store must hold: the number and the sum of its rows, and some to compare byte by byte.
pub(crate) struct Expectation {
    shape: Shape,
    rows: u64,
    sum: u64,
    samples: Vec<(u64, u32)>,
    stride: u64,
}

impl Expectation {
    pub(crate) fn new(shape: Shape) -> Expectation {
        Expectation {
            shape,
            rows: 0,
            sum: 0,
            samples: Vec::new(),
            stride: 1,
        }
    }

    /// Rows `0..count` in version 0: what a load leaves.
    pub(crate) fn loaded(shape: Shape, count: u64) -> Expectation {
        let mut expected = Expectation::new(shape);
        for index in 0..count {
            expected.add(index, 0);
        }
        expected
    }

    pub(crate) fn add(&mut self, index: u64, version: u32) {
        self.sum = self
            .sum
            .wrapping_add(data::expected_row_sum(self.shape, index, version));
        if self.rows.is_multiple_of(self.stride) {
            self.samples.push((index, version));
        }
        self.rows += 1;
        if self.samples.len() == SAMPLES_MAX {
            let mut position = 0;
            self.samples.retain(|_| {
                position += 1;
                position % 2 == 1
            });
            self.stride *= 2;
        }
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn live_bytes(&self) -> f64 {
        self.rows as f64 * self.shape.row_bytes() as f64
    }

    pub(crate) fn matches(&self, scanned: &Scan) -> bool {
        scanned.ordered && scanned.rows == self.rows && scanned.sum == self.sum
    }

    /// Scans the store for number, order and sum of its rows, and reads the samples whole.
    pub(crate) fn check(&self, engine: &dyn Engine) -> Outcome<Check> {
        let mut scanned = Scan::default();
        engine.read(ReadMode::Held, &mut |reader| {
            reader.scan(&mut |key, value| scanned.visit(key, value))
        })?;
        if !scanned.ordered {
            return Ok(Check::Failed("a scan was out of order".into()));
        }
        if scanned.rows != self.rows {
            let reason = format!("{} rows where {} were written", scanned.rows, self.rows);
            return Ok(Check::Failed(reason));
        }
        if scanned.sum != self.sum {
            return Ok(Check::Failed("the sum over all rows is wrong".into()));
        }
        let mut wrong = 0;
        let mut key = vec![0; self.shape.key_bytes];
        let mut expected = vec![0; self.shape.value_bytes];
        engine.read(ReadMode::PerGet, &mut |reader| {
            for &(index, version) in &self.samples {
                data::fill_key(index, &mut key);
                data::fill_value(index, version, &mut expected);
                let mut same = false;
                reader.get(&key, &mut |value| same = value == expected)?;
                wrong += u64::from(!same);
            }
            Ok(())
        })?;
        Ok(match wrong {
            0 => Check::Passed(self.rows),
            wrong => Check::Failed(format!("{wrong} of {} samples differ", self.samples.len())),
        })
    }
}

/// What a full scan saw. Visiting touches the first word of each key and value.
pub(crate) struct Scan {
    pub(crate) rows: u64,
    pub(crate) sum: u64,
    pub(crate) ordered: bool,
    last: u64,
}

impl Default for Scan {
    fn default() -> Self {
        Scan {
            rows: 0,
            sum: 0,
            ordered: true,
            last: 0,
        }
    }
}

impl Scan {
    /// First words of keys differ by construction, so they alone decide the order.
    pub(crate) fn visit(&mut self, key: &[u8], value: &[u8]) {
        let word = data::leading_word(key);
        self.ordered &= self.rows == 0 || word > self.last;
        self.last = word;
        self.rows += 1;
        self.sum = self.sum.wrapping_add(data::row_sum(word, value));
    }
}
