//! Power losses and kills at random points of random work, in recovery too, several in a row.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use cairn_log::Offset;
use cairn_log::vfs::SyncSite;

use super::expected::{BUCKETS, Change, Content, End, Expected, KEYS, TOPIC, key};
use super::*;
use crate::record::{Body, Record};
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

/// Work.
impl Run {
    fn operate(&mut self, store: &Store) -> Outcome {
        if let Some(at) = (0..2).find(|at| self.expected.newest.buckets[*at].is_none()) {
            let place = self.expected.submit(vec![Change::Create(at)]);
            return self.told(store.bucket(BUCKETS[at]), |run, _| {
                run.expected.acknowledge(place, Durability::Local);
            });
        }
        match self.random.below(100) {
            0..30 => self.write(store),
            30..45 => self.delete(store),
            45..50 => self.write_group(store),
            50..85 => self.maintain(store),
            85..91 => self.append(store),
            91..94 => self.upload(store),
            94 => self.remove_bucket(store),
            _ => {
                self.bench.clock.pass(self.random.next() % 400);
                Ok(())
            }
        }
    }

    /// Takes an answer; only a crash may refuse anything.
    fn told<T>(&mut self, told: Result<T>, note: impl FnOnce(&mut Run, T)) -> Outcome {
        match told {
            Ok(told) => {
                note(self, told);
                Ok(())
            }
            Err(error) => {
                assert!(self.bench.disk.has_crashed(), "refused: {error}");
                Err(Crashed)
            }
        }
    }

    fn durability(&mut self) -> Durability {
        if self.one_in(3) {
            Durability::Buffered
        } else {
            Durability::Local
        }
    }

    fn content(&mut self, store: &Store, bytes_most: usize) -> (Content, PutOptions) {
        let ttl_ms = self.one_in(8).then(|| 1 + self.random.next() % 1_000);
        let options = PutOptions {
            ttl_ms,
            ..PutOptions::default()
        };
        let content = Content {
            number: self.number,
            bytes: 8 + self.random.below(bytes_most),
            expires_ms: ttl_ms.map(|ttl_ms| store.status().now_ms + ttl_ms),
        };
        (content, options)
    }

    /// A batch of puts and deletes, and what it changes.
    fn batch(&mut self, store: &Store, at: usize) -> (Batch, Vec<Change>) {
        self.number += 1;
        let (length, bytes_most) = match self.random.below(10) {
            0 => {
                self.events.note("large batch");
                (KEYS, 200)
            }
            1..4 => (2 + self.random.below(4), 700),
            4 => (1, 6_000),
            _ => (1, 50),
        };
        let first = self.random.below(KEYS);
        let mut batch = Batch::new();
        let mut changes = Vec::new();
        for nth in 0..length {
            let key = key((first + nth) % KEYS);
            if nth > 0 && self.one_in(3) {
                batch = batch.delete(&key);
                changes.push(Change::Delete(at, key));
            } else {
                let (content, options) = self.content(store, bytes_most);
                batch = batch.put_with(&key, content.value(), options);
                changes.push(Change::Put(at, key, content));
            }
        }
        (batch, changes)
    }

    fn write(&mut self, store: &Store) -> Outcome {
        let at = self.random.below(2);
        let bucket = self.bucket(store, at);
        let (batch, changes) = self.batch(store, at);
        let (number, durability) = (self.number, self.durability());
        let place = self.expected.submit(changes);
        self.told(bucket.write(batch, durability), |run, receipt| {
            run.expected.acknowledge(place, durability);
            run.expected.see_version(number, receipt.version);
        })
    }

