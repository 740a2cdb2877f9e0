//! What a read returns.

use bytes::Bytes;

use crate::attributes::Attributes;
use crate::version::Version;

/// The state of a key that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The version of the batch that wrote it.
    pub version: Version,
    /// The value. Empty in a scan of keys only, and where it is [kept in
    /// pieces](crate::ValueReader) and several keys were asked for at once.
    ///
    /// A large value borrows from the store's memory map rather than being copied, and keeps that
    /// part of the log from being freed: hold it no longer than needed, or copy it.
    pub value: Bytes,
    /// What stands beside the value. Empty in a scan of keys only.
    pub attributes: Attributes,
    /// The deadline, in milliseconds since 1970, after which the key no longer exists.
    pub expires_ms: Option<u64>,
    /// Bytes of the value, also where the value is left out.
    pub size: u64,
}

impl Entry {
    /// Whether the value is here. If not, [`Bucket::open`](crate::Bucket::open) reads it.
    pub fn has_value(&self) -> bool {
        self.value.len() as u64 == self.size
    }
}
