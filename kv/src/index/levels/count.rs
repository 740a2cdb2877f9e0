//! What a key of a memtable counts for in the levels below it.

use std::ops::ControlFlow;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Levels;
use crate::index::members::Counts;
use crate::index::memtable::{Memtable, Node};
use crate::index::run::{Place, Run};
use crate::record::BucketId;

/// How well older levels are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Estimate {
    Quick,
    Close,
}

impl Levels {
    /// What a key of a memtable counts for in the levels below it, told without reading a record
    /// of the log. Of a key in a run the bytes are the average. `Estimate::Quick` does not look
    /// into the merged index either and takes its filter's word: keys that it has forgotten count
    /// as there, and so does one in a hundred that it never had.
    ///
    /// # Errors
    ///
    /// A guess, if an index file that may hold the key is of no use: ask again once the next read
    /// has found that out and the file is made anew.
    pub(crate) fn counted_below(
        &self,
        memtable: &Memtable,
        bucket: BucketId,
        node: &Node,
        average_bytes: i64,
        estimate: Estimate,
    ) -> Result<Counts, Counts> {
        let older = self
            .memtables
            .iter()
            .filter(|older| older.base() < memtable.base());
        let mut retired: SmallVec<[Arc<Run>; 2]> = SmallVec::new();
        for older in older {
            let (location, _) = older.locate(node.hash(), bucket, node.key(), u64::MAX);
            if location.version != 0 {
                return Ok(Counts::of(node.key().len(), &location));
            }
            retired.extend(older.run());
        }
        let one_key = Counts {
            keys: 1,
            bytes: average_bytes,
        };
        let mut is_certain = true;
        let told = |is_certain, counts| if is_certain { Ok(counts) } else { Err(counts) };
        for run in retired.iter().chain(&self.runs) {
            if run.head().identity.base >= memtable.base() || !run.may_hold(node.hash()) {
                continue;
            }
            let newest = |place: Place| {
                if place.is_superseded {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(place)
                }
            };
            match run.find(node.hash(), newest) {
                Ok(ControlFlow::Break(place)) if place.is_tombstone => {
                    return told(is_certain, Counts::default());
                }
                Ok(ControlFlow::Break(_)) => return told(is_certain, one_key),
                Ok(ControlFlow::Continue(())) => {}
                Err(_) => is_certain = false,
            }
        }
        let Some(merged) = self
            .merged
            .as_ref()
            .filter(|merged| merged.may_hold(node.hash()))
        else {
            return told(is_certain, Counts::default());
        };
        if estimate == Estimate::Quick {
            return told(is_certain, one_key);
        }
        match merged.get(bucket, node.key()) {
            Ok(Some(entry)) => {
                let counts = Counts {
                    keys: 1,
                    bytes: Counts::key_bytes(node.key().len())
                        + i64::try_from(entry.counted_bytes()).unwrap_or(i64::MAX),
                };
                told(is_certain, counts)
            }
            Ok(None) => told(is_certain, Counts::default()),
            Err(_) => Err(one_key),
        }
    }
}
