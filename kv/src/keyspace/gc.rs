//! Garbage collection: how the space of what is dead is given back.
//!
//! A *victim* is a merged segment that is at least half dead. What is alive in it is written once
//! more at the end of the log, through the same order as writes, and then the segment is dropped.
//!
//! ```text
//! choose    the merged segment below the history floor with the most dead bytes, by the counts
//!           of the merges; the floor is raised first if it is due
//! judge     every record of it, in key order; if more than half must be moved, leave it
//! move      in small batches under the sequencer: a record whose key has been written since is
//!           moved as a superseded version
//! sync      everything that was sequenced when the last record was judged
//! wait      until no reader holds levels from before the moves
//! drop      the segment, its run, its counts
//! ```
//!
//! # What is alive
//!
//! * The newest version of a key, if it is a value.
//! * A superseded version that can be seen at a snapshot, or at the history floor or above it. It is
//!   moved as such: who asks for the newest version skips it.
//! * A tombstone, while another retained segment may hold an older version of its key, or a snapshot
//!   shows one: without it an index made anew from the log would bring that version back, or reads
//!   of later moments would.
//! * The creation and the drop of every bucket that ever was: ids are never given again, and a name
//!   keeps its partition. They are moved each by itself and stand in any order then; whoever reads
//!   them puts together what belongs together (`index::state`, `open`).
//! * The newest history floor.
//! * A piece of a large value, while `large` says so; snapshots hold pieces, history does not.
//!
//! A version makes another one dead when it is sequenced; if that is lost before it is durable, so
//! is the decision: the victim goes only after a sync that covers both.
//!
//! Very short segments are another matter ([`short`]).
//!
//! # Bounds
//!
//! Every move frees at least as much as it writes, so merged segments take at most about twice
//! what is alive in them. A segment that was judged and left is judged again when another one has
//! been dropped or it has lost an eighth more, or a snapshot is removed that may have held a part of
//! it. Only what is merged is counted, and merges come before the log outgrows what they are worth.
//!
//! The counts take what snapshots hold for dead, so a segment that they fill is judged once: what they
//! hold of it is noted then, and not counted as dead before a snapshot is removed.
//!
//! # A full disk
//!
//! Moves and tombstones then go into the log's reserve. What was deleted since the last merge is not
//! counted, and a merge may have no room; so if no victim is known, each merged segment is judged
//! as it stands, and history yields to space: if a segment is half dead without it, the floor is
//! raised to the newest durable version. Space that comes back goes to the reserve first, then to writes and index files.

mod floor;
mod judge;
mod relocate;
mod short;
mod victims;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use cairn_log::{Dropped, Offset};

use super::Keyspace;
use super::maintain::{Maintenance, decode_state};
use crate::error::Result;
use crate::index::levels::{LevelError, Levels};
use crate::index::run::{self, Run};
use crate::index::state::{IndexState, SegmentRow};
use judge::{Judged, Judgement, Trial};
use relocate::MOVE_RECORDS;

/// What garbage collection remembers from step to step.
#[derive(Default)]
pub(super) struct Garbage {
    /// Segments whose records are moved, and the levels that may still lead to them.
    leaving: Vec<Leaving>,
    /// Segments that were judged and left: by base, the dead bytes and the drops at that time.
    left: HashMap<u64, (u64, u64)>,
    /// What snapshots hold of those, by base.
    held: HashMap<u64, Held>,
    /// How many segments have been dropped, short ones left out.
    drops: u64,
    search: Search,
}

/// What snapshots held of a segment when it was judged.
struct Held {
    bytes: u64,
    /// How many snapshots had been removed by then.
    removals: u64,
}

struct Leaving {
    base: u64,
    is_short: bool,
    number: u64,
    held_by: Vec<Weak<Levels>>,
}

/// The search for space on a full disk: one look at every merged segment, whatever is counted of it.
#[derive(Default)]
struct Search {
    /// Where the log ended when the search began.
    since: u64,
    judged: BTreeSet<u64>,
    ended: bool,
}

