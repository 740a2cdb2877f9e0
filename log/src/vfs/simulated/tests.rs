use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::PathBuf;

use super::content::PAGE_BYTES;
use super::*;
use crate::vfs::conformance::{Test, conformance_tests};

const SITE: SyncSite = SyncSite("test");
const SEEDS: u64 = 200;

fn directory_of(disk: &SimulatedDisk) -> &'static Path {
    let directory = Path::new("/db");
    disk.create_directory(directory).unwrap();
    disk.sync_directory(Path::new("/"), SITE).unwrap();
    directory
}

/// A disk with the synced file /db/file of so many sectors of `fill`.
fn disk_with_file(sectors: usize, fill: u8) -> (SimulatedDisk, Arc<dyn File>) {
    let disk = SimulatedDisk::new(1);
    let directory = directory_of(&disk);
    let file = disk.create(&directory.join("file")).unwrap();
    file.write_at(&vec![fill; sectors * SECTOR_BYTES], 0)
        .unwrap();
    file.sync_data(SITE).unwrap();
    disk.sync_directory(directory, SITE).unwrap();
    (disk, file)
}

fn found(disk: &SimulatedDisk) -> impl Iterator<Item = SimulatedDisk> {
    (0..SEEDS).map(|seed| disk.power_loss(Survival::Random(seed)))
}

