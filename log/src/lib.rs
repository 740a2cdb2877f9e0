//! A partitioned, crash-safe, memory-mapped write-ahead log that is the whole database.
//!
//! A [`Log`] is a directory of [`Partition`]s, each an append-only stream of atomic batches of
//! opaque records. A batch is built in a [`BatchBuffer`], gets its place with
//! [`Partition::try_append`], and is acknowledged when its [`Commit`] completes. What was
//! acknowledged as [`Durability::Local`] survives any crash; bytes that do not verify are never
//! returned.
//!
//! The log knows nothing of keys. `DESIGN.md` in this package has the file formats, the rules of
//! recovery, and what is assumed of the disk.

mod background;
mod checksum;
mod clock;
mod commit;
mod error;
mod frame;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
mod identity;
mod log;
mod partition;
#[cfg(feature = "testing")]
pub mod probes;
mod recovery;
mod retired;
mod segment;
mod slots;
mod superblock;
#[cfg(test)]
mod testing;
pub mod vfs;

pub use clock::{Clock, SystemClock};
pub use commit::Commit;
pub use error::{Error, Result};
pub use frame::{BATCH_BYTES_MAX, BatchBuffer};
pub use identity::{LogId, Offset, PartitionId};
pub use log::{Log, Options, PARTITIONS_MAX};
pub use partition::{
    Appended, BUFFERED_BYTES_MAX, Dropped, Durability, Partition, PartitionStatus, RecordBytes,
    ReplayedBatch, SegmentPin, SegmentSpan, TailBatch, TailReader,
};
pub use recovery::RecoveryReport;
pub use recovery::inspect::{Damage, InspectedBatch, Inspection, inspect};
pub use segment::spares::Claim;
pub use segment::{SEGMENT_BYTES, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
