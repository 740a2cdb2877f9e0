//! Which key a request means.
//!
//! A key is taken from the *raw* request target, after `/v1/kv/{bucket}/` up to `?`, and
//! percent-decoded once. Nothing else happens to it: `+` is a plus, `%2F` is a slash like any
//! other, `//`, `.`, `..` and a slash at the end stay. The result is any bytes, UTF-8 or not.
//!
//! `/v1/key/{bucket}?key_b64=` says the same key in base64url without padding, for clients whose
//! URL library folds dot segments.

use std::borrow::Cow;

use cairn_sdk::wire::decode_key_parameter;
use cairn_sdk::{Code, check_bucket_name, check_key, snapshot_of};

use super::query::Query;
use crate::problem::{Problem, Result};

/// A bucket, and a key in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyTarget {
    pub(crate) bucket: String,
    pub(crate) key: Vec<u8>,
}

impl KeyTarget {
    /// The key in a raw path below `/v1/kv/`.
    pub(crate) fn of_path(path: &str) -> Result<Self> {
        let rest = path.strip_prefix("/v1/kv/").ok_or_else(unrouted)?;
        let (bucket, key) = rest.split_once('/').ok_or_else(unrouted)?;
        let key = percent_decode(key.as_bytes())?.into_owned();
        check_key(&key)?;
        Ok(Self {
            bucket: bucket_name(bucket)?,
            key,
        })
    }

    /// The key in the query of `/v1/key/{bucket}`, which it is taken out of.
    pub(crate) fn of_query(path: &str, query: &mut Query) -> Result<Self> {
        let bucket = bucket_of(path, "/v1/key/")?;
        let text = query
            .text("key_b64")?
            .ok_or_else(|| Problem::invalid("the query parameter key_b64 is missing"))?;
        let key = decode_key_parameter(&text).map_err(|error| {
            Problem::invalid(format!("key_b64 is no base64url without padding: {error}"))
        })?;
        check_key(&key)?;
        Ok(Self { bucket, key })
    }
}

/// Whether a raw path below `/v1/kv/` ends with the bucket, before any slash.
pub(crate) fn names_no_key(path: &str) -> bool {
    path.strip_prefix("/v1/kv/")
        .is_some_and(|rest| !rest.contains('/'))
}

/// The bucket in a raw path that ends in one, after `prefix`.
pub(crate) fn bucket_of(path: &str, prefix: &str) -> Result<String> {
    bucket_name(path.strip_prefix(prefix).ok_or_else(unrouted)?)
}

/// The bucket of a path segment.
///
/// A name with `@` or `.at.` is a snapshot's. It reads as one; whoever writes is told by
/// [`check_writable`].
fn bucket_name(segment: &str) -> Result<String> {
    let decoded = percent_decode(segment.as_bytes())?.into_owned();
    let name =
        String::from_utf8(decoded).map_err(|_| Problem::invalid("the bucket name is not UTF-8"))?;
    if snapshot_of(&name).is_none() {
        check_bucket_name(&name)?;
    }
    Ok(name)
}

/// Percent-decodes once. `+` is a plus.
pub(crate) fn percent_decode(text: &[u8]) -> Result<Cow<'_, [u8]>> {
    if !text.contains(&b'%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            out.push(byte);
            rest = after;
            continue;
        }
        let escape = after.split_first_chunk::<2>().and_then(|(digits, after)| {
            let high = char::from(digits[0]).to_digit(16)?;
            let low = char::from(digits[1]).to_digit(16)?;
            u8::try_from(high << 4 | low).ok().map(|byte| (byte, after))
        });
        let Some((byte, after)) = escape else {
            let at = text.len() - rest.len();
            return Err(Problem::invalid(format!(
                "a % at byte {at} of the text is not followed by two hexadecimal digits"
            )));
        };
        out.push(byte);
        rest = after;
    }
    Ok(Cow::Owned(out))
}

fn unrouted() -> Problem {
    Problem::new(Code::NotFound, "no route answers to this path")
}

#[cfg(test)]
mod tests;
