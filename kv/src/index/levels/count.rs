//! What the keys of a memtable count for in the levels below it.

use std::ops::ControlFlow;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Levels;
use crate::index::members::Counts;
use crate::index::memtable::{Memtable, Node};
use crate::index::run::{Cursor, Place, Run, RunFault};
use crate::record::BucketId;

/// How well older levels are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Estimate {
    Quick,
    Close,
}

/// The levels below a memtable. They are asked about one key after the other, best in the order of
/// their hashes: a block of a run is checked once then.
pub(crate) struct Below<'a> {
    levels: &'a Levels,
    memtable: &'a Memtable,
    /// Newest first.
    runs: Vec<Cursor<'a>>,
}

impl<'a> Below<'a> {
    pub(crate) fn of(levels: &'a Levels, memtable: &'a Memtable) -> Below<'a> {
        let runs = levels.runs.iter().map(|run| &**run);
        let is_below = |run: &&Run| run.head().identity.base < memtable.base();
        Below {
            levels,
            memtable,
            runs: runs.filter(is_below).map(Cursor::new).collect(),
        }
    }

    /// What a key of the memtable counts for, told without reading a record of the log. Of a key in
    /// a run the bytes are the average. `Estimate::Quick` does not look into the merged index either
    /// and takes its filter's word: keys that it has forgotten count as there, and so does one in a
    /// hundred that it never had.
    ///
    /// # Errors
    ///
    /// A guess, if an index file that may hold the key is of no use: ask again once the next read
    /// has found that out and the file is made anew.
    pub(crate) fn counted(
        &mut self,
        bucket: BucketId,
        node: &Node,
        average_bytes: i64,
        estimate: Estimate,
    ) -> Result<Counts, Counts> {
        let memtables = self.levels.memtables.iter();
        let older = memtables.filter(|older| older.base() < self.memtable.base());
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
        let hash = node.hash();
        let retired = retired.iter();
        let retired = retired.map(|run| newest(&mut Cursor::new(run), hash));
        let runs = self.runs.iter_mut().map(|run| newest(run, hash));
        for found in retired.chain(runs) {
            match found {
                Ok(Some(place)) if place.is_tombstone => {
                    return told(is_certain, Counts::default());
                }
                Ok(Some(_)) => return told(is_certain, one_key),
                Ok(None) => {}
                Err(_) => is_certain = false,
            }
        }
        let merged = self.levels.merged.as_ref();
        let Some(merged) = merged.filter(|merged| merged.may_hold(node.hash())) else {
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

/// The newest place of a hash, which is most likely that of the one key meant.
fn newest(run: &mut Cursor<'_>, hash: u64) -> Result<Option<Place>, RunFault> {
    let found = run.find(hash, |place| {
        if place.is_superseded {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(place)
        }
    })?;
    Ok(found.break_value())
}
