//! What names a state of a key, and how safe that state is.

use std::fmt;

use crate::limits::VERSION_END;

/// The version of a key: the place in the log of the batch that wrote it.
///
/// Above 0, below 2^53, shared by all operations of one batch, never given to two batches, and
/// compared only within one bucket. [`Version::ABSENT`] stands for a key that does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(u64);

impl Version {
    /// The version of a key that does not exist.
    pub const ABSENT: Version = Version(0);

    /// The version with this number.
    pub const fn new(number: u64) -> Version {
        Version(number)
    }

    /// The number, as it stands in ETags and JSON.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether this is [`Version::ABSENT`].
    pub const fn is_absent(self) -> bool {
        self.0 == 0
    }

    /// Whether a batch could bear this version.
    pub const fn is_valid(self) -> bool {
        self.0 != 0 && self.0 < VERSION_END
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl From<u64> for Version {
    fn from(number: u64) -> Version {
        Version(number)
    }
}

impl From<Version> for u64 {
    fn from(version: Version) -> u64 {
        version.0
    }
}

/// When a write counts as acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Durability {
    /// Handed to the kernel: survives the death of the process, not a power loss.
    Buffered,
    /// Synced to the local disk: survives a power loss.
    #[default]
    Local,
}

impl Durability {
    /// The word used in HTTP headers and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Durability::Buffered => "buffered",
            Durability::Local => "local",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
