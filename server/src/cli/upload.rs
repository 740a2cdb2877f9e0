//! `cairn upload`.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use cairn_sdk::wire::Written;
use clap::Args;
use futures_util::TryStreamExt;

use super::place::ObjectPlace;
use super::progress::Progress;
use super::store::Asked;
use super::{Common, Failed, stream};

/// Write a file to a key, of any size
#[derive(Args)]
pub(super) struct Command {
    /// The file
    path: PathBuf,
    /// Where it goes
    #[arg(value_name = "BUCKET/KEY")]
    to: ObjectPlace,
    /// Let the key expire after this many milliseconds
    #[arg(long, value_name = "MS")]
    ttl_ms: Option<u64>,
    /// Media type to keep with the value
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Only if the key is absent
    #[arg(long)]
    if_absent: bool,
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) async fn run(command: Command) -> Result<(), Failed> {
    let refused = |error| Failed::file(&command.path, &error);
    let file = File::open(&command.path).map_err(refused)?;
    let metadata = file.metadata().map_err(refused)?;
    if metadata.is_dir() {
        let path = command.path.display();
        return Err(Failed::invalid(format!("{path}: it is a directory")));
    }
    // A pipe tells no size.
    let size = metadata.is_file().then_some(metadata.len());
    let cairn = command.common.place.existing_or_new().await?;
    let mut progress = Progress::new("uploaded", command.common.json);
    let mut done = 0;
    let parts = stream::of_reader(file).inspect_ok(move |part| {
        done += part.len() as u64;
        progress.at(done, size);
    });
    let bucket = cairn.bucket(command.to.bucket);
    let mut put = bucket.put_stream(command.to.key, parts);
    if let Some(size) = size {
        put = put.size(size);
    }
    if let Some(ttl_ms) = command.ttl_ms {
        put = put.ttl(Duration::from_millis(ttl_ms));
    }
    if let Some(media_type) = command.content_type {
        put = put.content_type(media_type);
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
