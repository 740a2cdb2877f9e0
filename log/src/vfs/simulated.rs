//! A disk in memory that crashes, tears, forgets, lies and fills up on request.
//!
//! # What it models
//!
//! * The page cache and the disk apart: a write changes the cache at once; [`File::sync_data`]
//!   moves it to the disk. In between, the disk remembers every state that each 512-byte sector
//!   and the length have had, and [`SimulatedDisk::power_loss`] finds any of them or the old one,
//!   each on its own.
//! * Names apart from files: each create, rename, link and removal that no directory sync covers
//!   is kept or lost on its own. A rename moves a file's one name, so the file is found under the
//!   old or the new name, never both and never neither. A rename between directories is made
//!   durable by a sync of the new one. Directories are names too, and take what is inside with
//!   them. A name that is kept leads to whatever sectors and length of its file survived.
//! * Failed syncs as Linux has them ("fsyncgate"): the page cache goes on showing the new bytes,
//!   but considers them clean; some reached the disk, and later syncs don't write the others.
//! * Disks that lie: a sync that answers `Ok` and does nothing.
//! * Space: a file takes 4 KiB for each page that was written, with zeros too; holes are free.
//!
//! A clone is another handle on the same disk. [`SimulatedDisk::fork`], `process_death` and
//! `power_loss` make disks of their own, which start with no open handle, no lock, no fault set,
//! and all counters at zero; the capacity stays.
//!
//! Everything is decided by seeds: the same calls from one thread give the same disk.
//!
//! It panics when a published byte ([`Map::publish`]) is about to change by a way that the handle
//! which published it can't see: that is a bug in the caller.

mod content;
mod inode;
mod names;
mod random;
mod survival;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use self::content::{Content, PAGE_BYTES};
use self::inode::Inode;
use self::names::{Names, Node};
pub use self::random::Random;
pub use self::survival::Survival;
use self::survival::Survivor;
use super::plain::plain;
use super::published::Published;
use super::{File, Lock, Map, SECTOR_BYTES, SyncSite, Vfs};

/// The capacity of a disk that was given none, in bytes.
pub const CAPACITY_BYTES_DEFAULT: u64 = 1 << 50;

/// A simulated disk. See the module for what it models.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    names: Names,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    locked: BTreeSet<u64>,
    capacity_bytes: u64,
    random: Random,
    faults: Faults,
    counts: Counts,
    sync_sites: BTreeMap<SyncSite, u64>,
}

#[derive(Default)]
struct Faults {
    crash_at: Option<u64>,
    crashed: bool,
    syncs: BTreeSet<u64>,
    writes: BTreeSet<u64>,
    reads: BTreeSet<u64>,
    ignored_sites: BTreeSet<SyncSite>,
    ignores_all_syncs: bool,
}

/// What a disk has been asked to do since it was made, calls that failed included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of [`Vfs`] and [`File`]. Reads of a map are none.
    pub calls: u64,
    /// Calls of [`File::read_exact_at`].
    pub reads: u64,
    /// Calls of [`File::write_at`].
    pub writes: u64,
    /// Bytes that reached the page cache.
    pub bytes_written: u64,
    /// Calls of [`File::sync_data`] and [`Vfs::sync_directory`].
    pub syncs: u64,
}

/// The error of every call from the simulated crash on; see [`is_crash`].
#[derive(Debug)]
struct Crash;

impl fmt::Display for Crash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("simulated crash")
    }
}

impl std::error::Error for Crash {}

/// Whether an error comes from [`SimulatedDisk::crash_at`].
pub fn is_crash(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Crash>())
}

impl SimulatedDisk {
    /// An empty disk; the seed decides what a crashing or failing call has done.
    pub fn new(seed: u64) -> Self {
        Self::from_state(State::new(seed))
    }

    fn from_state(state: State) -> Self {
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }
}

