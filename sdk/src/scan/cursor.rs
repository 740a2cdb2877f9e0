//! The cursor of a scan: opaque to clients, complete in itself.
//!
//! It carries the whole scan (bounds, direction, the bucket's id, the version that every page
//! reads) and the last key delivered, so a page needs no memory of the page before. A request that
//! sends a cursor may repeat the scan's parameters or leave them out; other ones are an error.
//!
//! ```text
//! 0        format, 1
//! 1        bit 0 reverse, bit 1 keys only, bit 2 prefix, bit 3 start, bit 4 end present
//! 2..6     bucket id, little-endian
//! 6..14    version, little-endian
//! 14..     prefix, start, end (those present), last key: each a 16-bit length and its bytes
//! last 4   FNV-1a of all before, little-endian
//! ```
//! in base64 of the URL alphabet. The sum catches a mangled cursor, not a forged one: a forged one
//! reads nothing that its sender could not ask for directly.

use bytes::Bytes;

use super::ScanRequest;
use crate::error::{Error, Result};
use crate::wire::{Code, KEY_BYTES_MAX, decode_key_parameter, encode_key_parameter};

/// A scan, and how far it has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) bucket_id: u32,
    /// The version that the pages read; before the first the one asked for, 0 for the newest.
    pub(crate) version: u64,
    pub(crate) prefix: Option<Bytes>,
    pub(crate) start: Option<Bytes>,
    pub(crate) end: Option<Bytes>,
    pub(crate) reverse: bool,
    pub(crate) keys_only: bool,
    /// The last key delivered; `None` before the first page.
    pub(crate) last: Option<Bytes>,
}

const FORMAT: u8 = 1;
const REVERSE: u8 = 1;
const KEYS_ONLY: u8 = 2;
const PREFIX: u8 = 4;
const START: u8 = 8;
const END: u8 = 16;
/// Four keys at most, their lengths, the head and the sum.
const CURSOR_BYTES_MAX: usize = 14 + 4 * (KEY_BYTES_MAX + 3) + 4;

impl Cursor {
    /// The scan that a request asks for in this bucket: a new one, or where its cursor stands.
    pub(crate) fn of(request: &ScanRequest, bucket_id: u32) -> Result<Self> {
        for (name, bound) in [
            ("prefix", &request.prefix),
            ("start", &request.start),
            ("end", &request.end),
        ] {
            // A bound just past the longest key is still of use.
            if bound
                .as_ref()
                .is_some_and(|bound| bound.len() > KEY_BYTES_MAX + 1)
            {
                let size = bound.as_ref().map_or(0, Bytes::len);
                return Err(Error::new(
                    Code::KeyTooLarge,
                    format!("{name} has {size} bytes, a key has at most {KEY_BYTES_MAX}"),
                ));
            }
        }
        // No key is below the empty one, so an empty end bounds nothing, like the other two.
        let end = request.end.clone().filter(|end| !end.is_empty());
        let Some(text) = &request.cursor else {
            return Ok(Self {
                bucket_id,
                version: request.at.unwrap_or(0),
                prefix: request.prefix.clone(),
                start: request.start.clone(),
                end,
                reverse: request.reverse,
                keys_only: request.keys_only,
                last: None,
            });
        };
        let cursor = Self::decode(text).ok_or_else(|| {
            invalid("the cursor is none of ours; begin the scan again without it")
        })?;
        let same = |asked: &Option<Bytes>, held: &Option<Bytes>| asked.is_none() || asked == held;
        if !same(&request.prefix, &cursor.prefix)
            || !same(&request.start, &cursor.start)
            || !same(&end, &cursor.end)
            || (request.reverse && !cursor.reverse)
            || (request.keys_only && !cursor.keys_only)
        {
            return Err(invalid(
                "the cursor belongs to a scan with other parameters",
            ));
        }
        if cursor.bucket_id != bucket_id {
            return Err(invalid("the cursor belongs to another bucket"));
        }
        Ok(cursor)
    }

    /// What is left of the scan: start (inclusive) and end (exclusive).
    pub(crate) fn remaining(&self) -> (Option<Bytes>, Option<Bytes>) {
        let (mut start, mut end) = (self.start.clone(), self.end.clone());
        if let Some(last) = &self.last {
            if self.reverse {
                end = Some(last.clone());
            } else {
                // The least key above `last`.
                start = Some([last, &b"\0"[..]].concat().into());
            }
        }
        (start, end)
    }

    pub(crate) fn encode(&self) -> String {
        let mut out = vec![FORMAT, 0];
        out.extend_from_slice(&self.bucket_id.to_le_bytes());
        out.extend_from_slice(&self.version.to_le_bytes());
        let mut flags =
            if self.reverse { REVERSE } else { 0 } | if self.keys_only { KEYS_ONLY } else { 0 };
        for (flag, field) in [
            (PREFIX, &self.prefix),
            (START, &self.start),
            (END, &self.end),
        ] {
            if let Some(bytes) = field {
                flags |= flag;
                push(&mut out, bytes);
            }
        }
        push(&mut out, self.last.as_deref().unwrap_or_default());
        out[1] = flags;
        out.extend_from_slice(&fnv1a(&out).to_le_bytes());
        encode_key_parameter(&out)
    }

    fn decode(text: &str) -> Option<Self> {
        if text.len() > CURSOR_BYTES_MAX * 2 {
            return None;
        }
        let bytes = decode_key_parameter(text).ok()?;
        let (body, sum) = bytes.split_last_chunk::<4>()?;
        if fnv1a(body) != u32::from_le_bytes(*sum) {
            return None;
        }
        let (&[FORMAT, flags], rest) = body.split_first_chunk::<2>()? else {
            return None;
        };
        if flags & !(REVERSE | KEYS_ONLY | PREFIX | START | END) != 0 {
            return None;
        }
        let (bucket_id, rest) = rest.split_first_chunk::<4>()?;
        let (version, mut rest) = rest.split_first_chunk::<8>()?;
        let mut field = |flag: u8| -> Option<Option<Bytes>> {
            if flags & flag == 0 {
                Some(None)
            } else {
                pull(&mut rest).map(Some)
            }
        };
        let (prefix, start, end) = (field(PREFIX)?, field(START)?, field(END)?);
        let last = pull(&mut rest)?;
        // The limits of a request hold for a cursor as well: it is the client's word.
        let bounds = [&prefix, &start, &end];
        let within = (1..=KEY_BYTES_MAX).contains(&last.len())
            && bounds
                .into_iter()
                .flatten()
                .all(|bound| bound.len() <= KEY_BYTES_MAX + 1);
        (rest.is_empty() && within).then(|| Self {
            bucket_id: u32::from_le_bytes(*bucket_id),
            version: u64::from_le_bytes(*version),
            prefix,
            start,
            end,
            reverse: flags & REVERSE != 0,
            keys_only: flags & KEYS_ONLY != 0,
            last: Some(last),
        })
    }
}

fn push(out: &mut Vec<u8>, field: &[u8]) {
    let length = u16::try_from(field.len()).expect("a field is at most a key and one byte");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(field);
}

fn pull(rest: &mut &[u8]) -> Option<Bytes> {
    let (length, after) = rest.split_first_chunk::<2>()?;
    let (field, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    *rest = after;
    Some(Bytes::copy_from_slice(field))
}

/// The 32-bit FNV-1a hash (Fowler, Noll, Vo; RFC 9923).
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

fn invalid(detail: &str) -> Error {
    Error::new(Code::InvalidArgument, detail)
}

#[cfg(any(all(test, feature = "embedded"), feature = "testing"))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
