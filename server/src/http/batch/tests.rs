use super::*;

#[test]
fn ops_and_conditions_become_changes_and_expectations() {
    let write = parse(
        br#"{"if":[{"key":"a","version":7},{"key_b64":"/w==","version":0}],
             "ops":[{"put":{"key":"a","value_b64":"AA==","ttl_ms":9}},{"delete":{"key":"b"}}]}"#,
    )
    .unwrap();
    let put = Change::Put {
        key: Bytes::from_static(b"a"),
        value: Bytes::from_static(b"\0"),
        ttl_ms: Some(9),
        content_type: None,
    };
    assert_eq!(
        write.changes,
        [
            put,
            Change::Delete {
                key: Bytes::from_static(b"b")
            }
        ]
    );
    assert_eq!(
        write.conditions,
        [
            (Bytes::from_static(b"a"), Expect::OneOf(vec![7])),
            (Bytes::from_static(b"\xff"), Expect::Absent),
        ]
    );
}

#[test]
fn a_bad_batch_names_the_place() {
    for (body, says) in [
        (
            &br#"{"ops":[{"delete":{"key":"a"}},{"delete":{}}]}"#[..],
            "op 1",
        ),
        (br#"{"ops":[{"put":{"key":"a"}}]}"#, "neither \\\"value\\\""),
        (br#"{"ops":[],"if":[{"version":1}]}"#, "condition 0"),
        (
            br#"{"ops":[{"delete":{"key":"a"}},{"put":{"key_b64":"YQ==","value":""}}]}"#,
            "twice",
        ),
        (
            br#"{"ops":[],"if":[{"key":"a","version":1},{"key":"a","version":2}]}"#,
            "twice",
        ),
        (
            br#"{"ops":[{"put":{"key":"a","value":{"b":1}}}]}"#,
            "line 1 column",
        ),
        (b"", "no batch"),
        (b"\xff", "no batch"),
    ] {
        let problem = parse(body).unwrap_err();
        assert_eq!(*problem.code(), Code::InvalidArgument);
        assert!(format!("{problem:?}").contains(says), "{says}: {problem:?}");
    }
}

#[test]
fn one_operation_too_many_is_too_large() {
    let ops = vec![r#"{"delete":{"key":"a"}}"#; BATCH_OPS_MAX + 1].join(",");
    let problem = parse(format!("{{\"ops\":[{ops}]}}").as_bytes()).unwrap_err();
    assert_eq!(*problem.code(), Code::BatchTooLarge);
}
