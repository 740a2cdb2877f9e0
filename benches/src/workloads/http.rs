//! `http-get`, `http-put` and `http-log`: `cairn serve` beside a bare axum handler and beside redis.
//!
//! Each server is a process of its own on a loopback port, with nothing else in it; the bench is
//! the one client of all ([`client`]). A row has so many connections, each with one request on its
//! way at a time, for a fixed time after a moment to warm up.
//!
//! - `http-get`: random keys out of a small loaded set, so that the index has nothing to miss and
//!   HTTP is what is measured. Every value is checked by its size and stamp.
//! - `http-put`: each connection writes keys of its own; an answer means that the value is synced
//!   (redis: `appendfsync always`). A sample and the last key of each connection are read back
//!   whole. Axum takes the body and keeps nothing: it is the ceiling, not a store.
//! - `http-log`: appends of 256 B to 500 topics, each answered when it is synced. A sample and the
//!   last record of each connection are read back at their offsets. Of Cairn alone: nobody else has
//!   such topics.
//!
//! Rows are compared with axum's, `http-log` with Cairn's `http-put` of the same run, and `http-put` also with the embedded `put-durable` of 64 writers
//! where that ran before in the same run. A server that is not on this machine has a row that says
//! so.

mod client;
mod servers;
mod topic;

use super::{ScratchDirectory, durable, set_shape, set_speed, steady};
use crate::compare::Context;
use crate::data::Shape;
use crate::engines::{CAIRN, Outcome};
use crate::measure::{ProcessCounters, other_cpu_s_beside};
use crate::report::{Check, Row, figure};
use client::{Load, Operation, Written};
use servers::Server;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub(crate) use servers::{AXUM_CHILD, serve_axum};

/// Rows of these workloads are of connections, not of threads.
pub(crate) const PREFIX: &str = "http-";
pub(crate) const GET: &str = "http-get";
pub(crate) const PUT: &str = "http-put";
pub(crate) const LOG: &str = "http-log";
/// The servers beside Cairn's.
pub(crate) const PEERS: [&str; 2] = [AXUM, REDIS];

pub(crate) const AXUM: &str = "axum";
const REDIS: &str = "redis";
const GET_CONNECTIONS: [usize; 3] = [1, 32, 128];
const PUT_CONNECTIONS: [usize; 3] = [1, 16, 64];
const LOG_CONNECTIONS: [usize; 1] = [64];
const SHAPE: Shape = Shape::SMALL;
const LOG_SHAPE: Shape = Shape {
    key_bytes: topic::NAME_BYTES,
    value_bytes: topic::RECORD_BYTES,
};
const EMBEDDED_WRITERS: usize = 64;
/// Rows that the readers choose from.
const LOADED: u64 = 10_000;
/// Connections that load them.
const LOADERS: usize = 64;
const WARMING: Duration = Duration::from_millis(100);
/// Rows read back, beside the last of each connection.
const SAMPLES: u64 = 1_000;

pub(crate) fn run(context: &Context) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    // Before the first row, whose time is bounded.
    let binary = match context.selects_engine(CAIRN) {
        true => servers::cairn_binary().map_err(|error| error.to_string()),
        false => Err("not asked for".into()),
    };
    let all = [CAIRN, AXUM, REDIS];
    let (get, put, log) = (&GET_CONNECTIONS, &PUT_CONNECTIONS, &LOG_CONNECTIONS);
    let workloads: [(_, &[usize], &[&str]); 3] =
        [(GET, get, &all), (PUT, put, &all), (LOG, log, &all[..1])];
    for (workload, connections, engines) in workloads {
        if !context.selects(workload) {
            continue;
        }
        for &connections in connections {
            for &engine in engines {
                if !context.selects_engine(engine) {
                    continue;
                }
                let row = Row::new(workload, engine, "", connections);
                let row = steady(context, row, |row| measure(context, &binary, row));
                context.progress(&row);
                rows.push(row);
            }
        }
    }
    set_ratios(&mut rows);
    Ok(rows)
}

/// Sets each row's rate beside that of axum with as many connections, and appends beside puts.
fn set_ratios(rows: &mut [Row]) {
    let puts: Vec<Row> = rows
        .iter()
        .filter(|row| row.workload == PUT && row.engine == CAIRN)
        .cloned()
        .collect();
    for row in rows.iter_mut().filter(|row| row.workload == LOG) {
        let alike = puts.iter().find(|put| put.threads == row.threads);
        row.set_known(
            figure::HTTP_PUT_OPS_PER_S,
            alike.and_then(|put| put.get(figure::OPS_PER_S)),
        );
    }

    let axum: Vec<Row> = rows
        .iter()
        .filter(|row| row.engine == AXUM)
        .cloned()
        .collect();
    for row in rows {
        let alike = axum
            .iter()
            .find(|axum| axum.workload == row.workload && axum.threads == row.threads);
        row.set_known(
            figure::AXUM_OPS_PER_S,
            alike.and_then(|axum| axum.get(figure::OPS_PER_S)),
        );
    }
}

