//! Concurrent histories of a store, real ones, against what one client at a time would see.
//!
//! Threads write and read few keys in every way there is while segments are sealed, runs written
//! and merged, and garbage is collected under them. What each was told, and when it asked, is
//! checked by an exact search.

mod checker;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::testing::Random;
use checker::{Action, Event, Pair};

const CLIENTS: usize = 4;
const PAIRS: usize = 3;
const OPERATIONS: usize = 250;

/// One client: what it did to each pair.
struct Client<'a> {
    bucket: &'a Bucket,
    clock: &'a AtomicU64,
    values: &'a AtomicU64,
    random: Random,
    histories: Vec<Vec<Event>>,
}

fn key(pair: usize, key: usize) -> String {
    format!("{pair}/{key}")
}

fn number_of(entry: &Entry) -> u64 {
    u64::from_be_bytes(*entry.value.first_chunk().unwrap())
}

impl Client<'_> {
    fn record(&mut self, pair: usize, act: impl FnOnce(&mut Self) -> Action) {
        let called = self.clock.fetch_add(1, Ordering::SeqCst);
        let action = act(self);
        let answered = self.clock.fetch_add(1, Ordering::SeqCst);
        self.histories[pair].push(Event {
            called,
            answered,
            action,
        });
    }

    fn step(&mut self) {
        let (pair, which) = (self.random.below(PAIRS), self.random.below(2));
        match self.random.below(12) {
            0..2 => self.record(pair, |client| client.put(pair, which)),
            2 => self.record(pair, |client| client.delete(pair, which)),
            3..5 => self.record(pair, |client| {
                let found = client.bucket.get(key(pair, which)).unwrap();
                Action::Get(which, found.as_ref().map(number_of))
            }),
            5..7 => self.record(pair, |client| client.get_both(pair)),
            7..9 => self.compare_and_set(pair, which),
            _ => self.transaction(pair),
        }
    }

    /// A value that no other write has.
    fn value(&mut self) -> (u64, Vec<u8>) {
        let number = self.values.fetch_add(1, Ordering::SeqCst);
        let mut value = number.to_be_bytes().to_vec();
        value.resize(8 + self.random.below(600), 0);
        (number, value)
    }

    /// Lets others come between a write's place and its answer.
    fn wait(&mut self, commit: Result<Commit>) -> Result<Receipt> {
        if self.random.below(2) == 0 {
            std::thread::yield_now();
        }
        commit?.wait()
    }

    fn put(&mut self, pair: usize, which: usize) -> Action {
        let (number, value) = self.value();
        let durability = [Durability::Local, Durability::Buffered][self.random.below(2)];
        let batch = Batch::new().put(key(pair, which), value);
        let commit = self.bucket.submit(batch, durability);
        self.wait(commit).unwrap();
        Action::Put(which, number)
    }

    fn delete(&mut self, pair: usize, which: usize) -> Action {
        let key = key(pair, which);
        let commit = self.bucket.submit_delete(key.as_bytes(), Durability::Local);
        let receipt = self.wait(commit).unwrap();
        Action::Delete(which, receipt.existed)
    }

    fn get_both(&mut self, pair: usize) -> Action {
        if self.random.below(2) == 0 {
            let found = self.bucket.multi_get(&[0, 1].map(|which| key(pair, which)));
            let found = found.unwrap();
            return Action::GetBoth([0, 1].map(|which| found[which].as_ref().map(number_of)));
        }
        let rows = self.bucket.scan(Scan::prefix(format!("{pair}/"))).unwrap();
        Action::GetBoth(pair_of(pair, rows))
    }

    fn compare_and_set(&mut self, pair: usize, which: usize) {
        let mut found = None;
        self.record(pair, |client| {
            found = client.bucket.get(key(pair, which)).unwrap();
            Action::Get(which, found.as_ref().map(number_of))
        });
        std::thread::yield_now();
        self.record(pair, |client| {
            let (after, value) = client.value();
            let expect = match &found {
                Some(entry) => Expect::OneOf(vec![entry.version]),
                None => Expect::Absent,
            };
            let key = key(pair, which);
            let batch = Batch::new().require(&key, expect).put(&key, value);
            let commit = client.bucket.submit(batch, Durability::Local);
            let written = match client.wait(commit) {
                Ok(_) => true,
                Err(error) if error.kind() == ErrorKind::VersionMismatch => false,
                Err(error) => panic!("{error}"),
            };
            Action::CompareAndSet {
                key: which,
                before: found.as_ref().map(number_of),
                after,
                written,
            }
        });
    }

    fn transaction(&mut self, pair: usize) {
        let mut begun = None;
        let mut read: Pair = [None; 2];
        self.record(pair, |client| {
            let mut transaction = client.bucket.transaction().unwrap();
            if client.random.below(2) == 0 {
                let rows = transaction.scan(&Scan::prefix(format!("{pair}/")));
                read = pair_of(pair, rows.unwrap());
            } else {
                read = [0, 1].map(|which| {
                    let entry = transaction.get(key(pair, which)).unwrap();
                    entry.as_ref().map(number_of)
                });
            }
            begun = Some(transaction);
            Action::GetBoth(read)
        });
        std::thread::yield_now();
        self.record(pair, |client| {
            let mut transaction = begun.take().unwrap();
            let mut write = [None; 2];
            for (which, write) in write.iter_mut().enumerate() {
                match client.random.below(4) {
                    0 => {
                        transaction.delete(key(pair, which)).unwrap();
                        *write = Some(None);
                    }
                    1..3 => {
                        let (number, value) = client.value();
                        transaction.put(key(pair, which), value).unwrap();
                        *write = Some(Some(number));
                    }
                    _ => {}
                }
            }
            match transaction.submit(Durability::Local).map(Ok) {
                Ok(commit) => match client.wait(commit) {
                    Ok(_) => Action::Commit { read, write },
                    Err(error) => refused(&error),
                },
                Err(error) => refused(&error),
            }
        });
    }
}

