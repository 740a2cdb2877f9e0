use super::super::place::{RELOCATED, TOMBSTONE};
use super::*;

/// A run with something in every section; two blocks of each order.
fn sample() -> (SimulatedDisk, Model, PathBuf) {
    let disk = disk();
    let model = Model::random(&mut Random(20), 600, 90, colliding_tops);
    model.write(&disk).unwrap();
    (disk, model, directory().join(file_name(0x2a)))
}

/// Whether a run that verifies is found not to be one. Only the check looks at all of it.
fn is_seen(disk: &SimulatedDisk, model: &Model) -> bool {
    model.open(disk).and_then(|run| run.check()).is_err()
}

/// How many faults there are when the run is opened, checked and asked. Panics at an answer that
/// is wrong.
fn faults(disk: &SimulatedDisk, model: &Model) -> usize {
    match model.open(disk) {
        Ok(run) => run.check().is_err() as usize + model.compare(&run),
        Err(_) => 1,
    }
}

#[test]
fn no_flipped_bit_is_answered_from() {
    let (disk, model, path) = sample();
    assert_eq!(faults(&disk, &model), 0);
    let every = std::env::var_os("CAIRN_EVERY_BIT").is_some();
    let bits = disk.length(&path) * 8;
    for bit in (0..bits).step_by(if every { 1 } else { 211 }) {
        let mask = u32::try_from(bit % 8).unwrap();
        disk.flip_bit(&path, bit / 8, mask);
        match model.open(&disk) {
            Ok(run) => {
                assert!(run.check().is_err(), "bit {bit} is seen by nobody");
                // Asking all of it takes a while: of most bits every block is asked once.
                if every || bit % 5 == 0 {
                    assert!(model.compare(&run) > 0, "bit {bit} is answered from");
                }
            }
            Err(fault) => assert!(matches!(fault, RunFault::Damaged(_)), "{fault:?}"),
        }
        disk.flip_bit(&path, bit / 8, mask);
    }
    assert_eq!(faults(&disk, &model), 0);
}

#[test]
fn no_cut_file_is_answered_from() {
    let (disk, model, path) = sample();
    let length = disk.length(&path);
    let blocks = (0..length / 4096).map(|block| block * 4096);
    let around = blocks.flat_map(|at| [at, at + 1, at + 87, at + 4095]);
    for cut in around.chain((0..length).step_by(1009)) {
        let cut_disk = disk.fork();
        cut_disk.truncate(&path, cut);
        let fault = model.open(&cut_disk).unwrap_err();
        assert!(matches!(fault, RunFault::Damaged(_)), "{cut}: {fault:?}");
    }
    let mut longer = disk.read(&path);
    longer.extend_from_slice(&[0; 4096]);
    disk.write(&path, &longer);
    let fault = model.open(&disk).unwrap_err();
    assert!(matches!(fault, RunFault::Damaged(_)), "{fault:?}");
}

#[test]
fn a_block_that_was_moved_or_zeroed_or_is_another_runs_does_not_verify() {
    let (disk, model, path) = sample();
    let whole = disk.read(&path);
    let blocks = whole.len() / 4096;
    let mut other = model.clone();
    other.head.identity.end += 1;
    other.write(&disk).unwrap();
    let others = disk.read(&path);
    for to in 0..blocks {
        let put = |block: &[u8]| {
            disk.write(&path, &whole);
            disk.overwrite(&path, block, to as u64 * 4096);
            assert!(faults(&disk, &model) > 0, "block {to}");
        };
        put(&[0; 4096]);
        put(&[0xff; 4096]);
        put(&others[to * 4096..][..4096]);
        for from in (0..blocks).filter(|&from| from != to) {
            put(&whole[from * 4096..][..4096]);
        }
    }
    disk.write(&path, &whole);
    assert_eq!(faults(&disk, &model), 0);
}

