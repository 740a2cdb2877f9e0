//! Reads of the past, and how far they reach.
//!
//! Memtables and runs know every version of their segments, and garbage collection moves what
//! history keeps. So a bucket at an earlier version is read from memtables and runs alone, those of
//! merged segments included; the merged index has only the newest versions and is left out.
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
use crate::version::Version;

impl Keyspace {
    /// Every moment from this version on can be read; 0 if all can.
    pub(crate) fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    /// Pins the moment of the newest batch at or below `version`, and tells that batch.
    ///
    /// # Errors
    ///
    /// `Compacted` if the version is below the floor or above what readers see.
    pub(crate) fn pin_past(&self, version: Version) -> Result<(Pin, Version)> {
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
        let batch = self.log.batch_at_or_below(Offset::new(version.get()))?;
        // After the levels: what the floor uncovers later is in them.
        let floor = Version::new(self.floor());
        if version < floor {
            return refuse(format!(
                "version {version} is no longer kept; the oldest that can be read is {floor}"
            ));
        }
        let (batch, time_ms) = batch.unwrap_or((Offset::new(0), 0));
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

    /// The runs of the segments that are merged in these levels, newest first.
    pub(super) fn archive(&self, levels: &Levels) -> Result<Vec<Arc<Run>>> {
        let covered = levels.covered();
        let mut runs = Vec::new();
        for span in self.log.segments().into_iter().rev() {
            if span.end.get() > covered || span.base == span.end {
                continue;
            }
            let base = span.base.get();
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
