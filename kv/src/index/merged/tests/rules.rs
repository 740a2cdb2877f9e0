//! What a merge does and what a view shows.

use super::*;
use crate::index::merged::merge::changes::Outcome;

const B: BucketId = BucketId(2);

fn put(merge: &mut Merge<'_>, key: &[u8], entry: Entry) -> Outcome {
    let seed = HashSeed::new(IDENTITY.log);
    merge.put(B, key, seed.hash(B, key), entry).unwrap()
}

fn change(merged: &Merged, changes: impl FnOnce(&mut Merge<'_>)) -> Arc<View> {
    change_by(Way::InPlace, merged, changes)
}

fn change_by(way: Way, merged: &Merged, changes: impl FnOnce(&mut Merge<'_>)) -> Arc<View> {
    let covered = merged.view().covered() + 1;
    let view: Result<_, Fault> = merged.merge(way, Expected::default(), |merge| {
        changes(merge);
        let state = Vec::new();
        Ok(Summary { covered, state })
    });
    view.unwrap()
}

#[test]
fn a_new_index_is_empty() {
    let vfs = memory();
    let merged = open(&vfs).unwrap();
    assert_eq!(read(&merged.view()).unwrap(), Model::default());
    drop(merged);
    assert_eq!(read(&open(&vfs).unwrap().view()).unwrap(), Model::default());
}

#[test]
fn a_view_shows_what_was_merged_and_nothing_later() {
    for seed in 1..=6 {
        let mut random = Random(seed);
        let vfs = memory();
        let mut merged = open(&vfs).unwrap();
        let mut model = Model::default();
        let mut views = Vec::new();
        for round in 0..8 {
            let (changes, after) = model.next(&mut random, 200);
            let way = WAYS[random.below(2)];
            let view = merge_by(way, &merged, &changes, &after).unwrap();
            views.push((view, after.clone()));
            model = after;
            for (view, model) in &views {
                assert_eq!(read(view).unwrap(), *model, "seed {seed}, round {round}");
            }
            if random.below(3) == 0 {
                views.clear();
                drop(merged);
                merged = open(&vfs).unwrap();
                assert_eq!(read(&merged.view()).unwrap(), model);
            }
        }
    }
}

#[test]
fn a_merge_never_brings_an_older_version_back() {
    for way in WAYS {
        let merged = open(&memory()).unwrap();
        change_by(way, &merged, |merge| {
            let outcome = put(merge, b"key", entry(120, 100));
            assert_eq!(outcome.before, None);
            assert!(outcome.applied);
        });
        let view = change_by(way, &merged, |merge| {
            let outcome = put(merge, b"key", entry(70, 50));
            assert_eq!(outcome.before, Some(entry(120, 100)));
            assert!(!outcome.applied);
            let outcome = merge.remove(B, b"key", 99).unwrap();
            assert_eq!(outcome.before, Some(entry(120, 100)));
            assert!(!outcome.applied);
        });
        assert_eq!(view.get(B, b"key").unwrap(), Some(entry(120, 100)));
        assert_eq!(view.len(), 1);
    }
}

#[test]
fn the_same_version_in_another_place_takes_its_place() {
    for way in WAYS {
        let merged = open(&memory()).unwrap();
        change_by(way, &merged, |merge| {
            put(merge, b"key", entry(120, 100));
        });
        let view = change_by(way, &merged, |merge| {
            let outcome = put(merge, b"key", entry(130, 100));
            assert_eq!(outcome.before, Some(entry(120, 100)));
            assert!(outcome.applied);
        });
        assert_eq!(view.get(B, b"key").unwrap(), Some(entry(130, 100)));
        let view = change_by(way, &merged, |merge| {
            assert!(merge.remove(B, b"key", 100).unwrap().applied);
        });
        assert_eq!(view.get(B, b"key").unwrap(), None);
    }
}

#[test]
fn removing_what_is_not_there_is_fine() {
    for way in WAYS {
        let merged = open(&memory()).unwrap();
        let view = change_by(way, &merged, |merge| {
            merge
                .remove_bucket(B, |_, _| panic!("nothing there"))
                .unwrap();
            let outcome = merge.remove(B, b"key", 5).unwrap();
            assert_eq!(outcome.before, None);
            assert!(outcome.applied);
        });
        assert_eq!(view.len(), 0);
    }
}

#[test]
fn removing_a_bucket_takes_its_keys_and_no_others() {
    for way in WAYS {
        let merged = open(&memory()).unwrap();
        let buckets = [1, 2, 3, u32::MAX - 1, u32::MAX].map(BucketId);
        let keys: [&[u8]; 4] = [b"\0", b"a", b"\xff", b"\xff\xff\xff\xff\xff"];
        change_by(way, &merged, |merge| {
            for (bucket, key) in buckets.iter().flat_map(|b| keys.map(|key| (*b, key))) {
                merge.put(bucket, key, 1, entry(9, 9)).unwrap();
            }
        });
        for (gone, bucket) in [BucketId(2), BucketId(u32::MAX)].into_iter().enumerate() {
            let mut removed = Vec::new();
            let view = change_by(way, &merged, |merge| {
                merge
                    .remove_bucket(bucket, |bytes, entry| removed.push((bytes, entry)))
                    .unwrap();
            });
            assert_eq!(removed, keys.map(|key| (key.len() as u64, entry(9, 9))));
            assert_eq!(view.len(), ((buckets.len() - 1 - gone) * keys.len()) as u64);
            for other in buckets {
                let all = (Bound::Unbounded, Bound::Unbounded);
                let count = view.range(other, all, false).unwrap().count();
                let is_there = other != bucket && (gone == 0 || other != BucketId(2));
                assert_eq!(count, if is_there { keys.len() } else { 0 });
            }
        }
    }
}

#[test]
fn what_the_owner_refuses_is_undone() {
    #[derive(Debug, PartialEq)]
    struct Refused;
    impl From<Fault> for Refused {
        fn from(fault: Fault) -> Refused {
            panic!("{fault}")
        }
    }
    for way in WAYS {
        let merged = open(&memory()).unwrap();
        let before = change_by(way, &merged, |merge| {
            put(merge, b"a", entry(1, 1));
        });
        let refused = merged.merge(way, Expected::default(), |merge| {
            put(merge, b"a", entry(2, 2));
            put(merge, b"b", entry(2, 2));
            Err(Refused)
        });
        assert_eq!(refused.err(), Some(Refused));
        assert_eq!(read(&merged.view()).unwrap(), read(&before).unwrap());
        let view = change_by(way, &merged, |merge| {
            put(merge, b"c", entry(3, 3));
        });
        assert_eq!(view.len(), 2);
        assert_eq!(view.get(B, b"a").unwrap(), Some(entry(1, 1)));
    }
}

#[test]
fn a_panic_in_a_merge_undoes_it_and_ends_merging() {
    for way in WAYS {
        let vfs = memory();
        let merged = open(&vfs).unwrap();
        let before = change_by(way, &merged, |merge| {
            put(merge, b"a", entry(1, 1));
        });
        let panicking = std::panic::AssertUnwindSafe(|| {
            change_by(way, &merged, |merge| {
                put(merge, b"b", entry(2, 2));
                panic!("the owner's");
            })
        });
        assert!(std::panic::catch_unwind(panicking).is_err());
        let expected = read(&before).unwrap();
        assert_eq!(read(&merged.view()).unwrap(), expected);
        let again = merged.merge(way, Expected::default(), |_| {
            Ok::<_, Fault>(Summary::default())
        });
        assert!(matches!(again, Err(Fault::Io(_))));
        drop((before, merged));
        let merged = open(&vfs).unwrap();
        assert_eq!(read(&merged.view()).unwrap(), expected);
        change_by(way, &merged, |merge| {
            put(merge, b"b", entry(2, 2));
        });
    }
}

#[test]
fn a_range_keeps_to_its_bounds_both_ways() {
    let merged = open(&memory()).unwrap();
    let all: Vec<Vec<u8>> = (0..60u32)
        .map(|n| format!("{:03}", n * 2).into_bytes())
        .collect();
    let view = change(&merged, |merge| {
        for key in &all {
            put(merge, key, entry(7, 7));
        }
        for bucket in [BucketId(1), BucketId(3)] {
            merge.put(bucket, b"050", 1, entry(7, 7)).unwrap();
        }
    });
    let bounds = |key: &'static str| {
        let key = key.as_bytes();
        [Bound::Included(key), Bound::Excluded(key)]
    };
    let ends: Vec<Bound<&[u8]>> = ["", "000", "001", "050", "051", "118", "119", "zzz"]
        .into_iter()
        .flat_map(bounds)
        .chain([Bound::Unbounded])
        .collect();
    for &lower in &ends {
        for &upper in &ends {
            let mut expected: Vec<Vec<u8>> = all
                .iter()
                .filter(|key| {
                    let key = key.as_slice();
                    let above = match lower {
                        Bound::Included(lower) => key >= lower,
                        Bound::Excluded(lower) => key > lower,
                        Bound::Unbounded => true,
                    };
                    above
                        && match upper {
                            Bound::Included(upper) => key <= upper,
                            Bound::Excluded(upper) => key < upper,
                            Bound::Unbounded => true,
                        }
                })
                .cloned()
                .collect();
            for reverse in [false, true] {
                let found = view.range(B, (lower, upper), reverse).unwrap();
                let found: Vec<Vec<u8>> = found.map(|found| found.unwrap().0.to_vec()).collect();
                assert_eq!(found, expected, "{lower:?} {upper:?} {reverse}");
                expected.reverse();
            }
        }
    }
}

#[test]
fn the_filter_grows_with_the_keys_and_is_found_again() {
    let vfs = memory();
    let merged = open(&vfs).unwrap();
    let seed = HashSeed::new(IDENTITY.log);
    let first = merged.view().filter.byte_len();
    for round in 0..4u32 {
        change(&merged, |merge| {
            for number in 0..6_000u32 {
                put(merge, &(round * 6_000 + number).to_be_bytes(), entry(7, 7));
            }
        });
    }
    let grown = merged.view().filter.to_bytes();
    assert!(grown.len() > 2 * first, "{} after {first}", grown.len());
    drop(merged);
    let view = open(&vfs).unwrap().view();
    assert!(view.filter.to_bytes() == grown);
    let holds = |number: u32| view.may_hold(seed.hash(B, &number.to_be_bytes()));
    assert!((0..24_000).all(holds));
    let falsely = (24_000..124_000).filter(|&number| holds(number)).count();
    assert!(falsely < 3_000, "{falsely} of 100,000 absent keys");
}

#[test]
fn a_filter_full_of_keys_that_are_gone_is_made_anew() {
    let vfs = memory();
    let merged = open(&vfs).unwrap();
    let first = merged.view().filter.byte_len();
    for round in 0..8u32 {
        change(&merged, |merge| {
            for number in 0..4_000u32 {
                put(merge, &(round * 4_000 + number).to_be_bytes(), entry(7, 7));
                let key = (round * 4_000 + number).wrapping_sub(4_000).to_be_bytes();
                merge.remove(B, &key, 8).unwrap();
            }
        });
    }
    let view = merged.view();
    assert_eq!(view.len(), 4_000);
    assert!(view.filter.byte_len() <= 2 * first);
    let seed = HashSeed::new(IDENTITY.log);
    let holds = |number: u32| view.may_hold(seed.hash(B, &number.to_be_bytes()));
    assert!((28_000..32_000).all(holds));
}

#[test]
fn the_index_of_another_log_or_partition_is_made_anew() {
    let vfs = memory();
    drop(open(&vfs).unwrap());
    let log = Identity {
        log: LogId([8; 16]),
        ..IDENTITY
    };
    let partition = Identity {
        partition: 4,
        ..IDENTITY
    };
    for other in [log, partition] {
        let fault = Merged::open(&vfs, Path::new(PATH), other, CACHE_BYTES).err();
        assert!(matches!(fault, Some(Fault::Other(_))), "{fault:?}");
    }
    for strange in ["", "something else", &"x".repeat(10_000)] {
        vfs.remove(Path::new(PATH)).unwrap();
        let file = vfs.create(Path::new(PATH)).unwrap();
        file.write_at(strange.as_bytes(), 0).unwrap();
        let fault = open(&vfs).err();
        assert!(matches!(fault, Some(Fault::Damaged(_))), "{fault:?}");
    }
}

#[test]
fn a_merge_without_room_is_put_off() {
    for way in WAYS {
        let disk = SimulatedDisk::new(1);
        let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
        let (merged, model) = grown(&vfs, &mut Random(1));
        let used = (1 << 50) - vfs.free_bytes(Path::new("")).unwrap();
        let expected = Expected {
            changes: 1_000_000,
            new_keys: 0,
            key_bytes: 20_000_000,
        };
        let try_merge = || {
            merged.merge(way, expected, |_| {
                Ok::<_, Fault>(Summary {
                    covered: model.covered,
                    state: model.state.clone(),
                })
            })
        };
        disk.set_capacity(used + (10 << 20));
        let calls = disk.counts().writes;
        assert!(matches!(try_merge(), Err(Fault::Full(_))));
        assert_eq!(disk.counts().writes, calls);
        disk.set_capacity(1 << 40);
        assert_eq!(read(&try_merge().unwrap()).unwrap(), model);
    }
}

#[test]
fn views_are_read_by_many_threads_while_merges_go_on() {
    let vfs = memory();
    let mut random = Random(5);
    let (merged, model) = grown(&vfs, &mut random);
    let merges: Vec<(Vec<Change>, Model)> =
        std::iter::successors(Some((Vec::new(), model)), |(_, model)| {
            Some(model.next(&mut random, 200))
        })
        .take(12)
        .collect();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Acquire) {
                    let found = read(&merged.view()).unwrap();
                    assert!(merges.iter().any(|(_, model)| *model == found));
                }
            });
        }
        for (number, (changes, after)) in merges.iter().enumerate().skip(1) {
            merge_by(WAYS[number % 2], &merged, changes, after).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Release);
    });
}

