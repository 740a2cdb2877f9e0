//! Files that rot.

use super::*;

#[test]
fn a_flipped_bit_is_a_fault_or_makes_no_difference() {
    let disk = SimulatedDisk::new(1);
    let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
    let mut random = Random(3);
    let merged = open(&vfs).unwrap();
    let (changes, model) = Model::default().next(&mut random, 60);
    merge(&merged, &changes, &model).unwrap();
    drop(merged);
    let length = disk.read(PATH).len();
    // Most of the file is zeros and free.
    let used = used_bytes(&disk);
    let flips: Vec<(u64, u32)> = match std::env::var_os("CAIRN_EVERY_BIT") {
        Some(_) => used
            .iter()
            .flat_map(|byte| {
                let block = byte / 512 * 512;
                (block..block + 512).flat_map(|byte| (0..8).map(move |bit| (byte, bit)))
            })
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect(),
        None => (0..1_500)
            .map(|at| match at % 3 {
                0 => random.below(length) as u64,
                _ => used[random.below(used.len())],
            })
            .map(|byte| (byte, (byte % 8) as u32))
            .collect(),
    };
    let mut faults = 0;
    for (offset, bit) in flips {
        let damaged = disk.fork();
        damaged.flip_bit(PATH, offset, bit);
        faults += u32::from(is_fault_or(&damaged, &model, offset, bit));
    }
    assert!(faults > 100, "{faults} faults");
    assert!(!is_fault_or(&disk, &model, 0, 0));
}

/// Whether an index reads as a fault; panics if as anything else than the model.
fn is_fault_or(disk: &SimulatedDisk, model: &Model, offset: u64, bit: u32) -> bool {
    let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
    match open(&vfs).and_then(|merged| read(&merged.view())) {
        Ok(found) => {
            assert!(found == *model, "bit {bit} at {offset}: a wrong answer");
            false
        }
        Err(Fault::Damaged(message)) => {
            assert!(message.contains(PATH), "bit {bit} at {offset}: {message}");
            true
        }
        Err(fault) => panic!("bit {bit} at {offset}: {fault:?}"),
    }
}

fn used_bytes(disk: &SimulatedDisk) -> Vec<u64> {
    let bytes = disk.read(PATH);
    (0..)
        .zip(bytes)
        .filter(|(_, byte)| *byte != 0)
        .map(|(at, _)| at)
        .collect()
}

#[test]
fn a_file_cut_anywhere_is_a_fault() {
    let mut random = Random(3);
    let (disk, _, merged, model) = grown_on_disk(1, &mut random);
    drop(merged);
    let length = disk.read(PATH).len();
    for at in 0..200 {
        let damaged = disk.fork();
        let length = match at % 2 {
            0 => random.below(length) as u64,
            _ => random.below(length / 4096) as u64 * 4096,
        };
        damaged.truncate(PATH, length);
        assert!(is_fault_or(&damaged, &model, length, 0), "cut to {length}");
    }
}

/// Pages that changed places, went back in time or came to be zeros.
#[test]
fn misplaced_and_stale_blocks_are_a_fault_or_make_no_difference() {
    let mut random = Random(3);
    let (disk, vfs, merged, model) = grown_on_disk(1, &mut random);
    drop(merged);
    let old = disk.read(PATH);
    let merged = open(&vfs).unwrap();
    let (changes, model) = model.next(&mut random, 300);
    merge(&merged, &changes, &model).unwrap();
    drop(merged);
    let pages = disk.read(PATH).len().min(old.len()) / 4096;
    let mut faults = 0;
    for at in 0..600 {
        let damaged = disk.fork();
        let place = random.below(pages) * 4096;
        match at % 3 {
            0 => {
                let from = random.below(pages) as u64 * 4096;
                damaged.copy_block(PATH, from..from + 4096, PATH, place as u64);
            }
            1 => damaged.overwrite(PATH, &old[place..place + 4096], place as u64),
            _ => damaged.overwrite(PATH, &[0; 4096], place as u64),
        }
        faults += u32::from(is_fault_or(&damaged, &model, place as u64, 0));
    }
    assert!(faults > 50, "{faults} faults");
}

#[test]
fn once_damage_is_met_nothing_more_is_read_or_merged() {
    let mut random = Random(3);
    let (disk, vfs, merged, model) = grown_on_disk(1, &mut random);
    drop(merged);
    let merged = open(&vfs).unwrap();
    let view = merged.view();
    // Every page but those of the header and the sums.
    let length = disk.length(PATH);
    for place in (4 * 4096..length).step_by(4096) {
        disk.flip_bit(PATH, place + 40, 1);
    }
    assert!(matches!(read(&view), Err(Fault::Damaged(_))));
    let reads = disk.counts().reads;
    for ((bucket, key), entry) in &model.entries {
        match view.get(BucketId(*bucket), key) {
            Ok(found) => assert_eq!(found, Some(*entry), "of a page read before"),
            Err(fault) => assert!(matches!(fault, Fault::Damaged(_)), "{fault:?}"),
        }
    }
    let (changes, after) = model.next(&mut random, 10);
    for _ in 0..2 {
        let merged = merge(&merged, &changes, &after);
        assert!(matches!(merged, Err(Fault::Damaged(_))), "{merged:?}");
    }
    assert_eq!(disk.counts().reads, reads);
}
