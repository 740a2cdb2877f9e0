//! The one error of this crate: a stable code, what happened, and what a caller may do about it.

use std::fmt;

use bytes::Bytes;

use crate::wire::{Code, Problem};

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation.
///
/// Boxed inside, so that a `Result` of a small value stays small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Facts>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    code: Code,
    detail: String,
    version: Option<u64>,
    key: Option<Bytes>,
}

impl Error {
    /// An error of this kind; `detail` says what happened this time.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Facts {
            code,
            detail: detail.into(),
            version: None,
            key: None,
        }))
    }

    /// The same error, with the current version of the key whose condition failed.
    #[must_use]
    pub fn with_version(mut self, version: u64) -> Self {
        self.0.version = Some(version);
        self
    }

    /// The same error, with the key that it is about.
    #[must_use]
    pub fn with_key(mut self, key: Bytes) -> Self {
        self.0.key = Some(key);
        self
    }

    #[cfg(feature = "embedded")]
    pub(crate) fn without_key(mut self) -> Self {
        self.0.key = None;
        self
    }

    /// The kind of failure.
    pub fn code(&self) -> &Code {
        &self.0.code
    }

    /// What happened this time.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Of a failed condition: the key's current version, 0 when it is absent.
    pub fn version(&self) -> Option<u64> {
        self.0.version
    }

    /// Of a failed condition in a batch: the key.
    pub fn key(&self) -> Option<&Bytes> {
        self.0.key.as_ref()
    }

    /// Whether nothing was done and the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        is_retryable(&self.0.code)
    }
}

/// Whether a failure of this kind did nothing and may pass by itself.
pub fn is_retryable(code: &Code) -> bool {
    matches!(
        code,
        Code::Overloaded
            | Code::ShuttingDown
            | Code::DiskFull
            | Code::RequestTimeout
            | Code::Unreachable
    )
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.detail, self.0.code)
    }
}

impl std::error::Error for Error {}

#[cfg(feature = "embedded")]
impl From<cairn_kv::Error> for Error {
    fn from(cause: cairn_kv::Error) -> Self {
        crate::embedded::error(cause)
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self(Box::new(Facts {
            code: problem.code,
            detail: problem.detail,
            version: problem.version,
            key: problem.key_b64.map(|key| key.0),
        }))
    }
}
