//! A log: its identity, its lock, and its partitions.
//!
//! ```text
//! DIRECTORY/
//!   lock                     held while the log is open
//!   identity                 two slots: log id, number of partitions, whether it is complete
//!   p0000/                   one directory a partition
//!     superblock             two slots (see `superblock`)
//!     0000000000000001.seg   segments (see `segment`)
//! ```
//!
//! Creation writes the identity as incomplete, then the partitions, syncs every name, and then
//! completes the identity; the first segment comes later. So a directory without a complete
//! identity and without segments is empty, or a creation that was cut short: its files are created
//! anew, because a sync of the old ones may have failed. One that holds segments is never taken
//! for a fresh start.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::background::{self, Housekeeper};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::identity::{Incarnation, LogId, PartitionId};
use crate::partition::{BACKUP_FILES, BACKUP_NAMES, Partition};
use crate::recovery::{Place, START, recover};
use crate::segment::{Listing, SEGMENT_BYTES, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::slots::{self, Fields, Slots};
use crate::superblock::{self, Superblock};
use crate::vfs::{Lock, SyncSite, Vfs};

/// The most partitions a log may have.
pub const PARTITIONS_MAX: u16 = 256;

/// The superblock of a partition that is being created.
pub(crate) const CREATE_SUPERBLOCK: SyncSite = SyncSite("superblock created");
/// The identity of a log that is being created.
pub(crate) const CREATE_IDENTITY: SyncSite = SyncSite("identity created");
/// The names of what is being created.
pub(crate) const CREATE_NAMES: SyncSite = SyncSite("names created");

const IDENTITY_MAGIC: [u8; 8] = *b"CAIRNLOG";
const IDENTITY_NAME: &str = "identity";
const LOCK_NAME: &str = "lock";

/// How a log is opened.
#[derive(Clone)]
pub struct Options {
    /// Bytes of a segment file, [`SEGMENT_BYTES_MIN`]..=[`SEGMENT_BYTES_MAX`]. Only for segments
    /// made from now on.
    pub segment_bytes: u64,
    /// Partitions of a log that is created now; an existing one keeps its number.
    pub partitions: u16,
    /// `Buffered` batches are synced at the latest this long after they were written.
    pub buffered_sync: Duration,
    /// Whether threads commit, prepare, sync and mark. Without them the caller steps each
    /// partition, and the log is deterministic.
    pub threads: bool,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// The id of a log that is created now; by default a random one.
    pub log_id: Option<LogId>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: SEGMENT_BYTES,
            partitions: 1,
            buffered_sync: Duration::from_millis(1_000),
            threads: true,
            clock: Arc::new(SystemClock::new()),
            log_id: None,
        }
    }
}

/// An open log. Close it with [`Log::close`]; dropping it counts as an unclean close.
pub struct Log {
    id: LogId,
    vfs: Arc<dyn Vfs>,
    partitions: Vec<Arc<Partition>>,
    housekeepers: Vec<Arc<Housekeeper>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    _lock: Box<dyn Lock>,
}