#[test]
fn damage_under_an_open_run_is_seen_by_the_next_access() {
    let (disk, model, path) = sample();
    // Of what is read later, an open run holds nothing: a fork can't share its file.
    let memory = MemoryDisk::default();
    memory.create_directory(directory()).unwrap();
    let run = model.written(&memory);
    assert_eq!(model.compare(&run), 0);
    let file = memory.open(&path).unwrap();
    for section in [run.layout.by_hash, run.layout.by_key] {
        let at = section.byte_of(section.items - 1) + 4;
        let whole = disk.read(&path);
        let byte = usize::try_from(at).unwrap();
        file.write_at(&[whole[byte] ^ 1], at).unwrap();
        assert!(model.compare(&run) > 0);
        let Err(RunFault::Damaged(what)) = run.check() else {
            panic!("not seen");
        };
        let named = format!("{}: byte {}: ", path.display(), at / 4096 * 4096);
        assert!(what.starts_with(&named), "{what}");
        file.write_at(&whole[byte..=byte], at).unwrap();
        assert_eq!(model.compare(&run), 0);
    }
}

#[test]
fn a_run_of_something_else_is_no_damage() {
    let (disk, model, path) = sample();
    let own = identity();
    let others = [
        RunIdentity {
            log: LogId([9; 16]),
            ..own
        },
        RunIdentity {
            partition: 4,
            ..own
        },
        RunIdentity {
            base: BASE - 8,
            ..own
        },
        RunIdentity {
            end: own.end - 8,
            ..own
        },
    ];
    for other in others {
        let fault = Run::open(&disk, directory(), &other).unwrap_err();
        assert!(matches!(fault, RunFault::Other(_)), "{fault:?}");
    }
    let other = RunIdentity {
        segment: 0x2b,
        ..own
    };
    let missing = Run::open(&disk, directory(), &other).unwrap_err();
    assert!(matches!(missing, RunFault::Other(_)), "{missing:?}");
    disk.write(directory().join(file_name(0x2b)), &disk.read(&path));
    let renamed = Run::open(&disk, directory(), &other).unwrap_err();
    assert!(matches!(renamed, RunFault::Other(_)), "{renamed:?}");
    assert_eq!(faults(&disk, &model), 0);
}

/// Sums a block anew, as someone would who writes what this format does not allow.
fn forge(disk: &SimulatedDisk, path: &Path, at: u64, bytes: &[u8]) {
    disk.overwrite(path, bytes, at);
    let number = at / 4096;
    let start = usize::try_from(number).unwrap() * 4096;
    let sum = Seed::new(&identity()).sum(number, &disk.read(path)[start..start + 4092]);
    disk.overwrite(path, &sum.to_le_bytes(), number * 4096 + 4092);
}

#[test]
fn a_later_format_is_no_damage() {
    let (disk, model, path) = sample();
    forge(&disk, &path, 8, &2_u32.to_le_bytes());
    let fault = model.open(&disk).unwrap_err();
    assert!(matches!(fault, RunFault::Other(_)), "{fault:?}");
}

#[test]
fn counts_that_are_lies_are_damage_and_take_no_memory() {
    for at in (72..116).step_by(4) {
        for lie in [0, 1, 1 << 20, u32::MAX] {
            let (disk, model, path) = sample();
            let true_one = disk.read(&path)[at..at + 4] == lie.to_le_bytes();
            forge(&disk, &path, at as u64, &lie.to_le_bytes());
            match model.open(&disk) {
                Ok(_) => assert!(true_one, "{lie} at {at}"),
                Err(fault) => assert!(matches!(fault, RunFault::Damaged(_)), "{fault:?}"),
            }
        }
    }
}

