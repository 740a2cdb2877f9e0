//! Readers of all kinds while everything moves under them: writers, runs, merges, garbage
//! collection, and a hot index that grows.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::*;
use crate::testing::Random;

const KEYS: usize = 240;
const RUNS: Duration = Duration::from_millis(1_500);
/// On a machine that is busy with other things.
const RUNS_MAX: Duration = Duration::from_secs(20);

/// What the keys hold: the number of the batch that put each.
type State = BTreeMap<String, u64>;

/// The keys of a batch, and whether it put each or deleted it.
type Written = Vec<(usize, bool)>;

fn name(nth: usize) -> String {
    format!("{nth:04}")
}

/// A value that says which batch put it, in one of the sizes that are read in different ways.
fn value_of(batch: u64, nth: usize) -> Vec<u8> {
    let length = match (batch + nth as u64) % 16 {
        0 => 3_000,
        1..4 => 0,
        _ => 90,
    };
    let mut value = batch.to_be_bytes().to_vec();
    value.resize(8 + length, b'v');
    value
}

fn batch_of(value: &[u8]) -> u64 {
    u64::from_be_bytes(*value.first_chunk().unwrap())
}

struct Case {
    store: Store,
    bucket: Bucket,
    is_done: AtomicBool,
    /// Of each key, the batch that wrote it last and has returned.
    acknowledged: Vec<AtomicU64>,
    /// Of each batch its version, and the keys that it put or deleted.
    history: Mutex<Vec<(Version, Written)>>,
    /// What views showed.
    seen: Mutex<Vec<(Version, State)>>,
}

