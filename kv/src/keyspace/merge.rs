//! Merging runs into the merged index.
//!
//! All runs at once, in key order and one pass: of each key the newest version, read from its
//! frame in the log, becomes the key's entry, or takes the entry away if it is a tombstone. What
//! was superseded stays where it is: the runs of merged segments answer for it. In the same
//! transaction stand the covered offset and what is known of buckets and segments.
//!
//! # When
//!
//! When runs have a million entries, and a tenth of those that are merged: then the bytes written
//! per put stay flat as keys grow. While much is being written, four million will do, as long as
//! they are new keys: what is merged into is written anew, whether for one million keys or for four,
//! and new keys hold back no garbage. Or earlier, if the log that they stand for is worth more than
//! what the merge will write: small keys under large values, or few keys overwritten again and
//! again, would otherwise hold back their garbage for long. Or if they make known much garbage
//! ([`super::space`]). Or when the disk is full, since only what is merged is
//! collected.
//!
//! A merge takes seconds. Runs that are due meanwhile are written in its midst, so that no writer
//! waits for its end; but no faster than it gets on, so that the next one is no larger.

mod count;
mod newest;

use std::collections::BTreeSet;
use std::sync::Arc;

use cairn_log::Offset;

use self::count::{count_change, count_dead, entry};
use self::newest::NewestEntries;
use super::Keyspace;
use super::maintain::{Maintenance, decode_state};
use super::open::control_time_ms;
use super::pace::RUNS_MAX;
use crate::error::{Error, Result};
use crate::index::levels::{LevelError, Levels, run_error};
use crate::index::members::Counts;
use crate::index::merged::{Expected, Fault, Summary, View, Way};
use crate::index::run::{Run, RunFault};
use crate::index::state::{Creation, IndexState, SegmentRow};
use crate::index::versions::Kind;
use crate::record::{Body, BucketId, Origin, Record};

impl Keyspace {
    /// Merges all runs into the merged index, if they are many enough.
    pub(super) fn merge_runs(&self, maintenance: &mut Maintenance) -> Result<bool> {
        let levels = Arc::clone(&self.levels.read());
        let entries: u64 = levels.runs.iter().map(|run| run.len()).sum();
        let merged_keys = levels.merged.as_ref().map_or(0, |merged| merged.len());
        let some = self.options.merge_entries.max(merged_keys / MERGED_PART);
        let many = some.max(self.options.merge_entries.saturating_mul(PRESSED_TIMES));
        let new_keys = levels.runs.iter().map(|run| run.new_keys()).sum();
        let are_enough = if maintenance.pressure.is_high() {
            entries >= many || entries.saturating_sub(new_keys) >= some
        } else {
            entries >= some
        };
        let is_due = are_enough
            || levels.runs.len() >= RUNS_MAX
            || is_worth_it(&levels.runs)
            || self.space(&levels).is_worth_a_merge()
            || self.log.is_disk_full();
        if levels.runs.is_empty() || !is_due {
            return Ok(false);
        }
        self.merge_noting(maintenance, &levels)?;
        Ok(true)
    }

    /// Merges all runs for the garbage that this makes known, while writers wait for it to go.
    pub(super) fn merge_for_space(&self, maintenance: &mut Maintenance) -> Result<bool> {
        let levels = Arc::clone(&self.levels.read());
        if levels.runs.is_empty() || !self.space(&levels).is_a_merge_of_use() {
            return Ok(false);
        }
        self.merge_noting(maintenance, &levels)?;
        Ok(true)
    }

    fn merge_noting(&self, maintenance: &mut Maintenance, levels: &Arc<Levels>) -> Result<()> {
        let merged = self.merge(maintenance, levels);
        maintenance.noting(merged)
    }

    fn merge(&self, maintenance: &mut Maintenance, levels: &Arc<Levels>) -> Result<()> {
        let covered = levels.runs[0].head().identity.end;
        let view = match self.try_merge(maintenance, levels, covered) {
            Ok(view) => view,
            Err(MergeError::Level(error)) => {
                return self.repair(maintenance, levels, error).map(|_| ());
            }
            Err(MergeError::Other(error)) => return Err(error),
        };
        self.replace_levels(|current| {
            let mut runs = current.runs.clone();
            runs.retain(|run| run.head().identity.end > covered);
            Levels {
                memtables: current.memtables.clone(),
                runs,
                merged: Some(view),
                emptied: Arc::clone(&current.emptied),
            }
        });
        self.figures.merges.add(1);
        Ok(())
    }

