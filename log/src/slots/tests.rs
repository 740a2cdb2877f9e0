use super::*;
use crate::vfs::MemoryDisk;

const MAGIC: [u8; 8] = *b"TESTSLOT";

/// What a file with these generations in slots A and B opens to.
fn opened(generations: [u64; 2]) -> Result<(Slots, Found)> {
    let (disk, path) = (MemoryDisk::default(), Path::new("/slots"));
    let file = disk.create(path).unwrap();
    for (generation, position) in generations.into_iter().zip(SLOT_POSITIONS) {
        let content = generation.to_le_bytes();
        file.write_at(&encode(MAGIC, generation, &content), position)
            .unwrap();
    }
    Slots::open(&disk, path, MAGIC)
}

#[test]
fn a_slot_whose_generation_belongs_into_the_other_does_not_count() {
    let (_, found) = opened([4, 5]).unwrap();
    assert_eq!(found.content, 5_u64.to_le_bytes());
    // A write that went astray: the next one would go over the only slot that is left.
    let (_, found) = opened([7, 5]).unwrap();
    assert_eq!(
        (found.content, found.older),
        (5_u64.to_le_bytes().to_vec(), None)
    );
    assert!(opened([5, 4]).is_err());
}

#[test]
fn the_last_generation_is_neither_read_nor_written() {
    let (mut slots, found) = opened([u64::MAX - 1, u64::MAX]).unwrap();
    assert_eq!(found.content, (u64::MAX - 1).to_le_bytes());
    // What would be written now, no open would read.
    slots.write(b"the last", SyncSite("test")).unwrap_err();
}

#[test]
fn bytes_after_the_content_are_damage() {
    let mut slot = encode(MAGIC, 4, b"content");
    slot[HEADER_BYTES + 7] = 1;
    let sum = crc32(&slot[..SECTOR_BYTES - 4]);
    slot[SECTOR_BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
    assert!(matches!(decode(&slot, MAGIC, 0), Decoded::Damaged));
}