/// Other disks made from this one.
impl SimulatedDisk {
    /// A disk of its own in the same state: names, files, and what of them is not synced.
    /// Cheap: contents are shared until one of the two changes them.
    pub fn fork(&self) -> Self {
        let state = self.state.lock();
        let inodes = state.inodes.iter().map(|(id, inode)| (*id, inode.closed()));
        let mut forked = State {
            names: state.names.clone(),
            inodes: inodes.collect(),
            next_inode: state.next_inode,
            capacity_bytes: state.capacity_bytes,
            ..State::new(0)
        };
        forked.random = state.random.clone();
        forked.forget_lost_inodes();
        Self::from_state(forked)
    }

    /// The disk as the next process finds it after a kill: everything written is there, and what
    /// was not synced still is not.
    pub fn process_death(&self) -> Self {
        self.fork()
    }

    /// The disk as it is found after the power went: all of it durable.
    pub fn power_loss(&self, survival: Survival) -> Self {
        let state = self.state.lock();
        let mut survivor = Survivor::new(survival);
        let names = state.names.after_power_loss(&mut survivor);
        let mut found = State {
            capacity_bytes: state.capacity_bytes,
            ..State::new(0)
        };
        found.random = state.random.clone();
        found.next_inode = state.next_inode;
        for path in names.files() {
            let Some(Node::File(id)) = names.find(&path) else {
                continue;
            };
            let inode = found.inodes.entry(id).or_insert_with(|| {
                Inode::settled(state.inodes[&id].after_power_loss(&mut survivor), 0)
            });
            inode.links += 1;
        }
        found.names = names;
        Self::from_state(found)
    }
}

/// Faults. Numbers count from 1 and from the making of this disk: to fail the next sync, ask for
/// `counts().syncs + 1`.
impl SimulatedDisk {
    /// Replaces the seed.
    pub fn reseed(&self, seed: u64) {
        self.state.lock().random = Random::new(seed);
    }

    /// From this call of [`Vfs`] or [`File`] on, every call fails ([`is_crash`]). The seed decides
    /// whether the crashing call itself is done or not; a write may be done in part.
    pub fn crash_at(&self, call: u64) {
        self.state.lock().faults.crash_at = Some(call);
    }

    /// Whether the crash has happened.
    pub fn has_crashed(&self) -> bool {
        self.state.lock().faults.crashed
    }

    /// The n-th sync of a file or directory fails with EIO, and what it was asked to sync counts
    /// as clean; the seed decides what of it reached the disk.
    pub fn fail_sync(&self, nth: u64) {
        self.state.lock().faults.syncs.insert(nth);
    }

    /// The n-th write fails with EIO; the seed decides how much of it, from the front, was done.
    pub fn fail_write(&self, nth: u64) {
        self.state.lock().faults.writes.insert(nth);
    }

    /// The n-th read fails with EIO.
    pub fn fail_read(&self, nth: u64) {
        self.state.lock().faults.reads.insert(nth);
    }

    /// From now on syncs from this site answer `Ok` and do nothing.
    pub fn ignore_sync(&self, site: SyncSite) {
        self.state.lock().faults.ignored_sites.insert(site);
    }

    /// While on, every sync answers `Ok` and does nothing.
    pub fn lie(&self, on: bool) {
        self.state.lock().faults.ignores_all_syncs = on;
    }

    /// The size of the disk. Writes and creates that need more fail with `StorageFull`; a write
    /// has then written what fitted.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().capacity_bytes = bytes;
    }
}

/// What happened so far.
impl SimulatedDisk {
    /// The number of calls of [`Vfs`] and [`File`] so far.
    pub fn calls(&self) -> u64 {
        self.counts().calls
    }

    /// Every counter.
    pub fn counts(&self) -> Counts {
        self.state.lock().counts
    }

    /// The sites that asked for a sync, and how often each did.
    pub fn sync_sites(&self) -> BTreeMap<SyncSite, u64> {
        self.state.lock().sync_sites.clone()
    }
}

