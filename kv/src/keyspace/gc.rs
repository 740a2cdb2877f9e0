//! Garbage collection: how the space of what is dead is given back.
//!
//! A *victim* is a merged segment that is at least half dead. What is alive in it is written once
//! more at the end of the log, through the same order as writes, and then the segment is dropped.
//!
//! ```text
//! choose    the merged segment below the history floor with the most dead bytes, by the counts
//!           of the merges; the floor is raised first if it is due
//! judge     every record of it, in key order; if more than half must be moved, leave it
//! move      in small batches under the sequencer: a record whose key has been written since goes
//!           out of the batch
//! sync      everything that was sequenced when the last record was judged
//! wait      until no reader holds levels from before the moves
//! drop      the segment, its run, its counts
//! ```
//!
//! # What is alive
//!
//! * The newest version of a key, if it is a value.
//! * A superseded version that can be seen at the history floor or above it. It is moved as such:
//!   who asks for the newest version skips it.
//! * A tombstone, while another retained segment may hold an older version of its key: without it
//!   an index made anew from the log would bring that version back.
//! * The creation, and the drop, of a bucket that exists, that bore its name last, or of which
//!   another retained segment holds records.
//! * The newest history floor.
//! * A piece of a large value, while `large` says so; history does not hold pieces.
//!
//! A version makes another one dead when it is sequenced; if that is lost before it is durable, so
//! is the decision: the victim goes only after a sync that covers both.
//!
//! # Bounds
//!
//! Every move frees at least as much as it writes, so merged segments take at most about twice
//! what is alive in them. A segment that was judged and left is judged again when another one has
//! been dropped or it has lost an eighth more. Only what is merged is counted, and merges come
//! before the log outgrows what they are worth.

mod floor;
mod judge;
mod relocate;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use cairn_log::{Dropped, Offset};

use super::Keyspace;
use super::maintain::{Maintenance, decode_state};
use crate::error::Result;
use crate::index::levels::{LevelError, Levels};
use crate::index::run::{self, Run};
use crate::index::state::{IndexState, SegmentRow};
use judge::{Judged, Trial};
use relocate::MOVE_RECORDS;

/// What garbage collection remembers from step to step.
#[derive(Default)]
pub(super) struct Garbage {
    /// The segment whose records are moved, and the levels that may still lead to it.
    leaving: Option<Leaving>,
    /// Segments that were judged and left: by base, the dead bytes and the drops at that time.
    left: HashMap<u64, (u64, u64)>,
    /// How many segments have been dropped.
    drops: u64,
}

struct Leaving {
    base: u64,
    number: u64,
    held_by: Vec<Weak<Levels>>,
}

impl Keyspace {
    /// Does one step: gives a segment back whose records are moved, or chooses a victim and moves
    /// them. Says whether it did anything.
    pub(super) fn collect_garbage(&self, maintenance: &mut Maintenance) -> Result<bool> {
        if let Some(leaving) = &maintenance.garbage.leaving {
            if leaving
                .held_by
                .iter()
                .any(|levels| levels.strong_count() > 0)
            {
                return Ok(false);
            }
            return self.drop_leaving(maintenance);
        }
        let levels = Arc::clone(&self.levels.read());
        let Some(merged) = &levels.merged else {
            return Ok(false);
        };
        let state =
            decode_state(merged).map_err(|fault| super::maintain::merged_failure(&fault))?;
        let garbage = &maintenance.garbage;
        let floor = self.floor().max(self.floor_due(&state));
        let Some((row, dead)) = choose(&state, garbage, floor) else {
            return Ok(false);
        };
        let drops = garbage.drops;
        self.raise_floor(floor)?;
        let moved = self.move_out(maintenance, &levels, &state, &row)?;
        let garbage = &mut maintenance.garbage;
        match moved {
            Some(leaving) => garbage.leaving = Some(leaving),
            None => {
                garbage.left.insert(row.base, (dead, drops));
            }
        }
        Ok(true)
    }

    /// Notes how many victims there are, so that writers can tell whether they are too far ahead.
    pub(super) fn note_victims(&self, maintenance: &Maintenance) {
        let levels = Arc::clone(&self.levels.read());
        let state = levels.merged.as_ref().map(|merged| decode_state(merged));
        let Some(Ok(state)) = state else { return };
        let floor = self.floor().max(self.floor_due(&state));
        let count = victims(&state, &maintenance.garbage, floor).count();
        self.victims.store(count, Ordering::Relaxed);
    }

