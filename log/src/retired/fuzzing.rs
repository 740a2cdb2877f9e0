//! The file of retired segments as a fuzz target: a file that verifies is the one that the encoder
//! makes of its holes, and the set answers as its holes say.

use super::*;
use crate::fuzzing::Target;
use crate::vfs::MemoryDisk;

pub(crate) const TARGET: Target = Target {
    name: "log_retired",
    check,
    seeds,
};

fn check(bytes: &[u8]) {
    let disk = MemoryDisk::default();
    let owner = owner(&disk);
    encodes_back(bytes, &owner);
    let body = &bytes[..bytes.len().saturating_sub(4)];
    encodes_back(&[body, &crc32(body).to_le_bytes()].concat(), &owner);
}

fn encodes_back(bytes: &[u8], owner: &Owner<'_>) {
    let Decoded::Valid(retired) = decode(bytes, owner) else {
        return;
    };
    assert_eq!(retired.encode(owner), bytes);
    for hole in &retired.ranges {
        assert!(retired.contains(hole.first) && retired.contains(hole.last));
        assert!(!retired.contains(hole.last.next()));
        assert_eq!(retired.hole_at(hole.first), Some(hole));
        assert!(hole.end <= retired.end());
    }
}

fn owner(vfs: &dyn Vfs) -> Owner<'_> {
    Owner {
        vfs,
        directory: Path::new("/p"),
        log: LogId(*b"0123456789abcdef"),
        partition: PartitionId(3),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let disk = MemoryDisk::default();
    let lists: [&[u64]; 4] = [&[], &[1], &[1, 2, 5], &[2, 4, 6, 7, 8, 10]];
    lists
        .iter()
        .map(|numbers| {
            let retired = numbers.iter().fold(Retired::default(), |retired, &number| {
                let start = Offset::new(1_000 * number);
                retired.with(SegmentNumber(number), start, start.plus(1_000))
            });
            retired.encode(&owner(&disk))
        })
        .collect()
}
