//! The bytes of a place, and the order of places by hash. The format stands in [`super`].

use std::cmp::Reverse;

use super::{PLACE_BYTES, Place, RunIdentity};

/// How two records of one top are ordered by hash. See the module.
pub(super) type Rank = (bool, Reverse<Option<u64>>, Reverse<Option<u64>>);

impl Place {
    pub(super) fn rank(&self) -> Rank {
        let record = self.version.map(|_| self.record);
        (
            self.version.is_none(),
            Reverse(self.version),
            Reverse(record),
        )
    }

    /// The place's bytes in the run of a segment.
    ///
    /// # Panics
    ///
    /// If it does not lie in the segment.
    pub(super) fn encode(&self, identity: &RunIdentity) -> [u8; PLACE_BYTES] {
        let inside = identity.base..identity.end;
        assert!(inside.contains(&self.record), "a record of the segment");
        let offset = offset_in(identity, self.record);
        let from_batch = self.version.map_or(0, |version| {
            assert!(inside.contains(&version), "a version of the segment");
            self.record
                .checked_sub(version)
                .expect("a batch starts before its records")
        });
        assert!(from_batch < 1 << 24, "a batch has at most 16 MiB");
        let tombstone = if self.is_tombstone { TOMBSTONE } else { 0 };
        let superseded = if self.is_superseded { SUPERSEDED } else { 0 };
        let relocated = if self.version.is_none() { RELOCATED } else { 0 };
        let [o0, o1, o2, o3] = offset.to_le_bytes();
        let [b0, b1, b2, ..] = from_batch.to_le_bytes();
        [
            o0,
            o1,
            o2,
            o3,
            b0,
            b1,
            b2,
            tombstone | relocated | superseded,
        ]
    }

    /// The place of these bytes, if it lies in the segment.
    pub(super) fn decode(bytes: [u8; PLACE_BYTES], identity: &RunIdentity) -> Option<Place> {
        let [o0, o1, o2, o3, b0, b1, b2, flags] = bytes;
        let offset = u32::from_le_bytes([o0, o1, o2, o3]);
        let from_batch = u32::from_le_bytes([b0, b1, b2, 0]);
        let record = identity.base.checked_add(u64::from(offset))?;
        let is_relocated = flags & RELOCATED != 0;
        let well_formed = flags & !(TOMBSTONE | RELOCATED | SUPERSEDED) == 0
            && (is_relocated || flags & SUPERSEDED == 0)
            && record < identity.end
            && from_batch <= offset
            && (!is_relocated || from_batch == 0);
        // Not before it is known to be well formed: the distance may reach below zero.
        well_formed.then(|| Place {
            record,
            version: (!is_relocated).then(|| record - u64::from(from_batch)),
            is_tombstone: flags & TOMBSTONE != 0,
            is_superseded: flags & SUPERSEDED != 0,
        })
    }
}

/// The offset of a record in its segment.
pub(super) fn offset_in(identity: &RunIdentity, record: u64) -> u32 {
    record
        .checked_sub(identity.base)
        .and_then(|offset| u32::try_from(offset).ok())
        .expect("a record of the segment")
}

pub(super) const TOMBSTONE: u8 = 1;
pub(super) const RELOCATED: u8 = 2;
/// With relocated ones only.
pub(super) const SUPERSEDED: u8 = 4;
