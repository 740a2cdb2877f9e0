use std::collections::BTreeMap;
use std::ops::Bound;

use cairn_log::vfs::MemoryDisk;
use cairn_log::vfs::simulated::{SimulatedDisk, Survival};

use super::*;
use crate::index::hash::HashSeed;
use crate::index::merged::merge::changes::Merge;
use crate::testing::{Random, seeds};

mod crash;
mod damage;
mod failure;
mod figures;
mod rules;

const PATH: &str = "index.redb";
const IDENTITY: Identity = Identity {
    log: LogId([7; 16]),
    partition: 3,
};
/// Small, so that pages are written and read in the middle of a merge.
const CACHE_BYTES: usize = 64 << 10;

fn open(vfs: &Arc<dyn Vfs>) -> Result<Merged, Fault> {
    Merged::open(vfs, Path::new(PATH), IDENTITY, CACHE_BYTES)
}

fn memory() -> Arc<dyn Vfs> {
    Arc::new(MemoryDisk::default())
}

fn entry(record: u64, version: u64) -> Entry {
    Entry {
        record,
        version,
        kind: EntryKind::Value,
        is_moved: false,
        value_bytes: 5,
        extra_bytes: 24,
    }
}

#[derive(Clone, Debug)]
enum Change {
    Put(u32, Vec<u8>, Entry),
    Remove(u32, Vec<u8>, u64),
    RemoveBucket(u32),
}

/// What an index should hold.
#[derive(Clone, Default, PartialEq)]
struct Model {
    covered: u64,
    state: Vec<u8>,
    entries: BTreeMap<(u32, Vec<u8>), Entry>,
}

impl Model {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Put(bucket, key, entry) => {
                let stands = self.entries.entry((*bucket, key.clone())).or_insert(*entry);
                if stands.version <= entry.version {
                    *stands = *entry;
                }
            }
            Change::Remove(bucket, key, version) => {
                let place = (*bucket, key.clone());
                if self
                    .entries
                    .get(&place)
                    .is_some_and(|e| e.version <= *version)
                {
                    self.entries.remove(&place);
                }
            }
            Change::RemoveBucket(bucket) => self.entries.retain(|(b, _), _| b != bucket),
        }
    }

    /// Changes that a next merge may bring, in order, and what is there after them.
    fn next(&self, random: &mut Random, changes: usize) -> (Vec<Change>, Model) {
        let mut after = self.clone();
        after.covered = self.covered + 1 + random.below(100_000) as u64;
        after.state = vec![u8::try_from(random.below(256)).unwrap(); random.below(9_000)];
        let mut places: BTreeMap<(u32, Vec<u8>), Change> = BTreeMap::new();
        for _ in 0..changes {
            let bucket = 1 + u32::try_from(random.below(4)).unwrap();
            let key = match random.below(40) {
                0 => vec![b'k'; 1 + random.below(4096)],
                _ => format!("key {}", random.below(600)).into_bytes(),
            };
            let version = self.covered + 1 + random.below(40_000) as u64;
            // Some are older than what stands there.
            let version = version
                .saturating_sub(random.below(2) as u64 * 30_000)
                .max(1);
            let change = match random.below(10) {
                0..7 => {
                    let place = random.below(1 << 20) as u64;
                    let mut entry = entry(version + place, version);
                    entry.value_bytes = u32::try_from(random.below(1 << 23)).unwrap();
                    if random.below(4) == 0 {
                        entry.kind = EntryKind::Expiring;
                    }
                    Change::Put(bucket, key.clone(), entry)
                }
                _ => Change::Remove(bucket, key.clone(), version),
            };
            places.insert((bucket, key), change);
        }
        if random.below(12) == 0 {
            let bucket = 1 + u32::try_from(random.below(4)).unwrap();
            places.insert((bucket, Vec::new()), Change::RemoveBucket(bucket));
        }
        let mut changes: Vec<Change> = places.into_values().collect();
        changes.sort_by_key(|change| !matches!(change, Change::RemoveBucket(_)));
        changes.iter().for_each(|change| after.apply(change));
        (changes, after)
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (covered, keys) = (self.covered, self.entries.len());
        write!(formatter, "{keys} keys up to {covered}")
    }
}

const WAYS: [Way; 2] = [Way::InPlace, Way::Anew];

fn merge(merged: &Merged, changes: &[Change], after: &Model) -> Result<Arc<View>, Fault> {
    merge_by(Way::InPlace, merged, changes, after)
}

fn merge_by(
    way: Way,
    merged: &Merged,
    changes: &[Change],
    after: &Model,
) -> Result<Arc<View>, Fault> {
    merged.merge(way, Expected::default(), |merge| {
        apply(merge, changes, after)
    })
}

fn apply(merge: &mut Merge<'_>, changes: &[Change], after: &Model) -> Result<Summary, Fault> {
    let seed = HashSeed::new(IDENTITY.log);
    for change in changes {
        match change {
            Change::Put(bucket, key, entry) => {
                let bucket = BucketId(*bucket);
                merge.put(bucket, key, seed.hash(bucket, key), *entry)?;
            }
            Change::Remove(bucket, key, version) => {
                merge.remove(BucketId(*bucket), key, *version)?;
            }
            Change::RemoveBucket(bucket) => merge.remove_bucket(BucketId(*bucket), |_, _| ())?,
        }
    }
    Ok(Summary {
        covered: after.covered,
        state: after.state.clone(),
    })
}

/// All that a view shows, by every way to read it.
fn read(view: &Arc<View>) -> Result<Model, Fault> {
    let seed = HashSeed::new(IDENTITY.log);
    let mut model = Model {
        covered: view.covered(),
        state: view.state().to_vec(),
        entries: BTreeMap::new(),
    };
    for bucket in 0..=5 {
        let id = BucketId(bucket);
        let all = (Bound::Unbounded, Bound::Unbounded);
        let mut walked = Vec::new();
        for found in view.range(id, all, false)? {
            let (key, entry) = found?;
            assert_eq!(view.get(id, &key)?, Some(entry));
            assert!(view.may_hold(seed.hash(id, &key)), "a key is filtered out");
            walked.push((key.to_vec(), entry));
        }
        let back: Result<Vec<_>, Fault> = view
            .range(id, all, true)?
            .map(|found| found.map(|(key, entry)| (key.to_vec(), entry)))
            .collect();
        let mut back = back?;
        back.reverse();
        assert_eq!(walked, back);
        assert_eq!(view.get(id, b"absent")?, None);
        model.entries.extend(
            walked
                .into_iter()
                .map(|(key, entry)| ((bucket, key), entry)),
        );
    }
    assert_eq!(view.len(), model.entries.len() as u64);
    Ok(model)
}

/// An index that has seen a few merges.
fn grown(vfs: &Arc<dyn Vfs>, random: &mut Random) -> (Merged, Model) {
    let merged = open(vfs).unwrap();
    let mut model = Model::default();
    for _ in 0..3 {
        let (changes, after) = model.next(random, 300);
        merge(&merged, &changes, &after).unwrap();
        model = after;
    }
    (merged, model)
}

/// One on a disk that can fail.
fn grown_on_disk(seed: u64, random: &mut Random) -> (SimulatedDisk, Arc<dyn Vfs>, Merged, Model) {
    let disk = SimulatedDisk::new(seed);
    let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
    let (merged, model) = grown(&vfs, random);
    (disk, vfs, merged, model)
}
