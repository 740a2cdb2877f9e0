//! Readers that hold levels whose memtables are replaced by runs.

use super::*;

const KEYS: usize = 150;

fn name(nth: usize) -> String {
    format!("{nth:04}")
}

/// What a reader of the past sees of a key.
fn old(nth: usize) -> Option<String> {
    (!nth.is_multiple_of(10)).then(|| format!("old {nth}"))
}

/// A store with a memtable of old versions, and newer ones behind each reader that begins now.
struct Case {
    bench: Bench,
    store: Store,
    bucket: Bucket,
}

impl Case {
    fn new() -> Case {
        let bench = Bench::new(1);
        let store = bench.open();
        let bucket = store.bucket("b").unwrap();
        for nth in 0..KEYS {
            bucket.put(name(nth), "older").unwrap();
            match old(nth) {
                Some(value) => drop(bucket.put(name(nth), value).unwrap()),
                None => drop(bucket.delete(name(nth)).unwrap()),
            }
        }
        Case {
            bench,
            store,
            bucket,
        }
    }

    /// Overwrites all, in the memtable that readers hold and in further ones, and has the runs
    /// written of all but the last.
    fn overwrite_and_retire(&self) {
        for nth in 0..KEYS {
            self.bucket.put(name(nth), "new").unwrap();
        }
        self.retire();
    }

    fn damage_runs(&self) {
        self.damage_runs_but(0);
    }

    /// Damages all runs but some of the oldest.
    fn damage_runs_but(&self, kept: usize) {
        let disk = &self.bench.disk;
        let directory = "/store/p0000";
        let mut runs = disk.list(std::path::Path::new(directory)).unwrap();
        runs.retain(|name| name.ends_with(".run"));
        runs.sort_unstable();
        for run in &runs[kept..] {
            let path = format!("{directory}/{run}");
            for block in 1..disk.length(&path) / 4_096 {
                disk.flip_bit(&path, block * 4_096 + 5, 1);
            }
        }
    }

    fn retire(&self) {
        for nth in 0..40 {
            self.bucket.put(format!("x{nth}"), [b'x'; 4_000]).unwrap();
        }
        while self.store.step().unwrap() {}
        assert!(!self.store.0.levels()[0].runs.is_empty());
    }

    fn assert_shows_old(&self, view: &View) {
        for nth in 0..KEYS {
            let entry = view.get(name(nth)).unwrap();
            let found = entry.map(|entry| String::from_utf8(entry.value.to_vec()).unwrap());
            assert_eq!(found, old(nth), "{nth}");
            assert_eq!(value(&self.bucket, &name(nth)).unwrap(), "new");
        }
    }
}

fn all_old() -> Vec<(String, String)> {
    (0..KEYS)
        .filter_map(|nth| Some((name(nth), old(nth)?)))
        .collect()
}

fn rows(entries: impl Iterator<Item = Result<(bytes::Bytes, Entry)>>) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    entries
        .map(|row| row.unwrap())
        .map(|(key, entry)| (text(&key), text(&entry.value)))
        .collect()
}

#[test]
fn a_view_and_scans_outlive_the_memtable_that_they_began_in() {
    let case = Case::new();
    let view = case.bucket.view().unwrap();
    let past = case.bucket.at(view.version()).unwrap();
    let mut scan = view.scan(&Scan::default());
    let mut backwards = view.scan(&Scan {
        reverse: true,
        ..Scan::default()
    });
    let mut begun = rows(scan.by_ref().take(20));
    let mut begun_backwards = rows(backwards.by_ref().take(20));
    case.overwrite_and_retire();

    begun.extend(rows(scan));
    assert_eq!(begun, all_old());
    begun_backwards.extend(rows(backwards));
    begun_backwards.reverse();
    assert_eq!(begun_backwards, all_old());
    case.assert_shows_old(&view);
    case.assert_shows_old(&past);
    assert_eq!(rows(view.scan(&Scan::default())), all_old());
    assert_eq!(rows(past.scan(&Scan::default())), all_old());
}

#[test]
fn what_readers_hold_is_no_memtable_once_its_run_is_written() {
    let case = Case::new();
    let view = case.bucket.view().unwrap();
    let mut scan = view.scan(&Scan::default());
    assert!(scan.next().is_some());
    let held = |view: &View| -> Vec<(usize, bool)> {
        let memtables = view.pin().levels.memtables.iter();
        memtables
            .map(|one| (one.len(), one.run().is_some()))
            .collect()
    };
    assert!(held(&view).iter().any(|&(keys, _)| keys > 0));
    case.overwrite_and_retire();
    assert!(
        held(&view)
            .iter()
            .all(|&(keys, retired)| keys == 0 && retired)
    );
}

#[test]
fn a_run_that_took_the_place_of_a_memtable_may_be_damaged() {
    let case = Case::new();
    let view = case.bucket.view().unwrap();
    case.overwrite_and_retire();
    case.damage_runs();
    case.assert_shows_old(&view);
    assert_eq!(rows(view.scan(&Scan::default())), all_old());
}

