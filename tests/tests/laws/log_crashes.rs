//! Laws 1, 2, 4 and 14 for the log: power lost, processes killed and syncs failing at every call.

use cairn_log::vfs::simulated::{Random, SimulatedDisk, Survival};
use cairn_log::{Durability, Error};
use cairn_tests::log_history::{Events, History, Step, is_expected_failure, open};
use cairn_tests::seeds::seeds;

use Durability::{Buffered, Local};

/// Small workloads whose every call is a crash point. Segments are 16 KiB.
fn small_workloads() -> Vec<Vec<Step>> {
    let one = |durability| Step::Append(vec![(durability, 1, 100)]);
    let big = |durability| Step::Append(vec![(durability, 3, 3_000)]);
    vec![
        vec![one(Local), one(Local)],
        vec![one(Buffered), one(Local), one(Buffered)],
        vec![Step::Append(vec![
            (Local, 2, 700),
            (Buffered, 1, 10),
            (Local, 1, 600),
        ])],
        vec![one(Local), Step::Idle, one(Local), Step::Reopen, one(Local)],
        vec![big(Local), Step::Prepare, big(Local), big(Local)],
        vec![
            big(Buffered),
            big(Buffered),
            one(Buffered),
            Step::Idle,
            one(Buffered),
        ],
        vec![
            one(Local),
            Step::Reopen,
            one(Buffered),
            Step::Reopen,
            Step::Reopen,
        ],
        vec![one(Buffered), Step::Seal, one(Local), Step::Seal],
        vec![
            one(Local),
            Step::Seal,
            one(Local),
            Step::Seal,
            Step::Drop(1),
            one(Buffered),
            Step::Drop(0),
        ],
        vec![one(Local), Step::Seal, one(Local), Step::Backup],
    ]
}

fn survivals(random: u64) -> impl Iterator<Item = Survival> {
    [Survival::Nothing, Survival::Everything]
        .into_iter()
        .chain((0..random).map(Survival::Random))
}

/// Runs a workload until the disk crashes at `call`, if it does.
fn run_until_crash(steps: &[Step], call: u64, seed: u64) -> (SimulatedDisk, History) {
    let disk = SimulatedDisk::new(seed);
    disk.crash_at(call);
    let mut history = History::default();
    if let Err(error) = history.run(&disk, steps) {
        assert!(is_expected_failure(&error), "call {call}: {error}");
    }
    (disk, history)
}

fn calls_of(steps: &[Step]) -> u64 {
    let disk = SimulatedDisk::new(0);
    History::default()
        .run(&disk, steps)
        .expect("no fault was set");
    disk.calls()
}

/// Opens what a crash left, writes on, and opens again: everything promised must be there.
fn survive(disk: &SimulatedDisk, history: &mut History) {
    let append = Step::Append(vec![(Local, 1, 50), (Buffered, 1, 60)]);
    // The newest of the segments that may be dropped is the one that recovery cut, or its copy.
    let closed_first = [Step::Reopen, append.clone(), Step::DropLast, Step::Reopen];
    history
        .clone()
        .run(&disk.fork(), &closed_first)
        .expect("a crashed log opens, closes, and takes writes");
    history
        .run(disk, &[append, Step::Reopen])
        .expect("a crashed log opens and takes writes");
    history.open_and_check(disk).expect("a closed log opens");
}

fn add(total: &mut Events, events: Events) {
    total.kept_unpromised += events.kept_unpromised;
    total.lost += events.lost;
    total.recoveries += events.recoveries;
    total.copies += events.copies;
    total.dropped += events.dropped;
    total.clean_opens += events.clean_opens;
    total.several_segments += events.several_segments;
    total.seals += events.seals;
    total.backups += events.backups;
    total.drops += events.drops;
    total.holes += events.holes;
    total.undone_drops += events.undone_drops;
    total.completed_drops += events.completed_drops;
}

