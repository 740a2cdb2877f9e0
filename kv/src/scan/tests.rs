use super::*;

#[test]
fn the_successor_of_a_prefix_is_the_least_key_past_it() {
    for (prefix, successor) in [
        (&b"a"[..], Some(&b"b"[..])),
        (b"ab\xff", Some(b"ac")),
        (b"a\xff\xff", Some(b"b")),
        (b"\xff\xff", None),
        (b"", None),
    ] {
        assert_eq!(
            successor_of_prefix(prefix).as_deref(),
            successor,
            "{prefix:?}"
        );
    }
}

#[test]
fn prefix_start_and_end_narrow_each_other() {
    let bounds = |prefix: &str, start: Option<&str>, end: Option<&str>| {
        let scan = Scan {
            prefix: prefix.into(),
            start: start.map(Into::into),
            end: end.map(Into::into),
            ..Scan::default()
        };
        scan.bounds()
    };
    let from = |key: &str| Bound::Included(key.as_bytes().to_vec());
    let to = |key: &str| Bound::Excluded(key.as_bytes().to_vec());
    assert_eq!(bounds("", None, None), (Bound::Unbounded, Bound::Unbounded));
    assert_eq!(bounds("p", None, None), (from("p"), to("q")));
    assert_eq!(bounds("p", Some("a"), Some("z")), (from("p"), to("q")));
    assert_eq!(bounds("p", Some("pb"), Some("pc")), (from("pb"), to("pc")));
    assert_eq!(bounds("", Some("b"), Some("a")), (from("b"), to("a")));
    assert_eq!(bounds("p", Some("x"), None), (from("x"), to("q")));
    assert_eq!(bounds("", Some(""), Some("")), (Bound::Unbounded, to("")));
}
