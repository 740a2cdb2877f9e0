//! `cairn scan`.

use std::ffi::OsString;

use cairn_sdk::wire::{Base64, Item, PAGE_ITEMS_MAX, VALUE_BYTES_MAX};
use cairn_sdk::{Bucket, Cairn, Code, Scan};
use clap::Args;

use super::output::{Output, visible};
use super::{Common, Failed, bytes};

/// List keys in order, with their values
#[derive(Args)]
pub(super) struct Command {
    bucket: String,
    /// Only keys that begin with this
    #[arg(long, value_name = "KEY")]
    prefix: Option<OsString>,
    /// Only keys at or above this
    #[arg(long, value_name = "KEY")]
    start: Option<OsString>,
    /// Only keys below this
    #[arg(long, value_name = "KEY")]
    end: Option<OsString>,
    /// At most this many keys
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// From the last key to the first
    #[arg(long)]
    reverse: bool,
    /// Without values
    #[arg(long)]
    keys_only: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) async fn run(mut command: Command) -> Result<(), Failed> {
    let cairn = command.common.place.existing().await?;
    let mut output = command.common.output();
    let printed = print(&cairn, &mut command, &mut output).await;
    cairn.close().await?;
    printed?;
    Ok(output.finish()?)
}

async fn print(cairn: &Cairn, command: &mut Command, output: &mut Output) -> Result<(), Failed> {
    let bucket = cairn.bucket(&*command.bucket);
    let mut left = command.limit.unwrap_or(usize::MAX);
    let mut pages = narrowed(&bucket, command).pages();
    while left > 0
        && let Some(page) = pages.next().await?
    {
        for mut item in page.items.into_iter().take(left) {
            left -= 1;
            if !command.keys_only && item.value_b64.is_none() {
                fetch(&bucket, &mut item).await?;
            }
            let key = visible(&item.key_b64.0);
            let words = match &item.value_b64 {
                Some(value) => format!("{key}\t{}", visible(&value.0)),
                None => key,
            };
            output.line(&item, &words)?;
        }
    }
    Ok(())
}

fn narrowed(bucket: &Bucket, command: &mut Command) -> Scan {
    let mut scan = bucket.scan();
    if let Some(prefix) = command.prefix.take() {
        scan = scan.prefix(bytes(prefix));
    }
    if let Some(start) = command.start.take() {
        scan = scan.start(bytes(start));
    }
    if let Some(end) = command.end.take() {
        scan = scan.end(bytes(end));
    }
    if let Some(limit) = command.limit {
        scan = scan.limit(limit.clamp(1, PAGE_ITEMS_MAX));
    }
    if command.reverse {
        scan = scan.reverse();
    }
    if command.keys_only {
        scan = scan.keys_only();
    }
    scan
}

/// Reads a value that a page leaves out, being large. It may have changed since; then what it is
/// now is shown, with the version of now. A value that only comes as a stream stays out.
pub(super) async fn fetch(bucket: &Bucket, item: &mut Item) -> Result<(), Failed> {
    if item.size > VALUE_BYTES_MAX as u64 {
        return Ok(());
    }
    match bucket.get(&item.key_b64.0).await {
        Ok(Some(entry)) => {
            item.version = entry.version;
            item.size = entry.value.len() as u64;
            item.value_b64 = Some(Base64(entry.value));
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(error) if *error.code() == Code::ValueTooLarge => Ok(()),
        Err(error) => Err(error.into()),
    }
}
