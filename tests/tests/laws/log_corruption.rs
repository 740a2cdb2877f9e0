//! Law 3 for the log: a damaged byte is told or harmless, and is never returned as data.

use std::ops::ControlFlow;

use cairn_log::Durability::{Buffered, Local};
use cairn_log::vfs::simulated::SimulatedDisk;
use cairn_log::{Error, Offset};
use cairn_tests::log_history::{History, Step, open};

type Contents = Vec<(Offset, Vec<Vec<u8>>)>;

/// A cleanly closed log of a sealed segment, a dropped one, a cut one with its copy, one sealed on
/// request, and an open one.
fn closed_log() -> SimulatedDisk {
    let big = Step::Append(vec![(Local, 3, 2_000), (Local, 2, 30)]);
    let disk = SimulatedDisk::new(5);
    let mut history = History::default();
    let steps = vec![big; 7];
    history.run(&disk, &steps).expect("no fault was set");
    let disk = disk.process_death();
    let tail = Step::Append(vec![(Local, 1, 100), (Buffered, 2, 200)]);
    history
        .run(
            &disk,
            &[tail.clone(), Step::Seal, tail, Step::Drop(1), Step::Reopen],
        )
        .expect("it reopens");
    let open_log = history.open_and_check(&disk).expect("it reopens");
    open_log.log.close().expect("it closes");
    let report = open_log.log.partitions()[0].status();
    assert!(
        report.segments >= 4 && report.dropped_end > report.start,
        "{report:?}"
    );
    assert!(disk.paths().iter().any(|path| path.ends_with("retired")));
    disk
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

#[test]
fn law_3_a_zeroed_swapped_or_stale_sector_is_told_or_harmless() {
    let whole = closed_log();
    let expected = contents(&whole.fork()).expect("nothing is damaged");
    for path in whole.paths() {
        for at in (0..whole.length(&path)).step_by(512) {
            let disk = whole.fork();
            let room = (whole.length(&path) - at).min(512);
            disk.overwrite(&path, &vec![0; usize::try_from(room).expect("small")], at);
            assert_told_or_harmless(&disk, &expected, &format!("{} zeroed {at}", path.display()));
            if at >= 512 {
                let disk = whole.fork();
                let before = &whole.read(&path)[usize::try_from(at - 512).expect("small")..][..512];
                disk.overwrite(&path, &before[..usize::try_from(room).expect("small")], at);
                let what = format!("{} repeats {at}", path.display());
                assert_told_or_harmless(&disk, &expected, &what);
            }
        }
    }
}