#[track_caller]
fn assert_all_met(events: Events) {
    let Events {
        kept_unpromised,
        lost,
        recoveries,
        copies,
        dropped,
        clean_opens,
        ..
    } = events;
    for (name, count) in [
        ("kept though unpromised", kept_unpromised),
        ("lost", lost),
        ("recoveries", recoveries),
        ("copies", copies),
        ("dropped", dropped),
        ("clean opens", clean_opens),
        ("several segments", events.several_segments),
        ("seals", events.seals),
        ("backups", events.backups),
        ("drops", events.drops),
        ("holes", events.holes),
        ("undone drops", events.undone_drops),
        ("completed drops", events.completed_drops),
    ] {
        assert!(count > 0, "the event `{name}` never happened: {events:?}");
    }
}

#[test]
fn law_1_an_acknowledged_write_survives_power_loss_at_every_call() {
    let mut events = Events::default();
    for steps in small_workloads() {
        for call in 1..=calls_of(&steps) + 1 {
            let (disk, history) = run_until_crash(&steps, call, call);
            for survival in survivals(6) {
                let mut history = history.clone();
                survive(&disk.power_loss(survival), &mut history);
                add(&mut events, history.events);
            }
        }
    }
    assert_all_met(events);
}

#[test]
fn law_1_it_survives_a_second_power_loss_at_every_call_of_the_recovery() {
    let mut crashes_in_recovery = 0;
    // A backup is nothing to a recovery.
    let copies = |steps: &Vec<Step>| steps.iter().any(|step| matches!(step, Step::Backup));
    let workloads = small_workloads().into_iter();
    for (number, steps) in workloads.filter(|steps| !copies(steps)).enumerate() {
        for call in 1..=calls_of(&steps) + 1 {
            let (disk, history) = run_until_crash(&steps, call, call);
            for first in [Survival::Everything, Survival::Random(call + number as u64)] {
                // Pages that the dead process wrote may be in the cache only, or on the disk.
                for found in [disk.power_loss(first), disk.process_death()] {
                    let probe = found.fork();
                    let mut kept = history.clone();
                    drop(kept.open_and_check(&probe).expect("a crashed log opens"));
                    for second in 1..=probe.calls() {
                        let again = found.fork();
                        again.reseed(second);
                        again.crash_at(second);
                        crashes_in_recovery += u64::from(open(&again).is_err());
                        let seed = call * 1_000 + second;
                        let mut history = history.clone();
                        survive(&again.power_loss(Survival::Random(seed)), &mut history);
                    }
                }
            }
        }
    }
    assert!(crashes_in_recovery > 100);
}

#[test]
fn law_1_a_buffered_write_survives_the_death_of_the_process_at_every_call() {
    for steps in small_workloads() {
        for call in 1..=calls_of(&steps) + 1 {
            let (disk, mut history) = run_until_crash(&steps, call, call);
            history.promise_written();
            survive(&disk.process_death(), &mut history);
        }
    }
}

/// The syncs that create a log. One of a directory's name that fails is told, and is the one
/// failure that a second try on the same kernel is not safe from (log/DESIGN.md says so).
fn syncs_of_a_creation() -> u64 {
    let disk = SimulatedDisk::new(0);
    open(&disk).expect("no fault was set");
    disk.counts().syncs
}

#[test]
fn law_4_no_write_is_acknowledged_after_a_failed_sync_or_write() {
    let creation_syncs = syncs_of_a_creation();
    for steps in small_workloads() {
        let disk = SimulatedDisk::new(0);
        History::default()
            .run(&disk, &steps)
            .expect("no fault was set");
        let counts = disk.counts();
        let syncs = (1..=counts.syncs).map(|nth| (true, nth));
        let writes = (1..=counts.writes).map(|nth| (false, nth));
        for (sync, nth) in syncs.chain(writes) {
            for seed in 0..4 {
                let disk = SimulatedDisk::new(seed);
                if sync {
                    disk.fail_sync(nth)
                } else {
                    disk.fail_write(nth)
                }
                let mut history = History::default();
                let failed = history.run(&disk, &steps);
                let error = failed.expect_err("a failed sync or write is told");
                assert!(is_expected_failure(&error), "{error}");
                for survival in survivals(4) {
                    let mut history = history.clone();
                    survive(&disk.power_loss(survival), &mut history);
                }
                if sync && nth <= creation_syncs {
                    continue;
                }
                // A new process on the same kernel sees pages that were never written as clean.
                let died = disk.process_death();
                let mut reopened = history.clone();
                reopened
                    .run(&died, &[Step::Append(vec![(Local, 1, 70)])])
                    .expect("a reopen clears the poison");
                for survival in survivals(4) {
                    survive(&died.power_loss(survival), &mut reopened.clone());
                }
            }
        }
    }
}

