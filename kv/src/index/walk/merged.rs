//! The keys of the merged index, in order.

use cairn_log::Partition;

use super::Chunk;
use super::ahead::Ahead;
use crate::index::levels::{LevelError, complete};
use crate::index::merged::{Entry, Range};
use crate::index::versions::Location;

pub(super) struct MergedWalk {
    range: Range,
    chunk: Chunk,
    /// Of the keys that were added last.
    entries: Vec<Entry>,
}

impl MergedWalk {
    pub(super) fn new(range: Range) -> MergedWalk {
        MergedWalk {
            range,
            chunk: Chunk::default(),
            entries: Vec::new(),
        }
    }

    /// Adds the next keys, each with what its entry says alone; none if there are no more.
    pub(super) fn fill(&mut self, ahead: &mut Ahead) -> Result<(), LevelError> {
        self.entries.clear();
        for found in self.range.by_ref().take(self.chunk.next()) {
            let (key, entry) = found?;
            let location = Location {
                version: entry.version,
                record: entry.record,
                ..Location::NONE
            };
            ahead.push(&key, location, None);
            self.entries.push(entry);
        }
        Ok(())
    }

    /// The location of the n-th key that was added last.
    pub(super) fn location(&self, log: &Partition, nth: usize) -> Result<Location, LevelError> {
        complete(log, self.entries[nth])
    }
}
