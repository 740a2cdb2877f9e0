//! Page 0: redb's header, written into two slots and read from the newer one that is whole.

use std::io;

use cairn_log::vfs::SECTOR_BYTES;

use super::layout::place_of;
use super::{HEADER_BYTES_MAX, Inner, is_zeros, no_sequence, to_usize, u64_at};

impl Inner {
    pub(super) fn read_header(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = to_usize(offset)?;
        let to = from + out.len();
        if to > HEADER_BYTES_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let _sequence = self.header.lock();
        let mut newest: Option<(u64, [u8; SECTOR_BYTES])> = None;
        for place in HEADER_PLACES {
            let Some((sequence, sector)) = self.header_slot(place)? else {
                continue;
            };
            if newest.as_ref().is_none_or(|(other, _)| *other < sequence) {
                newest = Some((sequence, sector));
            }
        }
        let Some((_, sector)) = newest else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{}: damaged page at offset {}", self.name, place_of(0)),
            ));
        };
        out.copy_from_slice(&sector[from..to]);
        Ok(())
    }

    /// A slot of page 0 and its sequence, or `None` if it is torn or damaged.
    pub(super) fn header_slot(&self, place: u64) -> io::Result<Option<(u64, [u8; SECTOR_BYTES])>> {
        let mut sector = [0; SECTOR_BYTES];
        self.file.read_exact_at(&mut sector, place)?;
        let sequence = u64_at(&sector, HEADER_BYTES_MAX);
        let is_whole =
            is_zeros(&sector) || (self.seal.is_sealed(place, &sector) && sequence < u64::MAX);
        Ok(is_whole.then_some((sequence, sector)))
    }

    pub(super) fn write_header(&self, data: &[u8]) -> io::Result<()> {
        let mut newest = self.header.lock();
        let sequence = *newest + 1;
        if sequence == u64::MAX {
            return Err(no_sequence(&self.name));
        }
        let mut sector = [0; SECTOR_BYTES];
        sector[..data.len()].copy_from_slice(data);
        sector[HEADER_BYTES_MAX..HEADER_BYTES_MAX + 8].copy_from_slice(&sequence.to_le_bytes());
        for place in HEADER_PLACES {
            self.seal.seal(place, &mut sector);
            self.file.write_at(&sector, place)?;
            *newest = sequence;
        }
        Ok(())
    }
}

/// The two slots of page 0.
pub(super) const HEADER_PLACES: [u64; 2] = [place_of(0), 2048];
