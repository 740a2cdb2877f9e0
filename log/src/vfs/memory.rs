//! A disk that lives as long as the process: files in memory behind [`super::Vfs`].
//!
//! For stores that are meant to be forgotten. Syncs succeed at once, since nothing outlives the
//! process. A file is made of 64 KiB chunks; one that holds only zeros is not stored. Reads of a
//! file run in parallel, writes one at a time.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use super::plain::plain;
use super::published::Published;
use super::{File, Lock, Map, SyncSite, Vfs};

/// The unit in which memory is taken, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;
/// What is said to be free, in bytes: memory has no end that could be known in time.
const FREE_BYTES: u64 = 1 << 50;

/// A file system in memory. A clone is another handle on the same one; it is gone with the last.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    names: Arc<Mutex<BTreeMap<PathBuf, Node>>>,
}

#[derive(Clone)]
enum Node {
    Directory,
    File(Arc<Inode>),
}

#[derive(Default)]
struct Inode {
    content: RwLock<Content>,
    is_locked: AtomicBool,
}

type Names = BTreeMap<PathBuf, Node>;

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MemoryDisk").finish_non_exhaustive()
    }
}

impl Vfs for MemoryDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let path = plain(path)?;
        let mut names = self.names.lock();
        if is_directory(&names, &path).is_ok() {
            return Ok(());
        }
        vacant(&mut names, path, || Node::Directory)
    }

    fn sync_directory(&self, path: &Path, _site: SyncSite) -> io::Result<()> {
        is_directory(&self.names.lock(), &plain(path)?)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let directory = plain(directory)?;
        let names = self.names.lock();
        is_directory(&names, &directory)?;
        let inside = names
            .keys()
            .filter(|path| path.parent() == Some(&directory));
        Ok(inside
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let inode = Arc::<Inode>::default();
        vacant(&mut self.names.lock(), plain(path)?, || {
            Node::File(Arc::clone(&inode))
        })?;
        Ok(Arc::new(MemoryFile {
            inode,
            published: Arc::default(),
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let inode = file_at(&self.names.lock(), &plain(path)?)?;
        Ok(Arc::new(MemoryFile {
            inode,
            published: Arc::default(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (plain(from)?, plain(to)?);
        let mut names = self.names.lock();
        let moved = file_at(&names, &from)?;
        directory_of(&names, &to)?;
        match names.get(&to) {
            Some(Node::Directory) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(Node::File(replaced)) if Arc::ptr_eq(replaced, &moved) => return Ok(()),
            _ => {}
        }
        names.remove(&from);
        names.insert(to, Node::File(moved));
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut names = self.names.lock();
        let inode = file_at(&names, &plain(from)?)?;
        vacant(&mut names, plain(to)?, || Node::File(inode))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let path = plain(path)?;
        let mut names = self.names.lock();
        file_at(&names, &path)?;
        names.remove(&path);
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let path = plain(path)?;
        let mut names = self.names.lock();
        if !names.contains_key(&path) {
            vacant(&mut names, path.clone(), || Node::File(Arc::default()))?;
        }
        let inode = file_at(&names, &path)?;
        if inode.is_locked.swap(true, Ordering::Acquire) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemoryLock { inode }))
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        find(&self.names.lock(), &plain(path)?)?;
        Ok(FREE_BYTES)
    }
}

fn find(names: &Names, path: &Path) -> io::Result<Node> {
    if path.as_os_str().is_empty() {
        return Ok(Node::Directory);
    }
    let missing = || io::Error::new(io::ErrorKind::NotFound, path.display().to_string());
    names.get(path).cloned().ok_or_else(missing)
}

fn file_at(names: &Names, path: &Path) -> io::Result<Arc<Inode>> {
    match find(names, path)? {
        Node::File(inode) => Ok(inode),
        Node::Directory => Err(io::ErrorKind::IsADirectory.into()),
    }
}

fn is_directory(names: &Names, path: &Path) -> io::Result<()> {
    match find(names, path)? {
        Node::Directory => Ok(()),
        Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
    }
}

fn directory_of(names: &Names, path: &Path) -> io::Result<()> {
    is_directory(names, path.parent().ok_or(io::ErrorKind::InvalidInput)?)
}

/// Puts a node where none is, in a directory that exists.
fn vacant(names: &mut Names, path: PathBuf, node: impl FnOnce() -> Node) -> io::Result<()> {
    directory_of(names, &path)?;
    match names.entry(path) {
        Entry::Occupied(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Entry::Vacant(entry) => {
            entry.insert(node());
            Ok(())
        }
    }
}

struct MemoryFile {
    inode: Arc<Inode>,
    published: Arc<Published>,
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MemoryFile").finish_non_exhaustive()
    }
}

impl File for MemoryFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let content = self.inode.content.read();
        let end = offset.saturating_add(buffer.len() as u64);
        if end > content.length && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        content.read(buffer, offset);
        Ok(())
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        let _write = self.published.begin_write(offset, buffer.len())?;
        self.inode.content.write().write(buffer, offset);
        Ok(())
    }

    fn sync_data(&self, _site: SyncSite) -> io::Result<()> {
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.inode.content.read().length)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.published.cut(length, || {
            self.inode.content.write().set_length(length);
            Ok(())
        })
    }

    fn map(&self, range: Range<u64>) -> io::Result<Arc<dyn Map>> {
        self.published.map(range.clone(), || {
            if range.end > self.inode.content.read().length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(Arc::new(MemoryMap {
                inode: Arc::clone(&self.inode),
                published: Arc::clone(&self.published),
                start: range.start,
            }) as Arc<dyn Map>)
        })
    }
}

struct MemoryMap {
    inode: Arc<Inode>,
    published: Arc<Published>,
    start: u64,
}

impl fmt::Debug for MemoryMap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MemoryMap").finish_non_exhaustive()
    }
}

