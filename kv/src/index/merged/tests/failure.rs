//! Disks that fail and fill up.

use super::*;

/// What a fault does to the disk just before a merge; `nth` counts from 1.
type Break = fn(&SimulatedDisk, u64);

/// The view from before the failure shows all that it did, and so does whoever asks now.
fn assert_unchanged(merged: &Merged, held: &Arc<View>, model: &Model, nth: u64) {
    for view in [held, &merged.view(), held] {
        let found = read(view).unwrap_or_else(|fault| panic!("failure {nth}: {fault}"));
        assert_eq!(found, *model, "failure {nth}");
    }
}

/// Lets a small merge fail in every way that `break_disk` knows, until one comes through.
fn fail_everywhere(break_disk: Break) {
    let mut failed = 0;
    for nth in 1.. {
        let mut random = Random(11);
        let (disk, vfs, merged, model) = grown_on_disk(nth, &mut random);
        let (changes, after) = model.next(&mut random, 60);
        // Nothing of it is cached.
        drop(merged);
        let merged = open(&vfs).unwrap();
        let held = merged.view();
        break_disk(&disk, nth);
        let result = merge(&merged, &changes, &after);
        if result.is_ok() {
            assert_eq!(read(&merged.view()).unwrap(), after);
            break;
        }
        failed += 1;
        assert!(matches!(result, Err(Fault::Io(_))), "{result:?}");
        // The view from before is as it was, all of it, and stays so.
        assert_unchanged(&merged, &held, &model, nth);
        let again = merge(&merged, &changes, &after);
        assert!(matches!(again, Err(Fault::Io(_))), "{again:?}");
        drop((held, merged));

        disk.set_capacity(1 << 50);
        let crashed = disk.power_loss(Survival::Random(nth));
        for disk in [disk, crashed] {
            let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
            let merged = open(&vfs).unwrap_or_else(|fault| panic!("failure {nth}: {fault}"));
            let found = read(&merged.view()).unwrap();
            assert!(found == model || found == after, "failure {nth}: a mix");
            // And it goes on.
            let (changes, later) = found.next(&mut random, 60);
            assert_eq!(
                read(&merge(&merged, &changes, &later).unwrap()).unwrap(),
                later
            );
            let crashed: Arc<dyn Vfs> = Arc::new(disk.power_loss(Survival::Random(nth)));
            let merged = open(&crashed).unwrap_or_else(|fault| panic!("failure {nth}: {fault}"));
            assert_eq!(read(&merged.view()).unwrap(), later);
        }
    }
    assert!(failed > 1, "{failed} failures");
}

