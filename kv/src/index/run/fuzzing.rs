//! Run files as a fuzz target. Whatever the bytes, opening and every question ends in an answer or a
//! fault; the ways to ask agree with one another; and what passes the check answers everything. A run
//! written from an input answers with what it was written from.

use std::collections::BTreeMap;

use cairn_log::vfs::MemoryDisk;

use super::block::CONTENT_BYTES;
use super::*;
use crate::fuzzing::{Choices, Target};

pub(crate) const TARGET: Target = Target {
    name: "kv_run",
    check,
    seeds,
};

const DIRECTORY: &str = "/runs";
/// More than a run of a few records has, so that every section can be reached.
const BLOCKS_MAX: usize = 24;
/// Of a made-up file, so many by-hash blocks are asked for what they begin with.
const FENCES_MAX: usize = 4;
const RECORDS_MAX: usize = 64;

/// The first byte says what the others are: a file, one whose sums are made right, or records.
fn check(bytes: &[u8]) {
    let Some((mode, bytes)) = bytes.split_first() else {
        return;
    };
    match mode % 3 {
        FILE => ask(&unpack(bytes).concat()),
        SUMMED => ask(&summed(unpack(bytes)).concat()),
        _ => answers_what_was_written(Choices(bytes)),
    }
}

const FILE: u8 = 0;
const SUMMED: u8 = 1;
const RECORDS: u8 = 2;

fn identity() -> RunIdentity {
    RunIdentity {
        log: LogId(*b"0123456789abcdef"),
        partition: 3,
        segment: 7,
        base: 1 << 20,
        end: 2 << 20,
    }
}

fn disk() -> MemoryDisk {
    let disk = MemoryDisk::default();
    disk.create_directory(Path::new(DIRECTORY))
        .expect("a disk in memory");
    disk
}

/// Opens a file of these bytes and asks it everything.
fn ask(bytes: &[u8]) {
    let disk = disk();
    let path = Path::new(DIRECTORY).join(file_name(identity().segment));
    let file = disk.create(&path).expect("a disk in memory");
    file.write_at(bytes, 0).expect("a disk in memory");
    let Ok(run) = Run::open(&disk, Path::new(DIRECTORY), &identity()) else {
        return;
    };
    let is_sound = run.check().is_ok();

    let one_by_one: Result<Vec<Place>, RunFault> = (0..run.len())
        .map(|index| run.in_key_order(index))
        .collect();
    let mut at_once = Vec::new();
    let range = run.in_key_order_range(0..run.len(), &mut at_once);
    assert_eq!(one_by_one.is_ok(), range.is_ok());
    assert!(one_by_one.is_ok() || !is_sound);
    if let Ok(places) = &one_by_one {
        assert_eq!(*places, at_once);
        for place in places {
            holds(place);
        }
    }
    let in_buckets: u64 = run.head().buckets.iter().map(|bucket| bucket.entries).sum();
    assert_eq!(in_buckets, run.len());

    for &fence in run.fences.iter().take(FENCES_MAX) {
        for low in [0, 1, u64::from(u32::MAX)] {
            let hash = u64::from(fence) << 32 | low;
            let Ok((places, ended)) = find(&run, hash) else {
                assert!(!is_sound, "what was checked answers");
                continue;
            };
            assert!(ended.is_continue());
            assert!(places.is_empty() || run.may_hold(hash));
            for place in &places {
                holds(place);
            }
            if is_sound {
                assert!(
                    places.is_sorted_by_key(|place| place.rank()),
                    "newest first"
                );
            }
        }
    }
}

/// The promise of a place: it lies in the segment, and its batch does not come after it.
fn holds(place: &Place) {
    let segment = identity().base..identity().end;
    assert!(segment.contains(&place.record));
    let version = place.version.unwrap_or(place.record);
    assert!(segment.contains(&version) && version <= place.record);
}

fn find(run: &Run, hash: u64) -> Result<(Vec<Place>, ControlFlow<()>), RunFault> {
    let mut places = Vec::new();
    let ended = run.find(hash, |place| {
        places.push(place);
        ControlFlow::Continue(())
    })?;
    Ok((places, ended))
}

/// Takes the input for the records of a segment.
fn answers_what_was_written(mut choices: Choices<'_>) {
    let (head, entries) = model(&mut choices);
    let disk = disk();
    Run::write(&disk, Path::new(DIRECTORY), &head, entries.iter().copied())
        .expect("a disk in memory");
    let run = Run::open(&disk, Path::new(DIRECTORY), &head.identity).expect("just written");
    run.check().expect("just written");
    assert_eq!(*run.head(), head);
    let mut places = Vec::new();
    run.in_key_order_range(0..run.len(), &mut places)
        .expect("just written");
    let expected: Vec<Place> = entries.iter().map(|entry| entry.place).collect();
    assert_eq!(places, expected);
    let mut by_top: BTreeMap<u32, usize> = BTreeMap::new();
    for entry in &entries {
        *by_top.entry(top(entry.hash)).or_default() += 1;
    }
    for entry in &entries {
        assert!(run.may_hold(entry.hash));
        let (found, _) = find(&run, entry.hash).expect("just written");
        assert!(found.contains(&entry.place));
        assert_eq!(found.len(), by_top[&top(entry.hash)]);
        assert!(found.is_sorted_by_key(|place| place.rank()), "newest first");
    }
}

