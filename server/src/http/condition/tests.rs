use super::*;
use axum::http::HeaderValue;

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn matching(text: &str) -> Result<Option<Expect>> {
    Conditions::of(&headers(&[("if-match", text)])).map(|conditions| conditions.matching)
}

fn none_matching(text: &str) -> Result<Option<Expect>> {
    Conditions::of(&headers(&[("if-none-match", text)])).map(|conditions| conditions.none_matching)
}

#[test]
fn the_four_forms_become_the_four_expectations() {
    assert_eq!(matching("*").unwrap(), Some(Expect::Exists));
    assert_eq!(matching("\"7\"").unwrap(), Some(Expect::OneOf(vec![7])));
    assert_eq!(none_matching(" * ").unwrap(), Some(Expect::Absent));
    assert_eq!(
        none_matching("\"7\", \"9\"").unwrap(),
        Some(Expect::NoneOf(vec![7, 9]))
    );
    assert_eq!(
        Conditions::of(&HeaderMap::new()).unwrap(),
        Conditions::default()
    );
}

#[test]
fn lists_may_have_empty_elements_blanks_and_several_lines() {
    assert_eq!(
        matching(", \"1\" ,,\t\"2\",").unwrap(),
        Some(Expect::OneOf(vec![1, 2]))
    );
    let both = headers(&[("if-match", "\"1\""), ("if-match", "\"2\", \"3\"")]);
    assert_eq!(
        Conditions::of(&both).unwrap().matching,
        Some(Expect::OneOf(vec![1, 2, 3]))
    );
}

#[test]
fn weak_tags_match_only_if_none_match() {
    assert_eq!(
        matching("W/\"7\", \"8\"").unwrap(),
        Some(Expect::OneOf(vec![8]))
    );
    assert_eq!(matching("W/\"7\"").unwrap(), Some(Expect::OneOf(vec![])));
    assert_eq!(
        none_matching("W/\"7\"").unwrap(),
        Some(Expect::NoneOf(vec![7]))
    );
}

#[test]
fn a_tag_that_is_no_version_matches_nothing() {
    for tag in [
        "\"\"",
        "\"abc\"",
        "\"07\"",
        "\"0\"",
        "\"-7\"",
        "\"+7\"",
        "\"7-c\"",
        "\"7,8\"",
        "\"99999999999999999999999\"",
    ] {
        assert_eq!(matching(tag).unwrap(), Some(Expect::OneOf(vec![])), "{tag}");
    }
}

#[test]
fn malformed_headers_are_errors_and_never_ignored() {
    for bad in [
        "",
        " ",
        ",",
        "7",
        "\"7",
        "7\"",
        "\"7\" \"8\"",
        "\"7\";",
        "*, \"7\"",
        "\"7\", *",
        "w/\"7\"",
        "W/7",
        "\"a b\"",
        "**",
        "'7'",
    ] {
        assert!(matching(bad).is_err(), "{bad:?}");
        assert!(none_matching(bad).is_err(), "{bad:?}");
    }
    let star_and_list = headers(&[("if-match", "*"), ("if-match", "\"1\"")]);
    assert!(Conditions::of(&star_and_list).is_err());
    let two_stars = headers(&[("if-match", "*"), ("if-match", "*")]);
    assert!(Conditions::of(&two_stars).is_err());
}

#[test]
fn a_read_evaluates_if_match_first() {
    let verdict =
        |lines: &[(&'static str, &str)]| Conditions::of(&headers(lines)).unwrap().of_read(7);
    assert_eq!(verdict(&[]), Verdict::Proceed);
    assert_eq!(verdict(&[("if-none-match", "\"7\"")]), Verdict::NotModified);
    assert_eq!(verdict(&[("if-none-match", "*")]), Verdict::NotModified);
    assert_eq!(verdict(&[("if-none-match", "\"8\"")]), Verdict::Proceed);
    assert_eq!(
        verdict(&[("if-match", "\"8\""), ("if-none-match", "\"7\"")]),
        Verdict::Failed
    );
    assert_eq!(
        verdict(&[("if-match", "\"7\""), ("if-none-match", "\"7\"")]),
        Verdict::NotModified
    );
}

#[test]
fn a_write_hands_both_conditions_on() {
    let both = headers(&[("if-match", "\"7\""), ("if-none-match", "\"8\"")]);
    let expects: Vec<_> = Conditions::of(&both).unwrap().into_expects().collect();
    assert_eq!(expects, [Expect::OneOf(vec![7]), Expect::NoneOf(vec![8])]);
}
