//! `get-capped`: random reads of 4 KiB values where the page cache and the process together have
//! a part of the data's size.
//!
//! A child loads the store, lets it settle and closes it. Its files leave the page cache: pages
//! that another process has read would not count. Then, for each row, another child enters a
//! memory cgroup, opens the store in it, and reads random present keys, once to fill what caches
//! it may have and once for the row ([`child`]). Each engine keeps a quarter of the group for its
//! caches and indexes, those that leave caching to the kernel nothing; the rest is for the process
//! and the page cache. Every byte of every value is read, since engines that hand out a reference
//! to a page have otherwise not read it.
//!
//! The floor is fio: random reads of 4 KiB straight from the device, as many at a time as the row
//! has threads, from a pre-written file as large as the data, for as long as the row, outside the
//! group. It is measured before the first engine and after each.
//!
//! Where there are no cgroups for this process (they take root) or there is no fio, the rows say
//! so. A child that the kernel kills for want of memory is a failed row.

mod child;

use super::{ScratchDirectory, attempt, steady};
use crate::compare::Context;
use crate::data::Shape;
use crate::engines::{CAIRN, Outcome, Registration};
use crate::floor::Floor;
use crate::floor::fio::{self, FioSample};
use crate::measure::cgroup::Hierarchy;
use crate::measure::page_cache;
use crate::report::{FLOOR, Row, figure};
use child::Reads;
use std::time::Duration;

pub(crate) use child::{LOAD_CHILD, READ_CHILD, load, read};

pub(crate) const WORKLOAD: &str = "get-capped";
const SHAPE: Shape = Shape::LARGE;
/// The group's size in percent of the data; the first is the one with a target.
const CAPS_PERCENT: [u64; 3] = [10, 50, 100];
const CAPS_QUICK: usize = 1;
const THREADS: [usize; 2] = [1, 16];
/// What `--quick` has time for, unless engines are named.
const ENGINES_QUICK: [&str; 4] = [CAIRN, "redb", "fjall", "lmdb"];
/// Below this a group does not hold a process with sixteen threads.
const CAP_BYTES_MIN: u64 = 24 << 20;
/// An engine's own caches and indexes have this part of the group.
const CACHE_PARTS: u64 = 4;
const ROW_MAX: Duration = Duration::from_secs(5);
/// A reader that takes longer thrashes: it opens, warms for a row's time and reads for another.
const READ_TIME_MAX: Duration = Duration::from_secs(40);
const NO_GROUPS: &str = "no memory cgroup can be made here: it takes root and a mounted controller";

pub(crate) fn run(context: &Context) -> Outcome<Vec<Row>> {
    let duration = context.scale.row.min(ROW_MAX);
    let caps = match context.scale.quick {
        true => &CAPS_PERCENT[..CAPS_QUICK],
        false => &CAPS_PERCENT[..],
    };
    let Some(hierarchy) =
        Hierarchy::find().filter(|hierarchy| hierarchy.group(CAP_BYTES_MIN).is_ok())
    else {
        return Ok(without_groups(context, caps));
    };

    let data_bytes = context.scale.capped_keys * SHAPE.row_bytes() as u64;
    let floor_file = Floor::prepare_bytes(&context.directory, data_bytes)?;
    let floor = || -> Outcome<Vec<Option<FioSample>>> {
        THREADS
            .iter()
            .map(|&threads| fio::random_reads(floor_file.path(), threads, duration))
            .collect()
    };
    let mut floors = vec![floor()?];
    let mut rows = Vec::new();
    for &registration in engines(context) {
        let mut of_engine = rows_of(context, registration, &hierarchy, caps, duration)?;
        floors.push(floor()?);
        set_floor(&mut of_engine, &floors[floors.len() - 2..]);
        of_engine.iter().for_each(|row| context.progress(row));
        rows.extend(of_engine);
    }
    rows.extend(floor_rows(caps, &floors));
    rows.sort_by_key(|row| (variant_place(row, caps), row.threads));
    Ok(rows)
}

fn engines(context: &Context) -> impl Iterator<Item = &Registration> {
    let all = !context.scale.quick || context.names_engines();
    context
        .engines
        .iter()
        .filter(move |engine| all || ENGINES_QUICK.contains(&engine.name))
}

