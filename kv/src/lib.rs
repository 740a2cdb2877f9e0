//! An embedded key-value store whose write-ahead log is the database.
//!
//! A [`Store`] holds named [`Bucket`]s of keys and values. Writes are atomic batches with
//! conditions, acknowledged once they are as durable as was asked for; reads and ordered scans see
//! each batch wholly or not at all. The index is derived from the log and rebuilt from it at open.
//!
//! ```
//! use cairn_kv::{Batch, Durability, Expect, Scan, Store};
//!
//! let store = Store::memory(); // or Store::open("data")?
//! let users = store.bucket("users")?;
//!
//! let version = users.put("alice", "1")?;
//! let raise = Batch::new().require("alice", Expect::OneOf(vec![version])).put("alice", "2");
//! users.write(raise.clone(), Durability::Local)?;
//! let refused = users.write(raise, Durability::Local).unwrap_err();
//! assert_eq!(refused.kind(), cairn_kv::ErrorKind::VersionMismatch);
//!
//! for found in users.scan(Scan::prefix("a"))? {
//!     let (key, entry) = found?;
//!     println!("{} = {:?}", key.escape_ascii(), entry.value);
//! }
//! # Ok::<(), cairn_kv::Error>(())
//! ```
//!
//! No executor, no network, no `unsafe`. Every call blocks, except that `submit` returns a
//! [`Commit`], which is also a future. `DESIGN.md` in this package says how it works and why.

mod attributes;
mod background;
mod backup;
mod batch;
mod bucket;
mod catalogue;
mod clock;
mod commit;
mod digest;
mod entry;
mod error;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
mod index;
mod keyspace;
mod large;
pub mod limits;
mod options;
#[cfg(feature = "testing")]
pub mod probes;
mod record;
mod scan;
mod snapshot;
mod status;
mod store;
#[cfg(test)]
mod testing;
mod topic;
mod transaction;
mod verify;
mod version;
mod view;
mod watch;

pub use attributes::Attributes;
pub use batch::{Batch, Expect, PutOptions};
pub use bucket::options::BucketOptions;
pub use bucket::{Bucket, BucketInfo, Deleted};
/// The disk contract, for stores on a disk of one's own ([`Options::open_on`]).
pub use cairn_log::vfs;
pub use cairn_log::{Clock, Damage, LogId, SystemClock};
pub use commit::{Commit, Receipt};
pub use digest::StateDigest;
pub use entry::Entry;
pub use error::{Conflict, Error, ErrorKind, Result};
pub use large::{Upload, ValueReader};
pub use options::Options;
pub use scan::{Entries, Row, Scan};
pub use snapshot::SnapshotInfo;
pub use status::{IndexStatus, PartitionStatus, Status, Verified};
pub use store::Store;
pub use topic::retention::TopicRetention;
pub use topic::{Appended, LogKind, LogRecord, LogScan};
pub use transaction::{Transaction, TransactionEntries};
pub use verify::Verification;
pub use version::{Durability, Version};
pub use view::View;
pub use watch::{Watch, WatchBatch, WatchChange, WatchEvent};
