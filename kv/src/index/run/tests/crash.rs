use std::collections::BTreeSet;

use cairn_log::vfs::simulated::Survival;

use super::super::write::{RUN, RUN_NAME};
use super::*;

/// Large enough for several writes of the file.
fn sample(seed: u64) -> Model {
    Model::random(&mut Random(seed), 4_000, 900, spread)
}

/// The disk as the next process may find it.
fn remains(disk: &SimulatedDisk) -> Vec<SimulatedDisk> {
    let random = (0..6).map(Survival::Random);
    let lost = [Survival::Nothing, Survival::Everything];
    let mut found: Vec<_> = (lost.into_iter().chain(random))
        .map(|survival| disk.power_loss(survival))
        .collect();
    found.push(disk.process_death());
    found
}

/// Which of the models the directory has the whole run of; `None` if it has no run. What else it
/// may have is no lawful remains.
fn found(disk: &SimulatedDisk, models: &[&Model]) -> Result<Option<usize>, String> {
    let run = match models[0].open(disk) {
        Ok(run) => run,
        Err(RunFault::Other(_)) => return Ok(None),
        Err(fault) => return Err(format!("{fault:?}")),
    };
    run.check().map_err(|fault| format!("{fault:?}"))?;
    let is_it = |model: &&Model| *run.head() == model.head;
    let nth = models.iter().position(is_it).ok_or("of no one")?;
    let mut places = Vec::new();
    run.in_key_order_range(0..run.len(), &mut places)
        .map_err(|fault| format!("{fault:?}"))?;
    if places == models[nth].places() {
        Ok(Some(nth))
    } else {
        Err("other places".to_owned())
    }
}

/// Crashes a write at every call, with the syncs of some site ignored. Says what is not lawful: a
/// run that is neither whole nor missing, or one that is missing although its write returned.
fn laws(ignored: Option<SyncSite>, before: Option<&Model>) -> Result<(), String> {
    let new = sample(41);
    let models: Vec<&Model> = [&new].into_iter().chain(before).collect();
    let start = disk();
    if let Some(before) = before {
        before.write(&start).unwrap();
    }
    let whole = start.fork();
    new.write(&whole).unwrap();
    for call in 1..=whole.calls() + 1 {
        for seed in 0..2 {
            let crashing = start.fork();
            crashing.reseed(call * 2 + seed);
            crashing.crash_at(call);
            if let Some(site) = ignored {
                crashing.ignore_sync(site);
            }
            let written = new.write(&crashing);
            assert_eq!(written.is_ok(), call > whole.calls());
            for found_disk in remains(&crashing) {
                let nth = found(&found_disk, &models)?;
                if written.is_ok() && nth != Some(0) {
                    return Err(format!("a written run is gone: {nth:?}"));
                }
                if before.is_some() && nth.is_none() {
                    return Err("the run before is gone".to_owned());
                }
                // Whatever is left is in nobody's way.
                new.write(&found_disk).map_err(|fault| fault.to_string())?;
                assert_eq!(found(&found_disk, &models), Ok(Some(0)));
                let names = found_disk.list(directory()).unwrap();
                assert_eq!(names, [file_name(0x2a)]);
            }
        }
    }
    Ok(())
}

#[test]
fn a_crash_leaves_the_whole_run_or_none() {
    assert_eq!(laws(None, None), Ok(()));
}

#[test]
fn a_crash_leaves_the_whole_run_or_the_one_before() {
    assert_eq!(laws(None, Some(&sample(42))), Ok(()));
}

#[test]
fn a_damaged_run_is_replaced_whole_or_not_at_all() {
    let new = sample(43);
    let start = disk();
    new.write(&start).unwrap();
    let path = directory().join(file_name(0x2a));
    start.flip_bit(&path, 5000, 3);
    let probe = start.fork();
    new.write(&probe).unwrap();
    for call in 1..=probe.calls() {
        let crashing = start.fork();
        crashing.crash_at(call);
        new.write(&crashing).unwrap_err();
        for found_disk in remains(&crashing) {
            match new.open(&found_disk) {
                Ok(run) => assert_eq!(new.compare(&run), 0),
                Err(fault) => assert_eq!(damage(&fault), 1),
            }
        }
    }
}

#[test]
fn each_sync_is_needed() {
    let disk = disk();
    let setup = disk.sync_sites();
    sample(41).write(&disk).unwrap();
    let mut sites: BTreeSet<SyncSite> = disk.sync_sites().into_keys().collect();
    sites.retain(|site| !setup.contains_key(site));
    assert_eq!(sites, BTreeSet::from([RUN, RUN_NAME]));
    for site in sites {
        assert!(laws(Some(site), None).is_err(), "{site:?} is for nothing");
    }
}

#[test]
fn a_full_disk_is_said_and_leaves_no_file() {
    let model = sample(44);
    let probe = disk();
    model.write(&probe).unwrap();
    let needed = probe.length(directory().join(file_name(0x2a)));
    for capacity in (0..needed).step_by(4096) {
        let full = disk();
        full.set_capacity(capacity);
        let Err(RunFault::Io(error)) = model.write(&full) else {
            panic!("{needed} bytes in {capacity}");
        };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(full.list(directory()).unwrap(), Vec::<String>::new());
        full.set_capacity(1 << 30);
        let run = model.written(&full);
        assert_eq!(run.len(), 4_000);
    }
}

#[test]
fn a_full_disk_spares_the_run_before() {
    let (old, new) = (sample(45), sample(46));
    let disk = disk();
    old.write(&disk).unwrap();
    disk.set_capacity(disk.length(directory().join(file_name(0x2a))) + 8192);
    assert!(matches!(new.write(&disk), Err(RunFault::Io(_))));
    assert_eq!(found(&disk, &[&new, &old]), Ok(Some(1)));
}

#[test]
fn a_failed_write_or_sync_is_said_and_leaves_no_run_that_is_not_whole() {
    let model = sample(47);
    let probe = disk();
    let before = probe.counts();
    model.write(&probe).unwrap();
    let after = probe.counts();
    assert!(after.writes > before.writes + 1 && after.syncs == before.syncs + 2);
    for nth in before.writes + 1..=after.writes {
        let failing = disk();
        failing.fail_write(nth);
        assert!(matches!(model.write(&failing), Err(RunFault::Io(_))));
        assert_eq!(failing.list(directory()).unwrap(), Vec::<String>::new());
    }
    for nth in before.syncs + 1..=after.syncs {
        let failing = disk();
        failing.fail_sync(nth);
        assert!(matches!(model.write(&failing), Err(RunFault::Io(_))));
        for found_disk in remains(&failing) {
            found(&found_disk, &[&model]).unwrap();
        }
        // Nothing is synced twice: a second write makes another file.
        model.write(&failing).unwrap();
        for found_disk in remains(&failing) {
            assert_eq!(found(&found_disk, &[&model]), Ok(Some(0)));
        }
    }
}
