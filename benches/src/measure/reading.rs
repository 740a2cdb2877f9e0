//! What this process has read from the device so far.

use super::field;
use std::fs;
use std::io;

/// Counters of reads that no page cache answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadCounters {
    /// What this process caused to be fetched from the block layer, readahead included.
    pub(crate) bytes_read: u64,
    /// Faults of memory maps that waited for the disk.
    pub(crate) major_faults: u64,
}

impl ReadCounters {
    pub(crate) fn read() -> io::Result<ReadCounters> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        let missing = || io::Error::other("no major faults in the kernel's answer");
        Ok(ReadCounters {
            bytes_read: field(&fs::read_to_string("/proc/self/io")?, "read_bytes:")?,
            major_faults: major_faults(&stat).ok_or_else(missing)?,
        })
    }

    pub(crate) fn since(self, earlier: ReadCounters) -> ReadCounters {
        ReadCounters {
            bytes_read: self.bytes_read.saturating_sub(earlier.bytes_read),
            major_faults: self.major_faults.saturating_sub(earlier.major_faults),
        }
    }
}

/// Field 12, counted from behind the name, which may hold anything.
fn major_faults(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(9)?.parse().ok()
}

#[cfg(test)]
mod tests;
