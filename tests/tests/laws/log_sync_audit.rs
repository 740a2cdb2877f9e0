//! The sync audit: a sync that silently does nothing must turn a law red, or it is useless, or the
//! simulated disk is blind.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use cairn_log::Durability::{Buffered, Local};
use cairn_log::vfs::SyncSite;
use cairn_log::vfs::simulated::{SimulatedDisk, Survival};
use cairn_tests::log_history::{History, Step, open};

fn workloads() -> Vec<Vec<Step>> {
    let one = |durability| Step::Append(vec![(durability, 1, 100)]);
    let big = |durability| Step::Append(vec![(durability, 3, 3_000)]);
    vec![
        // First, because it is short and the only one that needs the syncs of a backup.
        vec![one(Local), Step::Backup],
        vec![one(Local), one(Buffered), Step::Idle, one(Local)],
        vec![big(Local), Step::Prepare, big(Local), one(Local)],
        vec![one(Local), Step::Reopen, one(Buffered)],
        vec![one(Local), Step::Reopen, one(Local), Step::Reopen],
        vec![one(Buffered), Step::Seal, one(Local)],
        vec![one(Local), Step::Seal, Step::Drop(0), one(Local)],
    ]
}

/// Syncs that no law needs, and what they are for.
const FOR_SPEED_ONLY: [SyncSite; 1] = [
    // The header's sync covers the zeros, too; without this one it would have to write them all
    // while writers wait.
    SyncSite("spare zeros"),
];

/// Whether some crash breaks a promise while the syncs of one site do nothing. Of the calls at
/// which to crash, every `stride`-th is tried.
fn breaks_a_law(site: SyncSite, stride: usize) -> bool {
    // The cheap ones first: the workloads are tried to their end unless a law breaks.
    if breaks_after_rot(site) || breaks_after_an_unused_segment(site) {
        return true;
    }
    workloads().iter().any(|steps| {
        let disk = SimulatedDisk::new(0);
        History::default()
            .run(&disk, steps)
            .expect("no fault was set");
        (1..=disk.calls() + 1)
            .step_by(stride)
            .any(|call| breaks_at(site, steps, call))
    })
}

/// Opens and goes on while the site's syncs do nothing; says whether a promise was kept.
fn keeps_promises(site: SyncSite, disk: &SimulatedDisk, history: &mut History) -> bool {
    disk.ignore_sync(site);
    let go_on = [Step::Append(vec![(Local, 1, 50), (Buffered, 1, 9)])];
    matches!(
        catch_unwind(AssertUnwindSafe(|| history.run(disk, &go_on))),
        Ok(Ok(()))
    )
}

fn breaks_at(site: SyncSite, steps: &[Step], call: u64) -> bool {
    let disk = SimulatedDisk::new(call);
    disk.ignore_sync(site);
    disk.crash_at(call);
    let mut history = History::default();
    if catch_unwind(AssertUnwindSafe(|| history.run(&disk, steps))).is_err() {
        return true;
    }
    history.forget_written();
    (0..4).any(|seed| {
        let found = disk.power_loss(Survival::Random(seed));
        breaks_over_power_losses(site, &found, history.clone())
            || breaks_in_recovery(site, &found, &history)
    }) || breaks_in_recovery(site, &disk.process_death(), &history)
}

fn breaks_over_power_losses(site: SyncSite, found: &SimulatedDisk, mut history: History) -> bool {
    // A clone would be the same disk, and show these appends to a history that knows none of them.
    let mut found = found.fork();
    for seed in 0..3 {
        if !keeps_promises(site, &found, &mut history) {
            return true;
        }
        history.forget_written();
        let survival = if seed == 1 {
            Survival::Random(seed)
        } else {
            Survival::Nothing
        };
        found = found.power_loss(survival);
    }
    !keeps_promises(site, &found, &mut history)
}

