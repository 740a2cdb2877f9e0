//! Writing runs: how the memtable of a sealed segment becomes a file.

use std::sync::Arc;

use cairn_log::SegmentSpan;

use super::Keyspace;
use super::maintain::{Maintenance, run_failure};
use crate::error::{Error, ErrorKind, Result};
use crate::index::levels::{Below, Estimate, Levels};
use crate::index::memtable::{Memtable, Node};
use crate::index::run::{Place, Run, RunBucket, RunEntry, RunHead, RunIdentity};
use crate::index::versions::Kind;

impl Keyspace {
    /// Writes the run of the oldest memtable that takes no writes any more.
    pub(super) fn write_oldest_run(&self, maintenance: &mut Maintenance) -> Result<bool> {
        let written = self.write_waiting_run();
        Ok(maintenance.noting(written)?.is_some())
    }

    /// [`Keyspace::write_oldest_run`] for who holds the maintenance already. Returns the run.
    pub(super) fn write_waiting_run(&self) -> Result<Option<Arc<Run>>> {
        let levels = Arc::clone(&self.levels.read());
        let Some(memtable) = levels.memtables[1..].last() else {
            return Ok(None);
        };
        let span = self.span(memtable.base())?;
        let run = Arc::new(self.write_run(&levels, memtable, &span)?);
        self.replace_levels(|current| {
            let mut memtables = current.memtables.clone();
            memtables.retain(|other| !Arc::ptr_eq(other, memtable));
            let mut runs = current.runs.clone();
            runs.insert(0, Arc::clone(&run));
            Levels {
                memtables,
                runs,
                merged: current.merged.clone(),
                emptied: Arc::clone(&current.emptied),
            }
        });
        // Not before: current levels have no retired memtable.
        memtable.retire(Arc::clone(&run));
        Ok(Some(run))
    }

    /// Writes the run of a sealed segment that `memtable` holds.
    pub(super) fn write_run(
        &self,
        below: &Levels,
        memtable: &Memtable,
        span: &SegmentSpan,
    ) -> Result<Run> {
        let identity = self.run_identity(span);
        let mut entries = Vec::with_capacity(memtable.records());
        let mut buckets = Vec::new();
        for (bucket, members) in memtable.buckets() {
            let before = entries.len();
            let mut written = 0;
            for node in members.all_in_key_order() {
                let versions = node.versions();
                let current = versions.newest_first().map(|location| (location, false));
                let superseded = versions.superseded().iter();
                for (location, is_superseded) in
                    current.chain(superseded.map(|&location| (location, true)))
                {
                    written = location.version.max(written);
                    entries.push(RunEntry {
                        hash: node.hash(),
                        place: Place {
                            record: location.record,
                            version: (!location.is_moved).then_some(location.version),
                            is_tombstone: location.kind == Kind::Tombstone,
                            is_superseded,
                        },
                    });
                }
            }
            let average = self
                .counts_below(below, bucket, memtable.base())
                .average_bytes();
            let prepare = |node: &Node| below.prefetch_filters(node.hash());
            let mut older = Below::of(below, memtable);
            let delta = members.counts(prepare, |node| {
                older.counted(bucket, node, average, Estimate::Quick)
            });
            buckets.push(RunBucket {
                bucket: bucket.0,
                entries: (entries.len() - before) as u64,
                keys_delta: delta.keys,
                bytes_delta: delta.bytes,
                written,
                first: before as u64,
            });
        }
        let head = RunHead {
            identity,
            last_version: memtable.last_version(),
            newest_time_ms: memtable.newest_time_ms(),
            buckets,
            controls: memtable.controls(),
        };
        let (vfs, directory) = (self.log.vfs().as_ref(), self.log.directory());
        Run::write(vfs, directory, &head, entries.into_iter())
            .and_then(|()| Run::open(vfs, directory, &identity))
            .map_err(|fault| run_failure(&fault))
    }

    pub(super) fn run_identity(&self, span: &SegmentSpan) -> RunIdentity {
        RunIdentity {
            log: self.log.log_id(),
            partition: self.log.id().0,
            segment: span.number,
            base: span.base.get(),
            end: span.end.get(),
        }
    }

    pub(super) fn span(&self, base: u64) -> Result<SegmentSpan> {
        let spans = self.log.segments();
        spans
            .into_iter()
            .rfind(|span| span.base.get() == base)
            .ok_or_else(|| {
                let message = format!("no segment of the log begins at offset {base}");
                Error::new(ErrorKind::Corrupt, message)
            })
    }
}
