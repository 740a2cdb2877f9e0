use std::path::Path;

use cairn_log::vfs::simulated::{SimulatedDisk, Survival};
use cairn_log::vfs::{MemoryDisk, Vfs};
use redb::StorageBackend;

use super::layout::{GROUP_PAGES, SECTOR_SUMS, group_place};
use super::*;
use crate::testing::{Random, seeds};

const PATH: &str = "index";
const IDENTITY: &[u8] = b"log and partition";
const PAGE: u64 = PAGE_BYTES as u64;

fn create(disk: &dyn Vfs) -> CheckedFile {
    let file = disk.create(Path::new(PATH)).unwrap();
    CheckedFile::create(file, PATH.to_owned(), IDENTITY).unwrap()
}

fn open(disk: &dyn Vfs) -> CheckedFile {
    let file = disk.open(Path::new(PATH)).unwrap();
    let (file, identity) = CheckedFile::open(file, PATH.to_owned()).unwrap();
    assert_eq!(identity, IDENTITY);
    file
}

fn page(fill: u8) -> Vec<u8> {
    vec![fill; PAGE_BYTES]
}

fn read(file: &CheckedFile, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0xee; length];
    file.read(offset, &mut bytes)?;
    Ok(bytes)
}

/// A synced file of so many pages, page n filled with n.
fn filled(disk: &dyn Vfs, pages: u8) -> CheckedFile {
    let file = create(disk);
    file.set_len(u64::from(pages) * PAGE).unwrap();
    file.write(0, b"header").unwrap();
    for number in 1..pages {
        file.write(u64::from(number) * PAGE, &page(number)).unwrap();
    }
    file.sync_data().unwrap();
    disk.sync_directory(Path::new(""), SYNC).unwrap();
    file
}

#[test]
fn it_is_a_file_of_the_bytes_that_were_written() {
    for seed in 1..=20 {
        let mut random = Random(seed * 7919);
        let disk = MemoryDisk::default();
        let mut file = create(&disk);
        let mut model: Vec<u8> = Vec::new();
        // Some files end in a third group.
        let pages_max = if seed % 4 == 0 {
            2 * GROUP_PAGES + 40
        } else {
            40
        };
        for _ in 0..120 {
            let pages = model.len() / PAGE_BYTES;
            match random.below(12) {
                0 | 1 => {
                    let pages = random.below(pages_max + 1);
                    file.set_len(pages as u64 * PAGE).unwrap();
                    model.resize(pages * PAGE_BYTES, 0);
                }
                2 if pages > 0 => {
                    let header: Vec<u8> = (0..HEADER_BYTES_MAX)
                        .map(|_| u8::try_from(random.below(256)).unwrap())
                        .collect();
                    file.write(0, &header).unwrap();
                    model[..HEADER_BYTES_MAX].copy_from_slice(&header);
                }
                3 => file.sync_data().unwrap(),
                4 => {
                    file.sync_data().unwrap();
                    file = open(&disk);
                    assert_eq!(file.length(), model.len() as u64);
                }
                5..=7 if pages > 1 => {
                    let first = 1 + random.below(pages - 1);
                    let most = 1 << random.below(5);
                    let count = 1 + random.below((pages - first).min(most));
                    let fill = u8::try_from(random.below(256)).unwrap();
                    let range = first * PAGE_BYTES..(first + count) * PAGE_BYTES;
                    model[range.clone()].fill(fill);
                    file.write(range.start as u64, &model[range]).unwrap();
                }
                _ if pages > 1 => {
                    let start = PAGE_BYTES + random.below(model.len() - PAGE_BYTES);
                    let length = random.below((model.len() - start).min(20_000) + 1);
                    let found = read(&file, start as u64, length).unwrap();
                    assert!(found == model[start..start + length], "seed {seed}");
                    let found = read(&file, 0, HEADER_BYTES_MAX).unwrap();
                    assert!(found == model[..HEADER_BYTES_MAX], "seed {seed}");
                }
                _ => {}
            }
        }
        if model.len() > PAGE_BYTES {
            let found = read(&file, PAGE, model.len() - PAGE_BYTES).unwrap();
            assert!(found == model[PAGE_BYTES..], "seed {seed}");
        }
        assert_eq!((file.damage(), file.failure()), (None, None));
    }
}