    fn try_merge(
        &self,
        maintenance: &mut Maintenance,
        levels: &Levels,
        covered: u64,
    ) -> MergeResult<Arc<View>> {
        let merged = maintenance.merged.as_ref();
        let merged_covered = merged.map_or(0, |merged| merged.view().covered());
        if merged_covered != levels.covered() {
            // A repair has failed half-way. An index of these runs alone would lack all older keys.
            let what = format!(
                "the merged index ends at offset {merged_covered}, and the runs begin at {}",
                levels.covered()
            );
            return Err(LevelError::Merged(Fault::Other(what)).into());
        }
        if maintenance.merged.is_none() {
            maintenance.merged = Some(self.new_merged()?);
        }
        let Some(merged) = &maintenance.merged else {
            return Err(MergeError::Level(LevelError::Merged(Fault::Other(
                "the merged index is closed".into(),
            ))));
        };
        let mut state = decode_state(&merged.view())?;
        state.floor = state.floor.max(self.floor());
        for run in &levels.runs {
            state.add_segment(SegmentRow {
                base: run.head().identity.base,
                end: run.head().identity.end,
                newest_time_ms: run.head().newest_time_ms,
                ..SegmentRow::default()
            });
        }
        let retained: BTreeSet<u64> = self
            .log
            .segments()
            .iter()
            .map(|span| span.base.get())
            .collect();
        state.segments.retain(|row| retained.contains(&row.base));
        let mut gone = BTreeSet::new();
        for run in levels.runs.iter().rev() {
            self.merge_controls(run, &mut state, &mut gone)?;
        }
        for row in state.buckets.iter_mut().filter(|row| row.dropped.is_some()) {
            (row.keys, row.bytes) = (0, 0);
        }
        let changes = levels.runs.iter().map(|run| run.len()).sum();
        let expected = Expected {
            changes,
            new_keys: levels.runs.iter().map(|run| run.new_keys()).sum(),
            key_bytes: changes.saturating_mul(KEY_BYTES_EXPECTED),
        };
        // Little room may do for what changes.
        let way = match self.is_disk_full(maintenance) {
            true => Way::InPlace,
            false => merged.way(expected),
        };
        let mut gone_keys = 0;
        let view = merged.merge(way, expected, |merge| -> MergeResult<_> {
            for &bucket in &gone {
                for bucket in [bucket, bucket.pieces()] {
                    merge.remove_bucket(bucket, |key_bytes, entry| {
                        gone_keys += u64::from(!bucket.is_pieces());
                        count_dead(&mut state, &entry, key_bytes);
                    })?;
                }
            }
            let mut newest = NewestEntries::new(self, levels, &state)?;
            let mut come = 0;
            for number in 1_u64.. {
                if number.is_multiple_of(CHANGES_AT_ONCE) {
                    self.grow_hot(0);
                    if come < number && !self.log.is_poisoned() {
                        come = match self.write_waiting_run() {
                            Ok(run) => come + run.map_or(0, |run| run.len()),
                            // It is met again after the merge; to try on would cost more than that.
                            Err(_) => u64::MAX,
                        };
                    }
                }
                let Some(at) = newest.next()? else { break };
                let before = if at.location.kind == Kind::Tombstone {
                    merge
                        .remove(at.bucket, &at.key, at.location.version)?
                        .before
                } else {
                    let hash = self.seed.hash(at.bucket, &at.key);
                    merge.put(at.bucket, &at.key, hash, entry(at))?.before
                };
                count_change(&mut state, at, before);
                newest.count_superseded(&mut state);
            }
            gone_keys += newest.gone_keys;
            Ok(Summary {
                covered,
                state: state.encode(),
            })
        })?;
        self.clear_hot_of(maintenance, gone_keys);
        Ok(view)
    }

