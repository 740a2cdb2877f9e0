//! Law 3 for the log: a damaged byte is told or harmless, and is never returned as data.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::PathBuf;

use cairn_log::Durability::{Buffered, Local};
use cairn_log::vfs::simulated::SimulatedDisk;
use cairn_log::{Error, Offset};
use cairn_tests::log_history::{History, Step, open};

type Contents = Vec<(Offset, Vec<Vec<u8>>)>;

/// A cleanly closed log of a sealed segment, a dropped one, a cut one with its copy, one sealed on
/// request, and an open one.
fn closed_log() -> SimulatedDisk {
    closed_log_and_its_past().0
}

/// Also the disk as it was after each step.
fn closed_log_and_its_past() -> (SimulatedDisk, Vec<SimulatedDisk>) {
    let mut past = Vec::new();
    let mut run = |history: &mut History, disk: &SimulatedDisk, steps: &[Step]| {
        let run = history.run_and_look(disk, steps, || past.push(disk.fork()));
        run.expect("no fault was set");
    };
    let big = Step::Append(vec![(Local, 3, 2_000), (Local, 2, 30)]);
    let disk = SimulatedDisk::new(5);
    let mut history = History::default();
    run(&mut history, &disk, &vec![big; 7]);
    let disk = disk.process_death();
    let tail = Step::Append(vec![(Local, 1, 100), (Buffered, 2, 200)]);
    let steps = [tail.clone(), Step::Seal, tail, Step::Drop(1), Step::Reopen];
    run(&mut history, &disk, &steps);
    let open_log = history.open_and_check(&disk).expect("it reopens");
    open_log.log.close().expect("it closes");
    let report = open_log.log.partitions()[0].status();
    assert!(
        report.segments >= 4 && report.dropped_end > report.start,
        "{report:?}"
    );
    assert!(disk.paths().iter().any(|path| path.ends_with("retired")));
    (disk, past)
}

fn contents(disk: &SimulatedDisk) -> cairn_log::Result<Contents> {
    let open_log = open(disk)?;
    let partition = &open_log.log.partitions()[0];
    let mut found = Vec::new();
    partition.replay(Offset::new(0), |batch| {
        let records = batch
            .records()
            .map(|(_, payload)| payload.to_vec())
            .collect();
        found.push((batch.offset, records));
        ControlFlow::Continue(())
    })?;
    // Point reads must say the same, or fail: they never return anything else.
    let places: Vec<Offset> = {
        let mut places = Vec::new();
        partition.replay(Offset::new(0), |batch| {
            places.extend(batch.records().map(|(place, _)| place));
            ControlFlow::Continue(())
        })?;
        places
    };
    let mut payloads = found.iter().flat_map(|(_, records)| records);
    for place in places {
        let expected = payloads.next().expect("as many records");
        assert_eq!(&partition.with_record(place, <[u8]>::to_vec)?, expected);
        assert_eq!(partition.record(place)?.as_ref(), expected);
    }
    Ok(found)
}

