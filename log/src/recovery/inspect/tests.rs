use std::sync::Arc;

use super::*;
use crate::log::Log;
use crate::partition::{Dropped, Durability};
use crate::segment::file_name;
use crate::testing::{append, options};
use crate::vfs::simulated::Random;
use crate::vfs::{File, MemoryDisk, SECTOR_BYTES};

const ROOT: &str = "/log";

fn open(disk: &MemoryDisk) -> Log {
    Log::open(Arc::new(disk.clone()), Path::new(ROOT), options(false)).unwrap()
}

fn put(log: &Log, payload: &[u8]) -> Offset {
    let appended = append(log, payload, Durability::Local).unwrap();
    appended.commit.wait().unwrap();
    appended.offset
}

/// Four segments, the second of which was dropped, with 30 records in what is left.
fn log_with_a_hole(disk: &MemoryDisk) -> Log {
    let log = open(disk);
    let partition = &log.partitions()[0];
    let mut bases = Vec::new();
    for number in 0..4 {
        partition.seal().unwrap();
        bases.push(put(&log, &[number; 1_000]));
        (1..10).for_each(|_| _ = put(&log, &[number; 300]));
    }
    assert_eq!(partition.drop_segment(bases[1]).unwrap(), Dropped::Done);
    log
}

fn inspected(disk: &MemoryDisk) -> Inspection {
    inspect(disk, Path::new(ROOT), &mut |_| {})
        .unwrap()
        .unwrap()
}

fn in_partition(name: &str) -> PathBuf {
    Path::new(ROOT).join("p0000").join(name)
}

fn segment(number: u64) -> PathBuf {
    in_partition(&file_name(crate::identity::SegmentNumber(number)))
}

fn file(disk: &MemoryDisk, path: &Path) -> Arc<dyn File> {
    disk.open(path).unwrap()
}

fn flip(disk: &MemoryDisk, path: &Path, at: u64, bit: u64) {
    let mut byte = [0];
    file(disk, path).read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 1 << bit;
    file(disk, path).write_at(&byte, at).unwrap();
}

#[test]
fn a_whole_log_is_read_to_its_end_however_it_was_left() {
    for is_closed in [true, false] {
        let disk = MemoryDisk::default();
        let log = log_with_a_hole(&disk);
        if is_closed {
            log.close().unwrap();
        }
        drop(log);
        let mut seen = 0;
        let found = inspect(&disk, Path::new(ROOT), &mut |batch| {
            seen += batch.records.len();
            assert!(batch.records.iter().all(|(at, _)| *at >= PAGE_BYTES));
        });
        let found = found.unwrap().unwrap();
        assert_eq!(found.damage, []);
        assert_eq!((found.segments, found.batches, found.records), (3, 30, 30));
        assert_eq!((seen, found.unfinished_bytes), (30, 0));
        // Nothing was recovered or marked by it.
        assert_eq!(open(&disk).partitions()[0].recovery().clean, is_closed);
    }
}

#[test]
fn no_flipped_bit_that_counts_goes_unnoticed() {
    let disk = MemoryDisk::default();
    log_with_a_hole(&disk).close().unwrap();
    let sector = SECTOR_BYTES as u64;
    let mut places = Vec::new();
    for path in [Path::new(ROOT).join("identity"), in_partition("superblock")] {
        places.push((path.clone(), 0..sector));
        places.push((path, 4096..4096 + sector));
    }
    let retired = in_partition("retired");
    let length = file(&disk, &retired).length().unwrap();
    places.push((retired, 0..length));
    let log_bytes = inspected(&disk).bytes / 3;
    for number in [1, 3, 4] {
        places.push((segment(number), 0..sector));
        places.push((segment(number), PAGE_BYTES..PAGE_BYTES + log_bytes));
    }
    for number in [1, 3] {
        places.push((segment(number), sector..2 * sector));
    }
    let mut random = Random::new(3);
    for (path, range) in places {
        for _ in 0..200 {
            let at = range.start + random.below(range.end - range.start);
            let bit = random.below(8);
            flip(&disk, &path, at, bit);
            let found = inspected(&disk).damage;
            let is_named = |damage: &Damage| damage.path == path && damage.position <= at;
            assert!(found.iter().any(is_named), "{path:?} at {at}: {found:?}");
            assert_eq!(found.len(), 1, "{path:?} at {at}: {found:?}");
            flip(&disk, &path, at, bit);
        }
    }
    assert_eq!(inspected(&disk).damage, []);
}

