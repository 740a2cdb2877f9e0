//! What stands in the index about one key.

use crate::index::merged::Fault;
use crate::limits::PIECE_BYTES_MAX;

/// Where the newest version of a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The offset of the record.
    pub(crate) record: u64,
    /// The offset of the batch that wrote it, less than 16 MiB below the record's.
    pub(crate) version: u64,
    pub(crate) kind: EntryKind,
    /// Bytes of the value; pieces of a large one.
    pub(crate) value_bytes: u32,
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
    /// 0 record offset u64 | 8 place u24 | 11 kind u8: 1 value, 2 expiring, 3 large | 12 value bytes u32
    /// ```
    ///
    /// Little-endian; version = record offset - place. High bits of the kind must be 0: 0x80 is
    /// kept for records that were moved away from their batch.
    pub(super) fn encode(&self) -> [u8; BYTES] {
        let place = self.record.checked_sub(self.version);
        let place = place.filter(|&place| place < PLACE_END);
        let place = place.expect("a record stands in its batch");
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&self.record.to_le_bytes());
        bytes[8..11].copy_from_slice(&place.to_le_bytes()[..3]);
        bytes[11] = match self.kind {
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
        let record = u64::from_le_bytes([r0, r1, r2, r3, r4, r5, r6, r7]);
        let place = u32::from_le_bytes([p0, p1, p2, 0]);
        let kind = match kind {
            VALUE => Some(EntryKind::Value),
            EXPIRING => Some(EntryKind::Expiring),
            LARGE => Some(EntryKind::Large),
            _ => None,
        };
        match (kind, record.checked_sub(u64::from(place))) {
            (Some(kind), Some(version)) => Ok(Entry {
                record,
                version,
                kind,
                value_bytes: u32::from_le_bytes([v0, v1, v2, v3]),
            }),
            _ => Err(Fault::Damaged(format!("{name}: an entry that is none"))),
        }
    }
}

const VALUE: u8 = 1;
const EXPIRING: u8 = 2;
const LARGE: u8 = 3;
/// Places are below this: a batch is at most half as long.
const PLACE_END: u64 = 1 << 24;
