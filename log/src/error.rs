//! What can go wrong in the log, by what the caller should do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::identity::Offset;

/// The result of a log operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed log operation. Cloning is cheap: one failure may answer many waiters.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a call, and nothing of the log's promises is touched.
    Io {
        /// What was being done, as a verb phrase.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's own error.
        source: Arc<io::Error>,
    },
    /// Bytes that were durable are not what was written. Nothing is repaired silently.
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Where in the file, in bytes.
        position: u64,
        /// What was expected there.
        what: String,
    },
    /// Another process (or another handle of this one) has the directory open.
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The directory was written by another version of Cairn.
    Format {
        /// The file that says so.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The version this build reads.
        supported: u32,
    },
    /// An argument is outside its limits.
    Invalid {
        /// Which, and what its limits are.
        what: String,
    },
    /// There is no room on the disk for the next segment. Nothing was written; writes go on by
    /// themselves once there is room.
    DiskFull {
        /// The directory of the partition.
        path: PathBuf,
    },
    /// A write or sync failed while this batch was under way: it may or may not survive.
    OutcomeUnknown {
        /// The failure.
        cause: Arc<str>,
    },
    /// An earlier write or sync failed: the partition takes no more writes until it is reopened.
    Poisoned {
        /// The failure.
        cause: Arc<str>,
    },
    /// What stood at the offset was dropped to give its space back. A reader that wanted it begins
    /// anew from the newest state; at or above `floor` nothing was dropped.
    Compacted {
        /// The offset asked for.
        offset: Offset,
        /// Where the highest dropped segment ended.
        floor: Offset,
    },
    /// The offset lies outside of what the log holds.
    OutOfRange {
        /// The offset asked for.
        offset: Offset,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Error {
        if source.kind() == io::ErrorKind::StorageFull {
            return Error::DiskFull {
                path: path.to_owned(),
            };
        }
        Error::Io {
            action,
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }

    pub(crate) fn corrupt(path: &Path, position: u64, what: impl Into<String>) -> Error {
        Error::Corrupt {
            path: path.to_owned(),
            position,
            what: what.into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io {
                action,
                path,
                source,
            } => {
                write!(formatter, "cannot {action} {}: {source}", path.display())?;
                formatter.write_str(advice(source.kind()))
            }
            Error::Corrupt {
                path,
                position,
                what,
            } => write!(
                formatter,
                "{} is damaged at byte {position}: {what}; run `cairn verify` on the data \
                 directory, and restore from a backup or a replica",
                path.display()
            ),
            Error::Locked { path } => write!(
                formatter,
                "{} is held by another process; stop it, or choose another data directory",
                path.display()
            ),
            Error::Format {
                path,
                found,
                supported,
            } => write!(
                formatter,
                "{} has format version {found}, this build reads version {supported}; use the \
                 build that wrote it",
                path.display()
            ),
            Error::Invalid { what } => formatter.write_str(what),
            Error::DiskFull { path } => write!(
                formatter,
                "no space for the next segment in {}; free some, and writes go on",
                path.display()
            ),
            Error::OutcomeUnknown { cause } => write!(
                formatter,
                "the write may or may not survive, because the log failed under it: {cause}"
            ),
            Error::Poisoned { cause } => write!(
                formatter,
                "the log takes no writes since a failure ({cause}); reopen the store"
            ),
            Error::Compacted { offset, floor } => write!(
                formatter,
                "the log at offset {offset} was dropped to free space; it is complete from offset \
                 {floor} on"
            ),
            Error::OutOfRange { offset } => {
                write!(formatter, "the log holds no record at offset {offset}")
            }
        }
    }
}

/// What a user can do about a refusal of the system that is due to where the directory stands.
fn advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            "; a file stands where a data directory is to be: choose another directory"
        }
        io::ErrorKind::PermissionDenied => {
            "; run as the owner of the data directory, or let this user read and write it"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "; mount the file system for writing, or copy the data directory to one that is"
        }
        _ => "",
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source.as_ref()),
            _ => None,
        }
    }
}
