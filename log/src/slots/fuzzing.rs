//! Two-slot files, with a superblock in them, as a fuzz target: whatever stands in the slots, the
//! file opens to the newer valid one or to an error, a write after that opens to what was written,
//! and a superblock that decodes is the one that the encoder makes.

use super::*;
use crate::fuzzing::{Choices, Target};
use crate::identity::{Incarnation, LogId, Offset, PartitionId, SegmentNumber};
use crate::superblock::{Cut, MAGIC, Superblock};
use crate::vfs::MemoryDisk;

pub(crate) const TARGET: Target = Target {
    name: "log_superblock",
    check,
    seeds,
};

const SITE: SyncSite = SyncSite("fuzzing");

/// The input is two slots; also its start is taken for the content of one.
fn check(bytes: &[u8]) {
    encodes_back(bytes);
    let mut choices = Choices(bytes);
    let slots: [[u8; SECTOR_BYTES]; 2] = [choices.bytes(), choices.bytes()];
    opens_to_the_newer(&slots);
    opens_to_the_newer(&slots.map(summed));
}

fn encodes_back(content: &[u8]) {
    if let Some(block) = Superblock::decode(content) {
        assert_eq!(block.encode(), content);
        // No later arithmetic on these leaves its type.
        assert!(block.incarnation.0 < u32::MAX);
        let ends = block.cut.map_or(0, |cut| cut.end.get());
        for offset in [block.marked.get(), block.resume.get(), ends] {
            assert!(offset < 1 << 62);
        }
    }
}

fn opens_to_the_newer(sectors: &[[u8; SECTOR_BYTES]; 2]) {
    let (disk, path) = (MemoryDisk::default(), Path::new("/slots"));
    let file = disk.create(path).expect("a disk in memory");
    for (sector, position) in sectors.iter().zip(SLOT_POSITIONS) {
        file.write_at(sector, position).expect("a disk in memory");
    }
    let Ok((mut slots, found)) = Slots::open(&disk, path, MAGIC) else {
        return;
    };
    let valid: Vec<(u64, Vec<u8>)> = sectors
        .iter()
        .zip(SLOT_POSITIONS)
        .filter_map(|(sector, position)| match decode(sector, MAGIC, position) {
            Decoded::Valid {
                generation,
                content,
            } => {
                assert_eq!(encode(MAGIC, generation, &content), *sector);
                Some((generation, content))
            }
            _ => None,
        })
        .collect();
    let newest = valid.iter().max().map(|(_, content)| content);
    assert_eq!(newest, Some(&found.content));
    encodes_back(&found.content);

    let written = slots.write(b"next", SITE);
    let (_, after) = Slots::open(&disk, path, MAGIC).expect("one slot is whole in any case");
    if written.is_err() {
        // Only when no generation is left; then nothing changed.
        assert_eq!(after.content, found.content);
        return;
    }
    assert_eq!(after.content, b"next");
    assert_eq!(after.older, Some(found.content), "the newer one stayed");
}

/// A slot with a right sum.
fn summed(mut slot: [u8; SECTOR_BYTES]) -> [u8; SECTOR_BYTES] {
    let sum = crc32(&slot[..SECTOR_BYTES - 4]);
    slot[SECTOR_BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
    slot
}

fn seeds() -> Vec<Vec<u8>> {
    let block = Superblock {
        log: LogId(*b"0123456789abcdef"),
        partition: PartitionId(2),
        closed: false,
        incarnation: Incarnation(3),
        marked: Offset::new(1 << 40),
        time_ms: 1_795_507_200_000,
        cut: Some(Cut {
            segment: SegmentNumber(4),
            end: Offset::new(99),
            copy: Some(SegmentNumber(5)),
        }),
        resume: Offset::new(1 << 41),
    };
    let closed = Superblock {
        closed: true,
        cut: None,
        ..block
    };
    let slots = |older: &Superblock, newer: &Superblock| {
        [
            encode(MAGIC, 8, &newer.encode()),
            encode(MAGIC, 7, &older.encode()),
        ]
        .concat()
    };
    vec![
        slots(&block, &closed),
        slots(&closed, &block),
        block.encode(),
        closed.encode(),
    ]
}
