//! `cairn bucket`.

use cairn_sdk::wire::{BucketInfo, BucketOptions, Durability};
use clap::{Args, Subcommand};
use serde_json::json;

use super::output::Output;
use super::{Common, Failed};

/// List, create, show and delete buckets
#[derive(Args)]
pub(super) struct Command {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Subcommand)]
enum Action {
    /// List the buckets
    List,
    /// Show a bucket
    Info { bucket: String },
    /// Create a bucket
    Create {
        bucket: String,
        /// How long superseded versions are kept, in milliseconds
        #[arg(long, value_name = "MS")]
        history_ms: Option<u64>,
        /// How many bytes of superseded versions are kept
        #[arg(long, value_name = "BYTES")]
        history_bytes: Option<u64>,
        /// Durability of writes that name none
        #[arg(long, value_name = "LEVEL")]
        durability: Option<Durability>,
    },
    /// Delete a bucket
    Delete {
        bucket: String,
        /// Also if it holds keys
        #[arg(long)]
        force: bool,
    },
}

pub(super) async fn run(command: Command) -> Result<(), Failed> {
    let cairn = match command.action {
        Action::List | Action::Info { .. } | Action::Delete { .. } => {
            command.common.place.existing().await?
        }
        Action::Create { .. } => command.common.place.existing_or_new().await?,
    };
    let mut output = command.common.output();
    let done = act(&cairn, command.action, &mut output).await;
    cairn.close().await?;
    done?;
    Ok(output.finish()?)
}

async fn act(cairn: &cairn_sdk::Cairn, action: Action, output: &mut Output) -> Result<(), Failed> {
    match action {
        Action::List => {
            for info in cairn.buckets().await? {
                output.line(&info, &summary(&info))?;
            }
        }
        Action::Info { bucket } => {
            let info = cairn.bucket(bucket).info().await?;
            output.line(&info, &summary(&info))?;
        }
        Action::Create {
            bucket,
            history_ms,
            history_bytes,
            durability,
        } => {
            let options = BucketOptions {
                history_ms,
                history_bytes,
                durability,
            };
            let created = cairn.create_bucket(&bucket, options).await?;
            let words = if created { "created" } else { "was there" };
            output.line(&json!({ "name": bucket, "created": created }), words)?;
        }
        Action::Delete { bucket, force } => {
            cairn.remove_bucket(&bucket, force).await?;
            output.line(&json!({ "name": bucket, "deleted": true }), "deleted")?;
        }
    }
    Ok(())
}

fn summary(info: &BucketInfo) -> String {
    let BucketInfo {
        name,
        keys,
        bytes,
        partition,
        ..
    } = info;
    format!("{name}\t{keys} keys\t{bytes} bytes\tpartition {partition}")
}
