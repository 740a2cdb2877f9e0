//! What runs are called, and how they are removed.

use std::io;
use std::path::Path;

use cairn_log::vfs::Vfs;

/// The name of the run of a segment.
pub(crate) fn file_name(segment: u64) -> String {
    format!("{segment:016x}{SUFFIX}")
}

/// Which segment's run has this name; `None` if no run has it, such as a temporary one.
pub(crate) fn segment_of(name: &str) -> Option<u64> {
    let segment = u64::from_str_radix(name.strip_suffix(SUFFIX)?, 16).ok()?;
    (file_name(segment) == name).then_some(segment)
}

/// Removes the run of a segment and what a crash left of writing it; it is no error if there is
/// none. A power loss may bring it back.
pub(crate) fn remove_file(vfs: &dyn Vfs, directory: &Path, segment: u64) -> io::Result<()> {
    remove_if_there(vfs, &directory.join(temporary_name(segment)))?;
    remove_if_there(vfs, &directory.join(file_name(segment)))
}

/// What a run is called until it is whole.
pub(super) fn temporary_name(segment: u64) -> String {
    format!("{segment:016x}{TEMPORARY_SUFFIX}")
}

pub(super) fn remove_if_there(vfs: &dyn Vfs, path: &Path) -> io::Result<()> {
    match vfs.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

pub(super) const SUFFIX: &str = ".run";
const TEMPORARY_SUFFIX: &str = ".new.run";
