//! The check of a store that nobody has open, from the bytes of its directory to the digest of its
//! state.
//!
//! Two looks at the directory, neither of which changes a byte of it:
//!
//! 1. The files of the log, one by one ([`cairn_log::inspect`]), and each record in them. All
//!    damage is told, not only the first.
//! 2. The store, opened over a layer in memory ([`Overlay`]) that takes what an open writes:
//!    recovery after a kill, index files that are made again. The index files are checked as they
//!    stand on the disk. The digest is that of the store as the next open will show it.
//!
//! The second look needs a log that opens. Where one does not, the damage told by the first is why.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_log::vfs::{Overlay, Vfs};
use cairn_log::{Damage, InspectedBatch, inspect};

use crate::digest::StateDigest;
use crate::error::{Error, ErrorKind, Result};
use crate::record::Record;
use crate::status::Verified;
use crate::store::Store;

/// What the check of a directory has read and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// Every place of the log that is damaged: data may be lost there.
    pub damage: Vec<Damage>,
    /// What is whole, and the index files that are damaged, which loses nothing.
    pub verified: Verified,
    /// Number of partitions.
    pub partitions: u16,
    /// Bytes of log that were read.
    pub bytes: u64,
    /// Bytes that a crash left of writes that were under way; the next open drops them. None was
    /// acknowledged as `Local`.
    pub unfinished_bytes: u64,
    /// The hash of everything the store holds, unless damage forbids to read it.
    pub digest: Option<StateDigest>,
}

impl Store {
    /// Checks every byte of the store in a directory that nobody has open, and changes none. `None`
    /// if there is no store in it.
    ///
    /// `progress` is told from time to time how many bytes of log were read, and of how many.
    ///
    /// Cost: two passes over the log, one of which reads live values only. Memory: that of an open
    /// store, and what its open has to write (a run is about 21 B a record).
    ///
    /// # Errors
    ///
    /// `Locked` if the store is open; `InvalidArgument` if the directory is of another format
    /// version; `Io`. Damage is no error.
    pub fn verify_directory(
        path: impl AsRef<Path>,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Option<Verification>> {
        let path = path.as_ref();
        let disk: Arc<dyn Vfs> = Arc::new(Overlay::default());
        let lock_path = path.join("lock");
        let lock = match disk.lock(&lock_path) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return Err(cairn_log::Error::Locked { path: lock_path }.into());
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            lock => lock.map_err(|error| cannot("lock", &lock_path, &error))?,
        };
        let of = log_bytes(disk.as_ref(), path)?;
        let mut verification = Verification::default();
        let mut malformed = Vec::new();
        let mut read = 0;
        let found = inspect(disk.as_ref(), path, &mut |batch| {
            malformed.extend(malformed_records(&batch));
            read += batch.bytes;
            progress(read, of);
        })?;
        let Some(found) = found else {
            return Ok(None);
        };
        verification.partitions = found.partitions;
        verification.bytes = found.bytes;
        verification.unfinished_bytes = found.unfinished_bytes;
        verification.verified.batches = found.batches;
        verification.verified.records = found.records;
        verification.damage = found.damage;
        for (path, position, what) in malformed {
            let damage = Damage::new(path, position, what);
            verification.damage.push(damage);
        }
        drop(lock);
        verification.open(&disk, path)?;
        Ok(Some(verification))
    }
}

impl Verification {
    /// Whether every byte of the log is as it was written. Damaged index files do not count: they
    /// are made again.
    pub fn is_whole(&self) -> bool {
        self.damage.is_empty()
    }

    /// Opens the store over the layer in memory, and reads what it holds.
    fn open(&mut self, disk: &Arc<dyn Vfs>, path: &Path) -> Result<()> {
        let options = Store::options().threads(false).hot_index_bytes(0);
        let store = match options.open_on(Arc::clone(disk), path) {
            Ok(store) => store,
            Err(error) => return self.note(error, path),
        };
        // As the files stood before the open made anew what was of no use.
        let untouched: Arc<dyn Vfs> = Arc::new(Overlay::default());
        for keyspace in store.keyspaces() {
            keyspace.verify_files(&untouched, &mut self.verified)?;
        }
        match store.state_digest() {
            Ok(digest) => self.digest = Some(digest),
            Err(error) => self.note(error, path)?,
        }
        Ok(())
    }

    /// Takes down damage that only an open store shows; it is told already if the files showed it.
    fn note(&mut self, error: Error, path: &Path) -> Result<()> {
        if error.kind() != ErrorKind::Corrupt {
            return Err(error);
        }
        if self.damage.is_empty() {
            let damage = Damage::new(path.to_owned(), 0, error.message().to_owned());
            self.damage.push(damage);
        }
        Ok(())
    }
}

type Malformed = (PathBuf, u64, String);

/// The records of a batch that verify but say nothing that this code could have written.
fn malformed_records(batch: &InspectedBatch<'_>) -> Vec<Malformed> {
    let malformed = batch.records.iter().filter_map(|&(position, payload)| {
        let error = Record::decode(payload).err()?;
        Some((batch.path.to_owned(), position, error.to_string()))
    });
    malformed.collect()
}

/// Bytes of all segment files, roughly what there is to read.
fn log_bytes(disk: &dyn Vfs, directory: &Path) -> Result<u64> {
    let list = |path: &Path| match disk.list(path) {
        // A file beside the partitions.
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Ok(Vec::new()),
        listed => listed.map_err(|error| cannot("list", path, &error)),
    };
    let mut bytes = 0;
    for name in list(directory)? {
        let partition = directory.join(name);
        for name in list(&partition)? {
            if name.ends_with(".seg") {
                let path = partition.join(name);
                let length = disk.open(&path).and_then(|file| file.length());
                bytes += length.map_err(|error| cannot("measure", &path, &error))?;
            }
        }
    }
    Ok(bytes)
}

fn cannot(action: &str, path: &Path, error: &std::io::Error) -> Error {
    let message = format!("cannot {action} {}: {error}", path.display());
    Error::new(ErrorKind::Io, message)
}

#[cfg(test)]
mod tests;
