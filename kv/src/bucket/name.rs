//! Bucket names: 1..=63 bytes of `a-z 0-9 - . _`, the first a letter or digit.
//!
//! `.at.` is reserved: `BUCKET.at.NAME` addresses a snapshot.

use std::fmt;

use crate::error::{Error, Result};
use crate::limits::BUCKET_NAME_BYTES_MAX;

/// A name that a bucket may bear.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BucketName(Box<str>);

impl BucketName {
    pub(crate) fn new(name: &str) -> Result<BucketName> {
        let refuse = |why: &str| {
            let shown: String = name.chars().take(80).collect();
            Err(Error::invalid(format!("the bucket name {shown:?} {why}")))
        };
        if !(1..=BUCKET_NAME_BYTES_MAX).contains(&name.len()) {
            return refuse("must have 1 to 63 bytes");
        }
        if !name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_'))
        {
            return refuse("may only hold a-z, 0-9, '-', '.' and '_'");
        }
        if !name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
            return refuse("must begin with a letter or a digit");
        }
        if name.contains(".at.") {
            return refuse("holds \".at.\", which is reserved for snapshots");
        }
        Ok(BucketName(name.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BucketName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

impl std::borrow::Borrow<str> for BucketName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_within_the_rules_are_taken() {
        let longest = "a".repeat(63);
        for name in [
            "a", "0", "users", "a-b.c_d", "x.at", "at.x", "a.at", &longest,
        ] {
            assert_eq!(BucketName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn names_outside_the_rules_are_refused() {
        let long = "a".repeat(64);
        for name in [
            "", "-a", ".a", "_a", "A", "a/b", "a b", "ä", "a\0", "x.at.y", "x@y", "..", &long,
        ] {
            assert!(BucketName::new(name).is_err(), "{name:?}");
        }
    }
}
