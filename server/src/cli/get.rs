//! `cairn get`.

use std::ffi::OsString;

use cairn_sdk::wire::{Item, VALUE_BYTES_MAX};
use cairn_sdk::{Cairn, Code, Error};
use clap::Args;

use super::output::Output;
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
    let cairn = command.common.place.existing().await?;
    let key = bytes(command.key);
    let mut output = command.common.output();
    let printed = print(&cairn, &command.bucket, key, &mut output).await;
    cairn.close().await?;
    printed?;
    Ok(output.finish()?)
}

async fn print(
    cairn: &Cairn,
    bucket: &str,
    key: Vec<u8>,
    output: &mut Output,
) -> Result<(), Failed> {
    let found = cairn.bucket(bucket).get_stream(key.clone()).await?;
    let mut value = found.ok_or_else(|| {
        let key = key.escape_ascii();
        let detail = format!("{bucket:?} holds no key \"{key}\"");
        Error::new(Code::KeyNotFound, detail)
    })?;
    if !output.json {
        while let Some(part) = value.next().await? {
            output.raw(&part)?;
        }
        return Ok(());
    }
    let (version, size) = (value.version(), value.size());
    // As in a list, a large value is told by its size.
    let mut whole = None;
    if size <= VALUE_BYTES_MAX as u64 {
        let mut bytes = Vec::new();
        while let Some(part) = value.next().await? {
            bytes.extend_from_slice(&part);
        }
        whole = Some(bytes.into());
    }
    Ok(output.line(&Item::new(key.into(), version, size, whole), "")?)
}
