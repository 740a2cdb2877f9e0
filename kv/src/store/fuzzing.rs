//! The directory of a store as a fuzz target. Files of a small store are changed, cut and removed
//! as the input says; then the store opens and answers as it did at some moment of its life, or
//! says that it cannot, and nothing panics.
//!
//! How much it must still know depends on what was touched:
//!
//! * index files alone: everything, and without an error, since they are made again;
//! * one segment of a store that was closed: everything that it answers is of the last moment,
//!   since the superblock says how far the log went;
//! * anything else may have taken the end of the log along with all that vouched for it. What is
//!   left is a beginning of it, in the order of the writes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use cairn_log::vfs::Vfs;
use cairn_log::vfs::simulated::SimulatedDisk;

use super::Store;
use crate::error::{ErrorKind, Result};
use crate::fuzzing::{Choices, Target};
use crate::options::Options;
use crate::scan::Scan;
use crate::topic::LogScan;

pub(crate) const TARGET: Target = Target {
    name: "kv_directory",
    check,
    seeds,
};

const ROOT: &str = "/store";
const BUCKET: &str = "bucket";
const TOPICS: [&str; 2] = ["one", "other"];
const WRITES: u32 = 120;
const KEYS: u32 = 50;

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;
type Records = Vec<(u64, Vec<u8>)>;

/// What a store holds at one moment.
#[derive(Clone, Default)]
struct Moment {
    has_bucket: bool,
    entries: Entries,
    topics: BTreeMap<&'static str, Records>,
}

/// What a store has answered; what it refused is left out.
#[derive(Default)]
struct Answers {
    has_bucket: Option<bool>,
    gets: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    scan: Option<Entries>,
    topics: BTreeMap<&'static str, Records>,
    refusals: Vec<String>,
}

struct Fixture {
    /// Every moment of its life, the last one last.
    moments: Vec<Moment>,
    closed: SimulatedDisk,
    /// As a kill leaves it.
    killed: SimulatedDisk,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| fixture().expect("a disk that does not fail"));

fn options() -> Options {
    Store::options()
        .threads(false)
        .segment_bytes(64 << 10)
        .merge_entries(40)
        .history_bytes_min(0)
}

fn open(disk: &Arc<SimulatedDisk>) -> Result<Store> {
    options().open_on(Arc::clone(disk) as Arc<dyn Vfs>, ROOT)
}

/// A store of some segments, runs and a merged index. Nothing is collected from it: what is dropped
/// is in no moment of the log that remains.
fn fixture() -> Result<Fixture> {
    let disk = Arc::new(SimulatedDisk::new(1));
    let store = open(&disk)?;
    let mut moments = vec![Moment::default()];
    let mut now = Moment::default();
    let bucket = store.bucket(BUCKET)?;
    now.has_bucket = true;
    moments.push(now.clone());
    for number in 0..WRITES {
        let key = format!("key-{:02}", number % KEYS).into_bytes();
        let value = vec![number.to_le_bytes()[0]; 400 + 17 * to_usize(number)];
        match number % 6 {
            4 => {
                let topic = TOPICS[to_usize(number / 6 % 2)];
                let offset = store.append(0, topic, &value)?.offset;
                now.topics.entry(topic).or_default().push((offset, value));
            }
            5 if number > KEYS => {
                bucket.delete(&key)?;
                now.entries.remove(&key);
            }
            _ => {
                bucket.put(&key, &value)?;
                now.entries.insert(key, value);
            }
        }
        moments.push(now.clone());
        // The last writes stay where only a replay finds them.
        while number < WRITES - 10 && store.step()? {}
    }
    let killed = disk.process_death();
    drop(bucket);
    store.close()?;
    drop(store);
    let closed = disk.fork();
    Ok(Fixture {
        moments,
        closed,
        killed,
    })
}

/// What an input has touched.
#[derive(Default)]
struct Touched {
    paths: Vec<PathBuf>,
}

impl Touched {
    fn is_index_alone(&self) -> bool {
        self.paths.iter().all(|path| is_index(path))
    }

