//! `cairn import`: real records, a key a row.
//!
//! The file is read twice. The first pass checks every row and remembers 32 bytes of each, so that
//! a key given twice is found whatever lies between; only when all of it is good, or what is bad
//! may be skipped, the second pass writes, in batches. So a file with a fault imports nothing.
//! Memory: those 32 bytes a row, one row, and one batch.

mod csv;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
mod json;
mod key;
mod lines;
mod ndjson;
mod plan;
mod row;

use std::fs::{File, Metadata};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use cairn_sdk::{Bucket, Cairn, Durability};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::progress::Progress;
use super::store::Asked;
use super::{Common, Failed};
use key::KeyRule;
use plan::{Plan, Tolerance};
use row::{Rows, Trouble};

/// Load the rows of a CSV, JSON or NDJSON file
#[derive(Args)]
pub(super) struct Command {
    bucket: String,
    file: PathBuf,
    /// The field whose value is the key; `#` takes the row's number
    #[arg(long, value_name = "FIELD")]
    key: String,
    /// Form of the file; by default its extension tells
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Of rows with the same key take the last one
    #[arg(long)]
    last_wins: bool,
    /// Leave out rows that cannot be imported
    #[arg(long)]
    skip_bad: bool,
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Comma-separated values under a header
    Csv,
    /// One array of objects
    Json,
    /// An object a line
    Ndjson,
}

/// Rows of one batch at most.
const BATCH_ROWS_MAX: usize = 2_000;
/// Bytes of keys and values of one batch at most, unless a single row has more.
const BATCH_BYTES_MAX: usize = 2 * 1024 * 1024;

pub(super) async fn run(command: Command) -> Result<(), Failed> {
    let source = Source::new(&command)?;
    let tolerance = Tolerance {
        last_wins: command.last_wins,
        skip_bad: command.skip_bad,
    };
    let before = source.metadata()?;
    let mut progress = Progress::new("checked", command.common.json);
    let size = before.len();
    let plan = Plan::make(
        || source.rows(),
        tolerance,
        |bytes| progress.at(bytes, Some(size)),
    )
    .map_err(|what| source.invalid(&what))?;
    drop(progress);
    for bad in plan.bad_rows() {
        eprintln!("cairn: skipped: {bad}");
    }
    source.check_unchanged(&before)?;

    let cairn = command.common.place.existing_or_new().await?;
    let loaded = load(&cairn, &command, &source, &plan).await;
    cairn.close().await?;
    let imported = loaded?;
    source.check_unchanged(&before)?;
    let skipped = plan.skipped();
    let mut words = format!("imported {imported} rows");
    if skipped > 0 {
        words.push_str(&format!(", skipped {skipped}"));
    }
    let mut output = command.common.output();
    output.line(&json!({ "imported": imported, "skipped": skipped }), &words)?;
    Ok(output.finish()?)
}

async fn load(
    cairn: &Cairn,
    command: &Command,
    source: &Source,
    plan: &Plan,
) -> Result<u64, Failed> {
    let mut progress = Progress::new("imported", command.common.json);
    let mut loading = Loading {
        bucket: cairn.bucket(&*command.bucket),
        durability: command.asked.durability,
        rows: Vec::new(),
        bytes: 0,
        done: 0,
    };
    let mut rows = source.rows().map_err(|what| source.invalid(&what))?;
    let mut index = 0;
    while let Some(row) = rows.next() {
        let row = match row {
            Ok(row) => row,
            // Known from the first pass, which has decided about it.
            Err(Trouble::Bad(_)) => {
                index += 1;
                continue;
            }
            Err(Trouble::Fatal(what)) => return Err(Failed::invalid(loading.broken(&what))),
        };
        if plan.takes(index) {
            loading.add(row).await?;
            progress.at(loading.done, Some(plan.taken()));
        }
        index += 1;
    }
    loading.flush().await?;
    Ok(loading.done)
}

/// Rows on their way into a bucket.
struct Loading {
    bucket: Bucket,
    durability: Option<Durability>,
    rows: Vec<row::Row>,
    bytes: usize,
    done: u64,
}

impl Loading {
    async fn add(&mut self, row: row::Row) -> Result<(), Failed> {
        let bytes = row.key.len() + row.value.len();
        if self.rows.len() == BATCH_ROWS_MAX || self.bytes + bytes > BATCH_BYTES_MAX {
            self.flush().await?;
        }
        self.bytes += bytes;
        self.rows.push(row);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Failed> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        let count = rows.len() as u64;
        let mut batch = self.bucket.batch();
        if let Some(durability) = self.durability {
            batch = batch.durability(durability);
        }
        for row in rows {
            batch = batch.put(row.key, row.value);
        }
        if let Err(error) = batch.commit().await {
            let told = cairn_sdk::Error::new(error.code().clone(), self.broken(error.detail()));
            return Err(told.into());
        }
        self.bytes = 0;
        self.done += count;
        Ok(())
    }

    fn broken(&self, what: &str) -> String {
        let done = self.done;
        format!("{what}; {done} rows were imported before, importing the file again is safe")
    }
}

/// The file to import.
struct Source {
    path: PathBuf,
    format: Format,
    key: KeyRule,
}

impl Source {
    fn new(command: &Command) -> Result<Self, Failed> {
        let format = match command.format {
            Some(format) => format,
            None => Format::of(&command.file).ok_or_else(|| {
                let file = command.file.display();
                let what = "its extension is none of csv, json, ndjson; give --format";
                Failed::invalid(format!("{file}: {what}"))
            })?,
        };
        let key = KeyRule::parse(&command.key);
        Ok(Self {
            path: command.file.clone(),
            format,
            key,
        })
    }

    fn metadata(&self) -> Result<Metadata, Failed> {
        let metadata = File::open(&self.path).and_then(|file| file.metadata());
        let metadata = metadata.map_err(|error| Failed::file(&self.path, &error))?;
        if !metadata.is_file() {
            let path = self.path.display();
            let what = "is no file, and an import reads it twice";
            return Err(Failed::invalid(format!("{path}: {what}")));
        }
        Ok(metadata)
    }

    fn check_unchanged(&self, before: &Metadata) -> Result<(), Failed> {
        let now = self.metadata()?;
        if now.len() == before.len() && now.modified().ok() == before.modified().ok() {
            return Ok(());
        }
        let path = self.path.display();
        let what = "the file changed while it was imported";
        Err(Failed::invalid(format!("{path}: {what}")))
    }

    fn invalid(&self, what: &str) -> Failed {
        Failed::invalid(format!("{}: {what}", self.path.display()))
    }

    fn rows(&self) -> Result<Box<dyn Rows>, String> {
        let file = File::open(&self.path).map_err(|error| error.to_string())?;
        self.format.rows(file, self.key.clone())
    }
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Format::Csv),
            "json" => Some(Format::Json),
            "ndjson" | "jsonl" => Some(Format::Ndjson),
            _ => None,
        }
    }

    fn rows(self, file: impl Read + 'static, key: KeyRule) -> Result<Box<dyn Rows>, String> {
        let buffered = |file| BufReader::with_capacity(256 * 1024, file);
        Ok(match self {
            Format::Csv => Box::new(csv::CsvRows::new(file, key)?),
            Format::Json => Box::new(json::JsonRows::new(buffered(file), key)?),
            Format::Ndjson => Box::new(ndjson::NdjsonRows::new(buffered(file), key)),
        })
    }
}

#[cfg(test)]
mod tests;