impl Case {
    fn new(seed: u64) -> Case {
        let bench = Bench::new(seed);
        let options = bench.options.clone().memtable_bytes(30_000);
        let options = options
            .merge_entries(if seed.is_multiple_of(2) { 400 } else { 4_000 })
            .history_bytes_min(0)
            .hot_index_bytes(16 << 20);
        let store = Bench { options, ..bench }.open();
        let bucket = store.bucket("b").unwrap();
        Case {
            store,
            bucket,
            is_done: AtomicBool::new(false),
            acknowledged: (0..KEYS).map(|_| AtomicU64::new(0)).collect(),
            history: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    fn write(&self, seed: u64) {
        let mut random = Random(seed | 1);
        // Counts the batches that changed something.
        let mut number = 1;
        while !self.is_done.load(Ordering::Relaxed) {
            let mut batch = Batch::new();
            let mut written = BTreeMap::new();
            for _ in 0..=random.below(6) {
                // Half of them are seldom written, so that some are merged and moved.
                let nth = random.below(KEYS) / (1 + random.below(2));
                written.insert(nth, random.below(6) > 0);
            }
            for (&nth, &is_put) in &written {
                batch = match is_put {
                    true => batch.put(name(nth), value_of(number, nth)),
                    false => batch.delete(name(nth)),
                };
            }
            let durability = match random.below(8) {
                0 => Durability::Local,
                _ => Durability::Buffered,
            };
            let has_puts = written.values().any(|&is_put| is_put);
            let receipt = self.bucket.write(batch, durability).unwrap();
            if has_puts || receipt.existed {
                for &nth in written.keys() {
                    self.acknowledged[nth].store(number, Ordering::Release);
                }
                let written = written.into_iter().collect();
                self.history.lock().push((receipt.version, written));
                number += 1;
            }
        }
    }

    fn maintain(&self) {
        let began = Instant::now();
        let mut growths = 0;
        while !self.is_done.load(Ordering::Relaxed) {
            if !self.store.step().unwrap() {
                std::thread::yield_now();
            }
            if began.elapsed() > RUNS / 4 * (growths + 1) {
                growths += 1;
                self.store.0.keyspaces[0].grow_hot_at_once();
            }
        }
    }

    fn read(&self, seed: u64) {
        let mut random = Random(seed | 1);
        let mut held: Vec<(View, State)> = Vec::new();
        while !self.is_done.load(Ordering::Relaxed) {
            self.read_now(&mut random);
            let view = self.bucket.view().unwrap();
            let state = self.look(&view, &mut random);
            self.seen.lock().push((view.version(), state.clone()));
            held.push((view, state));
            let at = random.below(held.len());
            let (view, state) = &held[at];
            assert_eq!(self.look(view, &mut random), *state, "a view has changed");
            // Now and then none is held, so that segments can go.
            match held.len() {
                8 => held.clear(),
                _ if random.below(3) == 0 => drop(held.swap_remove(at)),
                _ => {}
            }
        }
    }

    /// Reads a key as it is now: at least as new as what was acknowledged before.
    fn read_now(&self, random: &mut Random) {
        for _ in 0..200 {
            let nth = random.below(KEYS);
            let least = self.acknowledged[nth].load(Ordering::Acquire);
            if let Some(entry) = self.bucket.get(name(nth)).unwrap() {
                let found = batch_of(&entry.value);
                assert!(found >= least, "{nth}: {found} after {least}");
                assert_eq!(entry.value, value_of(found, nth));
            }
        }
    }

    /// What a view shows, by two scans that take turns with others, and by single reads.
    fn look(&self, view: &View, random: &mut Random) -> State {
        let mut state = State::new();
        let reverse = random.below(2) == 0;
        let mut scan = view.scan(&Scan {
            reverse,
            ..Scan::default()
        });
        loop {
            for _ in 0..random.below(40) {
                let Some(row) = scan.next_row().unwrap() else {
                    break;
                };
                let key = String::from_utf8(row.key.to_vec()).unwrap();
                let batch = batch_of(row.value);
                assert_eq!(row.value, value_of(batch, key.parse().unwrap()));
                assert_eq!(row.size, row.value.len() as u64);
                assert_eq!(state.insert(key, batch), None, "shown twice");
            }
            if random.below(4) == 0 {
                std::thread::yield_now();
            }
            match scan.next() {
                None => break,
                Some(row) => {
                    let (key, entry) = row.unwrap();
                    let key = String::from_utf8(key.to_vec()).unwrap();
                    let (first, last) = (state.first_key_value(), state.last_key_value());
                    let before = if reverse { first } else { last };
                    assert!(before.is_none_or(|(before, _)| (key > *before) != reverse));
                    assert_eq!(state.insert(key, batch_of(&entry.value)), None);
                }
            }
        }
        let start = random.below(KEYS);
        let part = Scan {
            start: Some(name(start).into()),
            reverse: !reverse,
            keys_only: random.below(2) == 0,
            ..Scan::default()
        };
        let part = view.scan(&part).map(|row| row.unwrap().0);
        let part: Vec<String> = part
            .map(|key| String::from_utf8(key.to_vec()).unwrap())
            .collect();
        let mut expected: Vec<String> =
            state.range(name(start)..).map(|(k, _)| k.clone()).collect();
        if !reverse {
            expected.reverse();
        }
        assert_eq!(part, expected);
        for _ in 0..20 {
            let key = name(random.below(KEYS));
            let entry = view.get(&key).unwrap();
            let found = entry.map(|entry| batch_of(&entry.value));
            assert_eq!(found, state.get(&key).copied(), "{key}");
        }
        state
    }

    /// Holds what was seen against what was written.
    fn judge(self) {
        let mut history = self.history.into_inner();
        history.sort_by_key(|(version, _)| *version);
        let mut seen = self.seen.into_inner();
        seen.sort_by_key(|(version, _)| *version);
        let mut state = State::new();
        let mut next = 0;
        for (version, seen) in &seen {
            while let Some((_, written)) = history.get(next).filter(|(of, _)| of <= version) {
                next += 1;
                for &(nth, is_put) in written {
                    match is_put {
                        true => state.insert(name(nth), next as u64),
                        false => state.remove(&name(nth)),
                    };
                }
            }
            assert_eq!(state, *seen, "at {version}");
        }
    }

    /// Whether all has happened that readers are to stand.
    fn has_moved(&self) -> bool {
        let index = &self.store.status().partitions[0].index;
        self.seen.lock().len() > 20 && index.merges > 0 && index.segments_dropped > 0
    }
}

#[test]
fn readers_see_one_moment_while_everything_moves_under_them() {
    for seed in 1..=2 {
        let case = Case::new(seed);
        std::thread::scope(|scope| {
            scope.spawn(|| case.write(seed));
            scope.spawn(|| case.maintain());
            for nth in 0..2 {
                let case = &case;
                scope.spawn(move || case.read(seed * 100 + nth));
            }
            let began = Instant::now();
            while began.elapsed() < RUNS || (!case.has_moved() && began.elapsed() < RUNS_MAX) {
                std::thread::sleep(Duration::from_millis(20));
            }
            case.is_done.store(true, Ordering::Relaxed);
        });
        assert!(case.has_moved(), "{:?}", case.store.status());
        case.judge();
    }
}
