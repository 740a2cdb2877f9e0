//! The choice of a victim, by the counts of the merges and by what judgements have found.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cairn_log::Offset;

use super::Garbage;
use crate::index::state::{IndexState, SegmentRow};
use crate::keyspace::Keyspace;
use crate::keyspace::maintain::{Maintenance, decode_state};

impl Keyspace {
    /// Notes how many victims there are and what is alive, so that writers can tell whether they are
    /// too far ahead.
    pub(in crate::keyspace) fn note_victims(&self, maintenance: &Maintenance) {
        let levels = Arc::clone(&self.levels.read());
        let state = levels.merged.as_ref().map(|merged| decode_state(merged));
        let Some(Ok(state)) = state else { return };
        let floor = self.floor().max(self.floor_due(&state));
        let (newest, removals) = {
            let snapshots = self.snapshots.lock();
            (snapshots.newest(), snapshots.removals())
        };
        // Snapshots may hold what is older than they are: writers don't wait to learn that.
        let held = &maintenance.garbage.held;
        let is_judged = |base| {
            held.get(&base)
                .is_some_and(|held| held.removals == removals)
        };
        let victims = self.victims(&state, &maintenance.garbage, floor);
        let count = victims
            .filter(|(row, _)| row.base > newest || is_judged(row.base))
            .count();
        self.victims.store(count, Ordering::Relaxed);
        let live_bytes = state.segments.iter().map(|row| row.live_bytes).sum();
        self.live_bytes.store(live_bytes, Ordering::Relaxed);
    }

    /// The merged segments that are worth a judgement and that history no longer reads whole, each
    /// with how much seems dead in it.
    pub(super) fn victims(
        &self,
        state: &IndexState,
        garbage: &Garbage,
        floor: u64,
    ) -> impl Iterator<Item = (SegmentRow, u64)> {
        let removals = self.snapshots.lock().removals();
        let is_due = move |(row, dead): &(SegmentRow, u64)| {
            let bytes = row.end - row.base;
            let known = garbage.left.get(&row.base);
            let held = garbage.held.get(&row.base);
            // What a snapshot held of it may be dead, though nothing else has changed.
            let is_freed = held.is_some_and(|held| held.bytes > 0 && held.removals != removals);
            let is_left = known.is_some_and(|&(dead_then, drops_then)| {
                drops_then == garbage.drops && *dead < dead_then + bytes / 8
            });
            let is_left = is_left && !is_freed;
            row.end <= floor && 2 * dead > bytes && !is_left
        };
        self.movable(state, garbage).filter(is_due)
    }

    /// The victim with the most to give back.
    pub(super) fn choose(
        &self,
        state: &IndexState,
        garbage: &Garbage,
        floor: u64,
    ) -> Option<(SegmentRow, u64)> {
        self.victims(state, garbage, floor).max_by_key(rank)
    }

    /// The segment that a search looks at next: one below the history floor if it can be.
    pub(super) fn most_hopeful(&self, state: &IndexState, garbage: &Garbage) -> Option<SegmentRow> {
        let floor = self.floor();
        let judged = &garbage.search.judged;
        let rows = self.movable(state, garbage);
        let rows = rows.filter(|(row, _)| !judged.contains(&row.base));
        let (row, _) = rows.max_by_key(|one| (one.0.end <= floor, rank(one)))?;
        Some(row)
    }

    /// The merged segments that can be dropped once they are empty, each with how much seems dead
    /// in it. What is pinned would be moved for nothing yet.
    pub(super) fn movable(
        &self,
        state: &IndexState,
        garbage: &Garbage,
    ) -> impl Iterator<Item = (SegmentRow, u64)> {
        let removals = self.snapshots.lock().removals();
        let held_in = move |row: &SegmentRow| {
            let held = garbage.held.get(&row.base);
            held.map_or(0, |held| {
                if held.removals == removals {
                    held.bytes
                } else {
                    0
                }
            })
        };
        // Tombstones count as dead here: the judgement tells.
        let dead_in = move |row: &SegmentRow| {
            let dead = row.dead_bytes() + row.tombstone_bytes;
            dead.saturating_sub(held_in(row))
        };
        let is_leaving = |base| garbage.leaving.iter().any(|leaving| leaving.base == base);
        // The next merge forgets those that were dropped since the last one.
        let spans = self.log.segments().into_iter();
        let bases: BTreeSet<u64> = spans.map(|span| span.base.get()).collect();
        let rows = state.segments.iter();
        let rows = rows.filter(move |row| {
            bases.contains(&row.base)
                && !is_leaving(row.base)
                && !self.log.is_pinned(Offset::new(row.end))
        });
        rows.map(move |row| (*row, dead_in(row)))
    }
}

/// By how dead they are; of those that are about as dead, the oldest: what is dead in it keeps
/// tombstones alive.
fn rank(&(row, dead): &(SegmentRow, u64)) -> (u64, Reverse<u64>) {
    let sixteenths = dead * 16 / (row.end - row.base).max(1);
    (sixteenths, Reverse(row.base))
}
