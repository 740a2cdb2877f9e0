use super::*;
use crate::vfs::MemoryDisk;

const LOG: LogId = LogId(*b"0123456789abcdef");

fn owner(vfs: &dyn Vfs) -> Owner<'_> {
    Owner {
        vfs,
        directory: Path::new("/p"),
        log: LOG,
        partition: PartitionId(3),
    }
}

fn disk() -> MemoryDisk {
    let disk = MemoryDisk::default();
    disk.create_directory(Path::new("/p")).unwrap();
    disk
}

/// Segment n spans 1000 n .. 1000 (n + 1).
fn dropping(numbers: &[u64]) -> Retired {
    numbers.iter().fold(Retired::default(), |retired, &number| {
        let start = Offset::new(1_000 * number);
        retired.with(SegmentNumber(number), start, start.plus(1_000))
    })
}

fn write(retired: &Retired, owner: &Owner<'_>) {
    retired.prepare(owner).unwrap();
    retired.publish(owner).unwrap();
}

#[test]
fn what_is_written_is_read() {
    let disk = disk();
    let owner = owner(&disk);
    for retired in [
        Retired::default(),
        dropping(&[1]),
        dropping(&[3, 1, 7, 2, 8]),
    ] {
        write(&retired, &owner);
        let found = Retired::read(&owner).unwrap();
        assert!(matches!(found, Found::Whole(found) if found == retired));
    }
    assert_eq!(disk.list(Path::new("/p")).unwrap(), [FILE_NAME]);
}

#[test]
fn no_file_is_an_empty_set() {
    let found = Retired::read(&owner(&disk())).unwrap();
    assert!(matches!(found, Found::Whole(found) if found == Retired::default()));
}

#[test]
fn neighbours_are_one_hole_in_whatever_order_they_are_dropped() {
    for order in [[4, 5, 6], [6, 5, 4], [4, 6, 5], [5, 6, 4]] {
        let hole = Hole {
            first: SegmentNumber(4),
            last: SegmentNumber(6),
            start: Offset::new(4_000),
            end: Offset::new(7_000),
        };
        assert_eq!(dropping(&order).ranges, [hole], "{order:?}");
    }
    let apart = dropping(&[1, 3]);
    assert_eq!(apart.ranges.len(), 2);
    let listed: Vec<bool> = (0..5)
        .map(|number| apart.contains(SegmentNumber(number)))
        .collect();
    assert_eq!(listed, [false, true, false, true, false]);
    assert_eq!(apart.end(), Offset::new(4_000));
}

#[test]
fn every_flipped_bit_and_every_other_length_is_detected() {
    let disk = disk();
    let owner = owner(&disk);
    let whole = dropping(&[1, 2, 5]).encode(&owner);
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(
            matches!(decode(&bytes, &owner), Decoded::Damaged),
            "bit {bit}"
        );
    }
    for length in 0..whole.len() {
        assert!(matches!(decode(&whole[..length], &owner), Decoded::Damaged));
    }
}

#[test]
fn the_file_of_another_log_or_partition_does_not_verify() {
    let disk = disk();
    let ours = owner(&disk);
    let bytes = dropping(&[1]).encode(&ours);
    for other in [
        Owner {
            log: LogId([1; 16]),
            ..ours
        },
        Owner {
            partition: PartitionId(4),
            ..ours
        },
    ] {
        assert!(matches!(decode(&bytes, &other), Decoded::Damaged));
    }
}

#[test]
fn what_a_failure_left_is_not_written_again() {
    let disk = disk();
    let owner = owner(&disk);
    let left = disk.create(&Path::new("/p").join(TEMPORARY_NAME)).unwrap();
    write(&dropping(&[1]), &owner);
    assert_eq!(left.length().unwrap(), 0);
}

#[test]
fn the_bytes_of_the_file_are_these() {
    let disk = disk();
    let hex: String = dropping(&[1, 2, 5])
        .encode(&owner(&disk))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, include_str!("retired.hex").trim());
}
