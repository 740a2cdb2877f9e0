mod crash;
mod damage;
mod format;

use std::ops::ControlFlow;

use cairn_log::vfs::simulated::SimulatedDisk;
use cairn_log::vfs::{MemoryDisk, SyncSite};

use super::name::{SUFFIX, temporary_name};
use super::*;
use crate::testing::Random;

const BASE: u64 = 5 << 30;

fn identity() -> RunIdentity {
    RunIdentity {
        log: LogId(*b"the log's own id"),
        partition: 3,
        segment: 0x2a,
        base: BASE,
        end: BASE + (64 << 20),
    }
}

fn directory() -> &'static Path {
    Path::new("/runs")
}

/// A disk with the directory, durably.
fn disk() -> SimulatedDisk {
    let disk = SimulatedDisk::new(0);
    disk.create_directory(directory()).unwrap();
    disk.sync_directory(Path::new("/"), SyncSite("test"))
        .unwrap();
    disk
}

/// What a run is written from, and what it must answer.
#[derive(Clone, PartialEq, Debug)]
struct Model {
    head: RunHead,
    /// In key order.
    entries: Vec<RunEntry>,
}

impl Model {
    fn empty() -> Model {
        let head = RunHead {
            identity: identity(),
            last_version: 0,
            newest_time_ms: 0,
            buckets: Vec::new(),
            controls: Vec::new(),
        };
        Model {
            head,
            entries: Vec::new(),
        }
    }

    /// Batches of random keys, some of them relocated, with some control records between them.
    fn random(random: &mut Random, records: usize, keys: usize, hash: fn(u64) -> u64) -> Model {
        let mut model = Model::empty();
        let mut found = Vec::new();
        let (mut at, mut version) = (BASE, BASE);
        for _ in 0..records {
            if random.below(3) == 0 {
                at += 8;
                version = at;
                at += 24;
            }
            if random.below(20) == 0 {
                model.head.controls.push(at);
                at += 50;
            }
            let bucket = [1, 7, 8, u32::MAX][random.below(4)];
            let key = random.below(keys) as u64;
            let place = Place {
                record: at,
                version: (random.below(10) > 0).then_some(version),
                is_tombstone: random.below(5) == 0,
                is_superseded: false,
            };
            // Relocated records are older than any other, and of each other in any order.
            let age = match place.version {
                Some(_) => u64::MAX - at,
                None => u64::MAX - random.below(1000) as u64,
            };
            let mut seed = Random(key * 100 + u64::from(bucket) + 1);
            found.push((bucket, key, age, hash(seed.next()), place));
            at += 20 + random.below(40) as u64;
        }
        found.sort_by_key(|&(bucket, key, age, ..)| (bucket, key, age));
        for (bucket, _, _, hash, place) in found {
            model.push(bucket, RunEntry { hash, place });
        }
        model.head.last_version = version;
        model.head.newest_time_ms = random.next();
        model
    }

    /// Adds the next entry in key order.
    fn push(&mut self, bucket: u32, entry: RunEntry) {
        let buckets = &mut self.head.buckets;
        if buckets.last().is_none_or(|last| last.bucket != bucket) {
            buckets.push(RunBucket {
                bucket,
                entries: 0,
                keys_delta: -i64::from(bucket),
                bytes_delta: i64::MAX - i64::from(bucket),
                written: 0,
                first: self.entries.len() as u64,
            });
        }
        let row = buckets.last_mut().unwrap();
        row.entries += 1;
        row.written = row.written.max(entry.place.version.unwrap_or(0));
        self.entries.push(entry);
    }

    fn write(&self, disk: &dyn Vfs) -> Result<(), RunFault> {
        Run::write(disk, directory(), &self.head, self.entries.iter().copied())
    }

    fn written(&self, disk: &dyn Vfs) -> Run {
        self.write(disk).unwrap();
        self.open(disk).unwrap()
    }

    fn open(&self, disk: &dyn Vfs) -> Result<Run, RunFault> {
        Run::open(disk, directory(), &self.head.identity)
    }

    /// What must be found under a hash, if it is one of the run's: everything with its top.
    fn find(&self, hash: u64) -> Vec<Place> {
        let same = self.entries.iter().filter(|at| at.hash >> 32 == hash >> 32);
        let (mut own, mut relocated) = (Vec::new(), Vec::new());
        for entry in same {
            match entry.place.version {
                Some(version) => own.push((version, entry.place.record, entry.place)),
                None => relocated.push(entry.place),
            }
        }
        own.sort_by_key(|&(version, record, _)| (version, record));
        let own = own.into_iter().rev().map(|(_, _, place)| place);
        own.chain(relocated).collect()
    }

