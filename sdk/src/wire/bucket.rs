//! Buckets: what they are created with and what they report.

use serde::{Deserialize, Serialize};

use super::Durability;

/// What a bucket is created with. A member left out keeps the store's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BucketOptions {
    /// How long superseded versions are kept, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_ms: Option<u64>,
    /// How many bytes of superseded versions are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_bytes: Option<u64>,
    /// The durability of writes that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
}

/// What a bucket reports about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BucketInfo {
    /// The name.
    pub name: String,
    /// The partition of the log that holds it.
    pub partition: u16,
    /// Live keys.
    pub keys: u64,
    /// Bytes of live keys and values.
    pub bytes: u64,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// See [`BucketOptions::history_ms`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_ms: Option<u64>,
    /// See [`BucketOptions::history_bytes`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_bytes: Option<u64>,
    /// See [`BucketOptions::durability`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
}

/// The reply to `GET /v1/buckets`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BucketList {
    /// Every bucket that the caller may read, by name.
    pub buckets: Vec<BucketInfo>,
}
