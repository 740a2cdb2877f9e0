//! All that a simulated disk is, behind one lock, and the rules of a single call.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::content::PAGE_BYTES;
use super::inode::Inode;
use super::names::{Names, Node};
use super::random::Random;
use super::survival::{Survival, Survivor};
use super::{CAPACITY_BYTES_DEFAULT, SyncSite};

pub(super) struct State {
    pub(super) names: Names,
    pub(super) inodes: BTreeMap<u64, Inode>,
    pub(super) next_inode: u64,
    pub(super) locked: BTreeSet<u64>,
    pub(super) capacity_bytes: u64,
    pub(super) random: Random,
    pub(super) faults: Faults,
    pub(super) counts: Counts,
    pub(super) sync_sites: BTreeMap<SyncSite, u64>,
}

#[derive(Default)]
pub(super) struct Faults {
    pub(super) crash_at: Option<u64>,
    pub(super) crashed: bool,
    pub(super) syncs: BTreeSet<u64>,
    pub(super) writes: BTreeSet<u64>,
    pub(super) reads: BTreeSet<u64>,
    pub(super) ignored_sites: BTreeSet<SyncSite>,
    pub(super) ignores_all_syncs: bool,
}

/// What a disk has been asked to do since it was made, calls that failed included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of [`Vfs`](crate::vfs::Vfs) and [`File`](crate::vfs::File). Reads of a map are none.
    pub calls: u64,
    /// Calls of [`File::read_exact_at`](crate::vfs::File::read_exact_at).
    pub reads: u64,
    /// Calls of [`File::write_at`](crate::vfs::File::write_at) and
    /// [`File::allocate`](crate::vfs::File::allocate).
    pub writes: u64,
    /// Those of them that allocated.
    pub allocations: u64,
    /// Bytes that reached the page cache.
    pub bytes_written: u64,
    /// Calls of [`File::sync_data`](crate::vfs::File::sync_data) and
    /// [`Vfs::sync_directory`](crate::vfs::Vfs::sync_directory).
    pub syncs: u64,
}

pub(super) enum SyncFate {
    Done,
    Ignored,
    Failed,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
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

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<u64> {
        self.needs_room()?;
        let id = self.new_inode();
        let added = self.add_name(path, id);
        if added.is_err() {
            self.inodes.remove(&id);
        }
        added.map(|()| id)
    }

    pub(super) fn new_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.inodes.insert(self.next_inode, Inode::default());
        self.next_inode
    }

    pub(super) fn add_name(&mut self, path: &Path, id: u64) -> io::Result<()> {
        self.directory_of(path)?;
        if self.names.find(path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.names.add(path, Node::File(id));
        self.inode(id)?.links += 1;
        Ok(())
    }

    /// Follows the removal of one of a file's names.
    pub(super) fn unlinked(&mut self, id: u64) {
        if let Some(inode) = self.inodes.get_mut(&id) {
            inode.links -= 1;
        }
        self.forget_lost_inodes();
    }

    pub(super) fn file_at(&self, path: &Path) -> io::Result<u64> {
        match self.names.find(path) {
            Some(Node::File(id)) => Ok(id),
            Some(Node::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::Error::new(
                io::ErrorKind::NotFound,
                path.display().to_string(),
            )),
        }
    }

    pub(super) fn directory_of(&self, path: &Path) -> io::Result<()> {
        self.is_directory(path.parent().ok_or(io::ErrorKind::InvalidInput)?)
    }

    pub(super) fn is_directory(&self, path: &Path) -> io::Result<()> {
        match self.names.find(path) {
            Some(Node::Directory) => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::Error::new(
                io::ErrorKind::NotFound,
                path.display().to_string(),
            )),
        }
    }

    pub(super) fn inode(&mut self, id: u64) -> io::Result<&mut Inode> {
        self.inodes
            .get_mut(&id)
            .ok_or(io::ErrorKind::NotFound.into())
    }

    /// Drops the files that nobody can reach any more, not even after a power loss.
    pub(super) fn forget_lost_inodes(&mut self) {
        let names = &self.names;
        self.inodes
            .retain(|id, inode| inode.is_charged() || names.may_return(*id));
    }

    pub(super) fn free_bytes(&self) -> u64 {
        let charged = self.inodes.values().filter(|inode| inode.is_charged());
        let used: u64 = charged.map(Inode::allocated_bytes).sum();
        self.capacity_bytes.saturating_sub(used)
    }

    pub(super) fn needs_room(&self) -> io::Result<()> {
        if self.free_bytes() < PAGE_BYTES as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    pub(super) fn begin_sync(&mut self, site: SyncSite) -> SyncFate {
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

    pub(super) fn random_survivor(&mut self) -> Survivor {
        Survivor::new(Survival::Random(self.random.next_u64()))
    }

    pub(super) fn write(&mut self, id: u64, bytes: &[u8], offset: u64) -> io::Result<()> {
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
}

pub(super) fn input_output_error() -> io::Error {
    rustix::io::Errno::IO.into()
}