    /// Batches that are under way together, waited for in any order.
    fn write_group(&mut self, store: &Store) -> Outcome {
        let mut commits = Vec::new();
        for _ in 0..2 + self.random.below(4) {
            let at = self.random.below(2);
            let bucket = self.bucket(store, at);
            let (batch, changes) = self.batch(store, at);
            let (number, durability) = (self.number, self.durability());
            let place = self.expected.submit(changes);
            self.told(bucket.submit(batch, durability), |_, commit| {
                commits.push((number, place, durability, commit));
            })?;
        }
        self.events.note("group of batches");
        if self.one_in(2) {
            commits.reverse();
        }
        for (number, place, durability, commit) in commits {
            self.told(commit.wait(), |run, receipt| {
                run.expected.acknowledge(place, durability);
                run.expected.see_version(number, receipt.version);
            })?;
        }
        Ok(())
    }

    fn delete(&mut self, store: &Store) -> Outcome {
        let at = self.random.below(2);
        let key = key(self.random.below(KEYS));
        let now_ms = store.status().now_ms;
        let keys = self.expected.newest.buckets[at].as_ref().unwrap();
        let existed = keys.get(&key).is_some_and(|one| one.is_there(now_ms));
        let bucket = self.bucket(store, at);
        let place = self.expected.submit(vec![Change::Delete(at, key.clone())]);
        self.told(bucket.delete(&key), |run, deleted| {
            assert_eq!(deleted.existed, existed, "{key}");
            // What was absent already rests on nothing that was written before.
            if existed {
                run.expected.acknowledge(place, Durability::Local);
            }
        })
    }

    fn append(&mut self, store: &Store) -> Outcome {
        self.number += 1;
        let number = self.number;
        let place = self.expected.submit(vec![Change::Append(number)]);
        self.events.note("topic record");
        self.told(
            store.append(0, TOPIC, number.to_be_bytes()),
            |run, appended| {
                run.expected.see_place(number, appended.offset);
                run.expected.acknowledge(place, Durability::Local);
            },
        )
    }

    fn upload(&mut self, store: &Store) -> Outcome {
        let (at, key) = (self.random.below(2), key(self.random.below(KEYS)));
        let bucket = self.bucket(store, at);
        self.number += 1;
        let number = self.number;
        let (content, options) = self.content(store, 60_000);
        let mut upload = bucket.upload(&key, options).unwrap();
        for part in content.value().chunks(7_000) {
            self.told(upload.write(part), |_, ()| ())?;
            if self.one_in(4) {
                self.maintain(store)?;
            }
        }
        if self.one_in(5) {
            // Nobody ever hears of it.
            return Ok(());
        }
        // The deadline counts from the end of the upload, and time stands still meanwhile.
        let place = self.expected.submit(vec![Change::Put(at, key, content)]);
        let finished = upload.finish(&[], Durability::Local);
        let finished = finished.and_then(Commit::wait);
        self.told(finished, |run, receipt| {
            run.events.note("value in pieces");
            run.expected.acknowledge(place, Durability::Local);
            run.expected.see_version(number, receipt.version);
        })
    }

    fn remove_bucket(&mut self, store: &Store) -> Outcome {
        let at = self.random.below(2);
        let place = self.expected.submit(vec![Change::Remove(at)]);
        self.told(store.remove_bucket(BUCKETS[at], true), |run, ()| {
            run.events.note("bucket removed");
            run.expected.acknowledge(place, Durability::Local);
        })
    }

    fn bucket(&self, store: &Store, at: usize) -> Bucket {
        store.open_bucket(BUCKETS[at]).unwrap()
    }

    /// Steps the store once or until there is nothing to do; now and then the disk crashes soon.
    fn maintain(&mut self, store: &Store) -> Outcome {
        let mut steps = if self.one_in(4) { 20 } else { 1 };
        if self.one_in(40) {
            let soon = 1 + self.random.next() % 30;
            self.bench.disk.crash_at(self.bench.disk.calls() + soon);
            steps = 20;
        }
        for _ in 0..steps {
            let before = Index::of(store, &self.bench.disk);
            let stepped = store.step();
            if stepped.is_err() {
                let after = Index::of(store, &self.bench.disk);
                self.events.note_many(before.stopped_at(&after), 1);
            }
            let mut worked = false;
            self.told(stepped, |_, more| worked = more)?;
            if !worked {
                break;
            }
        }
        Ok(())
    }
}

