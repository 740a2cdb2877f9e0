//! A directory that a command looks for a store in, and never makes one in.

use std::io::ErrorKind;
use std::path::Path;

use cairn_sdk::{Code, Error};

use super::Failed;

/// Refuses what is no directory.
pub(super) fn check_is_directory(path: &Path) -> Result<(), Failed> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(nothing(path, "no such directory"))
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => Err(file(path)),
        Ok(metadata) if !metadata.is_dir() => Err(file(path)),
        // What else may be wrong is told by who opens it.
        Ok(_) | Err(_) => Ok(()),
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

pub(super) fn no_store(path: &Path) -> Failed {
    nothing(path, "there is no store in this directory")
}

/// Whether there may be a store in a directory, however damaged.
fn holds_store(path: &Path) -> bool {
    // The log's identity; one that lost it still has its first partition.
    let mut names = ["identity", "p0000"].iter();
    names.any(|name| path.join(name).try_exists().unwrap_or(true))
}

fn nothing(path: &Path, what: &str) -> Failed {
    let path = path.display();
    let detail = format!("{path}: {what}; give the one that `cairn serve --data` keeps a store in");
    Failed::Error(Error::new(Code::NotFound, detail))
}

/// As the store itself says it.
fn file(path: &Path) -> Failed {
    let path = path.display();
    let detail =
        format!("{path}: a file stands where a data directory is to be: choose another directory");
    Failed::Error(Error::new(Code::Io, detail))
}
