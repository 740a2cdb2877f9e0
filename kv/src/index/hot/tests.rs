use std::sync::atomic::AtomicBool as Flag;

use super::*;

const BYTES: u64 = 1 << 20;

fn fill(hot: &HotIndex, hash: u64, record: u64) {
    let stamp = hot.stamp(hash).unwrap();
    let _ = hot.fill(hash, record, stamp);
}

#[test]
fn what_is_filled_in_is_found_and_a_commit_replaces_or_removes_it() {
    let hot = HotIndex::new(BYTES);
    let hash = 0xABCD_EF01_2345_6789;
    assert_eq!(hot.find(hash), None);
    fill(&hot, hash, 5_000);
    assert_eq!(hot.find(hash), Some(5_000));
    hot.outbid(hash, 9_000);
    assert_eq!(hot.find(hash), Some(9_000));
    hot.outbid(hash, 0);
    assert_eq!(hot.find(hash), None);
}

#[test]
fn a_fill_loses_to_a_commit_since_its_stamp() {
    let hot = HotIndex::new(BYTES);
    let stamp = hot.stamp(1).unwrap();
    hot.outbid(1, 9_000);
    hot.fill(1, 5_000, stamp);
    assert_eq!(
        hot.find(1),
        None,
        "the commit entered nothing, the fill came late"
    );
    // Of another key of the set, too: the set cannot tell.
    let stamp = hot.stamp(1).unwrap();
    hot.outbid(1 | (5 << 53), 9_000);
    hot.fill(1, 5_000, stamp);
    assert_eq!(hot.find(1), None);
}

#[test]
fn keys_of_one_set_push_one_another_out_and_keys_of_one_tag_take_over() {
    let hot = HotIndex::new(BYTES);
    for tag in 1..=20_u64 {
        fill(&hot, tag << 53, 4_096 + tag);
    }
    let found = (1..=20_u64).filter(|tag| hot.find(tag << 53) == Some(4_096 + tag));
    assert_eq!(found.count(), ENTRIES);
    fill(&hot, 20 << 53, 7_777);
    assert_eq!(hot.find(20 << 53), Some(7_777));
}

#[test]
fn what_is_written_or_offered_takes_what_is_free_and_pushes_nothing_out() {
    let hot = HotIndex::new(BYTES);
    let place = |key: u64| 4_096 + key;
    for key in 1..=20_u64 {
        let stamp = hot.stamp(key << 53).unwrap();
        let was_entered = match key % 2 {
            0 => hot.offer(key << 53, place(key), stamp),
            _ => {
                hot.enter(key << 53, place(key));
                hot.find(key << 53).is_some()
            }
        };
        assert_eq!(was_entered, key <= ENTRIES as u64);
    }
    for key in 1..=20_u64 {
        let expected = (key <= ENTRIES as u64).then(|| place(key));
        assert_eq!(hot.find(key << 53), expected, "{key}");
    }
    // A newer place of what is there, and none of what is there no more.
    hot.enter(1 << 53, 9_000);
    assert_eq!(hot.find(1 << 53), Some(9_000));
    hot.enter(1 << 53, 0);
    assert_eq!(hot.find(1 << 53), None);
    hot.enter(20 << 53, 9_500);
    assert_eq!(hot.find(20 << 53), Some(9_500));
    // What is offered takes no entry of its own tag: that one may be newer.
    let stamp = hot.stamp(2 << 53).unwrap();
    assert!(!hot.offer(2 << 53, 5_000, stamp));
    assert_eq!(hot.find(2 << 53), Some(place(2)));
}

#[test]
fn an_offer_loses_to_a_commit_since_its_stamp() {
    let hot = HotIndex::new(BYTES);
    let stamp = hot.stamp(1).unwrap();
    hot.outbid(1, 9_000);
    assert!(!hot.offer(1, 5_000, stamp));
    assert_eq!(hot.find(1), None);
    let stamp = hot.stamp(1).unwrap();
    hot.enter(1 | (5 << 53), 9_000);
    assert!(!hot.offer(1, 5_000, stamp));
    assert_eq!(hot.find(1), None);
}

#[test]
fn it_grows_at_once_to_what_many_keys_need_and_has_room_until_most_is_taken() {
    let hot = HotIndex::new(16 * BYTES);
    let entries = |bytes: u64| bytes / 128 * ENTRIES as u64;
    assert!(hot.has_room());
    assert!(!hot.is_small_for(entries(BYTES / 4) / 2));
    assert!(hot.is_small_for(entries(BYTES / 4)));
    // From a quarter of a mebibyte to two, and not to 16 for less than what crowds those.
    let keys = entries(2 * BYTES) / 2;
    assert!(hot.is_small_for(keys));
    hot.grow(keys);
    assert!(!hot.is_small_for(keys));
    assert!(hot.is_small_for(entries(2 * BYTES)));
    hot.grow(entries(2 * BYTES));
    assert!(!hot.is_small_for(u64::MAX), "all there is, is in use");
    hot.used
        .0
        .store(hot.sets_max * ENTRIES / 10 * 9, Ordering::Relaxed);
    assert!(!hot.has_room());
    // The last step is not from three quarters to all of it.
    let odd = HotIndex::new(3 * BYTES);
    odd.grow(0);
    assert!(!odd.is_small_for(u64::MAX));
}