#[test]
fn a_transaction_is_judged_by_what_left_memory_since_it_began() {
    let case = Case::new();
    for disturbed in [false, true] {
        let mut transaction = case.bucket.transaction().unwrap();
        assert!(transaction.get("0001").unwrap().is_some());
        transaction.put("own", "1").unwrap();
        if disturbed {
            case.overwrite_and_retire();
        }
        let outcome = transaction.commit(Durability::Local);
        assert_eq!(outcome.is_err(), disturbed);
    }
}

#[test]
fn a_transaction_is_judged_by_a_run_that_is_damaged() {
    for (written_before_the_scan, is_refused) in [("z", false), ("0", true)] {
        let case = Case::new();
        let mut transaction = case.bucket.transaction().unwrap();
        case.bucket.put(written_before_the_scan, "new").unwrap();
        let scanned = transaction.scan(&Scan::prefix("0")).unwrap().count();
        assert_eq!(scanned, all_old().len());
        transaction.put("own", "1").unwrap();
        case.retire();
        case.damage_runs();
        let outcome = transaction.commit(Durability::Local);
        match is_refused {
            false => drop(outcome.unwrap()),
            true => assert_eq!(kind(outcome), ErrorKind::VersionMismatch),
        }
    }
}

/// Who counts while a memtable is retired counts what it held, or its run: never what it has
/// forgotten.
#[test]
fn keys_are_counted_while_memtables_are_retired() {
    let bench = Bench::new(1);
    let bench = Bench {
        options: bench.options.clone().memtable_bytes(20_000),
        ..bench
    };
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let keys = 100;
    let is_done = std::sync::atomic::AtomicBool::new(false);
    let overwrite = || {
        for nth in 0..keys {
            bucket.put(name(nth), "new").unwrap();
        }
    };
    overwrite();
    let count = || {
        let mut most = 0;
        while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
            most = bucket.info().unwrap().keys.max(most);
        }
        most
    };
    let began = std::time::Instant::now();
    let mut runs = 0;
    std::thread::scope(|scope| {
        let counting: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
        while began.elapsed() < std::time::Duration::from_secs(1) {
            overwrite();
            while store.step().unwrap() {
                runs += 1;
            }
        }
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        for thread in counting {
            // A filter may take a few keys for others.
            let most = thread.join().unwrap();
            assert!(most <= keys as u64 + 10, "{most} after {runs} steps");
        }
    });
    assert!(runs > 10, "{runs}");
}

/// A run that is written again for a reader of old levels counts what was in memtables below it,
/// though they are retired.
#[test]
fn keys_are_counted_once_though_a_run_was_written_again_for_an_old_reader() {
    let case = Case::new();
    let live = all_old().len();
    for nth in 0..16 {
        case.bucket.put(format!("x{nth}"), [b'x'; 4_000]).unwrap();
    }
    for nth in (0..KEYS).filter(|&nth| old(nth).is_some()) {
        case.bucket.put(name(nth), format!("old {nth}")).unwrap();
    }
    let view = case.bucket.view().unwrap();
    assert_eq!(view.pin().levels.memtables.len(), 2);
    case.retire();
    let counted = |what: &str| {
        let keys = case.bucket.info().unwrap().keys;
        let expected = live as u64 + 40;
        // A filter may take a few keys for others.
        assert!(keys.abs_diff(expected) < 10, "{keys} keys {what}");
    };
    counted("before");
    case.damage_runs_but(1);
    let rebuilds = case.store.status().partitions[0].index.rebuilds;
    assert_eq!(rows(view.scan(&Scan::prefix("0"))), all_old());
    assert!(case.store.status().partitions[0].index.rebuilds > rebuilds);
    counted("after");
}

/// A scan whose index was made anew on the way still holds what its places lead to.
#[test]
fn a_scan_that_met_a_damaged_run_keeps_its_segments() {
    let bench = Bench::new(1);
    let options = bench.options.clone();
    let options = options.merge_entries(1).history_bytes_min(0);
    let bench = Bench { options, ..bench };
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let case = Case {
        bench,
        store,
        bucket,
    };
    // Too large to be read ahead.
    let large = |round: u8| {
        for nth in 0..30 {
            let value = [round; 3_000];
            case.bucket.put(format!("k{nth:02}"), value).unwrap();
        }
    };
    let settle = || while case.store.step().unwrap() {};
    let index = || case.store.status().partitions[0].index.clone();
    large(b'1');
    settle();
    assert!(index().merges > 0);
    for nth in 0..KEYS {
        case.bucket.put(name(nth), "old").unwrap();
    }
    let mut scan = case.bucket.scan(Scan::default()).unwrap();
    assert_eq!(rows(scan.by_ref().take(3)).len(), 3);
    let rebuilds = index().rebuilds;
    for nth in 0..40 {
        case.bucket.put(format!("x{nth}"), [b'x'; 4_000]).unwrap();
    }
    settle();
    case.damage_runs();
    assert_eq!(rows(scan.by_ref().take(KEYS - 3)).len(), KEYS - 3);
    assert!(index().rebuilds > rebuilds);
    for round in b"234" {
        large(*round);
        settle();
    }
    let left = rows(scan);
    assert_eq!(left.len(), 30);
    assert!(left.iter().all(|(_, value)| value.starts_with('1')));
    settle();
    assert!(index().segments_dropped > 0, "nobody holds them any more");
}
