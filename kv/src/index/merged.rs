//! The index of all older segments: where the newest version of each key stands, in a redb
//! database over a [checked file](super::checked_file).
//!
//! # Contents
//!
//! Three tables. Integers inside keys and values are as written; those that are a table's key are
//! redb's.
//!
//! ```text
//! entries  bucket id u32 big-endian · key  ->  16 bytes, little-endian (see `entry`):
//!                     record offset u64 | place u24 · kind u8 | value bytes u32
//! meta     0          ->  covered offset u64 | keys put into the filter since it was made u64
//!          1          ->  the owner's state, opaque
//! filter   number u32 ->  the next 32,512 bytes of the filter
//! ```
//!
//! All of it changes in one transaction, the *merge*, which moves the covered offset on. The file
//! is bound to the log, the partition and the format; it is derived from the log, so any other is
//! made anew rather than converted.
//!
//! # Rules
//!
//! * **A merge never brings an older version back.** A put or removal whose version is lower than
//!   that of the entry that stands there changes nothing. An equal one takes effect: a merge may
//!   be repeated, and a version may have moved to another place.
//! * **A reader holds a [`View`]**: what one merge left, until it is dropped, whatever is merged
//!   meanwhile. The pages that a view needs are not used again before, so views are not for
//!   keeping: the file grows by what is merged while the oldest lives.
//! * **Nothing wrong is ever returned**: bytes that do not match their sum are a
//!   [`Fault::Damaged`], as is everything that redb finds strange.
//!
//! # Crashes and failures
//!
//! A file gets its name when its first, empty merge is durable, so a name leads to a whole index.
//! Whatever crashes, the next open shows the last merge that returned, or the one that was under
//! way, wholly. It never scans: each merge stores redb's page map with it ("quick repair"), and
//! the filter stands in a table.
//!
//! A merge that fails leaves the newest view as it was, and readable: redb reads nothing any more
//! through a file in which a write, a sync or a read has failed, so the view is opened once more
//! over the file as that merge found it. Older views that are still held answer [`Fault::Io`] as
//! soon as they need the disk. What the owner does next is said with each [`Fault`].
//!
//! redb is not guarded against panics: what makes it panic is pages that are not what it wrote,
//! and none of those gets past the sums (its header included, which has one too).
//!
//! # Memory
//!
//! redb's cache (given to [`Merged::open`]), the sums (1/1000 of the file), the filter (10 bits a
//! key, at most 64 MiB), thrice during a merge.

mod entry;
mod fault;
mod merge;
mod range;
mod view;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use cairn_log::LogId;
use cairn_log::vfs::{SyncSite, Vfs};
use parking_lot::{Mutex, RwLock};
use redb::{Database, TableDefinition};
use smallvec::SmallVec;

pub(crate) use self::entry::{Entry, EntryKind};
pub(crate) use self::fault::Fault;
pub(crate) use self::merge::{Expected, Summary};
pub(crate) use self::range::Range;
pub(crate) use self::view::View;
use super::checked_file::CheckedFile;
use super::hash::HashSeed;
use crate::record::BucketId;

/// Makes the name of a new index durable.
pub(crate) const NAME: SyncSite = SyncSite("index name");

/// Whose index a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) log: LogId,
    pub(crate) partition: u16,
}

/// An open index file. Merges come one after the other; views are read by any number of threads.
pub(crate) struct Merged {
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
    file: CheckedFile,
    database: Arc<Database>,
    seed: HashSeed,
    current: RwLock<Arc<View>>,
    merging: Mutex<()>,
    /// Why no merge can be made any more.
    broken: OnceLock<String>,
}

