//! Conditional requests of RFC 9110, section 13, over entity tags that are versions.
//!
//! A value's tag is `"VERSION"`, strong. `If-Match` compares strongly, so a weak tag never matches;
//! `If-None-Match` compares weakly. A well-formed tag that is no version of ours simply matches
//! nothing. A malformed header is an error and never ignored: an update whose condition is dropped
//! overwrites what it was to protect. There are no dates, so the two date conditions do not apply.

use axum::http::HeaderMap;
use axum::http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use cairn_sdk::Expect;

use crate::problem::{Problem, Result};

/// The conditions of a request, in the order in which they are evaluated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// From `If-Match`: when it fails, 412.
    pub(crate) matching: Option<Expect>,
    /// From `If-None-Match`: when it fails, 304 to a read and 412 to a write.
    pub(crate) none_matching: Option<Expect>,
}

/// How a read goes on after its conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing stands against it.
    Proceed,
    /// The client has this version already.
    NotModified,
    /// `If-Match` failed.
    Failed,
}

impl Conditions {
    /// The conditions in a request's headers.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self> {
        if !headers.contains_key(IF_MATCH) && !headers.contains_key(IF_NONE_MATCH) {
            return Ok(Self::default());
        }
        Ok(Self {
            matching: tags(headers, IF_MATCH)?.map(|tags| match tags {
                Tags::Any => Expect::Exists,
                Tags::List(list) => Expect::OneOf(versions(&list, Comparison::Strong)),
            }),
            none_matching: tags(headers, IF_NONE_MATCH)?.map(|tags| match tags {
                Tags::Any => Expect::Absent,
                Tags::List(list) => Expect::NoneOf(versions(&list, Comparison::Weak)),
            }),
        })
    }

    /// Decides a read of an existing value.
    pub(crate) fn of_read(&self, version: u64) -> Verdict {
        let holds = |expect: &Option<Expect>| {
            expect
                .as_ref()
                .is_none_or(|expect| expect.holds(Some(version)))
        };
        if !holds(&self.matching) {
            Verdict::Failed
        } else if !holds(&self.none_matching) {
            Verdict::NotModified
        } else {
            Verdict::Proceed
        }
    }

    /// What a write hands to the store, which decides against the newest version.
    pub(crate) fn into_expects(self) -> impl Iterator<Item = Expect> {
        self.matching.into_iter().chain(self.none_matching)
    }
}

/// The entity tag of a version.
pub(crate) fn etag(version: u64) -> String {
    format!("\"{version}\"")
}

/// One entity tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag<'a> {
    weak: bool,
    opaque: &'a [u8],
}

impl Tag<'_> {
    /// Parses one tag that fills `text`; `None` when it is malformed.
    pub(crate) fn parse(text: &[u8]) -> Option<Tag<'_>> {
        let (tag, rest) = split_tag(text)?;
        rest.is_empty().then_some(tag)
    }

    /// The version that this tag matches strongly.
    pub(crate) fn strong_version(&self) -> Option<u64> {
        if self.weak { None } else { self.version() }
    }

    /// The version whose tag this is. Tags are compared as text, so `"07"` is no version's.
    fn version(&self) -> Option<u64> {
        let text = std::str::from_utf8(self.opaque).ok()?;
        let version: u64 = text.parse().ok()?;
        (version > 0 && version.to_string() == text).then_some(version)
    }
}

enum Tags<'a> {
    Any,
    List(Vec<Tag<'a>>),
}

enum Comparison {
    Strong,
    Weak,
}

fn versions(tags: &[Tag<'_>], comparison: Comparison) -> Vec<u64> {
    tags.iter()
        .filter_map(|tag| match comparison {
            Comparison::Strong => tag.strong_version(),
            Comparison::Weak => tag.version(),
        })
        .collect()
}

/// All lines of a header as one list; `None` without the header.
fn tags(headers: &HeaderMap, name: HeaderName) -> Result<Option<Tags<'_>>> {
    let malformed = || {
        Problem::invalid(format!(
            "{name} is neither * nor a list of entity tags like \"42\""
        ))
    };
    let mut any = false;
    let mut list = Vec::new();
    let mut lines = 0;
    for line in headers.get_all(&name) {
        lines += 1;
        let text = line.as_bytes().trim_ascii();
        if text == b"*" {
            any = true;
        } else {
            read_list(text, &mut list).ok_or_else(malformed)?;
        }
    }
    match (any, lines, list.is_empty()) {
        (false, 0, _) => Ok(None),
        (true, 1, true) => Ok(Some(Tags::Any)),
        (false, _, false) => Ok(Some(Tags::List(list))),
        _ => Err(malformed()),
    }
}

/// Reads `#entity-tag`; empty elements are let through, as a recipient must.
fn read_list<'a>(mut text: &'a [u8], list: &mut Vec<Tag<'a>>) -> Option<()> {
    loop {
        text = text.trim_ascii_start();
        match text.split_first() {
            None => return Some(()),
            Some((b',', rest)) => text = rest,
            Some(_) => {
                let (tag, rest) = split_tag(text)?;
                list.push(tag);
                match rest.trim_ascii_start().split_first() {
                    None => return Some(()),
                    Some((b',', rest)) => text = rest,
                    Some(_) => return None,
                }
            }
        }
    }
}

/// Splits an entity tag from the front: an optional `W/`, then `"`, etagc characters, `"`.
fn split_tag(text: &[u8]) -> Option<(Tag<'_>, &[u8])> {
    let (weak, text) = match text.strip_prefix(b"W/") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let text = text.strip_prefix(b"\"")?;
    let end = text.iter().position(|&byte| byte == b'"')?;
    let (opaque, rest) = (&text[..end], &text[end + 1..]);
    let etagc = |byte: &u8| *byte == 0x21 || (0x23..=0x7e).contains(byte) || *byte >= 0x80;
    opaque
        .iter()
        .all(etagc)
        .then_some((Tag { weak, opaque }, rest))
}

#[cfg(test)]
mod tests;