/// Sets beside each rate of `http-put` what 64 writers reached without a server earlier in the run.
pub(crate) fn set_embedded(rows: &mut [Row], earlier: &[Row]) {
    let embedded = earlier.iter().find(|row| {
        row.workload == durable::WORKLOAD && row.engine == CAIRN && row.threads == EMBEDDED_WRITERS
    });
    let rate = embedded.and_then(|row| row.get(figure::OPS_PER_S));
    for row in rows.iter_mut().filter(|row| row.workload == PUT) {
        row.set_known(figure::EMBEDDED_OPS_PER_S, rate);
    }
}

fn measure(context: &Context, binary: &Result<PathBuf, String>, row: &mut Row) -> Outcome<()> {
    let directory = ScratchDirectory::new(&context.directory.join(format!("http-{}", row.engine)))?;
    let server = match row.engine.as_str() {
        CAIRN => {
            let binary = binary.as_deref().map_err(Clone::clone)?;
            Some(Server::cairn(binary, directory.path())?)
        }
        AXUM => Some(Server::axum()?),
        _ => Server::redis(directory.path())?,
    };
    let Some(server) = server else {
        row.settings = "not on this machine: apt-get install redis-server".into();
        return Ok(());
    };
    let stores = row.engine != AXUM;
    let operation = match row.workload.as_str() {
        GET => Operation::Get,
        LOG => Operation::Append,
        _ => Operation::Put,
    };
    if operation == Operation::Get && stores {
        server.load(Operation::Put, LOADERS).count(LOADED)?;
    }

    let before = ProcessCounters::read(server.process_id())?;
    let others = other_cpu_s_beside(server.process_id());
    let wall = Instant::now();
    let load = Load {
        loaded: LOADED,
        checks_stamps: stores,
        ..server.load(operation, row.threads)
    };
    let length = match operation {
        Operation::Get => context.scale.read,
        Operation::Put | Operation::Append => context.scale.row,
    };
    let done = load.run(WARMING, length)?;
    let counted = ProcessCounters::read(server.process_id())?;
    let others = other_cpu_s_beside(server.process_id()).zip(others);

    row.settings = server.settings().to_owned();
    row.verifies_reads = row.engine == CAIRN;
    set_shape(
        row,
        if row.workload == LOG {
            LOG_SHAPE
        } else {
            SHAPE
        },
    );
    set_speed(row, done.operations, length, &done.latency);
    row.set(figure::OPERATIONS, done.operations as f64);
    row.set(figure::SECONDS, length.as_secs_f64());
    row.set(figure::RSS_BYTES, counted.resident.anonymous as f64);
    row.set(figure::RSS_FILE_BYTES, counted.resident.file as f64);
    row.set_known(
        figure::OTHER_CORES,
        others.map(|(now, before)| (now - before) / wall.elapsed().as_secs_f64()),
    );
    if operation != Operation::Get && stores {
        let written = counted.bytes_written.saturating_sub(before.bytes_written);
        row.set(figure::BYTES_WRITTEN, written as f64);
    }
    row.check = match (stores, operation) {
        (false, _) => Check::Nothing,
        (true, Operation::Get) => Check::Passed(done.operations),
        (true, _) => read_back(&server, operation, &done.written)?,
    };
    Ok(())
}

/// Reads the last row of each connection and some before, whole.
fn read_back(server: &Server, operation: Operation, written: &[Vec<Written>]) -> Outcome<Check> {
    let total: usize = written.iter().map(Vec::len).sum();
    let stride = (total / usize::try_from(SAMPLES)?).max(1);
    let samples: Vec<Written> = written
        .iter()
        .flat_map(|of_connection| {
            let last = of_connection.last().copied();
            of_connection.iter().copied().step_by(stride).chain(last)
        })
        .collect();
    let load = server.load(Operation::Get, 1);
    let wrong = match operation {
        Operation::Append => topic::compare(&load, &samples)?,
        Operation::Get | Operation::Put => load.compare(&samples)?,
    };
    Ok(match wrong {
        0 => Check::Passed(samples.len() as u64),
        wrong => Check::Failed(format!("{wrong} of {} values differ", samples.len())),
    })
}

#[cfg(test)]
mod tests;
