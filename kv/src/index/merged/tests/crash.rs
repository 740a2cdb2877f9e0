//! Power loss and process death.

use super::*;

/// Merges until the disk crashes or the budget is used up; returns what was acknowledged last and
/// what was under way.
fn merge_until_crash(
    disk: &SimulatedDisk,
    model: &Model,
    random: &mut Random,
    crash_after: Option<u64>,
) -> (Model, Option<Model>) {
    let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
    if let Some(calls) = crash_after {
        disk.crash_at(disk.calls() + calls);
    }
    let mut acknowledged = model.clone();
    let merged = match open(&vfs) {
        Ok(merged) => merged,
        Err(fault) => {
            assert!(disk.has_crashed(), "an honest crash is no damage: {fault}");
            return (acknowledged, None);
        }
    };
    assert_eq!(
        read_unless_crashed(disk, &merged),
        Some(model.clone()).filter(|_| !disk.has_crashed())
    );
    for _ in 0..4 {
        let count = 1 + random.below(250);
        let (changes, after) = acknowledged.next(random, count);
        let way = WAYS[random.below(2)];
        match merge_by(way, &merged, &changes, &after) {
            Ok(_) => acknowledged = after,
            Err(fault) => {
                assert!(disk.has_crashed(), "{fault}");
                return (acknowledged, Some(after));
            }
        }
    }
    drop(merged);
    (acknowledged, None)
}

fn read_unless_crashed(disk: &SimulatedDisk, merged: &Merged) -> Option<Model> {
    match read(&merged.view()) {
        Ok(model) => (!disk.has_crashed()).then_some(model),
        Err(fault) => {
            assert!(disk.has_crashed(), "{fault}");
            None
        }
    }
}

#[test]
fn a_crash_leaves_the_last_merge_or_the_one_under_way() {
    let mut kept = 0;
    let mut crashes = 0;
    for seed in seeds(40) {
        let mut random = Random(seed * 6007 + 1);
        let mut disk = SimulatedDisk::new(seed);
        let mut model = Model::default();
        // Each of a store's lives begins with what the one before left.
        for life in 0..4 {
            let calls = match random.below(4) {
                0 => 1 + random.below(40) as u64,
                _ => 1 + random.below(700) as u64,
            };
            let (acknowledged, under_way) =
                merge_until_crash(&disk, &model, &mut random, Some(calls));
            crashes += u32::from(disk.has_crashed());
            disk = match random.below(4) {
                0 => disk.process_death(),
                1 => disk.power_loss(Survival::Nothing),
                2 => disk.power_loss(Survival::Everything),
                _ => disk.power_loss(Survival::Random(seed + life)),
            };
            let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
            let merged = open(&vfs).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
            let found = read(&merged.view()).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
            if Some(&found) == under_way.as_ref() {
                kept += 1;
            } else {
                assert_eq!(found, acknowledged, "seed {seed}, life {life}");
            }
            model = found;
        }
    }
    assert!(crashes > 60 && kept > 0, "{crashes} crashes, {kept} kept");
}

/// A disk whose sync site does nothing loses merges: the sync is needed, and asked for where it
/// is said to be.
#[test]
fn without_its_sync_a_merge_is_lost_or_found_damaged() {
    let mut lost = [0; 2];
    for seed in 1..=20 {
        let nth = usize::from(seed % 2 == 1);
        let (way, lost) = (WAYS[nth], &mut lost[nth]);
        let mut random = Random(seed);
        let disk = SimulatedDisk::new(seed);
        let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
        let (merged, model) = grown(&vfs, &mut random);
        disk.ignore_sync(crate::index::checked_file::SYNC);
        let (changes, after) = model.next(&mut random, 200);
        merge_by(way, &merged, &changes, &after).unwrap();
        let found: Arc<dyn Vfs> = Arc::new(disk.power_loss(Survival::Random(seed)));
        match open(&found).and_then(|merged| read(&merged.view())) {
            Ok(found) => {
                assert!(found == model || found == after, "seed {seed}: a mix");
                *lost += u32::from(found == model);
            }
            Err(Fault::Damaged(_)) => *lost += 1,
            Err(fault) => panic!("seed {seed}: {fault}"),
        }
    }
    assert!(lost[0] > 0 && lost[1] > 0, "{lost:?}");
}

#[test]
fn a_name_that_an_earlier_life_did_not_sync_is_made_durable() {
    let disk = SimulatedDisk::new(1);
    disk.ignore_sync(NAME);
    let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
    drop(open(&vfs).unwrap());
    let disk = disk.process_death();
    let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
    let (_merged, model) = grown(&vfs, &mut Random(1));
    let vfs: Arc<dyn Vfs> = Arc::new(disk.power_loss(Survival::Nothing));
    assert_eq!(read(&open(&vfs).unwrap().view()).unwrap(), model);
}

/// The name is the new file's once the merge has returned, and not before the file is whole.
#[test]
fn without_its_name_synced_a_merge_anew_is_lost() {
    let mut random = Random(1);
    let (disk, _, merged, model) = grown_on_disk(1, &mut random);
    let (changes, after) = model.next(&mut random, 200);
    let synced = SimulatedDisk::clone(&disk);
    merge_by(Way::Anew, &merged, &changes, &after).unwrap();
    let found: Arc<dyn Vfs> = Arc::new(synced.power_loss(Survival::Nothing));
    assert_eq!(read(&open(&found).unwrap().view()).unwrap(), after);

    disk.ignore_sync(NAME);
    let (changes, later) = after.next(&mut random, 200);
    merge_by(Way::Anew, &merged, &changes, &later).unwrap();
    let found: Arc<dyn Vfs> = Arc::new(disk.power_loss(Survival::Nothing));
    assert_eq!(read(&open(&found).unwrap().view()).unwrap(), after);
}
