//! The header and footer sectors of a segment file.
//!
//! ```text
//! header, at 0                         footer, at 512
//!   0  "CAIRNSEG"                        0  "CAIRNEND"
//!   8  u32 format                        8  u32 format
//!  12  u16 partition, u16 0             12  u16 partition, u16 0
//!  16  16  log id                       16  16  log id
//!  32  u64 number                       32  u64 number
//!  40  u32 incarnation, u32 0           40  u64 base
//!  48  u64 term                         48  u64 end     the log's end in this file, all synced
//!  56  u64 base                        508  u32 CRC of 0..508
//!  64  u64 previous_end
//!  72  u64 file_bytes
//! 508  u32 CRC of 0..508
//! ```
//!
//! Segment numbers are above 0 and below the greatest. All bytes not named are zero; a sector in
//! which one is not is damaged.
//!
//! `previous_end` is where the log stood before this file: equal to `base`, or less where an
//! unclean close left a gap. A header is written only when everything below it is synced, so it
//! vouches for `previous_end` the way W does; a footer vouches for `end`.

use crate::checksum::{Seed, crc32};
use crate::identity::{Incarnation, LogId, Offset, PartitionId, SegmentNumber, Term};
use crate::segment::{PAGE_BYTES, SEGMENT_BYTES_MAX};
use crate::slots::{FORMAT_VERSION, Fields};
use crate::vfs::SECTOR_BYTES;

/// Where the footer sector stands in the file.
pub(crate) const FOOTER_POSITION: u64 = SECTOR_BYTES as u64;

const HEADER_MAGIC: [u8; 8] = *b"CAIRNSEG";
const FOOTER_MAGIC: [u8; 8] = *b"CAIRNEND";

/// One sector's bytes.
pub(crate) type Sector = [u8; SECTOR_BYTES];

/// Who a segment is and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) log: LogId,
    pub(crate) partition: PartitionId,
    pub(crate) number: SegmentNumber,
    pub(crate) incarnation: Incarnation,
    pub(crate) term: Term,
    pub(crate) base: Offset,
    pub(crate) previous_end: Offset,
    pub(crate) file_bytes: u64,
}

/// Where a sealed segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) end: Offset,
}

/// Why a sector is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SectorFault {
    /// Nothing was ever written there.
    Blank,
    /// Another version of the format.
    Format(u32),
    /// Damaged, or of another file.
    Damaged,
}

impl Header {
    pub(crate) fn seed(&self) -> Seed {
        Seed::new(self.log, self.partition, self.incarnation, self.term)
    }

    pub(crate) fn encode(&self) -> Sector {
        let mut sector = begin(HEADER_MAGIC, self.log, self.partition, self.number);
        sector[40..44].copy_from_slice(&self.incarnation.0.to_le_bytes());
        let words = [
            self.term.0,
            self.base.get(),
            self.previous_end.get(),
            self.file_bytes,
        ];
        for (word, place) in words.iter().zip(sector[48..80].chunks_exact_mut(8)) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        finish(sector)
    }

    pub(crate) fn decode(sector: &Sector) -> Result<Header, SectorFault> {
        let (log, partition, number, mut fields) = open(sector, HEADER_MAGIC)?;
        let incarnation = Incarnation(fields.u32());
        let reserved = fields.u32();
        let term = Term(fields.u64());
        let base = Offset::new(fields.u64());
        let previous_end = Offset::new(fields.u64());
        let file_bytes = fields.u64();
        let sane = reserved == 0
            && fields.is_blank()
            && previous_end <= base
            && base < Offset::MAX
            && (PAGE_BYTES..=SEGMENT_BYTES_MAX).contains(&file_bytes);
        let header = Header {
            log,
            partition,
            number,
            incarnation,
            term,
            base,
            previous_end,
            file_bytes,
        };
        if sane {
            Ok(header)
        } else {
            Err(SectorFault::Damaged)
        }
    }
}

impl Footer {
    pub(crate) fn encode(&self, header: &Header) -> Sector {
        assert!(self.end >= header.base, "a segment ends after it begins");
        let mut sector = begin(FOOTER_MAGIC, header.log, header.partition, header.number);
        sector[40..48].copy_from_slice(&header.base.get().to_le_bytes());
        sector[48..56].copy_from_slice(&self.end.get().to_le_bytes());
        finish(sector)
    }

    pub(crate) fn decode(sector: &Sector, header: &Header) -> Result<Footer, SectorFault> {
        let (log, partition, number, mut fields) = open(sector, FOOTER_MAGIC)?;
        let base = Offset::new(fields.u64());
        let end = Offset::new(fields.u64());
        let limit = header.base.plus(header.file_bytes - PAGE_BYTES);
        let sane = (log, partition, number, base)
            == (header.log, header.partition, header.number, header.base)
            && (base..=limit).contains(&end)
            && fields.is_blank();
        if sane {
            Ok(Footer { end })
        } else {
            Err(SectorFault::Damaged)
        }
    }
}

fn begin(magic: [u8; 8], log: LogId, partition: PartitionId, number: SegmentNumber) -> Sector {
    let mut sector = [0; SECTOR_BYTES];
    sector[0..8].copy_from_slice(&magic);
    sector[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    sector[12..14].copy_from_slice(&partition.0.to_le_bytes());
    sector[16..32].copy_from_slice(&log.0);
    sector[32..40].copy_from_slice(&number.0.to_le_bytes());
    sector
}

fn finish(mut sector: Sector) -> Sector {
    let sum = crc32(&sector[..SECTOR_BYTES - 4]);
    sector[SECTOR_BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
    sector
}

type Opened<'a> = (LogId, PartitionId, SegmentNumber, Fields<'a>);

fn open(sector: &Sector, magic: [u8; 8]) -> Result<Opened<'_>, SectorFault> {
    if sector.iter().all(|&byte| byte == 0) {
        return Err(SectorFault::Blank);
    }
    let (body, sum) = sector.split_at(SECTOR_BYTES - 4);
    if crc32(body).to_le_bytes() != *sum {
        return Err(SectorFault::Damaged);
    }
    let mut fields = Fields::new(body);
    if fields.bytes() != magic {
        return Err(SectorFault::Damaged);
    }
    let format = fields.u32();
    if format != FORMAT_VERSION {
        return Err(SectorFault::Format(format));
    }
    let partition = PartitionId(fields.u16());
    let reserved = fields.u16();
    let log = LogId(fields.bytes());
    let number = SegmentNumber(fields.u64());
    if reserved != 0 || !(1..u64::MAX).contains(&number.0) {
        return Err(SectorFault::Damaged);
    }
    Ok((log, partition, number, fields))
}

#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
