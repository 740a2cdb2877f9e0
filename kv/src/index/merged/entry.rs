//! What stands in the index about one key.

use crate::index::merged::Fault;
use crate::limits::PIECE_BYTES_MAX;

/// Where the newest version of a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The offset of the record.
    pub(crate) record: u64,
    /// The offset of the batch that wrote it, less than 16 MiB below the record's. Of a record
    /// that was moved it is not kept: 0 when it is read, and the record says it.
    pub(crate) version: u64,
    pub(crate) kind: EntryKind,
    pub(crate) is_moved: bool,
    /// Bytes of the value; pieces of a large one.
    pub(crate) value_bytes: u32,
    /// Bytes of the record beside key and value, its frame included; a multiple of 8.
    pub(crate) extra_bytes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A value that lives until it is replaced.
    Value,
    /// A value with a deadline, which stands in its record.
    Expiring,
    /// A value in pieces, with or without a deadline. Its size stands in its record.
    Large,
}

/// The size of an encoded entry.
pub(super) const BYTES: usize = 16;

impl Entry {
    /// Bytes that the value counts for: of a large one, whole pieces of the greatest size.
    pub(crate) fn counted_bytes(&self) -> u64 {
        let unit = match self.kind {
            EntryKind::Value | EntryKind::Expiring => 1,
            EntryKind::Large => PIECE_BYTES_MAX as u64,
        };
        u64::from(self.value_bytes) * unit
    }

    /// ```text
    /// 0 u64 record offset in the lower 53 bits, extra bytes / 8 in the upper 11
    /// 8 u24 place: version = record offset - place; 0 of a moved record
    /// 11 u8 kind: 1 value, 2 expiring, 3 large; flag 0x80: moved away from its batch
    /// 12 u32 value bytes, of a large value its pieces
    /// ```
    ///
    /// Little-endian. Other bits of the kind must be 0.
    pub(super) fn encode(&self) -> [u8; BYTES] {
        let place = if self.is_moved {
            Some(0)
        } else {
            self.record.checked_sub(self.version)
        };
        let place = place.filter(|&place| place < PLACE_END);
        let place = place.expect("a record stands in its batch");
        assert!(self.record < OFFSET_END, "offsets end below 2^53");
        let extra = u64::from(self.extra_bytes.div_ceil(EXTRA_UNIT)).min(EXTRA_MAX);
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&(self.record | extra << OFFSET_BITS).to_le_bytes());
        bytes[8..11].copy_from_slice(&place.to_le_bytes()[..3]);
        let moved = if self.is_moved { MOVED } else { 0 };
        bytes[11] = moved
            | match self.kind {
                EntryKind::Value => VALUE,
                EntryKind::Expiring => EXPIRING,
                EntryKind::Large => LARGE,
            };
        bytes[12..].copy_from_slice(&self.value_bytes.to_le_bytes());
        bytes
    }

    /// The entry of these bytes; `name` is the file's, for the fault.
    pub(super) fn decode(bytes: &[u8; BYTES], name: &str) -> Result<Entry, Fault> {
        let [
            r0,
            r1,
            r2,
            r3,
            r4,
            r5,
            r6,
            r7,
            p0,
            p1,
            p2,
            kind,
            v0,
            v1,
            v2,
            v3,
        ] = *bytes;
        let word = u64::from_le_bytes([r0, r1, r2, r3, r4, r5, r6, r7]);
        let (record, extra) = (word & (OFFSET_END - 1), word >> OFFSET_BITS);
        let extra_bytes = u32::try_from(extra).unwrap_or(0) * EXTRA_UNIT;
        let place = u32::from_le_bytes([p0, p1, p2, 0]);
        let is_moved = kind & MOVED != 0;
        let kind = match kind & !MOVED {
            VALUE => Some(EntryKind::Value),
            EXPIRING => Some(EntryKind::Expiring),
            LARGE => Some(EntryKind::Large),
            _ => None,
        };
        match (kind, record.checked_sub(u64::from(place))) {
            (Some(kind), Some(version)) => Ok(Entry {
                record,
                version: if is_moved { 0 } else { version },
                kind,
                is_moved,
                extra_bytes,
                value_bytes: u32::from_le_bytes([v0, v1, v2, v3]),
            }),
            _ => Err(Fault::Damaged(format!("{name}: an entry that is none"))),
        }
    }
}

const VALUE: u8 = 1;
const EXPIRING: u8 = 2;
const LARGE: u8 = 3;
const MOVED: u8 = 0x80;
const OFFSET_BITS: u32 = 53;
const OFFSET_END: u64 = 1 << OFFSET_BITS;
const EXTRA_UNIT: u32 = 8;
const EXTRA_MAX: u64 = (1 << (64 - OFFSET_BITS)) - 1;
/// Places are below this: a batch is at most half as long.
const PLACE_END: u64 = 1 << 24;
