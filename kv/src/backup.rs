//! A copy of a running store.
//!
//! The log is the store, so a copy of the log is a copy of the store
//! ([`cairn_log::Log::backup`]): sealed segments are linked, the newest is copied. Segments are
//! pinned meanwhile, so garbage collection goes on moving what lives and drops nothing. Of each
//! partition the copy holds every batch up to one moment during the call, whole. Index files are
//! not copied; the first open of the copy makes them.

use std::path::Path;

use crate::error::{ErrorKind, Result};
use crate::store::Store;

impl Store {
    /// Copies the store into a new or empty directory of the same disk, from where it opens as a
    /// store. All that was acknowledged before the call is in it, `Buffered` writes too, and of
    /// each partition all that came before the last batch that is in it. A store that a failure of
    /// the log has stopped is copied as far as it is durable.
    ///
    /// The copy is whole and durable only when this has returned. Reads and writes go on meanwhile.
    /// It has the identity of the original: open it in its place, never beside it in one
    /// application. Sealed segments are shared with it by hard links where the disk allows it, and
    /// with them their damage: move the copy to another disk to be safe from that.
    ///
    /// Cost: a copy of the newest segment of each partition (of all where links are refused), and a
    /// few syncs; the first open of the copy reads all of the log.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if the directory holds anything; `DiskFull`, `Io`, after which the
    /// unfinished copy is of no use. The store itself is never harmed.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<()> {
        match self.sync() {
            // What is durable is worth a copy all the more.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Poisoned | ErrorKind::OutcomeUnknown
                ) => {}
            synced => synced?,
        }
        Ok(self.log().backup(to.as_ref())?)
    }
}

#[cfg(test)]
mod tests;
