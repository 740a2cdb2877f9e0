use super::*;

fn parse(query: &str) -> Query {
    Query::parse(Some(query)).unwrap()
}

#[test]
fn values_are_form_decoded_bytes() {
    let mut query = parse("prefix=a+b%2B%FF&start=&&end=x=y");
    assert_eq!(query.bytes("prefix").unwrap(), b"a b+\xff");
    assert_eq!(query.bytes("start").unwrap(), b"");
    assert_eq!(query.bytes("end").unwrap(), b"x=y");
    assert_eq!(query.bytes("end"), None, "taken");
    query.finish().unwrap();
}

#[test]
fn a_parameter_twice_or_unknown_is_named() {
    let twice = Query::parse(Some("limit=1&limit=2")).unwrap_err();
    assert!(format!("{twice:?}").contains("limit"));
    let unknown = parse("limt=1").finish().unwrap_err();
    assert!(format!("{unknown:?}").contains("limt"));
    assert!(Query::parse(Some("a=%4")).is_err());
    assert!(Query::parse(Some("%ff=1")).is_err());
}

#[test]
fn numbers_are_decimal_digits_and_absurd_ones_are_the_greatest() {
    assert_eq!(parse("n=0").number("n").unwrap(), Some(0));
    assert_eq!(parse("n=007").number("n").unwrap(), Some(7));
    assert_eq!(
        parse("n=99999999999999999999999").number("n").unwrap(),
        Some(u64::MAX)
    );
    assert_eq!(parse("").number("n").unwrap(), None);
    for bad in ["n=", "n=-1", "n=%2B1", "n=1.5", "n=ten", "n=1e3", "n=%FF"] {
        assert!(parse(bad).number("n").is_err(), "{bad}");
    }
}

#[test]
fn flags_are_true_false_or_bare() {
    for on in ["f", "f=", "f=true", "f=1"] {
        assert!(parse(on).flag("f").unwrap(), "{on}");
    }
    for off in ["", "f=false", "f=0"] {
        assert!(!parse(off).flag("f").unwrap(), "{off}");
    }
    assert!(parse("f=yes").flag("f").is_err());
}
