//! The processes of `get-capped`: one loads and closes a store, one enters a cgroup and reads.
//!
//! Each is this program with another first argument, is waited for, and is killed by its id if it
//! takes too long or the one who waits gives up. The reader prints what its row came to, a line
//! a figure; an error is its last line on the error output.

use super::SHAPE;
use crate::data::{self, Random, Rows};
use crate::engines::{ENGINES, Engine, Outcome, Purpose, ReadMode, Reader, Registration, Tuning};
use crate::measure::cgroup::{self, Cgroup};
use crate::measure::{Histogram, ReadCounters};
use crate::report::{Check, Row, figure};
use crate::workloads::{CLOCK_STRIDE, Gauge, set_shape, set_speed};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// The first argument of the child that loads.
pub(crate) const LOAD_CHILD: &str = "load-and-close";
/// The first argument of the child that reads.
pub(crate) const READ_CHILD: &str = "read-capped";

const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Threads that warm draw other keys than those that are counted.
const WARMING_STREAM: u64 = 1 << 32;

/// What the reader reports.
const REPORTED: [&str; 17] = [
    figure::OPS_PER_S,
    figure::P50_US,
    figure::P99_US,
    figure::P999_US,
    figure::OPERATIONS,
    figure::SECONDS,
    figure::KEY_BYTES,
    figure::VALUE_BYTES,
    figure::BYTES_READ,
    figure::MAJOR_FAULTS,
    figure::BYTES_WRITTEN,
    figure::RSS_BYTES,
    figure::RSS_FILE_BYTES,
    figure::DISK_BYTES,
    figure::PREPARED_BYTES,
    figure::OTHER_CORES,
    figure::OPEN_MS,
];
const SETTINGS: &str = "settings";
const VERIFIES: &str = "verifies";
const PASSED: &str = "passed";
const WRONG: &str = "wrong";

/// What the reader is to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reads {
    pub(super) cache_bytes: u64,
    pub(super) keys: u64,
    pub(super) threads: usize,
    pub(super) duration: Duration,
}

/// Has a child load `keys` rows into `directory`, settle and close.
pub(super) fn start_load(
    registration: Registration,
    directory: &Path,
    cache_bytes: u64,
    keys: u64,
    patience: Duration,
) -> Outcome<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args([LOAD_CHILD, registration.name])
        .arg(directory)
        .args([cache_bytes.to_string(), keys.to_string()]);
    run(command, patience).map(|_| ())
}

/// Has a child enter `group` and read, and fills in `row`.
pub(super) fn start_read(
    registration: Registration,
    directory: &Path,
    reads: Reads,
    group: &Cgroup,
    patience: Duration,
    row: &mut Row,
) -> Outcome<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args([READ_CHILD, registration.name])
        .arg(directory)
        .args([reads.cache_bytes.to_string(), reads.keys.to_string()])
        .args([
            reads.threads.to_string(),
            reads.duration.as_millis().to_string(),
        ])
        .arg(group.processes());
    understand(&run(command, patience)?, row)
}

/// Runs a child to its end and returns what it printed.
fn run(mut command: Command, patience: Duration) -> Outcome<String> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = Running(command.spawn()?);
    let status = child.wait(patience)?;
    let (mut printed, mut complaint) = (String::new(), String::new());
    if let Some(output) = &mut child.0.stdout {
        output.read_to_string(&mut printed)?;
    }
    if let Some(output) = &mut child.0.stderr {
        output.read_to_string(&mut complaint)?;
    }
    match status.success() {
        true => Ok(printed),
        false => {
            let last = complaint.trim().lines().last().unwrap_or_default();
            Err(format!("its process ended with {status}: {last}").into())
        }
    }
}

/// A child that does not outlive its wait.
struct Running(Child);

