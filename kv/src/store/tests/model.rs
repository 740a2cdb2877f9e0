//! The store against a map: the same random operations, the same answers.

mod snapshots;
mod transactions;

use std::collections::BTreeMap;
use std::ops::{Bound, Range};

use super::*;
use crate::testing::{self, Events, Random, is_one_seed};
use cairn_log::vfs::simulated::Survival;
use snapshots::Snapshots;

/// What a bucket should hold.
#[derive(Clone, Debug, Default)]
struct Model {
    keys: BTreeMap<Vec<u8>, Known>,
    /// The version of the newest write.
    newest: Version,
}

#[derive(Clone, Debug, PartialEq)]
struct Known {
    version: Version,
    value: Vec<u8>,
    expires_ms: Option<u64>,
}

impl Model {
    fn live(&self, key: &[u8], now_ms: u64) -> Option<&Known> {
        self.keys
            .get(key)
            .filter(|known| known.expires_ms.is_none_or(|deadline| now_ms < deadline))
    }

    fn holds(&self, key: &[u8], expect: &Expect, now_ms: u64) -> bool {
        let version = self
            .live(key, now_ms)
            .map_or(Version::ABSENT, |known| known.version);
        expect.holds(version)
    }

    fn range(&self, scan: &Scan, now_ms: u64) -> Vec<(Vec<u8>, Known)> {
        let start = scan.start.clone().map_or(Bound::Unbounded, Bound::Included);
        let after_end = |key: &Vec<u8>| scan.end.as_ref().is_some_and(|end| key >= end);
        let mut found: Vec<_> = self
            .keys
            .range::<Vec<u8>, _>((start, Bound::Unbounded))
            .filter(|(key, _)| key.starts_with(&scan.prefix) && !after_end(key))
            .filter(|(key, _)| self.live(key, now_ms).is_some())
            .map(|(key, known)| (key.clone(), known.clone()))
            .collect();
        if scan.reverse {
            found.reverse();
        }
        found.truncate(scan.limit.unwrap_or(usize::MAX));
        found
    }
}

type Held = (Entries, std::vec::IntoIter<(Vec<u8>, Known)>);

struct Run {
    bench: Bench,
    store: Store,
    buckets: Vec<Bucket>,
    models: Vec<Model>,
    /// By bucket.
    snapshots: Vec<Snapshots>,
    random: Random,
    events: Events,
    /// A scan held over other operations, and what it should still show.
    held: Option<Held>,
    /// What buckets held at versions in the past, and the time then.
    past: Vec<(usize, Version, u64, Model)>,
    wrote_just_now: Option<(usize, u64)>,
    /// A view held over other operations, and what it should still show.
    view: Option<(View, Model)>,
    /// The keys written since a transaction began, and their buckets.
    touched: Vec<(usize, Vec<u8>)>,
}

const BUCKETS: usize = 3;
const KEYS: usize = 60;

impl Run {
    fn new(seed: u64) -> Run {
        let bench = Bench::new(seed);
        // Small, so that segments are sealed, runs written and merged all the time.
        let at = |part: u64| usize::try_from(seed / part % 3).unwrap();
        let options = bench.options.clone().partitions(2);
        let options = options
            .memtable_bytes([4_000, 20_000, 1 << 20][at(1)])
            .merge_entries([1, 40, 400][at(3)])
            .history_bytes_min([0, 3_000, 1 << 20][at(27)])
            .hot_index_bytes([0, 512, 1 << 20][at(9)]);
        let bench = Bench { options, ..bench };
        let store = bench.open();
        let buckets = (0..BUCKETS)
            .map(|at| store.bucket(&format!("b{at}")).unwrap())
            .collect();
        let random = Random(seed | 1);
        let models = vec![Model::default(); BUCKETS];
        Run {
            bench,
            store,
            buckets,
            models,
            snapshots: vec![Snapshots::new(); BUCKETS],
            random,
            events: Events::default(),
            held: None,
            past: Vec::new(),
            wrote_just_now: None,
            view: None,
            touched: Vec::new(),
        }
    }

