//! Power losses and kills at random points of random work, in recovery too, several in a row.

mod recovery;
mod work;

use std::collections::BTreeSet;

use super::expected::{End, Expected};
use super::*;
use crate::testing::{Events, Random, run_seeds, seeds};

#[test]
fn law_1_and_2_acknowledged_batches_survive_power_loss_whole() {
    let began = std::time::Instant::now();
    let events = run_seeds(seeds(150), |seed| {
        let mut run = Run::new(seed);
        for _ in 0..LIVES {
            let end = run.live();
            run.recover(end);
        }
        run.events
    });
    println!("{:.1} s: {events:?}", began.elapsed().as_secs_f64());
    events.assert_all(&[
        "crash",
        "crash while a run is written",
        "crash in a merge",
        "crash in a collection",
        "crash in recovery",
        "second crash in recovery",
        "kill",
        "clean close",
        "lost batch",
        "unacknowledged batch kept",
        "segment roll",
        "run",
        "merge",
        "segment dropped",
        "tombstone dropped",
        "expired key",
        "index erased",
        "index rebuilt",
        "group of batches",
        "large batch",
        "value in pieces",
        "topic record",
        "bucket removed",
    ]);
}

/// How often a seed's store is opened, used and brought to its end.
const LIVES: usize = 4;

/// Operations of one life, unless a crash comes first.
const OPERATIONS: usize = 150;

struct Run {
    bench: Bench,
    random: Random,
    /// Of the batch that was submitted last.
    number: u64,
    expected: Expected,
    /// Tombstones that stood in the log when it was looked at last.
    tombstones: BTreeSet<Tombstone>,
    events: Events,
}

/// Bucket, key and version.
type Tombstone = (u32, Vec<u8>, u64);

/// The disk has crashed.
struct Crashed;

type Outcome = std::result::Result<(), Crashed>;

impl Run {
    fn new(seed: u64) -> Run {
        let bench = Bench::new(seed);
        let at = |part: u64, choices: usize| usize::try_from(seed / part).unwrap() % choices;
        // Small, so that segments are sealed, runs written and merged all the time.
        let options = bench
            .options
            .segment_bytes([16 << 10, 64 << 10][at(1, 2)])
            .memtable_bytes([4_000, 1 << 20][at(2, 2)])
            .merge_entries([1, 30, 200][at(4, 3)])
            .history_bytes_min([0, 0, 4_000][at(12, 3)]);
        Run {
            bench: Bench { options, ..bench },
            random: Random(seed * 2 + 1),
            number: 0,
            expected: Expected::default(),
            tombstones: BTreeSet::new(),
            events: Events::default(),
        }
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.random.below(count) == 0
    }

    /// Opens the store and works until the disk crashes or it has been enough.
    fn live(&mut self) -> End {
        if !self.one_in(5) {
            let span = [30, 300, 2_000][self.random.below(3)];
            let call = self.bench.disk.calls() + 1 + self.random.next() % span;
            self.bench.disk.crash_at(call);
        }
        let end = match self.bench.try_open() {
            Ok(store) => self.work(&store),
            Err(_) => Err(Crashed),
        };
        if let Ok(end) = end {
            return end;
        }
        assert!(self.bench.disk.has_crashed());
        self.events.note("crash");
        End::PowerLoss
    }

    fn work(&mut self, store: &Store) -> std::result::Result<End, Crashed> {
        let segments = store.status().partitions[0].segments;
        let worked = (0..OPERATIONS).try_for_each(|_| self.operate(store));
        self.note_what_happened(store, segments);
        worked?;
        if self.one_in(2) {
            self.told(store.close(), |_, ()| ())?;
            self.events.note("clean close");
            return Ok(End::Close);
        }
        self.events.note("kill");
        // Before the store is dropped, which closes it.
        let disk = self.bench.disk.process_death();
        self.go_on_with(disk);
        Ok(End::Kill)
    }

    fn note_what_happened(&mut self, store: &Store, segments_before: usize) {
        let status = &store.status().partitions[0];
        let index = &status.index;
        let dropped = usize::try_from(index.segments_dropped).unwrap();
        let rolls = (status.segments + dropped).saturating_sub(segments_before);
        let merges = usize::try_from(index.merges).unwrap();
        let rebuilds = usize::try_from(index.rebuilds).unwrap();
        self.events.note_many("segment roll", rolls);
        self.events.note_many("index rebuilt", rebuilds);
        self.events.note_many("run", index.runs);
        self.events.note_many("merge", merges);
        self.events.note_many("segment dropped", dropped);
    }
}
