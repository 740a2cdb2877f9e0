use super::*;
use bytes::Bytes;

#[test]
fn every_code_has_one_text_and_comes_back_from_it() {
    for text in [
        "invalid_argument",
        "version_mismatch",
        "disk_full",
        "outcome_unknown",
    ] {
        assert_eq!(Code::parse(text).as_str(), text);
        assert!(!matches!(Code::parse(text), Code::Other(_)));
    }
    let strange = Code::parse("from_the_future");
    assert_eq!(strange, Code::Other("from_the_future".to_owned()));
    assert_eq!(strange.as_str(), "from_the_future");
    assert_eq!(
        serde_json::to_string(&Code::KeyTooLarge).unwrap(),
        "\"key_too_large\""
    );
}

#[test]
fn an_item_names_its_key_as_text_only_when_it_is_utf8() {
    let text = Item::new(
        Bytes::from_static(b"caf\xc3\xa9"),
        7,
        2,
        Some(Bytes::from_static(b"hi")),
    );
    assert_eq!(
        serde_json::to_string(&text).unwrap(),
        r#"{"key":"café","key_b64":"Y2Fmw6k=","version":7,"size":2,"value_b64":"aGk="}"#
    );
    let binary = Item::new(Bytes::from_static(b"\xff\x00"), 7, 0, None);
    assert_eq!(
        serde_json::to_string(&binary).unwrap(),
        r#"{"key_b64":"/wA=","version":7,"size":0}"#
    );
    for item in [text, binary] {
        let json = serde_json::to_string(&item).unwrap();
        assert_eq!(serde_json::from_str::<Item>(&json).unwrap(), item);
    }
}

#[test]
fn a_batch_reads_both_forms_of_key_and_value() {
    let batch: BatchRequest = serde_json::from_str(
        r#"{"if":[{"key":"a","version":7},{"key_b64":"AAE=","version":0}],
            "ops":[{"put":{"key":"a","value":"text","ttl_ms":5}},
                   {"put":{"key_b64":"/w==","value_b64":"AAA="}},
                   {"delete":{"key":"b"}}]}"#,
    )
    .unwrap();
    let conditions = batch.conditions.into_vec();
    assert_eq!(conditions[0].key().unwrap(), "a");
    assert_eq!(&conditions[1].key().unwrap()[..], b"\x00\x01");
    let ops = batch.ops.into_vec();
    assert_eq!(&ops[1].key().unwrap()[..], b"\xff");
    let Op::Put(put) = &ops[0] else {
        panic!("a put")
    };
    assert_eq!(put.value().unwrap(), "text");
    assert_eq!(put.ttl_ms, Some(5));
}

#[test]
fn a_batch_with_anything_unknown_missing_or_double_is_refused() {
    for bad in [
        r#"{}"#,
        r#"{"ops":[{"put":{"key":"a","value":"b"}}],"when":[]}"#,
        r#"{"ops":[{"increment":{"key":"a"}}]}"#,
        r#"{"ops":[{"put":{"key":"a","value":"b","ttl":1}}]}"#,
        r#"{"ops":[{"put":{"key":"a","value":"b"},"delete":{"key":"c"}}]}"#,
        r#"{"ops":[{"put":{"key":"a","key":"b","value":"c"}}]}"#,
        r#"{"ops":[{"put":{"key_b64":"%%%","value":"c"}}]}"#,
        r#"{"ops":[{"put":{"key_b64":"AA","value":"c"}}]}"#,
        r#"{"ops":[],"if":[{"key":"a"}]}"#,
        r#"{"ops":[],"if":[{"key":"a","version":-1}]}"#,
        r#"{"ops":[],"if":[{"key":"a","version":1.5}]}"#,
        r#"{"ops":{}}"#,
        r#"{"ops":[]} trailing"#,
    ] {
        assert!(serde_json::from_str::<BatchRequest>(bad).is_err(), "{bad}");
    }
    let neither = Op::Delete(DeleteOp::default());
    assert!(neither.key().unwrap_err().contains("neither"));
    let both = Op::Delete(DeleteOp {
        key: Some(String::new()),
        key_b64: Some(Base64::default()),
    });
    assert!(both.key().unwrap_err().contains("both"));
}

#[test]
fn a_batch_past_the_limit_is_known_and_not_kept() {
    let op = r#"{"delete":{"key":"a"}}"#;
    let list = |count: usize| format!(r#"{{"ops":[{}]}}"#, vec![op; count].join(","));
    let full: BatchRequest = serde_json::from_str(&list(BATCH_OPS_MAX)).unwrap();
    assert!(!full.ops.overflowed());
    assert_eq!(full.ops.into_vec().len(), BATCH_OPS_MAX);
    let over: BatchRequest = serde_json::from_str(&list(BATCH_OPS_MAX + 1)).unwrap();
    assert!(over.ops.overflowed());
    assert_eq!(over.ops.into_vec().len(), BATCH_OPS_MAX);
}

#[test]
fn a_key_goes_in_the_path_unless_a_url_library_would_change_it() {
    assert_eq!(key_target("users", b"alice"), "/v1/kv/users/alice");
    assert_eq!(key_target("users", b"a/b c+d"), "/v1/kv/users/a/b%20c%2Bd");
    assert_eq!(
        key_target("users", b"\x00\xff?#%"),
        "/v1/kv/users/%00%FF%3F%23%25"
    );
    for folded in [&b"."[..], b"..", b"a/../b", b"a//b", b"/a", b"a/", b"/"] {
        let target = key_target("users", folded);
        let text = target
            .strip_prefix("/v1/key/users?key_b64=")
            .expect("the parameter form");
        assert_eq!(decode_key_parameter(text).unwrap(), folded);
    }
    assert!(decode_key_parameter("a=").is_err(), "padding is refused");
    assert!(
        decode_key_parameter("a+/b").is_err(),
        "the standard alphabet is refused"
    );
}

#[test]
fn durability_reads_and_writes_its_three_names() {
    for name in ["buffered", "local", "certified"] {
        assert_eq!(name.parse::<Durability>().unwrap().to_string(), name);
    }
    assert!("Local".parse::<Durability>().is_err());
    assert!(Durability::Buffered < Durability::Local);
}
