//! `cairn verify`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cairn_kv::{Store, Verification};
use clap::Args;
use serde_json::json;

use super::output::Output;
use super::progress::Progress;
use super::{EXIT_FAILED, Failed, directory};

/// Check every byte of a store that no process has open, and change none
///
/// Prints each damaged place of the log with file and byte, and the digest of the store's state.
/// Exits with 1 if the log is damaged: data may be lost there. Damaged index files lose nothing
/// (the next open makes them again from the log), so they are told and the exit code stays 0. What
/// a kill left of writes that were never acknowledged is no damage either. Exits with 3 if there is
/// no store in the directory.
#[derive(Args)]
pub(super) struct Command {
    /// The store's directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Command) -> ExitCode {
    match verify(command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(failed) => failed.report(command.json),
    }
}

/// Whether the log is whole.
fn verify(command: &Command) -> Result<bool, Failed> {
    let path = command.directory.as_path();
    directory::check_is_directory(path)?;
    let mut progress = Progress::new("verified bytes", command.json);
    let found = Store::verify_directory(path, |done, of| progress.at(done, Some(of)))?;
    drop(progress);
    let found = found.ok_or_else(|| directory::no_store(path))?;
    print(command, path, &found)?;
    Ok(found.is_whole())
}

fn print(command: &Command, path: &Path, found: &Verification) -> Result<(), Failed> {
    let verified = &found.verified;
    let places = found.damage.iter().map(|damage| {
        json!({
            "path": damage.path.display().to_string(),
            "position": damage.position,
            "what": damage.what,
        })
    });
    let document = json!({
        "ok": found.is_whole(),
        "state_digest": found.digest.map(|digest| digest.to_string()),
        "partitions": found.partitions,
        "bytes": found.bytes,
        "batches": verified.batches,
        "records": verified.records,
        "runs": verified.runs,
        "merged_entries": verified.entries,
        "unfinished_bytes": found.unfinished_bytes,
        "damage": places.collect::<Vec<_>>(),
        "damaged_index_files": verified.damaged,
    });
    let mut output = Output::new(command.json);
    output.line(&document, &words(path, found))?;
    Ok(output.finish()?)
}

fn words(path: &Path, found: &Verification) -> String {
    let verified = &found.verified;
    let mut lines: Vec<String> = found
        .damage
        .iter()
        .map(|damage| format!("damaged: {damage}"))
        .collect();
    let index_files = verified.damaged.iter();
    lines.extend(index_files.map(|what| format!("index, will be made again from the log: {what}")));
    if found.unfinished_bytes > 0 {
        lines.push(format!(
            "a crash left {} bytes of writes that were not acknowledged; the next open drops them",
            found.unfinished_bytes
        ));
    }
    lines.push(format!(
        "read {} bytes of log in {} partitions: {} batches and {} records are whole; {} runs and \
         {} merged entries too",
        found.bytes,
        found.partitions,
        verified.batches,
        verified.records,
        verified.runs,
        verified.entries,
    ));
    if !found.is_whole() {
        lines.push(format!(
            "{} is damaged in {} places; restore it from a backup or a replica",
            path.display(),
            found.damage.len()
        ));
    }
    if let Some(digest) = found.digest {
        lines.push(format!("state-digest {digest}"));
    }
    lines.join("\n")
}
