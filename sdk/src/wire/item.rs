//! Replies about single keys, and pages of a scan.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Base64;

/// The reply to a put or a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Written {
    /// The version that the write made.
    pub version: u64,
}

/// The reply to a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Deleted {
    /// The version that the delete made; where there was nothing to delete, the bucket's current
    /// version.
    pub version: u64,
    /// Whether there was a key to delete.
    pub existed: bool,
}

/// One key of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Item {
    /// The key, where it is valid UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub key_b64: Base64,
    /// The version that wrote the value.
    pub version: u64,
    /// The size of the value in bytes.
    pub size: u64,
    /// The value, unless the scan asked for keys only or the value is above
    /// [`INLINE_VALUE_BYTES_MAX`](super::INLINE_VALUE_BYTES_MAX).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub value_b64: Option<Base64>,
}

impl Item {
    /// An item of a key; `value` is what the listing embeds.
    pub fn new(key: Bytes, version: u64, size: u64, value: Option<Bytes>) -> Self {
        Self {
            key: std::str::from_utf8(&key).ok().map(str::to_owned),
            key_b64: Base64(key),
            version,
            size,
            value_b64: value.map(Base64),
        }
    }
}

/// One page of a scan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Page {
    /// The keys of this page, in the order of the scan.
    pub items: Vec<Item>,
    /// What to send to get the next page; `null` on the last one.
    pub cursor: Option<String>,
    /// The version that every page of this scan reads.
    pub version: u64,
}