    /// Takes over what a run says about buckets.
    fn merge_controls(
        &self,
        run: &Run,
        state: &mut IndexState,
        gone: &mut BTreeSet<BucketId>,
    ) -> MergeResult<()> {
        let head = run.head();
        for &control in &head.controls {
            let offset = Offset::new(control);
            let time_ms = control_time_ms(&self.log, offset)?;
            let entered = self.log.with_record(offset, |payload| {
                let record = Record::decode(payload).ok()?;
                enter_control(state, gone, &record, control, time_ms)
            })?;
            if entered.is_none() {
                let what = format!("no control record stands at offset {offset}");
                return Err(run_error(run, RunFault::Damaged(what)).into());
            }
        }
        for bucket in &head.buckets {
            let id = BucketId(bucket.bucket);
            if !id.is_pieces() {
                let row = state.met(id);
                row.written = row.written.max(bucket.written);
            }
        }
        state.last_version = state.last_version.max(head.last_version);
        state.newest_time_ms = state.newest_time_ms.max(head.newest_time_ms);
        Ok(())
    }

    /// The buckets that the merged index has ever met.
    pub(super) fn buckets_known(&self, merged: &View) -> Vec<BucketId> {
        let state = IndexState::decode(merged.state()).unwrap_or_default();
        state.buckets.iter().map(|row| row.id).collect()
    }

    /// What is counted of a bucket in the merged index.
    pub(super) fn merged_counts(&self, levels: &Levels, bucket: BucketId) -> Counts {
        let Some(merged) = &levels.merged else {
            return Counts::default();
        };
        let state = IndexState::decode(merged.state()).unwrap_or_default();
        state
            .bucket(bucket)
            .map_or(Counts::default(), |row| Counts {
                keys: i64::try_from(row.keys).unwrap_or(i64::MAX),
                bytes: i64::try_from(row.bytes).unwrap_or(i64::MAX),
            })
    }
}

type MergeResult<T> = std::result::Result<T, MergeError>;

/// Why a merge came to nothing.
enum MergeError {
    Level(LevelError),
    Other(Error),
}

impl From<LevelError> for MergeError {
    fn from(error: LevelError) -> MergeError {
        MergeError::Level(error)
    }
}

impl From<Fault> for MergeError {
    fn from(fault: Fault) -> MergeError {
        MergeError::Level(LevelError::Merged(fault))
    }
}

impl From<cairn_log::Error> for MergeError {
    fn from(error: cairn_log::Error) -> MergeError {
        MergeError::Other(error.into())
    }
}

impl From<Error> for MergeError {
    fn from(error: Error) -> MergeError {
        MergeError::Other(error)
    }
}

/// Whether the log that the runs stand for is worth more than what their merge will write.
fn is_worth_it(runs: &[Arc<Run>]) -> bool {
    let log_bytes: u64 = runs
        .iter()
        .map(|run| run.head().identity.end - run.head().identity.base)
        .sum();
    let keys: u64 = runs.iter().map(|run| run.keys()).sum();
    runs.len() >= RUNS_MIN && keys.saturating_mul(2 * MERGE_BYTES_PER_KEY) <= log_bytes
}

/// Enters a record that is no key's; `None` if it is none of that kind.
fn enter_control(
    state: &mut IndexState,
    gone: &mut BTreeSet<BucketId>,
    record: &Record<'_>,
    offset: u64,
    time_ms: u64,
) -> Option<()> {
    let version = record.version(offset)?;
    let time_ms = match record.origin {
        Origin::Here { .. } => time_ms,
        Origin::Moved(moved) => moved.time_ms,
    };
    match &record.body {
        Body::BucketCreated { name, options } => state.met(record.bucket).create(Creation {
            name: name.clone(),
            options: *options,
            version,
            time_ms,
        }),
        Body::BucketDropped => {
            state.met(record.bucket).dropped = Some(version);
            gone.insert(record.bucket);
        }
        Body::HistoryFloor { version } => state.floor = state.floor.max(*version),
        Body::Put(_) | Body::LargePut(_) | Body::Delete { .. } => return None,
    }
    Some(())
}

/// Runs are merged when they have this part of what is merged.
const MERGED_PART: u64 = 10;

/// How many times the entries that are enough for a merge are waited for while much is written.
const PRESSED_TIMES: u64 = 4;

/// Changes of a merge between two looks for a run that is due.
const CHANGES_AT_ONCE: u64 = if cfg!(test) { 64 } else { 1_024 };

/// Runs that are waited for before their merge is weighed.
const RUNS_MIN: usize = 2;

/// What merging a key writes, at the worst: each is alone in its page (measured: 515 to 600).
const MERGE_BYTES_PER_KEY: u64 = 600;

/// What a key is taken to have when room for a merge is looked for.
const KEY_BYTES_EXPECTED: u64 = 32;

#[cfg(test)]
mod tests;