impl Log {
    /// Opens the log in `directory`, creating it if there is none.
    ///
    /// Recovers every partition (see [`Partition::recovery`] for what that did). Cost: one small
    /// read a segment, and after an unclean close a scan of each partition's newest segment.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`], [`Error::Format`], [`Error::Corrupt`] (nothing is changed then),
    /// [`Error::Invalid`] for options outside their limits, [`Error::Io`].
    pub fn open(vfs: Arc<dyn Vfs>, directory: &Path, options: Options) -> Result<Log> {
        check(&options)?;
        create_directory(vfs.as_ref(), directory)?;
        let lock_path = directory.join(LOCK_NAME);
        let lock = vfs.lock(&lock_path).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => Error::Locked {
                path: lock_path.clone(),
            },
            _ => Error::io("lock", &lock_path, error),
        })?;
        let identity = match read_identity(vfs.as_ref(), directory)? {
            Some(identity) => identity,
            None => create(vfs.as_ref(), directory, &options)?,
        };
        let mut partitions = Vec::new();
        for number in 0..identity.partitions {
            let partition = PartitionId(number);
            let directory = partition_directory(directory, partition);
            let place = Place {
                vfs: vfs.as_ref(),
                directory: &directory,
                log: identity.log,
                partition,
            };
            let recovered = recover(&place)?;
            partitions.push(Partition::start(
                partition,
                identity.log,
                Arc::clone(&vfs),
                &directory,
                options.clone(),
                recovered,
            ));
        }
        let housekeepers: Vec<_> = partitions.iter().cloned().map(Housekeeper::new).collect();
        let threads = if options.threads {
            background::start(&housekeepers)?
        } else {
            Vec::new()
        };
        let id = identity.log;
        Ok(Log {
            id,
            vfs,
            partitions,
            housekeepers,
            threads: Mutex::new(threads),
            _lock: lock,
        })
    }

    /// The log's random name.
    pub fn id(&self) -> LogId {
        self.id
    }

    /// The partitions, by number.
    pub fn partitions(&self) -> &[Arc<Partition>] {
        &self.partitions
    }

    /// Makes everything durable and marks a clean close, so that the next open need not recover.
    /// Later appends are refused.
    ///
    /// # Errors
    ///
    /// The first failure; the close then counts as unclean, and nothing acknowledged is lost.
    pub fn close(&self) -> Result<()> {
        let outcomes: Vec<_> = self
            .partitions
            .iter()
            .map(|partition| partition.close())
            .collect();
        self.stop_threads();
        outcomes.into_iter().collect()
    }

    /// Copies what is durable into a new or empty directory of the same disk, as a log that a plain
    /// [`Log::open`] opens to exactly that: of each partition, what was durable at some moment
    /// during the call. Appends, reads and seals go on meanwhile; segments are not dropped. A
    /// backup is whole, and durable, only when this has returned.
    ///
    /// Sealed segments are linked, so the copy shares their bytes, and their damage, with the
    /// original; move it to another disk to be safe from that. Cost: a copy of the newest segment
    /// of each partition (of all of them where links are refused), and a few syncs.
    ///
    /// # A backup is a fork
    ///
    /// It bears the log's id, without which its frames would not verify. It gives out no offset
    /// that the original gives out in the segment it was writing at the call, but further on the
    /// two name different batches by the same offset. So open it in place of the original, never
    /// beside it, and never mix their files.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the directory holds anything; [`Error::DiskFull`], [`Error::Io`],
    /// after which the unfinished backup is of no use. The log itself is never harmed.
    pub fn backup(&self, to: &Path) -> Result<()> {
        let vfs = self.vfs.as_ref();
        create_directory(vfs, to)?;
        let names = vfs.list(to).map_err(|error| Error::io("list", to, error))?;
        if !names.is_empty() {
            let what = format!("{} is not empty, so no backup goes there", to.display());
            return Err(Error::Invalid { what });
        }
        for partition in &self.partitions {
            partition.back_up(&partition_directory(to, partition.id()))?;
        }
        // The identity comes last: without it, what a crash leaves is no log.
        let identity = Identity {
            log: self.id,
            partitions: u16::try_from(self.partitions.len()).unwrap_or(PARTITIONS_MAX),
            complete: true,
        };
        let path = to.join(IDENTITY_NAME);
        Slots::create(vfs, &path, IDENTITY_MAGIC, &identity.encode(), BACKUP_FILES)?;
        vfs.sync_directory(to, BACKUP_NAMES)
            .map_err(|error| Error::io("sync", to, error))
    }

    fn stop_threads(&self) {
        self.housekeepers
            .iter()
            .for_each(|housekeeper| housekeeper.stop());
        self.partitions
            .iter()
            .for_each(|partition| partition.stop());
        for thread in self.threads.lock().drain(..) {
            // A thread that panicked has nothing left to hand over.
            let _ = thread.join();
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.stop_threads();
    }
}

#[derive(Clone, Copy)]
struct Identity {
    log: LogId,
    partitions: u16,
    complete: bool,
}

impl Identity {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.log.0.to_vec();
        bytes.extend_from_slice(&self.partitions.to_le_bytes());
        bytes.push(u8::from(self.complete));
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Identity> {
        let mut fields = Fields::new(bytes);
        let log = LogId(fields.bytes());
        let partitions = fields.u16();
        let complete = fields.u8() == 1;
        let sane = !fields.short && (1..=PARTITIONS_MAX).contains(&partitions);
        sane.then_some(Identity {
            log,
            partitions,
            complete,
        })
    }
}

fn check(options: &Options) -> Result<()> {
    if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&options.segment_bytes)
        || !options.segment_bytes.is_multiple_of(4096)
    {
        let what = format!(
            "segment_bytes is {}; it must be a multiple of 4096 in \
             {SEGMENT_BYTES_MIN}..={SEGMENT_BYTES_MAX}",
            options.segment_bytes
        );
        return Err(Error::Invalid { what });
    }
    if !(1..=PARTITIONS_MAX).contains(&options.partitions) {
        let what = format!(
            "partitions is {}; it must be in 1..={PARTITIONS_MAX}",
            options.partitions
        );
        return Err(Error::Invalid { what });
    }
    Ok(())
}