#[test]
fn each_damaged_place_is_told() {
    let disk = MemoryDisk::default();
    log_with_a_hole(&disk).close().unwrap();
    let identity = Path::new(ROOT).join("identity");
    flip(&disk, &identity, 4096 + 30, 0);
    flip(&disk, &segment(1), PAGE_BYTES + 3, 0);
    flip(&disk, &segment(1), PAGE_BYTES + 3_000, 0);
    flip(&disk, &segment(3), 2, 0);
    flip(&disk, &segment(4), PAGE_BYTES + 500, 0);
    let found = inspected(&disk);
    let places: Vec<_> = found
        .damage
        .iter()
        .map(|damage| (damage.path.clone(), damage.position))
        .collect();
    assert_eq!(places[0], (identity, 4096));
    assert_eq!(places[1], (segment(3), 0));
    assert_eq!(places[2], (segment(1), PAGE_BYTES));
    assert_eq!((&places[3].0, places.len()), (&segment(1), 5));
    assert_eq!(places[4], (segment(4), PAGE_BYTES + 24));
    assert_eq!(found.records, 20 - 3, "the others were read");
}

#[test]
fn missing_and_cut_files_are_told() {
    let disk = MemoryDisk::default();
    log_with_a_hole(&disk).close().unwrap();
    let sealed = file(&disk, &segment(3));
    sealed.set_length(PAGE_BYTES + 2_000).unwrap();
    let found = inspected(&disk).damage;
    assert_eq!(
        (&found[0].path, found[0].position),
        (&segment(3), PAGE_BYTES + 2_000)
    );
    disk.remove(&segment(3)).unwrap();
    let found = inspected(&disk).damage;
    assert_eq!((&found[0].path, found.len()), (&segment(3), 1));
    disk.remove(&in_partition("superblock")).unwrap();
    let found = inspected(&disk).damage;
    assert_eq!(found[0].path, in_partition("superblock"));
    disk.remove(&Path::new(ROOT).join("identity")).unwrap();
    let found = inspected(&disk).damage;
    assert_eq!(found[0].path, Path::new(ROOT).join("identity"));
}

#[test]
fn what_a_crash_left_unfinished_is_no_damage_and_what_was_synced_is() {
    let disk = MemoryDisk::default();
    let log = open(&disk);
    (0..3).for_each(|_| _ = put(&log, b"whole"));
    let last = put(&log, b"the last one, which nothing vouches for yet");
    drop(log);
    let position = PAGE_BYTES + last.get() - super::super::START.get();
    flip(&disk, &segment(1), position + 40, 0);
    let found = inspected(&disk);
    assert_eq!((found.damage, found.batches), (vec![], 3));
    assert!(found.unfinished_bytes > 0);
    let before_last = PAGE_BYTES + 2 * (24 + 8 + 5);
    flip(&disk, &segment(1), PAGE_BYTES + 30, 0);
    flip(&disk, &segment(1), before_last + 24, 0);
    let found = inspected(&disk);
    let positions = found.damage.iter().map(|damage| damage.position);
    let expected = [PAGE_BYTES + 24, before_last + 24];
    assert!(positions.eq(expected), "{:?}", found.damage);
}

#[test]
fn a_directory_without_a_log_holds_none() {
    let disk = MemoryDisk::default();
    disk.create_directory(Path::new(ROOT)).unwrap();
    let found = inspect(&disk, Path::new(ROOT), &mut |_| {}).unwrap();
    assert_eq!(found, None);
    assert_eq!(disk.list(Path::new(ROOT)).unwrap(), Vec::<String>::new());
}
