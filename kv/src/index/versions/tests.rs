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
    let mut versions = Versions::new(at(10));
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
    let mut versions = Versions::new(at(10));
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
