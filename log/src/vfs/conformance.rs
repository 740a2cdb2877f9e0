//! What the contract promises of every disk, as tests that each implementation runs.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::thread;

use super::simulated::Random;
use super::{SyncSite, Vfs};

const SITE: SyncSite = SyncSite("conformance");

/// Makes each test below a `#[test]` of this module. The argument is a function that calls its own
/// argument with a new disk and a directory that exists on it.
macro_rules! conformance_tests {
    ($with_disk:path) => {
        $crate::vfs::conformance::conformance_tests! { $with_disk:
            a_created_file_is_empty_and_its_name_is_taken
            a_handle_sees_what_another_one_wrote
            what_is_missing_is_not_found
            a_directory_may_be_created_twice_but_not_in_place_of_a_file
            a_directory_is_no_file_and_a_file_is_no_directory
            names_are_listed_in_byte_order
            a_rename_replaces_the_new_name_and_keeps_handles
            a_hard_link_is_a_second_name_of_the_same_file
            a_removed_file_stays_whole_for_its_handle_and_map
            a_read_past_the_end_is_an_unexpected_end
            a_write_past_the_end_leaves_zeros_between
            offsets_past_what_a_file_can_hold_are_refused
            a_cut_file_grows_again_with_zeros
            allocated_room_is_zeros_and_nothing_else_changes
            random_writes_and_cuts_read_back
            syncs_succeed
            a_lock_has_one_holder_at_a_time
            free_space_is_known
            only_published_bytes_of_a_map_are_readable
            a_map_starts_and_ends_anywhere
            what_is_wished_of_a_map_changes_no_byte
            a_map_shows_bytes_written_after_it_was_made
            published_bytes_are_never_written_or_cut
            a_handle_makes_one_map
            a_map_that_ends_past_the_file_is_refused
            a_cut_part_of_a_map_is_never_published
            a_map_outlives_its_handle
            many_threads_write_and_read_at_once
        }
    };
    ($with_disk:path: $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                $with_disk($crate::vfs::conformance::$name);
            }
        )*
    };
}
pub(super) use conformance_tests;

/// A test of a disk, given a directory on it.
pub(super) type Test = fn(&dyn Vfs, &Path);

fn kind<T>(result: io::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("this should fail"),
        Err(error) => error.kind(),
    }
}

pub(super) fn a_created_file_is_empty_and_its_name_is_taken(disk: &dyn Vfs, root: &Path) {
    let path = root.join("file");
    assert_eq!(disk.create(&path).unwrap().length().unwrap(), 0);
    assert_eq!(kind(disk.create(&path)), ErrorKind::AlreadyExists);
    assert_eq!(disk.list(root).unwrap(), ["file"]);
}

pub(super) fn a_handle_sees_what_another_one_wrote(disk: &dyn Vfs, root: &Path) {
    let path = root.join("file");
    disk.create(&path).unwrap().write_at(b"abcdef", 0).unwrap();
    let (writer, reader) = (disk.open(&path).unwrap(), disk.open(&path).unwrap());
    writer.write_at(b"XY", 2).unwrap();
    let mut bytes = [0; 6];
    reader.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"abXYef");
    assert_eq!(reader.length().unwrap(), 6);
}

pub(super) fn what_is_missing_is_not_found(disk: &dyn Vfs, root: &Path) {
    let missing = root.join("missing");
    let inside = missing.join("file");
    disk.create(&root.join("file")).unwrap();
    assert_eq!(kind(disk.open(&missing)), ErrorKind::NotFound);
    assert_eq!(kind(disk.remove(&missing)), ErrorKind::NotFound);
    assert_eq!(
        kind(disk.rename(&missing, &root.join("new"))),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(disk.rename(&root.join("file"), &inside)),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(disk.hard_link(&missing, &root.join("new"))),
        ErrorKind::NotFound
    );
    assert_eq!(kind(disk.list(&missing)), ErrorKind::NotFound);
    assert_eq!(
        kind(disk.sync_directory(&missing, SITE)),
        ErrorKind::NotFound
    );
    assert_eq!(kind(disk.create(&inside)), ErrorKind::NotFound);
    assert_eq!(kind(disk.create_directory(&inside)), ErrorKind::NotFound);
    assert_eq!(kind(disk.lock(&inside)), ErrorKind::NotFound);
    assert_eq!(kind(disk.free_bytes(&missing)), ErrorKind::NotFound);
    assert_eq!(disk.list(root).unwrap(), ["file"]);
}

