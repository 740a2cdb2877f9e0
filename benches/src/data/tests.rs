use super::*;
use std::collections::BTreeSet;

#[test]
fn keys_are_unique_and_sort_by_their_first_word() {
    let mut keys: Vec<(u64, [u8; 24])> = (0..10_000)
        .map(|index| {
            let mut key = [0; 24];
            fill_key(index, &mut key);
            (key_word(index), key)
        })
        .collect();
    keys.sort();
    assert!(keys.windows(2).all(|pair| pair[0].1 < pair[1].1));
}

#[test]
fn the_shortest_key_is_still_unique() {
    let keys: BTreeSet<[u8; KEY_BYTES_MIN]> = (0..10_000)
        .map(|index| {
            let mut key = [0; KEY_BYTES_MIN];
            fill_key(index, &mut key);
            key
        })
        .collect();
    assert_eq!(keys.len(), 10_000);
}

#[test]
fn a_value_depends_on_its_row_and_version_only() {
    let value = |index, version| {
        let mut value = vec![0; 100];
        fill_value(index, version, &mut value);
        value
    };
    assert_eq!(value(7, 3), value(7, 3));
    assert_ne!(value(7, 3), value(7, 4));
    assert_ne!(value(7, 3), value(8, 3));
}

#[test]
fn a_stamp_is_found_in_values_of_every_size() {
    for value_bytes in [0, 1, 4, 8, 9, 100, 4096] {
        let mut value = vec![0; value_bytes];
        fill_value(42, 5, &mut value);
        assert!(bears_stamp(&value, value_bytes, 42, 5));
        assert!(!bears_stamp(&value, value_bytes + 1, 42, 5));
        if value_bytes >= 4 {
            assert!(!bears_stamp(&value, value_bytes, 42, 6));
        }
    }
}

#[test]
fn values_use_every_byte_about_equally() {
    let mut counts = [0u32; 256];
    let mut value = [0; 4096];
    for index in 0..64 {
        fill_value(index, 0, &mut value);
        for byte in value {
            counts[usize::from(byte)] += 1;
        }
    }
    let expected = 64 * 4096 / 256;
    assert!(
        counts
            .iter()
            .all(|&count| count > expected * 3 / 4 && count < expected * 5 / 4)
    );
}

#[test]
fn random_streams_repeat_and_differ() {
    let words = |stream| {
        let mut random = Random::new(stream);
        [random.word(), random.word(), random.word()]
    };
    assert_eq!(words(1), words(1));
    assert_ne!(words(1), words(2));
}

#[test]
fn below_stays_below_and_reaches_every_value() {
    let mut random = Random::new(0);
    let seen: BTreeSet<u64> = (0..1_000).map(|_| random.below(7)).collect();
    assert_eq!(seen, (0..7).collect());
}

#[test]
fn zipf_of_alpha_zero_is_uniform() {
    let zipf = Zipf::new(10, 0.0);
    let mut random = Random::new(3);
    let mut counts = [0u32; 10];
    for _ in 0..100_000 {
        counts[zipf.sample(&mut random) as usize] += 1;
    }
    assert!(counts.iter().all(|&count| (9_000..11_000).contains(&count)));
}

#[test]
fn zipf_gives_each_rank_its_share() {
    for alpha in [0.3, 1.0, 1.5, 2.7] {
        let zipf = Zipf::new(100, alpha);
        let total: f64 = (1..=100).map(|rank| f64::from(rank).powf(-alpha)).sum();
        let mut random = Random::new(9);
        let mut counts = [0u32; 100];
        for _ in 0..200_000 {
            counts[zipf.sample(&mut random) as usize] += 1;
        }
        for rank in [1u32, 2, 10] {
            let expected = 200_000.0 * f64::from(rank).powf(-alpha) / total;
            let seen = f64::from(counts[rank as usize - 1]);
            let slack = 5.0 * expected.sqrt() + 1.0;
            assert!((seen - expected).abs() < slack, "alpha {alpha} rank {rank}");
        }
    }
}

#[test]
fn a_load_gives_each_row_once_whatever_the_chunk() {
    let collect = |chunk| {
        let shape = Shape::SMALL;
        let mut rows = Rows::new(shape, 1_003);
        let mut pairs = Pairs::new(shape);
        let mut keys = Vec::new();
        while rows.next_chunk(chunk, &mut pairs) {
            keys.extend(pairs.iter().map(|(key, _)| key.to_vec()));
        }
        keys
    };
    assert_eq!(collect(1), collect(1_000));
    assert_eq!(collect(1_000).len(), 1_003);
    let mut one_by_one = Vec::new();
    let mut rows = Rows::new(Shape::SMALL, 1_003);
    let mut take = |key: &[u8], _: &[u8]| {
        one_by_one.push(key.to_vec());
        Ok::<(), ()>(())
    };
    while rows.each(100, &mut take).unwrap() > 0 {}
    assert_eq!(one_by_one, collect(1_000));
}

#[test]
fn the_sum_over_rows_is_the_expected_one_in_any_order() {
    for value_bytes in [0, 3, 8, 100] {
        let shape = Shape {
            key_bytes: 24,
            value_bytes,
        };
        let mut pairs = Pairs::new(shape);
        (0..100).rev().for_each(|index| pairs.push(index, 2));
        let sum = pairs.iter().fold(0u64, |sum, (key, value)| {
            sum.wrapping_add(row_sum(leading_word(key), value))
        });
        let expected = (0..100).fold(0u64, |sum, index| {
            sum.wrapping_add(expected_row_sum(shape, index, 2))
        });
        assert_eq!(sum, expected);
    }
}