/// The same for a merge anew. As long as the new file has not taken the name, nothing has changed,
/// and the same merge comes through.
fn fail_everywhere_anew(break_disk: Break) {
    let (mut unwritten, mut broken) = (0, 0);
    for nth in 1.. {
        let mut random = Random(11);
        let (disk, vfs, merged, model) = grown_on_disk(nth, &mut random);
        let (changes, after) = model.next(&mut random, 60);
        // Nothing of it is cached.
        drop(merged);
        let merged = open(&vfs).unwrap();
        let held = merged.view();
        break_disk(&disk, nth);
        let result = merge_by(Way::Anew, &merged, &changes, &after);
        if result.is_ok() {
            assert_eq!(read(&merged.view()).unwrap(), after);
            break;
        }
        assert_unchanged(&merged, &held, &model, nth);
        let way = WAYS[random.below(2)];
        match result {
            Err(Fault::Unwritten(_)) => {
                unwritten += 1;
                let unchanged: Arc<dyn Vfs> = Arc::new(disk.power_loss(Survival::Random(nth)));
                assert_eq!(read(&open(&unchanged).unwrap().view()).unwrap(), model);
                let view = merge_by(way, &merged, &changes, &after).unwrap();
                assert_eq!(read(&view).unwrap(), after, "failure {nth}");
                let crashed: Arc<dyn Vfs> = Arc::new(disk.power_loss(Survival::Nothing));
                assert_eq!(read(&open(&crashed).unwrap().view()).unwrap(), after);
            }
            Err(Fault::Io(_)) => {
                broken += 1;
                let again = merge_by(way, &merged, &changes, &after);
                assert!(matches!(again, Err(Fault::Io(_))), "{again:?}");
                drop((held, merged));
                let crashed = disk.power_loss(Survival::Random(nth));
                for disk in [disk, crashed] {
                    let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
                    let merged =
                        open(&vfs).unwrap_or_else(|fault| panic!("failure {nth}: {fault}"));
                    let found = read(&merged.view()).unwrap();
                    assert!(found == model || found == after, "failure {nth}: a mix");
                    let (changes, later) = found.next(&mut random, 60);
                    let view = merge_by(way, &merged, &changes, &later).unwrap();
                    assert_eq!(read(&view).unwrap(), later);
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(unwritten + broken > 1, "{unwritten} and {broken} failures");
}

#[test]
fn a_write_that_fails_leaves_the_view_before() {
    let break_disk: Break = |disk, nth| disk.fail_write(disk.counts().writes + nth);
    fail_everywhere(break_disk);
    fail_everywhere_anew(break_disk);
}

#[test]
fn a_sync_that_fails_leaves_the_view_before() {
    let break_disk: Break = |disk, nth| disk.fail_sync(disk.counts().syncs + nth);
    fail_everywhere(break_disk);
    fail_everywhere_anew(break_disk);
}

#[test]
fn a_read_that_fails_leaves_the_view_before() {
    let break_disk: Break = |disk, nth| disk.fail_read(disk.counts().reads + nth);
    fail_everywhere(break_disk);
    fail_everywhere_anew(break_disk);
}

#[test]
fn a_disk_that_fills_up_while_the_index_is_written_anew_changes_nothing() {
    let mut failed = 0;
    for pages in 0.. {
        let mut random = Random(11);
        let (disk, vfs, merged, model) = grown_on_disk(pages, &mut random);
        let (changes, after) = model.next(&mut random, 60);
        let expected = Expected::default();
        let result: Result<_, Fault> = merged.merge(Way::Anew, expected, |merging| {
            // Past the look at what is free.
            let free = vfs.free_bytes(Path::new("")).unwrap();
            disk.set_capacity((1 << 50) - free + pages * 4096);
            apply(merging, &changes, &after)
        });
        disk.set_capacity(1 << 50);
        match result {
            Ok(view) => {
                assert_eq!(read(&view).unwrap(), after);
                break;
            }
            Err(Fault::Unwritten(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            }
            other => panic!("{other:?}"),
        }
        failed += 1;
        let names = vfs.list(Path::new("")).unwrap();
        assert_eq!(names.len(), 1, "{names:?}: what was written is in the way");
        assert_eq!(read(&merged.view()).unwrap(), model);
        let many = Expected {
            changes: 1_000,
            ..Expected::default()
        };
        // There may be room for less.
        assert_eq!(merged.way(many), Way::InPlace);
        let view = merge(&merged, &changes, &after).unwrap();
        assert_eq!(read(&view).unwrap(), after);
        drop(view);
        assert_eq!(merged.way(many), Way::Anew);
    }
    assert!(failed > 1, "{failed} failures");
}

#[test]
fn a_disk_that_fills_up_in_the_middle_leaves_the_view_before() {
    let mut failed = 0;
    for pages in 0.. {
        let mut random = Random(11);
        let (disk, vfs, merged, model) = grown_on_disk(pages, &mut random);
        let (changes, after) = model.next(&mut random, 400);
        let held = merged.view();
        let result: Result<_, Fault> = merged.merge(Way::InPlace, Expected::default(), |merging| {
            // Past the look at what is free.
            let free = vfs.free_bytes(Path::new("")).unwrap();
            disk.set_capacity((1 << 50) - free + pages * 4096);
            apply(merging, &changes, &after)
        });
        if result.is_ok() {
            assert_eq!(read(&merged.view()).unwrap(), after);
            break;
        }
        failed += 1;
        match result {
            Err(Fault::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
            other => panic!("{other:?}"),
        }
        assert_eq!(read(&held).unwrap(), model);
        drop((held, merged));
        // Opening writes into pages that the file has.
        let merged = open(&vfs).unwrap();
        assert_eq!(read(&merged.view()).unwrap(), model);
        disk.set_capacity(1 << 50);
        assert_eq!(
            read(&merge(&merged, &changes, &after).unwrap()).unwrap(),
            after
        );
    }
    assert!(failed > 1, "{failed} failures");
}

#[test]
fn a_failure_in_the_middle_of_a_range_is_not_noticed() {
    for reverse in [false, true] {
        let mut random = Random(11);
        let (disk, vfs, merged, model) = grown_on_disk(1, &mut random);
        drop(merged);
        let merged = open(&vfs).unwrap();
        let view = merged.view();
        let all = (Bound::Unbounded, Bound::Unbounded);
        let mut range = view.range(BucketId(1), all, reverse).unwrap();
        let mut found: Vec<Vec<u8>> = Vec::new();
        for _ in 0..5 {
            found.push(range.next().unwrap().unwrap().0.to_vec());
        }
        disk.fail_write(disk.counts().writes + 1);
        let (changes, after) = model.next(&mut random, 10);
        assert!(merge(&merged, &changes, &after).is_err());
        found.extend(range.map(|found| found.unwrap().0.to_vec()));
        if reverse {
            found.reverse();
        }
        let expected = model.entries.keys().filter(|(bucket, _)| *bucket == 1);
        assert!(found.iter().eq(expected.map(|(_, key)| key)));
    }
}

/// Pages that only an older view needs are not all kept from being used again.
#[test]
fn an_older_view_is_right_or_a_fault_after_a_failure() {
    let mut faults = 0;
    for seed in 1..=30 {
        let mut random = Random(seed);
        let (disk, _, merged, mut model) = grown_on_disk(seed, &mut random);
        let mut views = vec![(merged.view(), model.clone())];
        for _ in 0..3 {
            let (changes, after) = model.next(&mut random, 200);
            let view = merge(&merged, &changes, &after).unwrap();
            views.push((view, after.clone()));
            model = after;
        }
        disk.fail_write(disk.counts().writes + 1 + random.below(20) as u64);
        let (changes, after) = model.next(&mut random, 200);
        if merge(&merged, &changes, &after).is_ok() {
            continue;
        }
        let newest = views.len() - 1;
        for (at, (view, model)) in views.iter().enumerate() {
            match read(view) {
                Ok(found) => assert_eq!(found, *model, "seed {seed}, view {at}"),
                Err(fault) => {
                    assert!(matches!(fault, Fault::Io(_)), "seed {seed}: {fault:?}");
                    assert!(at < newest, "seed {seed}: {fault}");
                    faults += 1;
                }
            }
        }
    }
    assert!(faults > 0);
}

#[test]
fn an_index_that_can_not_be_made_leaves_nothing_in_the_way() {
    for nth in 1.. {
        let disk = SimulatedDisk::new(nth);
        let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
        disk.fail_write(nth);
        let opened = open(&vfs).map(|merged| merged.view());
        if opened.is_ok() {
            assert!(nth > 3);
            break;
        }
        drop(opened);
        assert_eq!(read(&open(&vfs).unwrap().view()).unwrap(), Model::default());
    }
}
