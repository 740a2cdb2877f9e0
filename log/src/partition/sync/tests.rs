use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::{BESIDE_BYTES, GROUP};
use crate::error::Error;
use crate::log::{Log, Options};
use crate::partition::Durability;
use crate::testing::append;
use crate::vfs::simulated::SimulatedDisk;
use crate::vfs::{File, Lock, Map, SyncSite, Vfs};

const MEBIBYTE: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

const SEGMENT_BYTES: u64 = 32 << 20;

/// A disk with room for three segments: then the first is no short one.
fn disk() -> SimulatedDisk {
    let disk = SimulatedDisk::new(0);
    disk.set_capacity(3 * SEGMENT_BYTES + SEGMENT_BYTES / 4);
    disk
}

/// Segments in which all of a test has room, and no sync because bytes have waited for long.
fn options(threads: bool) -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES,
        buffered_sync: Duration::from_hours(1),
        threads,
        ..Options::default()
    }
}

fn put(log: &Log, bytes: usize, durability: Durability) -> Result<(), Error> {
    append(log, &vec![7; bytes], durability)?.commit.wait()
}

/// Puts more than is left to wait for a sync.
fn put_much(log: &Log) {
    let times = usize::try_from(BESIDE_BYTES).unwrap() / MEBIBYTE + 1;
    for _ in 0..times {
        put(log, MEBIBYTE, Durability::Buffered).unwrap();
    }
}

fn wait_until(is_so: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "it never came");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_writers_leave_is_synced_by_a_thread() {
    let log = Log::open(Arc::new(disk()), Path::new("/log"), options(true)).unwrap();
    let partition = &log.partitions()[0];
    put(&log, 10, Durability::Buffered).unwrap();
    let first = partition.durable();
    assert!(first < partition.end());
    put_much(&log);
    assert!(partition.wait_durable(first, PATIENCE));
}

#[test]
fn little_is_left_to_wait() {
    let log = Log::open(Arc::new(disk()), Path::new("/log"), options(false)).unwrap();
    let partition = &log.partitions()[0];
    put(&log, MEBIBYTE, Durability::Buffered).unwrap();
    assert!(!partition.step_sync().unwrap());
    put_much(&log);
    assert!(partition.step_sync().unwrap());
    assert_eq!(partition.durable(), partition.end());
    put(&log, 10, Durability::Buffered).unwrap();
    assert!(!partition.step_sync().unwrap());
}

