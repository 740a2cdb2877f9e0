//! The real disk, on which nothing is changed: what is written stands in memory and is gone with
//! the last handle.
//!
//! For looking at a store exactly as an open would find and recover it, without touching a byte of
//! it; it needs no right to write, so a read-only mount does. What it shows is each file of the
//! disk with the 4 KiB pages that were written since in the place of its own, and each directory
//! with the names that were made, moved or removed since.
//!
//! Memory: what was written, in whole pages. Syncs succeed at once, since nothing outlives the
//! process. A [lock](Vfs::lock) is that of the disk, so whoever holds it is met; one whose file
//! does not exist is of this overlay alone.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use super::map::RealMap;
use super::published::Published;
use super::{File, Lock, Map, SyncSite, Vfs};

/// The unit in which changes are kept, in bytes.
const PAGE_BYTES: usize = 4096;
/// What is said to be free, in bytes: memory has no end that could be known in time.
const FREE_BYTES: u64 = 1 << 50;

/// A changeable view of the real disk that changes nothing of it. See the module.
#[derive(Debug, Default)]
pub struct Overlay {
    /// What differs from the disk, and the files of the disk that were opened, by absolute path.
    names: Mutex<Names>,
}

type Names = BTreeMap<PathBuf, Node>;

#[derive(Clone, Debug)]
enum Node {
    Removed,
    Directory,
    File(Arc<Inode>),
}

impl Vfs for Overlay {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let path = std::path::absolute(path)?;
        let mut names = self.names.lock();
        match find(&mut names, &path)? {
            Node::Directory => Ok(()),
            Node::File(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Node::Removed => vacant(&mut names, path, Node::Directory),
        }
    }

    fn sync_directory(&self, path: &Path, _site: SyncSite) -> io::Result<()> {
        is_directory(&mut self.names.lock(), &std::path::absolute(path)?)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let directory = std::path::absolute(directory)?;
        let mut names = self.names.lock();
        is_directory(&mut names, &directory)?;
        let mut listed = BTreeSet::new();
        // One that was made here is not on the disk.
        if !names.contains_key(&directory) {
            for entry in fs::read_dir(&directory)? {
                listed.extend(entry?.file_name().into_string());
            }
        }
        for (path, node) in names.iter() {
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(name) = name.filter(|_| path.parent() == Some(&directory)) else {
                continue;
            };
            match node {
                Node::Removed => listed.remove(name),
                Node::Directory | Node::File(_) => listed.insert(name.to_owned()),
            };
        }
        Ok(listed.into_iter().collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let inode = Arc::<Inode>::default();
        let node = Node::File(Arc::clone(&inode));
        vacant(&mut self.names.lock(), std::path::absolute(path)?, node)?;
        Ok(Arc::new(OverlayFile::new(inode)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let inode = file_at(&mut self.names.lock(), &std::path::absolute(path)?)?;
        Ok(Arc::new(OverlayFile::new(inode)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (std::path::absolute(from)?, std::path::absolute(to)?);
        let mut names = self.names.lock();
        let moved = file_at(&mut names, &from)?;
        is_directory(&mut names, parent(&to)?)?;
        match find(&mut names, &to)? {
            Node::Directory => return Err(io::ErrorKind::IsADirectory.into()),
            Node::File(replaced) if Arc::ptr_eq(&replaced, &moved) => return Ok(()),
            Node::File(_) | Node::Removed => {}
        }
        names.insert(from, Node::Removed);
        names.insert(to, Node::File(moved));
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut names = self.names.lock();
        let inode = file_at(&mut names, &std::path::absolute(from)?)?;
        vacant(&mut names, std::path::absolute(to)?, Node::File(inode))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let path = std::path::absolute(path)?;
        let mut names = self.names.lock();
        file_at(&mut names, &path)?;
        names.insert(path, Node::Removed);
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let path = std::path::absolute(path)?;
        let mut names = self.names.lock();
        if matches!(find(&mut names, &path)?, Node::Removed) {
            vacant(&mut names, path.clone(), Node::File(Arc::default()))?;
        }
        let inode = file_at(&mut names, &path)?;
        // A handle of its own, which lets go of the lock when it is closed.
        let file = match inode.lower {
            Some(_) => Some(fs::File::open(&path)?),
            None => None,
        };
        if let Some(file) = &file {
            file.try_lock()?;
        }
        if inode.is_locked.swap(true, Ordering::Acquire) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(OverlayLock { inode, _file: file }))
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        match find(&mut self.names.lock(), &std::path::absolute(path)?)? {
            Node::Removed => Err(io::ErrorKind::NotFound.into()),
            Node::Directory | Node::File(_) => Ok(FREE_BYTES),
        }
    }
}

/// What stands under an absolute path. A file of the disk is opened when it is first met, so that
/// all who open it share what they write.
fn find(names: &mut Names, path: &Path) -> io::Result<Node> {
    if let Some(node) = names.get(path) {
        return Ok(node.clone());
    }
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Node::Removed),
        // Whoever asks goes on to find that the parent is none.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(Node::Removed),
        metadata => metadata?,
    };
    if metadata.is_dir() {
        return Ok(Node::Directory);
    }
    let node = Node::File(Arc::new(Inode::of(fs::File::open(path)?)?));
    names.insert(path.to_owned(), node.clone());
    Ok(node)
}

fn file_at(names: &mut Names, path: &Path) -> io::Result<Arc<Inode>> {
    match find(names, path)? {
        Node::File(inode) => Ok(inode),
        Node::Directory => Err(io::ErrorKind::IsADirectory.into()),
        Node::Removed => {
            is_directory(names, parent(path)?)?;
            Err(missing(path))
        }
    }
}

fn is_directory(names: &mut Names, path: &Path) -> io::Result<()> {
    match find(names, path)? {
        Node::Directory => Ok(()),
        Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        Node::Removed => Err(missing(path)),
    }
}

fn parent(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or(io::ErrorKind::InvalidInput.into())
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, path.display().to_string())
}

/// Puts a node where none is, in a directory that exists.
fn vacant(names: &mut Names, path: PathBuf, node: Node) -> io::Result<()> {
    is_directory(names, parent(&path)?)?;
    match find(names, &path)? {
        Node::Removed => {
            names.insert(path, node);
            Ok(())
        }
        Node::Directory | Node::File(_) => Err(io::ErrorKind::AlreadyExists.into()),
    }
}

/// A file: of the disk, or made here.
#[derive(Debug, Default)]
struct Inode {
    lower: Option<fs::File>,
    content: RwLock<Content>,
    is_locked: AtomicBool,
}

#[derive(Debug, Default)]
struct Content {
    length: u64,
    /// The file of the disk shows up to here, where no page stands; behind it are zeros.
    lower_end: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE_BYTES]>>,
}

