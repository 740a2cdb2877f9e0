//! The stable, machine-readable names of everything that can go wrong.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a request failed. The snake_case text is the contract; a client that meets a code it does
/// not know keeps it as [`Code::Other`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The request is malformed or out of range; repeating it cannot help.
    InvalidArgument,
    /// A key above [`KEY_BYTES_MAX`](super::KEY_BYTES_MAX).
    KeyTooLarge,
    /// No credentials, or unknown ones.
    Unauthorized,
    /// Known credentials without the right to do this, or a foreign Host or Origin.
    Forbidden,
    /// No bucket of this name.
    BucketNotFound,
    /// The bucket holds no such key.
    KeyNotFound,
    /// No route answers to this path.
    NotFound,
    /// The route exists, the method does not.
    MethodNotAllowed,
    /// A write to something that only reads.
    ReadOnly,
    /// The client took too long to send its request.
    RequestTimeout,
    /// A bucket of this name exists with other options.
    BucketExists,
    /// The bucket still holds keys.
    BucketNotEmpty,
    /// No committee certifies here, or it has not certified yet.
    NotCertified,
    /// The version asked for is no longer kept, or does not exist yet.
    Compacted,
    /// A condition of the write does not hold.
    VersionMismatch,
    /// A value above what one record may hold.
    ValueTooLarge,
    /// A batch of too many operations or bytes.
    BatchTooLarge,
    /// A request body above what this route takes.
    BodyTooLarge,
    /// The requested range lies outside the value.
    RangeNotSatisfiable,
    /// Stored bytes fail their checksum.
    Corrupt,
    /// The write may or may not have happened.
    OutcomeUnknown,
    /// A failure that is a defect of the server.
    Internal,
    /// A disk write failed: this partition takes no writes until it is reopened.
    Poisoned,
    /// A newer writer has taken over.
    Fenced,
    /// Too much work at once; nothing was done.
    Overloaded,
    /// The server is shutting down; nothing was done.
    ShuttingDown,
    /// No space left for a write; nothing was done.
    DiskFull,
    /// Another process holds the data directory.
    Locked,
    /// The operating system refused an operation on the data directory, or on another file or
    /// address of the machine.
    Io,
    /// The server could not be reached; nothing was done. Made by the client only.
    Unreachable,
    /// A code that this version does not know.
    Other(String),
}

impl Code {
    /// The stable text of this code.
    pub fn as_str(&self) -> &str {
        match self {
            Code::Other(text) => text,
            known => TABLE
                .iter()
                .find(|(code, _)| code == known)
                .map_or("internal", |(_, text)| text),
        }
    }

    /// The code of this text.
    pub fn parse(text: &str) -> Self {
        TABLE
            .iter()
            .find(|(_, known)| *known == text)
            .map_or_else(|| Code::Other(text.to_owned()), |(code, _)| code.clone())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Code::parse(&String::deserialize(deserializer)?))
    }
}

const TABLE: [(Code, &str); 30] = [
    (Code::InvalidArgument, "invalid_argument"),
    (Code::KeyTooLarge, "key_too_large"),
    (Code::Unauthorized, "unauthorized"),
    (Code::Forbidden, "forbidden"),
    (Code::BucketNotFound, "bucket_not_found"),
    (Code::KeyNotFound, "key_not_found"),
    (Code::NotFound, "not_found"),
    (Code::MethodNotAllowed, "method_not_allowed"),
    (Code::ReadOnly, "read_only"),
    (Code::RequestTimeout, "request_timeout"),
    (Code::BucketExists, "bucket_exists"),
    (Code::BucketNotEmpty, "bucket_not_empty"),
    (Code::NotCertified, "not_certified"),
    (Code::Compacted, "compacted"),
    (Code::VersionMismatch, "version_mismatch"),
    (Code::ValueTooLarge, "value_too_large"),
    (Code::BatchTooLarge, "batch_too_large"),
    (Code::BodyTooLarge, "body_too_large"),
    (Code::RangeNotSatisfiable, "range_not_satisfiable"),
    (Code::Corrupt, "corrupt"),
    (Code::OutcomeUnknown, "outcome_unknown"),
    (Code::Internal, "internal"),
    (Code::Poisoned, "poisoned"),
    (Code::Fenced, "fenced"),
    (Code::Overloaded, "overloaded"),
    (Code::ShuttingDown, "shutting_down"),
    (Code::DiskFull, "disk_full"),
    (Code::Locked, "locked"),
    (Code::Io, "io"),
    (Code::Unreachable, "unreachable"),
];