fn create_directory(vfs: &dyn Vfs, directory: &Path) -> Result<()> {
    vfs.create_directory(directory)
        .map_err(|error| Error::io("create", directory, error))?;
    let parent = match directory.parent() {
        // A name alone stands in the current directory.
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    vfs.sync_directory(parent, CREATE_NAMES)
        .map_err(|error| Error::io("sync", parent, error))
}

pub(crate) fn partition_directory(directory: &Path, partition: PartitionId) -> PathBuf {
    directory.join(format!("p{:04x}", partition.0))
}

/// Whose log a directory holds.
pub(crate) struct Identified {
    pub(crate) path: PathBuf,
    pub(crate) log: LogId,
    pub(crate) partitions: u16,
    /// Where a slot stands that is not whole.
    pub(crate) damaged_slot: Option<u64>,
}

/// Tells what log a directory holds, if any, and changes nothing.
pub(crate) fn identify(vfs: &dyn Vfs, directory: &Path) -> Result<Option<Identified>> {
    let found = find_identity(vfs, directory)?;
    Ok(found.map(|(_, found, identity)| Identified {
        path: directory.join(IDENTITY_NAME),
        log: identity.log,
        partitions: identity.partitions,
        damaged_slot: found.damaged,
    }))
}

/// The identity of the log, or `None` if the directory holds no log yet.
fn read_identity(vfs: &dyn Vfs, directory: &Path) -> Result<Option<Identity>> {
    let Some((mut slots, found, identity)) = find_identity(vfs, directory)? else {
        return Ok(None);
    };
    if found.older.is_none() {
        slots.write(&found.content, CREATE_IDENTITY)?;
    }
    Ok(Some(identity))
}

fn find_identity(
    vfs: &dyn Vfs,
    directory: &Path,
) -> Result<Option<(Slots, slots::Found, Identity)>> {
    let names = vfs
        .list(directory)
        .map_err(|error| Error::io("list", directory, error))?;
    let path = directory.join(IDENTITY_NAME);
    let used = partition_with_segments(vfs, directory, &names)?;
    if !names.iter().any(|name| name == IDENTITY_NAME) {
        return match used {
            Some(partition) => {
                let what = format!("it is missing, but {} holds segments", partition.display());
                Err(Error::corrupt(&path, 0, what))
            }
            None => Ok(None),
        };
    }
    let (slots, found) = match Slots::open(vfs, &path, IDENTITY_MAGIC) {
        Err(Error::Corrupt { .. }) if used.is_none() => return Ok(None),
        opened => opened?,
    };
    let identity = Identity::decode(&found.content)
        .ok_or_else(|| Error::corrupt(&path, 0, "it holds no sane identity"))?;
    if !identity.complete && used.is_none() {
        return Ok(None);
    }
    Ok(Some((slots, found, identity)))
}

fn partition_with_segments(
    vfs: &dyn Vfs,
    directory: &Path,
    names: &[String],
) -> Result<Option<PathBuf>> {
    for name in names.iter().filter(|name| is_partition_name(name)) {
        let partition = directory.join(name);
        let listing = Listing::read(vfs, &partition)?;
        if !listing.segments.is_empty() || !listing.copies.is_empty() {
            return Ok(Some(partition));
        }
    }
    Ok(None)
}

fn is_partition_name(name: &str) -> bool {
    name.len() == 5
        && name
            .strip_prefix('p')
            .is_some_and(|digits| u16::from_str_radix(digits, 16).is_ok())
}

fn create(vfs: &dyn Vfs, directory: &Path, options: &Options) -> Result<Identity> {
    let log = options.log_id.unwrap_or_else(random_log_id);
    let identity = Identity {
        log,
        partitions: options.partitions,
        complete: false,
    };
    let path = directory.join(IDENTITY_NAME);
    remove_leftover(vfs, &path)?;
    let mut slots = Slots::create(
        vfs,
        &path,
        IDENTITY_MAGIC,
        &identity.encode(),
        CREATE_IDENTITY,
    )?;
    for number in 0..options.partitions {
        create_partition(vfs, directory, log, PartitionId(number))?;
    }
    sync_names(vfs, directory)?;
    let identity = Identity {
        complete: true,
        ..identity
    };
    slots.write(&identity.encode(), CREATE_IDENTITY)?;
    slots.write(&identity.encode(), CREATE_IDENTITY)?;
    Ok(identity)
}

fn create_partition(
    vfs: &dyn Vfs,
    parent: &Path,
    log: LogId,
    partition: PartitionId,
) -> Result<()> {
    let directory = partition_directory(parent, partition);
    vfs.create_directory(&directory)
        .map_err(|error| Error::io("create", &directory, error))?;
    let path = directory.join(superblock::FILE_NAME);
    remove_leftover(vfs, &path)?;
    let block = Superblock {
        log,
        partition,
        closed: false,
        incarnation: Incarnation(1),
        marked: START,
        time_ms: 0,
        cut: None,
        resume: START,
    };
    Slots::create(
        vfs,
        &path,
        superblock::MAGIC,
        &block.encode(),
        CREATE_SUPERBLOCK,
    )?;
    sync_names(vfs, &directory)
}

fn sync_names(vfs: &dyn Vfs, directory: &Path) -> Result<()> {
    vfs.sync_directory(directory, CREATE_NAMES)
        .map_err(|error| Error::io("sync", directory, error))
}

fn remove_leftover(vfs: &dyn Vfs, path: &Path) -> Result<()> {
    match vfs.remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

fn random_log_id() -> LogId {
    // The standard library seeds each `RandomState` from the operating system.
    let mut id = [0; 16];
    let words = [
        RandomState::new().hash_one(0u8),
        RandomState::new().hash_one(1u8),
    ];
    for (word, place) in words.iter().zip(id.chunks_exact_mut(8)) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    LogId(id)
}

#[cfg(test)]
mod tests;