pub(super) fn a_directory_may_be_created_twice_but_not_in_place_of_a_file(
    disk: &dyn Vfs,
    root: &Path,
) {
    disk.create_directory(&root.join("directory")).unwrap();
    disk.create(&root.join("directory/file")).unwrap();
    disk.create_directory(&root.join("directory")).unwrap();
    assert_eq!(disk.list(&root.join("directory")).unwrap(), ["file"]);
    assert_eq!(
        kind(disk.create_directory(&root.join("directory/file"))),
        ErrorKind::AlreadyExists,
    );
    assert_eq!(
        kind(disk.create(&root.join("directory"))),
        ErrorKind::AlreadyExists
    );
}

pub(super) fn a_directory_is_no_file_and_a_file_is_no_directory(disk: &dyn Vfs, root: &Path) {
    let (directory, file) = (root.join("directory"), root.join("file"));
    disk.create_directory(&directory).unwrap();
    disk.create(&file).unwrap();
    assert_eq!(kind(disk.open(&directory)), ErrorKind::IsADirectory);
    assert_eq!(kind(disk.remove(&directory)), ErrorKind::IsADirectory);
    assert_eq!(
        kind(disk.rename(&file, &directory)),
        ErrorKind::IsADirectory
    );
    assert_eq!(kind(disk.list(&file)), ErrorKind::NotADirectory);
    assert_eq!(
        kind(disk.sync_directory(&file, SITE)),
        ErrorKind::NotADirectory
    );
    assert_eq!(
        kind(disk.create(&file.join("inside"))),
        ErrorKind::NotADirectory
    );
}

pub(super) fn names_are_listed_in_byte_order(disk: &dyn Vfs, root: &Path) {
    for name in ["b", "a-", "ü", "a", "B", "10", "9"] {
        disk.create(&root.join(name)).unwrap();
    }
    disk.create_directory(&root.join("a0")).unwrap();
    disk.create(&root.join("a0/inside")).unwrap();
    assert_eq!(
        disk.list(root).unwrap(),
        ["10", "9", "B", "a", "a-", "a0", "b", "ü"]
    );
}

pub(super) fn a_rename_replaces_the_new_name_and_keeps_handles(disk: &dyn Vfs, root: &Path) {
    let (old, new) = (root.join("old"), root.join("new"));
    let moved = disk.create(&old).unwrap();
    let replaced = disk.create(&new).unwrap();
    moved.write_at(b"moved", 0).unwrap();
    replaced.write_at(b"replaced", 0).unwrap();
    disk.rename(&old, &new).unwrap();
    assert_eq!(disk.list(root).unwrap(), ["new"]);
    assert_eq!(disk.open(&new).unwrap().length().unwrap(), 5);
    assert_eq!(replaced.length().unwrap(), 8);
    moved.write_at(b"!", 5).unwrap();
    assert_eq!(disk.open(&new).unwrap().length().unwrap(), 6);
    disk.rename(&new, &new).unwrap();
    assert_eq!(disk.list(root).unwrap(), ["new"]);
}

