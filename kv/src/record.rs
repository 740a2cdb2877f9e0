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
//! bucket  varint   bucket id, 1..=2^31-1; with the top bit set, the pieces of that bucket's
//!                  large values (see `large`): kinds 1 and 2 only, keys 12 bytes longer; 0 in
//!                  kind 7
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
//! kind 5  large put      key length varint · key · [ATTRIBUTES] · [EXPIRES], as of kind 1
//!                        value size varint, at most 5 TiB
//!                        upload varint, below 2^53, not 0
//!                        piece size varint, 1..=65536; the last piece of a value may be shorter
//!                        BLAKE3 of the value, 32 bytes
//! kind 7  history floor  version varint: superseded versions that no reader at or above it sees
//!                        may be gone
//!
//! flag 0x10  ATTRIBUTES   kinds 1 and 5 only
//! flag 0x20  EXPIRES      kinds 1 and 5: a deadline follows
//!            EXPIRED      kind 2: a deadline that passed deleted the key, not a caller
//! flag 0x40  MOVED        any kind: garbage collection wrote the record again
//! flag 0x80  SUPERSEDED   kinds 1, 2 and 5, with MOVED: a newer version existed when it was moved,
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
use crate::limits::{
    ATTRIBUTES_BYTES_MAX, KEY_BYTES_MAX, PIECE_BYTES_MAX, VALUE_BYTES_MAX, VALUE_RECORD_BYTES_MAX,
    VERSION_END,
};
use crate::version::Durability;

/// Names a bucket in the log. Never given to two buckets of a store, not even when the first is
/// gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BucketId(pub(crate) u32);

impl BucketId {
    /// The greatest id that a bucket may get.
    pub(crate) const MAX: BucketId = BucketId(PIECES_BIT - 1);

    /// The internal bucket that holds the pieces of this bucket's large values. No name leads to
    /// it, so no scan, count or listing shows it.
    pub(crate) fn pieces(self) -> BucketId {
        BucketId(self.0 | PIECES_BIT)
    }

    /// The bucket that an internal bucket belongs to; any other bucket itself.
    pub(crate) fn owner(self) -> BucketId {
        BucketId(self.0 & !PIECES_BIT)
    }

    /// Whether it is an internal bucket.
    pub(crate) fn is_pieces(self) -> bool {
        self.0 & PIECES_BIT != 0
    }

    /// The longest key that a record of the bucket may have.
    fn key_bytes_max(self) -> usize {
        if self.is_pieces() {
            KEY_BYTES_MAX + PIECE_KEY_BYTES
        } else {
            KEY_BYTES_MAX
        }
    }
}

const PIECES_BIT: u32 = 1 << 31;

/// What stands before the owner's key in the key of a piece.
pub(crate) const PIECE_KEY_BYTES: usize = 12;

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
    LargePut(LargePut<'a>),
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

/// Makes a large value the newest of its key. The value stands in pieces before this record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LargePut<'a> {
    pub(crate) key: &'a [u8],
    /// An attribute block, empty if there is none.
    pub(crate) attributes: &'a [u8],
    /// The deadline in milliseconds since 1970, 0 if there is none.
    pub(crate) expires_ms: u64,
    pub(crate) large: Large,
}

/// A value that stands in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Large {
    /// Bytes of the value.
    pub(crate) size: u64,
    /// Names the upload whose pieces these are. Never given to two uploads of a partition.
    pub(crate) upload: u64,
    /// Bytes of every piece but the last.
    pub(crate) piece_bytes: u32,
    /// BLAKE3 of the value.
    pub(crate) hash: [u8; 32],
}

impl Large {
    /// The number of pieces.
    pub(crate) fn pieces(&self) -> u64 {
        self.size.div_ceil(u64::from(self.piece_bytes))
    }

    fn check(&self) -> Result<(), Malformed> {
        let piece_bytes = self.piece_bytes as usize;
        if !(1..=PIECE_BYTES_MAX).contains(&piece_bytes) || self.size > VALUE_BYTES_MAX {
            return Err(Malformed("a large value or a piece over its limit"));
        }
        if self.upload == 0 || self.upload >= VERSION_END || self.pieces() > u64::from(u32::MAX) {
            return Err(Malformed("an upload that cannot have been"));
        }
        Ok(())
    }
}

