//! The events of a watch, as they stand in a `text/event-stream`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Base64;

/// The `event:` of a key that was set.
pub const EVENT_PUT: &str = "put";
/// The `event:` of a key that was removed.
pub const EVENT_DELETE: &str = "delete";
/// The `event:` of a stream that cannot go on; its data is a problem document.
pub const EVENT_ERROR: &str = "error";

/// The `data:` of a `put` or `delete` event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventData {
    /// The key, where it is valid UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub key_b64: Base64,
    /// The version of the batch.
    pub version: u64,
    /// Of a `put`: the size of the value in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Of a `put`: the value, unless it is above
    /// [`INLINE_VALUE_BYTES_MAX`](super::INLINE_VALUE_BYTES_MAX).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub value_b64: Option<Base64>,
    /// Of a `delete`: a deadline that passed did it, not a caller.
    #[serde(default, skip_serializing_if = "is_false")]
    pub expired: bool,
    /// More events of the same batch follow; only the last one carries an `id:`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub more: bool,
}

impl EventData {
    /// The data of an event of this key, which is neither a put's nor an expired one's yet.
    pub fn new(key: Bytes, version: u64, more: bool) -> Self {
        Self {
            key: std::str::from_utf8(&key).ok().map(str::to_owned),
            key_b64: Base64(key),
            version,
            size: None,
            value_b64: None,
            expired: false,
            more,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(flag: &bool) -> bool {
    !flag
}
