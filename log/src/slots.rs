//! A small file that is replaced atomically: two slots, of which the newer valid one counts.
//!
//! ```text
//! slot A at 0, slot B at 4096, 512 bytes each (one sector: it holds its old or its new bytes)
//!   0  u64  magic       of the kind of file
//!   8  u32  format      version of the whole directory
//!  12  u32  length      bytes of content
//!  16  u64  generation  one more at each write
//!  24  ...  content, then zeros
//! 508  u32  CRC of 0..508
//! ```
//!
//! An odd generation stands in slot B, an even one in slot A.
//!
//! A write goes to the older slot and is synced, so a crash leaves the newer one as it was. One
//! damaged slot is survived (and reported, because what the newer slot said may be lost with it);
//! two are corruption, never a fresh start.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checksum::crc32;
use crate::error::{Error, Result};
use crate::vfs::{File, SECTOR_BYTES, SyncSite, Vfs};

/// The version of everything a log writes to disk.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// The most content a slot holds, in bytes.
pub(crate) const CONTENT_BYTES_MAX: usize = SECTOR_BYTES - HEADER_BYTES - 4;

/// No slot is of this generation, and none of a later one; nobody lives to write the one before.
const GENERATION_END: u64 = u64::MAX;

const HEADER_BYTES: usize = 24;
const SLOT_POSITIONS: [u64; 2] = [0, 4096];

/// An open two-slot file.
#[derive(Debug)]
pub(crate) struct Slots {
    path: PathBuf,
    magic: [u8; 8],
    file: Arc<dyn File>,
    generation: u64,
}

/// What a two-slot file said when it was opened.
#[derive(Debug)]
pub(crate) struct Found {
    /// The newer slot's content.
    pub(crate) content: Vec<u8>,
    /// The older slot's content, if that slot is whole.
    pub(crate) older: Option<Vec<u8>>,
    /// Where the slot stands that is not whole.
    pub(crate) damaged: Option<u64>,
}

impl Slots {
    /// Creates the file with the same content in both slots. Durable on return, except for the
    /// file's name, which the caller syncs.
    pub(crate) fn create(
        vfs: &dyn Vfs,
        path: &Path,
        magic: [u8; 8],
        content: &[u8],
        site: SyncSite,
    ) -> Result<Slots> {
        let file = vfs
            .create(path)
            .map_err(|error| Error::io("create", path, error))?;
        let mut slots = Slots {
            path: path.to_owned(),
            magic,
            file,
            generation: 0,
        };
        slots.write(content, site)?;
        slots.write(content, site)?;
        Ok(slots)
    }

    /// Opens the file and reads the newer valid slot.
    pub(crate) fn open(vfs: &dyn Vfs, path: &Path, magic: [u8; 8]) -> Result<(Slots, Found)> {
        let file = vfs.open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::corrupt(path, 0, "the file is missing"),
            _ => Error::io("open", path, error),
        })?;
        let mut valid = Vec::new();
        let mut damaged = None;
        for position in SLOT_POSITIONS {
            let mut slot = [0; SECTOR_BYTES];
            match file.read_exact_at(&mut slot, position) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    damaged = Some(position);
                    continue;
                }
                Err(error) => return Err(Error::io("read", path, error)),
            }
            match decode(&slot, magic, position) {
                Decoded::Valid {
                    generation,
                    content,
                } => valid.push((generation, content)),
                Decoded::OtherFormat(found) => {
                    let path = path.to_owned();
                    return Err(Error::Format {
                        path,
                        found,
                        supported: FORMAT_VERSION,
                    });
                }
                Decoded::Damaged => damaged = Some(position),
            }
        }
        valid.sort_unstable();
        let Some((generation, content)) = valid.pop() else {
            return Err(Error::corrupt(path, 0, "neither slot verifies"));
        };
        let slots = Slots {
            path: path.to_owned(),
            magic,
            file,
            generation,
        };
        Ok((
            slots,
            Found {
                content,
                older: valid.pop().map(|(_, content)| content),
                damaged,
            },
        ))
    }

    /// Replaces the older slot and syncs it. After an error the file's state is unknown and the
    /// caller must not write it again.
    pub(crate) fn write(&mut self, content: &[u8], site: SyncSite) -> Result<()> {
        if self.generation + 1 == GENERATION_END {
            let what = format!("{}: no generation is left", self.path.display());
            return Err(Error::Invalid { what });
        }
        self.generation += 1;
        let slot = encode(self.magic, self.generation, content);
        self.file
            .write_at(&slot, position_of(self.generation))
            .map_err(|error| Error::io("write", &self.path, error))?;
        self.file
            .sync_data(site)
            .map_err(|error| Error::io("sync", &self.path, error))
    }
}

/// Generations take turns. One that stands in the other slot was not written there by us, and the
/// next write would go over it.
fn position_of(generation: u64) -> u64 {
    SLOT_POSITIONS[usize::from(generation % 2 == 1)]
}

enum Decoded {
    Valid { generation: u64, content: Vec<u8> },
    OtherFormat(u32),
    Damaged,
}

fn encode(magic: [u8; 8], generation: u64, content: &[u8]) -> [u8; SECTOR_BYTES] {
    assert!(
        content.len() <= CONTENT_BYTES_MAX,
        "slot contents have a fixed, small size"
    );
    let mut slot = [0; SECTOR_BYTES];
    slot[0..8].copy_from_slice(&magic);
    slot[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    let length = u32::try_from(content.len()).unwrap_or_default();
    slot[12..16].copy_from_slice(&length.to_le_bytes());
    slot[16..24].copy_from_slice(&generation.to_le_bytes());
    slot[HEADER_BYTES..HEADER_BYTES + content.len()].copy_from_slice(content);
    let sum = crc32(&slot[..SECTOR_BYTES - 4]);
    slot[SECTOR_BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
    slot
}

fn decode(slot: &[u8; SECTOR_BYTES], magic: [u8; 8], position: u64) -> Decoded {
    let (body, sum) = slot.split_at(SECTOR_BYTES - 4);
    if crc32(body).to_le_bytes() != *sum || slot[..8] != magic {
        return Decoded::Damaged;
    }
    let mut fields = Fields::new(&slot[8..]);
    let format = fields.u32();
    if format != FORMAT_VERSION {
        return Decoded::OtherFormat(format);
    }
    let length = fields.u32() as usize;
    let generation = fields.u64();
    let Some((content, blank)) = slot[HEADER_BYTES..SECTOR_BYTES - 4].split_at_checked(length)
    else {
        return Decoded::Damaged;
    };
    let sane = generation < GENERATION_END
        && position_of(generation) == position
        && blank.iter().all(|&byte| byte == 0);
    if !sane {
        return Decoded::Damaged;
    }
    Decoded::Valid {
        generation,
        content: content.to_vec(),
    }
}

/// Reads fixed-width little-endian fields off the front of a slice; past its end they are zero
/// and `short` says so.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    pub(crate) short: bool,
}

impl<'a> Fields<'a> {
    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Whether nothing but zeros is left.
    pub(crate) fn is_blank(&self) -> bool {
        self.rest.iter().all(|&byte| byte == 0)
    }

    pub(crate) fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields {
            rest: bytes,
            short: false,
        }
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        match self.rest.split_first_chunk::<N>() {
            Some((field, rest)) => {
                self.rest = rest;
                *field
            }
            None => {
                self.short = true;
                [0; N]
            }
        }
    }

    pub(crate) fn u8(&mut self) -> u8 {
        let [byte] = self.bytes();
        byte
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }
}

#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
