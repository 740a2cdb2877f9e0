//! Rows as tables for a terminal.

use super::{Row, best_peer, best_verifying_peer, figure};
use crate::workloads::http;
use std::fmt::Write as _;

/// Shown where any row of a group has something for it.
struct Column {
    title: &'static str,
    content: Content,
}

enum Content {
    Figure(&'static str, fn(f64) -> String),
    Derived(fn(&[Row], &Row) -> Option<String>),
}

impl Column {
    const fn figure(title: &'static str, name: &'static str, format: fn(f64) -> String) -> Self {
        let content = Content::Figure(name, format);
        Column { title, content }
    }

    const fn derived(title: &'static str, text: fn(&[Row], &Row) -> Option<String>) -> Self {
        let content = Content::Derived(text);
        Column { title, content }
    }

    fn text(&self, rows: &[Row], row: &Row) -> Option<String> {
        match self.content {
            Content::Figure(name, format) => row.get(name).map(format),
            Content::Derived(text) => text(rows, row),
        }
    }
}

const COLUMNS: &[Column] = &[
    Column::figure("ops/s", figure::OPS_PER_S, rate),
    Column::derived("min..max", |_, row| {
        let low = row.get(figure::OPS_PER_S_MIN)?;
        let high = row.get(figure::OPS_PER_S_MAX)?;
        Some(format!("{}..{}", rate(low), rate(high)))
    }),
    Column::derived("/best peer", |rows, row| {
        best_peer(rows, row).map(|(_, ratio)| two_digits(ratio))
    }),
    Column::derived("/best verifying", |rows, row| {
        best_verifying_peer(rows, row).map(|(_, ratio)| two_digits(ratio))
    }),
    Column::derived("/floor", |_, row| {
        row.ratio_to(figure::FLOOR_OPS_PER_S).map(two_digits)
    }),
    Column::derived("/axum", |_, row| {
        row.ratio_to(figure::AXUM_OPS_PER_S).map(two_digits)
    }),
    Column::derived("/http-put", |_, row| {
        row.ratio_to(figure::HTTP_PUT_OPS_PER_S).map(two_digits)
    }),
    Column::derived("/embedded x64", |_, row| {
        row.ratio_to(figure::EMBEDDED_OPS_PER_S).map(two_digits)
    }),
    Column::figure("p50 us", figure::P50_US, micros),
    Column::figure("p99", figure::P99_US, micros),
    Column::figure("p99.9", figure::P999_US, micros),
    Column::figure("open ms", figure::OPEN_MS, two_digits),
    Column::figure("first get ms", figure::FIRST_GET_MS, two_digits),
    Column::figure("flush ms", figure::FLUSH_MS, one_digit),
    Column::figure("times written", figure::OVERWRITTEN_TIMES, one_digit),
    Column::derived("B written/op", |_, row| {
        per_operation(row, figure::BYTES_WRITTEN)
    }),
    Column::derived("read B/op", |_, row| per_operation(row, figure::BYTES_READ)),
    Column::derived("faults/op", |_, row| {
        let operations = row.get(figure::OPERATIONS).filter(|&ops| ops > 0.0)?;
        Some(two_digits(row.get(figure::MAJOR_FAULTS)? / operations))
    }),
    Column::derived("device B/op", |_, row| {
        per_operation(row, figure::DEVICE_BYTES_WRITTEN)
    }),
    Column::derived("ops/sync", |_, row| operations_per(row, figure::SYNCS)),
    Column::derived("ops/device flush", |_, row| {
        operations_per(row, figure::DEVICE_FLUSHES)
    }),
    Column::figure("disk MB", figure::DISK_BYTES, megabytes),
    Column::derived("prepared MB", |_, row| {
        let prepared = row.get(figure::PREPARED_BYTES)?;
        (prepared > 0.0).then(|| megabytes(prepared))
    }),
    Column::derived("/live", |_, row| {
        let live = row.get(figure::LIVE_BYTES).filter(|&live| live > 0.0)?;
        Some(two_digits(row.get(figure::DISK_BYTES)? / live))
    }),
    Column::figure("settled MB", figure::DISK_SETTLED_BYTES, megabytes),
    Column::figure("RssAnon MB", figure::RSS_BYTES, megabytes),
    Column::figure("RssFile MB", figure::RSS_FILE_BYTES, megabytes),
    Column::figure("group MB", figure::GROUP_BYTES, megabytes),
    Column::figure("other cores", figure::OTHER_CORES, one_digit),
    Column::derived("read back", |_, row| Some(row.check.text())),
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
        .filter(|column| members.iter().any(|row| column.text(rows, row).is_some()))
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
                        .map(|column| column.text(rows, row).unwrap_or_else(|| "-".into())),
                )
                .collect(),
        );
    }
    let first = members[0];
    let each = match first.workload.starts_with(http::PREFIX) {
        true => "connection",
        false => "thread",
    };
    let threads = match first.threads {
        1 => format!("1 {each}"),
        threads => format!("{threads} {each}s"),
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

fn operations_per(row: &Row, name: &str) -> Option<String> {
    let times = row.get(name).filter(|&times| times > 0.0)?;
    Some(one_digit(row.get(figure::OPERATIONS)? / times))
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
    match value {
        100.0.. => format!("{value:.0}"),
        _ => one_digit(value),
    }
}

fn one_digit(value: f64) -> String {
    format!("{value:.1}")
}

fn two_digits(value: f64) -> String {
    format!("{value:.2}")
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
