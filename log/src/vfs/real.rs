//! The operating system behind [`super::Vfs`].
//!
//! Reads and writes go through the page cache (pread, pwrite); `sync_data` is fdatasync,
//! `sync_directory` fsync of the directory, `lock` flock. A kernel that reports a failed writeback
//! reports it once, to the next sync of each handle that was open then: whoever closes a file with
//! unsynced writes and opens it again may never hear of it.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use super::map::RealMap;
use super::published::{FILE_BYTES_MAX, Published};
use super::{File, Lock, Map, SyncSite, Vfs, write_zeros};

/// The file system of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Vfs for RealDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            result => result,
        }
    }

    fn sync_directory(&self, path: &Path, _site: SyncSite) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        fs::File::from(rustix::fs::open(path, flags, Mode::empty())?).sync_all()
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        Ok(Arc::new(RealFile::new(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(RealFile::new(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut options = fs::OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        file.try_lock()?;
        Ok(Box::new(RealLock { _file: file }))
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let status = rustix::fs::statvfs(path)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }
}

#[derive(Debug)]
struct RealFile {
    file: fs::File,
    published: Arc<Published>,
}

impl RealFile {
    fn new(file: fs::File) -> Self {
        Self {
            file,
            published: Arc::default(),
        }
    }
}

impl File for RealFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        // The kernel calls such an offset invalid; it is past the end of every file.
        let end = offset.saturating_add(buffer.len() as u64);
        if end > FILE_BYTES_MAX && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        let _write = self.published.begin_write(offset, buffer.len())?;
        self.file.write_all_at(buffer, offset)
    }

    fn sync_data(&self, _site: SyncSite) -> io::Result<()> {
        self.file.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.published.cut(length, || self.file.set_len(length))
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        if length <= self.length()? {
            return Ok(());
        }
        let flags = FallocateFlags::empty();
        match rustix::fs::fallocate(&self.file, flags, 0, length) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(self, length, |_| {}),
            allocated => Ok(allocated?),
        }
    }

    fn map(&self, range: Range<u64>) -> io::Result<Arc<dyn Map>> {
        Ok(Arc::new(RealMap::new(&self.file, range, &self.published)?))
    }
}

/// The lock goes with the open file.
#[derive(Debug)]
struct RealLock {
    _file: fs::File,
}

impl Lock for RealLock {}

#[cfg(test)]
mod tests;
