//! The paths of disks in memory: relative to a root that always exists and is the empty path.

use std::io;
use std::path::{Component, Path, PathBuf};

/// The path without the parts that mean nothing; `InvalidInput` if it goes upwards.
pub(super) fn plain(path: &Path) -> io::Result<PathBuf> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "not a plain path",
                ));
            }
        }
    }
    Ok(plain)
}