impl Inode {
    fn of(lower: fs::File) -> io::Result<Inode> {
        let length = lower.metadata()?.len();
        let content = Content {
            length,
            lower_end: length,
            pages: BTreeMap::new(),
        };
        Ok(Inode {
            lower: Some(lower),
            content: RwLock::new(content),
            is_locked: AtomicBool::default(),
        })
    }

    /// Fills the buffer, which ends within the file.
    fn read(&self, content: &Content, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            let (page, within, length) = split(offset, buffer.len());
            let (part, rest) = buffer.split_at_mut(length);
            match content.pages.get(&page) {
                Some(page) => part.copy_from_slice(&page[within..within + length]),
                None => self.read_lower(content, part, offset)?,
            }
            (buffer, offset) = (rest, offset + length as u64);
        }
        Ok(())
    }

    fn read_lower(&self, content: &Content, part: &mut [u8], offset: u64) -> io::Result<()> {
        let shown = content.lower_end.saturating_sub(offset);
        let shown = usize::try_from(shown).unwrap_or(usize::MAX).min(part.len());
        let (shown, blank) = part.split_at_mut(shown);
        blank.fill(0);
        match &self.lower {
            Some(lower) if !shown.is_empty() => lower.read_exact_at(shown, offset),
            _ => Ok(()),
        }
    }

    fn write(&self, mut buffer: &[u8], mut offset: u64) -> io::Result<()> {
        let mut content = self.content.write();
        while !buffer.is_empty() {
            let (number, within, length) = split(offset, buffer.len());
            let (part, rest) = buffer.split_at(length);
            let mut page = match content.pages.remove(&number) {
                Some(page) => page,
                None => {
                    let mut page = Box::new([0; PAGE_BYTES]);
                    self.read_lower(&content, &mut page[..], number * PAGE_BYTES as u64)?;
                    page
                }
            };
            page[within..within + length].copy_from_slice(part);
            content.pages.insert(number, page);
            (buffer, offset) = (rest, offset + length as u64);
            content.length = content.length.max(offset);
        }
        Ok(())
    }

    fn set_length(&self, length: u64) {
        let mut content = self.content.write();
        if length < content.length {
            content.lower_end = content.lower_end.min(length);
            content.pages.split_off(&length.div_ceil(PAGE_BYTES as u64));
            let (last, within, _) = split(length, 0);
            if let Some(page) = content.pages.get_mut(&last) {
                page[within..].fill(0);
            }
        }
        content.length = length;
    }
}