/// Crashes at every call of the recovery; also opens again in between, on the same page cache.
fn breaks_in_recovery(site: SyncSite, found: &SimulatedDisk, history: &History) -> bool {
    let recover = |disk: &SimulatedDisk, history: &mut History| {
        disk.ignore_sync(site);
        let opened = catch_unwind(AssertUnwindSafe(|| history.open_and_check(disk).map(drop)));
        opened.is_err()
    };
    let probe = found.fork();
    let mut kept = history.clone();
    if recover(&probe, &mut kept) {
        return true;
    }
    let again = probe.process_death();
    if recover(&again, &mut kept) {
        return true;
    }
    if !keeps_promises(site, &again.power_loss(Survival::Nothing), &mut kept) {
        return true;
    }
    (1..=probe.calls()).any(|second| {
        let crashing = found.fork();
        crashing.crash_at(second);
        let mut history = history.clone();
        if recover(&crashing, &mut history) {
            return true;
        }
        let lost = crashing.power_loss(Survival::Nothing);
        !keeps_promises(site, &lost, &mut history)
    })
}

/// A mark is evidence: without it, rot of the last group before a power loss passes for a torn
/// tail. So a mark that never reached the disk is shown by damaging what it vouches for.
fn breaks_after_rot(site: SyncSite) -> bool {
    let marked_when_idle = [Step::Append(vec![(Local, 1, 100)]), Step::Idle];
    let marked_when_closed = [Step::Append(vec![(Local, 1, 100)]), Step::Reopen];
    [marked_when_idle, marked_when_closed].iter().any(|steps| {
        let disk = SimulatedDisk::new(3);
        disk.ignore_sync(site);
        History::default()
            .run(&disk, steps)
            .expect("no fault was set");
        let found = disk.power_loss(Survival::Nothing);
        let segment = "log/p0000/0000000000000001.seg";
        if found.paths().iter().all(|path| Path::new(segment) != path) {
            return false;
        }
        found.flip_bit(segment, 4096 + 40, 0);
        // A refusal is what the mark is for; an open that lost the batch in silence breaks law 1.
        open(&found).is_ok_and(|open_log| open_log.log.partitions()[0].status().bytes == 0)
    })
}

/// A segment that was begun behind a gap and never used is unlinked by the next open. If it comes
/// back after a clean close, the marked end of the log lies before it.
fn breaks_after_an_unused_segment(site: SyncSite) -> bool {
    let append = [Step::Append(vec![(Local, 1, 100)])];
    let disk = SimulatedDisk::new(0);
    let mut history = History::default();
    history.run(&disk, &append).expect("no fault was set");
    let found = disk.process_death();
    let probe = found.fork();
    history
        .clone()
        .run(&probe, &append)
        .expect("no fault was set");
    (1..=probe.calls()).any(|call| {
        let crashing = found.fork();
        crashing.crash_at(call);
        let mut history = history.clone();
        let crashed = catch_unwind(AssertUnwindSafe(|| history.run(&crashing, &append)));
        history.forget_written();
        let closing = crashing.process_death();
        closing.ignore_sync(site);
        let close = [Step::Reopen];
        let closed = catch_unwind(AssertUnwindSafe(|| history.run(&closing, &close)));
        let lost = closing.power_loss(Survival::Nothing);
        crashed.is_err() || closed.is_err() || !keeps_promises(site, &lost, &mut history)
    })
}

#[test]
fn every_sync_site_of_the_log_is_needed() {
    let mut sites = BTreeSet::new();
    for steps in workloads() {
        let disk = SimulatedDisk::new(0);
        let mut history = History::default();
        history.run(&disk, &steps).expect("no fault was set");
        sites.extend(disk.sync_sites().into_keys());
        for call in 1..=disk.calls() + 1 {
            let disk = SimulatedDisk::new(call);
            disk.crash_at(call);
            let _ = History::default().run(&disk, &steps);
            let found = disk.process_death();
            drop(open(&found).expect("a crashed log opens"));
            sites.extend(found.sync_sites().into_keys());
        }
    }
    assert!(sites.len() >= 12, "{sites:?}");
    let is_long_run = std::env::var_os("CAIRN_SEEDS").is_some();
    assert!(
        !breaks_a_law(SyncSite("no site"), if is_long_run { 1 } else { 6 }),
        "a law is broken though every sync is done, so the audit shows nothing"
    );
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let useless: Vec<_> = sites
        .iter()
        .filter(|site| !FOR_SPEED_ONLY.contains(site) && !breaks_a_law(**site, 1))
        .collect();
    std::panic::set_hook(hook);
    assert!(
        useless.is_empty(),
        "syncs that no law needs: {useless:?} of {sites:?}"
    );
}
