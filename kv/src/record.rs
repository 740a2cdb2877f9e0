//! The bytes that the key-value layer puts into a record of the log.
//!
//! The log frames and checksums a record; what is specified here is its payload. Integers are
//! LEB128 varints in their shortest form, except where a width is written.
//!
//! ```text
//! tag     u8       kind in the low four bits, flags in the high four
//! place   varint   bytes from the start of the batch to this record's frame:
//!                  version of the record = offset of its frame - place
//!                  [MOVED] instead: version varint · time_ms varint, both those of the batch in
//!                  which the record was first written
//! bucket  varint   bucket id, 1..=2^32-1; 0 in kind 7
//! ...              by kind:
//!
//! kind 1  put            key length varint · key
//!                        [ATTRIBUTES] length varint · attribute block (see `attributes`)
//!                        [EXPIRES]    deadline varint, milliseconds since 1970
//!                        value: the rest
//! kind 2  delete         key: the rest
//! kind 3  bucket created name length u8 · name
//!                        options: any of (option u8 · number varint), options ascending, the rest
//! kind 4  bucket dropped nothing
//! kind 7  history floor  version varint: superseded versions that no reader at or above it sees
//!                        may be gone
//!
//! flag 0x10  ATTRIBUTES   kind 1 only
//! flag 0x20  EXPIRES      kind 1: a deadline follows
//!            EXPIRED      kind 2: a deadline that passed deleted the key, not a caller
//! flag 0x40  MOVED        any kind: garbage collection wrote the record again
//! flag 0x80  SUPERSEDED   kinds 1 and 2, with MOVED: a newer version existed when it was moved,
//!                         and history keeps it; who asks for the newest one skips it
//!
//! option 1   history_ms       option 2   history_bytes       option 3   durability: 0 buffered
//! ```
//!
//! Kind 0 is illegal, so zeroed bytes are never a record. A small put costs five bytes beside its
//! key and value (six in a batch of more than 16 KiB): with the log's 24 bytes a batch and 8 a
//! record, a lone put stays below 40 bytes of overhead and a put in a batch below 24.
//!
//! Decoding checks every length and limit, never panics and never reads outside the slice.

pub(crate) mod varint;

use std::fmt;

use crate::attributes::Attributes;
use crate::bucket::name::BucketName;
use crate::bucket::options::BucketOptions;
use crate::limits::{ATTRIBUTES_BYTES_MAX, KEY_BYTES_MAX, VALUE_RECORD_BYTES_MAX, VERSION_END};
use crate::version::Durability;

/// Names a bucket in the log. Never given to two buckets of a store, not even when the first is
/// gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BucketId(pub(crate) u32);

/// One record, borrowed from the log or about to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) origin: Origin,
    pub(crate) bucket: BucketId,
    pub(crate) body: Body<'a>,
}

/// Where the version of a record comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// From its place: bytes from the start of the batch to the record's frame.
    Here { place: u32 },
    /// It was moved, and says so itself.
    Moved(Moved),
}

