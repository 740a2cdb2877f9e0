//! `POST /v1/batch/{bucket}`: all of it happens, or none of it.
//!
//! ```json
//! {"if": [{"key": "a", "version": 7}],
//!  "ops": [{"put": {"key": "a", "value": "text", "ttl_ms": 1000}},
//!          {"delete": {"key_b64": "AAE="}}]}
//! ```
//!
//! Parsing is bounded: [`Ops`] stops keeping operations at the first one over the limit, so a body
//! of a million tiny operations costs a look at each and no memory.

use std::fmt;

use bytes::Bytes;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{BATCH_OPS_MAX, Base64};

/// The body of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchRequest {
    /// What must hold for the batch to happen.
    #[serde(rename = "if", default, skip_serializing_if = "Ops::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Condition>))]
    pub conditions: Ops<Condition>,
    /// What happens, in order.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Op>))]
    pub ops: Ops<Op>,
}

/// A bounded list: at most [`BATCH_OPS_MAX`] elements are kept, and whether there were more is
/// known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Ops<T> {
    list: Vec<T>,
    #[serde(skip)]
    overflowed: bool,
}

impl<T> Ops<T> {
    /// Whether the list was longer than [`BATCH_OPS_MAX`]; the rest of it was not kept.
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The elements that were kept.
    pub fn into_vec(self) -> Vec<T> {
        self.list
    }
}

impl<T> Default for Ops<T> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            overflowed: false,
        }
    }
}

impl<T> From<Vec<T>> for Ops<T> {
    fn from(list: Vec<T>) -> Self {
        let overflowed = list.len() > BATCH_OPS_MAX;
        Self { list, overflowed }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ops<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Bounded<T> {
            type Value = Ops<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Ops<T>, A::Error> {
                let mut list = Vec::new();
                while list.len() < BATCH_OPS_MAX {
                    match seq.next_element()? {
                        Some(element) => list.push(element),
                        None => {
                            return Ok(Ops {
                                list,
                                overflowed: false,
                            });
                        }
                    }
                }
                let mut overflowed = false;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    overflowed = true;
                }
                Ok(Ops { list, overflowed })
            }
        }
        deserializer.deserialize_seq(Bounded(std::marker::PhantomData))
    }
}

/// One operation of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Op {
    /// Writes a key.
    Put(PutOp),
    /// Deletes a key.
    Delete(DeleteOp),
}

impl Op {
    /// The key of this operation, or why it has none.
    pub fn key(&self) -> Result<Bytes, String> {
        match self {
            Op::Put(put) => either("key", &put.key, &put.key_b64),
            Op::Delete(delete) => either("key", &delete.key, &delete.key_b64),
        }
    }
}

/// The operation `put`: exactly one of the two forms of key, and of value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PutOp {
    /// The key as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key as bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub key_b64: Option<Base64>,
    /// The value as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The value as bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub value_b64: Option<Base64>,
    /// After how many milliseconds the key expires; left out, it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
}

impl PutOp {
    /// The value, or why there is none.
    pub fn value(&self) -> Result<Bytes, String> {
        either("value", &self.value, &self.value_b64)
    }
}

/// The operation `delete`: exactly one of the two forms of key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeleteOp {
    /// The key as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key as bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub key_b64: Option<Base64>,
}

/// A condition of a batch: exactly one of the two forms of key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Condition {
    /// The key as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key as bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub key_b64: Option<Base64>,
    /// The version that the key must have; 0 when it must be absent.
    pub version: u64,
}

impl Condition {
    /// The key of this condition, or why it has none.
    pub fn key(&self) -> Result<Bytes, String> {
        either("key", &self.key, &self.key_b64)
    }
}

fn either(name: &str, text: &Option<String>, b64: &Option<Base64>) -> Result<Bytes, String> {
    match (text, b64) {
        (Some(text), None) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        (None, Some(b64)) => Ok(b64.0.clone()),
        (None, None) => Err(format!("neither \"{name}\" nor \"{name}_b64\" is given")),
        (Some(_), Some(_)) => Err(format!("\"{name}\" and \"{name}_b64\" are both given")),
    }
}

#[cfg(any(all(test, feature = "embedded"), feature = "testing"))]
pub(crate) mod fuzzing;
