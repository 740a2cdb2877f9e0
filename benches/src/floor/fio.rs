//! What fio reads from the same disk: 4 KiB at random places of a pre-written file, each read
//! straight from the device, so many at a time.

use crate::engines::Outcome;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Reads a second, and how long each took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FioSample {
    pub(crate) reads_per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
}

impl FioSample {
    pub(crate) fn better(self, other: FioSample) -> FioSample {
        if other.reads_per_s > self.reads_per_s {
            other
        } else {
            self
        }
    }
}

/// Runs fio over `file`, which is written and synced, with `jobs` readers for `duration`. None if
/// there is no fio on this machine.
pub(crate) fn random_reads(
    file: &Path,
    jobs: usize,
    duration: Duration,
) -> Outcome<Option<FioSample>> {
    let output = Command::new("fio")
        .args(["--name=floor", "--rw=randread", "--bs=4k", "--direct=1"])
        .args(["--ioengine=psync", "--group_reporting", "--time_based"])
        .args(["--randrepeat=0", "--percentile_list=50:99:99.9"])
        .args(["--output-format=json", "--readonly"])
        .arg(format!("--numjobs={jobs}"))
        .arg(format!("--runtime={}ms", duration.as_millis()))
        .arg(format!("--filename={}", file.display()))
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        output => output?,
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    match parse(&printed) {
        Some(sample) if output.status.success() => Ok(Some(sample)),
        _ => {
            let complaint = String::from_utf8_lossy(&output.stderr);
            Err(format!("fio failed ({}): {}", output.status, complaint.trim()).into())
        }
    }
}

/// The section of reads in fio's JSON. Its first field of a name is the one that counts: `iops`
/// stands before its minimum and mean, and `clat_ns`, a read from its call to its end, holds the
/// first percentiles.
fn parse(json: &str) -> Option<FioSample> {
    let (_, reads) = json.split_once("\"read\" : {")?;
    let (reads, _) = reads.split_once("\"write\" : {")?;
    let (_, latency) = reads.split_once("\"clat_ns\" : {")?;
    let micros = |percentile| Some(number(latency, percentile)? / 1e3);
    Some(FioSample {
        reads_per_s: number(reads, "iops").filter(|&rate| rate > 0.0)?,
        p50_us: micros("50.000000")?,
        p99_us: micros("99.000000")?,
        p999_us: micros("99.900000")?,
    })
}

fn number(json: &str, name: &str) -> Option<f64> {
    let (_, rest) = json.split_once(&format!("\"{name}\" : "))?;
    let end = rest.find([',', '\n', '}'])?;
    rest[..end].trim().parse().ok()
}

#[cfg(test)]
mod tests;
