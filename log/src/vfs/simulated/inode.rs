//! A file without its names: what the disk holds, what the page cache shows, and every state in
//! between that an unsynced sector or length has been in.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::super::published::Published;
use super::SECTOR_BYTES;
use super::content::{Content, PAGE_BYTES, SECTORS_PER_PAGE, Sector, pieces};
use super::survival::Survivor;

/// Invariant: for each unsynced page, the durable sectors overwritten by its states in order are
/// the cached page, unless a failed sync let the two drift apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    pub(super) cached: Content,
    durable: Content,
    /// Per page that was written or cut since the last sync: (sector in the page, new bytes), in
    /// order. A sector that was written but not changed has no entry.
    unsynced: BTreeMap<u64, Vec<(usize, Arc<Sector>)>>,
    /// The lengths since the last sync, in order.
    lengths: Vec<u64>,
    /// How many names the page cache shows for it.
    pub(super) links: usize,
    /// How many handles and maps are open.
    pub(super) handles: usize,
    /// The watermark of each handle that has made a map.
    pub(super) published: Vec<Weak<Published>>,
}

impl Inode {
    /// A closed file whose content is all durable.
    pub(super) fn settled(content: Content, links: usize) -> Self {
        Self {
            durable: content.clone(),
            cached: content,
            links,
            ..Self::default()
        }
    }

    /// The same file on another disk, where nobody has it open.
    pub(super) fn closed(&self) -> Self {
        Self {
            handles: 0,
            published: Vec::new(),
            ..self.clone()
        }
    }

    /// Whether it takes space: nameless and closed files don't.
    pub(super) fn is_charged(&self) -> bool {
        self.links > 0 || self.handles > 0
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        for piece in pieces(offset, bytes.len()) {
            let sectors =
                piece.of_page.start / SECTOR_BYTES..piece.of_page.end.div_ceil(SECTOR_BYTES);
            self.cached
                .write_page(piece.page, piece.of_page, &bytes[piece.of_buffer]);
            for sector in sectors {
                self.note_sector(piece.page, sector);
            }
        }
        let end = offset + bytes.len() as u64;
        if !bytes.is_empty() {
            self.cached.set_length(self.cached.length().max(end));
            self.note_length();
        }
    }

    pub(super) fn set_length(&mut self, length: u64) {
        if length == self.cached.length() {
            return;
        }
        let cut = self.cached.pages_from(length);
        self.cached.set_length(length);
        self.note_length();
        for page in cut {
            for sector in 0..SECTORS_PER_PAGE {
                self.note_sector(page, sector);
            }
        }
    }

    /// Remembers the cached bytes of a sector as one more state that a power loss may leave.
    fn note_sector(&mut self, page: u64, sector: usize) {
        let states = self.unsynced.entry(page).or_default();
        let newest = states.iter().rev().find(|(of, _)| *of == sector);
        let before = newest.map_or(self.durable.sector(page, sector), |(_, bytes)| bytes);
        let now = self.cached.sector(page, sector);
        if before != now {
            states.push((sector, Arc::new(*now)));
        }
    }

    fn note_length(&mut self) {
        let before = self
            .lengths
            .last()
            .copied()
            .unwrap_or(self.durable.length());
        if before != self.cached.length() {
            self.lengths.push(self.cached.length());
        }
    }

    /// Makes every noted state durable. What a failed sync left behind is not noted any more, and
    /// so stays lost.
    pub(super) fn sync(&mut self) {
        for (page, states) in std::mem::take(&mut self.unsynced) {
            if self.cached.has_page(page) {
                self.durable.allocate(page);
            }
            for (sector, bytes) in states {
                self.durable.set_sector(page, sector, &bytes);
            }
            self.durable.share_page(page, &self.cached);
        }
        let length = self
            .lengths
            .last()
            .copied()
            .unwrap_or(self.durable.length());
        self.durable.set_length(length);
        self.lengths.clear();
    }

    /// A failed sync: some of the unsynced reached the disk, none of it is dirty any more.
    pub(super) fn fail_sync(&mut self, survivor: &mut Survivor) {
        self.durable = self.after_power_loss(survivor);
        self.unsynced.clear();
        self.lengths.clear();
    }

    /// The content that is found after a power loss.
    pub(super) fn after_power_loss(&self, survivor: &mut Survivor) -> Content {
        survivor.next_group();
        let mut found = self.durable.clone();
        for (page, states) in &self.unsynced {
            for sector in 0..SECTORS_PER_PAGE {
                let of_sector = states.iter().filter(|(of, _)| *of == sector);
                if let Some(pick) = survivor.pick(of_sector.clone().count())
                    && let Some((_, bytes)) = of_sector.clone().nth(pick)
                {
                    found.set_sector(*page, sector, bytes);
                }
            }
            if self.cached.has_page(*page) && survivor.keeps() {
                found.allocate(*page);
            }
        }
        let pick = survivor.pick(self.lengths.len());
        found.set_length(pick.map_or(self.durable.length(), |pick| self.lengths[pick]));
        found
    }

    /// Replaces the content everywhere, as if it had always been so.
    pub(super) fn settle(&mut self, content: Content) {
        self.cached = content.clone();
        self.durable = content;
        self.unsynced.clear();
        self.lengths.clear();
    }

    /// How many bytes of a write at `offset` fit when so many pages can still be allocated.
    pub(super) fn fitting(&self, offset: u64, length: usize, free_pages: u64) -> usize {
        let mut free_pages = free_pages;
        for piece in pieces(offset, length) {
            if self.cached.has_page(piece.page) {
                continue;
            }
            if free_pages == 0 {
                return piece.of_buffer.start;
            }
            free_pages -= 1;
        }
        length
    }

    /// The space it takes, in bytes.
    pub(super) fn allocated_bytes(&self) -> u64 {
        self.cached.page_count() * PAGE_BYTES as u64
    }
}
