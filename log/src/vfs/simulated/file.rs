//! Open files of a simulated disk, their maps, and locks.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::super::published::Published;
use super::super::{File, Lock, Map, SyncSite};
use super::SimulatedDisk;
use super::state::{State, SyncFate, input_output_error};

/// Keeps an inode while a handle, a map or a lock of it lives.
pub(super) struct OpenInode {
    pub(super) disk: SimulatedDisk,
    pub(super) id: u64,
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
pub(super) struct SimulatedFile {
    inode: Arc<OpenInode>,
    published: Arc<Published>,
}

impl SimulatedFile {
    pub(super) fn new(inode: Arc<OpenInode>) -> Self {
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

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.call(|state| {
            state.counts.writes += 1;
            state.counts.allocations += 1;
            let from = state.inode(self.inode.id)?.cached.length();
            let zeros = vec![0; usize::try_from(length.saturating_sub(from)).unwrap_or(0)];
            state.write(self.inode.id, &zeros, from)
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
pub(super) struct SimulatedLock {
    pub(super) inode: Arc<OpenInode>,
}

impl Lock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.inode.disk.state.lock().locked.remove(&self.inode.id);
    }
}
