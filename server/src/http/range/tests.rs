use super::*;
use axum::http::HeaderValue;

fn range(text: &str, size: u64) -> Result<Selection> {
    let mut headers = HeaderMap::new();
    headers.insert(RANGE, HeaderValue::from_str(text).unwrap());
    select(&headers, size, 7)
}

fn part(first: u64, last: u64) -> Selection {
    Selection::Part { first, last }
}

#[test]
fn one_range_selects_its_bytes() {
    for (text, expected) in [
        ("bytes=0-0", part(0, 0)),
        ("bytes=2-5", part(2, 5)),
        ("bytes=2-", part(2, 9)),
        ("bytes=9-9", part(9, 9)),
        ("bytes=2-99", part(2, 9)),
        ("bytes=0-99999999999999999999999999", part(0, 9)),
        ("bytes=-3", part(7, 9)),
        ("bytes=-10", part(0, 9)),
        ("bytes=-99999999999999999999999999", part(0, 9)),
        ("BYTES=0-1", part(0, 1)),
        ("bytes= 0-1 ,", part(0, 1)),
    ] {
        assert_eq!(range(text, 10).unwrap(), expected, "{text}");
    }
}

#[test]
fn what_is_not_one_range_of_bytes_is_ignored() {
    for text in [
        "bytes=0-1,3-4",
        "bytes=5-2",
        "bytes=a-b",
        "bytes",
        "bytes=",
        "bytes=-",
        "items=0-1",
        "bytes=0",
        "bytes=+1-2",
        "bytes=1 - 2",
        "bytes=--1",
    ] {
        assert_eq!(range(text, 10).unwrap(), Selection::Whole, "{text}");
    }
    let mut twice = HeaderMap::new();
    twice.append(RANGE, HeaderValue::from_static("bytes=0-1"));
    twice.append(RANGE, HeaderValue::from_static("bytes=2-3"));
    assert_eq!(select(&twice, 10, 7).unwrap(), Selection::Whole);
}

#[test]
fn a_range_beyond_the_end_is_416_with_the_size() {
    for (text, size) in [
        ("bytes=10-", 10),
        ("bytes=10-12", 10),
        ("bytes=-0", 10),
        ("bytes=0-", 0),
    ] {
        let problem = range(text, size).unwrap_err();
        assert_eq!(*problem.code(), Code::RangeNotSatisfiable, "{text}");
        assert!(format!("{problem:?}").contains(&format!("bytes */{size}")));
    }
    assert_eq!(range("bytes=-5", 0).unwrap(), Selection::Whole);
}

#[test]
fn if_range_lets_a_range_count_only_for_its_version() {
    for (tag, expected) in [
        ("\"7\"", part(0, 1)),
        ("\"8\"", Selection::Whole),
        ("W/\"7\"", Selection::Whole),
        ("Wed, 21 Oct 2015 07:28:00 GMT", Selection::Whole),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static("bytes=0-1"));
        headers.insert(IF_RANGE, HeaderValue::from_static(tag));
        assert_eq!(select(&headers, 10, 7).unwrap(), expected, "{tag}");
    }
}