#[test]
fn watchers_are_woken_by_a_sync_beside_the_writers() {
    let log = Log::open(Arc::new(disk()), Path::new("/log"), options(false)).unwrap();
    let partition = &log.partitions()[0];
    put_much(&log);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let beyond = partition.durable();
    let watching = partition.poll_durable(beyond, &mut Context::from_waker(&waker));
    assert!(watching.is_pending());
    assert!(partition.step_sync().unwrap());
    assert!(woken.0.load(Ordering::SeqCst));
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn writers_go_on_while_their_bytes_are_synced() {
    let disk = Gated::new(disk());
    let log = Log::open(disk.clone(), Path::new("/log"), options(false)).unwrap();
    let partition = &log.partitions()[0];
    put_much(&log);
    let end = partition.end();
    disk.gate.shut();
    thread::scope(|scope| {
        let syncing = scope.spawn(|| partition.step_sync());
        disk.gate.wait_for_comer();
        put(&log, MEBIBYTE, Durability::Buffered).unwrap();
        assert!(partition.durable() < end);
        disk.gate.open();
        assert!(syncing.join().unwrap().unwrap());
    });
    assert_eq!(
        partition.durable(),
        end,
        "what came later waits for the next"
    );
}

/// The kernel tells one sync of a failed writeback, and the next one that all is well.
#[test]
fn whoever_syncs_after_a_failed_sync_is_told_of_it() {
    let inner = disk();
    let disk = Gated::new(inner.clone());
    let log = Log::open(disk.clone(), Path::new("/log"), options(false)).unwrap();
    let partition = &log.partitions()[0];
    put_much(&log);
    let before = partition.durable();
    disk.gate.shut();
    inner.fail_sync(inner.counts().syncs + 1);
    thread::scope(|scope| {
        let syncing = scope.spawn(|| partition.step_sync());
        disk.gate.wait_for_comer();
        let end = partition.end();
        let waiting = scope.spawn(|| put(&log, 10, Durability::Local));
        // It has looked for poison and found none.
        wait_until(|| partition.written.load(Ordering::SeqCst) > end.get());
        disk.gate.open();
        let synced = syncing.join().unwrap();
        assert!(
            matches!(synced, Err(Error::OutcomeUnknown { .. })),
            "{synced:?}"
        );
        let put = waiting.join().unwrap();
        assert!(matches!(put, Err(Error::OutcomeUnknown { .. })), "{put:?}");
    });
    assert!(partition.is_poisoned());
    assert_eq!(partition.durable(), before);
}

#[test]
fn law_4_no_buffered_write_is_acknowledged_after_a_sync_beside_it_has_failed() {
    let inner = disk();
    let disk = Gated::new(inner.clone());
    let log = Log::open(disk.clone(), Path::new("/log"), options(false)).unwrap();
    let partition = &log.partitions()[0];
    put_much(&log);
    disk.gate.shut();
    inner.fail_sync(inner.counts().syncs + 1);
    thread::scope(|scope| {
        let syncing = scope.spawn(|| partition.step_sync());
        disk.gate.wait_for_comer();
        disk.written.shut();
        let writing = scope.spawn(|| put(&log, 10, Durability::Buffered));
        disk.written.wait_for_comer();
        disk.gate.open();
        assert!(syncing.join().unwrap().is_err());
        disk.written.open();
        let put = writing.join().unwrap();
        assert!(matches!(put, Err(Error::OutcomeUnknown { .. })), "{put:?}");
    });
}

#[test]
fn a_segment_is_not_left_while_it_is_synced() {
    let disk = Gated::new(disk());
    let log = Log::open(disk.clone(), Path::new("/log"), options(false)).unwrap();
    let partition = &log.partitions()[0];
    put_much(&log);
    let end = partition.end();
    disk.gate.shut();
    thread::scope(|scope| {
        let syncing = scope.spawn(|| partition.step_sync());
        disk.gate.wait_for_comer();
        let sealing = scope.spawn(|| partition.seal());
        thread::sleep(Duration::from_millis(20));
        assert_eq!(
            partition
                .segments()
                .iter()
                .filter(|span| span.sealed)
                .count(),
            0
        );
        disk.gate.open();
        assert!(syncing.join().unwrap().unwrap());
        sealing.join().unwrap().unwrap();
    });
    put(&log, 10, Durability::Local).unwrap();
    let segments = partition.segments();
    assert_eq!(segments[0].end, end);
    assert!(partition.durable() > end);
}

/// A disk on which syncs of groups can be held, and writes when they are done.
struct Gated {
    disk: SimulatedDisk,
    gate: Arc<Gate>,
    written: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    is_shut: Mutex<bool>,
    opened: Condvar,
    has_comer: AtomicBool,
}

impl Gate {
    fn shut(&self) {
        *self.is_shut.lock() = true;
    }

    fn open(&self) {
        *self.is_shut.lock() = false;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let mut is_shut = self.is_shut.lock();
        self.has_comer.store(*is_shut, Ordering::SeqCst);
        while *is_shut {
            self.opened.wait(&mut is_shut);
        }
    }

    fn wait_for_comer(&self) {
        wait_until(|| self.has_comer.load(Ordering::SeqCst));
    }
}

impl Gated {
    fn new(disk: SimulatedDisk) -> Arc<Gated> {
        Arc::new(Gated {
            disk,
            gate: Arc::default(),
            written: Arc::default(),
        })
    }

    fn file(&self, file: io::Result<Arc<dyn File>>) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(GatedFile {
            file: file?,
            gate: Arc::clone(&self.gate),
            written: Arc::clone(&self.written),
        }))
    }
}

impl Vfs for Gated {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.disk.create_directory(path)
    }

    fn sync_directory(&self, path: &Path, site: SyncSite) -> io::Result<()> {
        self.disk.sync_directory(path, site)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.file(self.disk.create(path))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.file(self.disk.open(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.disk.lock(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.disk.free_bytes(path)
    }
}

#[derive(Debug)]
struct GatedFile {
    file: Arc<dyn File>,
    gate: Arc<Gate>,
    written: Arc<Gate>,
}

impl File for GatedFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(buffer, offset)?;
        self.written.pass();
        Ok(())
    }

    fn sync_data(&self, site: SyncSite) -> io::Result<()> {
        if site == GROUP {
            self.gate.pass();
        }
        self.file.sync_data(site)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.file.set_length(length)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.file.allocate(length)
    }

    fn map(&self, range: Range<u64>) -> io::Result<Arc<dyn Map>> {
        self.file.map(range)
    }
}
