use super::*;

const SYNC: Duration = Duration::from_micros(100);

fn at(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

#[test]
fn a_leader_waits_for_those_of_the_last_group_and_no_longer_than_part_of_a_sync() {
    let mut gathering = Gathering::default();
    assert_eq!(gathering.plan(1, || at(0)), None, "nobody was before");
    gathering.ended(7, 2, at(0), SYNC);
    let until = at(110) + SYNC / SYNC_PARTS;
    assert_eq!(gathering.plan(3, || at(110)), Some((9, until)));
    assert_eq!(gathering.plan(9, || at(110)), None, "all are there");
    assert_eq!(gathering.plan(1, || at(500)), None, "they have gone");
}

#[test]
fn a_lone_writer_is_not_waited_for() {
    let mut gathering = Gathering::default();
    gathering.ended(1, 0, at(0), SYNC);
    assert_eq!(gathering.plan(1, || at(101)), None);
}

#[test]
fn where_time_stands_still_nobody_waits() {
    let mut gathering = Gathering::default();
    gathering.ended(16, 0, at(5), at(5));
    assert_eq!(gathering.plan(1, || at(5)), None);
}

#[test]
fn leaders_whose_writers_do_not_come_back_wait_ever_more_rarely() {
    let mut gathering = Gathering::default();
    let mut waits = 0;
    for _ in 0..1_000 {
        gathering.ended(2, 0, at(0), SYNC);
        if gathering.plan(1, || at(101)).is_some() {
            waits += 1;
            gathering.waited(false);
        }
    }
    assert!((7..25).contains(&waits), "{waits}");
    gathering.skipped = 0;
    gathering.waited(true);
    gathering.ended(2, 0, at(0), SYNC);
    assert!(gathering.plan(1, || at(101)).is_some());
}
