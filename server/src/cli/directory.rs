//! A directory that a command looks for a store in, and never makes one in.

use std::io::ErrorKind;
use std::path::Path;

use super::Failed;

/// Refuses what is no directory.
pub(super) fn check_is_directory(path: &Path) -> Result<(), Failed> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(nothing(path, "no such directory"))
        }
        Err(error) => Err(Failed::Other(format!("{}: {error}", path.display()))),
        Ok(metadata) if !metadata.is_dir() => Err(nothing(path, "not a directory")),
        Ok(_) => Ok(()),
    }
}

/// Refuses a directory in which an open would make a new store.
pub(super) fn check_holds_store(path: &Path) -> Result<(), Failed> {
    check_is_directory(path)?;
    if holds_store(path) {
        Ok(())
    } else {
        Err(no_store(path))
    }
}

/// Whether there is a store in a directory, however damaged.
pub(super) fn holds_store(path: &Path) -> bool {
    // The log's identity; one that lost it still has its first partition.
    let mut names = ["identity", "p0000"].iter();
    names.any(|name| path.join(name).exists())
}

pub(super) fn no_store(path: &Path) -> Failed {
    nothing(path, "there is no store in it")
}

fn nothing(path: &Path, what: &str) -> Failed {
    Failed::NotFound(format!("{}: {what}", path.display()))
}
