//! Names that address a bucket, or a snapshot of one.
//!
//! A snapshot is `BUCKET@NAME` or `BUCKET.at.NAME`. It takes no writes, and none can be read through
//! this crate yet: both are told as a server tells them.

use crate::error::{Error, Result};
use crate::wire::Code;

/// Checks a bucket's name: 1 to 63 of `a-z 0-9 - . _`, first a letter or digit, `.at.` reserved
/// for snapshots.
///
/// # Errors
/// `invalid_argument`.
pub fn check_bucket_name(name: &str) -> Result<()> {
    let well_formed = (1..=63).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-._".contains(&c));
    if !well_formed {
        return Err(Error::new(
            Code::InvalidArgument,
            format!(
                "{name:?} is no bucket name: 1 to 63 of a-z 0-9 - . _, first a letter or digit"
            ),
        ));
    }
    if name.contains(".at.") {
        return Err(Error::new(
            Code::InvalidArgument,
            format!("the bucket name {name:?} contains \".at.\", which is reserved for snapshots"),
        ));
    }
    Ok(())
}

/// Checks the name of what is read.
///
/// # Errors
/// `bucket_not_found` for a snapshot, `invalid_argument` as [`check_bucket_name`].
pub fn check_readable(name: &str) -> Result<()> {
    let Some(bucket) = snapshot_of(name) else {
        return check_bucket_name(name);
    };
    let detail = format!("{name:?} is no snapshot of the bucket {bucket:?}");
    Err(Error::new(Code::BucketNotFound, detail))
}

/// Checks the name of what is written.
///
/// # Errors
/// `read_only` for a snapshot, `invalid_argument` as [`check_bucket_name`].
pub fn check_writable(name: &str) -> Result<()> {
    let Some(bucket) = snapshot_of(name) else {
        return check_bucket_name(name);
    };
    let detail = format!("{name:?} is a snapshot of the bucket {bucket:?} and takes no writes");
    Err(Error::new(Code::ReadOnly, detail))
}

/// The bucket whose snapshot this name means, if it means one.
pub fn snapshot_of(name: &str) -> Option<&str> {
    let (bucket, snapshot) = name.split_once('@').or_else(|| name.split_once(".at."))?;
    let well_formed = (1..=20).contains(&snapshot.len())
        && snapshot
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
    (well_formed && check_bucket_name(bucket).is_ok()).then_some(bucket)
}
