//! Law 3 for a whole store: a damaged byte of a cleanly closed one is told with its file and place,
//! or every answer is what it was; and a damaged index file fails no read.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_kv::vfs::simulated::SimulatedDisk;
use cairn_kv::{
    Durability, Error, ErrorKind, LogScan, Options, PutOptions, Result, Scan, Store, Version,
};

const KEYS: u32 = 40;
const LARGE_BYTES: u64 = 150_000;

/// Flips in each file; of each of them every byte in the long run.
const FLIPS: usize = 70;
const CUTS: u64 = 12;

type Rows = Vec<(Vec<u8>, Version, u64, Vec<u8>)>;

/// Everything that a store is asked and answers.
#[derive(PartialEq, Eq)]
struct Answers {
    digest: String,
    points: Vec<Option<(Version, Vec<u8>)>>,
    rows: Rows,
    keys: Rows,
    past_points: Vec<Option<(Version, Vec<u8>)>>,
    past_rows: Rows,
    large: Vec<u8>,
    topic: Vec<(u64, Vec<u8>)>,
    watched: Vec<(Version, usize)>,
}

fn options() -> Options {
    let options = Store::options().threads(false).segment_bytes(64 << 10);
    options.merge_entries(20)
}

fn open(disk: &SimulatedDisk) -> Result<Store> {
    options().open_on(Arc::new(disk.fork()), "/store")
}

/// A closed store of sealed segments, runs, a merged index, history, a topic and a large value; also
/// a version in its past.
fn closed_store() -> (SimulatedDisk, Version) {
    let disk = Arc::new(SimulatedDisk::new(1));
    let store = options().open_on(Arc::clone(&disk) as _, "/store");
    let store = store.expect("a new store");
    let write = || -> Result<Version> {
        let bucket = store.bucket("b")?;
        let mut past = Version::ABSENT;
        for number in 0..KEYS * 2 {
            let key = format!("key{:02}", number % KEYS);
            let length = 900 + usize::try_from(number).expect("small");
            bucket.put(key, vec![number.to_le_bytes()[0]; length])?;
            if number == KEYS {
                past = bucket.version();
                let mut upload = bucket.upload("large", PutOptions::default())?;
                upload.write(&large())?;
                upload.finish(&[], Durability::Local)?.wait()?;
            }
            if number % 10 == 0 {
                store.append(0, "topic", number.to_le_bytes())?;
            }
            while number < KEYS * 2 - 10 && store.step()? {}
        }
        bucket.delete("key00")?;
        Ok(past)
    };
    let past = write().expect("no fault was set");
    let one = &store.status().partitions[0];
    assert!(one.segments > 3, "{one:?}");
    store.close().expect("it closes");
    drop(store);
    let count = |end: &str| {
        let paths = disk.paths();
        paths.iter().filter(|path| has_end(path, end)).count()
    };
    assert!(count("seg") > 3 && count("run") > 0 && count("redb") == 1);
    (disk.fork(), past)
}

fn large() -> Vec<u8> {
    let words = (0..LARGE_BYTES / 8).map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    words.flat_map(u64::to_le_bytes).collect()
}

fn has_end(path: &Path, end: &str) -> bool {
    path.extension().is_some_and(|found| found == end)
}

fn rows(entries: cairn_kv::Entries) -> Result<Rows> {
    let rows = entries.map(|row| {
        let (key, entry) = row?;
        Ok((
            key.to_vec(),
            entry.version,
            entry.size,
            entry.value.to_vec(),
        ))
    });
    rows.collect()
}

