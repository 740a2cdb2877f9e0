//! Files of checked pages as a fuzz target. A file is edited below its sums: what still reads is
//! what was written. Then it is edited with the sums made right, as only a hostile disk would: it
//! opens or does not, and pages that are written to it come back.

use std::path::Path;

use cairn_log::vfs::{MemoryDisk, Vfs};
use redb::StorageBackend;

use super::layout::GROUP_SECTORS;
use super::*;
use crate::fuzzing::{Choices, Target};

pub(crate) const TARGET: Target = Target {
    name: "kv_checked_file",
    check,
    seeds,
};

const IDENTITY: &[u8] = b"log and partition";
const PAGES: u8 = 4;
const PAGE: u64 = PAGE_BYTES as u64;

fn check(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let file = edited(&mut choices.clone(), false);
    reads_right_or_fails(&file);
    let file = edited(&mut choices, true);
    takes_pages(&file);
    let arbitrary = new_file();
    arbitrary.write_at(bytes, 0).expect("a disk in memory");
    takes_pages(&arbitrary);
}

fn new_file() -> Arc<dyn File> {
    let disk = MemoryDisk::default();
    disk.create(Path::new("/index")).expect("a disk in memory")
}

fn page(number: u8) -> Vec<u8> {
    vec![number; PAGE_BYTES]
}

/// A file of a few pages, page n filled with n, page 3 never written.
fn whole() -> Arc<dyn File> {
    let file = new_file();
    let checked = CheckedFile::create(Arc::clone(&file), "index".to_owned(), IDENTITY);
    let written = checked.and_then(|checked| {
        checked.set_len(u64::from(PAGES) * PAGE)?;
        checked.write(0, b"header")?;
        for number in 1..PAGES - 1 {
            checked.write(u64::from(number) * PAGE, &page(number))?;
        }
        checked.sync_data()
    });
    written.expect("a disk in memory");
    file
}

/// That file with bytes changed where the input says: an offset of two bytes, a length, and the
/// bytes. With `sealed`, each sector or page that was touched gets the sum that it should have.
fn edited(choices: &mut Choices<'_>, sealed: bool) -> Arc<dyn File> {
    let file = whole();
    let length = file.length().expect("a disk in memory");
    while !choices.is_empty() {
        let offset = u64::from(choices.u16()) % length;
        let count = usize::from(choices.byte());
        let bytes = choices.take(count.min(to_usize(length - offset).unwrap_or(0)));
        file.write_at(bytes, offset).expect("a disk in memory");
        if sealed {
            seal_sector(&*file, offset);
        }
    }
    file
}

/// Makes the sum of a sector right that has one, whose start is touched.
fn seal_sector(file: &dyn File, offset: u64) {
    let place = offset - offset % SECTOR_BYTES as u64;
    let is_sum = (PAGE..place_of(0)).contains(&place);
    if place != 0 && !HEADER_PLACES.contains(&place) && !is_sum {
        return;
    }
    let mut sector = [0; SECTOR_BYTES];
    file.read_exact_at(&mut sector, place)
        .expect("a disk in memory");
    if place == 0 {
        let crc = crc32fast::hash(&sector[..CRC_AT]);
        sector[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    } else {
        Seal(xxh3_64(IDENTITY)).seal(place, &mut sector);
    }
    file.write_at(&sector, place).expect("a disk in memory");
}

fn reads_right_or_fails(file: &Arc<dyn File>) {
    let Ok((checked, identity)) = CheckedFile::open(Arc::clone(file), "index".to_owned()) else {
        return;
    };
    assert_eq!(identity, IDENTITY);
    assert_eq!(checked.length(), u64::from(PAGES) * PAGE);
    let mut header = [0; 6];
    if checked.read(0, &mut header).is_ok() {
        // Without a sum of its own a slot of zeros is one that was never written.
        assert!(header == *b"header" || header == [0; 6]);
    }
    for number in 1..PAGES {
        let mut bytes = page(0xee);
        if checked.read(u64::from(number) * PAGE, &mut bytes).is_ok() {
            let expected = if number == PAGES - 1 { 0 } else { number };
            assert!(bytes == page(expected), "page {number}");
        }
    }
}

/// Reads all there is, and then writes and reads.
fn takes_pages(file: &Arc<dyn File>) {
    let Ok((checked, identity)) = CheckedFile::open(Arc::clone(file), "index".to_owned()) else {
        return;
    };
    assert!(identity.len() <= IDENTITY_BYTES_MAX);
    let pages = checked.length() / PAGE;
    for number in 0..pages.min(64) {
        let length = if number == 0 {
            HEADER_BYTES_MAX
        } else {
            PAGE_BYTES
        };
        let _ = checked.read(number * PAGE, &mut vec![0; length]);
    }
    let written = checked.set_len(3 * PAGE).and_then(|()| {
        checked.write(0, b"another")?;
        checked.write(2 * PAGE, &page(9))?;
        checked.sync_data()
    });
    if written.is_err() {
        return;
    }
    let (again, _) = CheckedFile::open(Arc::clone(file), "index".to_owned())
        .expect("what was open and was written to opens");
    for checked in [checked, again] {
        let mut header = [0; 7];
        checked.read(0, &mut header).expect("just written");
        assert_eq!(&header, b"another");
        let mut bytes = page(0);
        checked.read(2 * PAGE, &mut bytes).expect("just written");
        assert!(bytes == page(9), "what was written is read");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let edit = |offset: u64, bytes: &[u8]| {
        let offset = u16::try_from(offset).unwrap_or(u16::MAX).to_le_bytes();
        let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        [&offset[..], &[length], bytes].concat()
    };
    let second_copy = PAGE + SECTOR_BYTES as u64 * GROUP_SECTORS as u64;
    let mut image = vec![0; PAGE_BYTES];
    whole().read_exact_at(&mut image, 0).expect("just written");
    vec![
        vec![],
        edit(place_of(1), b"x"),
        edit(place_of(3) + 100, b"x"),
        edit(PAGE + 8, &[1, 0, 0, 0]),
        edit(second_copy + 504, &[9, 0, 0, 0]),
        edit(place_of(0) + 496, &[9, 0, 0, 0, 0, 0, 0, 0]),
        edit(12, &[0, 1, 0, 0]),
        [edit(place_of(0) + 9, b"y"), edit(2048 + 9, b"z")].concat(),
        // A file with no page.
        image,
    ]
}
