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
//! It panics when a published byte ([`Map::publish`](super::Map::publish)) is about to change by a
//! way that the handle which published it can't see: that is a bug in the caller.

mod content;
mod edit;
mod file;
mod inode;
mod names;
mod random;
mod state;
mod survival;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use self::file::{OpenInode, SimulatedFile, SimulatedLock};
use self::inode::Inode;
use self::names::Node;
pub use self::random::Random;
pub use self::state::Counts;
use self::state::{State, SyncFate, input_output_error};
pub use self::survival::Survival;
use self::survival::Survivor;
use super::plain::plain;
use super::{File, Lock, SECTOR_BYTES, SyncSite, Vfs};

/// The capacity of a disk that was given none, in bytes.
pub const CAPACITY_BYTES_DEFAULT: u64 = 1 << 50;

/// A simulated disk. See the module for what it models.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
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

fn crash() -> io::Error {
    io::Error::other(Crash)
}

#[cfg(test)]
mod tests;
