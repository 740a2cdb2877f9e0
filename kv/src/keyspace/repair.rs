//! Index files that are of no use, and what takes their place.
//!
//! A run that does not verify is written again from its segment. If the merged index does not, it
//! is set aside, the runs of all segments take its place in the levels, and a new one is merged
//! from them in time. A run's file stays as long as its segment for that reason.

use std::collections::BTreeSet;
use std::sync::Arc;

use cairn_log::SegmentSpan;

use super::maintain::{Maintenance, merged_failure};
use super::replay::{Learnt, Replay};
use super::{Keyspace, Pin};
use crate::error::Result;
use crate::index::levels::{LevelError, Levels};
use crate::index::merged::{Fault, View};
use crate::index::run::Run;

impl Keyspace {
    /// Makes a pin give the answers it should have given, after one of the files that it leads to
    /// turned out to be of no use.
    pub(crate) fn repair_pin(&self, pin: &mut Pin, error: LevelError) -> Result<()> {
        let repaired = self.repaired(&pin.levels, error)?;
        let before = std::mem::replace(&mut pin.levels, repaired);
        pin.first.get_or_insert(before);
        if let Some(past) = &mut pin.past {
            past.archive = self.archive(&pin.levels)?.into();
        }
        Ok(())
    }

    /// Levels that give the answers these should have given, after one of their files turned out
    /// to be of no use.
    pub(super) fn repaired(&self, levels: &Arc<Levels>, error: LevelError) -> Result<Arc<Levels>> {
        match error {
            LevelError::Log(error) => return Err(error.into()),
            LevelError::Retired => return Ok(Arc::clone(levels)),
            LevelError::Run { .. } | LevelError::Merged(_) => {}
        }
        let mut maintenance = self.maintenance.lock();
        self.repair(&mut maintenance, levels, error)
    }

    pub(super) fn repair(
        &self,
        maintenance: &mut Maintenance,
        levels: &Arc<Levels>,
        error: LevelError,
    ) -> Result<Arc<Levels>> {
        match error {
            LevelError::Log(error) => Err(error.into()),
            LevelError::Retired => Ok(Arc::clone(levels)),
            LevelError::Run { base, .. } => self.repair_run(levels, base),
            LevelError::Merged(fault @ (Fault::Full(_) | Fault::Unwritten(_))) => {
                Err(merged_failure(&fault))
            }
            LevelError::Merged(_) => self.repair_merged(maintenance, levels),
        }
    }

    fn repair_run(&self, levels: &Arc<Levels>, base: u64) -> Result<Arc<Levels>> {
        self.archive.lock().remove(&base);
        let is_it = |run: &&Arc<Run>| run.head().identity.base == base;
        let broken = levels.runs.iter().find(is_it).cloned();
        let current = Arc::clone(&self.levels.read());
        let known = current.runs.iter().find(is_it).cloned();
        let run = match (known, &broken) {
            // Somebody else was faster.
            (Some(known), Some(broken)) if !Arc::ptr_eq(&known, broken) => known,
            _ => Arc::new(self.rebuild_run(&self.span(base)?, levels)?),
        };
        for memtable in &levels.memtables {
            if memtable.base() == base && memtable.run().is_some() {
                memtable.retire(Arc::clone(&run));
            }
        }
        let replace = |levels: &Levels| {
            let mut runs = levels.runs.clone();
            for other in &mut runs {
                if other.head().identity.base == base {
                    *other = Arc::clone(&run);
                }
            }
            Levels {
                memtables: levels.memtables.clone(),
                runs,
                merged: levels.merged.clone(),
                emptied: Arc::clone(&levels.emptied),
            }
        };
        let was_current = Arc::ptr_eq(&self.levels.read(), levels);
        let current = self.replace_levels(replace);
        Ok(if was_current {
            current
        } else {
            Arc::new(replace(levels))
        })
    }

    /// Writes the run of a sealed segment from the log.
    pub(super) fn rebuild_run(&self, span: &SegmentSpan, levels: &Levels) -> Result<Run> {
        self.check_poison()?;
        let nobody_listens = |_: Learnt<'_, '_>| Ok(());
        let memtable = Replay::new(&self.log, self.seed, nobody_listens).segment(span.base)?;
        self.figures.rebuilds.add(1);
        self.write_run(levels, &memtable, span)
    }

    /// Sets the merged index aside and lets the runs of all its segments take its place.
    fn repair_merged(
        &self,
        maintenance: &mut Maintenance,
        levels: &Arc<Levels>,
    ) -> Result<Arc<Levels>> {
        self.check_poison()?;
        let broken = levels.merged.clone();
        let covered = levels.covered();
        let older = self.runs_below(covered, levels)?;
        let replace = |levels: &Levels, merged: Option<Arc<View>>| {
            let known: BTreeSet<u64> = levels
                .runs
                .iter()
                .map(|run| run.head().identity.base)
                .collect();
            let missing = older
                .iter()
                .filter(|run| !known.contains(&run.head().identity.base));
            let mut runs: Vec<_> = levels.runs.iter().chain(missing).cloned().collect();
            runs.sort_by_key(|run| std::cmp::Reverse(run.head().identity.base));
            Levels {
                memtables: levels.memtables.clone(),
                runs,
                merged,
                emptied: Arc::clone(&levels.emptied),
            }
        };
        let current = Arc::clone(&self.levels.read());
        let is_same = match (&current.merged, &broken) {
            (Some(current), Some(broken)) => Arc::ptr_eq(current, broken),
            _ => false,
        };
        if is_same {
            maintenance.merged = None;
            let fresh = self.new_merged()?;
            self.figures.rebuilds.add(1);
            let view = fresh.view();
            maintenance.merged = Some(fresh);
            self.replace_levels(|current| replace(current, Some(view)));
            self.signal.raise();
        }
        // What the caller holds has its own moment; the runs answer for what was merged in it.
        Ok(Arc::new(replace(levels, None)))
    }

    /// The runs of all segments below `covered`, newest first; those that are of no use are
    /// written again.
    pub(super) fn runs_below(&self, covered: u64, levels: &Levels) -> Result<Vec<Arc<Run>>> {
        let mut runs = Vec::new();
        for span in self.log.segments().into_iter().rev() {
            if span.end.get() > covered || span.base == span.end {
                continue;
            }
            runs.push(Arc::new(self.open_or_rebuild(&span, levels)?));
        }
        Ok(runs)
    }

    pub(super) fn open_or_rebuild(&self, span: &SegmentSpan, levels: &Levels) -> Result<Run> {
        let (vfs, directory) = (self.log.vfs().as_ref(), self.log.directory());
        match Run::open(vfs, directory, &self.run_identity(span)) {
            Ok(run) => Ok(run),
            Err(_) => self.rebuild_run(span, levels),
        }
    }
}