pub(super) fn a_hard_link_is_a_second_name_of_the_same_file(disk: &dyn Vfs, root: &Path) {
    let (first, second) = (root.join("first"), root.join("second"));
    let file = disk.create(&first).unwrap();
    disk.hard_link(&first, &second).unwrap();
    assert_eq!(
        kind(disk.hard_link(&first, &second)),
        ErrorKind::AlreadyExists
    );
    file.write_at(b"both", 0).unwrap();
    disk.rename(&first, &second).unwrap();
    assert_eq!(
        disk.list(root).unwrap(),
        ["first", "second"],
        "two names of one file stay"
    );
    disk.remove(&first).unwrap();
    assert_eq!(disk.open(&second).unwrap().length().unwrap(), 4);
}

pub(super) fn a_removed_file_stays_whole_for_its_handle_and_map(disk: &dyn Vfs, root: &Path) {
    let path = root.join("file");
    let file = disk.create(&path).unwrap();
    file.write_at(b"content", 0).unwrap();
    let map = file.map(0..7).unwrap();
    map.publish(7);
    disk.remove(&path).unwrap();
    disk.create(&path).unwrap().write_at(b"another", 0).unwrap();
    let mut bytes = [0; 7];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"content");
    assert_eq!(map.bytes(0..7).unwrap(), &b"content"[..]);
    file.write_at(b"more", 7).unwrap();
    file.sync_data(SITE).unwrap();
    assert_eq!(file.length().unwrap(), 11);
}

pub(super) fn a_read_past_the_end_is_an_unexpected_end(disk: &dyn Vfs, root: &Path) {
    let file = disk.create(&root.join("file")).unwrap();
    file.write_at(b"12345678", 0).unwrap();
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, 4).unwrap();
    assert_eq!(&bytes, b"5678");
    for offset in [
        5,
        8,
        9,
        1 << 40,
        i64::MAX.unsigned_abs(),
        u64::MAX - 1,
        u64::MAX,
    ] {
        assert_eq!(
            kind(file.read_exact_at(&mut bytes, offset)),
            ErrorKind::UnexpectedEof
        );
        file.read_exact_at(&mut [], offset).unwrap();
    }
}

pub(super) fn a_write_past_the_end_leaves_zeros_between(disk: &dyn Vfs, root: &Path) {
    let file = disk.create(&root.join("file")).unwrap();
    file.write_at(b"start", 0).unwrap();
    file.write_at(b"end", 200_000).unwrap();
    file.write_at(b"", 300_000).unwrap();
    assert_eq!(file.length().unwrap(), 200_003);
    let mut bytes = vec![1; 200_003];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes[..5], b"start");
    assert_eq!(bytes[5..200_000], vec![0; 199_995]);
    assert_eq!(&bytes[200_000..], b"end");
}

pub(super) fn offsets_past_what_a_file_can_hold_are_refused(disk: &dyn Vfs, root: &Path) {
    let file = disk.create(&root.join("file")).unwrap();
    for offset in [i64::MAX.unsigned_abs(), u64::MAX - 1, u64::MAX] {
        assert_eq!(kind(file.write_at(b"12", offset)), ErrorKind::InvalidInput);
    }
    assert_eq!(kind(file.set_length(1 << 63)), ErrorKind::InvalidInput);
    assert_eq!(kind(file.set_length(u64::MAX)), ErrorKind::InvalidInput);
    assert_eq!(file.length().unwrap(), 0);
}

pub(super) fn a_cut_file_grows_again_with_zeros(disk: &dyn Vfs, root: &Path) {
    let file = disk.create(&root.join("file")).unwrap();
    file.write_at(&[7; 150_000], 0).unwrap();
    file.set_length(70_000).unwrap();
    assert_eq!(file.length().unwrap(), 70_000);
    file.set_length(150_000).unwrap();
    let mut bytes = vec![1; 150_000];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes[..70_000], vec![7; 70_000]);
    assert_eq!(bytes[70_000..], vec![0; 80_000]);
    file.set_length(0).unwrap();
    assert_eq!(file.length().unwrap(), 0);
}