/// What tells at which work of maintenance a crash came.
struct Index {
    memtables: usize,
    merges: u64,
    moved_bytes: u64,
    index_syncs: u64,
    drop_syncs: u64,
}

impl Index {
    fn of(store: &Store, disk: &SimulatedDisk) -> Index {
        let index = &store.status().partitions[0].index;
        let sites = disk.sync_sites();
        let syncs = |site| sites.get(&SyncSite(site)).copied().unwrap_or(0);
        Index {
            memtables: index.memtables,
            merges: index.merges,
            moved_bytes: index.moved_bytes,
            index_syncs: syncs("index file"),
            drop_syncs: syncs("retired segments"),
        }
    }

    fn stopped_at(&self, after: &Index) -> &'static str {
        if self.memtables > 1 {
            "crash while a run is written"
        } else if after.index_syncs > self.index_syncs && after.merges == self.merges {
            "crash in a merge"
        } else if after.moved_bytes > self.moved_bytes || after.drop_syncs > self.drop_syncs {
            "crash in a collection"
        } else {
            "crash elsewhere in maintenance"
        }
    }
}

/// Ends.
impl Run {
    /// Takes the disk over an end, perhaps over more crashes on the way, and checks what is found.
    fn recover(&mut self, mut end: End) {
        let disk = match end {
            End::Kill => self.bench.disk.process_death(),
            End::PowerLoss => self.power_loss(),
            // A close has made everything durable.
            End::Close => self.bench.disk.power_loss(Survival::Nothing),
        };
        self.go_on_with(disk);
        for event in [
            "crash in recovery",
            "second crash in recovery",
            "third crash in recovery",
        ] {
            if self.one_in(4) {
                erase_index(&self.bench.disk);
                self.events.note("index erased");
            }
            if self.one_in(2) {
                break;
            }
            let call = 1 + self.random.next() % 60;
            self.bench.disk.crash_at(call);
            if let Ok(store) = self.bench.try_open() {
                while store.step().unwrap_or(false) {}
                self.note_what_happened(&store, usize::MAX);
            }
            if self.bench.disk.has_crashed() {
                self.events.note(event);
            }
            // What only a kill leaves may go now, but nothing that was durable.
            if end == End::Kill {
                end = End::PowerLoss;
            }
            let disk = self.power_loss();
            self.go_on_with(disk);
        }
        let store = self.bench.open();
        self.expected.check(&store, end, &mut self.events);
        self.note_what_happened(&store, usize::MAX);
        store.verify().unwrap();
        let digest = store.state_digest().unwrap();
        self.look_for_tombstones(&store);
        drop(store);
        if self.one_in(4) {
            erase_index(&self.bench.disk);
            self.events.note("index erased");
        }
        let store = self.bench.open();
        self.note_what_happened(&store, usize::MAX);
        assert_eq!(store.state_digest().unwrap(), digest);
    }

    fn power_loss(&mut self) -> SimulatedDisk {
        let survival = match self.random.below(4) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            _ => Survival::Random(self.random.next()),
        };
        self.bench.disk.power_loss(survival)
    }

    /// Time goes on as well.
    fn go_on_with(&mut self, disk: SimulatedDisk) {
        self.bench.disk = Arc::new(disk);
    }

    /// Counts the tombstones that stood in the durable log at the last look and are gone now.
    fn look_for_tombstones(&mut self, store: &Store) {
        let mut found = BTreeSet::new();
        let log = &store.0.log.partitions()[0];
        let looked = log.replay(Offset::default(), |batch| {
            for (offset, payload) in batch.records() {
                let record = Record::decode(payload).unwrap();
                if let Body::Delete { key, .. } = record.body {
                    let version = record.version(offset.get()).unwrap();
                    found.insert((record.bucket.0, key.to_vec(), version));
                }
            }
            ControlFlow::Continue(())
        });
        looked.unwrap();
        let dropped = self.tombstones.difference(&found).count();
        self.events.note_many("tombstone dropped", dropped);
        self.tombstones = found;
    }
}
