//! What a request holds as fuzz targets: whatever is understood is said again in its plainest form
//! and must be understood the same.

use std::fmt::Write as _;

use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use cairn_sdk::wire::{
    Base64, BatchRequest, Condition, DeleteOp, KEY_BYTES_MAX, Op, PAGE_ITEMS_MAX, PutOp, key_target,
};
use cairn_sdk::{Change, Code, Expect, ScanRequest, Write, check_key};

use super::condition::{Conditions, Verdict, etag};
use super::key::{KeyTarget, percent_decode};
use super::query::Query;
use super::range::{Selection, select};
use super::{batch, list};
use crate::fuzzing::{Choices, Target};

pub(crate) const BATCH: Target = Target {
    name: "http_batch",
    check: batch_means_the_same,
    seeds: || {
        texts(&[
            r#"{"ops":[]}"#,
            r#"{"if":[{"key":"a","version":7},{"key_b64":"AAE=","version":0}],"ops":[]}"#,
            r#"{"ops":[{"put":{"key":"a","value":"text","ttl_ms":1000}},{"delete":{"key_b64":"AAE="}}]}"#,
            r#" {"ops" : [{"put":{"key_b64":"/w==","value_b64":"","ttl_ms":null}}], "if":[]}"#,
        ])
    },
};

pub(crate) const LIST: Target = Target {
    name: "http_list",
    check: list_means_the_same,
    seeds: || {
        texts(&[
            "",
            "prefix=a%2Fb&limit=10&reverse=true&keys_only",
            "at=1220&limit=1",
            "start=%00&end=a+b%FF&limit=99999999999999999999999&keys_only=0",
            "cursor=AQAB&&reverse=",
        ])
    },
};

pub(crate) const KEY: Target = Target {
    name: "http_key",
    check: key_means_the_same,
    seeds: || texts(&["alice", "a%20b/%2F//..%00", "%ff%FF+", "users/1?", "."]),
};

pub(crate) const CONDITIONS: Target = Target {
    name: "http_conditions",
    check: conditions_mean_the_same,
    seeds: || {
        texts(&[
            "*\0",
            "\0*",
            "\"7\", W/\"9\" ,,\"x\"\0\"1\"",
            "\"18446744073709551615\"\n\"07\"\0W/\"3\"\n*",
        ])
    },
};

pub(crate) const BYTE_RANGE: Target = Target {
    name: "http_range",
    check: range_selects_what_it_says,
    seeds: || {
        texts(&[
            "\x0a\0\0\0\0\0\0\0bytes=0-0",
            "\x0a\0\0\0\0\0\0\0bytes=2-",
            "\x0a\0\0\0\0\0\0\0Bytes= -3 ,,\0\"7\"",
            "\0\0\0\0\0\0\0\0bytes=-99999999999999999999\0W/\"7\"",
        ])
    },
};

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn batch_means_the_same(body: &[u8]) {
    let Ok(write) = batch::parse(body) else {
        return;
    };
    let text = serde_json::to_vec(&request(&write)).expect("a batch is JSON");
    assert_eq!(batch::parse(&text).ok(), Some(write));
}

/// The request with all keys and values as bytes.
fn request(write: &Write) -> BatchRequest {
    let ops: Vec<Op> = write
        .changes
        .iter()
        .map(|change| match change {
            Change::Put {
                key, value, ttl_ms, ..
            } => Op::Put(PutOp {
                key_b64: Some(Base64(key.clone())),
                value_b64: Some(Base64(value.clone())),
                ttl_ms: *ttl_ms,
                ..PutOp::default()
            }),
            Change::Delete { key } => Op::Delete(DeleteOp {
                key_b64: Some(Base64(key.clone())),
                key: None,
            }),
        })
        .collect();
    let conditions: Vec<Condition> = write
        .conditions
        .iter()
        .map(|(key, expect)| Condition {
            key: None,
            key_b64: Some(Base64(key.clone())),
            version: match expect {
                Expect::OneOf(versions) => versions[0],
                _ => 0,
            },
        })
        .collect();
    BatchRequest {
        conditions: conditions.into(),
        ops: ops.into(),
    }
}

fn list_means_the_same(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let asked = |text: &str| Query::parse(Some(text)).and_then(list::scan_request);
    let Ok(scan) = asked(text) else {
        return;
    };
    assert!(
        scan.limit
            .is_none_or(|limit| (1..=PAGE_ITEMS_MAX).contains(&limit))
    );
    assert_eq!(asked(&query_of(&scan)).ok(), Some(scan));
}

fn query_of(scan: &ScanRequest) -> String {
    let mut query = String::new();
    let fields = [
        ("prefix", scan.prefix.as_deref()),
        ("start", scan.start.as_deref()),
        ("end", scan.end.as_deref()),
        ("cursor", scan.cursor.as_deref().map(str::as_bytes)),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            let _ = write!(query, "{name}={}&", escape_all(value));
        }
    }
    if let Some(limit) = scan.limit {
        let _ = write!(query, "limit={limit}&");
    }
    if let Some(at) = scan.at {
        let _ = write!(query, "at={at}&");
    }
    let _ = write!(
        query,
        "reverse={}&keys_only={}",
        scan.reverse, scan.keys_only
    );
    query
}

/// Every byte as an escape.
fn escape_all(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "%{byte:02x}");
        text
    })
}