#[test]
fn what_is_not_of_whole_pages_is_refused() {
    let disk = MemoryDisk::default();
    let file = filled(&disk, 4);
    let refused = |result: io::Result<()>| {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    };
    refused(file.write(PAGE, &[1; 100]));
    refused(file.write(PAGE + 1, &page(1)));
    refused(file.write(0, &[1; HEADER_BYTES_MAX + 1]));
    refused(file.write(0, &page(1)));
    refused(file.write(4 * PAGE, &page(1)));
    refused(file.set_len(PAGE + 1));
    let past = read(&file, 3 * PAGE + 1, PAGE_BYTES).unwrap_err();
    assert_eq!(past.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_flipped_bit_is_noticed_or_makes_no_difference() {
    let disk = SimulatedDisk::new(1);
    const PAGES: u8 = 4;
    drop(filled(&disk, PAGES + 1));
    // The last page was never written.
    let file = open(&disk);
    file.set_len(u64::from(PAGES + 2) * PAGE).unwrap();
    file.sync_data().unwrap();
    drop(file);
    let length = disk.length(PATH);
    let every = std::env::var_os("CAIRN_EVERY_BIT").is_some();
    let mut random = Random(1);
    let (mut noticed, mut tried) = (0, 0);
    let mut offset = 0;
    while offset < length {
        let bits = if every {
            0..8
        } else {
            let bit = u32::try_from(random.below(8)).unwrap();
            bit..bit + 1
        };
        for bit in bits {
            tried += 1;
            disk.flip_bit(PATH, offset, bit);
            noticed += u32::from(!reads_right_or_fails(&disk, PAGES));
            disk.flip_bit(PATH, offset, bit);
        }
        offset += if every {
            1
        } else {
            1 + random.below(16) as u64
        };
    }
    assert!(reads_right_or_fails(&disk, PAGES));
    // Six pages of eight are in use, and each of their sums stands alone beside its older copy.
    assert!(
        noticed > tried / 2 && noticed < tried,
        "{noticed} of {tried}"
    );
}

/// Whether all is read as it was written; panics if something else is read.
fn reads_right_or_fails(disk: &SimulatedDisk, pages: u8) -> bool {
    let file = disk.open(Path::new(PATH)).unwrap();
    let Ok((file, identity)) = CheckedFile::open(file, PATH.to_owned()) else {
        return false;
    };
    assert_eq!(identity, IDENTITY);
    let mut all = true;
    for number in 1..=pages + 1 {
        let expected = if number > pages { 0 } else { number };
        match read(&file, u64::from(number) * PAGE, PAGE_BYTES) {
            Ok(found) => assert!(found == page(expected), "page {number}"),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::InvalidData);
                assert!(file.damage().is_some());
                all = false;
            }
        }
    }
    match read(&file, 0, 6) {
        Ok(found) => assert_eq!(found, b"header"),
        Err(_) => all = false,
    }
    all
}

#[test]
fn an_error_names_the_file_and_the_offset() {
    let disk = SimulatedDisk::new(1);
    drop(filled(&disk, 4));
    // Page 2 stands behind the header, two pages of sums and two pages.
    let place = 5 * PAGE;
    disk.flip_bit(PATH, place + 100, 3);
    let file = open(&disk);
    assert!(read(&file, PAGE, PAGE_BYTES).is_ok());
    assert_eq!(file.damage(), None);
    let error = read(&file, 2 * PAGE, PAGE_BYTES).unwrap_err();
    assert_eq!(error.to_string(), "index: damaged page at offset 20480");
    assert_eq!(file.damage(), Some("index: damaged page at offset 20480"));
    assert_eq!(file.failure(), None);
}

#[test]
fn a_page_in_another_place_or_of_another_time_is_noticed() {
    let disk = SimulatedDisk::new(1);
    let file = filled(&disk, 4);
    let place = |number: u64| (3 + number) * PAGE;
    let stale = disk.fork();
    file.write(PAGE, &page(9)).unwrap();
    file.sync_data().unwrap();
    drop(file);

    let moved = disk.fork();
    moved.copy_block(PATH, place(2)..place(3), PATH, place(3));
    assert!(read(&open(&moved), 3 * PAGE, PAGE_BYTES).is_err());
    assert!(read(&open(&moved), 2 * PAGE, PAGE_BYTES).is_ok());

    let old = stale.read(PATH);
    let at = usize::try_from(place(1)).unwrap();
    disk.overwrite(PATH, &old[at..at + PAGE_BYTES], place(1));
    assert!(read(&open(&disk), PAGE, PAGE_BYTES).is_err());
}

/// Whole stretches that change places take their sums with them.
#[test]
fn pages_that_moved_with_their_sums_are_noticed() {
    let disk = SimulatedDisk::new(1);
    let file = create(&disk);
    let group = GROUP_PAGES as u64;
    file.set_len(2 * group * PAGE).unwrap();
    for number in 1..2 * group {
        file.write(number * PAGE, &page(u8::try_from(number % 251).unwrap()))
            .unwrap();
    }
    file.sync_data().unwrap();
    drop(file);
    let stretch = group_place(0)..group_place(1);
    disk.copy_block(PATH, stretch, PATH, group_place(1));
    let file = open(&disk);
    for number in [1, 500, group - 1] {
        assert!(read(&file, number * PAGE, PAGE_BYTES).is_ok());
        assert!(read(&file, (group + number) * PAGE, PAGE_BYTES).is_err());
    }
}

#[test]
fn a_file_of_another_identity_shares_no_page_with_it() {
    let disk = SimulatedDisk::new(1);
    drop(filled(&disk, 4));
    let other = disk.create(Path::new("other")).unwrap();
    let other = CheckedFile::create(other, "other".to_owned(), b"another").unwrap();
    other.set_len(4 * PAGE).unwrap();
    for number in 1..4 {
        other.write(number * PAGE, &page(7)).unwrap();
    }
    other.sync_data().unwrap();
    // Sums and pages alike.
    disk.copy_block("other", PAGE..7 * PAGE, PATH, PAGE);
    let file = open(&disk);
    for number in 1..4 {
        assert!(read(&file, number * PAGE, PAGE_BYTES).is_err());
    }
}

