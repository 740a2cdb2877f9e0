//! Rows as a JSON list, for other programs.

use super::{Row, best_peer, best_verifying_peer, figure};
use std::fmt::Write as _;

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
    for (name, rate) in [
        ("ratio_floor", figure::FLOOR_OPS_PER_S),
        ("ratio_axum", figure::AXUM_OPS_PER_S),
        ("ratio_http_put", figure::HTTP_PUT_OPS_PER_S),
        ("ratio_embedded", figure::EMBEDDED_OPS_PER_S),
    ] {
        if let Some(ratio) = row.ratio_to(rate) {
            fields.push(field(name, &number(Some(ratio))));
        }
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
