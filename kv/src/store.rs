//! A store: a log, a keyspace for each of its partitions, and the catalogue of buckets.

mod buckets;
mod topics;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use cairn_log::vfs::Vfs;
use cairn_log::{Clock, Log};
use parking_lot::{Mutex, RwLock};

use crate::background;
use crate::bucket::state::BucketState;
use crate::catalogue::Catalogue;
use crate::clock::BelievedClock;
use crate::digest::{Digesting, StateDigest};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::options::Options;
use crate::scan::{Entries, Scan};
use crate::status::{PartitionStatus, Status, Verified};

/// An embedded key-value store whose write-ahead log is the database.
///
/// Cheap to clone, and usable from any number of threads. Clones and [`Bucket`](crate::Bucket)s
/// keep it open; when the last of them is dropped the store is closed as by [`Store::close`].
///
/// ```
/// let store = cairn_kv::Store::memory();
/// let users = store.bucket("users")?;
/// let version = users.put("alice", "1")?;
/// let entry = users.get("alice")?.expect("it was just put");
/// assert_eq!((entry.version, &entry.value[..]), (version, &b"1"[..]));
/// # Ok::<(), cairn_kv::Error>(())
/// ```
#[derive(Clone)]
pub struct Store(Arc<Open>);

/// What is open while a store is.
pub(crate) struct Open {
    log: Log,
    keyspaces: Vec<Arc<Keyspace>>,
    catalogue: RwLock<Catalogue>,
    clock: Arc<BelievedClock>,
    watch_lag_bytes: u64,
    threads: Mutex<Vec<JoinHandle<()>>>,
    closed: Mutex<bool>,
}

impl Store {
    /// Opens the store in a directory, creating it if there is none.
    ///
    /// # Errors
    ///
    /// Those of [`Options::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Store> {
        Store::options().open(path)
    }

    /// How to open a store otherwise than by default.
    pub fn options() -> Options {
        Options::new()
    }

    /// A store in memory, for tests: it is gone when it is dropped.
    ///
    /// # Panics
    ///
    /// Never for want of a disk; only if a thread cannot be started.
    pub fn memory() -> Store {
        let opened = Store::options().open_in_memory();
        opened.expect("an empty disk in memory refuses nothing")
    }

    pub(crate) fn open_with(options: Options, disk: Arc<dyn Vfs>, path: &Path) -> Result<Store> {
        options.topics.check()?;
        let clock = Arc::new(BelievedClock::new(options.clock));
        let log_options = cairn_log::Options {
            segment_bytes: options.segment_bytes,
            partitions: options.partitions,
            buffered_sync: options.buffered_sync,
            threads: options.threads,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            ..cairn_log::Options::default()
        };
        let log = Log::open(disk, path, log_options)?;
        let mut keyspaces = Vec::new();
        let mut buckets = Vec::new();
        for partition in log.partitions() {
            clock.learn(partition.newest_time_ms());
            let share = options.index.share(log.partitions().len());
            let (keyspace, found) =
                Keyspace::open(Arc::clone(partition), Arc::clone(&clock), share)?;
            keyspace.limit_topics(&options.topics);
            buckets.extend(found.into_values());
            let keyspace = Arc::new(keyspace);
            keyspace.load_snapshots()?;
            keyspaces.push(keyspace);
        }
        let catalogue = RwLock::new(Catalogue::rebuild(buckets)?);
        let threads = if options.threads {
            background::start(&keyspaces)?
        } else {
            Vec::new()
        };
        Ok(Store(Arc::new(Open {
            log,
            keyspaces,
            catalogue,
            clock,
            watch_lag_bytes: options.watch_lag_bytes,
            threads: Mutex::new(threads),
            closed: Mutex::new(false),
        })))
    }

    /// The number of partitions; they count from 0.
    pub fn partitions(&self) -> u16 {
        u16::try_from(self.0.keyspaces.len()).unwrap_or(u16::MAX)
    }

    /// A hash of everything the store holds; see the digest module for what counts.
    ///
    /// Cost: reads every value.
    ///
    /// # Errors
    ///
    /// `Corrupt`, `Io`; `Poisoned` if the log fails meanwhile.
    pub fn state_digest(&self) -> Result<StateDigest> {
        let pin = |keyspace: &Arc<Keyspace>| keyspace.pin();
        let (pins, buckets) = self.0.buckets_at(pin, |(pin, _)| pin.watermark);
        let mut digesting = Digesting::new();
        for state in buckets {
            let (pin, version) = &pins[usize::from(state.partition)];
            let keyspace = self.0.keyspace(&state);
            let entries = Entries::at(keyspace, &state, &Scan::default(), pin, *version);
            digesting.bucket(&state, entries)?;
        }
        Ok(digesting.finish())
    }

    /// Reads and checks every byte of the log and of the index files that the store uses.
    ///
    /// # Errors
    ///
    /// `Corrupt`, naming file and place, at the first damage of the log. Damaged index files are
    /// told in the answer.
    pub fn verify(&self) -> Result<Verified> {
        let mut all = Verified::default();
        for keyspace in &self.0.keyspaces {
            let one = keyspace.verify()?;
            all.batches += one.batches;
            all.records += one.records;
            all.runs += one.runs;
            all.entries += one.entries;
            all.damaged.extend(one.damaged);
        }
        Ok(all)
    }

    /// Where the store stands.
    pub fn status(&self) -> Status {
        Status {
            log_id: self.0.log.id(),
            partitions: self
                .0
                .keyspaces
                .iter()
                .map(|keyspace| partition_status(keyspace))
                .collect(),
            buckets: self.0.visible_buckets().len(),
            now_ms: self.0.clock.now_ms(),
            clock_is_suspect: self.0.clock.is_suspect(),
        }
    }

    /// Does some of the work that the store's threads do otherwise, and says whether there was any.
    /// For stores opened without threads.
    ///
    /// # Errors
    ///
    /// `Io`, `Poisoned`; later writes meet the same. What a full disk postpones is no error here.
    pub fn step(&self) -> Result<bool> {
        let mut worked = false;
        for keyspace in &self.0.keyspaces {
            let log = keyspace.log();
            worked |= log.step_commit();
            worked |= log.step_sync()?;
            worked |= log.step_idle()?;
            // A full disk stops no other step: some of them give space back.
            worked |= match log.step_prepare() {
                Err(cairn_log::Error::DiskFull { .. }) => false,
                prepared => prepared?,
            };
            worked |= keyspace.step_index()?;
        }
        Ok(worked)
    }

    /// Returns once everything acknowledged so far survives a power loss, `Buffered` writes too.
    ///
    /// # Errors
    ///
    /// `Poisoned`, `OutcomeUnknown`.
    pub fn sync(&self) -> Result<()> {
        for keyspace in &self.0.keyspaces {
            keyspace.log().barrier()?.wait()?;
        }
        Ok(())
    }

    /// Makes everything durable and closes the store, so that the next open need not recover.
    /// Later writes are refused; reads go on as long as handles are held.
    ///
    /// # Errors
    ///
    /// The first failure. The close then counts as unclean; nothing acknowledged as `Local` is
    /// lost.
    pub fn close(&self) -> Result<()> {
        self.0.close()
    }

    pub(crate) fn log(&self) -> &Log {
        &self.0.log
    }

    /// By number of their partitions.
    pub(crate) fn keyspaces(&self) -> &[Arc<Keyspace>] {
        &self.0.keyspaces
    }
}

