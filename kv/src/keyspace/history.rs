//! Reads of the past, and how far they reach.
//!
//! Memtables and runs know every version of their segments, and garbage collection moves what
//! history keeps. So a bucket at an earlier version is read from memtables and runs alone, those of
//! merged segments included; the merged index has only the newest versions and is left out.
//!
//! Garbage collection also moves what snapshots show, so the moments of these can be read in the same
//! way, and no others below the floor.
//!
//! The *floor* of a partition is the version from which on every moment can be read. It is logged,
//! and durable, before the first version that it uncovers is dropped.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use cairn_log::Offset;

use super::{Keyspace, Past, Pin};
use crate::error::{Error, ErrorKind, Result};
use crate::index::levels::Levels;
use crate::index::run::Run;
use crate::record::BucketId;
use crate::version::Version;

impl Keyspace {
    /// Every moment from this version on can be read; 0 if all can.
    pub(crate) fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    /// Pins the moment of the newest batch at or below `version`, for reads of a bucket, and tells
    /// that batch.
    ///
    /// # Errors
    ///
    /// `Compacted` if the version is above what readers see, or below the floor and of no snapshot
    /// of the bucket.
    pub(crate) fn pin_past(&self, bucket: BucketId, version: Version) -> Result<(Pin, Version)> {
        let (now, head) = self.pin();
        let refuse = |why: String| Err(Error::new(ErrorKind::Compacted, why));
        if version > head {
            return refuse(format!(
                "version {version} does not exist yet; the newest is {head}"
            ));
        }
        if !self.is_durable(version.get()) {
            // The past is what nothing can undo any more.
            self.log.barrier()?.wait()?;
        }
        let archive = self.archive(&now.levels)?;
        // After the levels: what the floor uncovers later, or a snapshot that is removed, is in them.
        let of_snapshot = self.snapshots.lock().time_ms(bucket, version.get());
        let (batch, time_ms) = match of_snapshot {
            Some(time_ms) => (Offset::new(version.get()), time_ms),
            None => {
                let batch = self.log.batch_at_or_below(Offset::new(version.get()))?;
                let floor = Version::new(self.floor());
                if version < floor {
                    return refuse(format!(
                        "version {version} is no longer kept; the oldest that can be read is {floor}"
                    ));
                }
                batch.unwrap_or((Offset::new(0), 0))
            }
        };
        let pin = Pin {
            watermark: version.get() + 1,
            past: Some(Past {
                time_ms,
                archive: archive.into(),
            }),
            ..now
        };
        Ok((pin, Version::new(batch.get())))
    }

    /// The runs of the segments that are merged in these levels and may be looked into as long as
    /// they are held, newest first.
    pub(super) fn archive(&self, levels: &Levels) -> Result<Vec<Arc<Run>>> {
        self.archive_but(levels, &levels.emptied)
    }

    /// The same of all merged segments that are there, for who drops them.
    pub(super) fn whole_archive(&self, levels: &Levels) -> Result<Vec<Arc<Run>>> {
        self.archive_but(levels, &[])
    }

    fn archive_but(&self, levels: &Levels, left_out: &[u64]) -> Result<Vec<Arc<Run>>> {
        let covered = levels.covered();
        let mut runs = Vec::new();
        for span in self.log.segments().into_iter().rev() {
            let base = span.base.get();
            if span.end.get() > covered || span.base == span.end || left_out.contains(&base) {
                continue;
            }
            let known = self.archive.lock().get(&base).cloned();
            let run = match known {
                Some(run) => run,
                None => {
                    let run = Arc::new(self.open_or_rebuild(&span, levels)?);
                    self.archive.lock().insert(base, Arc::clone(&run));
                    run
                }
            };
            runs.push(run);
        }
        Ok(runs)
    }
}
