//! Checks every byte of a partition: each batch of the log, each block of each run, each page of the
//! merged index that an entry stands in.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use cairn_log::Offset;
use cairn_log::vfs::Vfs;

use super::Keyspace;
use super::maintain::{MERGED_NAME, index_io, merged_failure, run_failure};
use crate::error::{Error, ErrorKind, Result};
use crate::index::merged::View;
use crate::index::run::{self, Run};
use crate::record::{Body, Record};
use crate::snapshot;
use crate::status::Verified;

impl Keyspace {
    /// Reads and checks everything.
    ///
    /// # Errors
    ///
    /// `Corrupt`, naming what is damaged, at the first damage of the log. Damaged index files are
    /// only counted: they are made again from the log.
    pub(crate) fn verify(&self) -> Result<Verified> {
        let mut verified = Verified::default();
        let mut outcome = Ok(());
        let snapshots = self.pins().system().map(|system| system.id);
        self.log.replay(Offset::default(), |batch| {
            verified.batches += 1;
            for (offset, payload) in batch.records() {
                verified.records += 1;
                let why = match Record::decode(payload) {
                    Err(malformed) => malformed.to_string(),
                    Ok(record) => match record.body {
                        Body::Put(put) if Some(record.bucket) == snapshots => {
                            match snapshot::decode(put.key, put.value) {
                                Ok(_) => continue,
                                Err(error) => error.message().to_owned(),
                            }
                        }
                        _ => continue,
                    },
                };
                let partition = self.log.id();
                let message = format!(
                    "the record at offset {offset} of partition {partition} is damaged: {why}"
                );
                outcome = Err(Error::new(ErrorKind::Corrupt, message));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        outcome?;
        let (pin, _) = self.pin();
        let archive = self.archive(&pin.levels)?;
        for run in pin.levels.runs.iter().chain(&archive) {
            match run.check() {
                Ok(()) => verified.runs += 1,
                Err(fault) => verified
                    .damaged
                    .push(run_failure(&fault).message().to_owned()),
            }
        }
        if let Some(merged) = &pin.levels.merged {
            self.verify_merged(merged, &mut verified);
        }
        Ok(verified)
    }

    /// Reads and checks the index files that stand on `disk`, which need not be the one that this
    /// keyspace was opened on: there an open has replaced what was of no use. Files that are not
    /// there are no damage; they are made when they are needed.
    pub(crate) fn verify_files(&self, disk: &Arc<dyn Vfs>, verified: &mut Verified) -> Result<()> {
        let directory = self.log.directory();
        let names = disk.list(directory).map_err(|error| index_io(&error))?;
        let is_there = |name: &str| names.iter().any(|found| found == name);
        let spans = self.log.segments();
        for span in spans.iter().filter(|span| span.base != span.end) {
            if !is_there(&run::file_name(span.number)) {
                continue;
            }
            let run = Run::open(disk.as_ref(), directory, &self.run_identity(span));
            match run.and_then(|run| run.check()) {
                Ok(()) => verified.runs += 1,
                Err(fault) => {
                    let message = run_failure(&fault).message().to_owned();
                    verified.damaged.push(message);
                }
            }
        }
        if is_there(MERGED_NAME) {
            match self.open_merged_on(disk) {
                Ok(merged) => self.verify_merged(&merged.view(), verified),
                Err(fault) => {
                    let message = merged_failure(&fault).message().to_owned();
                    verified.damaged.push(message);
                }
            }
        }
        Ok(())
    }

    fn verify_merged(&self, merged: &Arc<View>, verified: &mut Verified) {
        let mut count = |bucket| {
            let all = (Bound::Unbounded, Bound::Unbounded);
            for entry in merged.range(bucket, all, false)? {
                entry?;
                verified.entries += 1;
            }
            Ok(())
        };
        let counted = self
            .buckets_known(merged)
            .into_iter()
            .try_for_each(&mut count);
        if let Err(fault) = counted {
            let message = merged_failure(&fault).message().to_owned();
            verified.damaged.push(message);
        }
    }
}