fn is_input_output_error(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

#[test]
fn an_unsynced_sector_is_lost_or_kept_on_its_own() {
    let (disk, file) = disk_with_file(3, 1);
    file.write_at(&[2; 3 * SECTOR_BYTES], 0).unwrap();
    let states: BTreeSet<Vec<u8>> = found(&disk)
        .map(|disk| {
            let bytes = disk.read("/db/file");
            let sectors = bytes.as_chunks::<SECTOR_BYTES>().0;
            assert!(
                sectors
                    .iter()
                    .all(|sector| *sector == [sector[0]; SECTOR_BYTES])
            );
            sectors.iter().map(|sector| sector[0]).collect()
        })
        .collect();
    assert_eq!(
        states.len(),
        8,
        "each of three sectors is old or new: {states:?}"
    );
}

#[test]
fn every_old_and_new_sector_state_is_reachable() {
    let (disk, file) = disk_with_file(1, 1);
    for fill in 2..=5 {
        file.write_at(&[fill; 100], 0).unwrap();
    }
    let states: BTreeSet<u8> = found(&disk).map(|disk| disk.read("/db/file")[0]).collect();
    assert_eq!(states, BTreeSet::from([1, 2, 3, 4, 5]));
    assert!(found(&disk).all(|disk| disk.read("/db/file")[100..] == [1; SECTOR_BYTES - 100]));
}

#[test]
fn a_synced_write_survives_every_seed() {
    let (disk, file) = disk_with_file(40, 1);
    file.write_at(&[2; 5000], 700).unwrap();
    file.sync_data(SITE).unwrap();
    let now = disk.read("/db/file");
    assert!(found(&disk).all(|disk| disk.read("/db/file") == now));
}

#[test]
fn an_unsynced_length_is_the_old_one_or_any_newer_one() {
    let (disk, file) = disk_with_file(1, 1);
    file.write_at(&[2; 10], 600).unwrap();
    file.write_at(&[2; 10], 6000).unwrap();
    file.set_length(100).unwrap();
    let lengths: BTreeSet<u64> = found(&disk).map(|disk| disk.length("/db/file")).collect();
    assert_eq!(lengths, BTreeSet::from([100, 512, 610, 6010]));
}

#[test]
fn a_kept_length_over_lost_sectors_reads_zeros() {
    let (disk, file) = disk_with_file(1, 1);
    file.write_at(&[2; 2 * SECTOR_BYTES], SECTOR_BYTES as u64)
        .unwrap();
    let tails: BTreeSet<Vec<u8>> = found(&disk)
        .map(|disk| disk.read("/db/file"))
        .filter(|bytes| bytes.len() == 3 * SECTOR_BYTES)
        .map(|bytes| vec![bytes[SECTOR_BYTES], bytes[2 * SECTOR_BYTES]])
        .collect();
    assert_eq!(
        tails,
        BTreeSet::from([vec![0, 0], vec![0, 2], vec![2, 0], vec![2, 2]])
    );
}

#[test]
fn cut_bytes_come_back_as_zeros_when_the_file_grows_again() {
    let (disk, file) = disk_with_file(1, 1);
    file.set_length(100).unwrap();
    file.set_length(SECTOR_BYTES as u64).unwrap();
    assert_eq!(disk.read("/db/file")[100..], [0; SECTOR_BYTES - 100]);
    file.sync_data(SITE).unwrap();
    assert!(found(&disk).all(|disk| disk.read("/db/file")[100..] == [0; SECTOR_BYTES - 100]));
}

#[test]
fn policies_lose_or_keep_everything_unsynced() {
    let (disk, file) = disk_with_file(2, 1);
    file.write_at(&[2; 3 * SECTOR_BYTES], 0).unwrap();
    disk.rename(Path::new("/db/file"), Path::new("/db/other"))
        .unwrap();
    let lost = disk.power_loss(Survival::Nothing);
    assert_eq!(lost.read("/db/file"), [1; 2 * SECTOR_BYTES]);
    let kept = disk.power_loss(Survival::Everything);
    assert_eq!(kept.paths(), [Path::new("db/other")]);
    assert_eq!(kept.read("/db/other"), [2; 3 * SECTOR_BYTES]);
}

#[test]
fn process_death_keeps_what_was_written_but_does_not_sync_it() {
    let (disk, file) = disk_with_file(1, 1);
    file.write_at(&[2; SECTOR_BYTES], 0).unwrap();
    let killed = disk.process_death();
    assert_eq!(killed.read("/db/file"), [2; SECTOR_BYTES]);
    assert_eq!(
        killed.power_loss(Survival::Nothing).read("/db/file"),
        [1; SECTOR_BYTES]
    );
    killed
        .open(Path::new("/db/file"))
        .unwrap()
        .sync_data(SITE)
        .unwrap();
    assert_eq!(
        killed.power_loss(Survival::Nothing).read("/db/file"),
        [2; SECTOR_BYTES]
    );
}

#[test]
fn a_fork_does_not_see_later_changes_and_has_no_faults() {
    let (disk, file) = disk_with_file(1, 1);
    disk.crash_at(disk.calls() + 2);
    let fork = disk.fork();
    file.write_at(&[2; SECTOR_BYTES], 0).unwrap();
    assert_eq!(fork.read("/db/file"), [1; SECTOR_BYTES]);
    assert_eq!(fork.counts(), Counts::default());
    let file = fork.open(Path::new("/db/file")).unwrap();
    file.write_at(&[3; SECTOR_BYTES], 0).unwrap();
    file.sync_data(SITE).unwrap();
    assert_eq!(disk.read("/db/file"), [2; SECTOR_BYTES]);
}

#[test]
fn a_created_name_can_be_lost_though_its_data_is_synced() {
    let disk = SimulatedDisk::new(1);
    let directory = directory_of(&disk);
    let file = disk.create(&directory.join("new")).unwrap();
    file.write_at(&[1; 8], 0).unwrap();
    file.sync_data(SITE).unwrap();
    let names: BTreeSet<usize> = found(&disk).map(|disk| disk.paths().len()).collect();
    assert_eq!(names, BTreeSet::from([0, 1]));
    disk.sync_directory(directory, SITE).unwrap();
    assert!(found(&disk).all(|disk| disk.read("/db/new") == [1; 8]));
}

#[test]
fn a_kept_name_of_unsynced_data_finds_what_survived() {
    let disk = SimulatedDisk::new(1);
    let directory = directory_of(&disk);
    let file = disk.create(&directory.join("new")).unwrap();
    file.write_at(&[1; SECTOR_BYTES], 0).unwrap();
    disk.sync_directory(directory, SITE).unwrap();
    let contents: BTreeSet<Vec<u8>> = found(&disk).map(|disk| disk.read("/db/new")).collect();
    let expected = [vec![], vec![0; SECTOR_BYTES], vec![1; SECTOR_BYTES]];
    assert_eq!(contents, BTreeSet::from(expected));
}

#[test]
fn a_rename_without_directory_sync_can_be_lost() {
    let (disk, _file) = disk_with_file(1, 1);
    disk.rename(Path::new("/db/file"), Path::new("/db/renamed"))
        .unwrap();
    let names: BTreeSet<Vec<PathBuf>> = found(&disk).map(|disk| disk.paths()).collect();
    let expected = [vec!["db/file".into()], vec!["db/renamed".into()]];
    assert_eq!(
        names,
        BTreeSet::from(expected),
        "one name, never both or neither"
    );
    disk.sync_directory(Path::new("/db"), SITE).unwrap();
    assert!(found(&disk).all(|disk| disk.paths() == [Path::new("db/renamed")]));
}

#[test]
fn a_rename_over_a_file_leaves_one_of_the_two_whole() {
    let (disk, _file) = disk_with_file(1, 1);
    let new = disk.create(Path::new("/db/new")).unwrap();
    new.write_at(&[2; SECTOR_BYTES], 0).unwrap();
    new.sync_data(SITE).unwrap();
    disk.sync_directory(Path::new("/db"), SITE).unwrap();
    disk.rename(Path::new("/db/new"), Path::new("/db/file"))
        .unwrap();
    let contents: BTreeSet<(u8, usize)> = found(&disk)
        .map(|disk| (disk.read("/db/file")[0], disk.paths().len()))
        .collect();
    assert_eq!(contents, BTreeSet::from([(1, 2), (2, 1)]));
}

#[test]
fn a_renamed_file_keeps_one_name_through_chains_of_renames_and_reuse() {
    let (disk, _file) = disk_with_file(1, 1);
    disk.rename(Path::new("/db/file"), Path::new("/db/second"))
        .unwrap();
    disk.create(Path::new("/db/file")).unwrap();
    disk.rename(Path::new("/db/second"), Path::new("/db/third"))
        .unwrap();
    disk.create(Path::new("/db/second")).unwrap();
    let mut places = BTreeSet::new();
    for disk in found(&disk) {
        let paths = disk.paths();
        let holds_it = |path: &&PathBuf| disk.length(path) > 0;
        let holders: Vec<_> = paths.iter().filter(holds_it).cloned().collect();
        assert_eq!(holders.len(), 1, "{paths:?}");
        places.extend(holders);
    }
    assert_eq!(places.len(), 3);
}

#[test]
fn an_unlink_without_directory_sync_can_be_lost() {
    let (disk, file) = disk_with_file(1, 1);
    drop(file);
    disk.remove(Path::new("/db/file")).unwrap();
    assert!(disk.paths().is_empty());
    let back = disk.power_loss(Survival::Nothing);
    assert_eq!(back.read("/db/file"), [1; SECTOR_BYTES]);
    assert!(disk.power_loss(Survival::Everything).paths().is_empty());
    disk.sync_directory(Path::new("/db"), SITE).unwrap();
    assert!(found(&disk).all(|disk| disk.paths().is_empty()));
    assert!(disk.state.lock().inodes.is_empty());
}

#[test]
fn a_link_without_directory_sync_can_be_lost() {
    let (disk, _file) = disk_with_file(1, 1);
    disk.hard_link(Path::new("/db/file"), Path::new("/db/link"))
        .unwrap();
    let names: BTreeSet<usize> = found(&disk).map(|disk| disk.paths().len()).collect();
    assert_eq!(names, BTreeSet::from([1, 2]));
    disk.remove(Path::new("/db/file")).unwrap();
    disk.sync_directory(Path::new("/db"), SITE).unwrap();
    assert!(found(&disk).all(|disk| disk.read("/db/link") == [1; SECTOR_BYTES]));
}

#[test]
fn a_lost_directory_takes_its_files_with_it() {
    let disk = SimulatedDisk::new(1);
    disk.create_directory(Path::new("/db")).unwrap();
    disk.create(Path::new("/db/file"))
        .unwrap()
        .sync_data(SITE)
        .unwrap();
    disk.sync_directory(Path::new("/db"), SITE).unwrap();
    let lost = disk.power_loss(Survival::Nothing);
    assert!(lost.paths().is_empty());
    assert_eq!(
        lost.list(Path::new("/db")).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    disk.sync_directory(Path::new("/"), SITE).unwrap();
    assert_eq!(
        disk.power_loss(Survival::Nothing).paths(),
        [Path::new("db/file")]
    );
}

#[test]
fn a_rename_between_directories_needs_a_sync_of_the_new_one() {
    let (disk, _file) = disk_with_file(1, 1);
    disk.create_directory(Path::new("/new")).unwrap();
    disk.sync_directory(Path::new("/"), SITE).unwrap();
    disk.rename(Path::new("/db/file"), Path::new("/new/file"))
        .unwrap();
    disk.sync_directory(Path::new("/db"), SITE).unwrap();
    assert_eq!(
        disk.power_loss(Survival::Nothing).paths(),
        [Path::new("db/file")]
    );
    disk.sync_directory(Path::new("/new"), SITE).unwrap();
    assert_eq!(
        disk.power_loss(Survival::Nothing).paths(),
        [Path::new("new/file")]
    );
}

#[test]
fn a_directory_sync_takes_along_what_its_changes_build_on() {
    let (disk, _file) = disk_with_file(1, 1);
    disk.create_directory(Path::new("/new")).unwrap();
    disk.sync_directory(Path::new("/"), SITE).unwrap();
    let moved_on = disk.fork();
    for disk in [&disk, &moved_on] {
        disk.rename(Path::new("/db/file"), Path::new("/new/file"))
            .unwrap();
    }

    disk.create(Path::new("/db/file")).unwrap();
    disk.sync_directory(Path::new("/db"), SITE).unwrap();
    let found = disk.power_loss(Survival::Nothing);
    assert_eq!(
        found.read("/new/file"),
        [1; SECTOR_BYTES],
        "its old name was taken"
    );

    moved_on
        .rename(Path::new("/new/file"), Path::new("/db/third"))
        .unwrap();
    moved_on.sync_directory(Path::new("/db"), SITE).unwrap();
    let found = moved_on.power_loss(Survival::Everything);
    assert_eq!(
        found.paths(),
        [Path::new("db/third")],
        "it does not go back"
    );
}

#[test]
fn space_that_was_not_synced_can_be_lost() {
    let (disk, file) = disk_with_file(1, 1);
    file.set_length(3 * PAGE_BYTES as u64).unwrap();
    file.sync_data(SITE).unwrap();
    file.write_at(&[0; 2 * PAGE_BYTES], PAGE_BYTES as u64)
        .unwrap();
    let used = |disk: SimulatedDisk| {
        let free = disk.free_bytes(Path::new("/")).unwrap();
        (CAPACITY_BYTES_DEFAULT - free) / PAGE_BYTES as u64
    };
    assert_eq!(
        found(&disk).map(used).collect::<BTreeSet<_>>(),
        BTreeSet::from([1, 2, 3])
    );
    file.sync_data(SITE).unwrap();
    assert_eq!(used(disk.power_loss(Survival::Nothing)), 3);
}

#[test]
fn a_failed_sync_is_not_repaired_by_the_next_one() {
    let mut states = BTreeSet::new();
    for seed in 0..SEEDS {
        let (disk, file) = disk_with_file(2, 1);
        disk.reseed(seed);
        file.write_at(&[2; 2 * SECTOR_BYTES], 0).unwrap();
        disk.fail_sync(disk.counts().syncs + 1);
        assert!(is_input_output_error(&file.sync_data(SITE).unwrap_err()));
        file.sync_data(SITE).unwrap();
        let cached = disk.read("/db/file");
        assert_eq!(
            cached,
            [2; 2 * SECTOR_BYTES],
            "the page cache shows the new bytes"
        );
        let found = disk.power_loss(Survival::Everything).read("/db/file");
        states.insert((found[0], found[SECTOR_BYTES]));
        file.write_at(&[2; 1], 0).unwrap();
        file.sync_data(SITE).unwrap();
        let again = disk.power_loss(Survival::Nothing).read("/db/file");
        assert_eq!(again[0], 2, "written again");
        assert_eq!(
            again[SECTOR_BYTES], found[SECTOR_BYTES],
            "its neighbour was not"
        );
    }
    assert_eq!(states, BTreeSet::from([(1, 1), (1, 2), (2, 1), (2, 2)]));
}

#[test]
fn a_failed_directory_sync_is_not_repaired_by_the_next_one() {
    let mut names = BTreeSet::new();
    for seed in 0..SEEDS {
        let (disk, _file) = disk_with_file(1, 1);
        disk.reseed(seed);
        disk.rename(Path::new("/db/file"), Path::new("/db/renamed"))
            .unwrap();
        disk.fail_sync(disk.counts().syncs + 1);
        assert!(disk.sync_directory(Path::new("/db"), SITE).is_err());
        disk.sync_directory(Path::new("/db"), SITE).unwrap();
        assert_eq!(disk.paths(), [Path::new("db/renamed")]);
        names.insert(disk.power_loss(Survival::Everything).paths());
    }
    assert_eq!(names.len(), 2);
}

#[test]
fn a_write_after_a_failed_sync_is_kept_by_a_sync_with_the_length_it_needs() {
    for seed in 0..SEEDS {
        let (disk, file) = disk_with_file(1, 1);
        disk.reseed(seed);
        file.write_at(&[2; 4 * SECTOR_BYTES], 0).unwrap();
        disk.fail_sync(disk.counts().syncs + 1);
        file.sync_data(SITE).unwrap_err();
        file.write_at(&[3; SECTOR_BYTES], 3 * SECTOR_BYTES as u64)
            .unwrap();
        file.sync_data(SITE).unwrap();
        let found = disk.power_loss(Survival::Nothing).read("/db/file");
        assert_eq!(found[3 * SECTOR_BYTES..], [3; SECTOR_BYTES]);
    }
}

#[test]
fn a_failed_write_has_done_some_prefix() {
    let mut done = BTreeSet::new();
    for seed in 0..SEEDS {
        let (disk, file) = disk_with_file(1, 1);
        disk.reseed(seed);
        disk.fail_write(disk.counts().writes + 1);
        assert!(is_input_output_error(
            &file.write_at(&[2; 4], 0).unwrap_err()
        ));
        let bytes = disk.read("/db/file");
        let prefix = bytes.iter().take_while(|byte| **byte == 2).count();
        assert_eq!(bytes[prefix..], vec![1; SECTOR_BYTES - prefix]);
        done.insert(prefix);
        file.write_at(&[2; 4], 0).unwrap();
    }
    assert_eq!(done, BTreeSet::from([0, 1, 2, 3]));
}

#[test]
fn a_failed_read_is_an_error_once() {
    let (disk, file) = disk_with_file(1, 1);
    disk.fail_read(disk.counts().reads + 2);
    let mut buffer = [0; 8];
    file.read_exact_at(&mut buffer, 0).unwrap();
    assert!(is_input_output_error(
        &file.read_exact_at(&mut buffer, 0).unwrap_err()
    ));
    file.read_exact_at(&mut buffer, 0).unwrap();
}

#[test]
fn an_ignored_sync_site_loses_data_and_the_others_do_not() {
    let (disk, file) = disk_with_file(1, 1);
    disk.ignore_sync(SyncSite("ignored"));
    file.write_at(&[2; SECTOR_BYTES], 0).unwrap();
    file.sync_data(SyncSite("ignored")).unwrap();
    assert_eq!(
        disk.power_loss(Survival::Nothing).read("/db/file"),
        [1; SECTOR_BYTES]
    );
    file.sync_data(SITE).unwrap();
    assert_eq!(
        disk.power_loss(Survival::Nothing).read("/db/file"),
        [2; SECTOR_BYTES]
    );
    assert_eq!(disk.sync_sites()[&SyncSite("ignored")], 1);
    assert_eq!(disk.sync_sites()[&SITE], disk.counts().syncs - 1);
}

#[test]
fn a_lying_sync_loses_data() {
    let (disk, file) = disk_with_file(1, 1);
    disk.lie(true);
    file.write_at(&[2; SECTOR_BYTES], 0).unwrap();
    file.sync_data(SITE).unwrap();
    disk.create(Path::new("/db/new")).unwrap();
    disk.sync_directory(Path::new("/db"), SITE).unwrap();
    let lost = disk.power_loss(Survival::Nothing);
    assert_eq!(lost.read("/db/file"), [1; SECTOR_BYTES]);
    assert_eq!(lost.paths().len(), 1);
}

#[test]
fn a_full_disk_refuses_what_needs_space_and_takes_it_again_after_an_unlink() {
    let (disk, file) = disk_with_file(8, 1);
    disk.set_capacity(3 * PAGE_BYTES as u64);
    assert_eq!(
        disk.free_bytes(Path::new("/db")).unwrap(),
        2 * PAGE_BYTES as u64
    );
    let other = disk.create(Path::new("/db/other")).unwrap();
    other.write_at(&[0; 2 * PAGE_BYTES], 0).unwrap();
    assert_eq!(
        disk.free_bytes(Path::new("/")).unwrap(),
        0,
        "zeros take space"
    );

    let full =
        |result: io::Result<()>| assert_eq!(result.unwrap_err().kind(), ErrorKind::StorageFull);
    full(file.write_at(&[2; 2], PAGE_BYTES as u64 - 1));
    assert_eq!(
        disk.read("/db/file")[PAGE_BYTES - 1..],
        [2],
        "what fitted was written"
    );
    full(disk.create(Path::new("/db/third")).map(drop));
    full(disk.create_directory(Path::new("/more")));
    file.write_at(&[3; PAGE_BYTES], 0).unwrap();
    file.set_length(10 * PAGE_BYTES as u64).unwrap();

    disk.remove(Path::new("/db/other")).unwrap();
    assert_eq!(disk.free_bytes(Path::new("/")).unwrap(), 0, "still open");
    drop(other);
    file.write_at(&[2; PAGE_BYTES], PAGE_BYTES as u64).unwrap();
    assert_eq!(disk.free_bytes(Path::new("/")).unwrap(), PAGE_BYTES as u64);
}

#[test]
fn allocated_room_is_taken_at_once_and_a_crash_loses_it_like_a_write() {
    let (disk, file) = disk_with_file(8, 1);
    disk.set_capacity(4 * PAGE_BYTES as u64);
    let allocated = 3 * PAGE_BYTES as u64;
    file.allocate(allocated).unwrap();
    assert_eq!(disk.counts().allocations, 1);
    assert_eq!(disk.free_bytes(Path::new("/")).unwrap(), PAGE_BYTES as u64);
    let lengths: BTreeSet<u64> = (0..50)
        .map(|seed| disk.power_loss(Survival::Random(seed)).length("/db/file"))
        .collect();
    assert!(
        lengths.contains(&(PAGE_BYTES as u64)) && lengths.contains(&allocated),
        "{lengths:?}"
    );
    let full = file.allocate(5 * PAGE_BYTES as u64).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
}

#[test]
fn a_sparse_file_of_5_tib_costs_nothing() {
    const TEBIBYTE: u64 = 1 << 40;
    let disk = SimulatedDisk::new(1);
    let file = disk.create(Path::new("/large")).unwrap();
    file.set_length(5 * TEBIBYTE).unwrap();
    file.write_at(b"end", 5 * TEBIBYTE - 3).unwrap();
    file.sync_data(SITE).unwrap();
    disk.sync_directory(Path::new("/"), SITE).unwrap();
    let found = disk.power_loss(Survival::Nothing);
    assert_eq!(found.length("/large"), 5 * TEBIBYTE);
    let mut end = [0; 4];
    let file = found.open(Path::new("/large")).unwrap();
    file.read_exact_at(&mut end, 5 * TEBIBYTE - 4).unwrap();
    assert_eq!(&end, b"\0end");
    assert_eq!(
        found.free_bytes(Path::new("/")).unwrap(),
        CAPACITY_BYTES_DEFAULT - PAGE_BYTES as u64
    );
    file.set_length(0).unwrap();
    assert_eq!(
        found.free_bytes(Path::new("/")).unwrap(),
        CAPACITY_BYTES_DEFAULT
    );
}

#[test]
fn every_call_from_the_crash_on_fails_and_the_crashing_one_may_be_done() {
    let mut prefixes = BTreeSet::new();
    for seed in 0..SEEDS {
        let (disk, file) = disk_with_file(1, 1);
        disk.reseed(seed);
        disk.crash_at(disk.calls() + 2);
        file.length().unwrap();
        assert!(!disk.has_crashed());
        assert!(is_crash(&file.write_at(&[2; 4], 0).unwrap_err()));
        assert!(disk.has_crashed());
        assert!(is_crash(&file.sync_data(SITE).unwrap_err()));
        assert!(is_crash(&disk.open(Path::new("/db/file")).unwrap_err()));
        assert!(is_crash(&disk.lock(Path::new("/db/lock")).unwrap_err()));
        let bytes = disk.process_death().read("/db/file");
        prefixes.insert(bytes.iter().take_while(|byte| **byte == 2).count());
        disk.process_death().open(Path::new("/db/file")).unwrap();
    }
    assert_eq!(prefixes, BTreeSet::from([0, 1, 2, 3, 4]));
}

#[test]
fn a_crashing_create_is_done_or_not() {
    let made = |seed| {
        let disk = SimulatedDisk::new(seed);
        disk.crash_at(1);
        assert!(is_crash(&disk.create(Path::new("/new")).unwrap_err()));
        disk.process_death().paths().len()
    };
    assert_eq!(
        (0..SEEDS).map(made).collect::<BTreeSet<_>>(),
        BTreeSet::from([0, 1])
    );
}

#[test]
fn a_seed_decides_everything() {
    let run = |seed| {
        let (disk, file) = disk_with_file(16, 1);
        disk.reseed(seed);
        disk.fail_sync(disk.counts().syncs + 1);
        file.write_at(&[2; 12 * SECTOR_BYTES], 0).unwrap();
        file.sync_data(SITE).unwrap_err();
        file.write_at(&[3; 12 * SECTOR_BYTES], 3000).unwrap();
        disk.rename(Path::new("/db/file"), Path::new("/db/renamed"))
            .unwrap();
        let found = disk.power_loss(Survival::Random(seed));
        let path = found.paths().remove(0);
        (found.read(&path), path)
    };
    let results: BTreeSet<_> = (0..SEEDS).map(run).collect();
    assert!(results.len() > 100);
    assert!((0..SEEDS).all(|seed| run(seed) == run(seed)));
}

#[test]
fn a_direct_edit_is_durable_and_seen_at_once() {
    let (disk, file) = disk_with_file(2, 1);
    disk.flip_bit("/db/file", 3, 7);
    disk.overwrite("/db/file", &[9; 2], 10);
    disk.copy_block("/db/file", 8..16, "/db/file", 100);
    disk.truncate("/db/file", 200);
    disk.write("/db/other", b"text");
    let mut expected = vec![1; 200];
    expected[3] = 0x81;
    expected[10..12].fill(9);
    expected[102..104].fill(9);
    let mut seen = vec![0; 200];
    file.read_exact_at(&mut seen, 0).unwrap();
    assert_eq!(seen, expected);
    let found = disk.power_loss(Survival::Nothing);
    assert_eq!(found.read("/db/file"), expected);
    assert_eq!(found.read("/db/other"), b"text");
    disk.erase("/db/other");
    assert_eq!(
        disk.power_loss(Survival::Nothing).paths(),
        [Path::new("db/file")]
    );
}

#[test]
fn a_found_disk_has_no_locks() {
    let disk = SimulatedDisk::new(1);
    let _lock = disk.lock(Path::new("/lock")).unwrap();
    assert_eq!(
        disk.lock(Path::new("/lock")).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    disk.process_death().lock(Path::new("/lock")).unwrap();
    disk.power_loss(Survival::Everything)
        .lock(Path::new("/lock"))
        .unwrap();
}

#[test]
#[should_panic(expected = "changed through another handle")]
fn published_bytes_changed_through_another_handle_are_a_bug() {
    let (disk, file) = disk_with_file(2, 1);
    let map = file.map(0..1024).unwrap();
    map.publish(600);
    let other = disk.open(Path::new("/db/file")).unwrap();
    other.write_at(&[2; 8], 600).unwrap();
    let _ = other.write_at(&[2; 8], 599);
}

#[test]
fn a_thousand_writes_and_ten_thousand_power_losses_are_quick() {
    let (disk, file) = disk_with_file(128, 1);
    for write in 0..1000_u64 {
        file.write_at(&[2; 100], write * 60).unwrap();
    }
    for seed in 0..10_000 {
        let fork = disk.fork();
        drop(fork.power_loss(Survival::Random(seed)));
    }
}

fn with_disk(test: Test) {
    let disk = SimulatedDisk::new(1);
    test(&disk, directory_of(&disk));
}

conformance_tests!(with_disk);
