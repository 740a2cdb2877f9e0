//! The body of every error: a problem document of RFC 9457 with Cairn's own members.

use serde::{Deserialize, Serialize};

use super::{Base64, Code};

/// An error as it stands in `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// A URI that names the kind of problem.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The kind of problem in a few words; the same for every occurrence.
    #[serde(default)]
    pub title: String,
    /// The HTTP status of the reply.
    #[serde(default)]
    pub status: u16,
    /// What happened this time.
    #[serde(default)]
    pub detail: String,
    /// The stable name of the kind of problem.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub code: Code,
    /// Whether the same request may succeed later; nothing was done by this one.
    #[serde(default)]
    pub retryable: bool,
    /// Of a `version_mismatch`: the key's current version, 0 when it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Of a `version_mismatch` in a batch: the key, where it is valid UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Of a `version_mismatch` in a batch: the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub key_b64: Option<Base64>,
}
