//! `cairn status`.

use clap::Args;

use super::{Common, Failed};

/// Show how the store does
#[derive(Args)]
pub(super) struct Command {
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) async fn run(command: Command) -> Result<(), Failed> {
    let cairn = command.common.place.existing().await?;
    let outcome = cairn.status().await;
    cairn.close().await?;
    let status = outcome?;
    let mut words = format!(
        "cairn {}, log {}, up for {} s, {}",
        status.version,
        status.log_id,
        status.uptime_ms / 1000,
        if status.writable {
            "writable"
        } else {
            "closed to writes"
        },
    );
    for partition in &status.partitions {
        words.push_str(&format!(
            "\npartition {}: {} to {}, durable to {}, {} segments of {} bytes",
            partition.partition,
            partition.start,
            partition.end,
            partition.durable,
            partition.segments,
            partition.bytes,
        ));
    }
    let mut output = command.common.output();
    output.line(&status, &words)?;
    Ok(output.finish()?)
}
