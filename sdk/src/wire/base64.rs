//! Bytes as base64 text: the standard alphabet with padding in JSON, the URL alphabet without
//! padding in a query.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes that stand in JSON as standard base64 with padding.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Base64(pub Bytes);

impl From<&[u8]> for Base64 {
    fn from(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Display writes in pieces, so no second copy of a large value is made.
        serializer.collect_str(&base64::display::Base64Display::new(&self.0, &STANDARD))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Base64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("standard base64 with padding")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Base64, E> {
                STANDARD
                    .decode(text)
                    .map(|bytes| Base64(bytes.into()))
                    .map_err(|error| E::custom(format_args!("not standard base64: {error}")))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A key as the `key_b64` query parameter of `/v1/key/{bucket}`: URL alphabet, no padding.
pub fn encode_key_parameter(key: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

/// The key in a `key_b64` query parameter, or why it is none.
pub fn decode_key_parameter(text: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|error| error.to_string())
}
