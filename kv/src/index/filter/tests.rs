use super::*;
use crate::testing::Random;

fn filled(keys: usize, seed: u64) -> (Filter, Vec<u64>) {
    let mut random = Random(seed);
    let hashes: Vec<u64> = (0..keys).map(|_| random.next()).collect();
    let mut filter = Filter::with_capacity(keys);
    hashes.iter().for_each(|&hash| filter.insert(hash));
    (filter, hashes)
}

#[test]
fn what_was_inserted_is_never_denied() {
    for keys in [1, 2, 51, 52, 1_000, 100_000] {
        let (filter, hashes) = filled(keys, 7);
        assert!(hashes.iter().all(|&hash| filter.may_hold(hash)));
    }
}

#[test]
fn about_one_absent_hash_in_a_hundred_is_let_through() {
    let (filter, _) = filled(100_000, 1);
    let mut random = Random(2);
    let asked = 200_000;
    let passed = (0..asked)
        .filter(|_| filter.may_hold(random.next()))
        .count();
    let share = passed as f64 / f64::from(asked);
    assert!((0.004..0.013).contains(&share), "{share}");
}

#[test]
fn a_filter_twice_too_full_still_denies_most() {
    let (mut filter, _) = filled(20_000, 1);
    let mut random = Random(3);
    (0..20_000).for_each(|_| filter.insert(random.next()));
    let passed = (0..50_000)
        .filter(|_| filter.may_hold(random.next()))
        .count();
    assert!(passed < 50_000 * 15 / 100, "{passed}");
}

#[test]
fn hashes_that_share_a_half_are_told_apart() {
    // The line comes from one half and the bits from the other, so half a hash is no key.
    let mut filter = Filter::with_capacity(10_000);
    let mut random = Random(4);
    let hashes: Vec<u64> = (0..10_000).map(|_| random.next()).collect();
    hashes.iter().for_each(|&hash| filter.insert(hash));
    for half in [u64::from(u32::MAX) << 32, u64::from(u32::MAX)] {
        let others = hashes.iter().map(|hash| hash ^ random.next() & half);
        let passed = others.filter(|&hash| filter.may_hold(hash)).count();
        assert!(passed < 300, "{passed}");
    }
}

#[test]
fn an_empty_filter_denies_everything() {
    let filter = Filter::with_capacity(0);
    let mut random = Random(5);
    assert_eq!(filter.byte_len(), LINE_BYTES);
    assert!((0..1_000).all(|_| !filter.may_hold(random.next())));
}

#[test]
fn it_costs_ten_bits_a_key_and_holds_what_it_was_made_for() {
    for keys in [0, 1, 51, 52, 490_000] {
        let filter = Filter::with_capacity(keys);
        assert!(filter.capacity() >= keys);
        assert!(filter.byte_len() <= keys * 10 / 8 + LINE_BYTES);
        assert_eq!(filter.byte_len() % LINE_BYTES, 0);
    }
}

#[test]
fn bytes_are_the_same_filter_again_and_others_are_none() {
    let (filter, _) = filled(1_000, 9);
    let bytes = filter.to_bytes();
    assert_eq!(bytes.len(), filter.byte_len());
    assert_eq!(Filter::from_bytes(&bytes), Some(filter));
    assert_eq!(Filter::from_bytes(&bytes[1..]), None);
    assert_eq!(Filter::from_bytes(&bytes[..63]), None);
    assert_eq!(Filter::from_bytes(&[]), None);
}

#[test]
fn the_bits_of_a_hash_are_held_to_their_place() {
    let mut filter = Filter::with_capacity(100);
    assert_eq!(filter.byte_len(), 2 * LINE_BYTES);
    // The greatest low half: the last line. The high half 1: bit 0, then those that powers of
    // 0x9E3779B9 have in their upper nine bits.
    filter.insert(0x0000_0001_FFFF_FFFF);
    let set: Vec<usize> = (0..2 * LINE_BITS)
        .filter(|bit| filter.to_bytes()[bit / 8] >> (bit % 8) & 1 == 1)
        .collect();
    assert_eq!(set, [512, 619, 742, 828, 957, 966]);
}

#[test]
fn lines_lie_on_cache_lines() {
    assert_eq!(align_of::<Line>(), LINE_BYTES);
    assert_eq!(size_of::<Line>(), LINE_BYTES);
}
