//! Whether a whole run is what was written: every block, and both orders of its places.

use super::block::{self, items};
use super::{BY_HASH_BYTES, PLACE_BYTES, Run, RunFault, split};

impl Run {
    /// Checks every block of the file, and that both orders are orders of the same places.
    pub(crate) fn check(&self) -> Result<(), RunFault> {
        for number in 0..self.layout.by_hash.first {
            self.verified(number)?;
        }
        let by_hash = self.check_by_hash()?;
        let by_key = self.check_by_key()?;
        if by_hash != by_key {
            let what = "the places by key are not those by hash";
            return Err(self.damaged(&self.layout.by_key, 0, what));
        }
        Ok(())
    }

    /// Checks the by-hash section and returns the sum of its places.
    fn check_by_hash(&self) -> Result<u64, RunFault> {
        let section = &self.layout.by_hash;
        let (mut sum, mut index, mut before) = (0_u64, 0, None);
        for (nth, &fence) in (0..).zip(&self.fences) {
            let block = self.block(section, nth)?;
            let entries = items::<BY_HASH_BYTES>(section, nth, &block);
            if entries.first().is_none_or(|entry| split(entry).0 != fence) {
                return Err(self.damaged(section, index, "not what its fence says"));
            }
            for entry in entries {
                let (top, place) = split(entry);
                let rank = (top, self.place(section, index, place)?.rank());
                if before.is_some_and(|before| before > rank) {
                    return Err(self.damaged(section, index, "a record out of order"));
                }
                sum = sum.wrapping_add(block::mix(u64::from_le_bytes(place)));
                (before, index) = (Some(rank), index + 1);
            }
        }
        Ok(sum)
    }

    /// Checks the by-key section and returns the sum of its places.
    fn check_by_key(&self) -> Result<u64, RunFault> {
        let section = &self.layout.by_key;
        let (mut sum, mut index) = (0_u64, 0);
        for nth in 0..section.blocks() {
            let block = self.block(section, nth)?;
            for &place in items::<PLACE_BYTES>(section, nth, &block) {
                self.place(section, index, place)?;
                sum = sum.wrapping_add(block::mix(u64::from_le_bytes(place)));
                index += 1;
            }
        }
        Ok(sum)
    }
}
