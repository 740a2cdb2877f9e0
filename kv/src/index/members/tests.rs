use super::*;
use crate::testing::Random;

fn node(key: &[u8]) -> Arc<Node> {
    Node::of(key)
}

fn keys(members: &Members, bounds: (Bound<&[u8]>, Bound<&[u8]>), reverse: bool) -> Vec<Vec<u8>> {
    let mut keys = vec![];
    let count = members.nodes(bounds, reverse, usize::MAX, |node| {
        keys.push(node.key().to_vec());
    });
    assert_eq!(count, Some(keys.len()));
    keys
}

const ALL: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);

#[test]
fn keys_come_in_byte_order_within_their_bounds_from_either_end() {
    let members = Members::default();
    for key in ["b", "a", "c\0", "c", "\u{ff}", "bb"] {
        members.note(node(key.as_bytes()));
    }
    assert!(
        keys(&members, ALL, false).is_empty(),
        "nothing is settled yet"
    );
    members.settle();
    let bytes = |keys: &[&str]| {
        keys.iter()
            .map(|key| key.as_bytes().to_vec())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        keys(&members, ALL, false),
        bytes(&["a", "b", "bb", "c", "c\0", "\u{ff}"])
    );
    let bounds = (Bound::Included(&b"b"[..]), Bound::Excluded(&b"c\0"[..]));
    assert_eq!(keys(&members, bounds, false), bytes(&["b", "bb", "c"]));
    assert_eq!(keys(&members, bounds, true), bytes(&["c", "bb", "b"]));
    assert_eq!(members.nodes(ALL, true, 2, |_| {}), Some(2));
}

#[test]
fn keys_that_share_a_beginning_or_are_one_anothers_are_sorted_whole() {
    let mut random = Random(3);
    for common in [0, 1, 8, 30] {
        let members = Members::default();
        let mut expected = vec![];
        for _ in 0..500 {
            let mut key = vec![b'p'; common];
            key.extend((0..random.below(12)).map(|_| b"\0a\xff"[random.below(3)]));
            if !key.is_empty() && !expected.contains(&key) {
                members.note(node(&key));
                expected.push(key);
            }
        }
        members.settle();
        expected.sort();
        assert_eq!(keys(&members, ALL, false), expected);
    }
}

#[test]
fn bounds_that_hold_nothing_give_nothing() {
    let members = Members::default();
    members.note(node(b"b"));
    members.settle();
    let (b, c) = (&b"b"[..], &b"c"[..]);
    for bounds in [
        (Bound::Included(c), Bound::Included(b)),
        (Bound::Excluded(b), Bound::Excluded(b)),
        (Bound::Included(b), Bound::Excluded(b)),
        (Bound::Excluded(b), Bound::Included(b)),
    ] {
        assert!(keys(&members, bounds, false).is_empty(), "{bounds:?}");
    }
    assert_eq!(
        keys(&members, (Bound::Included(b), Bound::Included(b)), false).len(),
        1
    );
}

#[test]
fn keys_that_come_in_any_number_of_portions_settle_to_what_a_set_holds() {
    let mut random = Random(5);
    for round in 0..200 {
        let members = Members::default();
        let mut expected = BTreeSet::new();
        for _ in 0..random.below(20) {
            for _ in 0..random.below(if round % 2 == 0 { 60 } else { 3 }) {
                let key = random.next().to_be_bytes()[..3].to_vec();
                if expected.insert(key.clone()) {
                    members.note(node(&key));
                }
            }
            members.settle();
            assert!(keys(&members, ALL, false).iter().eq(&expected));
        }
        let all = members.all_in_key_order();
        assert!(all.iter().map(|node| node.key()).eq(expected.iter()));
    }
}

#[test]
fn what_older_levels_hold_is_subtracted_once_a_key() {
    let members = Members::default();
    let value = |version| Location {
        version,
        kind: Kind::Value,
        value_bytes: 10,
        ..Location::NONE
    };
    for (key, version) in [(b"old", 1), (b"new", 2)] {
        members.note(node(key));
        members.count(3, &Location::NONE, &value(version));
    }
    let asked = std::cell::Cell::new(0);
    let older = |node: &Node| {
        asked.set(asked.get() + 1);
        Ok(match node.key() {
            b"old" => Counts { keys: 1, bytes: 5 },
            _ => Counts::default(),
        })
    };
    for _ in 0..2 {
        assert_eq!(members.counts(|_| {}, older), Counts { keys: 1, bytes: 21 });
    }
    assert_eq!(asked.get(), 2);
    members.count(3, &value(1), &Location::NONE);
    assert_eq!(members.counts(|_| {}, older), Counts { keys: 0, bytes: 8 });
}

#[test]
fn whoever_asks_for_keys_of_a_retired_memtable_is_told() {
    let members = Members::default();
    members.note(node(b"b"));
    members.settle();
    members.retire();
    assert_eq!(members.nodes(ALL, false, 2, |_| {}), None);
    assert_eq!(members.len(), 0);
}

#[test]
fn what_older_levels_could_only_guess_is_asked_again_until_they_know() {
    let members = Members::default();
    let value = Location {
        version: 1,
        kind: Kind::Value,
        value_bytes: 10,
        ..Location::NONE
    };
    members.note(node(b"key"));
    members.count(3, &Location::NONE, &value);
    let guess = |_: &Node| Err(Counts { keys: 0, bytes: 2 });
    for _ in 0..2 {
        assert_eq!(members.counts(|_| {}, guess), Counts { keys: 1, bytes: 11 });
    }
    let known = |_: &Node| Ok(Counts { keys: 1, bytes: 13 });
    assert_eq!(members.counts(|_| {}, known), Counts::default());
    assert_eq!(members.counts(|_| {}, guess), Counts::default());
}