/// Looking at files and damaging them behind the store's back. Nothing here counts as a call,
/// fails or crashes. An edit is in the page cache and on the disk at once, and makes everything
/// else of that file durable too. All panic if there is no such file.
impl SimulatedDisk {
    /// The paths of all files, in order, relative to the root.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state.lock().names.files()
    }

    /// The length of a file, in bytes.
    pub fn length(&self, path: impl AsRef<Path>) -> u64 {
        self.content(path.as_ref()).length()
    }

    /// The bytes of a file as the page cache shows them.
    pub fn read(&self, path: impl AsRef<Path>) -> Vec<u8> {
        let content = self.content(path.as_ref());
        let length = usize::try_from(content.length()).expect("a file that fits in memory");
        let mut bytes = vec![0; length];
        content.read(&mut bytes, 0);
        bytes
    }

    /// Replaces a file, or makes one; its directory exists.
    pub fn write(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let path = plain(path.as_ref()).expect("a plain path");
        let mut state = self.state.lock();
        if state.names.find(&path).is_none() {
            state.directory_of(&path).expect("a directory for the file");
            let id = state.new_inode();
            state.names.add_durable(&path, Node::File(id));
            state.inode(id).expect("the new inode").links += 1;
        }
        state.edit(&path, |content| {
            content.set_length(0);
            write_content(content, bytes, 0);
        });
    }

    /// Replaces bytes of a file, growing it if needed.
    pub fn overwrite(&self, path: impl AsRef<Path>, bytes: &[u8], offset: u64) {
        self.state.lock().edit(path.as_ref(), |content| {
            write_content(content, bytes, offset)
        });
    }

    /// Flips one bit (0 to 7) of a byte that the file has.
    pub fn flip_bit(&self, path: impl AsRef<Path>, offset: u64, bit: u32) {
        self.state.lock().edit(path.as_ref(), |content| {
            assert!(offset < content.length(), "offset {offset} is past the end");
            let mut byte = [0];
            content.read(&mut byte, offset);
            write_content(content, &[byte[0] ^ (1 << bit)], offset);
        });
    }

    /// Cuts or grows a file.
    pub fn truncate(&self, path: impl AsRef<Path>, length: u64) {
        self.state
            .lock()
            .edit(path.as_ref(), |content| content.set_length(length));
    }

    /// Copies bytes of one file over those of another or the same one, as a misdirected write does.
    pub fn copy_block(
        &self,
        from: impl AsRef<Path>,
        range: Range<u64>,
        to: impl AsRef<Path>,
        offset: u64,
    ) {
        let length = usize::try_from(range.end - range.start).expect("a block that fits in memory");
        let mut bytes = vec![0; length];
        self.content(from.as_ref()).read(&mut bytes, range.start);
        self.overwrite(to, &bytes, offset);
    }

    /// Removes a file's name at once and for good.
    pub fn erase(&self, path: impl AsRef<Path>) {
        let path = plain(path.as_ref()).expect("a plain path");
        let mut state = self.state.lock();
        let id = state.file_at(&path).expect("a file");
        state.names.remove_durable(&path);
        state.unlinked(id);
    }

    fn content(&self, path: &Path) -> Content {
        let state = self.state.lock();
        let id = plain(path)
            .and_then(|path| state.file_at(&path))
            .expect("a file");
        state.inodes[&id].cached.clone()
    }
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SimulatedDisk")
            .finish_non_exhaustive()
    }
}

