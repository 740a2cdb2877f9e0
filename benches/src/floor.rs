//! What the disk itself can do in this run, in the same directory as the stores.
//!
//! - *Append*: one thread writes a record with pwrite and calls fdatasync, over and over, into a
//!   file that was written and synced beforehand, so that no sync pays for new blocks. Measured
//!   with 4 KiB and with the row's own size; a durable put cannot be faster than the better one.
//! - *Group*: the same with the records of `n` writers in one write and one sync. A store with
//!   `n` closed-loop writers cannot commit faster than that, however it groups them.
//! - *Sequential*: many bytes in large writes, then one fdatasync.
//! - *Random reads* are fio's ([`fio`]), which many know and trust.
//!
//! The machine drifts, so a floor is measured before and after each row that is compared with it,
//! and the higher figure counts.

pub(crate) mod fio;

use crate::data::fill_value;
use crate::engines::Outcome;
use crate::measure::Histogram;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) const PAGE_BYTES: usize = 4096;
const APPEND_FILE_BYTES: u64 = 64 << 20;
const PIECE_BYTES: usize = 1 << 20;

/// A pre-written file to append into. Removed when dropped.
pub(crate) struct Floor {
    file: File,
    path: PathBuf,
    file_bytes: u64,
    position: u64,
}

/// One measurement: records made durable a second, and how long each write with its sync took.
#[derive(Clone)]
pub(crate) struct FloorSample {
    pub(crate) records_per_s: f64,
    pub(crate) seconds: f64,
    pub(crate) syncs: u64,
    pub(crate) latency: Histogram,
}

impl FloorSample {
    pub(crate) fn better(self, other: FloorSample) -> FloorSample {
        if other.records_per_s > self.records_per_s {
            other
        } else {
            self
        }
    }
}

impl Floor {
    /// Writes and syncs the file that appends go into.
    pub(crate) fn prepare(directory: &Path) -> Outcome<Floor> {
        Floor::prepare_bytes(directory, APPEND_FILE_BYTES)
    }

    /// The same with a file of so many bytes.
    pub(crate) fn prepare_bytes(directory: &Path, file_bytes: u64) -> Outcome<Floor> {
        fs::create_dir_all(directory)?;
        let path = directory.join("floor");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        let mut floor = Floor {
            file,
            path,
            file_bytes,
            position: 0,
        };
        floor.write_through(file_bytes)?;
        floor.file.sync_all()?;
        Ok(floor)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends groups of `group` records of `record_bytes` for `duration`.
    pub(crate) fn append(
        &mut self,
        record_bytes: usize,
        group: usize,
        duration: Duration,
    ) -> Outcome<FloorSample> {
        let mut bytes = vec![0; record_bytes * group];
        fill_value(0, 0, &mut bytes);
        let mut latency = Histogram::new();
        let mut syncs = 0u64;
        let start = Instant::now();
        let mut last = start;
        while last - start < duration {
            self.write(&bytes)?;
            self.file.sync_data()?;
            let now = Instant::now();
            latency.record(now - last);
            last = now;
            syncs += 1;
        }
        let seconds = (last - start).as_secs_f64();
        Ok(FloorSample {
            records_per_s: syncs as f64 * group as f64 / seconds,
            seconds,
            syncs,
            latency,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Outcome<()> {
        let length = bytes.len() as u64;
        if self.position + length > self.file_bytes {
            self.position = 0;
        }
        self.file.write_all_at(bytes, self.position)?;
        self.position += length;
        Ok(())
    }

    fn write_through(&mut self, bytes: u64) -> Outcome<()> {
        let mut piece = vec![0; PIECE_BYTES];
        fill_value(1, 0, &mut piece);
        let mut left = bytes;
        while left > 0 {
            let next = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            self.write(&piece[..next])?;
            left -= next as u64;
        }
        Ok(())
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // Scratch data: a file that stays behind is found by the next run and overwritten.
        let _ = fs::remove_file(&self.path);
    }
}

/// Seconds to write `bytes` in 1 MiB pieces over a pre-written file and sync it once.
pub(crate) fn sequential_seconds(directory: &Path, bytes: u64) -> Outcome<f64> {
    let mut floor = Floor::prepare_bytes(directory, bytes)?;
    floor.position = 0;
    let start = Instant::now();
    floor.write_through(bytes)?;
    floor.file.sync_data()?;
    Ok(start.elapsed().as_secs_f64())
}