/// Opens a damaged log: it must say the same as before, or name the file that is damaged.
fn assert_told_or_harmless(disk: &SimulatedDisk, expected: &Contents, what: &str) -> bool {
    match contents(disk) {
        Ok(found) => {
            assert!(found == *expected, "{what}: other contents, and no error");
            false
        }
        Err(Error::Corrupt { path, .. } | Error::Format { path, .. }) => {
            assert!(
                path.starts_with("/log") || path.starts_with("log"),
                "{what}: {path:?}"
            );
            true
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

/// Bits to flip in each byte: all of them in the long run.
fn bits() -> Vec<u32> {
    if std::env::var_os("CAIRN_EVERY_BIT").is_some() {
        (0..8).collect()
    } else {
        vec![]
    }
}

#[test]
fn law_3_a_flipped_bit_is_told_or_harmless() {
    let whole = closed_log();
    let expected = contents(&whole.fork()).expect("nothing is damaged");
    let mut told = 0;
    let mut flips = 0;
    for path in whole.paths() {
        let bytes = whole.read(&path);
        let used = bytes
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| last + 2);
        for at in 0..used.min(bytes.len()) {
            // Long runs of payload are sampled; headers, footers, slots and frames are not.
            let sampled = at < 8_192 || at % 7 == 0;
            let some = [u32::try_from(at % 8).expect("a bit")];
            let every = bits();
            let bits = if every.is_empty() { &some[..] } else { &every };
            if !sampled && every.is_empty() {
                continue;
            }
            for &bit in bits {
                let disk = whole.fork();
                disk.flip_bit(&path, at as u64, bit);
                flips += 1;
                let what = format!("{}, byte {at}, bit {bit}", path.display());
                told += u64::from(assert_told_or_harmless(&disk, &expected, &what));
            }
        }
    }
    // The rest lies in the cut file above its cut, in unused room, and in the other slot.
    assert!(told * 3 > flips, "{told} of {flips} were told");
}

#[test]
fn law_3_a_truncated_or_missing_file_is_told_or_harmless() {
    let whole = closed_log();
    let expected = contents(&whole.fork()).expect("nothing is damaged");
    for path in whole.paths() {
        let length = whole.length(&path);
        let step = (length / 200).max(1);
        for cut in (0..length).step_by(usize::try_from(step).expect("small")) {
            let disk = whole.fork();
            disk.truncate(&path, cut);
            assert_told_or_harmless(
                &disk,
                &expected,
                &format!("{} cut at {cut}", path.display()),
            );
        }
        let disk = whole.fork();
        disk.erase(&path);
        let what = format!("{} erased", path.display());
        let is_told = assert_told_or_harmless(&disk, &expected, &what);
        assert!(is_told || path.ends_with("lock"), "{what}");
    }
}

/// A sector that holds something else than what was written to it last.
struct Misplaced {
    place: (PathBuf, u64),
    bytes: Vec<u8>,
}

impl Misplaced {
    fn new(sector: &Sector, bytes: &[u8]) -> Self {
        Self {
            place: (sector.path.clone(), sector.at),
            bytes: bytes[..bytes.len().min(sector.bytes.len())].to_vec(),
        }
    }
}

struct Sector {
    path: PathBuf,
    at: u64,
    bytes: Vec<u8>,
}

impl Sector {
    fn is_segment(&self) -> bool {
        self.path.extension().is_some_and(|end| end == "seg")
    }
}

fn sectors(disk: &SimulatedDisk) -> Vec<Sector> {
    let paths = disk.paths().into_iter();
    let sectors = paths.flat_map(|path| {
        let bytes = disk.read(&path);
        let sectors = bytes.chunks(512).zip((0..).step_by(512));
        let sectors = sectors.map(|(bytes, at)| Sector {
            path: path.clone(),
            at,
            bytes: bytes.to_vec(),
        });
        sectors.collect::<Vec<_>>()
    });
    sectors.collect()
}

/// Damages the disk in every one of these ways; how often that was told.
fn told_of(whole: &SimulatedDisk, what: &str, ways: &[Vec<Misplaced>]) -> usize {
    let expected = contents(&whole.fork()).expect("nothing is damaged");
    let told = ways.iter().filter(|sectors| {
        let disk = whole.fork();
        let mut places = Vec::new();
        for Misplaced { place, bytes } in *sectors {
            disk.overwrite(&place.0, bytes, place.1);
            places.push(place);
        }
        assert_told_or_harmless(&disk, &expected, &format!("{what} {places:?}"))
    });
    let told = told.count();
    println!("{what}: {told} of {} are told", ways.len());
    told
}

#[test]
fn law_3_a_zeroed_swapped_or_stale_sector_is_told_or_harmless() {
    let (whole, past) = closed_log_and_its_past();
    let sectors = sectors(&whole);
    let differs = |sector: &Sector, bytes: &[u8]| !bytes.starts_with(&sector.bytes);
    let (mut zeroed, mut repeated, mut swapped, mut stale) = (vec![], vec![], vec![], vec![]);
    for (nth, sector) in sectors.iter().enumerate() {
        if differs(sector, &[0; 512]) {
            zeroed.push(vec![Misplaced::new(sector, &[0; 512])]);
        }
        for other in &sectors[nth + 1..] {
            // With each of its file, and with the one at its place in every other segment. Not with
            // a slot of the superblock: that would take both what vouches for the last group and
            // the group, which then is a torn tail.
            let is_near = match other.path == sector.path {
                true => true,
                false => {
                    other.at == sector.at && [sector, other].iter().all(|one| one.is_segment())
                }
            };
            if !is_near || !differs(sector, &other.bytes) {
                continue;
            }
            if other.path == sector.path && other.at == sector.at + 512 {
                repeated.push(vec![Misplaced::new(other, &sector.bytes)]);
            }
            swapped.push(vec![
                Misplaced::new(sector, &other.bytes),
                Misplaced::new(other, &sector.bytes),
            ]);
        }
        let mut held = BTreeSet::new();
        for past in past
            .iter()
            .filter(|past| past.paths().contains(&sector.path))
        {
            let bytes = past.read(&sector.path);
            let at = usize::try_from(sector.at).expect("small");
            let bytes = bytes.get(at..at + sector.bytes.len()).unwrap_or_default();
            if bytes.len() == sector.bytes.len() && differs(sector, bytes) {
                held.insert(bytes.to_vec());
            }
        }
        stale.extend(held.iter().map(|bytes| vec![Misplaced::new(sector, bytes)]));
    }
    assert!(told_of(&whole, "zeroed", &zeroed) > 20);
    assert!(told_of(&whole, "repeated", &repeated) > 20);
    assert!(told_of(&whole, "swapped", &swapped) > 100);
    assert!(told_of(&whole, "stale", &stale) > 10);
}
