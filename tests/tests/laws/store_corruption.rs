//! Law 3 for a whole store: a damaged byte of a cleanly closed one is told with its file and place,
//! or every answer is what it was; and a damaged index file fails no read.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_kv::vfs::simulated::SimulatedDisk;
use cairn_kv::{
    Durability, Error, ErrorKind, LogScan, Options, PutOptions, Result, Scan, Store, Version,
};

/// Flips and cuts of each file; in the long run each of its bits, and each length it could have.
const FLIPS: usize = 70;
const CUTS: u64 = 12;

/// How much there is in the store under test.
struct Size {
    keys: u32,
    /// Of the first value; each of the next ones has one more.
    value_bytes: usize,
    /// More than one batch of pieces, so that the value is kept in pieces.
    large_bytes: u64,
    segment_bytes: u64,
    merge_entries: u64,
}

fn size() -> Size {
    match is_every_bit() {
        false => Size {
            keys: 40,
            value_bytes: 900,
            large_bytes: 150_000,
            segment_bytes: 64 << 10,
            merge_entries: 20,
        },
        // As little as has all kinds of files.
        true => Size {
            keys: 8,
            value_bytes: 800,
            large_bytes: 8_000,
            segment_bytes: 16 << 10,
            merge_entries: 4,
        },
    }
}

fn is_every_bit() -> bool {
    std::env::var_os("CAIRN_EVERY_BIT").is_some()
}

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
    let Size {
        segment_bytes,
        merge_entries,
        ..
    } = size();
    let options = Store::options().threads(false);
    options
        .segment_bytes(segment_bytes)
        .merge_entries(merge_entries)
}

fn open(disk: &SimulatedDisk) -> Result<Store> {
    options().open_on(Arc::new(disk.fork()), "/store")
}

/// A closed store of sealed segments, runs, a merged index, history, a topic and a large value; also
/// a version in its past.
fn closed_store() -> (SimulatedDisk, Version) {
    let Size {
        keys, value_bytes, ..
    } = size();
    let disk = Arc::new(SimulatedDisk::new(1));
    let store = options().open_on(Arc::clone(&disk) as _, "/store");
    let store = store.expect("a new store");
    let write = || -> Result<Version> {
        let bucket = store.bucket("b")?;
        let mut past = Version::ABSENT;
        for number in 0..keys * 2 {
            let key = format!("key{:02}", number % keys);
            let length = value_bytes + usize::try_from(number).expect("small");
            bucket.put(key, vec![number.to_le_bytes()[0]; length])?;
            if number == keys {
                past = bucket.version();
                let mut upload = bucket.upload("large", PutOptions::default())?;
                upload.write(&large())?;
                upload.finish(&[], Durability::Local)?.wait()?;
            }
            if number % (keys / 4) == 0 {
                store.append(0, "topic", number.to_le_bytes())?;
            }
            while number < keys * 2 - keys / 4 && store.step()? {}
        }
        bucket.delete("key00")?;
        Ok(past)
    };
    let past = write().expect("no fault was set");
    let one = &store.status().partitions[0];
    assert!(one.segments >= 3 && one.index.merges > 0, "{one:?}");
    store.close().expect("it closes");
    drop(store);
    let count = |end: &str| {
        let paths = disk.paths();
        paths.iter().filter(|path| has_end(path, end)).count()
    };
    assert!(count("seg") >= 3 && count("run") > 0 && count("redb") == 1);
    (disk.fork(), past)
}

fn large() -> Vec<u8> {
    let words = (0..size().large_bytes / 8).map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15));
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
    let keys = || (0..size().keys).map(|number| format!("key{number:02}"));
    let mut points = Vec::new();
    let mut past_points = Vec::new();
    for key in keys() {
        let known = |entry: cairn_kv::Entry| (entry.version, entry.value.to_vec());
        points.push(bucket.get(&key)?.map(known));
        past_points.push(view.get(&key)?.map(known));
    }
    let mut value = vec![0; large().len() + 1];
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

/// Places to flip, and which bit there: a sample, or all bits of each sector in which anything
/// stands and one of each byte of the empty ones between them.
fn flips(bytes: &[u8]) -> impl Iterator<Item = (usize, u32)> {
    let used = used(bytes);
    // Not a divisor of what is laid out in powers of two.
    let step = match is_every_bit() {
        true => 1,
        false => (used / FLIPS).max(1) | 1,
    };
    (0..used).step_by(step).flat_map(move |at| {
        let sector = bytes.chunks(512).nth(at / 512).unwrap_or_default();
        let is_empty = sector.iter().all(|&byte| byte == 0);
        let one = u32::try_from(at % 8).expect("a bit");
        match is_every_bit() && !is_empty {
            true => 0..8,
            false => one..one + 1,
        }
        .map(move |bit| (at, bit))
    })
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
    let keys = usize::try_from(size().keys).expect("small");
    assert!(expected.topic.len() > 3 && expected.watched.len() > keys);
    assert!(expected.past_rows.len() >= keys && expected.past_rows != expected.rows);
    let mut places = Vec::new();
    for path in whole.paths() {
        let bytes = whole.read(&path);
        places.extend(flips(&bytes).map(|(at, bit)| (path.clone(), at, bit)));
    }
    let (told, harmless) = (AtomicUsize::new(0), AtomicUsize::new(0));
    on_all_cores(&places, |(path, at, bit)| {
        let disk = whole.fork();
        disk.flip_bit(path, *at as u64, *bit);
        let what = format!("{}, byte {at}, bit {bit}", path.display());
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
    let mut ways = Vec::new();
    for path in whole.paths() {
        let length = whole.length(&path);
        let step = match is_every_bit() {
            true => 1,
            false => usize::try_from((length / CUTS).max(1)).expect("small"),
        };
        let cuts = (0..length).step_by(step).map(Some);
        ways.extend(cuts.chain([None]).map(|cut| (path.clone(), cut)));
    }
    let told = AtomicUsize::new(0);
    on_all_cores(&ways, |(path, cut)| {
        let disk = whole.fork();
        match cut {
            Some(cut) => disk.truncate(path, *cut),
            None => disk.erase(path),
        }
        let what = format!("{} cut at {cut:?}", path.display());
        if assert_told_or_harmless(&disk, past, &expected, path, &what) {
            told.fetch_add(1, Ordering::Relaxed);
        }
    });
    let told = told.into_inner();
    println!("{told} of {} cuts told", ways.len());
    assert!(told > 20, "{told}");
}