impl Keyspace {
    /// Does one step: gives a segment back whose records are moved, or chooses a victim and moves
    /// them. Says whether it did anything.
    pub(super) fn collect_garbage(&self, maintenance: &mut Maintenance) -> Result<bool> {
        match self.drop_leaving(maintenance)? {
            Drops::Done => return Ok(true),
            // They hold what would be moved now as well.
            Drops::HeldByReaders => return Ok(false),
            Drops::None => {}
        }
        let levels = Arc::clone(&self.levels.read());
        let Some(merged) = &levels.merged else {
            return Ok(false);
        };
        let state =
            decode_state(merged).map_err(|fault| super::maintain::merged_failure(&fault))?;
        let garbage = &maintenance.garbage;
        let floor = self.floor().max(self.floor_due(&state));
        let Some((row, dead)) = self.choose(&state, garbage, floor) else {
            return self.search_space(maintenance, &levels, &state);
        };
        let drops = garbage.drops;
        self.raise_floor(floor)?;
        let moved = self.move_out(maintenance, &levels, &state, &row, floor, half(&row))?;
        let garbage = &mut maintenance.garbage;
        match moved {
            Some(leaving) => garbage.leaving.push(leaving),
            None => {
                garbage.left.insert(row.base, (dead, drops));
            }
        }
        Ok(true)
    }

    /// On a full disk: judges one more segment, whatever is counted of it. Says whether there was
    /// one; a search that found nothing begins anew when something has been sequenced.
    fn search_space(
        &self,
        maintenance: &mut Maintenance,
        levels: &Arc<Levels>,
        state: &IndexState,
    ) -> Result<bool> {
        if !self.is_disk_full(maintenance) {
            return Ok(false);
        }
        let search = &mut maintenance.garbage.search;
        if search.ended {
            let since = self.log.end().get();
            if search.since == since {
                return Ok(false);
            }
            *search = Search {
                since,
                ..Search::default()
            };
        }
        let garbage = &maintenance.garbage;
        let Some(row) = self.most_hopeful(state, garbage) else {
            maintenance.garbage.search.ended = true;
            return Ok(false);
        };
        // History yields, to what can be read now. Its segment stays, so the moment's time does too.
        let (newest, _) = self.durable_head();
        let floor = self.floor().max(newest);
        let moved = if row.end <= floor {
            self.move_out(maintenance, levels, state, &row, floor, half(&row))?
        } else {
            None
        };
        maintenance.garbage.search.judged.insert(row.base);
        maintenance.garbage.leaving.extend(moved);
        Ok(true)
    }

    /// Judges every merged segment below the floor, whatever is counted of it, as a search for space
    /// does.
    #[cfg(test)]
    pub(crate) fn collect_everywhere(&self) -> Result<()> {
        let mut maintenance = self.maintenance.lock();
        let levels = Arc::clone(&self.levels.read());
        let Some(merged) = &levels.merged else {
            return Ok(());
        };
        let state =
            decode_state(merged).map_err(|fault| super::maintain::merged_failure(&fault))?;
        let floor = self.floor();
        let rows: Vec<_> = self.movable(&state, &maintenance.garbage).collect();
        for (row, _) in rows.into_iter().filter(|(row, _)| row.end <= floor) {
            let half = half(&row);
            let moved = self.move_out(&mut maintenance, &levels, &state, &row, floor, half)?;
            maintenance.garbage.leaving.extend(moved);
        }
        Ok(())
    }