pub(super) fn allocated_room_is_zeros_and_nothing_else_changes(disk: &dyn Vfs, root: &Path) {
    let file = disk.create(&root.join("file")).unwrap();
    file.write_at(&[7; 5_000], 0).unwrap();
    for length in [200_000, 3_000, 0] {
        file.allocate(length).unwrap();
        assert_eq!(file.length().unwrap(), 200_000);
    }
    file.write_at(&[8; 10], 150_000).unwrap();
    let mut bytes = vec![1; 200_000];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let mut expected = vec![0; 200_000];
    expected[..5_000].fill(7);
    expected[150_000..150_010].fill(8);
    assert!(bytes == expected);
}

pub(super) fn random_writes_and_cuts_read_back(disk: &dyn Vfs, root: &Path) {
    const LENGTH_MAX: usize = 300_000;
    let file = disk.create(&root.join("file")).unwrap();
    let mut random = Random::new(1);
    let mut model = Vec::new();
    for step in 0..400_u32 {
        if random.chance(1, 10) {
            let length = random.index(LENGTH_MAX);
            file.set_length(length as u64).unwrap();
            model.resize(length, 0);
        } else {
            let offset = random.index(LENGTH_MAX - 100_000);
            let length_max = if random.chance(1, 3) { 100_000 } else { 1000 };
            let length = 1 + random.index(length_max);
            let fill = if random.chance(1, 3) {
                0
            } else {
                step.to_le_bytes()[0]
            };
            file.write_at(&vec![fill; length], offset as u64).unwrap();
            model.resize(model.len().max(offset + length), 0);
            model[offset..offset + length].fill(fill);
        }
        if random.chance(1, 20) {
            file.sync_data(SITE).unwrap();
        }
        let start = random.index(model.len().max(1)).min(model.len());
        let mut bytes = vec![1; model.len() - start];
        file.read_exact_at(&mut bytes, start as u64).unwrap();
        assert!(bytes == model[start..], "step {step}");
        assert_eq!(file.length().unwrap(), model.len() as u64);
    }
}

pub(super) fn syncs_succeed(disk: &dyn Vfs, root: &Path) {
    let file = disk.create(&root.join("file")).unwrap();
    file.sync_data(SITE).unwrap();
    file.write_at(b"data", 0).unwrap();
    file.sync_data(SITE).unwrap();
    disk.sync_directory(root, SITE).unwrap();
}

pub(super) fn a_lock_has_one_holder_at_a_time(disk: &dyn Vfs, root: &Path) {
    let path = root.join("lock");
    let lock = disk.lock(&path).unwrap();
    assert_eq!(disk.list(root).unwrap(), ["lock"]);
    assert_eq!(kind(disk.lock(&path)), ErrorKind::WouldBlock);
    let _other = disk.lock(&root.join("other")).unwrap();
    drop(lock);
    let _lock = disk.lock(&path).unwrap();
    assert_eq!(kind(disk.lock(&path)), ErrorKind::WouldBlock);
}

pub(super) fn free_space_is_known(disk: &dyn Vfs, root: &Path) {
    disk.create(&root.join("file")).unwrap();
    assert!(disk.free_bytes(root).unwrap() > 0);
    assert!(disk.free_bytes(&root.join("file")).unwrap() > 0);
}

/// Bytes that differ from their neighbours and from page to page.
fn pattern(length: u64) -> Vec<u8> {
    (0..length)
        .map(|at| (at ^ (at >> 8)).to_le_bytes()[0] | 1)
        .collect()
}