impl Running {
    fn wait(&mut self, patience: Duration) -> Outcome<ExitStatus> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Err(format!("its process hangs: nothing came of it in {patience:?}").into())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended, or this is its end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The loading child's whole life: `NAME DIRECTORY CACHE_BYTES KEYS`.
pub(crate) fn load(arguments: &[String]) -> Outcome<()> {
    let [name, directory, cache_bytes, keys] = arguments else {
        return Err(format!("{LOAD_CHILD} takes NAME DIRECTORY CACHE_BYTES KEYS").into());
    };
    let engine = open(name, directory, Purpose::LoadThenRead, cache_bytes.parse()?)?;
    engine.load(&mut Rows::new(SHAPE, keys.parse()?))?;
    engine.settle()?;
    engine.close()
}

/// The reading child's whole life: `NAME DIRECTORY CACHE_BYTES KEYS THREADS ROW_MS GROUP`.
pub(crate) fn read(arguments: &[String]) -> Outcome<()> {
    let [name, directory, cache_bytes, keys, threads, row_ms, group] = arguments else {
        let usage = "takes NAME DIRECTORY CACHE_BYTES KEYS THREADS ROW_MS GROUP";
        return Err(format!("{READ_CHILD} {usage}").into());
    };
    cgroup::enter(Path::new(group))?;
    let reads = Reads {
        cache_bytes: cache_bytes.parse()?,
        keys: keys.parse()?,
        threads: threads.parse()?,
        duration: Duration::from_millis(row_ms.parse()?),
    };
    let opening = Instant::now();
    let engine = open(name, directory, Purpose::CappedReads, reads.cache_bytes)?;
    let mut row = Row::new(super::WORKLOAD, name, "", reads.threads);
    row.set(figure::OPEN_MS, opening.elapsed().as_secs_f64() * 1e3);

    reads.run(engine.as_ref(), WARMING_STREAM)?;
    let gauge = Gauge::start(Path::new(directory), Some(engine.as_ref()))?;
    let before = ReadCounters::read()?;
    let got = reads.run(engine.as_ref(), 0)?;
    let elapsed = gauge.elapsed();
    let counted = ReadCounters::read()?.since(before);
    gauge.finish(&mut row, engine.as_ref(), got.gets, elapsed)?;
    set_speed(&mut row, got.gets, elapsed, &got.latency);
    set_shape(&mut row, SHAPE);
    row.set(figure::BYTES_READ, counted.bytes_read as f64);
    row.set(figure::MAJOR_FAULTS, counted.major_faults as f64);
    tell(&row, &got);
    engine.close()
}

fn open(
    name: &str,
    directory: &str,
    purpose: Purpose,
    cache_bytes: u64,
) -> Outcome<Box<dyn Engine>> {
    let tuning = Tuning {
        purpose,
        shape: SHAPE,
        cache_bytes,
        cache_is_given: false,
    };
    let registration = ENGINES.iter().find(|engine| engine.name == name);
    (registration.ok_or("no such engine")?.open)(Path::new(directory), &tuning)
}

/// What reading threads came to.
struct Got {
    gets: u64,
    wrong: u64,
    latency: Histogram,
}

impl Reads {
    /// Reads from all threads for the whole duration.
    fn run(&self, engine: &dyn Engine, stream: u64) -> Outcome<Got> {
        let barrier = Barrier::new(self.threads);
        let of_threads: Outcome<Vec<Got>> = std::thread::scope(|scope| {
            let readers: Vec<_> = (0..self.threads)
                .map(|thread| {
                    let barrier = &barrier;
                    let stream = stream + 1_000 + thread as u64;
                    scope.spawn(move || -> Outcome<Got> {
                        let mut got = Err("nothing was read".into());
                        barrier.wait();
                        engine.read(ReadMode::PerGet, &mut |reader| {
                            got = self.read_for(reader, stream);
                            Ok(())
                        })?;
                        got
                    })
                })
                .collect();
            readers
                .into_iter()
                .map(|reader| reader.join().map_err(|_| "a reader panicked")?)
                .collect()
        });
        let merged = of_threads?.into_iter().reduce(|mut all, one| {
            all.gets += one.gets;
            all.wrong += one.wrong;
            all.latency.merge(&one.latency);
            all
        });
        merged.ok_or_else(|| "no threads".into())
    }

    /// Every value is read to its last byte and compared with its stamp, one in
    /// [`CLOCK_STRIDE`] with all that was written.
    fn read_for(&self, reader: &dyn Reader, stream: u64) -> Outcome<Got> {
        let mut random = Random::new(stream);
        let mut key = vec![0; SHAPE.key_bytes];
        let mut expected = vec![0; SHAPE.value_bytes];
        let mut got = Got {
            gets: 0,
            wrong: 0,
            latency: Histogram::new(),
        };
        let start = Instant::now();
        let mut last = start;
        while last - start < self.duration {
            let index = random.below(self.keys);
            data::fill_key(index, &mut key);
            let whole = got.gets.is_multiple_of(CLOCK_STRIDE);
            if whole {
                data::fill_value(index, 0, &mut expected);
            }
            let mut right = false;
            let before = Instant::now();
            reader.get(&key, &mut |value| {
                std::hint::black_box(data::sum_of_words(value));
                right = match whole {
                    true => value == expected,
                    false => data::bears_stamp(value, SHAPE.value_bytes, index, 0),
                };
            })?;
            last = Instant::now();
            got.latency.record(last - before);
            got.gets += 1;
            got.wrong += u64::from(!right);
        }
        Ok(got)
    }
}

fn tell(row: &Row, got: &Got) {
    for name in REPORTED {
        if let Some(value) = row.get(name) {
            println!("{name} {value}");
        }
    }
    println!("{SETTINGS} {}", row.settings);
    println!("{VERIFIES} {}", row.verifies_reads);
    println!("{PASSED} {}", got.gets);
    println!("{WRONG} {}", got.wrong);
}

/// Fills in `row` with what [`tell`] printed.
fn understand(printed: &str, row: &mut Row) -> Outcome<()> {
    let (mut gets, mut wrong) = (None, None);
    for line in printed.lines() {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        match name {
            SETTINGS => row.settings = value.into(),
            VERIFIES => row.verifies_reads = value.parse()?,
            PASSED => gets = Some(value.parse::<u64>()?),
            WRONG => wrong = Some(value.parse::<u64>()?),
            _ => {
                let known = REPORTED.into_iter().find(|known| *known == name);
                let name = known.ok_or_else(|| format!("its process printed {line}"))?;
                row.set(name, value.parse()?);
            }
        }
    }
    let (Some(gets), Some(wrong)) = (gets, wrong) else {
        return Err("its process did not say what it read".into());
    };
    row.check = match wrong {
        0 => Check::Passed(gets),
        wrong => Check::Failed(format!("{wrong} of {gets} reads were wrong")),
    };
    Ok(())
}

#[cfg(test)]
mod tests;
