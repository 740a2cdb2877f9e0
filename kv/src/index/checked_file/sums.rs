//! The sums of the pages: in memory for each group that was touched, in the file for all.

use std::io;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use cairn_log::vfs::{File, SECTOR_BYTES};
use parking_lot::RwLock;

use super::layout::{GROUP_PAGES, GROUP_SECTORS, SECTOR_SUMS, SUM_COPIES, group_place};
use super::seal::Seal;
use super::{PAGE_BYTES, is_zeros, no_sequence, to_usize, u32_at};

/// The sums of a file. See the module above for where they stand and what they say.
#[derive(Debug)]
pub(super) struct Sums {
    seal: Seal,
    /// One for each group that the file has, empty until it is touched.
    groups: RwLock<Vec<OnceLock<Box<Group>>>>,
}

#[derive(Debug)]
struct Group {
    sums: [AtomicU32; GROUP_PAGES],
    /// A bit for each sector whose sums are not in the file yet.
    changed: AtomicU8,
    /// The sequence of each sector's newest copy, which is in copy `sequence % 2`.
    sequences: [AtomicU32; GROUP_SECTORS],
}

impl Sums {
    pub(super) fn new(seal: Seal, pages: u64) -> Sums {
        let sums = Sums {
            seal,
            groups: RwLock::default(),
        };
        grow(&mut sums.groups.write(), pages);
        sums
    }

    /// The sum of a page that the file has; 0 if it was never written.
    pub(super) fn of(&self, page: u64, file: &dyn File, name: &str) -> io::Result<u32> {
        self.with(page, file, name, |group, within| {
            group.sums[within].load(Ordering::Acquire)
        })
    }

    /// Notes the sum of a page that the file has.
    pub(super) fn set(&self, page: u64, sum: u32, file: &dyn File, name: &str) -> io::Result<()> {
        self.with(page, file, name, |group, within| group.set(within, sum))
    }

    /// Follows a change of the file's length; `changed` are the pages between the two lengths.
    pub(super) fn resize(
        &self,
        pages: u64,
        changed: Range<u64>,
        file: &dyn File,
        name: &str,
    ) -> io::Result<()> {
        let groups_before = self.groups.read().len() as u64;
        grow(&mut self.groups.write(), pages);
        let groups = self.groups.read().len() as u64;
        // Only the group that both lengths end in has sums to forget: the others are gone, or
        // begin as zeros.
        let shared = groups.min(groups_before) * GROUP_PAGES as u64;
        for page in changed.start..changed.end.min(shared) {
            self.set(page, 0, file, name)?;
        }
        Ok(())
    }

    /// Writes the sectors that have changed since they were last written.
    pub(super) fn write_changed(&self, file: &dyn File, name: &str) -> io::Result<()> {
        let groups = self.groups.read();
        for (number, group) in (0..).zip(groups.iter()) {
            let Some(group) = group.get() else { continue };
            let changed = group.changed.swap(0, Ordering::AcqRel);
            if changed == 0 {
                continue;
            }
            let written = match group.has_sequences(changed) {
                true => group.write(changed, number, self.seal, file),
                false => Err(no_sequence(name)),
            };
            if written.is_err() {
                group.changed.fetch_or(changed, Ordering::AcqRel);
            }
            written?;
        }
        Ok(())
    }

    fn with<T>(
        &self,
        page: u64,
        file: &dyn File,
        name: &str,
        action: impl Fn(&Group, usize) -> T,
    ) -> io::Result<T> {
        let number = page / GROUP_PAGES as u64;
        let within = to_usize(page % GROUP_PAGES as u64)?;
        let at = to_usize(number)?;
        {
            let groups = self.groups.read();
            let slot = groups.get(at).ok_or(io::ErrorKind::UnexpectedEof)?;
            if let Some(group) = slot.get() {
                return Ok(action(group, within));
            }
        }
        let loaded = Group::load(number, self.seal, file, name);
        let groups = self.groups.read();
        let slot = groups.get(at).ok_or(io::ErrorKind::UnexpectedEof)?;
        // Whoever was first counts, with what has changed since; and a sector that was being
        // written while it was read here is no damage.
        if slot.get().is_none() {
            let _ = slot.set(loaded?);
        }
        let group = slot.get().ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(action(group, within))
    }
}