pub(super) fn only_published_bytes_of_a_map_are_readable(disk: &dyn Vfs, root: &Path) {
    let file = disk.create(&root.join("file")).unwrap();
    let bytes = pattern(20_000);
    file.write_at(&bytes, 0).unwrap();
    let map = file.map(0..20_000).unwrap();
    assert!(map.bytes(0..1).is_none());
    map.publish(10_000);
    assert_eq!(map.bytes(0..10_000).unwrap(), &bytes[..10_000]);
    assert_eq!(map.bytes(9000..9500).unwrap(), &bytes[9000..9500]);
    assert_eq!(map.bytes(10_000..10_000).unwrap(), &[][..]);
    assert!(map.bytes(9999..10_001).is_none());
    assert!(map.bytes(10_001..10_001).is_none());
    assert!(map.bytes(15_000..u64::MAX).is_none());
    let (start, end) = (20, 10);
    assert!(map.bytes(start..end).is_none());
    map.publish(5000);
    assert_eq!(
        map.bytes(0..10_000).unwrap(),
        &bytes[..10_000],
        "never moves back"
    );
    map.publish(u64::MAX);
    assert_eq!(map.bytes(0..20_000).unwrap(), &bytes[..]);
    assert!(map.bytes(0..20_001).is_none());
}

pub(super) fn what_is_wished_of_a_map_changes_no_byte(disk: &dyn Vfs, root: &Path) {
    let file = disk.create(&root.join("file")).unwrap();
    let bytes = pattern(50_000);
    file.write_at(&bytes, 0).unwrap();
    let map = file.map(1_000..50_000).unwrap();
    map.publish(30_000);
    map.expect_random_reads();
    let reversed = std::ops::Range {
        start: 20_000,
        end: 10_000,
    };
    for wish in [
        1_000..30_000,
        5_001..5_002,
        29_999..30_000,
        7_000..7_000,
        0..2_000,
        20_000..40_000,
        60_000..70_000,
        u64::MAX - 1..u64::MAX,
        reversed,
    ] {
        map.will_need(wish);
        assert_eq!(map.bytes(1_000..30_000).unwrap(), &bytes[1_000..30_000]);
        assert!(map.bytes(29_999..30_001).is_none());
    }
}

pub(super) fn a_map_starts_and_ends_anywhere(disk: &dyn Vfs, root: &Path) {
    let path = root.join("file");
    let bytes = pattern(70_000);
    disk.create(&path).unwrap().write_at(&bytes, 0).unwrap();
    for (start, end) in [
        (1, 2),
        (4095, 4097),
        (4096, 8192),
        (511, 69_999),
        (70_000, 70_000),
    ] {
        let map = disk.open(&path).unwrap().map(start..end).unwrap();
        map.publish(end);
        let slice = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
        assert_eq!(
            map.bytes(start..end).unwrap(),
            &bytes[slice],
            "{start}..{end}"
        );
        assert!(map.bytes(start - 1..end).is_none());
        assert!(map.bytes(start..end + 1).is_none());
    }
}

pub(super) fn a_map_shows_bytes_written_after_it_was_made(disk: &dyn Vfs, root: &Path) {
    let file = disk.create(&root.join("file")).unwrap();
    file.write_at(&[0; 10_000], 0).unwrap();
    let map = file.map(100..9000).unwrap();
    for (at, fill) in [(100, 1), (150, 2), (4000, 3)] {
        file.write_at(&vec![fill; 4000], at).unwrap();
        map.publish(at + 50);
        assert_eq!(map.bytes(at..at + 50).unwrap(), &[fill; 50][..]);
    }
}

pub(super) fn published_bytes_are_never_written_or_cut(disk: &dyn Vfs, root: &Path) {
    let file = disk.create(&root.join("file")).unwrap();
    let bytes = pattern(10_000);
    file.write_at(&bytes, 0).unwrap();
    let map = file.map(1000..9000).unwrap();
    file.write_at(&bytes[1000..2000], 1000).unwrap();
    map.publish(5000);
    assert_eq!(kind(file.write_at(b"x", 1000)), ErrorKind::InvalidInput);
    assert_eq!(kind(file.write_at(b"x", 4999)), ErrorKind::InvalidInput);
    assert_eq!(
        kind(file.write_at(&[0; 10_000], 0)),
        ErrorKind::InvalidInput
    );
    assert_eq!(kind(file.set_length(4999)), ErrorKind::InvalidInput);
    assert_eq!(kind(file.set_length(0)), ErrorKind::InvalidInput);
    file.write_at(b"", 3000).unwrap();
    file.write_at(&[9; 1000], 0).unwrap();
    file.write_at(&[9; 5000], 5000).unwrap();
    file.set_length(5000).unwrap();
    assert_eq!(map.bytes(1000..5000).unwrap(), &bytes[1000..5000]);
}