/// Loads a store once and reads it under each cap.
fn rows_of(
    context: &Context,
    registration: Registration,
    hierarchy: &Hierarchy,
    caps: &[u64],
    duration: Duration,
) -> Outcome<Vec<Row>> {
    let keys = context.scale.capped_keys;
    let directory = ScratchDirectory::new(&context.directory.join(registration.name))?;
    let patience = context.scale.row_time_max / 2;
    let read_patience = READ_TIME_MAX.min(patience);
    let first = Row::new(WORKLOAD, registration.name, &variant(caps[0]), THREADS[0]);
    let loading = attempt(context, first, |_| {
        child::start_load(
            registration,
            directory.path(),
            context.cache_bytes,
            keys,
            patience,
        )
    });
    if loading.check.failed() {
        return Ok(vec![loading]);
    }
    let mut rows = Vec::new();
    for &percent in caps {
        let cap_bytes = cap_bytes(keys, percent);
        for threads in THREADS {
            let row = Row::new(WORKLOAD, registration.name, &variant(percent), threads);
            rows.push(steady(context, row, |row| {
                page_cache::evict(directory.path())?;
                let group = hierarchy.group(cap_bytes)?;
                let reads = Reads {
                    cache_bytes: cap_bytes / CACHE_PARTS,
                    keys,
                    threads,
                    duration,
                };
                let path = directory.path();
                child::start_read(registration, path, reads, &group, read_patience, row).map_err(
                    |error| match group.kills() {
                        0 => error,
                        _ => format!("killed: {} MiB were too few", cap_bytes >> 20).into(),
                    },
                )?;
                let peak = group.peak_bytes();
                row.set_known(figure::GROUP_BYTES, peak.map(|bytes| bytes as f64));
                row.settings = format!(
                    "{}; {} MB of data, {} MiB for process and page cache",
                    row.settings,
                    keys * SHAPE.row_bytes() as u64 / 1_000_000,
                    cap_bytes >> 20
                );
                Ok(())
            }));
        }
    }
    Ok(rows)
}

fn variant(percent: u64) -> String {
    format!("memory for {percent} % of the data")
}

fn variant_place(row: &Row, caps: &[u64]) -> usize {
    let of_row = |&percent: &u64| variant(percent) == row.variant;
    caps.iter().position(of_row).unwrap_or(caps.len())
}

fn cap_bytes(keys: u64, percent: u64) -> u64 {
    (keys * SHAPE.row_bytes() as u64 * percent / 100).max(CAP_BYTES_MIN)
}

/// The better of what was measured before and after an engine, beside each of its rows.
fn set_floor(rows: &mut [Row], around: &[Vec<Option<FioSample>>]) {
    for (place, threads) in THREADS.into_iter().enumerate() {
        let best = best_floor(around, place).map(|sample| sample.reads_per_s);
        for row in rows.iter_mut().filter(|row| row.threads == threads) {
            row.set_known(figure::FLOOR_OPS_PER_S, best);
        }
    }
}

fn best_floor(floors: &[Vec<Option<FioSample>>], place: usize) -> Option<FioSample> {
    let samples = floors.iter().filter_map(|floor| floor[place]);
    samples.reduce(FioSample::better)
}

fn floor_rows(caps: &[u64], floors: &[Vec<Option<FioSample>>]) -> Vec<Row> {
    let mut rows = Vec::new();
    for &percent in caps {
        for (place, threads) in THREADS.into_iter().enumerate() {
            let mut row = Row::new(WORKLOAD, FLOOR, &variant(percent), threads);
            row.settings = "fio is not on this machine: apt-get install fio".into();
            if let Some(sample) = best_floor(floors, place) {
                row.settings =
                    "fio, random reads of 4 KiB, psync, direct, whatever the memory".into();
                row.set(figure::OPS_PER_S, sample.reads_per_s);
                row.set(figure::P50_US, sample.p50_us);
                row.set(figure::P99_US, sample.p99_us);
                row.set(figure::P999_US, sample.p999_us);
            }
            rows.push(row);
        }
    }
    rows
}

fn without_groups(context: &Context, caps: &[u64]) -> Vec<Row> {
    let mut rows = Vec::new();
    for &percent in caps {
        for threads in THREADS {
            for registration in engines(context) {
                let mut row = Row::new(WORKLOAD, registration.name, &variant(percent), threads);
                row.settings = NO_GROUPS.into();
                rows.push(row);
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests;
