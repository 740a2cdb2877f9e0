use super::*;
use crate::vfs::conformance::{Test, conformance_tests};

fn with_disk(test: Test) {
    let directory = tempfile::tempdir().unwrap();
    test(&RealDisk, directory.path());
}

conformance_tests!(with_disk);

#[cfg(target_os = "linux")]
#[test]
fn allocated_room_is_the_files_own() {
    use std::os::unix::fs::MetadataExt;
    const BYTES: u64 = 1 << 20;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    RealDisk.create(&path).unwrap().allocate(BYTES).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(metadata.len(), BYTES);
    assert!(
        metadata.blocks() * 512 >= BYTES,
        "{} blocks",
        metadata.blocks()
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_map_brings_in_what_is_read_and_what_was_asked_for() {
    use crate::testing::faults::{evict, major_faults};
    const PAGES: u64 = 64;
    const PAGE_BYTES: u64 = 4096;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let bytes = vec![7; usize::try_from(PAGES * PAGE_BYTES).unwrap()];
    RealDisk.create(&path).unwrap().write_at(&bytes, 0).unwrap();
    let faults_of = |wish: Option<std::ops::Range<u64>>| {
        let map = RealDisk
            .open(&path)
            .unwrap()
            .map(0..PAGES * PAGE_BYTES)
            .unwrap();
        map.publish(u64::MAX);
        map.expect_random_reads();
        evict(directory.path());
        if let Some(wish) = wish {
            map.will_need(wish);
        }
        let before = major_faults();
        for page in 0..PAGES {
            let place = page * PAGE_BYTES;
            assert_eq!(map.bytes(place..place + 1).unwrap()[0], 7);
        }
        major_faults() - before
    };
    let alone = faults_of(None);
    if alone == 0 {
        // The directory is on a file system that is all memory.
        return;
    }
    assert!(
        alone > PAGES / 2,
        "{alone}: neighbours were brought in, or pages not forgotten"
    );
    assert_eq!(faults_of(Some(0..PAGES * PAGE_BYTES)), 0);
    // From the middle of a page to the middle of another one.
    assert_eq!(faults_of(Some(6_000..10_000)), alone - 2);
}