#[test]
fn pages_cut_off_are_zeros_when_they_come_back() {
    let disk = MemoryDisk::default();
    let mut file = filled(&disk, 8);
    for reopened in [false, true] {
        file.set_len(3 * PAGE).unwrap();
        if reopened {
            file.sync_data().unwrap();
            file = open(&disk);
        }
        file.set_len(8 * PAGE).unwrap();
        assert_eq!(read(&file, 2 * PAGE, PAGE_BYTES).unwrap(), page(2));
        for number in 3..8 {
            assert_eq!(read(&file, number * PAGE, PAGE_BYTES).unwrap(), page(0));
            file.write(number * PAGE, &page(9)).unwrap();
        }
        file.sync_data().unwrap();
    }
}

#[test]
fn a_length_that_no_set_length_made_is_damage() {
    let disk = SimulatedDisk::new(1);
    drop(filled(&disk, 4));
    let whole = disk.length(PATH);
    for cut in [1, 511, 4095, 4097, whole - PAGE, whole - PAGE - 1] {
        let disk = disk.fork();
        disk.truncate(PATH, whole - cut);
        let file = disk.open(Path::new(PATH)).unwrap();
        let opened = CheckedFile::open(file, PATH.to_owned());
        // A file without pages is whole.
        match whole - cut {
            PAGE => assert_eq!(opened.unwrap().0.length(), 0),
            _ => assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::InvalidData),
        }
    }
}

/// What redb rests on: a page that was synced and not written since is found after any crash,
/// however the pages beside it fare.
#[test]
fn the_last_sequence_is_neither_read_nor_written() {
    for (last, sums) in [(true, false), (true, true), (false, false), (false, true)] {
        let at = if sums { 504 } else { HEADER_BYTES_MAX as u64 };
        let disk = MemoryDisk::default();
        let name = filled(&disk, 3).name().to_owned();
        let file = disk.open(Path::new(&name)).unwrap();
        let places = match sums {
            false => HEADER_PLACES,
            true => [PAGE, PAGE + PAGE],
        };
        for place in places {
            let mut sector = [0; SECTOR_BYTES];
            let mut sequence = [0xff; 8];
            sequence[0] -= u8::from(!last);
            file.write_at(&sequence[..if sums { 4 } else { 8 }], place + at)
                .unwrap();
            file.read_exact_at(&mut sector, place).unwrap();
            Seal(xxh3_64(IDENTITY)).seal(place, &mut sector);
            file.write_at(&sector, place).unwrap();
        }
        let offset = if sums { PAGE } else { 0 };
        let file = open(&disk);
        let error = match (last, sums) {
            (true, _) => read(&file, offset, 16).unwrap_err(),
            (false, true) => {
                file.write(PAGE, &page(9)).unwrap();
                file.sync_data().unwrap_err()
            }
            (false, false) => file.write(0, b"next").unwrap_err(),
        };
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    }
}

#[test]
fn synced_pages_survive_whatever_becomes_of_later_writes() {
    for seed in seeds(60) {
        let mut random = Random(seed * 31 + 1);
        let disk = SimulatedDisk::new(seed);
        const PAGES: usize = 2 * SECTOR_SUMS;
        let pages = PAGES as u64;
        let file = create(&disk);
        file.set_len(pages * PAGE).unwrap();
        for number in 1..pages {
            file.write(number * PAGE, &page(1)).unwrap();
        }
        file.write(0, &[1; 320]).unwrap();
        file.sync_data().unwrap();
        disk.sync_directory(Path::new(""), SYNC).unwrap();
        // Odd pages are written again, even ones are in force.
        let writes = disk.counts().writes;
        match random.below(3) {
            0 => disk.crash_at(disk.calls() + 1 + random.below(12) as u64),
            1 => disk.fail_write(writes + 1 + random.below(12) as u64),
            _ => {}
        }
        let mut last_header = 1;
        for round in 2..5 {
            for _ in 0..3 {
                let number = 1 + 2 * random.below(PAGES / 2 - 1) as u64;
                let _ = file.write(number * PAGE, &page(round));
            }
            if file.write(0, &[round; 320]).is_err() || file.sync_data().is_err() {
                break;
            }
            last_header = round;
        }
        drop(file);
        let found = match random.below(3) {
            0 => disk.process_death(),
            1 => disk.power_loss(Survival::Nothing),
            _ => disk.power_loss(Survival::Random(seed)),
        };
        let file = open(&found);
        for number in (2..pages).step_by(2) {
            let bytes = read(&file, number * PAGE, PAGE_BYTES);
            assert_eq!(bytes.unwrap(), page(1), "seed {seed}, page {number}");
        }
        let header = read(&file, 0, 320).unwrap();
        assert_eq!(header, [header[0]; 320], "seed {seed}: a torn header");
        assert!(
            (last_header..=last_header + 1).contains(&header[0]),
            "seed {seed}: header {} after {last_header}",
            header[0]
        );
    }
}
