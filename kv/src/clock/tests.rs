use super::*;
use crate::testing::{ManualClock, Random};

const HOUR_MS: u64 = 3_600_000;
const START_MS: u64 = 1_795_507_200_000;

fn clocks() -> (Arc<ManualClock>, BelievedClock) {
    let source = Arc::new(ManualClock::at(START_MS));
    let clock = BelievedClock::new(Arc::clone(&source) as Arc<dyn Clock>);
    (source, clock)
}

#[test]
fn a_new_store_believes_the_wall_clock_at_once() {
    let (_, clock) = clocks();
    assert_eq!(clock.now_ms(), START_MS);
    assert!(!clock.is_suspect());
}

#[test]
fn a_wall_clock_that_goes_back_changes_nothing() {
    let (source, clock) = clocks();
    clock.now_ms();
    source.pass(5);
    source.set_wall(1);
    assert_eq!(clock.now_ms(), START_MS + 5);
    source.pass(10);
    assert_eq!(clock.now_ms(), START_MS + 15);
}

#[test]
fn a_small_step_ahead_is_followed_and_never_taken_back() {
    let (source, clock) = clocks();
    clock.now_ms();
    source.set_wall(START_MS + HOUR_MS);
    assert_eq!(clock.now_ms(), START_MS + HOUR_MS);
    source.set_wall(START_MS);
    source.pass(1);
    assert_eq!(clock.now_ms(), START_MS + HOUR_MS + 1);
}

#[test]
fn a_leap_ahead_is_believed_only_after_a_minute() {
    let (source, clock) = clocks();
    clock.now_ms();
    let leap = HOUR_MS + 1;
    source.set_wall(START_MS + leap);
    assert_eq!(clock.now_ms(), START_MS);
    assert!(clock.is_suspect());
    source.pass(59_999);
    assert_eq!(clock.now_ms(), START_MS + 59_999);
    source.pass(1);
    assert_eq!(clock.now_ms(), START_MS + leap + 60_000);
    assert!(!clock.is_suspect());
}

#[test]
fn a_leap_that_does_not_hold_is_forgotten() {
    let (source, clock) = clocks();
    clock.now_ms();
    source.set_wall(START_MS + 5 * HOUR_MS);
    clock.now_ms();
    source.pass(30_000);
    source.set_wall(START_MS + 30_000);
    clock.now_ms();
    assert!(!clock.is_suspect());
    source.set_wall(START_MS + 5 * HOUR_MS);
    source.pass(40_000);
    assert_eq!(clock.now_ms(), START_MS + 70_000);
}

#[test]
fn a_second_leap_starts_the_minute_again() {
    let (source, clock) = clocks();
    clock.now_ms();
    source.set_wall(START_MS + 5 * HOUR_MS);
    clock.now_ms();
    source.pass(59_000);
    source.set_wall(START_MS + 50 * HOUR_MS);
    clock.now_ms();
    source.pass(1_000);
    assert_eq!(clock.now_ms(), START_MS + 60_000);
    source.pass(59_000);
    assert_eq!(clock.now_ms(), START_MS + 50 * HOUR_MS + 60_000);
}

#[test]
fn what_the_log_knows_is_the_least_that_is_believed() {
    let (source, clock) = clocks();
    clock.learn(START_MS + 10);
    clock.learn(7);
    source.set_wall(START_MS - 20 * HOUR_MS);
    assert_eq!(clock.now_ms(), START_MS + 10);
    source.pass(3);
    assert_eq!(clock.now_ms(), START_MS + 13);
}

#[test]
fn while_the_clock_is_suspect_no_deadline_comes_too_early() {
    let (source, clock) = clocks();
    clock.learn(START_MS - 24 * HOUR_MS);
    assert_eq!(clock.now_ms(), START_MS - 24 * HOUR_MS);
    assert_eq!(clock.deadline_ms(1_000), START_MS + 1_000);
    source.pass(60_000);
    assert_eq!(clock.now_ms(), START_MS + 60_000);
    assert_eq!(clock.deadline_ms(1_000), START_MS + 61_000);
    assert_eq!(clock.deadline_ms(u64::MAX), VERSION_END - 1);
}

#[test]
fn believed_time_never_decreases_whatever_the_wall_clock_does() {
    let mut random = Random(7);
    let (mut suspect, mut followed) = (0, 0);
    for _ in 0..50 {
        let (source, clock) = clocks();
        let mut before = 0;
        for _ in 0..500 {
            match random.below(4) {
                0 => source.set_wall(START_MS - 2 * HOUR_MS + random.next() % (99 * HOUR_MS)),
                1 => clock.learn(START_MS + random.next() % HOUR_MS),
                _ => source.pass(random.next() % 40_000),
            }
            let now = clock.now_ms();
            assert!(now >= before);
            followed += usize::from(now > before + HOUR_MS);
            before = now;
            suspect += usize::from(clock.is_suspect());
        }
    }
    assert!(suspect > 0 && followed > 0);
}