/// What a record that was moved says of the batch it was first written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) version: u64,
    pub(crate) time_ms: u64,
    /// A newer version existed when it was moved.
    pub(crate) superseded: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body<'a> {
    Put(Put<'a>),
    Delete {
        key: &'a [u8],
        /// A deadline that passed did it.
        expired: bool,
    },
    BucketCreated {
        name: BucketName,
        options: BucketOptions,
    },
    BucketDropped,
    HistoryFloor {
        version: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Put<'a> {
    pub(crate) key: &'a [u8],
    /// An attribute block, empty if there is none.
    pub(crate) attributes: &'a [u8],
    /// The deadline in milliseconds since 1970, 0 if there is none.
    pub(crate) expires_ms: u64,
    pub(crate) value: &'a [u8],
}

impl Record<'_> {
    /// Appends the payload to `buffer`. Lengths have been checked at the door.
    pub(crate) fn encode(&self, buffer: &mut Vec<u8>) {
        let tag = match &self.body {
            Body::Put(put) => {
                let attributes = if put.attributes.is_empty() {
                    0
                } else {
                    ATTRIBUTES
                };
                let expires = if put.expires_ms == 0 { 0 } else { EXPIRES };
                PUT | attributes | expires
            }
            Body::Delete { expired, .. } => DELETE | if *expired { EXPIRED } else { 0 },
            Body::BucketCreated { .. } => BUCKET_CREATED,
            Body::BucketDropped => BUCKET_DROPPED,
            Body::HistoryFloor { .. } => HISTORY_FLOOR,
        };
        let of_no_bucket = matches!(self.body, Body::HistoryFloor { .. });
        assert!(
            (self.bucket.0 == 0) == of_no_bucket,
            "bucket ids start at 1"
        );
        match self.origin {
            Origin::Here { place } => {
                buffer.push(tag);
                varint::push(buffer, u64::from(place));
            }
            Origin::Moved(moved) => {
                let superseded = if moved.superseded { SUPERSEDED } else { 0 };
                buffer.push(tag | MOVED | superseded);
                varint::push(buffer, moved.version);
                varint::push(buffer, moved.time_ms);
            }
        }
        varint::push(buffer, u64::from(self.bucket.0));
        match &self.body {
            Body::Put(put) => put.encode(buffer),
            Body::Delete { key, .. } => {
                assert!(
                    (1..=KEY_BYTES_MAX).contains(&key.len()),
                    "checked at the door"
                );
                buffer.extend_from_slice(key);
            }
            Body::BucketCreated { name, options } => {
                let name = name.as_str().as_bytes();
                buffer.push(u8::try_from(name.len()).expect("a name has at most 63 bytes"));
                buffer.extend_from_slice(name);
                encode_options(options, buffer);
            }
            Body::BucketDropped => {}
            Body::HistoryFloor { version } => varint::push(buffer, *version),
        }
    }

    /// The version of a record whose frame stands at `offset`; `None` if it cannot stand there.
    pub(crate) fn version(&self, offset: u64) -> Option<u64> {
        match self.origin {
            Origin::Here { place } => offset.checked_sub(u64::from(place)),
            Origin::Moved(moved) => Some(moved.version),
        }
    }

    /// Whether it was moved although a newer version existed.
    pub(crate) fn is_superseded(&self) -> bool {
        matches!(self.origin, Origin::Moved(moved) if moved.superseded)
    }
}

impl<'a> Record<'a> {
    /// The record whose payload is exactly `bytes`.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Record<'a>, Malformed> {
        let mut rest = bytes;
        let tag = take_byte(&mut rest)?;
        let (kind, flags) = (tag & 0x0f, tag & 0xf0);
        let known = match kind {
            PUT => ATTRIBUTES | EXPIRES,
            DELETE => EXPIRED,
            _ => 0,
        };
        if flags & !(known | MOVED | SUPERSEDED) != 0 {
            return Err(Malformed("flags of another kind"));
        }
        let superseded = flags & SUPERSEDED != 0;
        if superseded && (flags & MOVED == 0 || !matches!(kind, PUT | DELETE)) {
            return Err(Malformed("superseded, and not moved or no key's"));
        }
        let origin = if flags & MOVED == 0 {
            let place = take_u32(&mut rest)?;
            Origin::Here { place }
        } else {
            let version = take_version(&mut rest)?;
            let time_ms = take_version(&mut rest)?;
            Origin::Moved(Moved {
                version,
                time_ms,
                superseded,
            })
        };
        let bucket = BucketId(take_u32(&mut rest)?);
        if (bucket.0 == 0) != (kind == HISTORY_FLOOR) {
            return Err(Malformed("bucket 0"));
        }
        let body = match kind {
            PUT => Body::Put(Put::decode(rest, flags)?),
            DELETE => Body::Delete {
                key: checked_key(rest)?,
                expired: flags & EXPIRED != 0,
            },
            BUCKET_CREATED => {
                let length = usize::from(take_byte(&mut rest)?);
                let name = std::str::from_utf8(take(&mut rest, length)?)
                    .ok()
                    .and_then(|name| BucketName::stored(name).ok())
                    .ok_or(Malformed("a bucket name that is not allowed"))?;
                Body::BucketCreated {
                    name,
                    options: decode_options(rest)?,
                }
            }
            BUCKET_DROPPED if rest.is_empty() => Body::BucketDropped,
            HISTORY_FLOOR => {
                let version = take_version(&mut rest)?;
                if !rest.is_empty() {
                    return Err(Malformed("bytes after the record's end"));
                }
                Body::HistoryFloor { version }
            }
            BUCKET_DROPPED => return Err(Malformed("bytes after the record's end")),
            _ => return Err(Malformed("unknown kind")),
        };
        Ok(Record {
            origin,
            bucket,
            body,
        })
    }
}