    fn is_one_segment(&self) -> bool {
        let is_first = |path: &PathBuf| Some(path) == self.paths.first();
        self.paths
            .iter()
            .all(|path| is_first(path) && is_segment(path))
    }
}

fn is_index(path: &std::path::Path) -> bool {
    let suffix = path.extension().unwrap_or_default();
    suffix == "run" || suffix == "redb"
}

fn is_segment(path: &std::path::Path) -> bool {
    path.extension().unwrap_or_default() == "seg"
}

fn check(bytes: &[u8]) {
    let fixture = &*FIXTURE;
    let mut choices = Choices(bytes);
    let is_closed = choices.byte().is_multiple_of(2);
    let disk = Arc::new(if is_closed {
        fixture.closed.fork()
    } else {
        fixture.killed.fork()
    });
    let touched = edit(&disk, &mut choices);
    let Some(answers) = answers_of(&disk) else {
        assert!(
            !touched.is_index_alone(),
            "index files are made again, and the store opens"
        );
        return;
    };
    let last = fixture.moments.len() - 1;
    let first = if touched.is_index_alone() {
        assert!(answers.refusals.is_empty(), "{:?}", answers.refusals);
        last
    } else if is_closed && touched.is_one_segment() {
        last
    } else {
        0
    };
    let mut moments = fixture.moments[first..].iter();
    assert!(
        moments.any(|moment| moment.agrees_with(&answers)),
        "what is answered is no moment of the store, touched: {:?}",
        touched.paths
    );
}

/// Edits, until the input ends: a file, what to do with it, where, and the bytes.
fn edit(disk: &SimulatedDisk, choices: &mut Choices<'_>) -> Touched {
    let mut touched = Touched::default();
    while !choices.is_empty() {
        let paths = disk.paths();
        let Some(path) = paths.get(usize::from(choices.byte()) % paths.len().max(1)) else {
            break;
        };
        let kind = choices.byte() % 16;
        let [a, b, c] = choices.bytes();
        let length = disk.length(path);
        let offset = u64::from(u32::from_le_bytes([a, b, c, 0])) % length.max(1);
        match kind {
            0 => disk.truncate(path, offset),
            1 => disk.erase(path),
            2..6 if offset < length => disk.flip_bit(path, offset, u32::from(choices.byte() % 8)),
            _ => {
                let count = usize::from(choices.byte());
                let room = usize::try_from(length - offset.min(length)).unwrap_or(usize::MAX);
                disk.overwrite(path, choices.take(count.min(room)), offset);
            }
        }
        touched.paths.push(path.clone());
    }
    touched
}

/// Everything that the store answers; `None` if it does not open. Then it is written to and opened
/// again: what that changes must be what was written.
fn answers_of(disk: &Arc<SimulatedDisk>) -> Option<Answers> {
    let store = open(disk).ok()?;
    let answers = read_all(&store);
    // Whatever it finds, it says.
    let _ = store.verify();
    let written = store.bucket("another").and_then(|bucket| {
        bucket.put("key", "value")?;
        store.append(0, "another", "record")
    });
    let is_closed = store.close().is_ok();
    drop(store);
    if let (Ok(appended), true) = (written, is_closed)
        && let Ok(store) = open(disk)
    {
        let bucket = store.open_bucket("another").expect("it was created");
        // On its way to them it may meet what is damaged, and says so.
        if let Ok(entry) = bucket.get("key") {
            assert_eq!(entry.expect("it was written").value, "value");
        }
        if let Ok(records) = read_topic(&store, "another") {
            assert_eq!(records, [(appended.offset, b"record".to_vec())]);
        }
    }
    Some(answers)
}