fn key_means_the_same(bytes: &[u8]) {
    if let Ok(decoded) = percent_decode(bytes) {
        assert!(decoded.len() <= bytes.len());
        let again = escape_all(&decoded).into_bytes();
        assert_eq!(percent_decode(&again).ok(), Some(decoded));
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(target) = KeyTarget::of_path(&format!("/v1/kv/{text}"))
    {
        comes_back(&target.bucket, &target.key);
    }
    if check_key(bytes).is_ok() {
        comes_back("users", bytes);
    } else {
        assert!(bytes.is_empty() || bytes.len() > KEY_BYTES_MAX);
    }
}

/// The target that a client writes for a key is read as that key.
fn comes_back(bucket: &str, key: &[u8]) {
    let target = key_target(bucket, key);
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let read = if path.starts_with("/v1/kv/") {
        KeyTarget::of_path(path)
    } else {
        let mut query = Query::parse(Some(query)).expect("one parameter");
        KeyTarget::of_query(path, &mut query)
    };
    let expected = KeyTarget {
        bucket: bucket.to_owned(),
        key: key.to_vec(),
    };
    assert_eq!(read.ok(), Some(expected), "{target}");
}

/// The input is the lines of `If-Match`, a zero, and the lines of `If-None-Match`.
fn conditions_mean_the_same(bytes: &[u8]) {
    let end = bytes.iter().position(|&byte| byte == 0);
    let (matching, none_matching) = bytes.split_at(end.unwrap_or(bytes.len()));
    let mut headers = HeaderMap::new();
    add_lines(&mut headers, IF_MATCH, matching);
    add_lines(
        &mut headers,
        IF_NONE_MATCH,
        none_matching.get(1..).unwrap_or_default(),
    );
    let Ok(conditions) = Conditions::of(&headers) else {
        return;
    };
    // A header that is there is never without effect.
    assert_eq!(
        conditions.matching.is_some(),
        headers.contains_key(IF_MATCH)
    );
    assert_eq!(
        conditions.none_matching.is_some(),
        headers.contains_key(IF_NONE_MATCH)
    );

    let mut again = HeaderMap::new();
    for (name, expect) in [
        (IF_MATCH, &conditions.matching),
        (IF_NONE_MATCH, &conditions.none_matching),
    ] {
        if let Some(expect) = expect {
            let line = HeaderValue::from_str(&line_of(expect)).expect("digits and quotes");
            again.insert(name, line);
        }
    }
    assert_eq!(Conditions::of(&again).ok().as_ref(), Some(&conditions));

    let versions = |expect: &Option<Expect>| match expect {
        Some(Expect::OneOf(versions) | Expect::NoneOf(versions)) => versions.clone(),
        _ => Vec::new(),
    };
    let wanted = versions(&conditions.matching);
    let unwanted = versions(&conditions.none_matching);
    for &version in wanted.iter().chain(&unwanted) {
        let verdict = conditions.of_read(version);
        let fails =
            matches!(conditions.matching, Some(Expect::OneOf(_))) && !wanted.contains(&version);
        let held =
            unwanted.contains(&version) || matches!(conditions.none_matching, Some(Expect::Absent));
        let expected = match (fails, held) {
            (true, _) => Verdict::Failed,
            (_, true) => Verdict::NotModified,
            _ => Verdict::Proceed,
        };
        assert_eq!(verdict, expected, "{version}");
    }
}

fn add_lines(headers: &mut HeaderMap, name: HeaderName, lines: &[u8]) {
    for line in lines
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        if let Ok(line) = HeaderValue::from_bytes(line) {
            headers.append(name.clone(), line);
        }
    }
}

fn line_of(expect: &Expect) -> String {
    match expect {
        Expect::Exists | Expect::Absent => "*".to_owned(),
        Expect::OneOf(versions) | Expect::NoneOf(versions) if versions.is_empty() => {
            "\"none-of-ours\"".to_owned()
        }
        Expect::OneOf(versions) | Expect::NoneOf(versions) => {
            let tags: Vec<String> = versions.iter().map(|&version| etag(version)).collect();
            tags.join(", ")
        }
    }
}

/// The input is a size, the header `Range`, a zero, and the header `If-Range`.
fn range_selects_what_it_says(bytes: &[u8]) {
    const VERSION: u64 = 7;
    let mut choices = Choices(bytes);
    let size = choices.u64();
    let mut parts = choices.0.splitn(2, |&byte| byte == 0);
    let mut headers = HeaderMap::new();
    for name in [RANGE, IF_RANGE] {
        if let Some(Ok(line)) = parts.next().map(HeaderValue::from_bytes) {
            headers.insert(name, line);
        }
    }
    match select(&headers, size, VERSION) {
        Ok(Selection::Whole) => {}
        Ok(Selection::Part { first, last }) => {
            assert!(first <= last && last < size);
            let line = format!("bytes={first}-{last}");
            let line = HeaderValue::from_str(&line).expect("digits");
            headers.insert(RANGE, line);
            let again = select(&headers, size, VERSION).ok();
            assert_eq!(again, Some(Selection::Part { first, last }));
            // The same range of another version is not what the client holds the rest of.
            let other = select(&headers, size, VERSION + 1).ok();
            let bound = headers.contains_key(IF_RANGE);
            assert_eq!(other == Some(Selection::Whole), bound);
        }
        Err(problem) => assert_eq!(*problem.code(), Code::RangeNotSatisfiable),
    }
}
