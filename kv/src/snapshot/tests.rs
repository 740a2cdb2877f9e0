use super::*;

#[test]
fn names_within_the_rules_are_taken_and_no_others() {
    let (longest, long) = ("a".repeat(20), "a".repeat(21));
    for name in ["a", "0", "-", "before-2026-11-24", &longest] {
        assert_eq!(SnapshotName::new(name).unwrap().as_str(), name);
    }
    for name in [
        "", "A", "a.b", "a_b", "a b", "a/b", "ä", "a\0", "a@b", &long,
    ] {
        let refused = SnapshotName::new(name).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{name:?}");
    }
}

#[test]
fn a_key_and_a_value_that_are_no_snapshots_are_damage() {
    let name = SnapshotName::new("daily").unwrap();
    let (key, value) = (key(BucketId(258), &name), encode_time(1_000));
    assert_eq!(key, b"\0\0\x01\x02daily");
    assert_eq!(value, *b"\0\0\0\0\0\0\x03\xe8");
    let read = decode(&key, &value).unwrap();
    assert_eq!(read, (BucketId(258), name, 1_000));
    let cases: [(&[u8], &[u8]); 7] = [
        (b"\0\0\x01", &value),
        (b"\0\0\x01\x02", &value),
        (b"\0\0\x01\x02Daily", &value),
        (b"\0\0\0\0daily", &value),
        (b"\x80\0\x01\x02daily", &value),
        (&key, &value[1..]),
        (&key, &[0xff; 8]),
    ];
    for (key, value) in cases {
        let refused = decode(key, value).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Corrupt, "{key:?} {value:?}");
    }
}
