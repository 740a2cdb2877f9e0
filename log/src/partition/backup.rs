//! A copy of a partition that a plain open takes for one that was closed cleanly.
//!
//! ```text
//! original   0001.seg   0003.seg   0004.seg (being written)   retired   superblock
//!               | link     | link     | durable part copied      | anew    | anew
//! copy       0001.seg   0003.seg   0004.seg (with a footer)   retired   superblock (closed)
//! ```
//!
//! Sealed segments never change, so a second name of the same file is a copy; where a link is
//! refused, the bytes are copied. The newest segment is always copied, whether or not it is sealed,
//! and ends with a footer. The copy's superblock has no cut, because every end is told by what
//! follows or by that footer, and one more incarnation than the original. So nothing is ever
//! appended to a file that both share.

use std::path::Path;
use std::sync::Arc;

use super::Partition;
use crate::error::{Error, Result};
use crate::identity::{Incarnation, Offset};
use crate::recovery::START;
use crate::retired::Owner;
use crate::segment::ahead::Ahead;
use crate::segment::sectors::{FOOTER_POSITION, Footer, Header};
use crate::segment::{PAGE_BYTES, Segment, file_name};
use crate::slots::Slots;
use crate::superblock::{self, Superblock};
use crate::vfs::SyncSite;

/// The files that a backup writes.
pub(crate) const BACKUP_FILES: SyncSite = SyncSite("backup files");
/// The names in a backup.
pub(crate) const BACKUP_NAMES: SyncSite = SyncSite("backup names");

impl Partition {
    /// Copies what is durable into a new directory; all of it is durable on return but the
    /// directory's own name.
    pub(crate) fn back_up(&self, to: &Path) -> Result<()> {
        // Nothing is dropped from here on, so the list of segments and that of dropped ones agree.
        let _pin = self.pin(Offset::default());
        let segments: Vec<(Arc<Segment>, Offset)> = {
            let segments = self.segments.read();
            let with_end = |segment: &Arc<Segment>| (Arc::clone(segment), segment.published());
            segments.iter().map(with_end).collect()
        };
        let retired = self.retired.lock().clone();
        let original = self.superblock.lock().1;
        self.vfs
            .create_directory(to)
            .map_err(|error| Error::io("create", to, error))?;
        let mut block = Superblock {
            closed: true,
            incarnation: Incarnation(original.incarnation.0 + 1),
            marked: START,
            time_ms: self.mark_time_ms(),
            cut: None,
            ..original
        };
        if let Some(((newest, end), sealed)) = segments.split_last() {
            for (segment, end) in sealed {
                self.link_or_copy(segment, *end, to)?;
            }
            self.copy_segment(newest, *end, to)?;
            block.marked = *end;
            // Above what the original gives out in this segment after the backup.
            let past = newest.base().plus(2 * newest.header().file_bytes);
            block.resume = block.resume.max(past);
        }
        if retired.last().is_some() {
            let owner = Owner {
                vfs: self.vfs.as_ref(),
                directory: to,
                log: self.log,
                partition: self.id,
            };
            retired.prepare(&owner)?;
            retired.publish(&owner)?;
        }
        let path = to.join(superblock::FILE_NAME);
        let (vfs, content) = (self.vfs.as_ref(), block.encode());
        Slots::create(vfs, &path, superblock::MAGIC, &content, BACKUP_FILES)?;
        vfs.sync_directory(to, BACKUP_NAMES)
            .map_err(|error| Error::io("sync", to, error))
    }

    /// Gives a sealed segment a second name. Its frames and its header are synced already, and its
    /// footer is not needed.
    fn link_or_copy(&self, segment: &Segment, end: Offset, to: &Path) -> Result<()> {
        let path = to.join(file_name(segment.number()));
        // Whatever the reason of a refusal: if a copy can't be made either, that is told.
        match self.vfs.hard_link(segment.path(), &path) {
            Ok(()) => Ok(()),
            Err(_) => self.copy_segment(segment, end, to),
        }
    }

    /// Copies a segment up to `end`, which is published, into a synced file that ends there.
    fn copy_segment(&self, segment: &Segment, end: Offset, to: &Path) -> Result<()> {
        let path = to.join(file_name(segment.number()));
        let io = |error| Error::io("write", &path, error);
        let header = Header {
            file_bytes: PAGE_BYTES + end.since(segment.base()),
            ..*segment.header()
        };
        let file = self.vfs.create(&path).map_err(io)?;
        file.set_length(header.file_bytes).map_err(io)?;
        file.write_at(&header.encode(), 0).map_err(io)?;
        file.write_at(&Footer { end }.encode(&header), FOOTER_POSITION)
            .map_err(io)?;
        let (mut start, mut ahead) = (segment.base(), Ahead::default());
        while start < end {
            let chunk_end = start.plus(CHUNK_BYTES).min(end);
            ahead.come_to(segment, start, chunk_end);
            let bytes = segment.bytes(start..chunk_end);
            let bytes = bytes.ok_or(Error::OutOfRange { offset: start })?;
            file.write_at(&bytes, segment.position(start)).map_err(io)?;
            start = chunk_end;
        }
        file.sync_data(BACKUP_FILES).map_err(io)
    }
}

const CHUNK_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests;