impl Vfs for SimulatedDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.call(|state| {
            let path = plain(path)?;
            match state.names.find(&path) {
                Some(Node::Directory) => Ok(()),
                Some(Node::File(_)) => Err(io::ErrorKind::AlreadyExists.into()),
                None => {
                    state.directory_of(&path)?;
                    state.needs_room()?;
                    state.names.add(&path, Node::Directory);
                    Ok(())
                }
            }
        })
    }

    fn sync_directory(&self, path: &Path, site: SyncSite) -> io::Result<()> {
        self.call(|state| {
            let path = plain(path)?;
            state.is_directory(&path)?;
            match state.begin_sync(site) {
                SyncFate::Ignored => return Ok(()),
                SyncFate::Done => state.names.sync(&path),
                SyncFate::Failed => {
                    let mut survivor = state.random_survivor();
                    state.names.fail_sync(&path, &mut survivor);
                    return Err(input_output_error());
                }
            }
            state.forget_lost_inodes();
            Ok(())
        })
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.call(|state| {
            let directory = plain(directory)?;
            state.is_directory(&directory)?;
            Ok(state.names.list(&directory))
        })
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let id = self.call(|state| {
            let id = state.create_file(&plain(path)?)?;
            self.hold(state, id)
        })?;
        Ok(Arc::new(SimulatedFile::new(id)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let held = self.call(|state| {
            let id = state.file_at(&plain(path)?)?;
            self.hold(state, id)
        })?;
        Ok(Arc::new(SimulatedFile::new(held)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(|state| {
            let (from, to) = (plain(from)?, plain(to)?);
            let moved = state.file_at(&from)?;
            state.directory_of(&to)?;
            let replaced = match state.names.find(&to) {
                Some(Node::Directory) => return Err(io::ErrorKind::IsADirectory.into()),
                Some(Node::File(id)) if id == moved => return Ok(()),
                Some(Node::File(id)) => Some(id),
                None => None,
            };
            state.names.rename(&from, &to);
            replaced.into_iter().for_each(|id| state.unlinked(id));
            Ok(())
        })
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(|state| {
            let (from, to) = (plain(from)?, plain(to)?);
            let id = state.file_at(&from)?;
            state.add_name(&to, id)
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(|state| {
            let path = plain(path)?;
            let id = state.file_at(&path)?;
            state.names.remove(&path);
            state.unlinked(id);
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let inode = self.call(|state| {
            let path = plain(path)?;
            let id = match state.names.find(&path) {
                None => state.create_file(&path)?,
                Some(_) => state.file_at(&path)?,
            };
            if !state.locked.insert(id) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.hold(state, id)
        })?;
        Ok(Box::new(SimulatedLock { inode }))
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.call(|state| {
            let path = plain(path)?;
            state.names.find(&path).ok_or(io::ErrorKind::NotFound)?;
            Ok(state.free_bytes())
        })
    }
}

impl SimulatedDisk {
    /// Counts a call and lets it happen, or crash.
    fn call<T>(&self, action: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock();
        state.counts.calls += 1;
        if state.faults.crashed {
            return Err(crash());
        }
        if state.faults.crash_at != Some(state.counts.calls) {
            return action(&mut state);
        }
        state.faults.crashed = true;
        let unseen = state.random.chance(1, 2).then(|| action(&mut state));
        // A handle among what the call would have returned takes the lock when it is dropped.
        MutexGuard::unlocked(&mut state, || drop(unseen));
        Err(crash())
    }

    fn hold(&self, state: &mut State, id: u64) -> io::Result<Arc<OpenInode>> {
        state.inode(id)?.handles += 1;
        Ok(Arc::new(OpenInode {
            disk: self.clone(),
            id,
        }))
    }
}

enum SyncFate {
    Done,
    Ignored,
    Failed,
}

impl State {
    fn new(seed: u64) -> Self {
        Self {
            names: Names::default(),
            inodes: BTreeMap::new(),
            next_inode: 0,
            locked: BTreeSet::new(),
            capacity_bytes: CAPACITY_BYTES_DEFAULT,
            random: Random::new(seed),
            faults: Faults::default(),
            counts: Counts::default(),
            sync_sites: BTreeMap::new(),
        }
    }

    fn create_file(&mut self, path: &Path) -> io::Result<u64> {
        self.needs_room()?;
        let id = self.new_inode();
        let added = self.add_name(path, id);
        if added.is_err() {
            self.inodes.remove(&id);
        }
        added.map(|()| id)
    }

    fn new_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.inodes.insert(self.next_inode, Inode::default());
        self.next_inode
    }

    fn add_name(&mut self, path: &Path, id: u64) -> io::Result<()> {
        self.directory_of(path)?;
        if self.names.find(path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.names.add(path, Node::File(id));
        self.inode(id)?.links += 1;
        Ok(())
    }

    /// Follows the removal of one of a file's names.
    fn unlinked(&mut self, id: u64) {
        if let Some(inode) = self.inodes.get_mut(&id) {
            inode.links -= 1;
        }
        self.forget_lost_inodes();
    }

    fn file_at(&self, path: &Path) -> io::Result<u64> {
        match self.names.find(path) {
            Some(Node::File(id)) => Ok(id),
            Some(Node::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::Error::new(
                io::ErrorKind::NotFound,
                path.display().to_string(),
            )),
        }
    }

    fn directory_of(&self, path: &Path) -> io::Result<()> {
        self.is_directory(path.parent().ok_or(io::ErrorKind::InvalidInput)?)
    }

    fn is_directory(&self, path: &Path) -> io::Result<()> {
        match self.names.find(path) {
            Some(Node::Directory) => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::Error::new(
                io::ErrorKind::NotFound,
                path.display().to_string(),
            )),
        }
    }

    fn inode(&mut self, id: u64) -> io::Result<&mut Inode> {
        self.inodes
            .get_mut(&id)
            .ok_or(io::ErrorKind::NotFound.into())
    }

    /// Drops the files that nobody can reach any more, not even after a power loss.
    fn forget_lost_inodes(&mut self) {
        let names = &self.names;
        self.inodes
            .retain(|id, inode| inode.is_charged() || names.may_return(*id));
    }

    fn free_bytes(&self) -> u64 {
        let charged = self.inodes.values().filter(|inode| inode.is_charged());
        let used: u64 = charged.map(Inode::allocated_bytes).sum();
        self.capacity_bytes.saturating_sub(used)
    }

    fn needs_room(&self) -> io::Result<()> {
        if self.free_bytes() < PAGE_BYTES as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn begin_sync(&mut self, site: SyncSite) -> SyncFate {
        self.counts.syncs += 1;
        *self.sync_sites.entry(site).or_default() += 1;
        if self.faults.ignores_all_syncs || self.faults.ignored_sites.contains(&site) {
            SyncFate::Ignored
        } else if self.faults.syncs.contains(&self.counts.syncs) {
            SyncFate::Failed
        } else {
            SyncFate::Done
        }
    }

    fn random_survivor(&mut self) -> Survivor {
        Survivor::new(Survival::Random(self.random.next_u64()))
    }

    fn write(&mut self, id: u64, bytes: &[u8], offset: u64) -> io::Result<()> {
        let free_pages = self.free_bytes() / PAGE_BYTES as u64;
        let fitting = self.inode(id)?.fitting(offset, bytes.len(), free_pages);
        let fails = self.faults.writes.contains(&self.counts.writes);
        let done = match fails || self.faults.crashed {
            true => fitting.min(self.random.index(bytes.len().max(1) + usize::from(!fails))),
            false => fitting,
        };
        self.counts.bytes_written += done as u64;
        self.inode(id)?.write(&bytes[..done], offset);
        match (fails, done < bytes.len()) {
            (true, _) => Err(input_output_error()),
            (false, true) => Err(io::ErrorKind::StorageFull.into()),
            (false, false) => Ok(()),
        }
    }

    fn edit(&mut self, path: &Path, edit: impl FnOnce(&mut Content)) {
        let id = plain(path)
            .and_then(|path| self.file_at(&path))
            .expect("a file");
        let inode = self.inode(id).expect("the inode of a name");
        let mut content = inode.cached.clone();
        edit(&mut content);
        inode.settle(content);
    }
}

/// Keeps an inode while a handle, a map or a lock of it lives.
struct OpenInode {
    disk: SimulatedDisk,
    id: u64,
}

impl Drop for OpenInode {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if let Some(inode) = state.inodes.get_mut(&self.id) {
            inode.handles -= 1;
            if !inode.is_charged() {
                state.forget_lost_inodes();
            }
        }
    }
}

impl fmt::Debug for OpenInode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "inode {}", self.id)
    }
}

#[derive(Debug)]
struct SimulatedFile {
    inode: Arc<OpenInode>,
    published: Arc<Published>,
}

impl SimulatedFile {
    fn new(inode: Arc<OpenInode>) -> Self {
        Self {
            inode,
            published: Arc::default(),
        }
    }

    fn call<T>(&self, action: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        self.inode.disk.call(action)
    }

    /// Panics if another handle has published a byte of this range.
    fn check_other_handles(&self, state: &mut State, range: Range<u64>) -> io::Result<()> {
        let inode = state.inode(self.inode.id)?;
        inode
            .published
            .retain(|published| published.strong_count() > 0);
        let mut others = inode
            .published
            .iter()
            .filter_map(|published| published.upgrade());
        assert!(
            !others.any(|other| !Arc::ptr_eq(&other, &self.published) && other.meets(&range)),
            "published bytes in {range:?} of {:?} are changed through another handle",
            self.inode,
        );
        Ok(())
    }
}

impl File for SimulatedFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.call(|state| {
            state.counts.reads += 1;
            if state.faults.reads.contains(&state.counts.reads) {
                return Err(input_output_error());
            }
            let content = &state.inode(self.inode.id)?.cached;
            let end = offset.saturating_add(buffer.len() as u64);
            if end > content.length() && !buffer.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            content.read(buffer, offset);
            Ok(())
        })
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.call(|state| {
            state.counts.writes += 1;
            let _write = self.published.begin_write(offset, buffer.len())?;
            self.check_other_handles(state, offset..offset + buffer.len() as u64)?;
            state.write(self.inode.id, buffer, offset)
        })
    }

    fn sync_data(&self, site: SyncSite) -> io::Result<()> {
        self.call(|state| {
            match state.begin_sync(site) {
                SyncFate::Ignored => {}
                SyncFate::Done => state.inode(self.inode.id)?.sync(),
                SyncFate::Failed => {
                    let mut survivor = state.random_survivor();
                    state.inode(self.inode.id)?.fail_sync(&mut survivor);
                    return Err(input_output_error());
                }
            }
            Ok(())
        })
    }

    fn length(&self) -> io::Result<u64> {
        self.call(|state| Ok(state.inode(self.inode.id)?.cached.length()))
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.call(|state| {
            self.published.cut(length, || {
                self.check_other_handles(state, length..u64::MAX)?;
                state.inode(self.inode.id)?.set_length(length);
                Ok(())
            })
        })
    }

    fn map(&self, range: Range<u64>) -> io::Result<Arc<dyn Map>> {
        self.call(|state| {
            let inode = state.inode(self.inode.id)?;
            self.published.map(range.clone(), || {
                if range.end > inode.cached.length() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(())
            })?;
            inode.published.push(Arc::downgrade(&self.published));
            Ok(Arc::new(SimulatedMap {
                inode: Arc::clone(&self.inode),
                published: Arc::clone(&self.published),
                start: range.start,
            }) as Arc<dyn Map>)
        })
    }
}

#[derive(Debug)]
struct SimulatedMap {
    inode: Arc<OpenInode>,
    published: Arc<Published>,
    start: u64,
}

impl Map for SimulatedMap {
    fn publish(&self, end: u64) {
        self.published.publish(end);
    }

    fn bytes(&self, range: Range<u64>) -> Option<Cow<'_, [u8]>> {
        if !self.published.covers(self.start, &range) {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(range.end - range.start).ok()?];
        let mut state = self.inode.disk.state.lock();
        state
            .inode(self.inode.id)
            .ok()?
            .cached
            .read(&mut bytes, range.start);
        Some(Cow::Owned(bytes))
    }
}

#[derive(Debug)]
struct SimulatedLock {
    inode: Arc<OpenInode>,
}

impl Lock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.inode.disk.state.lock().locked.remove(&self.inode.id);
    }
}

fn write_content(content: &mut Content, bytes: &[u8], offset: u64) {
    for piece in content::pieces(offset, bytes.len()) {
        content.write_page(piece.page, piece.of_page, &bytes[piece.of_buffer]);
    }
    content.set_length(content.length().max(offset + bytes.len() as u64));
}

fn crash() -> io::Error {
    io::Error::other(Crash)
}

fn input_output_error() -> io::Error {
    rustix::io::Errno::IO.into()
}

#[cfg(test)]
mod tests;
