use super::*;

#[test]
fn attributes_are_kept_in_order_and_replaced_by_name() {
    let mut attributes = Attributes::new();
    assert!(attributes.is_empty());
    for (name, value) in [("b", "2"), ("a", "1"), ("c", ""), ("b", "two")] {
        attributes.set(name, value).unwrap();
    }
    let pairs: Vec<_> = attributes.iter().collect();
    assert_eq!(pairs, [("a", &b"1"[..]), ("b", b"two"), ("c", b"")]);
    assert_eq!(attributes.get("b"), Some(&b"two"[..]));
    assert_eq!(attributes.get_str("a"), Some("1"));
    assert_eq!(attributes.get("d"), None);
    assert!(Attributes::is_block(attributes.block()));
    assert_eq!(
        format!("{attributes:?}"),
        r#"{"a": "1", "b": "two", "c": ""}"#
    );
}

#[test]
fn the_same_pairs_give_the_same_block_in_any_order() {
    let one = Attributes::new()
        .with("x", "1")
        .unwrap()
        .with("y", "2")
        .unwrap();
    let other = Attributes::new()
        .with("y", "2")
        .unwrap()
        .with("x", "1")
        .unwrap();
    assert_eq!(one, other);
}

#[test]
fn names_and_blocks_are_bounded() {
    let mut attributes = Attributes::new();
    assert_eq!(
        attributes.set("", "").unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
    let longest = "n".repeat(255);
    attributes.set(&longest, "").unwrap();
    assert_eq!(
        attributes.set(&"n".repeat(256), "").unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );

    let room = ATTRIBUTES_BYTES_MAX - attributes.byte_len() - 4;
    let error = attributes.set("v", vec![0; room + 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ValueTooLarge);
    attributes.set("v", vec![0; room]).unwrap();
    assert_eq!(attributes.byte_len(), ATTRIBUTES_BYTES_MAX);
    assert!(Attributes::is_block(attributes.block()));
    attributes.set("v", vec![1; room]).unwrap();
    assert_eq!(
        attributes.set("w", "").unwrap_err().kind(),
        ErrorKind::ValueTooLarge
    );
}

#[test]
fn only_what_the_encoder_makes_is_a_block() {
    let good = Attributes::new()
        .with("a", "1")
        .unwrap()
        .with("b", "22")
        .unwrap();
    assert!(Attributes::is_block(&[]));
    for cut in 1..good.byte_len() {
        let whole_pair = cut == 5;
        assert_eq!(
            Attributes::is_block(&good.block()[..cut]),
            whole_pair,
            "cut to {cut}"
        );
    }
    assert!(
        !Attributes::is_block(b"\x01b\0\0\x01a\0\0"),
        "names out of order"
    );
    assert!(!Attributes::is_block(b"\x01a\0\0\x01a\0\0"), "a name twice");
    assert!(!Attributes::is_block(b"\0\0\0"), "an empty name");
    assert!(
        !Attributes::is_block(b"\x01\xff\0\0"),
        "a name that is not UTF-8"
    );
    assert!(!Attributes::is_block(&vec![0; ATTRIBUTES_BYTES_MAX + 1]));
}