    fn places(&self) -> Vec<Place> {
        self.entries.iter().map(|entry| entry.place).collect()
    }

    /// Asks everything; returns how many answers were faults, and panics at a wrong one.
    fn compare(&self, run: &Run) -> usize {
        assert_eq!(run.head(), &self.head);
        assert_eq!(run.len(), self.entries.len() as u64);
        let mut faults = 0;
        let mut hashes: Vec<u64> = self.entries.iter().map(|entry| entry.hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        for hash in hashes {
            assert!(run.may_hold(hash));
            match find(run, hash) {
                Ok(found) => assert_eq!(found, self.find(hash)),
                Err(fault) => faults += damage(&fault),
            }
        }
        for (index, place) in (0..).zip(self.places()) {
            match run.in_key_order(index) {
                Ok(found) => assert_eq!(found, place),
                Err(fault) => faults += damage(&fault),
            }
        }
        let before = self.places().first().copied();
        let mut all = Vec::from_iter(before);
        match run.in_key_order_range(0..run.len(), &mut all) {
            Ok(()) => assert_eq!(all[before.iter().len()..], self.places()),
            Err(fault) => {
                faults += damage(&fault);
                assert_eq!(all, Vec::from_iter(before), "nothing was appended");
            }
        }
        faults
    }
}

/// One fault, which must be damage.
fn damage(fault: &RunFault) -> usize {
    assert!(matches!(fault, RunFault::Damaged(_)), "{fault:?}");
    1
}

fn find(run: &Run, hash: u64) -> Result<Vec<Place>, RunFault> {
    find_with(&mut Cursor::new(run), hash)
}

fn find_with(cursor: &mut Cursor<'_>, hash: u64) -> Result<Vec<Place>, RunFault> {
    let mut found = Vec::new();
    let ended = cursor.find(hash, |place| {
        found.push(place);
        ControlFlow::<()>::Continue(())
    })?;
    assert!(ended.is_continue());
    Ok(found)
}

/// Keys whose hashes are as good as random.
fn spread(hash: u64) -> u64 {
    hash
}

/// Different hashes, and only forty upper halves, the least and the greatest among them.
fn colliding_tops(hash: u64) -> u64 {
    let top = match hash % 40 {
        0 => 0,
        39 => u64::from(u32::MAX),
        other => other * 0x0123_4567,
    };
    top << 32 | hash >> 32
}

/// A handful of hashes for all keys.
fn colliding_wholly(hash: u64) -> u64 {
    (hash % 5) * 0x1234_5678_9abc_def0
}

#[test]
fn hashes_and_key_order_find_what_was_written() {
    for (seed, hash) in [
        (1, spread as fn(u64) -> u64),
        (2, colliding_tops),
        (3, colliding_wholly),
    ] {
        let mut random = Random(seed);
        for (records, keys) in [
            (1, 1),
            (2, 1),
            (30, 4),
            (341, 2_000),
            (342, 50),
            (1_500, 300),
        ] {
            let model = Model::random(&mut random, records, keys, hash);
            let run = model.written(&disk());
            assert_eq!(model.compare(&run), 0);
            run.check().unwrap();
        }
    }
}

#[test]
fn every_range_of_the_key_order_is_what_was_written() {
    let model = Model::random(&mut Random(4), 1_200, 200, spread);
    let run = model.written(&disk());
    let places = model.places();
    let mut random = Random(5);
    for _ in 0..200 {
        let start = random.below(1_201);
        let end = start + random.below(1_201 - start);
        let mut found = Vec::new();
        run.in_key_order_range(start as u64..end as u64, &mut found)
            .unwrap();
        assert_eq!(found, places[start..end]);
    }
    for edge in [510_usize, 511, 512, 1_021, 1_022, 1_023] {
        let index = edge as u64;
        let mut found = Vec::new();
        run.in_key_order_range(index..index + 1, &mut found)
            .unwrap();
        assert_eq!(found, places[edge..=edge]);
        assert_eq!(run.in_key_order(index).unwrap(), places[edge]);
    }
}

#[test]
fn an_absent_hash_finds_nothing_but_what_shares_its_upper_half() {
    let mut random = Random(6);
    let model = Model::random(&mut random, 1_000, 500, spread);
    let run = model.written(&disk());
    for _ in 0..20_000 {
        let hash = random.next();
        let found = find(&run, hash).unwrap();
        assert!(found.is_empty() || found == model.find(hash));
        assert!(found.is_empty() || run.may_hold(hash));
    }
}

/// In any order, with absent ones among them, and whether or not it breaks off within a block.
#[test]
fn a_cursor_that_has_looked_elsewhere_finds_the_same() {
    for (seed, hash) in [(8, spread as fn(u64) -> u64), (9, colliding_tops)] {
        let mut random = Random(seed);
        let model = Model::random(&mut random, 2_000, 900, hash);
        let run = model.written(&disk());
        let mut hashes: Vec<u64> = model.entries.iter().map(|entry| entry.hash).collect();
        hashes.extend((0..1_000).map(|_| random.next()));
        for is_in_order in [true, false] {
            if is_in_order {
                hashes.sort_unstable();
            } else {
                (1..hashes.len()).for_each(|at| hashes.swap(at, random.below(at + 1)));
            }
            let mut cursor = Cursor::new(&run);
            for &hash in &hashes {
                let expected = find(&run, hash).unwrap();
                assert_eq!(find_with(&mut cursor, hash).unwrap(), expected);
                let first = cursor.find(hash, ControlFlow::Break).unwrap();
                assert_eq!(first.break_value(), expected.first().copied());
            }
        }
    }
}

#[test]
fn the_filter_denies_almost_every_absent_hash() {
    let mut random = Random(7);
    // Many versions a key: room for the versions would hide a filter that is too small.
    let model = Model::random(&mut random, 3_000, 700, spread);
    let run = model.written(&disk());
    let passed = (0..20_000).filter(|_| run.may_hold(random.next())).count();
    assert!((40..400).contains(&passed), "{passed}");
}

#[test]
fn an_empty_run_finds_nothing() {
    let disk = disk();
    let model = Model::empty();
    let run = model.written(&disk);
    assert_eq!(model.compare(&run), 0);
    assert_eq!(find(&run, 1).unwrap(), []);
    assert!(!run.may_hold(u64::MAX));
    run.check().unwrap();
}

#[test]
fn a_run_of_control_records_only_gives_them_back() {
    let mut model = Model::empty();
    // More than a block of them.
    model.head.controls = (0..3_000).map(|nth| BASE + 24 + nth * 60).collect();
    let run = model.written(&disk());
    assert_eq!(model.compare(&run), 0);
    run.check().unwrap();
}

#[test]
fn many_buckets_span_blocks() {
    let mut model = Model::empty();
    let mut random = Random(8);
    for nth in 0..400 {
        let record = BASE + 24 + u64::from(nth) * 100;
        let place = Place {
            record,
            version: Some(record - 24),
            is_tombstone: false,
            is_superseded: false,
        };
        let hash = random.next();
        model.push(nth * 3 + 1, RunEntry { hash, place });
    }
    let run = model.written(&disk());
    assert_eq!(model.compare(&run), 0);
}

/// A key with `versions` versions, and as many other keys whose tops are around its.
fn hot_key(hash: u64, versions: u64, others: u64) -> Model {
    let mut model = Model::empty();
    let place = |nth: u64| Place {
        record: BASE + 24 + nth * 100,
        version: Some(BASE + nth * 100),
        is_tombstone: nth.is_multiple_of(7),
        is_superseded: false,
    };
    for nth in (0..versions).rev() {
        let place = place(nth);
        model.push(1, RunEntry { hash, place });
    }
    for nth in versions..versions + others {
        let place = place(nth);
        let hash = hash.wrapping_add((nth << 32).wrapping_sub((versions + others / 2) << 32));
        model.push(2, RunEntry { hash, place });
    }
    model
}

#[test]
fn a_hash_of_many_blocks_is_found_whole_and_newest_first() {
    // From within a block, and from the start of one to the end of another.
    for (versions, others) in [(1_500, 400), (1_023, 682), (1_500, 0), (341, 341)] {
        let hash = 0x8000_0000_1111_2222;
        let model = hot_key(hash, versions, others);
        let run = model.written(&disk());
        assert_eq!(model.compare(&run), 0);
        let found = find(&run, hash).unwrap();
        assert!(found.len() as u64 >= versions);
        assert!(found.is_sorted_by(|a, b| a.record > b.record));
    }
}

#[test]
fn a_search_ends_where_its_visitor_breaks() {
    let hash = 0x8000_0000_1111_2222;
    let model = hot_key(hash, 1_500, 10);
    let run = model.written(&disk());
    for wanted in [1, 2, 341, 342, 1_499] {
        let mut seen = 0;
        let broke = run.find(hash, |place| {
            seen += 1;
            if seen == wanted {
                ControlFlow::Break(place)
            } else {
                ControlFlow::Continue(())
            }
        });
        let expected = model.find(hash)[wanted - 1];
        assert_eq!(broke.unwrap(), ControlFlow::Break(expected));
        assert_eq!(seen, wanted);
    }
}

#[test]
fn relocated_records_come_last_in_the_order_they_were_given() {
    let mut model = Model::empty();
    let own = |record: u64, version: u64| Place {
        record: BASE + record,
        version: Some(BASE + version),
        is_tombstone: false,
        is_superseded: false,
    };
    let relocated = |record: u64| Place {
        record: BASE + record,
        version: None,
        is_tombstone: false,
        is_superseded: false,
    };
    let places = [
        own(924, 900),
        own(140, 100),
        relocated(300),
        relocated(2_000),
        relocated(24),
    ];
    for place in places {
        model.push(1, RunEntry { hash: 77, place });
    }
    let run = model.written(&disk());
    assert_eq!(find(&run, 77).unwrap(), places);
}

#[test]
fn of_two_records_in_one_batch_the_later_is_newer() {
    let mut model = Model::empty();
    for record in [80, 50, 24] {
        let place = Place {
            record: BASE + record,
            version: Some(BASE),
            is_tombstone: record == 80,
            is_superseded: false,
        };
        model.push(1, RunEntry { hash: 5, place });
    }
    let run = model.written(&disk());
    assert_eq!(find(&run, 5).unwrap(), model.places());
}

#[test]
fn a_tombstone_is_needed_while_an_older_version_may_be_here() {
    let model = hot_key(1 << 40, 3, 0);
    let run = model.written(&disk());
    let versions: Vec<u64> = model.places().iter().filter_map(|at| at.version).collect();
    assert!(!run.may_hold_below(1 << 40, versions[2]).unwrap());
    assert!(run.may_hold_below(1 << 40, versions[2] + 1).unwrap());
    assert!(run.may_hold_below(1 << 40, u64::MAX).unwrap());
    assert!(!run.may_hold_below(1 << 41, u64::MAX).unwrap());
    // Nothing says how old a relocated record is.
    let mut model = Model::empty();
    let place = Place {
        record: BASE + 24,
        version: None,
        is_tombstone: false,
        is_superseded: false,
    };
    model.push(1, RunEntry { hash: 9, place });
    let run = model.written(&disk());
    assert!(run.may_hold_below(9, 1).unwrap());
}

#[test]
fn places_reach_the_edges_of_what_they_hold() {
    let mut model = Model::empty();
    model.head.identity.end = BASE + (1 << 30);
    let last = model.head.identity.end - 1;
    let edges = [
        (last, Some(last - (1 << 24) + 1)),
        (last - 1, None),
        (BASE, Some(BASE)),
    ];
    for (record, version) in edges {
        let place = Place {
            record,
            version,
            is_tombstone: true,
            is_superseded: false,
        };
        let hash = u64::MAX - record;
        model.push(1, RunEntry { hash, place });
    }
    let run = model.written(&disk());
    assert_eq!(model.compare(&run), 0);
}

#[test]
fn a_run_of_the_memory_disk_answers_as_well() {
    let disk = MemoryDisk::default();
    disk.create_directory(directory()).unwrap();
    let model = Model::random(&mut Random(9), 1_000, 300, spread);
    let run = model.written(&disk);
    assert_eq!(model.compare(&run), 0);
}

#[test]
fn a_run_replaces_the_one_before_under_those_who_read_it() {
    let disk = disk();
    let old = Model::random(&mut Random(10), 500, 100, spread);
    let new = Model::random(&mut Random(11), 700, 100, spread);
    let before = old.written(&disk);
    let after = new.written(&disk);
    assert_eq!(new.compare(&after), 0);
    assert_eq!(old.compare(&before), 0);
}

#[test]
fn names_are_told_from_others() {
    assert_eq!(file_name(0x2a), "000000000000002a.run");
    assert_eq!(segment_of("000000000000002a.run"), Some(0x2a));
    for other in [
        "2a.run",
        "000000000000002A.run",
        "+00000000000002a.run",
        "000000000000002a.new.run",
        "000000000000002a.seg",
        ".run",
    ] {
        assert_eq!(segment_of(other), None, "{other}");
    }
    assert!(temporary_name(1).ends_with(SUFFIX));
}

#[test]
fn removing_a_run_takes_its_temporary_file_along() {
    let disk = disk();
    Model::empty().write(&disk).unwrap();
    disk.write(directory().join(temporary_name(0x2a)), b"left");
    remove_file(&disk, directory(), 0x2a).unwrap();
    assert_eq!(disk.list(directory()).unwrap(), Vec::<String>::new());
    remove_file(&disk, directory(), 0x2a).unwrap();
}