pub(super) fn a_handle_makes_one_map(disk: &dyn Vfs, root: &Path) {
    let path = root.join("file");
    let file = disk.create(&path).unwrap();
    file.write_at(&[1; 100], 0).unwrap();
    let _map = file.map(0..50).unwrap();
    assert_eq!(kind(file.map(50..100)), ErrorKind::AlreadyExists);
    disk.open(&path).unwrap().map(50..100).unwrap();
}

pub(super) fn a_map_that_ends_past_the_file_is_refused(disk: &dyn Vfs, root: &Path) {
    let file = disk.create(&root.join("file")).unwrap();
    file.write_at(&[1; 5000], 0).unwrap();
    assert_eq!(kind(file.map(0..5001)), ErrorKind::UnexpectedEof);
    assert_eq!(kind(file.map(1 << 40..1 << 41)), ErrorKind::UnexpectedEof);
    assert_eq!(kind(file.map(0..u64::MAX)), ErrorKind::UnexpectedEof);
    let (start, end) = (20, 10);
    assert_eq!(kind(file.map(start..end)), ErrorKind::InvalidInput);
    file.map(0..5000).unwrap();
}

pub(super) fn a_cut_part_of_a_map_is_never_published(disk: &dyn Vfs, root: &Path) {
    let file = disk.create(&root.join("file")).unwrap();
    file.write_at(&[1; 20_000], 0).unwrap();
    let map = file.map(0..20_000).unwrap();
    map.publish(1000);
    file.set_length(6000).unwrap();
    map.publish(20_000);
    assert_eq!(map.bytes(0..6000).unwrap(), &[1; 6000][..]);
    assert!(map.bytes(0..6001).is_none());
    file.set_length(20_000).unwrap();
    map.publish(20_000);
    assert!(map.bytes(0..6001).is_none());
}

pub(super) fn a_map_outlives_its_handle(disk: &dyn Vfs, root: &Path) {
    let path = root.join("file");
    let file = disk.create(&path).unwrap();
    file.write_at(b"content", 0).unwrap();
    let map = file.map(0..7).unwrap();
    drop(file);
    map.publish(7);
    disk.remove(&path).unwrap();
    assert_eq!(map.bytes(0..7).unwrap(), &b"content"[..]);
}

pub(super) fn many_threads_write_and_read_at_once(disk: &dyn Vfs, root: &Path) {
    const PIECE_BYTES: usize = 3000;
    const ROUNDS: usize = 40;
    let file = disk.create(&root.join("file")).unwrap();
    thread::scope(|scope| {
        for thread in 0..8 {
            let file = &file;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let offset = ((round * 8 + thread) * PIECE_BYTES) as u64;
                    let bytes = [thread.to_le_bytes()[0]; PIECE_BYTES];
                    file.write_at(&bytes, offset).unwrap();
                    let mut seen = [9; PIECE_BYTES];
                    file.read_exact_at(&mut seen, offset).unwrap();
                    assert_eq!(seen, bytes);
                }
            });
        }
    });
    let mut bytes = vec![9; 8 * ROUNDS * PIECE_BYTES];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(file.length().unwrap(), bytes.len() as u64);
    let expected = |at: usize| (at / PIECE_BYTES % 8).to_le_bytes()[0];
    assert!(
        bytes
            .iter()
            .enumerate()
            .all(|(at, byte)| *byte == expected(at))
    );
}
