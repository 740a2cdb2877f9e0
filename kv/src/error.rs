//! The one error of this crate: a kind that says what the caller should do, and a message that
//! says what happened and where.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::version::Version;

/// The result of a store operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed operation.
pub struct Error(Box<Failure>);

struct Failure {
    kind: ErrorKind,
    message: Cow<'static, str>,
    conflict: Option<Conflict>,
    source: Option<cairn_log::Error>,
}

/// What kind of failure it is, by what the caller should do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is malformed: correct it.
    InvalidArgument,
    /// The key is longer than [`KEY_BYTES_MAX`](crate::limits::KEY_BYTES_MAX).
    KeyTooLarge,
    /// The value or its attributes are over their limit.
    ValueTooLarge,
    /// The batch has too many operations or bytes: split it.
    BatchTooLarge,
    /// There is no bucket of that name, or it has been removed.
    BucketNotFound,
    /// A bucket of that name exists with other options.
    BucketExists,
    /// The bucket still holds keys or has snapshots.
    BucketNotEmpty,
    /// The bucket has no snapshot of that name.
    SnapshotNotFound,
    /// The bucket has a snapshot of that name.
    SnapshotExists,
    /// A condition did not hold, or what a transaction has read is no longer so; nothing was
    /// written. [`Error::conflict`] says on which key: read it again, and decide anew.
    VersionMismatch,
    /// The version asked for is no longer, or not yet, readable.
    Compacted,
    /// Stored bytes are not what was written: restore them.
    Corrupt,
    /// The log failed under the write: it may or may not survive.
    OutcomeUnknown,
    /// An earlier failure stopped the partition: reopen the store.
    Poisoned,
    /// Too much is under way: retry later.
    Overloaded,
    /// The disk is full; nothing was written, and writes resume by themselves.
    DiskFull,
    /// What is addressed cannot be written.
    ReadOnly,
    /// Another process or handle has the store open.
    Locked,
    /// The operating system refused a call; nothing of the store's promises is touched.
    Io,
}

/// The key on which a condition failed, or that a transaction had read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The key.
    pub key: Bytes,
    /// Its current version, [`Version::ABSENT`] if it does not exist. Of a key in a range that a
    /// transaction had scanned: the version that came between, which may be that of a delete.
    pub version: Version,
}

impl Error {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What happened, where, and what to do.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The key and version that refused a [`ErrorKind::VersionMismatch`].
    pub fn conflict(&self) -> Option<&Conflict> {
        self.0.conflict.as_ref()
    }

    /// Whether no retained segment of the log holds the place that was read.
    pub(crate) fn is_out_of_range(&self) -> bool {
        matches!(self.0.source, Some(cairn_log::Error::OutOfRange { .. }))
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Error {
        Error(Box::new(Failure {
            kind,
            message: message.into(),
            conflict: None,
            source: None,
        }))
    }

    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Error {
        Error::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn bucket_not_found(name: &str) -> Error {
        Error::new(
            ErrorKind::BucketNotFound,
            format!("there is no bucket {name:?}"),
        )
    }

    pub(crate) fn no_bucket_yet(name: &str, version: Version) -> Error {
        let message = format!("there was no bucket {name:?} at version {version} yet");
        Error::new(ErrorKind::BucketNotFound, message)
    }

    pub(crate) fn version_mismatch(key: &[u8], version: Version) -> Error {
        let message = if version.is_absent() {
            format!(
                "the key \"{}\" does not exist, which the condition excludes",
                key.escape_ascii()
            )
        } else {
            format!(
                "the key \"{}\" has version {version}, which the condition excludes",
                key.escape_ascii()
            )
        };
        let conflict = Conflict {
            key: Bytes::copy_from_slice(key),
            version,
        };
        let mut error = Error::new(ErrorKind::VersionMismatch, message);
        error.0.conflict = Some(conflict);
        error
    }

    /// What a transaction has read of `key` is no longer so.
    pub(crate) fn overtaken(key: &[u8], version: Version) -> Error {
        let message = format!(
            "the transaction has read the key \"{}\", which has been written since or has \
             expired: begin it again",
            key.escape_ascii()
        );
        let mut error = Error::new(ErrorKind::VersionMismatch, message);
        let key = Bytes::copy_from_slice(key);
        error.0.conflict = Some(Conflict { key, version });
        error
    }

    /// What becomes of a refusal whose cause was lost.
    pub(crate) fn cause_lost(source: cairn_log::Error) -> Error {
        let message = format!("what this answer rests on was not made durable: {source}");
        let mut error = Error::new(ErrorKind::Poisoned, message);
        error.0.source = Some(source);
        error
    }
}

impl From<cairn_log::Error> for Error {
    fn from(source: cairn_log::Error) -> Error {
        use cairn_log::Error as Log;
        let kind = match &source {
            Log::Corrupt { .. } | Log::OutOfRange { .. } => ErrorKind::Corrupt,
            Log::Compacted { .. } => ErrorKind::Compacted,
            Log::Locked { .. } => ErrorKind::Locked,
            Log::Format { .. } | Log::Invalid { .. } => ErrorKind::InvalidArgument,
            Log::DiskFull { .. } => ErrorKind::DiskFull,
            Log::OutcomeUnknown { .. } => ErrorKind::OutcomeUnknown,
            Log::Poisoned { .. } => ErrorKind::Poisoned,
            _ => ErrorKind::Io,
        };
        let mut error = Error::new(kind, source.to_string());
        error.0.source = Some(source);
        error
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {}", self.0.kind, self.0.message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}
