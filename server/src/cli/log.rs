//! `cairn log`.

use std::ffi::OsString;
use std::io::Read as _;

use cairn_sdk::wire::LogLine;
use cairn_sdk::{Cairn, LogRequest};
use clap::{Args, Subcommand};

use super::output::{Output, visible};
use super::{Common, Failed, bytes};

/// Append to the log, read it, and show where it stands
#[derive(Args)]
pub(super) struct Command {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Subcommand)]
enum Action {
    /// Append a record to a topic, and print its offset
    Append {
        topic: String,
        /// The record; `-` or nothing reads it from stdin
        record: Option<OsString>,
        /// The partition
        #[arg(long, value_name = "N", default_value_t = 0)]
        partition: u16,
    },
    /// Print records by offset, a line each: offset, kind, topic or key, data
    Read {
        /// The partition
        #[arg(long, value_name = "N", default_value_t = 0)]
        partition: u16,
        /// Only the records of this topic
        #[arg(long)]
        topic: Option<String>,
        /// Only records at or above this offset; 0 for the oldest there is
        #[arg(long, value_name = "OFFSET", default_value_t = 0)]
        from: u64,
        /// At most this many
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
    /// Show where each partition stands
    Status,
}

pub(super) async fn run(command: Command) -> Result<(), Failed> {
    let cairn = match command.action {
        Action::Append { .. } => command.common.place.existing_or_new().await?,
        Action::Read { .. } | Action::Status => command.common.place.existing().await?,
    };
    let mut output = command.common.output();
    let done = act(&cairn, command.action, &mut output).await;
    cairn.close().await?;
    done?;
    Ok(output.finish()?)
}

async fn act(cairn: &Cairn, action: Action, output: &mut Output) -> Result<(), Failed> {
    match action {
        Action::Append {
            topic,
            record,
            partition,
        } => {
            let data = match record.filter(|record| record != "-") {
                Some(record) => bytes(record),
                None => {
                    let mut data = Vec::new();
                    std::io::stdin().lock().read_to_end(&mut data)?;
                    data
                }
            };
            let appended = cairn.append(partition, &topic, data).await?;
            Ok(output.line(&appended, &appended.offset.to_string())?)
        }
        Action::Read {
            partition,
            topic,
            from,
            limit,
        } => {
            let request = LogRequest {
                from,
                limit: PAGE_RECORDS,
                topic,
            };
            read(cairn, partition, request, limit.unwrap_or(u64::MAX), output).await
        }
        Action::Status => {
            for partition in cairn.log().await?.partitions {
                let words = format!(
                    "partition {}: {} to {}, durable to {}, {} segments of {} bytes",
                    partition.partition,
                    partition.start,
                    partition.end,
                    partition.durable,
                    partition.segments,
                    partition.bytes,
                );
                output.line(&partition, &words)?;
            }
            Ok(())
        }
    }
}

/// Page after page, until so many records were printed or the end is reached.
async fn read(
    cairn: &Cairn,
    partition: u16,
    mut request: LogRequest,
    mut left: u64,
    output: &mut Output,
) -> Result<(), Failed> {
    while left > 0 {
        request.limit = usize::try_from(left).map_or(PAGE_RECORDS, |left| left.min(PAGE_RECORDS));
        let lines = cairn.read_log(partition, request.clone()).await?;
        let Some(last) = lines.last() else {
            return Ok(());
        };
        request.from = last.offset + 1;
        left -= lines.len() as u64;
        for line in &lines {
            output.line(line, &words(line))?;
        }
    }
    Ok(())
}

fn words(line: &LogLine) -> String {
    let data = line
        .data_b64
        .as_ref()
        .map_or_else(|| format!("({} bytes)", line.size), |data| visible(&data.0));
    let name = match (&line.topic, &line.key_b64, &line.bucket) {
        (Some(topic), ..) => topic.clone(),
        (None, Some(key), bucket) => {
            let bucket = bucket.as_deref().unwrap_or("-");
            format!("{bucket}/{}", visible(&key.0))
        }
        (None, None, bucket) => bucket.clone().unwrap_or_default(),
    };
    format!("{}\t{}\t{name}\t{data}", line.offset, line.kind)
}

const PAGE_RECORDS: usize = 1_000;