    fn step(&mut self) {
        if let Some((at, now_ms)) = self.wrote_just_now.take()
            && self.random.below(6) == 0
        {
            let model = self.models[at].clone();
            self.past.push((at, model.newest, now_ms, model));
            if self.past.len() > 40 {
                self.past.swap_remove(self.random.below(40));
            }
        }
        let at = self.random.below(BUCKETS);
        match self.random.below(100) {
            0..20 => self.put(at),
            20..23 => self.snapshot(at),
            23..28 => self.maintain(),
            28..39 => self.delete(at),
            39..50 => self.batch(at),
            50..60 => self.transaction(at),
            60..74 => self.get(at),
            74..76 => self.hold_view(at),
            76..78 => self.read_view(),
            78..80 => self.multi_get(at),
            80..88 => self.scan(at),
            88..90 => self.look_back(),
            90..92 => self.hold_scan(at),
            92..95 => self.read_held(),
            95..98 => self.bench.clock.pass(self.random.next() % 400),
            98 => self.recreate(at),
            _ => self.reopen(),
        }
    }

    fn hold_view(&mut self, at: usize) {
        if self.view.is_none() || self.random.below(6) == 0 {
            let view = self.buckets[at].view().unwrap();
            self.view = Some((view, self.models[at].clone()));
        }
    }

    fn read_view(&mut self) {
        let Some((view, model)) = self.view.take() else {
            return;
        };
        let (key, scan, now_ms) = (self.key(), self.random_scan(), self.now_ms());
        let found = view.get(&key).unwrap();
        assert_eq!(
            found.as_ref().map(known_of).as_ref(),
            model.live(&key, now_ms)
        );
        let rows = view.scan(&scan).map(|row| row.unwrap());
        let rows: Vec<_> = rows
            .map(|(key, entry)| (key.to_vec(), known_of(&entry)))
            .collect();
        assert_eq!(rows, model.range(&scan, now_ms), "{scan:?}");
        self.events.note("held view");
        self.view = (self.random.below(8) > 0).then_some((view, model));
    }

    /// Reads a bucket as it was.
    fn look_back(&mut self) {
        if self.past.is_empty() {
            return;
        }
        let chosen = self.random.below(self.past.len());
        let (at, version) = (self.past[chosen].0, self.past[chosen].1);
        self.watch_on(at, version);
        let (at, version, now_ms, model) = &self.past[chosen];
        let floor = self.store.0.floor(&self.buckets[*at]);
        let view = match self.buckets[*at].at(*version) {
            Err(error) if error.kind() == ErrorKind::Compacted => {
                assert!(version.get() < floor, "{error}");
                self.events.note("compacted");
                self.past.swap_remove(chosen);
                return;
            }
            view => view.unwrap(),
        };
        assert_eq!(view.version(), *version);
        let reverse = self.random.below(2) == 0;
        let scan = Scan {
            reverse,
            ..Scan::default()
        };
        let expected = model.range(&scan, *now_ms);
        let found: Vec<_> = view
            .scan(&scan)
            .map(|row| row.unwrap())
            .map(|(key, entry)| (key.to_vec(), known_of(&entry)))
            .collect();
        assert_eq!(found, expected, "as of {version}, floor {floor}");
        for number in 0..3 {
            let key = format!("{}/{number}", number % 3).into_bytes();
            let found = view.get(&key).unwrap();
            let expected = model.live(&key, *now_ms);
            assert_eq!(found.as_ref().map(known_of).as_ref(), expected);
        }
        self.events.note("history read");
        if self
            .store
            .0
            .levels()
            .iter()
            .any(|levels| levels.covered() > version.get())
        {
            self.events.note("history read below what is merged");
        }
    }