#[test]
fn what_verifies_but_is_out_of_order_is_damage() {
    let (disk, model, path) = sample();
    let layout = model.open(&disk).unwrap().layout;
    let whole = disk.read(&path);
    let read = |at: u64, count: usize| &whole[usize::try_from(at).unwrap()..][..count];
    for (section, item) in [
        (layout.buckets, BUCKET_BYTES),
        (layout.controls, 4),
        (layout.fences, 4),
        (layout.by_hash, BY_HASH_BYTES),
    ] {
        disk.write(&path, &whole);
        let (first, second) = (section.byte_of(0), section.byte_of(1));
        forge(&disk, &path, first, read(second, item));
        forge(&disk, &path, second, read(first, item));
        assert!(is_seen(&disk, &model), "{section:?}");
    }
    disk.write(&path, &whole);
    let fence = read(layout.fences.byte_of(1), 1)[0];
    forge(&disk, &path, layout.fences.byte_of(1), &[fence ^ 1]);
    assert!(is_seen(&disk, &model), "a fence that is not its block's");
    disk.write(&path, &whole);
    let entries = read(layout.buckets.byte_of(1) + 8, 1)[0];
    forge(&disk, &path, layout.buckets.byte_of(1) + 8, &[entries ^ 1]);
    assert!(is_seen(&disk, &model), "buckets of other sizes");
    // Orders of two different sets of places.
    disk.write(&path, &whole);
    let run = model.open(&disk).unwrap();
    let swapped = run.in_key_order(0).unwrap();
    drop(run);
    let flags = if swapped.is_tombstone { 0 } else { TOMBSTONE };
    let relocated = if swapped.version.is_none() {
        RELOCATED
    } else {
        0
    };
    forge(
        &disk,
        &path,
        layout.by_key.byte_of(0) + 7,
        &[flags | relocated],
    );
    assert!(is_seen(&disk, &model));
}

#[test]
fn a_place_outside_the_segment_is_never_handed_out() {
    let (disk, model, path) = sample();
    let whole = disk.read(&path);
    let layout = model.open(&disk).unwrap().layout;
    let least = model.entries.iter().map(|entry| entry.hash).min().unwrap();
    // Offset past the end, batch before the segment, flags that mean nothing.
    for (at, byte) in [(3, 0xff), (6, 0xff), (7, 4), (7, 0x80)] {
        disk.write(&path, &whole);
        forge(&disk, &path, layout.by_hash.byte_of(0) + 4 + at, &[byte]);
        forge(&disk, &path, layout.by_key.byte_of(0) + at, &[byte]);
        let run = model.open(&disk).unwrap();
        damage(&find(&run, least).unwrap_err());
        damage(&run.in_key_order(0).unwrap_err());
        damage(&run.check().unwrap_err());
    }
    // The first offset that is outside.
    let end = 64_u32 << 20;
    for (offset, inside) in [(end - 1, true), (end, false)] {
        let [o0, o1, o2, o3] = offset.to_le_bytes();
        let place = Place::decode([o0, o1, o2, o3, 0, 0, 0, 0], &identity());
        assert_eq!(place.is_some(), inside);
    }
}

#[test]
fn random_bytes_are_damage() {
    let disk = disk();
    let model = Model::empty();
    let path = directory().join(file_name(0x2a));
    let mut random = Random(30);
    for length in [0, 1, 4095, 4096, 4097, 8192, 40_960] {
        for _ in 0..20 {
            let bytes: Vec<u8> = (0..length)
                .map(|_| random.next().to_le_bytes()[7])
                .collect();
            disk.write(&path, &bytes);
            let fault = model.open(&disk).unwrap_err();
            assert!(matches!(fault, RunFault::Damaged(_)), "{fault:?}");
        }
    }
}

#[test]
fn a_failing_disk_is_no_damage() {
    let (disk, model, _) = sample();
    for read in 1..=2 {
        let failing = disk.fork();
        failing.fail_read(read);
        let fault = model.open(&failing).unwrap_err();
        assert!(matches!(fault, RunFault::Io(_)), "{fault:?}");
    }
}

#[test]
fn a_place_whose_batch_would_begin_below_zero_is_none() {
    let identity = RunIdentity {
        base: 0,
        end: 1 << 20,
        ..identity()
    };
    let [o0, o1, o2, o3] = 100_u32.to_le_bytes();
    for flags in [0, TOMBSTONE, RELOCATED] {
        let bytes = [o0, o1, o2, o3, 101, 0, 0, flags];
        assert_eq!(Place::decode(bytes, &identity), None);
    }
}
