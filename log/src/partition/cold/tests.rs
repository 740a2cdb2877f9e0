use super::*;

#[test]
fn reads_ask_until_as_many_as_were_granted_have_not_waited() {
    let coldness = Coldness::default();
    for _ in 0..GRANTED {
        assert!(coldness.is_cold() && coldness.spend());
        coldness.took(WAITED - Duration::from_nanos(1));
    }
    assert!(!coldness.is_cold() && !coldness.spend());

    coldness.took(WAITED);
    for _ in 0..GRANTED - 1 {
        assert!(coldness.spend());
    }
    coldness.took(WAITED);
    for _ in 0..GRANTED {
        assert!(coldness.spend());
    }
    assert!(!coldness.spend());
}

#[test]
fn about_one_place_in_so_many_is_sampled() {
    const RECORDS: u64 = 100_000;
    for record_bytes in [8, 136, 144, 4_096, 4_144, 65_600] {
        let places = (1..=RECORDS).map(|record| Offset::new(record * record_bytes));
        let sampled = places.filter(|&place| is_sampled(place)).count() as u64;
        let expected = RECORDS / u64::from(SAMPLE);
        assert!(
            (expected / 2..=expected * 2).contains(&sampled),
            "{sampled} of {RECORDS} of {record_bytes} bytes"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn cold_records_are_asked_for_whole_before_they_are_read() {
    use std::sync::Arc;

    use crate::Durability;
    use crate::frame::BatchBuffer;
    use crate::log::Log;
    use crate::testing::faults::{evict, major_faults};
    use crate::testing::{append, options};
    use crate::vfs::RealDisk;

    let directory = tempfile::tempdir().unwrap();
    let open = || Log::open(Arc::new(RealDisk), directory.path(), options(false)).unwrap();
    let log = open();
    let mut records: Vec<Offset> = Vec::new();
    for number in 0..60 {
        let appended = append(&log, &[number; 4_096], Durability::Local).unwrap();
        records.push(appended.offset.plus(BatchBuffer::FIRST_PLACE));
        appended.commit.wait().unwrap();
    }
    log.close().unwrap();
    drop(log);

    // Far from one another, and few enough that what is granted at the open suffices.
    let asked: Vec<Offset> = (0..30).map(|at| records[at * 37 % 60]).collect();
    let faults_of = |asks: bool, together: bool| {
        let log = open();
        let partition = &log.partitions()[0];
        evict(directory.path());
        let read = |offset| partition.with_record(offset, <[u8]>::len).unwrap();
        assert_eq!(read(asked[0]), 4_096, "now the length is known");
        if !asks {
            partition.coldness.granted.store(0, Ordering::Relaxed);
        }
        let before = major_faults();
        if together {
            partition.with_records(&asked[1..], |_, payload| {
                assert_eq!(payload.unwrap().len(), 4_096)
            });
        } else {
            assert!(asked[1..].iter().all(|&offset| read(offset) == 4_096));
        }
        major_faults() - before
    };
    let unasked = faults_of(false, false);
    if unasked == 0 {
        // The directory is on a file system that is all memory.
        return;
    }
    assert_eq!(faults_of(true, false), 0);
    assert_eq!(faults_of(true, true), 0);
}
