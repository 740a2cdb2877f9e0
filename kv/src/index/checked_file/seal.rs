//! The sums of pages and sectors: they hold in one file, and there in one place only.

use cairn_log::vfs::SECTOR_BYTES;

use super::u32_at;

/// Binds sums to a file and to places in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal(pub(super) u64);

impl Seal {
    /// The sum of a page that stands there; never 0.
    pub(super) fn page_sum(self, place: u64, bytes: &[u8]) -> u32 {
        (crc32fast::hash(bytes) ^ self.mask(place)).max(1)
    }

    /// Fills in a sector's last four bytes.
    pub(super) fn seal(self, place: u64, sector: &mut [u8; SECTOR_BYTES]) {
        let crc = crc32fast::hash(&sector[..CRC_AT]) ^ self.mask(place);
        sector[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    }

    pub(super) fn is_sealed(self, place: u64, sector: &[u8; SECTOR_BYTES]) -> bool {
        crc32fast::hash(&sector[..CRC_AT]) ^ self.mask(place) == u32_at(sector, CRC_AT)
    }

    /// The finalizer of SplitMix64 over both numbers: places that differ in one bit get unrelated
    /// masks.
    fn mask(self, place: u64) -> u32 {
        let mut mixed = self.0 ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 32) as u32
    }
}

/// Where each sector that has a CRC has it.
pub(super) const CRC_AT: usize = SECTOR_BYTES - 4;