fn read_all(store: &Store) -> Answers {
    let mut answers = Answers::default();
    let mut refusals = Vec::new();
    let mut refuse = |error: crate::Error| refusals.push(error.to_string());
    match store.open_bucket(BUCKET) {
        Ok(bucket) => {
            answers.has_bucket = Some(true);
            for number in 0..KEYS {
                let key = format!("key-{number:02}").into_bytes();
                match bucket.get(&key) {
                    Ok(entry) => {
                        let value = entry.map(|entry| entry.value.to_vec());
                        answers.gets.insert(key, value);
                    }
                    Err(error) => refuse(error),
                }
            }
            let scanned = bucket.scan(Scan::default()).and_then(|rows| {
                rows.map(|row| row.map(|(key, entry)| (key.to_vec(), entry.value.to_vec())))
                    .collect()
            });
            match scanned {
                Ok(entries) => answers.scan = Some(entries),
                Err(error) => refuse(error),
            }
        }
        Err(error) if error.kind() == ErrorKind::BucketNotFound => {
            answers.has_bucket = Some(false);
        }
        Err(error) => refuse(error),
    }
    for topic in TOPICS {
        match read_topic(store, topic) {
            Ok(records) => drop(answers.topics.insert(topic, records)),
            Err(error) => refuse(error),
        }
    }
    let all = LogScan {
        from: 0,
        limit: 10_000,
        topic: None,
    };
    if let Err(error) = store.read_log(0, &all) {
        refuse(error);
    }
    answers.refusals = refusals;
    answers
}

fn read_topic(store: &Store, topic: &str) -> Result<Records> {
    let scan = LogScan {
        from: 0,
        limit: 10_000,
        topic: Some(topic.to_owned()),
    };
    let records = store.read_log(0, &scan)?.into_iter();
    Ok(records
        .map(|record| (record.offset, record.data.to_vec()))
        .collect())
}

impl Moment {
    fn agrees_with(&self, answers: &Answers) -> bool {
        let mut gets = answers.gets.iter();
        let mut topics = answers.topics.iter();
        let none = Records::new();
        let is_record_list = |(topic, records)| self.topics.get(topic).unwrap_or(&none) == records;
        answers.has_bucket.is_none_or(|has| has == self.has_bucket)
            && gets.all(|(key, value)| self.entries.get(key) == value.as_ref())
            && answers
                .scan
                .as_ref()
                .is_none_or(|scan| *scan == self.entries)
            && topics.all(is_record_list)
    }
}

fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// One edit of each kind to each file, of a store that was closed and of one that was killed.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![], vec![1]];
    let fixture = &*FIXTURE;
    for (variant, disk) in [(0, &fixture.closed), (1, &fixture.killed)] {
        for (index, path) in disk.paths().iter().enumerate() {
            let index = u8::try_from(index).unwrap_or(u8::MAX);
            let length = u32::try_from(disk.length(path)).unwrap_or(u32::MAX);
            for kind in [0, 1, 2, 6] {
                for offset in [16, length / 2, length.saturating_sub(600)] {
                    let [a, b, c, _] = offset.to_le_bytes();
                    seeds.push(vec![variant, index, kind, a, b, c, 3, 0xff, 0, 0xff]);
                }
            }
        }
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::storm;

    #[test]
    fn the_store_has_every_kind_of_file_and_answers_with_its_last_moment() {
        let fixture = &*FIXTURE;
        for disk in [&fixture.closed, &fixture.killed] {
            let paths = disk.paths();
            let count = |is_it: fn(&std::path::Path) -> bool| {
                paths.iter().filter(|path| is_it(path)).count()
            };
            assert!(count(is_segment) >= 3, "{paths:?}");
            assert!(count(is_index) >= 3, "{paths:?}");
            let answers = answers_of(&Arc::new(disk.fork())).unwrap();
            let last = fixture.moments.last().unwrap();
            assert!(last.agrees_with(&answers) && answers.refusals.is_empty());
            let before = &fixture.moments[fixture.moments.len() - 2];
            assert!(!before.agrees_with(&answers), "moments are told apart");
        }
    }

    #[test]
    fn a_changed_directory_opens_to_a_moment_of_its_life_or_not_at_all() {
        storm(&TARGET, 2_000);
    }
}