impl Open {
    /// See [`Options::watch_lag_bytes`].
    pub(crate) fn watch_lag_bytes(&self) -> u64 {
        self.watch_lag_bytes
    }

    fn keyspace(&self, bucket: &BucketState) -> &Arc<Keyspace> {
        &self.keyspaces[usize::from(bucket.partition)]
    }

    /// The history floor of a bucket's partition.
    #[cfg(test)]
    fn floor(&self, bucket: &crate::Bucket) -> u64 {
        self.keyspaces[usize::from(bucket.info().unwrap().partition)].floor()
    }

    /// The index of each partition as it is now.
    #[cfg(test)]
    fn levels(&self) -> Vec<Arc<crate::index::levels::Levels>> {
        let levels = self
            .keyspaces
            .iter()
            .map(|keyspace| keyspace.pin().0.levels);
        levels.collect()
    }

    /// The partition of this number.
    fn partition(&self, number: u16) -> Result<&Arc<Keyspace>> {
        let count = self.keyspaces.len();
        self.keyspaces.get(usize::from(number)).ok_or_else(|| {
            let message = format!("there is no partition {number}; the store has {count}, from 0");
            Error::invalid(message)
        })
    }

    fn close(&self) -> Result<()> {
        let mut closed = self.closed.lock();
        if *closed {
            return Ok(());
        }
        *closed = true;
        self.keyspaces
            .iter()
            .for_each(|keyspace| keyspace.stop_maintaining());
        for thread in self.threads.lock().drain(..) {
            // A thread that panicked has nothing left to hand over.
            let _ = thread.join();
        }
        self.log.close().map_err(Error::from)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // Nobody is left to be told; an unclean close is recovered at the next open.
        let _ = self.close();
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Store({})", self.0.log.id())
    }
}

fn partition_status(keyspace: &Keyspace) -> PartitionStatus {
    let log = keyspace.log();
    let status = log.status();
    PartitionStatus {
        partition: log.id().0,
        start: status.start.get(),
        end: status.end.get(),
        durable: status.durable.get(),
        visible: keyspace.watermark(),
        poisoned: log.is_poisoned(),
        segments: status.segments,
        bytes: status.bytes,
        prepared_bytes: status.prepared_bytes,
        keys_in_memory: keyspace.keys_in_memory(),
        batches: status.batches,
        writes: status.writes,
        syncs: status.syncs,
        free_bytes: log.vfs().free_bytes(log.directory()).ok(),
        index: keyspace.index_status(),
    }
}

#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