    /// Watches on from a version of the past: nothing at or below it is shown again, and it is told
    /// `Compacted` only of segments that were dropped.
    fn watch_on(&mut self, at: usize, version: Version) {
        let bucket = &self.buckets[at];
        match bucket.watch(Some(version), "") {
            Ok(mut watch) => {
                if let Some(batch) = watch.next(std::time::Duration::ZERO).unwrap() {
                    assert!(batch.version > version);
                }
                self.events.note("watch of the past");
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Compacted);
                let dropped_end = bucket.keyspace().log().dropped_end().get();
                assert!(version.get() < dropped_end, "{error}");
                self.events.note("compacted watch");
            }
        }
    }

    /// One step of the index, and a look at what it did.
    fn maintain(&mut self) {
        let tombstones = |buckets: &[Bucket]| -> u64 {
            let keyspaces = buckets.iter().map(Bucket::keyspace);
            keyspaces
                .map(|keyspace| keyspace.collisions_and_tombstones_dropped().1)
                .sum()
        };
        let levels = |store: &Store| {
            let levels = store.0.levels();
            let runs: usize = levels.iter().map(|levels| levels.runs.len()).sum();
            let merged: u64 = levels.iter().map(|levels| levels.covered()).sum();
            (runs, merged)
        };
        let dropped = |store: &Store| -> u64 {
            let partitions = store.0.log.partitions().iter();
            partitions
                .map(|partition| partition.dropped_end().get())
                .sum()
        };
        let (runs, merged) = levels(&self.store);
        let dropped_before = dropped(&self.store);
        let tombstones_before = tombstones(&self.buckets);
        let warmed = |buckets: &[Bucket]| -> u64 {
            let keyspaces = buckets.iter().map(Bucket::keyspace);
            keyspaces.map(|keyspace| keyspace.keys_warmed()).sum()
        };
        let warmed_before = warmed(&self.buckets);
        self.store.step().unwrap();
        if warmed(&self.buckets) > warmed_before {
            self.events.note("merged keys offered to the hot index");
        }
        if tombstones(&self.buckets) > tombstones_before {
            self.events.note("tombstone dropped");
        }
        if dropped(&self.store) > dropped_before {
            self.events.note("segment dropped");
        }
        let (runs_after, merged_after) = levels(&self.store);
        if runs_after > runs {
            self.events.note("run written");
        }
        if merged_after > merged {
            self.events.note("merge");
            self.check_counts();
        }
    }

    fn now_ms(&self) -> u64 {
        self.store.status().now_ms
    }

    fn key(&mut self) -> Vec<u8> {
        let number = self.random.below(KEYS);
        format!("{}/{number}", number % 3).into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        let length = match self.random.below(20) {
            0 => 20_000,
            1 => 0,
            _ => self.random.below(200),
        };
        let fill = self.random.next().to_le_bytes()[0];
        vec![fill; length]
    }

    fn durability(&mut self) -> Durability {
        if self.random.below(2) == 0 {
            Durability::Local
        } else {
            Durability::Buffered
        }
    }

    fn options(&mut self) -> PutOptions {
        let ttl_ms = (self.random.below(4) == 0).then(|| 1 + self.random.next() % 2_000);
        PutOptions {
            ttl_ms,
            attributes: Attributes::new(),
        }
    }

    fn put(&mut self, at: usize) {
        let durability = self.durability();
        self.put_with(at, durability);
    }

    fn put_with(&mut self, at: usize, durability: Durability) {
        let (key, value, options) = (self.key(), self.value(), self.options());
        let expires_ms = options.ttl_ms.map(|ttl| self.now_ms() + ttl);
        let commit = self.buckets[at]
            .submit_put(&key, &value, &options, durability)
            .unwrap();
        let version = commit.wait().unwrap().version;
        self.wrote(at, version);
        self.touched.push((at, key.clone()));
        self.models[at].keys.insert(
            key,
            Known {
                version,
                value,
                expires_ms,
            },
        );
        self.events.note(if durability == Durability::Local {
            "local put"
        } else {
            "buffered put"
        });
        self.events.note(if expires_ms.is_some() {
            "mortal put"
        } else {
            "put"
        });
    }

    fn delete(&mut self, at: usize) {
        let (key, durability) = (self.key(), self.durability());
        let existed = self.models[at].live(&key, self.now_ms()).is_some();
        let receipt = self.buckets[at]
            .submit_delete(&key, durability)
            .unwrap()
            .wait()
            .unwrap();
        assert_eq!(receipt.existed, existed);
        if existed {
            self.wrote(at, receipt.version);
            self.models[at].keys.remove(&key);
            self.touched.push((at, key));
            self.events.note("delete");
        } else {
            assert_eq!(receipt.version, self.buckets[at].version());
            self.events.note("delete of an absent key");
        }
    }

    fn batch(&mut self, at: usize) {
        let now_ms = self.now_ms();
        let mut batch = Batch::new();
        let mut after = self.models[at].clone();
        let mut written = vec![];
        let mut changes = false;
        for _ in 0..self.random.below(8) {
            let key = self.key();
            if written.contains(&key) {
                continue;
            }
            written.push(key.clone());
            if self.random.below(3) > 0 {
                let (value, options) = (self.value(), self.options());
                let expires_ms = options.ttl_ms.map(|ttl| now_ms + ttl);
                batch = batch.put_with(&key, &value, options);
                after.keys.insert(
                    key,
                    Known {
                        version: Version::ABSENT,
                        value,
                        expires_ms,
                    },
                );
                changes = true;
            } else {
                batch = batch.delete(&key);
                changes |= self.models[at].live(&key, now_ms).is_some();
                after.keys.remove(&key);
            }
        }
        let mut holds = true;
        for _ in 0..self.random.below(3) {
            let (key, expect) = (self.key(), self.random.below(4));
            let version = self.models[at]
                .live(&key, now_ms)
                .map_or(Version::ABSENT, |k| k.version);
            let stale = Version::new(version.get().saturating_sub(1));
            let one = if self.random.below(3) > 0 {
                version
            } else {
                stale
            };
            let expect = match expect {
                0 => Expect::Exists,
                1 => Expect::Absent,
                2 => Expect::OneOf(vec![one]),
                _ => Expect::NoneOf(vec![stale]),
            };
            holds &= self.models[at].holds(&key, &expect, now_ms);
            batch = batch.require(key, expect);
        }
        let durability = self.durability();
        match self.buckets[at].write(batch, durability) {
            Ok(receipt) if changes => {
                assert!(holds);
                self.wrote(at, receipt.version);
                for key in written {
                    if let Some(known) = after.keys.get_mut(&key) {
                        known.version = receipt.version;
                    }
                    self.touched.push((at, key));
                }
                after.newest = receipt.version;
                self.models[at] = after;
                self.events.note("batch");
            }
            Ok(_) => {
                assert!(holds);
                self.events.note("batch that changes nothing");
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::VersionMismatch);
                assert!(!holds, "{error}");
                let conflict = error.conflict().unwrap();
                let live = self.models[at].live(&conflict.key, now_ms);
                assert_eq!(
                    conflict.version,
                    live.map_or(Version::ABSENT, |known| known.version)
                );
                self.events.note("refused condition");
            }
        }
    }

    fn wrote(&mut self, at: usize, version: Version) {
        assert!(
            version > self.models[at].newest,
            "versions of a bucket only grow"
        );
        self.models[at].newest = version;
        self.wrote_just_now = Some((at, self.now_ms()));
        assert!(
            self.buckets[at].version() >= version,
            "an acknowledged write is visible"
        );
    }

    fn get(&mut self, at: usize) {
        let key = self.key();
        let keyspace = self.buckets[at].keyspace();
        let (collisions, _) = keyspace.collisions_and_tombstones_dropped();
        let found = self.buckets[at].get(&key).unwrap();
        if keyspace.collisions_and_tombstones_dropped().0 > collisions {
            self.events.note("hot-index collision");
        }
        self.check(at, &key, found.as_ref());
    }

    fn multi_get(&mut self, at: usize) {
        let keys: Vec<_> = (0..self.random.below(10)).map(|_| self.key()).collect();
        let found = self.buckets[at].multi_get(&keys).unwrap();
        for (key, entry) in keys.iter().zip(&found) {
            self.check(at, key, entry.as_ref());
        }
        self.events.note("multi-get");
    }

    fn check(&mut self, at: usize, key: &[u8], found: Option<&Entry>) {
        let known = self.models[at].live(key, self.now_ms());
        assert_eq!(
            found.map(known_of),
            known.cloned(),
            "{}",
            key.escape_ascii()
        );
        let expired = known.is_none() && self.models[at].keys.contains_key(key);
        self.events.note(match (found, expired) {
            (Some(_), _) => "get",
            (None, true) => "get of an expired key",
            (None, false) => "get of an absent key",
        });
    }

    fn random_scan(&mut self) -> Scan {
        let mut scan = Scan {
            reverse: self.random.below(2) == 0,
            ..Scan::default()
        };
        if self.random.below(3) == 0 {
            scan.prefix = vec![b"0123"[self.random.below(4)]];
        }
        if self.random.below(3) == 0 {
            scan.start = Some(self.key());
        }
        if self.random.below(3) == 0 {
            scan.end = Some(self.key());
        }
        if self.random.below(3) == 0 {
            scan.limit = Some(self.random.below(KEYS));
        }
        scan
    }

    fn scan(&mut self, at: usize) {
        let scan = self.random_scan();
        let expected = self.models[at].range(&scan, self.now_ms());
        let entries = self.buckets[at].scan(scan.clone()).unwrap();
        assert!(entries.version() >= self.models[at].newest);
        let found: Vec<_> = entries
            .map(|found| {
                found
                    .map(|(key, entry)| (key.to_vec(), known_of(&entry)))
                    .unwrap()
            })
            .collect();
        assert_eq!(found, expected, "{scan:?}");
        self.events.note(if expected.is_empty() {
            "empty scan"
        } else {
            "scan"
        });
        if scan.reverse {
            self.events.note("reverse scan");
        }
    }

    fn hold_scan(&mut self, at: usize) {
        let scan = self.random_scan();
        let expected = self.models[at].range(&scan, self.now_ms());
        let entries = self.buckets[at].scan(scan).unwrap();
        self.held = Some((entries, expected.into_iter()));
    }

    fn read_held(&mut self) {
        let Some((entries, expected)) = &mut self.held else {
            return;
        };
        for _ in 0..self.random.below(KEYS) {
            let found = entries.next().map(|found| found.unwrap());
            let found = found.map(|(key, entry)| (key.to_vec(), known_of(&entry)));
            assert_eq!(found, expected.next());
            if found.is_none() {
                self.held = None;
                self.events.note("held scan finished");
                return;
            }
        }
    }

    fn recreate(&mut self, at: usize) {
        let name = format!("b{at}");
        let empty = self.models[at]
            .keys
            .keys()
            .all(|key| self.models[at].live(key, self.now_ms()).is_none());
        let force = self.random.below(2) == 0;
        let has_snapshots = !self.snapshots[at].is_empty();
        match self.store.remove_bucket(&name, force) {
            Ok(()) => assert!(force || (empty && !has_snapshots)),
            Err(error) => {
                assert!(!force && (!empty || has_snapshots), "{error}");
                assert_eq!(error.kind(), ErrorKind::BucketNotEmpty);
                self.events.note("bucket not empty");
                return;
            }
        }
        let old = std::mem::replace(&mut self.buckets[at], self.store.bucket(&name).unwrap());
        assert_eq!(kind(old.get("k")), ErrorKind::BucketNotFound);
        let newest = self.models[at].newest;
        assert!(self.buckets[at].version() > newest);
        self.models[at] = Model {
            newest,
            ..Model::default()
        };
        self.past.retain(|(of, ..)| *of != at);
        if has_snapshots {
            self.events.note("snapshots gone with their bucket");
        }
        self.snapshots[at].clear();
        self.check_snapshots(at);
        self.events.note("bucket created again");
    }

    fn reopen(&mut self) {
        self.held = None;
        self.view = None;
        let how = self.random.below(3);
        if how == 0 {
            // What is durable in each partition vouches for all that came before it there.
            for at in 0..BUCKETS {
                self.put_with(at, Durability::Local);
            }
        }
        let digest = self.store.state_digest().unwrap();
        let info = self.store.buckets().unwrap();
        let disk = match how {
            0 => {
                self.events.note("power loss");
                self.bench
                    .disk
                    .power_loss(Survival::Random(self.random.next()))
            }
            1 => {
                self.store.close().unwrap();
                self.events.note("clean close");
                self.bench.disk.fork()
            }
            _ => {
                self.events.note("kill");
                self.bench.disk.process_death()
            }
        };
        self.bench.disk = Arc::new(disk);
        self.harm_index();
        self.store = self.bench.open();
        self.buckets = (0..BUCKETS)
            .map(|at| self.store.open_bucket(&format!("b{at}")).unwrap())
            .collect();
        assert_eq!(self.store.state_digest().unwrap(), digest);
        for (found, known) in self.store.buckets().unwrap().into_iter().zip(info) {
            let (keys, bytes) = (found.keys, found.bytes);
            let known = BucketInfo {
                keys,
                bytes,
                ..known
            };
            assert_eq!(found, known);
        }
        (0..BUCKETS).for_each(|at| self.check_snapshots(at));
        self.check_counts();
    }

    /// Without runs the keys are counted exactly, and the bytes while all is in memory.
    fn check_counts(&mut self) {
        if self
            .store
            .0
            .levels()
            .iter()
            .any(|levels| !levels.runs.is_empty())
        {
            return;
        }
        let in_memory = !self
            .store
            .0
            .levels()
            .iter()
            .any(|levels| levels.has_older());
        if !in_memory {
            self.events.note("counts of a merged index");
        }
        for (bucket, model) in self.buckets.iter().zip(&self.models) {
            let info = bucket.info().unwrap();
            let bytes = |(key, known): (&Vec<u8>, &Known)| key.len() + known.value.len();
            let bytes: usize = model.keys.iter().map(bytes).sum();
            // A key whose deadline has passed counts until it is swept.
            let now_ms = self.store.status().now_ms;
            let live = model
                .keys
                .keys()
                .filter(|key| model.live(key, now_ms).is_some());
            let live = live.count() as u64;
            assert!(
                (live..=model.keys.len() as u64).contains(&info.keys),
                "{info:?}, but {live} live keys of {}, in memory: {in_memory}",
                model.keys.len()
            );
            if in_memory && live == model.keys.len() as u64 {
                assert_eq!(info.bytes, bytes as u64);
            }
        }
    }

    /// Takes an index file away, or changes a byte of it.
    fn harm_index(&mut self) {
        let paths = self.bench.disk.paths();
        let is_index = |path: &std::path::PathBuf| {
            path.extension()
                .is_some_and(|suffix| suffix == "run" || suffix == "redb")
        };
        let paths: Vec<_> = paths.into_iter().filter(is_index).collect();
        if paths.is_empty() || self.random.below(3) != 0 {
            return;
        }
        let path = &paths[self.random.below(paths.len())];
        let is_run = path.extension().is_some_and(|suffix| suffix == "run");
        if self.random.below(2) == 0 {
            self.bench.disk.erase(path);
            self.events.note(if is_run {
                "run removed"
            } else {
                "merged index removed"
            });
            return;
        }
        let length = usize::try_from(self.bench.disk.length(path)).unwrap();
        if length > 0 {
            let (byte, bit) = (self.random.below(length), self.random.below(8));
            let bit = u32::try_from(bit).unwrap();
            self.bench.disk.flip_bit(path, byte as u64, bit);
            self.events.note(if is_run {
                "run damaged"
            } else {
                "merged index damaged"
            });
        }
    }
}

