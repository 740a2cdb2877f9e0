//! `cairn export`: a bucket as NDJSON, in key order.
//!
//! ```text
//! {"key":"00501","version":184,"value":{"zip_code":"00501",...}}
//! ```
//!
//! The value's own bytes are embedded where they are JSON on one line, so what went in as a row
//! comes out as the same bytes. Everything else is `value_b64`, and a key that is not UTF-8 is
//! `key_b64`.

use std::io::Write;

use cairn_sdk::wire::{Base64, Item, VALUE_BYTES_MAX};
use cairn_sdk::{Bucket, Cairn};
use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use super::output::Output;
use super::progress::Progress;
use super::{Common, Failed, scan};

/// Write all keys and values as NDJSON
#[derive(Args)]
pub(super) struct Command {
    bucket: String,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) async fn run(command: Command) -> Result<(), Failed> {
    let cairn = command.common.place.existing().await?;
    let mut output = command.common.output();
    let written = write(&cairn, &command, &mut output).await;
    cairn.close().await?;
    written?;
    Ok(output.finish()?)
}

async fn write(cairn: &Cairn, command: &Command, output: &mut Output) -> Result<(), Failed> {
    let bucket: Bucket = cairn.bucket(&*command.bucket);
    let mut progress = Progress::new("exported", command.common.json);
    let mut pages = bucket.scan().pages();
    let mut rows = 0;
    let mut line = Vec::new();
    while let Some(page) = pages.next().await? {
        for mut item in page.items {
            if item.value_b64.is_none() {
                scan::fetch(&bucket, &mut item).await?;
            }
            line.clear();
            write_row(&mut line, &item)?;
            if item.value_b64.is_none() && item.size > VALUE_BYTES_MAX as u64 {
                write_large(&bucket, &mut item, output).await?;
            } else {
                output.raw(&line)?;
            }
            rows += 1;
            progress.at(rows, None);
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Row<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_b64: Option<&'a Base64>,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_b64: Option<&'a Base64>,
}

fn write_row(out: &mut impl Write, item: &Item) -> std::io::Result<()> {
    let value = item.value_b64.as_ref();
    let embedded = value.and_then(|value| embeddable(&value.0));
    let row = Row {
        key: item.key.as_deref(),
        key_b64: item.key.is_none().then_some(&item.key_b64),
        version: item.version,
        value: embedded,
        value_b64: value.filter(|_| embedded.is_none()),
    };
    serde_json::to_writer(&mut *out, &row)?;
    out.write_all(b"\n")
}

/// Writes the row of a value that only comes as a stream, as base64 and without holding it.
async fn write_large(bucket: &Bucket, item: &mut Item, output: &mut Output) -> Result<(), Failed> {
    let Some(mut value) = bucket.get_stream(item.key_b64.0.clone()).await? else {
        return Ok(());
    };
    item.version = value.version();
    let mut row = Vec::new();
    write_row(&mut row, item)?;
    row.truncate(row.len() - "}\n".len());
    output.raw(&row)?;
    output.raw(b",\"value_b64\":\"")?;
    // Three bytes are four characters: what is left over goes before the next part.
    let mut left = Vec::new();
    while let Some(part) = value.next().await? {
        left.extend_from_slice(&part);
        let rest = left.split_off(left.len() - left.len() % 3);
        write_base64(&std::mem::replace(&mut left, rest), output)?;
    }
    write_base64(&left, output)?;
    Ok(output.raw(b"\"}\n")?)
}

fn write_base64(bytes: &[u8], output: &mut Output) -> std::io::Result<()> {
    let quoted = serde_json::to_vec(&Base64::from(bytes))?;
    output.raw(&quoted[1..quoted.len() - 1])
}

/// The bytes as JSON, if they are that, on one line, and with nothing around that parsing the row
/// would lose.
fn embeddable(bytes: &[u8]) -> Option<&RawValue> {
    if bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r')) || bytes.trim_ascii() != bytes {
        return None;
    }
    serde_json::from_slice(bytes).ok()
}

#[cfg(test)]
mod tests;