impl Record<'_> {
    /// Appends the payload to `buffer`. Lengths have been checked at the door.
    pub(crate) fn encode(&self, buffer: &mut Vec<u8>) {
        let tag = match &self.body {
            Body::Put(put) => PUT | put_flags(put.attributes, put.expires_ms),
            Body::LargePut(put) => LARGE_PUT | put_flags(put.attributes, put.expires_ms),
            Body::Delete { expired, .. } => DELETE | if *expired { EXPIRED } else { 0 },
            Body::BucketCreated { .. } => BUCKET_CREATED,
            Body::BucketDropped => BUCKET_DROPPED,
            Body::HistoryFloor { .. } => HISTORY_FLOOR,
        };
        let of_no_bucket = matches!(self.body, Body::HistoryFloor { .. });
        assert!(
            (self.bucket.owner().0 == 0) == of_no_bucket,
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
        let key_bytes_max = self.bucket.key_bytes_max();
        match &self.body {
            Body::Put(put) => {
                encode_head(
                    buffer,
                    put.key,
                    key_bytes_max,
                    put.attributes,
                    put.expires_ms,
                );
                assert!(
                    put.value.len() <= VALUE_RECORD_BYTES_MAX,
                    "checked at the door"
                );
                buffer.extend_from_slice(put.value);
            }
            Body::LargePut(put) => {
                assert!(!self.bucket.is_pieces(), "a piece is no large value");
                encode_head(
                    buffer,
                    put.key,
                    key_bytes_max,
                    put.attributes,
                    put.expires_ms,
                );
                assert_eq!(put.large.check(), Ok(()), "checked at the door");
                varint::push(buffer, put.large.size);
                varint::push(buffer, put.large.upload);
                varint::push(buffer, u64::from(put.large.piece_bytes));
                buffer.extend_from_slice(&put.large.hash);
            }
            Body::Delete { key, .. } => {
                assert!(
                    (1..=key_bytes_max).contains(&key.len()),
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
            PUT | LARGE_PUT => ATTRIBUTES | EXPIRES,
            DELETE => EXPIRED,
            _ => 0,
        };
        if flags & !(known | MOVED | SUPERSEDED) != 0 {
            return Err(Malformed("flags of another kind"));
        }
        let superseded = flags & SUPERSEDED != 0;
        if superseded && (flags & MOVED == 0 || !matches!(kind, PUT | LARGE_PUT | DELETE)) {
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
        if (bucket.owner().0 == 0) != (kind == HISTORY_FLOOR) {
            return Err(Malformed("bucket 0"));
        }
        if bucket.is_pieces() && !matches!(kind, PUT | DELETE) {
            return Err(Malformed("a record of no piece in a bucket of pieces"));
        }
        let body = match kind {
            PUT => Body::Put(Put::decode(rest, flags, bucket)?),
            LARGE_PUT => Body::LargePut(LargePut::decode(rest, flags, bucket)?),
            DELETE => Body::Delete {
                key: checked_key(rest, bucket)?,
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
    fn decode(mut rest: &'a [u8], flags: u8, bucket: BucketId) -> Result<Put<'a>, Malformed> {
        let (key, attributes, expires_ms) = take_head(&mut rest, flags, bucket)?;
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

impl<'a> LargePut<'a> {
    fn decode(mut rest: &'a [u8], flags: u8, bucket: BucketId) -> Result<LargePut<'a>, Malformed> {
        let (key, attributes, expires_ms) = take_head(&mut rest, flags, bucket)?;
        let large = Large {
            size: varint::take(&mut rest).ok_or(SHORT)?,
            upload: varint::take(&mut rest).ok_or(SHORT)?,
            piece_bytes: take_u32(&mut rest)?,
            hash: <[u8; 32]>::try_from(rest).map_err(|_| SHORT)?,
        };
        large.check()?;
        Ok(LargePut {
            key,
            attributes,
            expires_ms,
            large,
        })
    }
}

fn put_flags(attributes: &[u8], expires_ms: u64) -> u8 {
    let attributes = if attributes.is_empty() { 0 } else { ATTRIBUTES };
    let expires = if expires_ms == 0 { 0 } else { EXPIRES };
    attributes | expires
}

/// What both kinds of puts begin with.
fn encode_head(
    buffer: &mut Vec<u8>,
    key: &[u8],
    key_bytes_max: usize,
    attributes: &[u8],
    expires_ms: u64,
) {
    assert!(
        (1..=key_bytes_max).contains(&key.len()),
        "checked at the door"
    );
    assert!(
        attributes.len() <= ATTRIBUTES_BYTES_MAX,
        "checked at the door"
    );
    assert!(expires_ms < VERSION_END, "checked at the door");
    varint::push(buffer, key.len() as u64);
    buffer.extend_from_slice(key);
    if !attributes.is_empty() {
        varint::push(buffer, attributes.len() as u64);
        buffer.extend_from_slice(attributes);
    }
    if expires_ms != 0 {
        varint::push(buffer, expires_ms);
    }
}

/// Key, attribute block and deadline.
fn take_head<'a>(
    rest: &mut &'a [u8],
    flags: u8,
    bucket: BucketId,
) -> Result<(&'a [u8], &'a [u8], u64), Malformed> {
    let length = take_u32(rest)? as usize;
    let key = checked_key(take(rest, length)?, bucket)?;
    let mut attributes: &[u8] = &[];
    if flags & ATTRIBUTES != 0 {
        let length = take_u32(rest)? as usize;
        attributes = take(rest, length)?;
        if attributes.is_empty() || !Attributes::is_block(attributes) {
            return Err(Malformed("an attribute block that is not one"));
        }
    }
    let mut expires_ms = 0;
    if flags & EXPIRES != 0 {
        expires_ms = varint::take(rest).ok_or(SHORT)?;
        if expires_ms == 0 || expires_ms >= VERSION_END {
            return Err(Malformed("a deadline outside its limits"));
        }
    }
    Ok((key, attributes, expires_ms))
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

fn checked_key(key: &[u8], bucket: BucketId) -> Result<&[u8], Malformed> {
    if (1..=bucket.key_bytes_max()).contains(&key.len()) {
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
const LARGE_PUT: u8 = 5;
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

#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
