//! Rows: how they are merged over repeats, compared, printed and written as JSON.
//!
//! A row is one engine on one workload, variant and thread count. Rows that share those three are
//! a *group*, and ratios stand inside a group only: they were measured side by side. The best
//! peer of a group is the best engine of it that is neither Cairn nor the floor. A row whose
//! check failed is printed and never counts as the best.

mod json;
mod table;

pub(crate) use json::json;
pub(crate) use table::table;

use crate::engines::CAIRN;
use std::collections::BTreeMap;

/// The workload whose rows are also compared with the best peer that checks what it reads.
const VERIFYING_WORKLOAD: &str = "get-4k";

/// The engine name of rows that measure the disk itself.
pub(crate) const FLOOR: &str = "floor";

/// A row during which others used more than this was disturbed; the kernel's own threads that
/// write back dirty pages stay below it.
pub(crate) const DISTURBED_CORES: f64 = 0.3;

/// Figures of a row, by the name they have in the JSON.
pub(crate) mod figure {
    pub(crate) const OPS_PER_S: &str = "ops_per_s";
    pub(crate) const P50_US: &str = "p50_us";
    pub(crate) const P99_US: &str = "p99_us";
    pub(crate) const P999_US: &str = "p999_us";
    pub(crate) const BYTES_WRITTEN: &str = "bytes_written";
    pub(crate) const DISK_BYTES: &str = "disk_bytes";
    pub(crate) const RSS_BYTES: &str = "rss_bytes";

    /// These stand in every row, as null where they do not apply.
    pub(crate) const ALWAYS: [&str; 7] = [
        OPS_PER_S,
        P50_US,
        P99_US,
        P999_US,
        BYTES_WRITTEN,
        DISK_BYTES,
        RSS_BYTES,
    ];

    pub(crate) const OPERATIONS: &str = "operations";
    pub(crate) const SECONDS: &str = "seconds";
    pub(crate) const KEY_BYTES: &str = "key_bytes";
    pub(crate) const VALUE_BYTES: &str = "value_bytes";
    /// Key and value bytes of the rows that the store holds at the end.
    pub(crate) const LIVE_BYTES: &str = "live_bytes";
    pub(crate) const PREPARED_BYTES: &str = "prepared_bytes";
    pub(crate) const DISK_SETTLED_BYTES: &str = "disk_settled_bytes";
    pub(crate) const RSS_FILE_BYTES: &str = "rss_file_bytes";
    pub(crate) const RSS_BEFORE_BYTES: &str = "rss_before_bytes";
    /// What the process had fetched from the device, readahead included.
    pub(crate) const BYTES_READ: &str = "bytes_read";
    /// Faults of memory maps that waited for the device.
    pub(crate) const MAJOR_FAULTS: &str = "major_faults";
    /// The most that the row's cgroup held: the process and its page cache.
    pub(crate) const GROUP_BYTES: &str = "group_bytes";
    pub(crate) const WRITE_CALLS: &str = "write_calls";
    pub(crate) const SYNCS: &str = "syncs";
    pub(crate) const DEVICE_BYTES_WRITTEN: &str = "device_bytes_written";
    pub(crate) const DEVICE_FLUSHES: &str = "device_flushes";
    /// Cores that other processes, the kernel's threads and the hypervisor used meanwhile.
    pub(crate) const OTHER_CORES: &str = "other_cores";
    pub(crate) const FLUSH_MS: &str = "flush_ms";
    pub(crate) const SETTLE_MS: &str = "settle_ms";
    pub(crate) const OPEN_MS: &str = "open_ms";
    pub(crate) const FIRST_GET_MS: &str = "first_get_ms";
    pub(crate) const OVERWRITTEN_TIMES: &str = "overwritten_times";
    pub(crate) const FLOOR_OPS_PER_S: &str = "floor_ops_per_s";
    /// The rate of a bare axum handler with as many connections.
    pub(crate) const AXUM_OPS_PER_S: &str = "axum_ops_per_s";
    /// The rate of Cairn's `http-put` with as many connections in the same run.
    pub(crate) const HTTP_PUT_OPS_PER_S: &str = "http_put_ops_per_s";
    /// The rate of `put-durable` with 64 writers in the same run, without a server.
    pub(crate) const EMBEDDED_OPS_PER_S: &str = "embedded_ops_per_s";
    pub(crate) const OPS_PER_S_MIN: &str = "ops_per_s_min";
    pub(crate) const OPS_PER_S_MAX: &str = "ops_per_s_max";
}

/// What became of reading back what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// So many rows were compared and were what had been written.
    Passed(u64),
    Failed(String),
    /// The row stores nothing that could be read back: the disk floor.
    Nothing,
}

impl Check {
    pub(crate) fn failed(&self) -> bool {
        matches!(self, Check::Failed(_))
    }

    fn text(&self) -> String {
        match self {
            Check::Passed(rows) => format!("ok ({rows})"),
            Check::Failed(reason) => format!("FAILED: {reason}"),
            Check::Nothing => "-".into(),
        }
    }
}