#[test]
fn a_crowded_table_grows_to_its_bound_and_nothing_in_it_goes_stale() {
    let hot = HotIndex::new(4 * BYTES);
    let mut random = crate::testing::Random(1);
    let set_and_tag = |hash: u64| ((hash & u64::from(u32::MAX)) >> 17, tag(hash));
    let mut hashes: Vec<u64> = (0..200_000).map(|_| random.next()).collect();
    hashes.sort_unstable_by_key(|&hash| set_and_tag(hash));
    hashes.dedup_by_key(|hash| set_and_tag(*hash));
    let mut grown = 0;
    for round in 0..4 {
        for (record, &hash) in (4_096..).zip(&hashes) {
            let stamp = hot.stamp(hash).unwrap();
            if hot.fill(hash, record, stamp) {
                let left = hot.grow(0);
                // What was left behind and is not cleared yet misleads nobody.
                if round > 0 || left > SETS_FIRST {
                    hot.clear(left);
                }
                grown += 1;
            }
        }
    }
    assert_eq!(grown, 2, "from a quarter of a mebibyte over two to four");
    assert!(!hot.is_crowded(), "all there is, is in use");
    let found = |hash: u64, record: u64| hot.find(hash) == Some(record);
    let kept = (4_096..)
        .zip(&hashes)
        .filter(|&(record, &hash)| found(hash, record));
    assert!(kept.count() > hashes.len() / 10 * 9);
    for (record, &hash) in (4_096..).zip(&hashes) {
        assert!(hot.find(hash).is_none_or(|found| found == record));
        hot.outbid(hash, 1 << 40);
        assert!(hot.find(hash).is_none_or(|found| found == 1 << 40));
    }
}

#[test]
fn a_few_keys_that_come_and_go_do_not_crowd_it() {
    let hot = HotIndex::new(4 * BYTES);
    for round in 0..40_000 {
        let hash = (round % 8) << 40;
        let stamp = hot.stamp(hash).unwrap();
        assert!(!hot.fill(hash, 5_000, stamp), "round {round}");
        hot.outbid(hash, 0);
    }
    assert!(!hot.is_crowded());
}

#[test]
fn what_was_filled_in_before_a_growth_is_never_found_after_a_commit_behind_it() {
    let hot = HotIndex::new(BYTES);
    let mut random = crate::testing::Random(5);
    for _ in 0..2 {
        let hashes: Vec<u64> = (0..1_000).map(|_| random.next()).collect();
        let stamps: Vec<_> = hashes
            .iter()
            .map(|&hash| hot.stamp(hash).unwrap())
            .collect();
        hashes[..500]
            .iter()
            .for_each(|&hash| fill(&hot, hash, 5_000));
        hot.grow(0);
        for (&hash, stamp) in hashes.iter().zip(stamps) {
            hot.outbid(hash, 9_000);
            // Too late, and maybe where the key no longer stands.
            hot.fill(hash, 5_000, stamp);
            assert_ne!(hot.find(hash), Some(5_000));
        }
    }
}

#[test]
fn without_memory_nothing_is_kept() {
    let hot = HotIndex::new(0);
    assert!(hot.stamp(1).is_none());
    hot.outbid(1, 5_000);
    assert_eq!(hot.find(1), None);
}

/// The promise of the module, under contention: a writer raises a register and outbids; readers
/// fill what they read from the register. No reader may find less than was there before it looked.
#[test]
fn nobody_finds_what_was_outbid_before_they_looked() {
    let hot = HotIndex::new(BYTES);
    let register = || AtomicU64::new(4_096);
    // Hash, what is sequenced, what is visible.
    let keys: Vec<_> = (0..16_u64)
        .map(|tag| (tag << 53 | tag << 28, register(), register()))
        .collect();
    let done = Flag::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut random = crate::testing::Random(7);
                while !done.load(Ordering::Relaxed) {
                    let (hash, sequenced, visible) = &keys[random.below(keys.len())];
                    let visible = visible.load(Ordering::Acquire);
                    if let Some(found) = hot.find(*hash) {
                        assert!(found >= visible, "{found} < {visible}");
                        continue;
                    }
                    if let Some(stamp) = hot.stamp(*hash) {
                        let newest = sequenced.load(Ordering::Acquire);
                        let _ = match random.below(2) {
                            0 => hot.fill(*hash, newest, stamp),
                            _ => hot.offer(*hash, newest, stamp),
                        };
                    }
                }
            });
        }
        let mut random = crate::testing::Random(3);
        for record in 5_000..200_000 {
            if record % 60_000 == 0 {
                hot.grow(0);
            }
            let (hash, sequenced, visible) = &keys[random.below(keys.len())];
            sequenced.store(record, Ordering::Release);
            match record % 2 {
                0 => hot.outbid(*hash, record),
                _ => drop(hot.enter(*hash, record)),
            }
            visible.store(record, Ordering::Release);
        }
        done.store(true, Ordering::Relaxed);
    });
}
