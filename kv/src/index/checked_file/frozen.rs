//! A second look at a checked file, as it was at one moment: what is written stays in memory.
//!
//! redb stops to read a file once any write or sync of it has failed. But the pages of its last
//! commit are all there and never written to, so a database over this goes on reading them.

use std::collections::BTreeMap;
use std::io;

use parking_lot::Mutex;
use redb::StorageBackend;

use super::{CheckedFile, HEADER_BYTES_MAX, PAGE_BYTES};

/// The file as it was when it was frozen, as far as the commit goes that was in force then: other
/// pages may have changed since.
#[derive(Clone, Debug)]
pub(crate) struct Frozen {
    file: CheckedFile,
    header: [u8; HEADER_BYTES_MAX],
    length: u64,
}

impl Frozen {
    /// Freezes the file at its present header. One read.
    pub(crate) fn of(file: &CheckedFile) -> io::Result<Frozen> {
        let mut header = [0; HEADER_BYTES_MAX];
        file.read(0, &mut header)?;
        Ok(Frozen {
            file: file.clone(),
            header,
            length: file.length(),
        })
    }

    /// The storage of a database of its own. Its writes are kept in memory and lost with it.
    pub(crate) fn storage(&self) -> impl StorageBackend + use<> {
        let header = self.header.to_vec();
        FrozenStorage {
            file: self.file.clone(),
            changes: Mutex::new(Changes {
                length: self.length,
                written: BTreeMap::from([(0, header)]),
            }),
        }
    }
}

#[derive(Debug)]
struct FrozenStorage {
    file: CheckedFile,
    changes: Mutex<Changes>,
}

#[derive(Debug)]
struct Changes {
    length: u64,
    /// By offset. Of page 0 its header only, of others the whole page.
    written: BTreeMap<u64, Vec<u8>>,
}

impl StorageBackend for FrozenStorage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changes.lock().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset == 0 {
            let changes = self.changes.lock();
            let header = changes.written.get(&0).ok_or(io::ErrorKind::NotFound)?;
            let header = header.get(..out.len()).ok_or(io::ErrorKind::InvalidInput)?;
            out.copy_from_slice(header);
            return Ok(());
        }
        for (offset, page) in pages(offset).zip(out.chunks_mut(PAGE_BYTES)) {
            let written = self.changes.lock().written.get(&offset).cloned();
            match written {
                Some(written) if written.len() == page.len() => page.copy_from_slice(&written),
                Some(_) => return Err(io::ErrorKind::InvalidInput.into()),
                None => self.file.read(offset, page)?,
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.changes.lock().length = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changes = self.changes.lock();
        if offset == 0 {
            let header = changes.written.entry(0).or_default();
            let kept = header
                .get_mut(..data.len())
                .ok_or(io::ErrorKind::InvalidInput)?;
            kept.copy_from_slice(data);
            return Ok(());
        }
        for (offset, page) in pages(offset).zip(data.chunks(PAGE_BYTES)) {
            changes.written.insert(offset, page.to_vec());
        }
        Ok(())
    }
}

fn pages(offset: u64) -> impl Iterator<Item = u64> {
    (offset..).step_by(PAGE_BYTES)
}
