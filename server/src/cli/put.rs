//! `cairn put`.

use std::ffi::OsString;
use std::io::{self, Read};
use std::time::Duration;

use cairn_sdk::wire::{VALUE_BYTES_MAX, Written};
use clap::Args;

use super::store::Asked;
use super::{Common, Failed, bytes, stream};

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

/// Both kinds of puts take the same terms.
macro_rules! with_terms {
    ($put:expr, $command:expr) => {{
        let mut put = $put;
        if let Some(ttl_ms) = $command.ttl_ms {
            put = put.ttl(Duration::from_millis(ttl_ms));
        }
        if let Some(media_type) = &$command.content_type {
            put = put.content_type(media_type);
        }
        if let Some(version) = $command.if_version {
            put = put.if_version(version);
        }
        if $command.if_absent {
            put = put.if_absent();
        }
        if let Some(durability) = $command.asked.durability {
            put = put.durability(durability);
        }
        put
    }};
}

pub(super) async fn run(mut command: Command) -> Result<(), Failed> {
    let value = match command.value.take() {
        Some(value) if value != "-" => bytes(value),
        _ => from_stdin()?,
    };
    let cairn = command.common.place.existing_or_new().await?;
    let bucket = cairn.bucket(&*command.bucket);
    let key = bytes(std::mem::take(&mut command.key));
    let outcome = if value.len() > VALUE_BYTES_MAX {
        let rest = io::Cursor::new(value).chain(io::stdin());
        let put = bucket.put_stream(key, stream::of_reader(rest));
        with_terms!(put, command).await
    } else {
        with_terms!(bucket.put(key, value), command).await
    };
    cairn.close().await?;
    let version = outcome?;
    let mut output = command.common.output();
    output.line(&Written { version }, &version.to_string())?;
    Ok(output.finish()?)
}

/// All of stdin, or of a large value the beginning.
fn from_stdin() -> Result<Vec<u8>, Failed> {
    let mut value = Vec::new();
    // One more than is put at once tells that there is more.
    io::stdin()
        .lock()
        .take(VALUE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut value)?;
    Ok(value)
}
