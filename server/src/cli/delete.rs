//! `cairn delete`.

use std::ffi::OsString;

use clap::Args;

use super::store::Asked;
use super::{Common, Failed, bytes};

/// Delete a key; that it was absent is no failure
#[derive(Args)]
pub(super) struct Command {
    bucket: String,
    key: OsString,
    /// Only if the key has this version
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) async fn run(command: Command) -> Result<(), Failed> {
    let cairn = command.common.place.existing().await?;
    let mut delete = cairn.bucket(&*command.bucket).delete(bytes(command.key));
    if let Some(version) = command.if_version {
        delete = delete.if_version(version);
    }
    if let Some(durability) = command.asked.durability {
        delete = delete.durability(durability);
    }
    let outcome = delete.await;
    cairn.close().await?;
    let deleted = outcome?;
    let words = if deleted.existed {
        "deleted"
    } else {
        "was absent"
    };
    let mut output = command.common.output();
    output.line(&deleted, words)?;
    Ok(output.finish()?)
}
