//! `reopen`: a process that loaded the store is killed; how long until the first read?
//!
//! The bench runs itself as a child that loads the rows, makes them durable, says so and waits.
//! SIGKILL ends it, with the store open and no chance to tidy up. This process then opens the
//! directory and reads one row; both together are the row's time, and its rate is the inverse.
//! Both processes use the settings of a store in ordinary use, logs and all.
//! Everything that was loaded must be there. Then the store is closed cleanly and opened again,
//! for a second variant.

use super::{Expectation, Gauge, ScratchDirectory, set_shape, steady};
use crate::compare::Context;
use crate::data::{self, Random, Rows, Shape};
use crate::engines::{Engine, Outcome, Purpose, ReadMode, Registration, Tuning};
use crate::measure::release_free_memory;
use crate::report::{Row, figure};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

pub(crate) const WORKLOAD: &str = "reopen";
/// The first argument of the child.
pub(crate) const CHILD: &str = "load-and-wait";
const KILLED: &str = "after SIGKILL";
const CLOSED: &str = "after a clean close";
const LOADED: &str = "loaded";

pub(crate) fn run(context: &Context) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for registration in &context.engines {
        release_free_memory();
        let killed = Row::new(WORKLOAD, registration.name, KILLED, 1);
        let mut closed = Row::new(WORKLOAD, registration.name, CLOSED, 1);
        let killed = steady(context, killed, |killed| {
            reopen(context, *registration, killed, &mut closed)
        });
        context.progress(&killed);
        if !killed.check.failed() {
            rows.push(closed);
        }
        rows.push(killed);
    }
    rows.sort_by_key(|row| row.variant != KILLED);
    Ok(rows)
}

fn reopen(
    context: &Context,
    registration: Registration,
    killed: &mut Row,
    closed: &mut Row,
) -> Outcome<()> {
    let keys = context.scale.reopen_keys;
    let directory = ScratchDirectory::new(&context.directory.join(registration.name))?;
    let child = Loader::start(registration, directory.path(), context.cache_bytes, keys)?;
    child.kill()?;
    let expected = Expectation::loaded(Shape::SMALL, keys);

    let engine = open_timed(context, registration, directory.path(), keys, killed)?;
    killed.set(figure::LIVE_BYTES, expected.live_bytes());
    killed.check = expected.check(engine.as_ref())?;
    engine.close()?;

    let engine = open_timed(context, registration, directory.path(), keys, closed)?;
    closed.set(figure::LIVE_BYTES, expected.live_bytes());
    closed.check = expected.check(engine.as_ref())?;
    engine.close()
}

fn tuning(cache_bytes: u64) -> Tuning {
    Tuning {
        purpose: Purpose::BufferedWrites,
        shape: Shape::SMALL,
        cache_bytes,
        cache_is_given: false,
    }
}

/// Opens the store and reads one row, and fills in `row`.
fn open_timed(
    context: &Context,
    registration: Registration,
    directory: &Path,
    keys: u64,
    row: &mut Row,
) -> Outcome<Box<dyn Engine>> {
    let index = Random::new(7).below(keys);
    let mut key = vec![0; Shape::SMALL.key_bytes];
    data::fill_key(index, &mut key);
    let mut right = false;

    let gauge = Gauge::start(directory, None)?;
    let start = Instant::now();
    let engine = (registration.open)(directory, &tuning(context.cache_bytes))?;
    let opened = start.elapsed();
    engine.read(ReadMode::PerGet, &mut |reader| {
        reader.get(&key, &mut |value| {
            right = data::bears_stamp(value, Shape::SMALL.value_bytes, index, 0);
        })?;
        Ok(())
    })?;
    let whole = start.elapsed();
    gauge.finish(row, engine.as_ref(), 1, whole)?;
    if !right {
        return Err("the first read after the reopen was wrong".into());
    }
    set_shape(row, Shape::SMALL);
    row.set(figure::OPS_PER_S, 1.0 / whole.as_secs_f64());
    for name in [figure::P50_US, figure::P99_US, figure::P999_US] {
        row.set(name, whole.as_secs_f64() * 1e6);
    }
    row.set(figure::OPEN_MS, opened.as_secs_f64() * 1e3);
    let first_get = whole - opened;
    row.set(figure::FIRST_GET_MS, first_get.as_secs_f64() * 1e3);
    Ok(engine)
}

/// A child that has loaded a store and holds it open.
struct Loader(Child);

impl Loader {
    fn start(
        registration: Registration,
        directory: &Path,
        cache_bytes: u64,
        keys: u64,
    ) -> Outcome<Loader> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(CHILD)
            .arg(registration.name)
            .arg(directory)
            .arg(cache_bytes.to_string())
            .arg(keys.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("the child has no output")?;
        let loader = Loader(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.trim_end() != LOADED {
            return Err("the child that loads the store failed".into());
        }
        Ok(loader)
    }

    /// SIGKILL, and waits until the process is gone and with it its locks.
    fn kill(mut self) -> Outcome<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // Already dead when `kill` came first; otherwise this is its end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The child's whole life: `NAME DIRECTORY CACHE_BYTES KEYS`.
pub(crate) fn load_and_wait(engines: &[Registration], arguments: &[String]) -> Outcome<()> {
    let [name, directory, cache_bytes, keys] = arguments else {
        return Err(format!("{CHILD} takes NAME DIRECTORY CACHE_BYTES KEYS").into());
    };
    let registration = engines
        .iter()
        .find(|engine| engine.name == name)
        .ok_or("no such engine")?;
    let engine = (registration.open)(Path::new(directory), &tuning(cache_bytes.parse()?))?;
    engine.load(&mut Rows::new(Shape::SMALL, keys.parse()?))?;
    let mut output = std::io::stdout();
    writeln!(output, "{LOADED}")?;
    output.flush()?;
    // Nothing is ever sent: the input ends when the parent does, should it die before it kills.
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}
