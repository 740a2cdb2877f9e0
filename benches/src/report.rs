//! Rows: how they are merged over repeats, compared, printed and written as JSON.
//!
//! A row is one engine on one workload, variant and thread count. Rows that share those three are
//! a *group*, and ratios stand inside a group only: they were measured side by side. The best
//! peer of a group is the best engine of it that is neither Cairn nor the floor. A row whose
//! check failed is printed and never counts as the best.

use crate::engines::CAIRN;
use std::collections::BTreeMap;
use std::fmt::Write as _;

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
            Check::Passed(rows) => format!("ok ({})", count(*rows as f64)),
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

    fn ratio_to_floor(&self) -> Option<f64> {
        let floor = self.get(figure::FLOOR_OPS_PER_S)?;
        Some(self.get(figure::OPS_PER_S)? / floor)
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

/// A column is shown where any row of a workload has something for it.
struct Column {
    title: &'static str,
    text: fn(&[Row], &Row) -> Option<String>,
}

const COLUMNS: &[Column] = &[
    Column {
        title: "ops/s",
        text: |_, row| row.get(figure::OPS_PER_S).map(rate),
    },
    Column {
        title: "min..max",
        text: |_, row| {
            let low = row.get(figure::OPS_PER_S_MIN)?;
            Some(format!(
                "{}..{}",
                rate(low),
                rate(row.get(figure::OPS_PER_S_MAX)?)
            ))
        },
    },
    Column {
        title: "/best peer",
        text: |rows, row| best_peer(rows, row).map(|(_, ratio)| format!("{ratio:.2}")),
    },
    Column {
        title: "/best verifying",
        text: |rows, row| best_verifying_peer(rows, row).map(|(_, ratio)| format!("{ratio:.2}")),
    },
    Column {
        title: "/floor",
        text: |_, row| row.ratio_to_floor().map(|ratio| format!("{ratio:.2}")),
    },
    Column {
        title: "p50 us",
        text: |_, row| row.get(figure::P50_US).map(micros),
    },
    Column {
        title: "p99",
        text: |_, row| row.get(figure::P99_US).map(micros),
    },
    Column {
        title: "p99.9",
        text: |_, row| row.get(figure::P999_US).map(micros),
    },
    Column {
        title: "open ms",
        text: |_, row| row.get(figure::OPEN_MS).map(|ms| format!("{ms:.2}")),
    },
    Column {
        title: "first get ms",
        text: |_, row| row.get(figure::FIRST_GET_MS).map(|ms| format!("{ms:.3}")),
    },
    Column {
        title: "flush ms",
        text: |_, row| row.get(figure::FLUSH_MS).map(|ms| format!("{ms:.1}")),
    },
    Column {
        title: "data written",
        text: |_, row| {
            row.get(figure::OVERWRITTEN_TIMES)
                .map(|times| format!("{times:.1}x"))
        },
    },
    Column {
        title: "B written/op",
        text: |_, row| per_operation(row, figure::BYTES_WRITTEN),
    },
    Column {
        title: "device B/op",
        text: |_, row| per_operation(row, figure::DEVICE_BYTES_WRITTEN),
    },
    Column {
        title: "ops/sync",
        text: |_, row| {
            let syncs = row.get(figure::SYNCS).filter(|&syncs| syncs > 0.0)?;
            Some(format!("{:.1}", row.get(figure::OPERATIONS)? / syncs))
        },
    },
    Column {
        title: "ops/device flush",
        text: |_, row| {
            let flushes = row.get(figure::DEVICE_FLUSHES).filter(|&f| f > 0.0)?;
            Some(format!("{:.1}", row.get(figure::OPERATIONS)? / flushes))
        },
    },
    Column {
        title: "disk MB",
        text: |_, row| row.get(figure::DISK_BYTES).map(megabytes),
    },
    Column {
        title: "prepared MB",
        text: |_, row| {
            row.get(figure::PREPARED_BYTES)
                .filter(|&bytes| bytes > 0.0)
                .map(megabytes)
        },
    },
    Column {
        title: "/live",
        text: |_, row| {
            let live = row.get(figure::LIVE_BYTES).filter(|&live| live > 0.0)?;
            Some(format!("{:.2}", row.get(figure::DISK_BYTES)? / live))
        },
    },
    Column {
        title: "settled MB",
        text: |_, row| row.get(figure::DISK_SETTLED_BYTES).map(megabytes),
    },
    Column {
        title: "RssAnon MB",
        text: |_, row| row.get(figure::RSS_BYTES).map(megabytes),
    },
    Column {
        title: "RssFile MB",
        text: |_, row| row.get(figure::RSS_FILE_BYTES).map(megabytes),
    },
    Column {
        title: "other cores",
        text: |_, row| {
            row.get(figure::OTHER_CORES)
                .map(|cores| format!("{cores:.1}"))
        },
    },
    Column {
        title: "read back",
        text: |_, row| Some(row.check.text()),
    },
];

/// The table of one workload, with a block for each group, and below it the engines' settings.
pub(crate) fn table(workload: &str, rows: &[Row]) -> String {
    let rows: Vec<Row> = rows
        .iter()
        .filter(|row| row.workload == workload)
        .cloned()
        .collect();
    let mut text = format!("\n## {workload}\n");
    let mut groups: Vec<(&str, &str, usize)> = Vec::new();
    for row in &rows {
        if !groups.contains(&row.group()) {
            groups.push(row.group());
        }
    }
    for group in groups {
        let members: Vec<&Row> = rows.iter().filter(|row| row.group() == group).collect();
        text.push_str(&group_table(&rows, &members));
    }
    for row in &rows {
        if !row.over_time.is_empty() {
            let series: Vec<String> = row.over_time.iter().map(|&ops| rate(ops)).collect();
            let _ = writeln!(
                text,
                "  over time, {} {}, ops/s in each {} s: {}",
                row.engine,
                row.variant,
                row.interval_s,
                series.join(" ")
            );
        }
    }
    let mut described: Vec<(&str, &str)> = Vec::new();
    for row in &rows {
        let settings = (row.engine.as_str(), row.settings.as_str());
        if !row.settings.is_empty() && !described.contains(&settings) {
            described.push(settings);
            let _ = writeln!(text, "  {}: {}", row.engine, row.settings);
        }
    }
    text
}

fn group_table(rows: &[Row], members: &[&Row]) -> String {
    let shown: Vec<&Column> = COLUMNS
        .iter()
        .filter(|column| members.iter().any(|row| (column.text)(rows, row).is_some()))
        .collect();
    let mut cells: Vec<Vec<String>> = vec![
        std::iter::once(String::new())
            .chain(shown.iter().map(|column| column.title.to_string()))
            .collect(),
    ];
    for row in members {
        cells.push(
            std::iter::once(row.engine.clone())
                .chain(
                    shown
                        .iter()
                        .map(|column| (column.text)(rows, row).unwrap_or_else(|| "-".into())),
                )
                .collect(),
        );
    }
    let first = members[0];
    let threads = match first.threads {
        1 => "1 thread".to_string(),
        threads => format!("{threads} threads"),
    };
    let mut text = match first.variant.as_str() {
        "" => format!("{threads}\n"),
        variant => format!("{threads}, {variant}\n"),
    };
    text.push_str(&aligned(&cells));
    text
}

/// Left-aligned names, right-aligned figures; the last column runs free.
fn aligned(cells: &[Vec<String>]) -> String {
    let columns = cells[0].len();
    let widths: Vec<usize> = (0..columns)
        .map(|column| cells.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in cells {
        let mut line = String::from("  ");
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let _ = match column {
                0 => write!(line, "{cell:<width$}"),
                last if last + 1 == columns => write!(line, "  {cell}"),
                _ => write!(line, "  {cell:>width$}"),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn per_operation(row: &Row, name: &str) -> Option<String> {
    let operations = row.get(figure::OPERATIONS).filter(|&ops| ops > 0.0)?;
    Some(count(row.get(name)? / operations))
}

/// "8.35 k", "1.23 M".
fn rate(value: f64) -> String {
    if value >= 999_500.0 {
        format!("{:.2} M", value / 1e6)
    } else if value >= 10_000.0 {
        format!("{:.0} k", value / 1e3)
    } else if value >= 1_000.0 {
        format!("{:.2} k", value / 1e3)
    } else {
        format!("{value:.1}")
    }
}

fn count(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_string()
    }
}

fn micros(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

fn megabytes(bytes: f64) -> String {
    format!("{:.1}", bytes / 1e6)
}

/// The rows as a JSON list, ratios included.
pub(crate) fn json(rows: &[Row]) -> String {
    let objects: Vec<String> = rows.iter().map(|row| object(rows, row)).collect();
    format!("[\n{}\n]\n", objects.join(",\n"))
}

fn object(rows: &[Row], row: &Row) -> String {
    let mut fields = vec![
        field("workload", &quoted(&row.workload)),
        field("engine", &quoted(&row.engine)),
        field("threads", &row.threads.to_string()),
    ];
    for name in figure::ALWAYS {
        fields.push(field(name, &number(row.get(name))));
    }
    fields.push(field("variant", &quoted(&row.variant)));
    for (name, &value) in &row.figures {
        if !figure::ALWAYS.contains(name) {
            fields.push(field(name, &number(Some(value))));
        }
    }
    if let Some((peer, ratio)) = best_peer(rows, row) {
        fields.push(field("best_peer", &quoted(peer)));
        fields.push(field("ratio", &number(Some(ratio))));
    }
    if let Some((peer, ratio)) = best_verifying_peer(rows, row) {
        fields.push(field("best_verifying_peer", &quoted(peer)));
        fields.push(field("ratio_verifying", &number(Some(ratio))));
    }
    if let Some(ratio) = row.ratio_to_floor() {
        fields.push(field("ratio_floor", &number(Some(ratio))));
    }
    if !row.over_time.is_empty() {
        let series: Vec<String> = row.over_time.iter().map(|&v| number(Some(v))).collect();
        fields.push(field("interval_s", &number(Some(row.interval_s))));
        fields.push(field("over_time", &format!("[{}]", series.join(","))));
    }
    fields.push(field("check", &quoted(&row.check.text())));
    fields.push(field("settings", &quoted(&row.settings)));
    format!("  {{{}}}", fields.join(","))
}

fn field(name: &str, value: &str) -> String {
    format!("\"{name}\":{value}")
}

/// Whole numbers without a fraction, others with the digits that mean something.
fn number(value: Option<f64>) -> String {
    match value {
        Some(value) if value.is_finite() && value.fract() == 0.0 => format!("{value:.0}"),
        Some(value) if value.is_finite() => format!("{value:.4}"),
        _ => "null".into(),
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            control if u32::from(control) < 0x20 => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
