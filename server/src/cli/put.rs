//! `cairn put`.

use std::ffi::OsString;
use std::io::Read;
use std::time::Duration;

use cairn_sdk::wire::{VALUE_BYTES_MAX, Written};
use clap::Args;

use super::store::Asked;
use super::{Common, Failed, bytes};

/// Write a key
#[derive(Args)]
pub(super) struct Command {
    bucket: String,
    key: OsString,
    /// The value; `-`, or nothing, reads it from stdin
    #[arg(allow_hyphen_values = true)]
    value: Option<OsString>,
    /// Let the key expire after this many milliseconds
    #[arg(long, value_name = "MS")]
    ttl_ms: Option<u64>,
    /// Media type to keep with the value
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Only if the key has this version (0: only if it is absent)
    #[arg(long, value_name = "VERSION", conflicts_with = "if_absent")]
    if_version: Option<u64>,
    /// Only if the key is absent
    #[arg(long)]
    if_absent: bool,
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) async fn run(command: Command) -> Result<(), Failed> {
    let value = match command.value {
        Some(value) if value != "-" => bytes(value),
        _ => from_stdin()?,
    };
    let cairn = command.common.place.to_write().await?;
    let mut put = cairn
        .bucket(&*command.bucket)
        .put(bytes(command.key), value);
    if let Some(ttl_ms) = command.ttl_ms {
        put = put.ttl(Duration::from_millis(ttl_ms));
    }
    if let Some(media_type) = command.content_type {
        put = put.content_type(media_type);
    }
    if let Some(version) = command.if_version {
        put = put.if_version(version);
    }
    if command.if_absent {
        put = put.if_absent();
    }
    if let Some(durability) = command.asked.durability {
        put = put.durability(durability);
    }
    let outcome = put.await;
    cairn.close().await?;
    let version = outcome?;
    let mut output = command.common.output();
    output.line(&Written { version }, &version.to_string())?;
    Ok(output.finish()?)
}

fn from_stdin() -> Result<Vec<u8>, Failed> {
    let mut value = Vec::new();
    // One more than fits tells that it does not.
    std::io::stdin()
        .lock()
        .take(VALUE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut value)?;
    Ok(value)
}
