//! Short segments, which a process leaves behind that is killed again and again.
//!
//! The segment that is written when a process is killed stays as short as it is, and of the shortest
//! the files take as much as the records. Some of these are kept. Once there are too many that history
//! no longer reads, the oldest is emptied, however much is alive in it.
//!
//! What that gives back is little, so it is the last of all work, and none on a full disk; no writer
//! waits for it. History pays for their files as it does for old versions ([`super::floor`]): otherwise
//! it would keep all that an hour of kills has left.

use std::sync::Arc;

use crate::error::Result;
use crate::index::state::SegmentRow;
use crate::keyspace::Keyspace;
use crate::keyspace::maintain::{Maintenance, decode_state, merged_failure};

impl Keyspace {
    /// Empties one short segment, if there are too many. Says whether it did anything.
    pub(in crate::keyspace) fn collect_short(&self, maintenance: &mut Maintenance) -> Result<bool> {
        let are_few = self.log.segments().len() <= SHORT_MAX;
        let is_in_the_way = !maintenance.garbage.leaving.is_empty() || self.is_full();
        if are_few || is_in_the_way || self.is_disk_full(maintenance) {
            return Ok(false);
        }
        let levels = Arc::clone(&self.levels.read());
        let Some(merged) = &levels.merged else {
            return Ok(false);
        };
        let state = decode_state(merged).map_err(|fault| merged_failure(&fault))?;
        let floor = self.floor().max(self.floor_due(&state));
        let garbage = &mut maintenance.garbage;
        let drops = garbage.drops;
        let is_due = |(row, _): &(SegmentRow, u64)| {
            let is_left = |&(_, drops_then): &(u64, u64)| drops_then == drops;
            row.end <= floor
                && self.is_short(row)
                && !garbage.left.get(&row.base).is_some_and(is_left)
        };
        let mut due = self.movable(&state, garbage).filter(is_due);
        let Some((row, dead)) = due.next() else {
            return Ok(false);
        };
        if due.count() < SHORT_MAX {
            return Ok(false);
        }
        // Until it is gone, so that one that cannot be read is not tried for ever.
        garbage.left.insert(row.base, (dead, drops));
        self.raise_floor(floor)?;
        let moved = self.move_out(maintenance, &levels, &state, &row, floor, u64::MAX)?;
        maintenance.garbage.leaving.extend(moved);
        Ok(true)
    }

    /// Whether the files of a segment take about as much as its records.
    pub(super) fn is_short(&self, row: &SegmentRow) -> bool {
        // Segments that are no longer than their size or their memtable lets them be are not short.
        let whole = (self.log.segment_bytes() / 8).min(self.options.memtable_bytes / 16);
        row.end - row.base < SHORT_BYTES.min(whole)
    }
}

/// A segment is short below this. What is moved grows by up to a half of the smallest records; less
/// than this never grows by more than its files take.
const SHORT_BYTES: u64 = 64 << 10;

/// What a short segment takes beside its records: two pages in the log, and in its run one for each of
/// seven sections.
pub(super) const FILES_BYTES: u64 = 9 * 4_096;

/// Short segments that are kept although history has passed them: they take 6 MiB at most.
const SHORT_MAX: usize = 64;