/// Few tops, so that some collide; versions below their records.
fn model(choices: &mut Choices<'_>) -> (RunHead, Vec<RunEntry>) {
    let identity = identity();
    let mut head = RunHead {
        identity,
        last_version: choices.u64(),
        newest_time_ms: choices.u64(),
        buckets: Vec::new(),
        controls: Vec::new(),
    };
    let mut entries = Vec::new();
    let mut record = identity.base + 24;
    while !choices.is_empty() && entries.len() < RECORDS_MAX {
        let (kind, hash) = (choices.byte(), choices.u16());
        record += 8 + u64::from(choices.byte());
        if kind & 0x0f == 1 {
            head.controls.push(record);
            continue;
        }
        let opens_bucket = kind & 0x10 != 0 || head.buckets.is_empty();
        if opens_bucket {
            let bucket = 1 + u32::try_from(head.buckets.len()).unwrap_or(u32::MAX);
            head.buckets.push(RunBucket {
                bucket,
                entries: 0,
                keys_delta: i64::from(kind) - 128,
                bytes_delta: -i64::from(hash),
                written: record,
                first: entries.len() as u64,
            });
        }
        if let Some(bucket) = head.buckets.last_mut() {
            bucket.entries += 1;
        }
        entries.push(RunEntry {
            hash: u64::from(hash & 0xff00) << 40 | u64::from(hash & 0xff),
            place: Place {
                record,
                version: (kind & 0x20 == 0).then(|| record - u64::from(kind & 7).min(24)),
                is_tombstone: kind & 0x40 != 0,
                is_superseded: kind & 0x30 == 0x30,
            },
        });
    }
    (head, entries)
}

/// Blocks are mostly zeros, and an input of kilobytes is slow to search: a length of two bytes and
/// so many bytes are a block.
fn unpack(bytes: &[u8]) -> Vec<[u8; BLOCK_BYTES]> {
    let mut choices = Choices(bytes);
    let mut blocks = Vec::new();
    while !choices.is_empty() && blocks.len() < BLOCKS_MAX {
        let length = usize::from(choices.u16()) % (BLOCK_BYTES + 1);
        let content = choices.take(length);
        let mut block = [0; BLOCK_BYTES];
        block[..content.len()].copy_from_slice(content);
        blocks.push(block);
    }
    blocks
}

fn pack(file: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    for block in file.chunks(BLOCK_BYTES) {
        let content = &block[..CONTENT_BYTES];
        let used = content.iter().rposition(|&byte| byte != 0);
        let used = used.map_or(0, |last| last + 1);
        packed.extend_from_slice(&u16::try_from(used).unwrap_or(u16::MAX).to_le_bytes());
        packed.extend_from_slice(&content[..used]);
    }
    packed
}

fn summed(mut blocks: Vec<[u8; BLOCK_BYTES]>) -> Vec<[u8; BLOCK_BYTES]> {
    let seed = Seed::new(&identity());
    for (number, block) in (0..).zip(&mut blocks) {
        let sum = seed.sum(number, &block[..CONTENT_BYTES]);
        block[CONTENT_BYTES..].copy_from_slice(&sum.to_le_bytes());
    }
    blocks
}

fn seeds() -> Vec<Vec<u8>> {
    // What `model` makes of these is written, and the files of it are seeds as well.
    let rows = |count: u8| -> Vec<u8> {
        let row = |n: u8| [n.wrapping_mul(37), n, n.wrapping_mul(91), 40];
        let heads = [0; 16].into_iter();
        heads.chain((0..count).flat_map(row)).collect()
    };
    let of = |mode: u8, bytes: &[u8]| [&[mode], bytes].concat();
    let mut seeds = Vec::new();
    for count in [0, 1, 3, 30, 64] {
        let input = rows(count);
        let (head, entries) = model(&mut Choices(&input));
        let disk = disk();
        let written = Run::write(&disk, Path::new(DIRECTORY), &head, entries.iter().copied());
        written.expect("a disk in memory");
        let path = Path::new(DIRECTORY).join(file_name(head.identity.segment));
        let file = disk.open(&path).expect("just written");
        let mut bytes = vec![0; in_memory(file.length().expect("just written"))];
        file.read_exact_at(&mut bytes, 0).expect("just written");
        seeds.push(of(SUMMED, &pack(&bytes)));
        seeds.push(of(RECORDS, &input));
    }
    seeds
}
