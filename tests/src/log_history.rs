//! A log under test on a simulated disk, and what it has promised so far.
//!
//! A [`History`] outlives crashes: it remembers every batch that ever got an offset, and which of
//! them were acknowledged, and checks each reopened log against that.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cairn_log::vfs::simulated::SimulatedDisk;
use cairn_log::{
    BatchBuffer, Clock, Commit, Dropped, Durability, Error, Log, LogId, Offset, Options, Partition,
};

/// The directory of the log on the simulated disk.
pub const DIRECTORY: &str = "/log";

/// Bytes of a segment under test: small, so that segments roll often.
pub const SEGMENT_BYTES: u64 = 16 << 10;

/// A clock that stands still until it is told to go on.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Lets time pass.
    pub fn advance(&self, duration_ms: u64) {
        self.0.fetch_add(duration_ms, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000 + self.0.load(Ordering::Relaxed)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// One thing a workload does.
#[derive(Clone, Debug)]
pub enum Step {
    /// Appends batches of these many records of these many bytes, then waits for all of them.
    Append(Vec<(Durability, usize, usize)>),
    /// Lets a second pass and lets the log sync and mark.
    Idle,
    /// Prepares the next segment ahead of use.
    Prepare,
    /// Goes on to a new segment.
    Seal,
    /// Drops one of the segments that may be dropped, counted from the oldest (and round again).
    Drop(usize),
    /// Drops the newest of them: after a recovery, the segment that was cut, or its copy.
    DropLast,
    /// Copies the log to a directory of its own.
    Backup,
    /// Closes cleanly and opens again.
    Reopen,
}

/// How far a batch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Promise {
    /// It has an offset.
    Sequenced,
    /// It was acknowledged as `Buffered`.
    Written,
    /// It was acknowledged as `Buffered`, and the process died: it is in the page cache.
    Cached,
    /// It was acknowledged as `Local`, or seen below the durable offset.
    Durable,
}

#[derive(Clone, Debug)]
struct Batch {
    /// Order of sequencing over the whole history.
    serial: u64,
    /// The opening of the log that sequenced it.
    opening: u64,
    records: Vec<Vec<u8>>,
    promise: Promise,
}

/// Batches as they are read back, in their order.
type Contents = Vec<(Offset, Vec<Vec<u8>>)>;

/// What happened, counted, so that a test can insist that the hard states were met.
#[derive(Clone, Copy, Debug, Default)]
pub struct Events {
    /// Batches found after a crash that no acknowledgement had promised.
    pub kept_unpromised: u64,
    /// Batches that a crash lost (none of them promised).
    pub lost: u64,
    /// Opens that found an unclean close.
    pub recoveries: u64,
    /// Recoveries that kept a tail by copying it.
    pub copies: u64,
    /// Recoveries that dropped damaged bytes.
    pub dropped: u64,
    /// Clean opens.
    pub clean_opens: u64,
    /// Logs of more than one segment that were opened.
    pub several_segments: u64,
    /// Segments that were sealed on request.
    pub seals: u64,
    /// Finished backups that were opened later.
    pub backups: u64,
    /// Segments that were dropped.
    pub drops: u64,
    /// Of them, those that left older ones standing.
    pub holes: u64,
    /// Drops cut short after which the segment was still there.
    pub undone_drops: u64,
    /// Drops cut short after which the segment was gone.
    pub completed_drops: u64,
}

/// Every promise a log has made on a simulated disk.
#[derive(Clone, Debug, Default)]
pub struct History {
    batches: BTreeMap<Offset, Batch>,
    /// Every offset that ever named a batch, lost ones included.
    handed_out: BTreeSet<Offset>,
    serial: u64,
    opening: u64,
    backups_begun: u64,
    /// The newest finished backup: its directory, and what it must hold.
    backup: Option<(PathBuf, Contents)>,
    /// The batches of a segment whose drop was cut short: all of them are there, or none.
    dropping: BTreeSet<Offset>,
    /// Where the highest segment that was surely dropped ended.
    dropped_end: Offset,
    /// What happened.
    pub events: Events,
}

/// A log that is open on a simulated disk.
pub struct OpenLog {
    /// The log.
    pub log: Log,
    /// Its clock.
    pub clock: Arc<ManualClock>,
}

/// Opens the log of a test.
///
/// # Errors
///
/// What [`Log::open`] fails with.
pub fn open(disk: &SimulatedDisk) -> cairn_log::Result<OpenLog> {
    open_in(disk, Path::new(DIRECTORY))
}

fn open_in(disk: &SimulatedDisk, directory: &Path) -> cairn_log::Result<OpenLog> {
    let clock = Arc::new(ManualClock::default());
    let options = Options {
        segment_bytes: SEGMENT_BYTES,
        threads: false,
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        log_id: Some(LogId(*b"a log under test")),
        ..Options::default()
    };
    let log = Log::open(Arc::new(disk.clone()), directory, options)?;
    Ok(OpenLog { log, clock })
}

impl History {
    /// Opens the log and runs steps until one fails, remembering every promise.
    ///
    /// # Errors
    ///
    /// The failure that ended the run.
    pub fn run(&mut self, disk: &SimulatedDisk, steps: &[Step]) -> cairn_log::Result<()> {
        self.run_and_look(disk, steps, || ())
    }

    /// Like [`run`](Self::run), with a look after each step.
    ///
    /// # Errors
    ///
    /// The failure that ended the run.
    pub fn run_and_look(
        &mut self,
        disk: &SimulatedDisk,
        steps: &[Step],
        mut look: impl FnMut(),
    ) -> cairn_log::Result<()> {
        let mut open_log = self.open_and_check(disk)?;
        for step in steps {
            match step {
                Step::Append(batches) => self.append(&open_log, batches)?,
                Step::Idle => {
                    open_log.clock.advance(1_500);
                    let partition = &open_log.log.partitions()[0];
                    partition.step_idle()?;
                    partition.step_idle()?;
                    self.note_durable(partition.durable());
                }
                Step::Prepare => {
                    open_log.log.partitions()[0].step_prepare()?;
                }
                Step::Seal => {
                    let partition = &open_log.log.partitions()[0];
                    let before = partition.status().segments;
                    partition.seal()?;
                    self.note_durable(partition.durable());
                    self.events.seals += u64::from(partition.status().segments > before);
                }
                Step::Drop(nth) => {
                    self.drop_segment(&open_log.log, |of| nth.checked_rem(of))?;
                }
                Step::DropLast => self.drop_segment(&open_log.log, |of| of.checked_sub(1))?,
                Step::Backup => {
                    self.backups_begun += 1;
                    let to = PathBuf::from(format!("/backup-{}", self.backups_begun));
                    let held = contents(&open_log.log.partitions()[0])?;
                    open_log.log.backup(&to)?;
                    self.backup = Some((to, held));
                }
                Step::Reopen => {
                    open_log.log.close()?;
                    self.note_durable(open_log.log.partitions()[0].durable());
                    drop(open_log);
                    open_log = self.open_and_check(disk)?;
                    assert!(
                        open_log.log.partitions()[0].recovery().clean,
                        "it was closed cleanly"
                    );
                }
            }
            look();
        }
        Ok(())
    }

    /// Opens the log, checks it against every promise, and forgets what a crash has lost.
    ///
    /// # Errors
    ///
    /// What [`Log::open`] or reading the log fails with.
    ///
    /// # Panics
    ///
    /// If a promise is broken.
    pub fn open_and_check(&mut self, disk: &SimulatedDisk) -> cairn_log::Result<OpenLog> {
        let open_log = open(disk)?;
        self.opening += 1;
        self.check(&open_log.log)?;
        self.check_backup(disk);
        Ok(open_log)
    }

    /// Checks an open log against every promise.
    ///
    /// # Errors
    ///
    /// What reading the log fails with.
    ///
    /// # Panics
    ///
    /// If a promise is broken.
    pub fn check(&mut self, log: &Log) -> cairn_log::Result<()> {
        let partition = &log.partitions()[0];
        let found = contents(partition)?;
        self.settle_drop(&found);
        let floor = partition.dropped_end();
        assert!(floor >= self.dropped_end, "the floor fell to {floor}");
        self.dropped_end = floor;
        let complete = found.iter().filter(|(offset, _)| *offset >= floor);
        let mut reader = partition.tail(floor)?;
        for (offset, records) in complete {
            let batch = reader.next()?.expect("a tail yields what a replay does");
            assert_eq!(batch.offset, *offset, "a tail yields what a replay does");
            assert!(
                batch.records().map(|(_, payload)| payload).eq(records),
                "a tail yields what a replay does"
            );
        }
        assert!(reader.next()?.is_none(), "a tail yields no more than that");
        let mut last_serial = 0;
        let mut present = BTreeMap::new();
        for (offset, records) in found {
            let Some(batch) = self.batches.get(&offset) else {
                panic!("a batch at {offset} that was never appended, or was lost before");
            };
            assert_eq!(
                batch.records, records,
                "the batch at {offset} is not what was appended"
            );
            assert!(
                batch.serial > last_serial,
                "the batch at {offset} is out of order"
            );
            last_serial = batch.serial;
            present.insert(offset, batch.clone());
        }
        for (offset, batch) in &self.batches {
            if present.contains_key(offset) {
                continue;
            }
            assert!(
                batch.promise < Promise::Cached,
                "the {:?} batch at {offset} is lost",
                batch.promise
            );
            let survivor = present
                .values()
                .find(|kept| kept.opening == batch.opening && kept.serial > batch.serial);
            assert!(
                survivor.is_none(),
                "the batch at {offset} is lost, but a later one is kept"
            );
            self.events.lost += 1;
        }
        for batch in present.values_mut() {
            if batch.promise < Promise::Durable {
                self.events.kept_unpromised += 1;
            }
            // Whatever an open has shown is durable from then on.
            batch.promise = Promise::Durable;
        }
        self.batches = present;
        let report = partition.recovery();
        self.events.recoveries += u64::from(!report.clean);
        self.events.clean_opens += u64::from(report.clean);
        self.events.copies += u64::from(report.kept_bytes > 0);
        self.events.dropped += u64::from(report.dropped_bytes > 0);
        self.events.several_segments += u64::from(partition.status().segments > 1);
        Ok(())
    }

    /// Opens the newest finished backup on a disk of its own: it holds what was durable then.
    fn check_backup(&mut self, disk: &SimulatedDisk) {
        let Some((directory, held)) = &self.backup else {
            return;
        };
        let opened = open_in(&disk.fork(), directory).expect("a finished backup opens");
        let found = contents(&opened.log.partitions()[0]).expect("a finished backup is whole");
        assert!(found == *held, "{directory:?} is not what was durable");
        self.events.backups += 1;
    }

    /// Drops the segment that `choose` picks among as many as there are to drop.
    fn drop_segment(
        &mut self,
        log: &Log,
        choose: impl FnOnce(usize) -> Option<usize>,
    ) -> cairn_log::Result<()> {
        let partition = &log.partitions()[0];
        let segments = partition.segments();
        let Some((_newest, droppable)) = segments.split_last() else {
            return Ok(());
        };
        let chosen = choose(droppable.len());
        let Some(segment) = chosen.and_then(|chosen| droppable.get(chosen)) else {
            return Ok(());
        };
        let inside = self.batches.range(segment.base..segment.end);
        self.dropping = inside.map(|(offset, _)| *offset).collect();
        let dropped = partition.drop_segment(segment.base)?;
        assert_eq!(dropped, Dropped::Done, "{segment:?} of {segments:?}");
        for offset in std::mem::take(&mut self.dropping) {
            self.batches.remove(&offset);
        }
        self.dropped_end = self.dropped_end.max(segment.end);
        assert_eq!(partition.dropped_end(), self.dropped_end);
        self.events.drops += 1;
        self.events.holes += u64::from(segment.base > partition.status().start);
        Ok(())
    }

    /// Learns from what is found how a drop that was cut short has ended.
    fn settle_drop(&mut self, found: &Contents) {
        let dropping = std::mem::take(&mut self.dropping);
        if dropping.is_empty() {
            return;
        }
        let kept = found
            .iter()
            .filter(|(offset, _)| dropping.contains(offset))
            .count();
        assert!(
            kept == 0 || kept == dropping.len(),
            "a segment is dropped in part: {kept} of {dropping:?} are left"
        );
        self.events.undone_drops += u64::from(kept > 0);
        self.events.completed_drops += u64::from(kept == 0);
        if kept == 0 {
            dropping.iter().for_each(|offset| {
                self.batches.remove(offset);
            });
        }
    }

    /// The power went: what was acknowledged as `Buffered` may be gone.
    pub fn forget_written(&mut self) {
        for batch in self.batches.values_mut() {
            if batch.promise < Promise::Durable {
                batch.promise = Promise::Sequenced;
            }
        }
    }

    /// The process died and the page cache lives: what was acknowledged as `Buffered` is there.
    pub fn promise_written(&mut self) {
        for batch in self.batches.values_mut() {
            if batch.promise == Promise::Written {
                batch.promise = Promise::Cached;
            }
        }
    }

    /// The number of batches that must be there at the next open.
    pub fn durable_batches(&self) -> usize {
        self.batches
            .values()
            .filter(|batch| batch.promise == Promise::Durable)
            .count()
    }

    fn append(
        &mut self,
        open_log: &OpenLog,
        batches: &[(Durability, usize, usize)],
    ) -> cairn_log::Result<()> {
        let partition = &open_log.log.partitions()[0];
        let mut pending: Vec<(Offset, Durability, Commit)> = Vec::new();
        let mut outcome = Ok(());
        for &(durability, records, bytes) in batches {
            self.serial += 1;
            let payloads: Vec<Vec<u8>> = (0..records)
                .map(|record| {
                    let text = format!("{}.{record}:", self.serial);
                    text.bytes().cycle().take(bytes).collect()
                })
                .collect();
            let mut buffer = BatchBuffer::new();
            for payload in &payloads {
                buffer.record(|out| out.extend_from_slice(payload));
            }
            let appended = loop {
                match partition.try_append(&buffer, open_log.clock.now_ms(), durability) {
                    Ok(Some(appended)) => break Ok(appended),
                    Ok(None) => {
                        if let Err(error) = partition.make_room(buffer.byte_len()) {
                            break Err(error);
                        }
                    }
                    Err(error) => break Err(error),
                }
            };
            let appended = match appended {
                Ok(appended) => appended,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            };
            let batch = Batch {
                serial: self.serial,
                opening: self.opening,
                records: payloads,
                promise: Promise::Sequenced,
            };
            assert!(
                self.handed_out.insert(appended.offset),
                "offset {} was handed out twice",
                appended.offset
            );
            self.batches.insert(appended.offset, batch);
            pending.push((appended.offset, durability, appended.commit));
        }
        for (offset, durability, commit) in pending {
            match commit.wait() {
                Ok(()) => self.promise(offset, durability),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    fn promise(&mut self, offset: Offset, durability: Durability) {
        let promise = match durability {
            Durability::Buffered => Promise::Written,
            Durability::Local => Promise::Durable,
        };
        if let Some(batch) = self.batches.get_mut(&offset) {
            batch.promise = batch.promise.max(promise);
        }
        if durability == Durability::Local {
            self.note_durable(Offset::new(offset.get() + 1));
        }
    }

    fn note_durable(&mut self, durable: Offset) {
        for (_, batch) in self.batches.range_mut(..durable) {
            batch.promise = Promise::Durable;
        }
    }
}

fn contents(partition: &Partition) -> cairn_log::Result<Contents> {
    let mut found = Contents::new();
    partition.replay(Offset::new(0), |batch| {
        let payloads = batch.records().map(|(_, payload)| payload.to_vec());
        found.push((batch.offset, payloads.collect()));
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// Whether a failure is what a crashed, failing or full disk may cause; anything else, corruption
/// above all, is a defect.
pub fn is_expected_failure(error: &Error) -> bool {
    matches!(
        error,
        Error::Io { .. }
            | Error::OutcomeUnknown { .. }
            | Error::Poisoned { .. }
            | Error::DiskFull { .. }
    )
}
