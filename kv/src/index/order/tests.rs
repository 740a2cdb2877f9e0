use std::collections::BTreeMap;

use super::*;
use crate::record::BucketId;
use crate::testing::Random;

fn node(key: &[u8]) -> Arc<Node> {
    Arc::new(Node::new(BucketId(1), key))
}

fn keys(order: &Order, bounds: (Bound<&[u8]>, Bound<&[u8]>), reverse: bool) -> Vec<Vec<u8>> {
    let mut nodes = vec![];
    order.nodes(bounds, reverse, usize::MAX, &mut nodes);
    nodes.iter().map(|node| node.key().to_vec()).collect()
}

const ALL: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);

#[test]
fn keys_come_in_byte_order_within_their_bounds_from_either_end() {
    let order = Order::default();
    for key in ["b", "a", "c\0", "c", "\u{ff}", "bb"] {
        order.note_new(node(key.as_bytes()));
    }
    assert!(
        keys(&order, ALL, false).is_empty(),
        "nothing is settled yet"
    );
    order.settle();
    let bytes = |keys: &[&str]| {
        keys.iter()
            .map(|key| key.as_bytes().to_vec())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        keys(&order, ALL, false),
        bytes(&["a", "b", "bb", "c", "c\0", "\u{ff}"])
    );
    let bounds = (Bound::Included(&b"b"[..]), Bound::Excluded(&b"c\0"[..]));
    assert_eq!(keys(&order, bounds, false), bytes(&["b", "bb", "c"]));
    assert_eq!(keys(&order, bounds, true), bytes(&["c", "bb", "b"]));
    let mut first = vec![];
    order.nodes(ALL, true, 2, &mut first);
    assert_eq!(first.len(), 2);
}

#[test]
fn keys_that_share_a_beginning_or_are_one_anothers_are_sorted_whole() {
    let mut random = Random(3);
    for common in [0, 1, 8, 30] {
        let order = Order::default();
        let mut expected = vec![];
        for _ in 0..500 {
            let mut key = vec![b'p'; common];
            key.extend((0..random.below(12)).map(|_| b"\0a\xff"[random.below(3)]));
            if !key.is_empty() && !expected.contains(&key) {
                order.note_new(node(&key));
                expected.push(key);
            }
        }
        order.settle();
        expected.sort();
        assert_eq!(keys(&order, ALL, false), expected);
    }
}

#[test]
fn bounds_that_hold_nothing_give_nothing() {
    let order = Order::default();
    order.note_new(node(b"b"));
    order.settle();
    let (b, c) = (&b"b"[..], &b"c"[..]);
    for bounds in [
        (Bound::Included(c), Bound::Included(b)),
        (Bound::Excluded(b), Bound::Excluded(b)),
        (Bound::Included(b), Bound::Excluded(b)),
        (Bound::Excluded(b), Bound::Included(b)),
    ] {
        assert!(keys(&order, bounds, false).is_empty(), "{bounds:?}");
    }
    assert_eq!(
        keys(&order, (Bound::Included(b), Bound::Included(b)), false).len(),
        1
    );
}

#[test]
fn a_key_that_comes_back_is_the_new_node_and_the_old_one_going_leaves_it() {
    for settle_between in [false, true] {
        let order = Order::default();
        let (old, new) = (node(b"k"), node(b"k"));
        order.note_new(Arc::clone(&old));
        if settle_between {
            order.settle();
        }
        order.note_gone(old);
        order.note_new(Arc::clone(&new));
        order.settle();
        let mut nodes = vec![];
        order.nodes(ALL, false, 9, &mut nodes);
        assert!(nodes.len() == 1 && Arc::ptr_eq(&nodes[0], &new));
    }
}

#[test]
fn endless_put_then_delete_keeps_the_notes_short() {
    let order = Order::default();
    let kept = node(b"kept");
    order.note_new(Arc::clone(&kept));
    order.settle();
    order.note_gone(kept);
    for number in 0..100_000_u64 {
        let node = node(&number.to_be_bytes());
        order.note_new(Arc::clone(&node));
        order.note_gone(node);
        assert!(order.notes.lock().changes.len() <= 4 * STRUCK_FROM);
    }
    order.settle();
    assert!(
        keys(&order, ALL, false).is_empty(),
        "what was settled went as well"
    );
}

#[test]
fn any_mix_of_changes_settles_to_what_a_map_holds() {
    let mut random = Random(5);
    let (mut bulk, mut single) = (0, 0);
    for round in 0..200 {
        let order = Order::default();
        let mut model: BTreeMap<Vec<u8>, Arc<Node>> = BTreeMap::new();
        for _ in 0..random.below(40) {
            for _ in 0..random.below(if round % 2 == 0 { 60 } else { 4 }) {
                let key = vec![random.below(50).to_le_bytes()[0]];
                match model.remove(&key) {
                    Some(node) => order.note_gone(node),
                    None => {
                        let node = node(&key);
                        model.insert(key, Arc::clone(&node));
                        order.note_new(node);
                    }
                }
            }
            if order.notes.lock().gone == 0 {
                bulk += 1
            } else {
                single += 1
            }
            order.settle();
            let mut nodes = vec![];
            order.nodes(ALL, false, usize::MAX, &mut nodes);
            assert!(
                nodes
                    .iter()
                    .zip(model.values())
                    .all(|(node, held)| Arc::ptr_eq(node, held))
            );
            assert_eq!(nodes.len(), model.len());
        }
        let drained = order.drain();
        assert_eq!(drained.len(), model.len());
        assert!(keys(&order, ALL, false).is_empty());
    }
    assert!(bulk > 100 && single > 100);
}
