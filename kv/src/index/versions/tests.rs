use super::*;
use crate::testing::Random;

fn value(version: u64) -> Location {
    Location {
        version,
        record: version + 24,
        expires_ms: 0,
        value_bytes: 1,
        kind: Kind::Value,
    }
}

fn tombstone(version: u64) -> Location {
    Location {
        kind: Kind::Tombstone,
        ..value(version)
    }
}

fn horizon(stable: u64, pinned: &[u64]) -> Horizon {
    Horizon {
        stable,
        pinned: SmallVec::from_slice(pinned),
    }
}

fn older(versions: &Versions) -> Vec<u64> {
    let older = versions.older.as_ref();
    older.map_or(vec![], |older| {
        older.locations.iter().map(|at| at.version).collect()
    })
}

#[test]
fn a_durable_version_stays_beside_newer_ones_that_are_not() {
    let mut versions = Versions::new();
    for version in [10, 20, 30, 40] {
        let _ = versions.push(value(version), &horizon(15, &[]));
    }
    assert_eq!(older(&versions), [10, 20, 30]);
    assert_eq!(versions.below(15), value(10));
    assert_eq!(versions.below(41), value(40));
    let _ = versions.push(value(50), &horizon(35, &[]));
    assert_eq!(older(&versions), [30, 40]);
    let _ = versions.push(value(60), &horizon(60, &[]));
    assert_eq!(older(&versions), [50], "a reader at 60 sees 50");
    versions.weed(&horizon(61, &[]));
    assert_eq!(older(&versions), [0; 0]);
}

#[test]
fn a_pin_keeps_exactly_the_version_it_shows() {
    let mut versions = Versions::new();
    let pins = [25, 26, 100];
    for version in (10..=200).step_by(10) {
        let _ = versions.push(value(version), &horizon(version, &pins));
    }
    versions.weed(&horizon(1_000, &pins));
    assert_eq!(older(&versions), [20, 90]);
    assert_eq!(versions.below(25), value(20));
    assert_eq!(versions.below(100), value(90));
}

#[test]
fn a_key_is_absent_below_its_first_version() {
    let mut versions = Versions::new();
    assert_eq!(versions.below(u64::MAX), Location::NONE);
    let _ = versions.push(value(10), &horizon(5, &[3]));
    assert_eq!(versions.below(10), Location::NONE);
    assert!(versions.older.is_none());
}

#[test]
fn a_tombstone_is_forgettable_once_it_is_stable_and_hides_nothing() {
    let mut versions = Versions::new();
    let _ = versions.push(value(10), &horizon(0, &[]));
    let _ = versions.push(tombstone(20), &horizon(15, &[]));
    assert!(!versions.is_forgettable(&horizon(15, &[])), "not durable");
    assert!(
        !versions.is_forgettable(&horizon(21, &[])),
        "hides version 10 until it is weeded"
    );
    versions.weed(&horizon(21, &[12]));
    assert!(
        !versions.is_forgettable(&horizon(21, &[12])),
        "a pin sees version 10"
    );
    versions.weed(&horizon(21, &[]));
    assert!(versions.is_forgettable(&horizon(21, &[])));
    let _ = versions.push(value(30), &horizon(21, &[]));
    assert!(!versions.is_forgettable(&horizon(50, &[])));
}

#[test]
fn deadlines_end_a_life_at_their_millisecond() {
    let mortal = Location {
        expires_ms: 100,
        ..value(1)
    };
    assert!(mortal.is_live(99));
    assert!(!mortal.is_live(100));
    assert!(value(1).is_live(u64::MAX));
    assert!(!tombstone(1).is_live(0));
}

#[test]
fn every_watermark_in_use_sees_what_a_full_history_shows() {
    let mut random = Random(11);
    let mut weeded = 0;
    for _ in 0..300 {
        let mut versions = Versions::new();
        let mut all = vec![];
        let mut stable = 0;
        let mut pins: Vec<u64> = vec![];
        for version in (10..1_000).step_by(10) {
            match random.below(6) {
                0 => stable = version,
                1 => pins.push(stable + random.next() % (version - stable).max(1)),
                2 if !pins.is_empty() => drop(pins.swap_remove(random.below(pins.len()))),
                _ => {}
            }
            pins.sort_unstable();
            let horizon = horizon(stable, &pins);
            all.push(value(version));
            let _ = versions.push(value(version), &horizon);
            weeded += all.len() - 1 - older(&versions).len();
            for watermark in pins.iter().copied().chain(stable..version + 11) {
                let expected = all.iter().rev().find(|at| at.version < watermark);
                let expected = expected.copied().unwrap_or(Location::NONE);
                assert_eq!(versions.below(watermark), expected, "at {watermark}");
            }
        }
    }
    assert!(weeded > 1_000);
}

#[test]
fn a_hot_key_under_a_pin_keeps_few_versions_and_weeds_rarely() {
    let mut versions = Versions::new();
    for version in 1..100_000 {
        let _ = versions.push(value(version), &horizon(version, &[50]));
        assert!(older(&versions).len() <= 2 * WEEDED_ALWAYS);
    }
    let mut versions = Versions::new();
    for version in 1..100_000 {
        let _ = versions.push(value(version), &horizon(50, &[]));
    }
    assert_eq!(versions.below(50), value(49));
    assert!(
        versions.older.as_ref().unwrap().locations.len() >= 99_000,
        "none is stable"
    );
    let _ = versions.push(value(100_000), &horizon(100_000, &[]));
    versions.weed(&horizon(100_000, &[]));
    assert_eq!(older(&versions), [99_999]);
}
