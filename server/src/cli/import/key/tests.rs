use super::*;

fn key(text: &str) -> Result<String, String> {
    let rule = KeyRule::parse("id");
    rule.of_json(text, 1)
        .map(|key| String::from_utf8(key).unwrap())
}

#[test]
fn a_string_is_its_text_and_a_number_or_bool_its_json() {
    for (text, expected) in [
        (r#"{"id":"alice"}"#, "alice"),
        (r#"{"id":"a\u00e9\n\"/"}"#, "aé\n\"/"),
        (r#"{"a":[1,{"id":2}],"id":7}"#, "7"),
        (r#"{"id":1.50}"#, "1.50"),
        (r#"{"id":-1e+3}"#, "-1e+3"),
        (
            r#"{"id":123456789012345678901234567890}"#,
            "123456789012345678901234567890",
        ),
        (r#"{"id":true}"#, "true"),
        (r#" { "\u0069d" : false } "#, "false"),
        (r#"{"id":""}"#, ""),
    ] {
        assert_eq!(key(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_makes_no_key_is_explained() {
    for (text, why) in [
        (r#"{"a":1}"#, "missing"),
        (r#"{}"#, "missing"),
        (r#"{"id":null}"#, "null"),
        (r#"{"id":[1]}"#, "no string"),
        (r#"{"id":{}}"#, "no string"),
        (r#"{"id":1,"id":1}"#, "twice"),
        (r#"[1]"#, "expected an object"),
        (r#""id""#, "expected an object"),
        (r#"7"#, "expected an object"),
        (r#"{"id":1"#, "EOF"),
        (r#"{"id":1} 2"#, "trailing"),
        (r#"{"id":1,"a":}"#, "column"),
        (r#"{"id":1,"a":"\x"}"#, "column"),
        (r#"{'id':1}"#, "column"),
        (r#""#, "EOF"),
    ] {
        let explained = key(text).unwrap_err();
        assert!(explained.contains(why), "{text}: {explained}");
    }
}

#[test]
fn row_numbers_are_padded_so_that_they_sort() {
    let rule = KeyRule::parse("#");
    assert_eq!(rule.of_json("{}", 1).unwrap(), b"0000000001");
    assert_eq!(
        rule.of_json("{\"a\":1}", 9_999_999_999).unwrap(),
        b"9999999999"
    );
    assert!(rule.of_json("{}", 10_000_000_000).is_err());
    assert!(
        rule.of_json("[]", 1).is_err(),
        "a row is an object all the same"
    );
}