    /// Judges a victim and moves what is alive in it; `None` if that is too much.
    fn move_out(
        &self,
        maintenance: &mut Maintenance,
        levels: &Arc<Levels>,
        state: &IndexState,
        row: &SegmentRow,
    ) -> Result<Option<Leaving>> {
        let archive = self.archive(levels)?;
        let is_victim = |run: &&Arc<Run>| run.head().identity.base == row.base;
        let Some(victim) = archive.iter().find(is_victim).cloned() else {
            return Ok(None);
        };
        let sealed = levels.runs.iter().chain(&archive);
        let trial = Trial {
            state,
            levels,
            others: sealed.filter(|run| !is_victim(run)).cloned().collect(),
            archive,
            victim: Arc::clone(&victim),
            floor: self.floor(),
        };
        let judged = self.judge_victim(&trial, row.end - row.base);
        let Judged { moves, forgotten } = match judged {
            Ok(Some(judged)) => judged,
            Ok(None) => return Ok(None),
            Err(LevelError::Run { base, fault }) => {
                self.archive.lock().remove(&base);
                return self
                    .repair(maintenance, levels, LevelError::Run { base, fault })
                    .map(|_| None);
            }
            Err(error) => return self.repair(maintenance, levels, error).map(|_| None),
        };
        self.move_controls(maintenance, &trial)?;
        for batch in moves.chunks(MOVE_RECORDS) {
            self.move_batch(maintenance, &trial, batch)?;
        }
        self.forget(maintenance, levels, forgotten)?;
        // What made records dead, and what was moved, is durable before the segment goes.
        self.log.barrier()?.wait()?;
        // Readers from here on find what was moved; those from before are waited for.
        self.replace_levels(|current| Levels {
            memtables: current.memtables.clone(),
            runs: current.runs.clone(),
            merged: current.merged.clone(),
        });
        let held_by = self.superseded_levels.lock().clone();
        Ok(Some(Leaving {
            base: row.base,
            number: victim.head().identity.segment,
            held_by,
        }))
    }

    fn drop_leaving(&self, maintenance: &mut Maintenance) -> Result<bool> {
        let Some(leaving) = &maintenance.garbage.leaving else {
            return Ok(false);
        };
        let base = leaving.base;
        match self.log.drop_segment(Offset::new(base)) {
            Ok(Dropped::Done) => {}
            Ok(Dropped::Pinned) => return Ok(false),
            // Neither can be: a victim is merged, and merged segments are not the newest.
            Ok(Dropped::Newest) | Err(cairn_log::Error::OutOfRange { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.archive.lock().remove(&base);
        let (vfs, directory) = (self.log.vfs().as_ref(), self.log.directory());
        // A run without its segment is never looked at; what is left is removed at the next open.
        let _ = run::remove_file(vfs, directory, leaving.number);
        maintenance.garbage.leaving = None;
        maintenance.garbage.left.remove(&base);
        maintenance.garbage.drops += 1;
        Ok(true)
    }
}

/// The merged segments that are worth a judgement and that history no longer reads whole, each
/// with how much seems dead in it.
fn victims(
    state: &IndexState,
    garbage: &Garbage,
    floor: u64,
) -> impl Iterator<Item = (SegmentRow, u64)> {
    // Tombstones count as dead here: the judgement tells.
    let dead_in = |row: &SegmentRow| row.dead_bytes() + row.tombstone_bytes;
    let is_due = move |(row, dead): &(SegmentRow, u64)| {
        let bytes = row.end - row.base;
        let known = garbage.left.get(&row.base);
        let is_left = known.is_some_and(|&(dead_then, drops_then)| {
            drops_then == garbage.drops && *dead < dead_then + bytes / 8
        });
        row.end <= floor && 2 * dead > bytes && !is_left
    };
    let rows = state.segments.iter().map(move |row| (*row, dead_in(row)));
    rows.filter(is_due)
}

/// The victim with the most to give back.
fn choose(state: &IndexState, garbage: &Garbage, floor: u64) -> Option<(SegmentRow, u64)> {
    // Of those that are about as dead, the oldest: what is dead in it keeps tombstones alive.
    let rank = |&(row, dead): &(SegmentRow, u64)| {
        let sixteenths = dead * 16 / (row.end - row.base).max(1);
        (sixteenths, std::cmp::Reverse(row.base))
    };
    victims(state, garbage, floor).max_by_key(rank)
}
