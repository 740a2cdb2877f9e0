use std::io;
use std::ops::ControlFlow;

use super::*;
use crate::log::Log;
use crate::partition::{Dropped, Durability};
use crate::testing::{append, open_on, options};
use crate::vfs::simulated::{SimulatedDisk, Survival};
use crate::vfs::{File, Lock, MemoryDisk, Vfs};

const TO: &str = "/copy";

fn put(log: &Log, payload: &[u8]) -> Offset {
    let appended = append(log, payload, Durability::Local).unwrap();
    appended.commit.wait().unwrap();
    appended.offset
}

fn offsets(log: &Log) -> Vec<Offset> {
    let mut offsets = Vec::new();
    log.partitions()[0]
        .replay(Offset::new(0), |batch| {
            offsets.push(batch.offset);
            ControlFlow::Continue(())
        })
        .unwrap();
    offsets
}

fn open_copy(vfs: Arc<dyn Vfs>) -> Log {
    Log::open(vfs, Path::new(TO), options(false)).unwrap()
}

/// A log with a hole, sealed segments, a recovered one, and one that is being written.
fn log_on(vfs: &Arc<dyn Vfs>) -> Log {
    let open = || Log::open(Arc::clone(vfs), Path::new("/log"), options(false)).unwrap();
    let log = open();
    let partition = &log.partitions()[0];
    let mut bases = Vec::new();
    for number in 0..4 {
        partition.seal().unwrap();
        bases.push(put(&log, &[number; 5_000]));
    }
    let dropped = partition.drop_segment(bases[1]).unwrap();
    assert_eq!(dropped, Dropped::Done);
    drop(log);
    let log = open();
    put(&log, b"after an unclean close");
    log
}

/// Backs up, goes on, and opens the copy: it holds what was durable then, and takes writes.
fn assert_is_backed_up(vfs: Arc<dyn Vfs>, found: impl FnOnce() -> Arc<dyn Vfs>) {
    let log = log_on(&vfs);
    let buffered = append(&log, b"not durable", Durability::Buffered).unwrap();
    buffered.commit.wait().unwrap();
    let held = offsets(&log);
    log.backup(Path::new(TO)).unwrap();
    let later = [put(&log, b"later"), put(&log, b"and later")];
    log.partitions()[0].seal().unwrap();
    assert_eq!(
        log.partitions()[0].drop_segment(held[0]).unwrap(),
        Dropped::Done
    );
    let floor = log.partitions()[0].dropped_end();

    let found = found();
    let copy = open_copy(Arc::clone(&found));
    assert_eq!(copy.id(), log.id());
    assert!(copy.partitions()[0].recovery().clean);
    assert_eq!(offsets(&copy), held);
    assert_eq!(copy.partitions()[0].dropped_end(), floor);
    let next = put(&copy, b"in the copy");
    assert!(later.iter().all(|offset| next > *offset));
    assert!(next > buffered.offset);
    drop(copy);
    let expected: Vec<_> = held.into_iter().chain([next]).collect();
    assert_eq!(offsets(&open_copy(found)), expected);
    assert_eq!(
        offsets(&log).last(),
        Some(&later[1]),
        "the original goes on"
    );
}

#[test]
fn a_backup_opens_to_what_was_durable_on_the_memory_disk() {
    let disk = MemoryDisk::default();
    assert_is_backed_up(Arc::new(disk.clone()), || Arc::new(disk));
}

#[test]
fn a_backup_opens_to_what_was_durable_after_a_power_loss() {
    let disk = SimulatedDisk::new(0);
    assert_is_backed_up(Arc::new(disk.clone()), || {
        Arc::new(disk.power_loss(Survival::Nothing))
    });
}

#[test]
fn a_backup_opens_to_what_was_durable_where_links_are_refused() {
    let disk = SimulatedDisk::new(0);
    assert_is_backed_up(Arc::new(WithoutLinks(disk.clone())), || {
        Arc::new(disk.power_loss(Survival::Nothing))
    });
}

#[test]
fn an_empty_log_is_backed_up() {
    let disk = SimulatedDisk::new(0);
    let log = open_on(&disk, false).unwrap();
    log.backup(Path::new(TO)).unwrap();
    let copy = open_copy(Arc::new(disk.power_loss(Survival::Nothing)));
    assert_eq!(offsets(&copy), []);
    put(&copy, b"first");
}

#[test]
fn a_log_whose_newest_segment_is_empty_is_backed_up() {
    let disk = SimulatedDisk::new(0);
    let log = open_on(&disk, false).unwrap();
    let first = put(&log, b"first");
    log.partitions()[0].seal().unwrap();
    assert_eq!(
        log.partitions()[0].drop_segment(first).unwrap(),
        Dropped::Done
    );
    log.backup(Path::new(TO)).unwrap();
    let lost = Arc::new(disk.power_loss(Survival::Nothing));
    for _ in 0..2 {
        assert_eq!(offsets(&open_copy(lost.clone())), []);
    }
    let next = put(&open_copy(lost.clone()), b"next");
    assert_eq!(offsets(&open_copy(lost)), [next]);
}

#[test]
fn a_backup_goes_only_where_nothing_is() {
    let disk = SimulatedDisk::new(0);
    let log = open_on(&disk, false).unwrap();
    disk.create_directory(Path::new(TO)).unwrap();
    log.backup(Path::new(TO)).unwrap();
    let again = log.backup(Path::new(TO));
    assert!(matches!(again, Err(Error::Invalid { .. })));
    let onto_itself = log.backup(Path::new("/log"));
    assert!(matches!(onto_itself, Err(Error::Invalid { .. })));
}

#[test]
fn an_unfinished_backup_of_batches_is_no_log() {
    let disk = SimulatedDisk::new(0);
    let log = open_on(&disk, false).unwrap();
    put(&log, b"first");
    let before = disk.counts().syncs;
    disk.fail_sync(before + 4);
    assert!(log.backup(Path::new(TO)).is_err());
    assert!(!log.partitions()[0].is_poisoned());
    let opened = Log::open(Arc::new(disk.fork()), Path::new(TO), options(false)).map(drop);
    assert!(matches!(opened, Err(Error::Corrupt { .. })), "{opened:?}");
    put(&log, b"goes on");
}

/// A disk that refuses hard links.
struct WithoutLinks(SimulatedDisk);

impl Vfs for WithoutLinks {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.0.create_directory(path)
    }

    fn sync_directory(&self, path: &Path, site: SyncSite) -> io::Result<()> {
        self.0.sync_directory(path, site)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.0.list(directory)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.0.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.0.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn hard_link(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.0.lock(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.0.free_bytes(path)
    }
}