impl<'a> Put<'a> {
    fn encode(&self, buffer: &mut Vec<u8>) {
        assert!(
            (1..=KEY_BYTES_MAX).contains(&self.key.len()),
            "checked at the door"
        );
        assert!(
            self.attributes.len() <= ATTRIBUTES_BYTES_MAX,
            "checked at the door"
        );
        assert!(
            self.value.len() <= VALUE_RECORD_BYTES_MAX,
            "checked at the door"
        );
        assert!(self.expires_ms < VERSION_END, "checked at the door");
        varint::push(buffer, self.key.len() as u64);
        buffer.extend_from_slice(self.key);
        if !self.attributes.is_empty() {
            varint::push(buffer, self.attributes.len() as u64);
            buffer.extend_from_slice(self.attributes);
        }
        if self.expires_ms != 0 {
            varint::push(buffer, self.expires_ms);
        }
        buffer.extend_from_slice(self.value);
    }

    fn decode(mut rest: &'a [u8], flags: u8) -> Result<Put<'a>, Malformed> {
        let length = take_u32(&mut rest)? as usize;
        let key = checked_key(take(&mut rest, length)?)?;
        let mut attributes: &[u8] = &[];
        if flags & ATTRIBUTES != 0 {
            let length = take_u32(&mut rest)? as usize;
            attributes = take(&mut rest, length)?;
            if attributes.is_empty() || !Attributes::is_block(attributes) {
                return Err(Malformed("an attribute block that is not one"));
            }
        }
        let mut expires_ms = 0;
        if flags & EXPIRES != 0 {
            expires_ms = varint::take(&mut rest).ok_or(SHORT)?;
            if expires_ms == 0 || expires_ms >= VERSION_END {
                return Err(Malformed("a deadline outside its limits"));
            }
        }
        if rest.len() > VALUE_RECORD_BYTES_MAX {
            return Err(Malformed("a value over its limit"));
        }
        Ok(Put {
            key,
            attributes,
            expires_ms,
            value: rest,
        })
    }
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

fn encode_options(options: &BucketOptions, buffer: &mut Vec<u8>) {
    let mut push = |option: u8, number: Option<u64>| {
        if let Some(number) = number {
            buffer.push(option);
            varint::push(buffer, number);
        }
    };
    push(OPTION_HISTORY_MS, options.history_ms);
    push(OPTION_HISTORY_BYTES, options.history_bytes);
    push(
        OPTION_DURABILITY,
        match options.durability {
            Durability::Buffered => Some(0),
            Durability::Local => None,
        },
    );
}

fn decode_options(mut rest: &[u8]) -> Result<BucketOptions, Malformed> {
    let mut options = BucketOptions::default();
    let mut before = 0;
    while !rest.is_empty() {
        let option = take_byte(&mut rest)?;
        let number = varint::take(&mut rest).ok_or(SHORT)?;
        if option <= before {
            return Err(Malformed("options out of order"));
        }
        before = option;
        match (option, number) {
            (OPTION_HISTORY_MS, number) => options.history_ms = Some(number),
            (OPTION_HISTORY_BYTES, number) => options.history_bytes = Some(number),
            (OPTION_DURABILITY, 0) => options.durability = Durability::Buffered,
            _ => return Err(Malformed("an unknown option")),
        }
    }
    Ok(options)
}

fn checked_key(key: &[u8]) -> Result<&[u8], Malformed> {
    if (1..=KEY_BYTES_MAX).contains(&key.len()) {
        Ok(key)
    } else {
        Err(Malformed("a key outside its limits"))
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    let (taken, after) = rest.split_at_checked(length).ok_or(SHORT)?;
    *rest = after;
    Ok(taken)
}

fn take_byte(rest: &mut &[u8]) -> Result<u8, Malformed> {
    let (&byte, after) = rest.split_first().ok_or(SHORT)?;
    *rest = after;
    Ok(byte)
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, Malformed> {
    let number = varint::take(rest).ok_or(SHORT)?;
    u32::try_from(number).map_err(|_| Malformed("a number over 32 bits"))
}

fn take_version(rest: &mut &[u8]) -> Result<u64, Malformed> {
    varint::take(rest)
        .filter(|&number| number < VERSION_END)
        .ok_or(SHORT)
}

const PUT: u8 = 1;
const DELETE: u8 = 2;
const BUCKET_CREATED: u8 = 3;
const BUCKET_DROPPED: u8 = 4;
const HISTORY_FLOOR: u8 = 7;

const ATTRIBUTES: u8 = 0x10;
const EXPIRES: u8 = 0x20;
const MOVED: u8 = 0x40;
const SUPERSEDED: u8 = 0x80;
const EXPIRED: u8 = 0x20;

const OPTION_HISTORY_MS: u8 = 1;
const OPTION_HISTORY_BYTES: u8 = 2;
const OPTION_DURABILITY: u8 = 3;

const SHORT: Malformed = Malformed("a field that is cut short or too long");

#[cfg(test)]
mod tests;
