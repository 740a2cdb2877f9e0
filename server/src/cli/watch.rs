//! `cairn watch`.

use std::ffi::OsString;

use cairn_sdk::wire::EventData;
use cairn_sdk::{WatchBatch, WatchChange, WatchEvent};
use clap::Args;
use serde::Serialize;

use super::output::{Output, visible};
use super::{Common, Failed, bytes};

/// Follow what is written to a bucket, until interrupted
#[derive(Args)]
pub(super) struct Command {
    bucket: String,
    /// Only keys that begin with this
    #[arg(long, value_name = "KEY")]
    prefix: Option<OsString>,
    /// Begin after this version rather than now
    #[arg(long, value_name = "VERSION")]
    from: Option<u64>,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) async fn run(mut command: Command) -> Result<(), Failed> {
    let cairn = command.common.place.existing().await?;
    let mut output = command.common.output();
    let followed = follow(&cairn, &mut command, &mut output).await;
    cairn.close().await?;
    followed
}

async fn follow(
    cairn: &cairn_sdk::Cairn,
    command: &mut Command,
    output: &mut Output,
) -> Result<(), Failed> {
    let mut watch = cairn.bucket(&*command.bucket).watch();
    if let Some(prefix) = command.prefix.take() {
        watch = watch.prefix(bytes(prefix));
    }
    if let Some(from) = command.from {
        watch = watch.from(from);
    }
    let mut stream = watch.await?;
    while let Some(batch) = stream.next().await {
        print(&batch?, output)?;
    }
    Ok(())
}

/// An event as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    event: &'static str,
    #[serde(flatten)]
    data: &'a EventData,
}

/// Prints a batch, which whoever reads gets at once and whole.
fn print(batch: &WatchBatch, output: &mut Output) -> std::io::Result<()> {
    for (at, event) in batch.events.iter().enumerate() {
        let more = at + 1 < batch.events.len();
        let (kind, data) = event.wire(batch.version, more);
        let line = Line {
            event: kind,
            data: &data,
        };
        let words = words(batch.version, kind, event);
        output.line(&line, &words)?;
    }
    output.flush()
}

fn words(version: u64, kind: &str, event: &WatchEvent) -> String {
    let key = visible(&event.key);
    let rest = match &event.change {
        WatchChange::Put {
            value: Some(value), ..
        } => visible(value),
        WatchChange::Put { size, value: None } => format!("({size} bytes)"),
        WatchChange::Delete { expired: true } => "(expired)".to_owned(),
        WatchChange::Delete { expired: false } => return format!("{version}\t{kind}\t{key}"),
    };
    format!("{version}\t{kind}\t{key}\t{rest}")
}