fn refused(error: &Error) -> Action {
    // Overloaded: what was written meanwhile has left memory, so nobody can tell.
    let kinds = [ErrorKind::VersionMismatch, ErrorKind::Overloaded];
    assert!(kinds.contains(&error.kind()), "{error}");
    Action::Refused
}

fn pair_of(pair: usize, rows: impl Iterator<Item = Result<(Bytes, Entry)>>) -> Pair {
    let mut found = [None; 2];
    for row in rows {
        let (row_key, entry) = row.unwrap();
        let which = (0..2).find(|&which| row_key == key(pair, which));
        found[which.unwrap()] = Some(number_of(&entry));
    }
    found
}

/// What happened in histories. One in which nothing does proves nothing.
#[derive(Debug, Default)]
struct Met {
    overlaps: usize,
    refused_sets: usize,
    commits: usize,
    refused_commits: usize,
}

impl Met {
    fn note(&mut self, clients: &[Vec<Event>]) {
        let events = || clients.iter().enumerate();
        for (client, event) in events().flat_map(|(at, events)| events.iter().map(move |e| (at, e)))
        {
            match event.action {
                Action::CompareAndSet { written: false, .. } => self.refused_sets += 1,
                Action::Commit { .. } => self.commits += 1,
                Action::Refused => self.refused_commits += 1,
                _ => {}
            }
            let others = events().filter(|&(at, _)| at != client);
            let mut others = others.flat_map(|(_, events)| events);
            let is_at_once =
                |other: &Event| other.called < event.answered && event.called < other.answered;
            self.overlaps += usize::from(others.any(is_at_once));
        }
    }

    fn assert_all(&self) {
        let Met {
            overlaps,
            refused_sets,
            commits,
            refused_commits,
        } = *self;
        let counts = [overlaps, refused_sets, commits, refused_commits];
        assert!(counts.iter().all(|&count| count > 20), "{self:?}");
    }
}

/// Runs clients, and what goes on beside them, and checks what they were told of each pair.
fn run(bucket: &Bucket, seed: u64, met: &mut Met, beside: impl Fn() + Sync) {
    let (clock, values) = (AtomicU64::new(0), AtomicU64::new(1));
    let done = AtomicBool::new(false);
    let run_client = |client: usize| {
        let mut client = Client {
            bucket,
            clock: &clock,
            values: &values,
            random: Random((seed * 31 + client as u64) | 1),
            histories: vec![Vec::new(); PAIRS],
        };
        client.random.next();
        for _ in 0..OPERATIONS {
            client.step();
        }
        client.histories
    };
    let histories: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                beside();
                std::thread::yield_now();
            }
        });
        let clients = (0..CLIENTS).map(|client| scope.spawn(move || run_client(client)));
        let clients: Vec<_> = clients.collect();
        let histories = clients.into_iter().map(|client| client.join());
        let histories: Vec<_> = histories.collect();
        done.store(true, Ordering::Relaxed);
        histories
            .into_iter()
            .map(|outcome| outcome.unwrap())
            .collect()
    });
    for pair in 0..PAIRS {
        let clients: Vec<_> = histories.iter().map(|of| of[pair].clone()).collect();
        if let Err(why) = checker::check(&clients) {
            panic!("pair {pair} of seed {seed}: {why}");
        }
        met.note(&clients);
    }
}

#[test]
fn concurrent_histories_on_a_disk_are_linearizable() {
    let mut met = Met::default();
    let (mut merged, mut dropped) = (0, 0);
    for seed in 1..=6 {
        let mut bench = Bench::new(seed);
        let options = bench.options.merge_entries(1).history_bytes_min(0);
        bench.options = options.segment_bytes(16 << 10).memtable_bytes(8_000);
        let store = bench.open();
        let bucket = store.bucket("b").unwrap();
        run(&bucket, seed, &mut met, || {
            store.step().unwrap();
        });
        merged += store.0.levels()[0].covered();
        dropped += store.0.log.partitions()[0].dropped_end().get();
    }
    assert!(merged > 0 && dropped > 0, "{merged}, {dropped}");
    met.assert_all();
}

#[test]
fn concurrent_histories_in_memory_are_linearizable() {
    let mut met = Met::default();
    for seed in 1..=4 {
        let store = Store::memory();
        let bucket = store.bucket("b").unwrap();
        run(&bucket, seed, &mut met, || {});
    }
    met.assert_all();
}
