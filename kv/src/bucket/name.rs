//! Bucket names: 1..=63 bytes of `a-z 0-9 - . _`, the first a letter or digit.
//!
//! `.at.` is reserved: `BUCKET.at.NAME` addresses a snapshot. System buckets have names with a `$`,
//! which no user may give.

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

    /// The name of the system bucket of a partition that holds the records of its topics. No user
    /// can give it to a bucket.
    pub(crate) fn topics(partition: u16) -> BucketName {
        BucketName(format!("{TOPICS}{partition}").into())
    }

    /// The name of the system bucket of a partition that holds the snapshots of its buckets. No user
    /// can give it to a bucket.
    pub(crate) fn snapshots(partition: u16) -> BucketName {
        BucketName(format!("{SNAPSHOTS}{partition}").into())
    }

    /// A name that stands in the log: one that a user may give, or a system bucket's.
    pub(crate) fn stored(name: &str) -> Result<BucketName> {
        for (prefix, system) in SYSTEM {
            if let Some(Ok(partition)) = name.strip_prefix(prefix).map(str::parse)
                && system(partition).as_str() == name
            {
                return Ok(system(partition));
            }
        }
        BucketName::new(name)
    }

    /// Whether it is a system bucket's, which listings do not show.
    pub(crate) fn is_system(&self) -> bool {
        BucketName::is_of_system(&self.0)
    }

    /// Whether a bucket's name is a system bucket's.
    pub(crate) fn is_of_system(name: &str) -> bool {
        name.starts_with('$')
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

const TOPICS: &str = "$topics-";
const SNAPSHOTS: &str = "$snapshots-";

/// Makes the name of a partition's system bucket.
type NameOf = fn(u16) -> BucketName;

/// How the names of system buckets begin, and what makes them.
const SYSTEM: [(&str, NameOf); 2] = [
    (TOPICS, BucketName::topics),
    (SNAPSHOTS, BucketName::snapshots),
];

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
    fn system_names_are_read_from_the_log_and_never_taken_from_a_user() {
        for partition in [0, 7, u16::MAX] {
            for name in [
                BucketName::topics(partition),
                BucketName::snapshots(partition),
            ] {
                assert!(name.is_system());
                assert_eq!(BucketName::stored(name.as_str()).unwrap(), name);
                assert!(BucketName::new(name.as_str()).is_err());
            }
        }
        assert!(!BucketName::stored("users").unwrap().is_system());
        for name in [
            "$topics-",
            "$topics-01",
            "$topics-65536",
            "$snapshots",
            "$snapshots-1a",
            "$other",
            "$",
            "-a",
        ] {
            assert!(BucketName::stored(name).is_err(), "{name:?}");
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
