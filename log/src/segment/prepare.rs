//! Preparing segments ahead of use: a file of synced zeros under a `.spare` name.
//!
//! Appending to pre-written space costs one data sync; appending to a growing or sparse file adds
//! a metadata write to each (measured: 104 us against 180-256 us for 4 KiB). A full disk shows
//! here, before any batch is sequenced, and never under a write.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::segment::spare_name;
use crate::vfs::{File, SyncSite, Vfs};

/// The zeros of a prepared file, before it gets a header.
pub(crate) const SPARE_ZEROS: SyncSite = SyncSite("spare zeros");

/// Zeros are written in pieces of this size. The page cache keeps a file in folios as large as the
/// writes that filled it, and ext4 walks every block of a folio at each write into it: measured on
/// Linux 6.18, a small write cost 1 us more in segments filled by 1 MiB than in those filled by
/// 64 KiB, and smaller pieces gained nothing.
const CHUNK_BYTES: usize = 64 << 10;
static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

/// A file of synced zeros, not yet part of the log. A spare that is found at open is unlinked.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
    pub(crate) file_bytes: u64,
}

impl Spare {
    /// Writes and syncs `file_bytes` of zeros, counting them as they are written; `DiskFull` if
    /// there is no room for them, and then nothing of them stays behind or counted.
    pub(crate) fn prepare(
        vfs: &dyn Vfs,
        directory: &Path,
        serial: u64,
        file_bytes: u64,
        written: &AtomicU64,
    ) -> Result<Spare> {
        let path = directory.join(spare_name(serial));
        // Asked first: filling the rest of a full disk over and over would starve everyone else.
        let free = vfs
            .free_bytes(directory)
            .map_err(|error| Error::io("measure", directory, error))?;
        if free < file_bytes {
            let path = directory.to_owned();
            return Err(Error::DiskFull { path });
        }
        let mut filled = 0;
        let created = vfs.create(&path).and_then(|file| {
            fill(file.as_ref(), file_bytes, |bytes| {
                filled += bytes;
                written.fetch_add(bytes, Ordering::Relaxed);
            })?;
            Ok(file)
        });
        match created {
            Ok(file) => Ok(Spare {
                path,
                file,
                file_bytes,
            }),
            Err(error) => {
                // The space matters more than this removal: a spare is unlinked at open anyway.
                let _ = vfs.remove(&path);
                written.fetch_sub(filled, Ordering::Relaxed);
                Err(Error::io("prepare", &path, error))
            }
        }
    }
}

fn fill(file: &dyn File, file_bytes: u64, mut written: impl FnMut(u64)) -> std::io::Result<()> {
    let mut position = 0;
    while position < file_bytes {
        let bytes = usize::try_from(file_bytes - position)
            .unwrap_or(CHUNK_BYTES)
            .min(CHUNK_BYTES);
        file.write_at(&ZEROS[..bytes], position)?;
        position += bytes as u64;
        written(bytes as u64);
    }
    file.sync_data(SPARE_ZEROS)
}
