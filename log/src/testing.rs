//! What the tests of several modules share: a small log on a simulated disk.

#[cfg(target_os = "linux")]
pub(crate) mod faults;

use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::frame::BatchBuffer;
use crate::log::{Log, Options};
use crate::partition::{Appended, Durability};
use crate::vfs::simulated::SimulatedDisk;

pub(crate) const SEGMENT_BYTES: u64 = 64 << 10;

pub(crate) fn options(threads: bool) -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES,
        threads,
        ..Options::default()
    }
}

pub(crate) fn open_on(disk: &SimulatedDisk, threads: bool) -> Result<Log> {
    Log::open(Arc::new(disk.clone()), Path::new("/log"), options(threads))
}

pub(crate) fn append(log: &Log, payload: &[u8], durability: Durability) -> Result<Appended> {
    let partition = &log.partitions()[0];
    let mut batch = BatchBuffer::new();
    batch.record(|out| out.extend_from_slice(payload));
    loop {
        if let Some(appended) = partition.try_append(&batch, 0, durability)? {
            return Ok(appended);
        }
        partition.make_room(batch.byte_len())?;
    }
}
