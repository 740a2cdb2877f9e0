//! Checks every byte of a partition: each batch of the log, each block of each run, each page of the
//! merged index that an entry stands in; and that the index files say what the log says.

use std::ops::{Bound, ControlFlow};

use cairn_log::Offset;

use super::Keyspace;
use super::maintain::{merged_failure, run_failure};
use crate::error::{Error, ErrorKind, Result};
use crate::record::Record;
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
        self.log.replay(Offset::default(), |batch| {
            verified.batches += 1;
            for (offset, payload) in batch.records() {
                verified.records += 1;
                if let Err(malformed) = Record::decode(payload) {
                    let partition = self.log.id();
                    let message = format!(
                        "the record at offset {offset} of partition {partition} is damaged: \
                         {malformed}"
                    );
                    outcome = Err(Error::new(ErrorKind::Corrupt, message));
                    return ControlFlow::Break(());
                }
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
            let counted = self
                .buckets_known(merged)
                .into_iter()
                .try_for_each(|bucket| {
                    let all = (Bound::Unbounded, Bound::Unbounded);
                    for entry in merged.range(bucket, all, false)? {
                        entry?;
                        verified.entries += 1;
                    }
                    Ok(())
                });
            if let Err(fault) = counted {
                verified
                    .damaged
                    .push(merged_failure(&fault).message().to_owned());
            }
        }
        Ok(verified)
    }
}