fn answers(disk: &SimulatedDisk, past: Version) -> Result<Answers> {
    let store = open(disk)?;
    let bucket = store.open_bucket("b")?;
    let view = bucket.at(past)?;
    let keys = || (0..KEYS).map(|number| format!("key{number:02}"));
    let mut points = Vec::new();
    let mut past_points = Vec::new();
    for key in keys() {
        let known = |entry: cairn_kv::Entry| (entry.version, entry.value.to_vec());
        points.push(bucket.get(&key)?.map(known));
        past_points.push(view.get(&key)?.map(known));
    }
    let mut value = vec![0; usize::try_from(LARGE_BYTES).expect("small") + 1];
    let reader = bucket.open("large")?;
    let reader = reader.ok_or_else(lost_large)?;
    let mut filled = 0;
    loop {
        match reader.read_at(filled as u64, &mut value[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    value.truncate(filled);
    let scan = LogScan {
        from: 0,
        limit: 10_000,
        topic: Some("topic".to_owned()),
    };
    let records = store.read_log(0, &scan)?.into_iter();
    let mut watch = bucket.watch(Some(past), b"")?;
    let mut watched = Vec::new();
    while let Some(batch) = watch.try_next()? {
        watched.push((batch.version, batch.events.len()));
    }
    let keys_only = Scan {
        keys_only: true,
        ..Scan::default()
    };
    Ok(Answers {
        digest: store.state_digest()?.to_string(),
        points,
        rows: rows(bucket.scan(Scan::default())?)?,
        keys: rows(bucket.scan(keys_only)?)?,
        past_points,
        past_rows: rows(view.scan(&Scan::default()))?,
        large: value,
        topic: records.map(|one| (one.offset, one.data.to_vec())).collect(),
        watched,
    })
}

fn lost_large() -> Error {
    panic!("the large value is absent, and no error")
}

/// Reads a damaged store: it must answer as before, or name the file and the place. Whether it
/// told.
fn assert_told_or_harmless(
    disk: &SimulatedDisk,
    past: Version,
    expected: &Answers,
    damaged: &Path,
    what: &str,
) -> bool {
    match answers(disk, past) {
        Ok(found) => {
            assert!(found == *expected, "{what}: other answers, and no error");
            false
        }
        Err(error) => {
            let is_index = has_end(damaged, "run") || has_end(damaged, "redb");
            assert!(!is_index, "{what}: an index file fails a read: {error}");
            // A version that another build may have written is told as such.
            let is_format = error.message().contains("format version");
            assert!(
                error.kind() == ErrorKind::Corrupt || is_format,
                "{what}: {error:?}"
            );
            let says = error.message();
            assert!(says.contains("/store/"), "{what}: no file: {says}");
            assert!(
                is_format || says.contains("at byte "),
                "{what}: no place: {says}"
            );
            true
        }
    }
}

fn used(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1)
}

fn on_all_cores<T: Sync>(items: &[T], check: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    check(item);
                }
            });
        }
    });
}

#[test]
fn law_3_a_flipped_bit_of_any_file_of_a_store_is_told_or_harmless() {
    let (whole, past) = closed_store();
    let expected = answers(&whole, past).unwrap_or_else(|error| panic!("{error}"));
    assert!(expected.large == large());
    assert!(expected.topic.len() > 3 && expected.watched.len() > 40);
    assert!(expected.past_rows.len() > 30 && expected.past_rows != expected.rows);
    let mut places = Vec::new();
    for path in whole.paths() {
        let used = used(&whole.read(&path));
        let step = match std::env::var_os("CAIRN_EVERY_BIT") {
            Some(_) => 1,
            // Not a divisor of what is laid out in powers of two.
            None => (used / FLIPS).max(1) | 1,
        };
        places.extend((0..used).step_by(step).map(|at| (path.clone(), at)));
    }
    let (told, harmless) = (AtomicUsize::new(0), AtomicUsize::new(0));
    on_all_cores(&places, |(path, at)| {
        let disk = whole.fork();
        disk.flip_bit(path, *at as u64, u32::try_from(at % 8).expect("a bit"));
        let what = format!("{}, byte {at}", path.display());
        let count = match assert_told_or_harmless(&disk, past, &expected, path, &what) {
            true => &told,
            false => &harmless,
        };
        count.fetch_add(1, Ordering::Relaxed);
    });
    let (told, harmless) = (told.into_inner(), harmless.into_inner());
    println!("{told} flips told, {harmless} harmless");
    assert!(told > 100 && harmless > 50, "{told} {harmless}");
}

#[test]
fn law_3_a_cut_or_missing_file_of_a_store_is_told_or_harmless() {
    let (whole, past) = closed_store();
    let expected = answers(&whole, past).unwrap_or_else(|error| panic!("{error}"));
    let mut told = 0;
    for path in whole.paths() {
        let length = whole.length(&path);
        let step = usize::try_from((length / CUTS).max(1)).expect("small");
        for cut in (0..length).step_by(step) {
            let disk = whole.fork();
            disk.truncate(&path, cut);
            let what = format!("{} cut at {cut}", path.display());
            told += u32::from(assert_told_or_harmless(
                &disk, past, &expected, &path, &what,
            ));
        }
        let disk = whole.fork();
        disk.erase(&path);
        let what = format!("{} erased", path.display());
        told += u32::from(assert_told_or_harmless(
            &disk, past, &expected, &path, &what,
        ));
    }
    assert!(told > 20, "{told}");
}