fn known_of(entry: &Entry) -> Known {
    assert_eq!(entry.size, entry.value.len() as u64);
    Known {
        version: entry.version,
        value: entry.value.to_vec(),
        expires_ms: entry.expires_ms,
    }
}

#[test]
fn random_operations_give_the_answers_of_a_map() {
    run_seeds(0..12);
}

/// As many seeds as make a million operations, whatever `CAIRN_SEEDS` says: ten thousand of them would
/// take an hour. With `CAIRN_SEED`, that one alone.
#[test]
#[ignore = "long"]
fn a_million_random_operations_give_the_answers_of_a_map() {
    let seeds = if is_one_seed() {
        testing::seeds(0)
    } else {
        0..1_000_000_u64.div_ceil(STEPS)
    };
    let began = std::time::Instant::now();
    let events = run_seeds(seeds.clone());
    println!(
        "{STEPS} operations of each of the seeds {seeds:?} in {:.1} s: {events:?}",
        began.elapsed().as_secs_f64()
    );
}

/// Operations of one seed.
const STEPS: u64 = 3_000;

fn run_seeds(seeds: Range<u64>) -> Events {
    let events = testing::run_seeds(seeds, |seed| {
        let mut run = Run::new(seed);
        for step in 0..STEPS {
            if is_one_seed() {
                println!("step {step}");
            }
            run.step();
        }
        let partitions = run.store.status().partitions;
        let segments = partitions.iter().map(|one| one.segments).sum();
        run.events.note_many("segment", segments);
        run.events
    });
    assert!(events.count("segment") > 100 || is_one_seed(), "{events:?}");
    events.assert_all(&[
        "local put",
        "buffered put",
        "mortal put",
        "delete",
        "delete of an absent key",
        "batch",
        "batch that changes nothing",
        "refused condition",
        "get",
        "get of an expired key",
        "get of an absent key",
        "multi-get",
        "scan",
        "reverse scan",
        "empty scan",
        "held scan finished",
        "bucket not empty",
        "bucket created again",
        "held view",
        "transaction",
        "transaction that changes nothing",
        "transaction reads its own write",
        "transaction stops a scan early",
        "transaction past writes outside its ranges",
        "transaction too old",
        "conflict over a key",
        "conflict over a range",
        "clean close",
        "kill",
        "power loss",
        "run written",
        "merge",
        "segment dropped",
        "tombstone dropped",
        "hot-index collision",
        "merged keys offered to the hot index",
        "watch of the past",
        "compacted watch",
        "snapshot taken",
        "snapshot exists",
        "snapshot read",
        "snapshot read below the floor",
        "snapshot not found",
        "snapshots listed",
        "snapshot removed",
        "snapshots gone with their bucket",
        "history read",
        "history read below what is merged",
        "compacted",
        "counts of a merged index",
        "run removed",
        "run damaged",
        "merged index removed",
        "merged index damaged",
    ]);
    events
}
