use super::*;

fn at(version: u64) -> Location {
    Location {
        version,
        record: version + 24,
        kind: Kind::Value,
        ..Location::NONE
    }
}

#[test]
fn every_version_is_found_by_its_watermarks() {
    let mut versions = Versions::new();
    assert_eq!(versions.push(at(10)), Some(Location::NONE));
    assert_eq!(versions.push(at(20)), Some(at(10)));
    assert_eq!(versions.push(at(30)), Some(at(20)));
    let found: Vec<u64> = [0, 10, 11, 20, 21, 30, 31, u64::MAX]
        .map(|watermark| versions.below(watermark).version)
        .into();
    assert_eq!(found, [0, 0, 10, 10, 20, 20, 30, 30]);
    let all: Vec<u64> = versions.newest_first().map(|one| one.version).collect();
    assert_eq!(all, [30, 20, 10]);
}

#[test]
fn what_is_not_newer_than_the_newest_is_refused() {
    let mut versions = Versions::new();
    assert!(versions.push(at(10)).is_some());
    assert_eq!(versions.push(at(10)), None);
    assert_eq!(versions.push(at(9)), None);
    assert_eq!(versions.newest(), at(10));
}

#[test]
fn a_deadline_ends_a_value_and_a_tombstone_is_never_live() {
    let mortal = Location {
        expires_ms: 100,
        ..at(10)
    };
    assert!(mortal.is_live(99) && !mortal.is_live(100));
    assert!(at(10).is_live(u64::MAX));
    assert!(!Location::NONE.is_live(0));
}

#[test]
fn only_history_finds_what_was_superseded_when_it_came() {
    let mut versions = Versions::new();
    versions.add_superseded(at(15));
    assert_eq!(
        (versions.newest(), versions.below(99)),
        (Location::NONE, Location::NONE)
    );
    assert_eq!(versions.ever_below(99), at(15));
    assert!(versions.push(at(20)).is_some());
    versions.add_superseded(at(5));
    let found: Vec<u64> = [5, 6, 16, 20, 21]
        .map(|watermark| versions.ever_below(watermark).version)
        .into();
    assert_eq!(found, [0, 5, 15, 15, 20]);
    assert_eq!(versions.newest_first().count(), 1);
    assert_eq!(versions.superseded().len(), 2);
}