impl Merged {
    /// Opens the index at `path`, or makes an empty one if there is none. `cache_bytes` bounds
    /// redb's cache.
    ///
    /// No other `Merged` may have the file open, and no view of an earlier one may be left: the
    /// new one does not know which pages they need.
    pub(crate) fn open(
        vfs: &Arc<dyn Vfs>,
        path: &Path,
        identity: Identity,
        cache_bytes: usize,
    ) -> Result<Merged, Fault> {
        match vfs.open(path) {
            Ok(file) => {
                let name = path.display().to_string();
                let (file, found) = CheckedFile::open(file, name).map_err(Fault::of_open)?;
                if found != identity.to_bytes() {
                    let name = file.name();
                    return Err(Fault::Other(format!(
                        "{name}: the index of another log or partition, or of another format"
                    )));
                }
                if file.length() == 0 {
                    return Err(Fault::Damaged(format!("{}: cut short", file.name())));
                }
                // Whoever made it may have died before its name was durable.
                sync_name(vfs, path)?;
                let database = open_database(&file, cache_bytes)?;
                Merged::over(vfs, path, identity, file, database)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Merged::create(vfs, path, identity, cache_bytes)
            }
            Err(error) => Err(Fault::Io(error)),
        }
    }

    /// Makes an index under another name, and gives it its own when it is durable.
    fn create(
        vfs: &Arc<dyn Vfs>,
        path: &Path,
        identity: Identity,
        cache_bytes: usize,
    ) -> Result<Merged, Fault> {
        let unfinished = unfinished(path);
        match vfs.remove(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Fault::Io(error)),
            _ => {}
        }
        let file = vfs.create(&unfinished).map_err(Fault::Io)?;
        let name = path.display().to_string();
        let file = CheckedFile::create(file, name, &identity.to_bytes()).map_err(Fault::Io)?;
        let database = open_database(&file, cache_bytes)?;
        merge::make_tables(&database, &file)?;
        vfs.rename(&unfinished, path).map_err(Fault::Io)?;
        sync_name(vfs, path)?;
        Merged::over(vfs, path, identity, file, database)
    }

    fn over(
        vfs: &Arc<dyn Vfs>,
        path: &Path,
        identity: Identity,
        file: CheckedFile,
        database: Database,
    ) -> Result<Merged, Fault> {
        let database = Arc::new(database);
        let view = View::open(&database, &file, None)?;
        Ok(Merged {
            vfs: Arc::clone(vfs),
            path: path.to_owned(),
            file,
            database,
            seed: HashSeed::new(identity.log),
            current: RwLock::new(Arc::new(view)),
            merging: Mutex::new(()),
            broken: OnceLock::new(),
        })
    }

    /// What the last merge left.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.current.read())
    }
}

impl Identity {
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = FORMAT.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.partition.to_le_bytes());
        bytes.extend_from_slice(&self.log.0);
        bytes
    }
}

fn open_database(file: &CheckedFile, cache_bytes: usize) -> Result<Database, Fault> {
    Database::builder()
        .set_cache_size(cache_bytes)
        // Every commit stores the page map. One without it was not made here, and to work it out
        // would be to read the whole file: it is as well made anew.
        .set_repair_callback(|session| session.abort())
        .create_with_backend(file.clone())
        .map_err(|error| Fault::of_database(error, file))
}

fn sync_name(vfs: &Arc<dyn Vfs>, path: &Path) -> Result<(), Fault> {
    let parent = path.parent().unwrap_or(Path::new(""));
    vfs.sync_directory(parent, NAME).map_err(Fault::Io)
}

/// A key of the table of entries.
fn full_key(bucket: BucketId, key: &[u8]) -> SmallVec<[u8; 512]> {
    let mut full = SmallVec::new();
    full.extend_from_slice(&bucket.0.to_be_bytes());
    full.extend_from_slice(key);
    full
}

/// The name of an index that is still being made.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

/// Of the tables and what stands in them.
const FORMAT: u16 = 1;

const ENTRIES: TableDefinition<&[u8], &[u8; entry::BYTES]> = TableDefinition::new("entries");
const META: TableDefinition<u8, &[u8]> = TableDefinition::new("meta");
const FILTER: TableDefinition<u32, &[u8]> = TableDefinition::new("filter");
/// Keys of the table `meta`.
const META_COVERED: u8 = 0;
const META_STATE: u8 = 1;
/// As much of the filter as fits into 32 KiB of redb with what belongs to it.
const FILTER_CHUNK_BYTES: usize = 32_512;

#[cfg(test)]
mod tests;
