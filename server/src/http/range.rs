//! `Range` and `If-Range` of RFC 9110, section 14: one range of bytes.
//!
//! A header that asks for several ranges, for another unit, or for nothing that parses is ignored,
//! as the RFC lets a server do, and the whole value is sent. A well-formed range that begins beyond
//! the end is 416 with the size.

use axum::http::HeaderMap;
use axum::http::header::{CONTENT_RANGE, IF_RANGE, RANGE};
use cairn_sdk::Code;

use super::condition::Tag;
use crate::problem::{Problem, Result};

/// Which bytes of a value are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All of them: 200.
    Whole,
    /// From `first` up to and including `last`: 206.
    Part { first: u64, last: u64 },
}

/// What a request's headers select of a value of `size` bytes and this version.
pub(crate) fn select(headers: &HeaderMap, size: u64, version: u64) -> Result<Selection> {
    let mut lines = headers.get_all(RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Ok(Selection::Whole);
    };
    if !if_range_holds(headers, version) {
        return Ok(Selection::Whole);
    }
    match Spec::parse(line.as_bytes()) {
        Some(spec) => spec.within(size),
        None => Ok(Selection::Whole),
    }
}

/// The header `Content-Range` of a part.
pub(crate) fn content_range(first: u64, last: u64, size: u64) -> String {
    format!("bytes {first}-{last}/{size}")
}

/// `If-Range` lets the range count only for the version that the client holds the rest of. A date
/// never holds, because values have none.
fn if_range_holds(headers: &HeaderMap, version: u64) -> bool {
    headers.get(IF_RANGE).is_none_or(|line| {
        let tag = Tag::parse(line.as_bytes().trim_ascii());
        tag.and_then(|tag| tag.strong_version()) == Some(version)
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spec {
    From { first: u64, last: Option<u64> },
    Suffix { length: u64 },
}

impl Spec {
    /// One range of bytes; `None` for anything else.
    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (unit, set) = text.split_once('=')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let mut ranges = set.split(',').map(|part| part.trim_matches([' ', '\t']));
        let range = ranges.find(|part| !part.is_empty())?;
        if ranges.any(|part| !part.is_empty()) {
            return None;
        }
        match range.split_once('-')? {
            ("", length) => Some(Spec::Suffix {
                length: number(length)?,
            }),
            (first, "") => Some(Spec::From {
                first: number(first)?,
                last: None,
            }),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Spec::From {
                    first,
                    last: Some(last),
                })
            }
        }
    }

    fn within(self, size: u64) -> Result<Selection> {
        match self {
            Spec::From { first, last } if first < size => {
                let last = last.unwrap_or(u64::MAX).min(size - 1);
                Ok(Selection::Part { first, last })
            }
            // The last bytes of an empty value are all of it.
            Spec::Suffix { length } if length > 0 && size == 0 => Ok(Selection::Whole),
            Spec::Suffix { length } if length > 0 => Ok(Selection::Part {
                first: size.saturating_sub(length),
                last: size - 1,
            }),
            _ => Err(Problem::new(
                Code::RangeNotSatisfiable,
                format!("the range lies outside the value of {size} bytes"),
            )
            .with_header(CONTENT_RANGE, &format!("bytes */{size}"))),
        }
    }
}

/// Decimal digits; more than fit in 64 bits are the greatest number, which is past every end.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
