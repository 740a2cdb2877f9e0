//! What can go wrong, by what the owner does about it.

use std::fmt;
use std::io;

use redb::{CommitError, DatabaseError, StorageError, TableError, TransactionError};

use crate::index::checked_file::CheckedFile;

/// Why the index did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The file is damaged. Set it aside and make the index again from the log.
    Damaged(String),
    /// The file is the index of another log or partition, or has another format. Set it aside and
    /// make the index again from the log.
    Other(String),
    /// There is not enough room for the merge, which was not begun. Nothing has changed: do the
    /// same merge later.
    Full(String),
    /// A new file could not be written. Nothing has changed: do the same merge later.
    Unwritten(io::Error),
    /// The disk failed.
    ///
    /// * From [`open`](super::Merged::open): nothing is open; try again, or give up.
    /// * From a merge: it and every later one answer so, the newest view goes on being readable.
    ///   Set the file aside and make the index again from the log under the same name; or, if the
    ///   disk was full, drop the index with all its views and open it again once there is room.
    /// * From a view: ask again. If it is not the newest, take the newest.
    Io(io::Error),
}

impl Fault {
    pub(super) fn of_open(error: io::Error) -> Fault {
        match error.kind() {
            io::ErrorKind::InvalidData => Fault::Damaged(error.to_string()),
            io::ErrorKind::Unsupported => Fault::Other(error.to_string()),
            _ => Fault::Io(error),
        }
    }

    /// Of a file that was still being made.
    pub(super) fn unwritten(self) -> Fault {
        match self {
            Fault::Io(error) | Fault::Unwritten(error) => Fault::Unwritten(error),
            fault => Fault::Unwritten(io::Error::other(fault.to_string())),
        }
    }

    pub(super) fn of(error: StorageError, file: &CheckedFile) -> Fault {
        // A mismatch explains whatever redb makes of it.
        if let Some(damage) = file.damage() {
            return Fault::Damaged(damage.to_owned());
        }
        let name = file.name();
        match error {
            StorageError::Io(error) if is_cut(&error) => {
                Fault::Damaged(format!("{name}: a page past its end"))
            }
            StorageError::Io(error) => {
                let message = format!("{name}: {error}");
                Fault::Io(io::Error::new(error.kind(), message))
            }
            StorageError::PreviousIo | StorageError::DatabaseClosed => {
                let cause = file.failure().unwrap_or("the file is closed");
                Fault::Io(io::Error::other(format!(
                    "{name}: not read after an earlier error: {cause}"
                )))
            }
            error => Fault::Damaged(format!("{name}: {error}")),
        }
    }

    pub(super) fn of_database(error: DatabaseError, file: &CheckedFile) -> Fault {
        match error {
            DatabaseError::Storage(error) => Fault::of(error, file),
            error => Fault::Damaged(format!("{}: {error}", file.name())),
        }
    }

    pub(super) fn of_transaction(error: TransactionError, file: &CheckedFile) -> Fault {
        match error {
            TransactionError::Storage(error) => Fault::of(error, file),
            error => Fault::Damaged(format!("{}: {error}", file.name())),
        }
    }

    pub(super) fn of_table(error: TableError, file: &CheckedFile) -> Fault {
        match error {
            TableError::Storage(error) => Fault::of(error, file),
            error => Fault::Damaged(format!("{}: {error}", file.name())),
        }
    }

    pub(super) fn of_commit(error: CommitError, file: &CheckedFile) -> Fault {
        match error {
            CommitError::Storage(error) => Fault::of(error, file),
            error => Fault::Damaged(format!("{}: {error}", file.name())),
        }
    }
}

/// The file shrank behind our back.
fn is_cut(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Damaged(message) | Fault::Other(message) | Fault::Full(message) => {
                formatter.write_str(message)
            }
            Fault::Io(error) | Fault::Unwritten(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for Fault {}
