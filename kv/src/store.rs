//! A store: a log, a keyspace for each of its partitions, and the catalogue of buckets.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use cairn_log::vfs::Vfs;
use cairn_log::{Claim, Clock, Log};
use parking_lot::{Mutex, RwLock};

use crate::background;
use crate::bucket::name::BucketName;
use crate::bucket::options::BucketOptions;
use crate::bucket::state::BucketState;
use crate::bucket::{Bucket, BucketInfo};
use crate::catalogue::{Catalogue, Named};
use crate::clock::BelievedClock;
use crate::commit::Commit;
use crate::digest::{Digesting, StateDigest};
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::Keyspace;
use crate::keyspace::buckets::Dropping;
use crate::limits::VALUE_RECORD_BYTES_MAX;
use crate::options::Options;
use crate::scan::{Entries, Scan};
use crate::status::{PartitionStatus, Status, Verified};
use crate::topic::{self, Appended, LogRecord, LogScan};
use crate::version::Durability;

/// An embedded key-value store whose write-ahead log is the database.
///
/// Cheap to clone, and usable from any number of threads. Clones and [`Bucket`]s keep it open;
/// when the last of them is dropped the store is closed as by [`Store::close`].
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

    /// The bucket of this name, created with default options if there is none.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if the name is not allowed; `DiskFull`, `Poisoned`, `OutcomeUnknown`.
    pub fn bucket(&self, name: &str) -> Result<Bucket> {
        let (state, _) = self.0.open_or_create(name, BucketOptions::default())?;
        Ok(self.handle(state))
    }

    /// The bucket of this name.
    ///
    /// # Errors
    ///
    /// `BucketNotFound`; `InvalidArgument` if the name is not allowed; `Poisoned`.
    pub fn open_bucket(&self, name: &str) -> Result<Bucket> {
        let name = BucketName::new(name)?;
        self.0.existing(&name).map(|state| self.handle(state))
    }

    /// The bucket of this name, and whether it was created by this call. Of several calls at once,
    /// one creates it.
    ///
    /// # Errors
    ///
    /// `BucketExists` if it exists with other options; `InvalidArgument` if the name is not
    /// allowed; `DiskFull`, `Poisoned`, `OutcomeUnknown`.
    pub fn create_bucket(&self, name: &str, options: BucketOptions) -> Result<(Bucket, bool)> {
        let (state, created) = self.0.open_or_create(name, options)?;
        if state.options != options {
            let message = format!("the bucket {name:?} exists with other options");
            return Err(Error::new(ErrorKind::BucketExists, message));
        }
        Ok((self.handle(state), created))
    }

    /// All buckets, in byte order of their names.
    ///
    /// # Errors
    ///
    /// None but those of the disk.
    pub fn buckets(&self) -> Result<Vec<BucketInfo>> {
        let mut infos = Vec::new();
        for state in self.0.visible_buckets() {
            match self.handle(state).info() {
                Ok(info) => infos.push(info),
                Err(error) if error.kind() == ErrorKind::BucketNotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(infos)
    }

    /// Removes a bucket; with `force`, also if it holds keys or has snapshots, which go with it.
    /// Blocks until that is durable.
    ///
    /// # Errors
    ///
    /// `BucketNotFound`; `BucketNotEmpty`; `DiskFull`, `Poisoned`, `OutcomeUnknown`.
    pub fn remove_bucket(&self, name: &str, force: bool) -> Result<()> {
        let name = BucketName::new(name)?;
        loop {
            let state = self.0.existing(&name)?;
            let keyspace = self.0.keyspace(&state);
            let written = if force {
                None
            } else {
                Some(keyspace.check_empty(&state)?)
            };
            let dropping = {
                let mut catalogue = self.0.catalogue.write();
                if !catalogue.is_live(&state) {
                    continue;
                }
                let dropping = keyspace.try_drop(&state, written)?;
                catalogue.strike(&state);
                dropping
            };
            match dropping {
                Dropping::Sequenced(commit) => {
                    commit.wait()?;
                    return Ok(());
                }
                Dropping::NoRoom(bytes) => {
                    keyspace.log().make_room_claiming(Claim::Delete, bytes)?;
                }
                Dropping::Written => {}
            }
        }
    }

    /// The number of partitions; they count from 0.
    pub fn partitions(&self) -> u16 {
        u16::try_from(self.0.keyspaces.len()).unwrap_or(u16::MAX)
    }

    /// Appends a record to a topic of a partition, and blocks until it survives a power loss.
    ///
    /// A topic comes into being with its first record. Its name has 1 to 255 bytes of UTF-8 without
    /// control characters.
    ///
    /// ```
    /// use cairn_kv::LogScan;
    ///
    /// let store = cairn_kv::Store::memory();
    /// let appended = store.append(0, "orders", b"one")?;
    /// let scan = LogScan { from: 0, limit: 10, topic: Some("orders".into()) };
    /// let records = store.read_log(0, &scan)?;
    /// assert_eq!((records[0].offset, &records[0].data[..]), (appended.offset, &b"one"[..]));
    /// # Ok::<(), cairn_kv::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Store::submit_append`]; `OutcomeUnknown`.
    pub fn append(&self, partition: u16, topic: &str, data: impl AsRef<[u8]>) -> Result<Appended> {
        let (appended, commit) =
            self.submit_append(partition, topic, data.as_ref(), Durability::Local)?;
        commit.wait()?;
        Ok(appended)
    }

    /// Gives a record of a topic its place, without waiting until it is acknowledged.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if there is no such partition or the topic's name is not allowed;
    /// `ValueTooLarge`; `DiskFull`, `Poisoned`.
    pub fn submit_append(
        &self,
        partition: u16,
        topic: &str,
        data: &[u8],
        durability: Durability,
    ) -> Result<(Appended, Commit)> {
        let keyspace = self.topics_of(partition, topic, data)?;
        let name = BucketName::topics(partition);
        let (topics, _) =
            self.0
                .open_or_create_in(name, BucketOptions::default(), Some(partition))?;
        let placed = keyspace.append_topic(&topics, topic, data, durability)?;
        Ok((Appended::of(&placed), placed.commit))
    }

    /// [`Store::submit_append`], unless that would wait for the disk or for work that is behind:
    /// then nothing was done, and `None` says so. For callers that must not block.
    ///
    /// # Errors
    ///
    /// Those of [`Store::submit_append`].
    pub fn try_submit_append(
        &self,
        partition: u16,
        topic: &str,
        data: &[u8],
        durability: Durability,
    ) -> Result<Option<(Appended, Commit)>> {
        let keyspace = self.topics_of(partition, topic, data)?;
        let name = BucketName::topics(partition);
        let named = self.0.catalogue.read().named(name.as_str()).cloned();
        let Some(Named::Live(topics)) = named else {
            return Ok(None);
        };
        if !keyspace.is_durable(topics.created.version) {
            return Ok(None);
        }
        let placed = keyspace.try_append_topic(&topics, topic, data, durability)?;
        Ok(placed.map(|placed| (Appended::of(&placed), placed.commit)))
    }

    /// The partition, if it takes such a record.
    fn topics_of(&self, partition: u16, topic: &str, data: &[u8]) -> Result<&Arc<Keyspace>> {
        topic::check_topic(topic)?;
        if data.len() > VALUE_RECORD_BYTES_MAX {
            let message = format!(
                "a record of {} bytes; the most is {VALUE_RECORD_BYTES_MAX}",
                data.len()
            );
            return Err(Error::new(ErrorKind::ValueTooLarge, message));
        }
        self.0.partition(partition)
    }

    /// Reads durable records of the log of a partition, by offset: those of a topic, or all that
    /// are there. Topic records keep the offset at which they were first written, and of a topic
    /// they are there until its retention removes them; others, and what was removed, are there as
    /// long as their part of the log is.
    ///
    /// Cost: of a topic, that of a scan. Of all records, a look-up for each topic if `from` lies
    /// below what was dropped, and a walk over the batch headers of one segment.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if there is no such partition or the topic's name is not allowed;
    /// `Compacted` if records of the topic at or above `from` were removed, unless that is 0;
    /// `Corrupt`, `Io`.
    pub fn read_log(&self, partition: u16, scan: &LogScan) -> Result<Vec<LogRecord>> {
        scan.topic.as_deref().map_or(Ok(()), topic::check_topic)?;
        let keyspace = self.0.partition(partition)?;
        let topics = match self.0.existing(&BucketName::topics(partition)) {
            Ok(topics) => Some(topics),
            Err(error) if error.kind() == ErrorKind::BucketNotFound => None,
            Err(error) => return Err(error),
        };
        let catalogue = self.0.catalogue.read();
        let names = catalogue
            .live()
            .map(|state| (state.id, state.name.as_str().to_owned()))
            .collect();
        drop(catalogue);
        topic::read(keyspace, topics.as_ref(), &names, scan)
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

    fn handle(&self, state: Arc<BucketState>) -> Bucket {
        let keyspace = Arc::clone(self.0.keyspace(&state));
        Bucket::new(Arc::clone(&self.0), keyspace, state)
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
    fn floor(&self, bucket: &Bucket) -> u64 {
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

    /// The bucket of this name, once its creation is durable.
    fn existing(&self, name: &BucketName) -> Result<Arc<BucketState>> {
        let named = self.catalogue.read().named(name.as_str()).cloned();
        let refusal = || Error::bucket_not_found(name.as_str());
        match named {
            Some(Named::Live(state)) => {
                self.keyspace(&state).wait_durable(state.created.version)?;
                Ok(state)
            }
            Some(Named::Former { partition, dropped }) => {
                self.keyspaces[usize::from(partition)].wait_durable(dropped)?;
                Err(refusal())
            }
            None => Err(refusal()),
        }
    }

    fn open_or_create(
        &self,
        name: &str,
        options: BucketOptions,
    ) -> Result<(Arc<BucketState>, bool)> {
        self.open_or_create_in(BucketName::new(name)?, options, None)
    }

    /// The system bucket that holds the snapshots of a partition's buckets, created if there is none.
    pub(crate) fn snapshots_of(&self, partition: u16) -> Result<Arc<BucketState>> {
        // It has no history of its own to lengthen that of the partition.
        let options = BucketOptions {
            history_ms: Some(0),
            ..BucketOptions::default()
        };
        let name = BucketName::snapshots(partition);
        let (system, _) = self.open_or_create_in(name, options, Some(partition))?;
        Ok(system)
    }

    /// The same, if there is one.
    pub(crate) fn known_snapshots_of(&self, partition: u16) -> Result<Option<Arc<BucketState>>> {
        match self.existing(&BucketName::snapshots(partition)) {
            Ok(system) => Ok(Some(system)),
            Err(error) if error.kind() == ErrorKind::BucketNotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The partition of this number.
    fn partition(&self, number: u16) -> Result<&Arc<Keyspace>> {
        let count = self.keyspaces.len();
        self.keyspaces.get(usize::from(number)).ok_or_else(|| {
            let message = format!("there is no partition {number}; the store has {count}, from 0");
            Error::invalid(message)
        })
    }

    /// The bucket of this name, created in `partition` or wherever it fits.
    fn open_or_create_in(
        &self,
        name: BucketName,
        options: BucketOptions,
        partition: Option<u16>,
    ) -> Result<(Arc<BucketState>, bool)> {
        loop {
            match self.existing(&name) {
                Err(error) if error.kind() == ErrorKind::BucketNotFound => {}
                existing => return existing.map(|state| (state, false)),
            }
            let mut catalogue = self.catalogue.write();
            if let Some(Named::Live(_)) = catalogue.named(name.as_str()) {
                continue;
            }
            let partitions = u16::try_from(self.keyspaces.len()).unwrap_or(u16::MAX);
            let partition =
                partition.unwrap_or_else(|| catalogue.partition_for(name.as_str(), partitions));
            let keyspace = &self.keyspaces[usize::from(partition)];
            let id = catalogue.next_id()?;
            let Some((state, commit)) = keyspace.try_create(id, &name, options)? else {
                drop(catalogue);
                keyspace.log().make_room(LONE_RECORD_BYTES_MAX)?;
                continue;
            };
            catalogue.enter(Arc::clone(&state));
            drop(catalogue);
            commit.wait()?;
            return Ok((state, true));
        }
    }

    /// The buckets that readers see, in byte order of their names, without system buckets.
    fn visible_buckets(&self) -> Vec<Arc<BucketState>> {
        let watermark = |keyspace: &Arc<Keyspace>| keyspace.watermark();
        let mut buckets = self.buckets_at(watermark, |&watermark| watermark).1;
        buckets.retain(|state| !state.name.is_system());
        buckets
    }

    /// Looks at each partition, and lists the buckets that a reader at those watermarks sees, in
    /// byte order of their names.
    fn buckets_at<T>(
        &self,
        look: impl Fn(&Arc<Keyspace>) -> T,
        watermark: impl Fn(&T) -> u64,
    ) -> (Vec<T>, Vec<Arc<BucketState>>) {
        // No drop is sequenced meanwhile, so none can be visible that is not listed yet.
        let catalogue = self.catalogue.read();
        let looks: Vec<T> = self.keyspaces.iter().map(look).collect();
        let mut buckets: Vec<_> = catalogue.live().cloned().collect();
        for (keyspace, look) in self.keyspaces.iter().zip(&looks) {
            buckets.extend(keyspace.dropped_but_visible(watermark(look)));
        }
        buckets.retain(|state| {
            let look = &looks[usize::from(state.partition)];
            state.is_visible(watermark(look))
        });
        buckets.sort_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
        buckets.dedup_by_key(|state| state.id);
        (looks, buckets)
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

/// At least what a batch of one bucket record takes in the log.
const LONE_RECORD_BYTES_MAX: usize = 256;

#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