/// One engine on one workload, variant and thread count.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) workload: String,
    pub(crate) engine: String,
    /// Empty for the workload's only form.
    pub(crate) variant: String,
    pub(crate) threads: usize,
    pub(crate) settings: String,
    /// Whether the engine checks what it reads; comparisons of large reads need to know.
    pub(crate) verifies_reads: bool,
    pub(crate) check: Check,
    /// Operations a second in successive intervals of `interval_s`, for rows that run long.
    pub(crate) over_time: Vec<f64>,
    pub(crate) interval_s: f64,
    figures: BTreeMap<&'static str, f64>,
}

impl Row {
    pub(crate) fn new(workload: &str, engine: &str, variant: &str, threads: usize) -> Row {
        Row {
            workload: workload.into(),
            engine: engine.into(),
            variant: variant.into(),
            threads,
            settings: String::new(),
            verifies_reads: false,
            check: Check::Nothing,
            over_time: Vec::new(),
            interval_s: 0.0,
            figures: BTreeMap::new(),
        }
    }

    pub(crate) fn set(&mut self, name: &'static str, value: f64) {
        self.figures.insert(name, value);
    }

    pub(crate) fn set_known(&mut self, name: &'static str, value: Option<f64>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    pub(crate) fn clear(&mut self, name: &str) {
        self.figures.remove(name);
    }

    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.figures.get(name).copied()
    }

    /// Whether so much of the machine was taken by others that the row deserves a second run.
    pub(crate) fn disturbed(&self) -> bool {
        self.get(figure::OTHER_CORES)
            .is_some_and(|cores| cores > DISTURBED_CORES)
    }

    fn group(&self) -> (&str, &str, usize) {
        (&self.workload, &self.variant, self.threads)
    }

    fn same_as(&self, other: &Row) -> bool {
        self.group() == other.group() && self.engine == other.engine
    }

    /// What ratios compare, the greater the better: operations a second, or the inverse of the
    /// space taken where nothing was timed.
    fn score(&self) -> Option<f64> {
        if self.check.failed() {
            return None;
        }
        self.get(figure::OPS_PER_S)
            .or_else(|| self.get(figure::DISK_BYTES).map(|bytes| 1.0 / bytes))
            .filter(|score| score.is_finite() && *score > 0.0)
    }

    fn is_peer(&self) -> bool {
        self.engine != CAIRN && self.engine != FLOOR
    }

    /// The row's rate over one that was measured beside it.
    fn ratio_to(&self, rate: &str) -> Option<f64> {
        Some(self.get(figure::OPS_PER_S)? / self.get(rate)?)
    }
}

/// The engine to beat in the group of `row`, and how `row` compares with it.
fn best_peer<'a>(rows: &'a [Row], row: &Row) -> Option<(&'a str, f64)> {
    best_of(rows, row, |_| true)
}

/// The same among the peers that check what they read: shown where values are large enough for
/// the check to decide the row.
fn best_verifying_peer<'a>(rows: &'a [Row], row: &Row) -> Option<(&'a str, f64)> {
    if row.workload != VERIFYING_WORKLOAD {
        return None;
    }
    best_of(rows, row, |peer| peer.verifies_reads)
}

fn best_of<'a>(
    rows: &'a [Row],
    row: &Row,
    counts: impl Fn(&Row) -> bool,
) -> Option<(&'a str, f64)> {
    let (best, score) = rows
        .iter()
        .filter(|other| other.group() == row.group() && other.is_peer() && counts(other))
        .filter_map(|other| Some((other, other.score()?)))
        .max_by(|(_, one), (_, two)| one.total_cmp(two))?;
    (row.engine != FLOOR).then_some((best.engine.as_str(), row.score()? / score))
}

/// One row for those of several passes that measure the same thing: each figure is the median,
/// a failed check stays failed, and what changes over time is shown for the first pass.
pub(crate) fn merge_passes(passes: Vec<Vec<Row>>) -> Vec<Row> {
    let repeated = passes.len() > 1;
    let rows: Vec<Row> = passes.into_iter().flatten().collect();
    let mut merged: Vec<Row> = Vec::new();
    for row in &rows {
        if merged.iter().any(|done| done.same_as(row)) {
            continue;
        }
        let alike: Vec<&Row> = rows.iter().filter(|other| other.same_as(row)).collect();
        let mut whole = row.clone();
        for name in row.figures.keys().copied() {
            let values = alike.iter().filter_map(|row| row.get(name)).collect();
            whole.set(name, median(values));
        }
        let rates = || alike.iter().filter_map(|row| row.get(figure::OPS_PER_S));
        if repeated {
            whole.set_known(figure::OPS_PER_S_MIN, rates().min_by(f64::total_cmp));
            whole.set_known(figure::OPS_PER_S_MAX, rates().max_by(f64::total_cmp));
        }
        for other in &alike[1..] {
            if other.check.failed() {
                whole.check = other.check.clone();
            }
        }
        merged.push(whole);
    }
    merged
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}

#[cfg(test)]
mod tests;