impl Group {
    fn load(number: u64, seal: Seal, file: &dyn File, name: &str) -> io::Result<Box<Group>> {
        let mut copies = vec![0; SUM_COPIES * PAGE_BYTES];
        file.read_exact_at(&mut copies, group_place(number))?;
        let group = Box::new(Group {
            sums: [const { AtomicU32::new(0) }; GROUP_PAGES],
            changed: AtomicU8::new(0),
            sequences: [const { AtomicU32::new(0) }; GROUP_SECTORS],
        });
        for sector in 0..GROUP_SECTORS {
            let newest = (0..SUM_COPIES)
                .filter_map(|copy| {
                    let place = sector_place(number, copy, sector);
                    let at = copy * PAGE_BYTES + sector * SECTOR_BYTES;
                    let bytes: &[u8; SECTOR_BYTES] =
                        copies[at..at + SECTOR_BYTES].try_into().ok()?;
                    let has_next = u32_at(bytes, SEQUENCE_AT) < u32::MAX;
                    (is_zeros(bytes) || (seal.is_sealed(place, bytes) && has_next)).then_some(bytes)
                })
                .max_by_key(|bytes| u32_at(*bytes, SEQUENCE_AT));
            let Some(bytes) = newest else {
                let place = sector_place(number, 0, sector);
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{name}: damaged sums at offset {place}"),
                ));
            };
            group.sequences[sector].store(u32_at(bytes, SEQUENCE_AT), Ordering::Relaxed);
            let sums = &group.sums[sector * SECTOR_SUMS..(sector + 1) * SECTOR_SUMS];
            for (at, sum) in sums.iter().enumerate() {
                sum.store(u32_at(bytes, at * 4), Ordering::Relaxed);
            }
        }
        Ok(group)
    }

    fn set(&self, within: usize, sum: u32) {
        if self.sums[within].swap(sum, Ordering::AcqRel) != sum {
            let sector = within / SECTOR_SUMS;
            self.changed.fetch_or(1 << sector, Ordering::AcqRel);
        }
    }

    /// Whether each changed sector has a sequence left to be written with.
    fn has_sequences(&self, changed: u8) -> bool {
        (0..GROUP_SECTORS)
            .filter(|sector| changed & (1 << sector) != 0)
            .all(|sector| self.sequences[sector].load(Ordering::Relaxed) < u32::MAX - 1)
    }

    /// Writes each changed sector over the older of its copies, adjacent ones in one call.
    fn write(&self, changed: u8, number: u64, seal: Seal, file: &dyn File) -> io::Result<()> {
        let mut sectors: Vec<(u64, usize)> = (0..GROUP_SECTORS)
            .filter(|sector| changed & (1 << sector) != 0)
            .map(|sector| {
                let sequence = self.sequences[sector].load(Ordering::Relaxed) + 1;
                let copy = sequence as usize % SUM_COPIES;
                (sector_place(number, copy, sector), sector)
            })
            .collect();
        sectors.sort_unstable();
        let adjacent = |a: &(u64, usize), b: &(u64, usize)| a.0 + SECTOR_BYTES as u64 == b.0;
        for run in sectors.chunk_by(adjacent) {
            let mut bytes = Vec::with_capacity(run.len() * SECTOR_BYTES);
            for &(place, sector) in run {
                bytes.extend_from_slice(&self.encode(sector, place, seal));
            }
            file.write_at(&bytes, run[0].0)?;
            for &(_, sector) in run {
                self.sequences[sector].fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn encode(&self, sector: usize, place: u64, seal: Seal) -> [u8; SECTOR_BYTES] {
        let mut bytes = [0; SECTOR_BYTES];
        let sums = &self.sums[sector * SECTOR_SUMS..(sector + 1) * SECTOR_SUMS];
        for (at, sum) in sums.iter().enumerate() {
            let sum = sum.load(Ordering::Acquire);
            bytes[at * 4..at * 4 + 4].copy_from_slice(&sum.to_le_bytes());
        }
        let sequence = self.sequences[sector].load(Ordering::Relaxed) + 1;
        bytes[SEQUENCE_AT..SEQUENCE_AT + 4].copy_from_slice(&sequence.to_le_bytes());
        seal.seal(place, &mut bytes);
        bytes
    }
}

fn grow(groups: &mut Vec<OnceLock<Box<Group>>>, pages: u64) {
    let count = usize::try_from(pages.div_ceil(GROUP_PAGES as u64)).unwrap_or(usize::MAX);
    groups.resize_with(count, OnceLock::new);
}

fn sector_place(group: u64, copy: usize, sector: usize) -> u64 {
    group_place(group) + (copy * PAGE_BYTES + sector * SECTOR_BYTES) as u64
}

const SEQUENCE_AT: usize = SECTOR_SUMS * 4;