    /// Judges a victim by what history shows from `floor` on, and moves what is alive in it; `None`
    /// if that is more than `most_bytes`.
    fn move_out(
        &self,
        maintenance: &mut Maintenance,
        levels: &Arc<Levels>,
        state: &IndexState,
        row: &SegmentRow,
        floor: u64,
        most_bytes: u64,
    ) -> Result<Option<Leaving>> {
        let Some(trial) = self.trial(levels, state, row, floor)? else {
            return Ok(None);
        };
        let judged = self.judge_victim(&trial, most_bytes);
        let Judged { moves, forgotten } = match judged {
            Ok(Judgement::Goes(judged)) => judged,
            Ok(Judgement::Stays { held_bytes }) => {
                let held = Held {
                    bytes: held_bytes,
                    removals: trial.pinned.removals,
                };
                maintenance.garbage.held.insert(row.base, held);
                return Ok(None);
            }
            Err(LevelError::Run { base, fault }) => {
                self.archive.lock().remove(&base);
                return self
                    .repair(maintenance, levels, LevelError::Run { base, fault })
                    .map(|_| None);
            }
            Err(error) => return self.repair(maintenance, levels, error).map(|_| None),
        };
        // Durable before anything that it uncovers is left behind.
        self.raise_floor(floor)?;
        self.move_controls(maintenance, &trial)?;
        for batch in moves.chunks(MOVE_RECORDS) {
            self.move_batch(maintenance, &trial, batch)?;
        }
        self.forget(maintenance, levels, forgotten)?;
        // What made records dead, and what was moved, is durable before the segment goes.
        self.log.barrier()?.wait()?;
        // Readers from here on find what was moved; those from before are waited for.
        let spans = self.log.segments();
        let is_there = |base: &u64| spans.iter().any(|span| span.base.get() == *base);
        self.replace_levels(|current| {
            let emptied = current.emptied.iter().copied().filter(is_there);
            Levels {
                memtables: current.memtables.clone(),
                runs: current.runs.clone(),
                merged: current.merged.clone(),
                emptied: emptied.chain([row.base]).collect(),
            }
        });
        let held_by = self.superseded_levels.lock().clone();
        Ok(Some(Leaving {
            base: row.base,
            is_short: self.is_short(row),
            number: trial.victim.head().identity.segment,
            held_by,
        }))
    }

    /// What a victim is judged by; `None` if it has no run.
    fn trial<'a>(
        &self,
        levels: &'a Arc<Levels>,
        state: &'a IndexState,
        row: &SegmentRow,
        floor: u64,
    ) -> Result<Option<Trial<'a>>> {
        // Also of segments that are empty and still there: they may hold older versions.
        let archive = self.whole_archive(levels)?;
        let is_victim = |run: &&Arc<Run>| run.head().identity.base == row.base;
        let Some(victim) = archive.iter().find(is_victim).cloned() else {
            return Ok(None);
        };
        let sealed = levels.runs.iter().chain(&archive);
        Ok(Some(Trial {
            state,
            levels,
            others: sealed.filter(|run| !is_victim(run)).cloned().collect(),
            archive,
            victim,
            floor,
            pinned: self.snapshots.lock().pinned(),
        }))
    }

    /// Drops a segment whose records are moved, if there is one that nobody holds.
    fn drop_leaving(&self, maintenance: &mut Maintenance) -> Result<Drops> {
        let is_held = |leaving: &Leaving| {
            let mut levels = leaving.held_by.iter();
            levels.any(|levels| levels.strong_count() > 0)
        };
        let garbage = &mut maintenance.garbage;
        let mut outcome = Drops::None;
        for at in 0..garbage.leaving.len() {
            let leaving = &garbage.leaving[at];
            if is_held(leaving) {
                outcome = Drops::HeldByReaders;
                continue;
            }
            let (base, number, is_short) = (leaving.base, leaving.number, leaving.is_short);
            match self.log.drop_segment(Offset::new(base)) {
                Ok(Dropped::Done) => {}
                // A watch that lags: it is cut off in time, and the others need not wait for it.
                Ok(Dropped::Pinned) => continue,
                // Neither can be: a victim is merged, and merged segments are not the newest.
                Ok(Dropped::Newest) | Err(cairn_log::Error::OutOfRange { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            self.archive.lock().remove(&base);
            let (vfs, directory) = (self.log.vfs().as_ref(), self.log.directory());
            // A run without its segment is never looked at; what is left is removed at the next
            // open.
            let _ = run::remove_file(vfs, directory, number);
            garbage.leaving.remove(at);
            garbage.left.remove(&base);
            garbage.held.remove(&base);
            // Short ones hold next to nothing: it is not worth judging all others again.
            garbage.drops += u64::from(!is_short);
            self.figures.segments_dropped.add(1);
            return Ok(Drops::Done);
        }
        Ok(outcome)
    }
}

/// How much of a victim may be moved, so that as much is given back.
fn half(row: &SegmentRow) -> u64 {
    (row.end - row.base) / 2
}

/// What became of the segments whose records are moved.
enum Drops {
    Done,
    HeldByReaders,
    /// There are none, or pins hold them.
    None,
}

#[cfg(test)]
mod tests;