#[test]
fn law_4_a_poisoned_log_takes_no_write_and_shows_only_what_is_durable() {
    let disk = SimulatedDisk::new(1);
    let mut history = History::default();
    let open_log = history.open_and_check(&disk).expect("an empty disk");
    let partition = &open_log.log.partitions()[0];
    let append = |durability| {
        let mut buffer = cairn_log::BatchBuffer::new();
        buffer.record(|out| out.extend_from_slice(b"payload"));
        if let Some(appended) = partition.try_append(&buffer, 0, durability)? {
            return appended.commit.wait().map(|()| appended.offset);
        }
        partition.make_room(buffer.byte_len())?;
        let appended = partition
            .try_append(&buffer, 0, durability)?
            .expect("room was made");
        appended.commit.wait().map(|()| appended.offset)
    };
    append(Local).expect("a healthy disk");
    let durable = partition.durable();
    append(Buffered).expect("a healthy disk");
    assert!(partition.visible() > durable);
    disk.fail_sync(disk.counts().syncs + 1);
    assert!(matches!(append(Local), Err(Error::OutcomeUnknown { .. })));
    assert_eq!(
        partition.visible(),
        durable,
        "what is not durable is no longer shown"
    );
    assert!(matches!(append(Local), Err(Error::Poisoned { .. })));
    assert!(matches!(append(Buffered), Err(Error::Poisoned { .. })));
    let calls = disk.calls();
    assert!(open_log.log.close().is_err());
    assert_eq!(disk.calls(), calls, "nothing is written or synced any more");
}

fn random_steps(random: &mut Random) -> Vec<Step> {
    (0..random.below(30) + 1)
        .map(|_| match random.below(16) {
            0 => Step::Idle,
            1 => Step::Prepare,
            2 => Step::Reopen,
            3 => Step::Seal,
            4 | 5 => Step::Drop(random.index(4)),
            6 => Step::Backup,
            _ => Step::Append(
                (0..random.below(5) + 1)
                    .map(|_| {
                        let durability = if random.chance(1, 3) { Buffered } else { Local };
                        let bytes = [10, 100, 600, 2_000][random.index(4)];
                        (durability, random.index(4) + 1, bytes)
                    })
                    .collect(),
            ),
        })
        .collect()
}

#[test]
fn law_1_2_and_14_hold_over_random_histories_of_crashes() {
    let mut events = Events::default();
    let mut crashes = 0;
    for seed in seeds(400) {
        let mut random = Random::new(seed);
        let mut disk = SimulatedDisk::new(seed);
        let mut history = History::default();
        for _ in 0..random.below(5) + 2 {
            let steps = random_steps(&mut random);
            disk.reseed(random.next_u64());
            disk.crash_at(random.below(400) + 1);
            if let Err(error) = history.run(&disk, &steps) {
                assert!(is_expected_failure(&error), "seed {seed}: {error}");
                crashes += 1;
            }
            disk = if random.chance(1, 4) {
                history.promise_written();
                disk.process_death()
            } else {
                history.forget_written();
                disk.power_loss(Survival::Random(random.next_u64()))
            };
        }
        survive(&disk, &mut history);
        add(&mut events, history.events);
    }
    assert!(crashes > 100);
    assert_all_met(events);
}
