//! Attribute blocks as a fuzz target: a block that is accepted is what setting its pairs one by one
//! makes, in any order, and each name finds its value. A row of settings ends where a map would.

use std::collections::BTreeMap;

use super::*;
use crate::fuzzing::{Choices, Target};

pub(crate) const TARGET: Target = Target {
    name: "kv_attributes",
    check,
    seeds,
};

fn check(bytes: &[u8]) {
    if Attributes::is_block(bytes) {
        encodes_back(Attributes::from_block(Bytes::copy_from_slice(bytes)));
    }
    behaves_like_a_map(Choices(bytes));
}

fn encodes_back(accepted: Attributes) {
    let pairs: Vec<(&str, &[u8])> = accepted.iter().collect();
    let mut again = Attributes::new();
    for (name, value) in pairs.iter().rev() {
        // The decoder takes an empty name for none, as the door does.
        again.set(name, value).expect("a pair of a block");
        assert_eq!(accepted.get(name), Some(*value));
    }
    assert_eq!(again, accepted);
}

fn behaves_like_a_map(mut choices: Choices<'_>) {
    let mut model = BTreeMap::new();
    let mut attributes = Attributes::new();
    while !choices.is_empty() {
        let (name, value) = (usize::from(choices.byte()), usize::from(choices.byte()));
        let Ok(name) = std::str::from_utf8(choices.take(name % 16)) else {
            continue;
        };
        // Long values, so that the limit of a block is met.
        let value = choices.take(value % 32).repeat(16);
        if attributes.set(name, &value).is_ok() {
            model.insert(name, value);
        }
    }
    assert!(Attributes::is_block(attributes.block()));
    let held: Vec<(&str, &[u8])> = attributes.iter().collect();
    let expected: Vec<(&str, &[u8])> = model
        .iter()
        .map(|(name, value)| (*name, &value[..]))
        .collect();
    assert_eq!(held, expected);
}

fn seeds() -> Vec<Vec<u8>> {
    let pairs: [&[(&str, &[u8])]; 3] = [
        &[],
        &[("content-type", b"text/plain")],
        &[
            ("a", b""),
            ("etag", b"\"x\""),
            ("tag", &[0, 255]),
            ("\u{fc}", b"umlaut"),
        ],
    ];
    let block = |pairs: &&[(&str, &[u8])]| {
        let mut attributes = Attributes::new();
        for (name, value) in *pairs {
            attributes.set(name, value).expect("short");
        }
        attributes.block().to_vec()
    };
    pairs.iter().map(block).collect()
}
