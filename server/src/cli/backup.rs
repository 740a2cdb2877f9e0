//! `cairn backup`.

use std::path::PathBuf;
use std::process::ExitCode;

use cairn_kv::Store;
use clap::Args;
use serde_json::json;

use super::output::Output;
use super::{Failed, directory};

/// Copy the store in a directory, which no other process has open, into a new directory
///
/// Both directories are on the same disk: what never changes is linked, so the copy is quick and
/// takes little space. Move it to another disk to be safe from the damage of this one. It opens as
/// a store; open it in place of the original, never beside it. Prints the digest of the state, as
/// `cairn verify` prints it of the copy.
#[derive(Args)]
pub(super) struct Command {
    /// The store's directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Where the copy goes: a directory that is empty or not there yet
    #[arg(long, value_name = "NEWDIR")]
    to: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Command) -> ExitCode {
    match backup(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => failed.report(command.json),
    }
}

fn backup(command: &Command) -> Result<(), Failed> {
    directory::check_holds_store(&command.directory)?;
    let store = Store::options().threads(false).open(&command.directory)?;
    let outcome = store
        .backup(&command.to)
        .and_then(|()| store.state_digest());
    let closed = store.close();
    let digest = outcome?.to_string();
    closed?;
    let to = command.to.display().to_string();
    let mut output = Output::new(command.json);
    let words = format!("copied to {to}\nstate-digest {digest}");
    output.line(&json!({ "to": to, "state_digest": digest }), &words)?;
    Ok(output.finish()?)
}
