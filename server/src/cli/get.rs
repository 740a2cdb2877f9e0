//! `cairn get`.

use std::ffi::OsString;

use cairn_sdk::wire::Item;
use cairn_sdk::{Code, Error};
use clap::Args;

use super::{Common, Failed, bytes};

/// Print the value of a key, as it is
#[derive(Args)]
pub(super) struct Command {
    bucket: String,
    key: OsString,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) async fn run(command: Command) -> Result<(), Failed> {
    let cairn = command.common.place.to_read().await?;
    let key = bytes(command.key);
    let outcome = cairn.bucket(&*command.bucket).get(&key).await;
    cairn.close().await?;
    let entry = outcome?.ok_or_else(|| {
        let key = key.escape_ascii();
        Error::new(
            Code::KeyNotFound,
            format!("{:?} holds no key \"{key}\"", command.bucket),
        )
    })?;
    let mut output = command.common.output();
    if output.json {
        let size = entry.value.len() as u64;
        output.line(
            &Item::new(key.into(), entry.version, size, Some(entry.value)),
            "",
        )?;
    } else {
        output.raw(&entry.value)?;
    }
    Ok(output.finish()?)
}
