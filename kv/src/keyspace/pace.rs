//! The pace of writers and of those who write index files.
//!
//! Writers who are two segments ahead of the runs, or many runs ahead of the merges, or who have made
//! more garbage than there may be, do the work themselves or wait for who does it. The other way round, merges wait for a while where writers
//! are busy with new keys ([`Pressure`]): the more a merge brings at once, the less each key costs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cairn_log::{Claim, Offset};

use super::Keyspace;
use crate::error::{Error, ErrorKind, Result};

/// Whether the log has grown fast of late.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    seen: Option<(Instant, Offset)>,
    is_high: bool,
}

impl Pressure {
    /// Looks at how far the log has grown since the last look but those just before.
    pub(super) fn look(&mut self, now: Instant, end: Offset) {
        if let Some((at, seen)) = self.seen {
            let elapsed = now.saturating_duration_since(at);
            if elapsed < LOOK {
                return;
            }
            let grown = end.since(seen);
            self.is_high = grown as f64 > HIGH_BYTES_PER_S * elapsed.as_secs_f64();
        }
        self.seen = Some((now, end));
    }

    pub(super) fn is_high(&self) -> bool {
        self.is_high
    }
}

impl Keyspace {
    /// Makes room in the log, at the pace of those who write runs and merge them.
    pub(super) fn make_room(&self, claim: Claim, bytes: usize) -> Result<()> {
        self.keep_pace(claim)?;
        self.log
            .make_room_claiming(claim, bytes)
            .map_err(Error::from)
    }

    /// Goes on to another segment if the memtable of this one has grown too large.
    pub(super) fn seal_if_full(&self, claim: Claim) -> Result<()> {
        if !self.is_full() {
            return Ok(());
        }
        self.keep_pace(claim)?;
        if self.is_full() {
            unless_claimed(claim, self.log.seal().map_err(Error::from))?;
        }
        Ok(())
    }

    /// Whether the memtable that takes writes has reached its bound.
    pub(super) fn is_full(&self) -> bool {
        let levels = self.levels.read();
        levels.active().byte_len() as u64 >= self.options.memtable_bytes
    }

    /// Waits until the index is not too far behind. What claims the log's reserve does not wait
    /// for an index file that the disk has no room for: not much of it can come.
    fn keep_pace(&self, claim: Claim) -> Result<()> {
        unless_claimed(claim, self.catch_up())
    }

    fn catch_up(&self) -> Result<()> {
        loop {
            let levels = Arc::clone(&self.levels.read());
            let is_behind = levels.memtables.len() > MEMTABLES_WAITING_MAX
                || levels.runs.len() >= RUNS_WAITING_MAX;
            if !is_behind {
                break;
            }
            self.check_poison()?;
            drop(levels);
            // Who has it may be in a merge, which takes seconds, and write runs as it goes.
            let Some(mut maintenance) = self.maintenance.try_lock_for(LOOKS) else {
                continue;
            };
            let levels = Arc::clone(&self.levels.read());
            if levels.memtables.len() > MEMTABLES_WAITING_MAX {
                self.write_oldest_run(&mut maintenance)?;
            } else if levels.runs.len() >= RUNS_WAITING_MAX {
                self.merge_runs(&mut maintenance)?;
                self.note_victims(&maintenance);
            }
        }
        while self.victims.load(Ordering::Relaxed) > VICTIMS_WAITING_MAX {
            self.check_poison()?;
            // Garbage would outrun its collection otherwise, whoever it is that collects.
            let Some(mut maintenance) = self.maintenance.try_lock_for(LOOKS) else {
                continue;
            };
            let worked = self.collect_garbage(&mut maintenance)?;
            self.note_victims(&maintenance);
            if !worked {
                // A reader holds what is to be dropped: it is not the writers' to wait for.
                break;
            }
        }
        self.keep_space()
    }

    /// Waits while there is too much garbage, as long as something can be done about it. What is in
    /// the way of that is not the writers' to wait for: readers, snapshots, history, a full disk,
    /// segments that are not dead enough. Then they go on until there is a good deal more of it.
    fn keep_space(&self) -> Result<()> {
        loop {
            let space = self.space(&self.levels.read());
            if !space.is_over(0) {
                self.accepted_garbage.store(0, Ordering::Relaxed);
                return Ok(());
            }
            let accepted = self.accepted_garbage.load(Ordering::Relaxed);
            if !space.is_over(accepted) || self.log.is_disk_full() {
                return Ok(());
            }
            self.check_poison()?;
            let Some(mut maintenance) = self.maintenance.try_lock_for(LOOKS) else {
                continue;
            };
            let worked = match self.collect_garbage(&mut maintenance) {
                Ok(false) => self.merge_for_space(&mut maintenance),
                worked => worked,
            };
            self.note_victims(&maintenance);
            let accepted = match worked {
                Ok(true) => 0,
                // Who maintains meets the failure again.
                Ok(false) | Err(_) => self.space(&self.levels.read()).garbage_bytes,
            };
            self.accepted_garbage.store(accepted, Ordering::Relaxed);
        }
    }
}

/// What a full disk stops does not stop those who claim the log's reserve.
fn unless_claimed(claim: Claim, outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(error) if claim != Claim::Write && error.kind() == ErrorKind::DiskFull => Ok(()),
        outcome => outcome,
    }
}

/// Memtables that may wait for their run beside the one that takes writes.
pub(super) const MEMTABLES_WAITING_MAX: usize = 2;

/// Runs at which a merge is due however small they are.
pub(super) const RUNS_MAX: usize = 64;

/// Runs at which writers wait for a merge: as many as are merged and come meanwhile.
const RUNS_WAITING_MAX: usize = 2 * RUNS_MAX + 2;

/// Segments that may wait to be emptied by garbage collection before writers help.
const VICTIMS_WAITING_MAX: usize = 4;

/// How often a writer who waits for the work of another looks whether it is enough.
const LOOKS: Duration = Duration::from_millis(5);

/// What has grown within less is no measure.
const LOOK: Duration = Duration::from_millis(50);

/// A log that grows faster is under pressure: 30,000 small puts a second, a tenth of what a merge of
/// a million keys keeps up with.
const HIGH_BYTES_PER_S: f64 = 4e6;

#[cfg(test)]
mod tests;