/// The page of an offset, the place in it, and how much of `length` lies in it.
fn split(offset: u64, length: usize) -> (u64, usize, usize) {
    let page_bytes = PAGE_BYTES as u64;
    let within = usize::try_from(offset % page_bytes).unwrap_or(0);
    (offset / page_bytes, within, length.min(PAGE_BYTES - within))
}

#[derive(Debug)]
struct OverlayFile {
    inode: Arc<Inode>,
    published: Arc<Published>,
}

impl OverlayFile {
    fn new(inode: Arc<Inode>) -> OverlayFile {
        OverlayFile {
            inode,
            published: Arc::default(),
        }
    }
}

impl File for OverlayFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let content = self.inode.content.read();
        let end = offset.saturating_add(buffer.len() as u64);
        if end > content.length && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.inode.read(&content, buffer, offset)
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        let _write = self.published.begin_write(offset, buffer.len())?;
        self.inode.write(buffer, offset)
    }

    fn sync_data(&self, _site: SyncSite) -> io::Result<()> {
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.inode.content.read().length)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.published.cut(length, || {
            self.inode.set_length(length);
            Ok(())
        })
    }

    fn map(&self, range: Range<u64>) -> io::Result<Arc<dyn Map>> {
        let lower = self.published.map(range.clone(), || {
            let content = self.inode.content.read();
            if range.end > content.length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match &self.inode.lower {
                Some(lower) if range.end <= content.lower_end => {
                    RealMap::new(lower, range.clone(), &Arc::default()).map(Some)
                }
                _ => Ok(None),
            }
        })?;
        Ok(Arc::new(OverlayMap {
            inode: Arc::clone(&self.inode),
            published: Arc::clone(&self.published),
            start: range.start,
            lower,
        }))
    }
}

/// Borrows from the disk what was not written here, and copies the rest.
#[derive(Debug)]
struct OverlayMap {
    inode: Arc<Inode>,
    published: Arc<Published>,
    start: u64,
    lower: Option<RealMap>,
}

impl Map for OverlayMap {
    fn publish(&self, end: u64) {
        self.published.publish(end);
        if let Some(lower) = &self.lower {
            // Nobody changes the file of the disk, so all of it may be read.
            lower.publish(end);
        }
    }

    fn bytes(&self, range: Range<u64>) -> Option<Cow<'_, [u8]>> {
        if !self.published.covers(self.start, &range) {
            return None;
        }
        let content = self.inode.content.read();
        let pages = range.start / PAGE_BYTES as u64..range.end.div_ceil(PAGE_BYTES as u64);
        let is_untouched = range.end <= content.lower_end
            && (pages.is_empty() || content.pages.range(pages).next().is_none());
        if let Some(lower) = &self.lower
            && is_untouched
        {
            return lower.bytes(range);
        }
        let mut bytes = vec![0; usize::try_from(range.end - range.start).ok()?];
        self.inode.read(&content, &mut bytes, range.start).ok()?;
        Some(Cow::Owned(bytes))
    }

    fn will_need(&self, range: Range<u64>) {
        if let Some(lower) = &self.lower {
            lower.will_need(range);
        }
    }

    fn expect_random_reads(&self) {
        if let Some(lower) = &self.lower {
            lower.expect_random_reads();
        }
    }
}

/// Lets go when it is dropped.
#[derive(Debug)]
struct OverlayLock {
    inode: Arc<Inode>,
    _file: Option<fs::File>,
}

impl Drop for OverlayLock {
    fn drop(&mut self) {
        self.inode.is_locked.store(false, Ordering::Release);
    }
}

impl Lock for OverlayLock {}

#[cfg(test)]
mod tests;
