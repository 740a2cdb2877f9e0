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
//! # In place and anew
//!
//! Pages are copied on write: a merge whose changes are spread over the keys copies all of them, and
//! leaves a file several times as large as its entries. Once such merges have changed a third of the
//! keys, one writes all entries into a new file instead (`anew`), which takes the name of the other. What changes few pages, as keys that
//! grow with time do, stays where it is. Views of the file before go on being read from it, though
//! it has no name any more; while some are, merges are in place, so that there are never more than two
//! files with a cache each.
//!
//! # Crashes and failures
//!
//! A file gets its name when its first merge is durable, so a name leads to a whole index.
//! Whatever crashes, the next open shows the last merge that returned, or the one that was under
//! way, wholly. It never scans: each merge stores redb's page map with it ("quick repair"), and
//! the filter stands in a table.
//!
//! A merge anew that fails before its file has the name has changed nothing, and may be made again.
//! Another that fails leaves the newest view as it was, and readable: redb reads nothing any more
//! through a file in which a write, a sync or a read has failed, so the view is opened once more
//! over the file as that merge found it. Older views that are still held answer [`Fault::Io`] as
//! soon as they need the disk. What the owner does next is said with each [`Fault`].
//!
//! redb is not guarded against panics: what makes it panic is pages that are not what it wrote,
//! and none of those gets past the sums (its header included, which has one too).
//!
//! # Memory
//!
//! redb's cache (given to [`Merged::open`]; a quarter more while a file is written anew, and as much
//! again while somebody reads the one before), the sums (1/1000 of the file), the filter (10 bits a
//! key, at most 64 MiB), thrice during a merge.

mod anew;
mod entry;
mod fault;
mod merge;
mod range;
mod view;

use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use cairn_log::LogId;
use cairn_log::vfs::{SyncSite, Vfs};
use parking_lot::{Mutex, RwLock};
use redb::{Database, TableDefinition};
use smallvec::SmallVec;

pub(crate) use self::entry::{Entry, EntryKind};
pub(crate) use self::fault::Fault;
use self::merge::Merging;
pub(crate) use self::merge::{Expected, Summary, Way};
pub(crate) use self::range::{Key, Range};
pub(crate) use self::view::View;
use super::checked_file::CheckedFile;
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
    home: Home,
    /// It has the file.
    current: RwLock<Arc<View>>,
    merging: Mutex<Merging>,
    /// Why no merge can be made any more.
    broken: OnceLock<String>,
}

/// Where an index stands, and what else makes its file.
struct Home {
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
    identity: Identity,
    cache_bytes: usize,
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
        let home = Home {
            vfs: Arc::clone(vfs),
            path: path.to_owned(),
            identity,
            cache_bytes,
        };
        // Of a merge that has not come to its end; the next one removes it as well.
        let _ = vfs.remove(&home.unfinished());
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
                home.sync_name()?;
                let database = open_database(&file, cache_bytes)?;
                Merged::over(home, &file, database)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Merged::create(home),
            Err(error) => Err(Fault::Io(error)),
        }
    }

    /// Makes an empty index under another name, and gives it its own when it is durable.
    fn create(home: Home) -> Result<Merged, Fault> {
        let file = home.new_file().map_err(Fault::Io)?;
        let database = open_database(&file, home.cache_bytes)?;
        merge::make_tables(&database, &file)?;
        home.take_name()?;
        Merged::over(home, &file, database)
    }

    fn over(home: Home, file: &CheckedFile, database: Database) -> Result<Merged, Fault> {
        let view = View::open(&Arc::new(database), file, None)?;
        Ok(Merged {
            home,
            current: RwLock::new(Arc::new(view)),
            merging: Mutex::default(),
            broken: OnceLock::new(),
        })
    }

    /// What the last merge left.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.current.read())
    }
}

impl Home {
    /// Makes a file under another name.
    fn new_file(&self) -> io::Result<CheckedFile> {
        let unfinished = self.unfinished();
        match self.vfs.remove(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.vfs.create(&unfinished)?;
        let name = self.path.display().to_string();
        CheckedFile::create(file, name, &self.identity.to_bytes())
    }

    /// Gives that file its own name, durably. It must be a whole index that is durable itself.
    fn take_name(&self) -> Result<(), Fault> {
        let renamed = self.vfs.rename(&self.unfinished(), &self.path);
        renamed.map_err(Fault::Io)?;
        self.sync_name()
    }

    fn sync_name(&self) -> Result<(), Fault> {
        let parent = self.path.parent().unwrap_or(Path::new(""));
        let synced = self.vfs.sync_directory(parent, NAME);
        synced.map_err(Fault::Io)
    }

    /// The name of an index that is still being made.
    fn unfinished(&self) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".new");
        PathBuf::from(name)
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

/// A key of the table of entries.
fn full_key(bucket: BucketId, key: &[u8]) -> SmallVec<[u8; 512]> {
    let mut full = SmallVec::new();
    full.extend_from_slice(&bucket.0.to_be_bytes());
    full.extend_from_slice(key);
    full
}

/// Of a key in the table of entries, before the key.
type BucketBytes = [u8; 4];

/// The bounds of a bucket in the table of entries.
fn bucket_bounds(bucket: BucketId) -> (Bound<BucketBytes>, Bound<BucketBytes>) {
    let next = bucket.0.checked_add(1);
    (
        Bound::Included(bucket.0.to_be_bytes()),
        next.map_or(Bound::Unbounded, |next| Bound::Excluded(next.to_be_bytes())),
    )
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