#[test]
fn the_filter_takes_no_more_memory_than_is_said() {
    use crate::index::merged::merge::{FILTER_BYTES_MAX, filter_for};

    assert_eq!(filter_for(u64::MAX).byte_len(), FILTER_BYTES_MAX);
    let some = filter_for(1_000_000);
    assert!((1_000_000..1_100_000).contains(&some.capacity()));
    assert_eq!(filter_for(0), filter_for(10_000));
}

/// The spread of the last merge, and what is read of former files, decide.
#[test]
fn an_index_is_written_anew_when_that_costs_less() {
    let vfs = memory();
    let merged = open(&vfs).unwrap();
    let put_all = |way, merged: &Merged, numbers: &mut dyn Iterator<Item = u32>, version| {
        change_by(way, merged, |merge| {
            for number in numbers {
                put(merge, &number.to_be_bytes(), entry(version, version));
            }
        })
    };
    let expected = |changes, new_keys| Expected {
        changes,
        new_keys,
        key_bytes: 0,
    };
    assert_eq!(
        merged.way(expected(100, 0)),
        Way::InPlace,
        "nothing to copy"
    );
    let _ = put_all(Way::InPlace, &merged, &mut (0..100_000), 1);
    let length = || vfs.open(Path::new(PATH)).unwrap().length().unwrap();
    let lean = length();

    drop(merged);
    let merged = open(&vfs).unwrap();
    assert_eq!(
        merged.way(expected(40_000, 40_000)),
        Way::InPlace,
        "unknown"
    );
    assert_eq!(merged.way(expected(40_000, 0)), Way::Anew, "known keys");
    assert_eq!(merged.way(expected(30_000, 0)), Way::InPlace, "too few");

    let _ = put_all(Way::InPlace, &merged, &mut (0..100_000).step_by(10), 2);
    assert_eq!(
        merged.way(expected(20_000, 0)),
        Way::InPlace,
        "still too few"
    );
    let with_those_before = expected(25_000, 25_000);
    assert_eq!(merged.way(with_those_before), Way::Anew, "spread");
    let held = put_all(Way::Anew, &merged, &mut (0..100_000).step_by(10), 3);
    assert_eq!(merged.way(with_those_before), Way::InPlace, "new now");
    assert_eq!(merged.way(expected(40_000, 0)), Way::Anew, "still spread");
    let _ = put_all(Way::Anew, &merged, &mut (0..100_000).step_by(10), 4);
    assert_eq!(merged.way(expected(40_000, 0)), Way::InPlace, "read");
    let key = 10u32.to_be_bytes();
    assert_eq!(held.get(B, &key).unwrap(), Some(entry(3, 3)));
    drop(held);
    assert_eq!(merged.way(expected(40_000, 0)), Way::Anew, "not read");

    let at_the_end = expected(40_000, 40_000);
    for first in [100_000, 140_000, 180_000] {
        let mut keys = first..first + 40_000;
        let _ = put_all(merged.way(at_the_end), &merged, &mut keys, 5);
        assert_eq!(merged.way(at_the_end), Way::InPlace, "at the end");
    }

    for version in 6..20 {
        let _ = put_all(Way::Anew, &merged, &mut (0..100_000).step_by(3), version);
        merged.close_former();
        assert!(length() < 2 * lean, "{} of {lean}", length());
    }
    assert_eq!(merged.view().len(), 220_000);
}
