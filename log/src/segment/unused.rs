//! The room of a file that no frame will use any more.

use std::sync::Arc;

use super::PAGE_BYTES;
use crate::vfs::File;

/// The room behind what a file holds of the log, to be given back to the file system.
///
/// The cut comes when it is durable where the log goes on, so no frame will enter the file again,
/// and no slice reaches past the end. It needs no sync: if a crash undoes it, the file is longer by
/// bytes that nobody reads, and space is all that is lost. A cut that fails is no harm, either. It
/// keeps the page that the last frame ends in whole, so the file system has no reason to write a
/// page of synced frames again.
#[derive(Debug)]
pub(crate) struct Unused {
    file: Arc<dyn File>,
    kept: u64,
}

impl Unused {
    /// What lies behind the first `used` bytes.
    pub(crate) fn behind(file: Arc<dyn File>, used: u64) -> Unused {
        let kept = used.next_multiple_of(PAGE_BYTES);
        Unused { file, kept }
    }

    /// Cuts it off. Cost: that of freeing the space, tens of milliseconds for a whole segment that
    /// is in the page cache.
    pub(crate) fn give_back(self) {
        if self.file.length().is_ok_and(|length| length > self.kept) {
            let _ = self.file.set_length(self.kept);
        }
    }
}
