//! Taking files out of the page cache.

use crate::engines::Outcome;
use rustix::fs::{Advice, fadvise};
use std::fs::{self, File};
use std::path::Path;

/// Syncs every file below `directory` and has the kernel forget its pages: what nobody has mapped
/// or is writing must be read from the disk again.
pub(crate) fn evict(directory: &Path) -> Outcome<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            evict(&path)?;
        } else {
            let file = File::open(&path)?;
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}
