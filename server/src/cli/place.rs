//! `BUCKET/KEY`, as an argument.

use std::ffi::OsString;

use clap::builder::{OsStringValueParser, TypedValueParser, ValueParserFactory};

use super::bytes;

/// A key and its bucket. The first slash is between them; a key may hold more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ObjectPlace {
    pub(super) bucket: String,
    pub(super) key: Vec<u8>,
}

impl ObjectPlace {
    fn of(text: OsString) -> Result<Self, String> {
        let text = bytes(text);
        let slash = text.iter().position(|&byte| byte == b'/');
        let Some((bucket, key)) = slash.map(|at| (&text[..at], &text[at + 1..])) else {
            return Err("BUCKET/KEY has a slash between bucket and key".to_owned());
        };
        let bucket = std::str::from_utf8(bucket).map_err(|_| "the bucket is not UTF-8")?;
        if bucket.is_empty() || key.is_empty() {
            return Err("BUCKET/KEY names a bucket and a key".to_owned());
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            key: key.to_vec(),
        })
    }
}

impl ValueParserFactory for ObjectPlace {
    type Parser = clap::builder::ValueParser;

    fn value_parser() -> Self::Parser {
        clap::builder::ValueParser::new(OsStringValueParser::new().try_map(Self::of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_slash_is_between_bucket_and_key() {
        let of = |text: &str| ObjectPlace::of(text.into());
        let place = of("films/2024/a.mp4").unwrap();
        assert_eq!((&*place.bucket, &*place.key), ("films", &b"2024/a.mp4"[..]));
        assert_eq!(of("b//").unwrap().key, b"/");
        for none in ["films", "films/", "/key", ""] {
            assert!(of(none).is_err(), "{none:?}");
        }
    }
}