impl Map for MemoryMap {
    fn publish(&self, end: u64) {
        self.published.publish(end);
    }

    fn bytes(&self, range: Range<u64>) -> Option<Cow<'_, [u8]>> {
        if !self.published.covers(self.start, &range) {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(range.end - range.start).ok()?];
        self.inode.content.read().read(&mut bytes, range.start);
        Some(Cow::Owned(bytes))
    }
}

struct MemoryLock {
    inode: Arc<Inode>,
}

impl fmt::Debug for MemoryLock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MemoryLock").finish_non_exhaustive()
    }
}

impl Lock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.inode.is_locked.store(false, Ordering::Release);
    }
}

/// Invariant: bytes of a chunk past the length are zero; a chunk that is not there is zeros.
#[derive(Default)]
struct Content {
    length: u64,
    chunks: BTreeMap<u64, Box<[u8]>>,
}

impl Content {
    /// Fills the buffer; what lies past the length reads as zeros.
    fn read(&self, buffer: &mut [u8], offset: u64) {
        let mut rest = buffer;
        let mut at = offset;
        while !rest.is_empty() {
            let within = within_chunk(at);
            let (piece, after) = rest.split_at_mut(rest.len().min(CHUNK_BYTES - within));
            match self.chunks.get(&(at / CHUNK_BYTES as u64)) {
                Some(chunk) => piece.copy_from_slice(&chunk[within..within + piece.len()]),
                None => piece.fill(0),
            }
            at += piece.len() as u64;
            rest = after;
        }
    }

    fn write(&mut self, buffer: &[u8], offset: u64) {
        let mut rest = buffer;
        let mut at = offset;
        while !rest.is_empty() {
            let within = within_chunk(at);
            let (piece, after) = rest.split_at(rest.len().min(CHUNK_BYTES - within));
            self.write_chunk(at / CHUNK_BYTES as u64, within, piece);
            at += piece.len() as u64;
            rest = after;
        }
        if !buffer.is_empty() {
            self.length = self.length.max(at);
        }
    }

    fn write_chunk(&mut self, chunk: u64, within: usize, bytes: &[u8]) {
        let only_zeros = bytes.iter().all(|byte| *byte == 0);
        match self.chunks.entry(chunk) {
            Entry::Vacant(_) if only_zeros => {}
            Entry::Occupied(entry) if only_zeros && bytes.len() == CHUNK_BYTES => {
                entry.remove();
            }
            entry => {
                let chunk = entry.or_insert_with(|| vec![0; CHUNK_BYTES].into_boxed_slice());
                chunk[within..within + bytes.len()].copy_from_slice(bytes);
            }
        }
    }

    fn set_length(&mut self, length: u64) {
        self.length = length;
        self.chunks.split_off(&length.div_ceil(CHUNK_BYTES as u64));
        if let Some(last) = self.chunks.get_mut(&(length / CHUNK_BYTES as u64)) {
            last[within_chunk(length)..].fill(0);
        }
    }
}

fn within_chunk(offset: u64) -> usize {
    usize::try_from(offset % CHUNK_BYTES as u64).expect("less than a chunk")
}

#[cfg(test)]
mod tests;
