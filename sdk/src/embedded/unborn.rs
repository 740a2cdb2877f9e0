//! Writes to a bucket that does not exist.
//!
//! One that is refused, or that would change nothing, creates no bucket: it is answered as if the
//! bucket held no keys. That is true of the moment in which the bucket was looked for, also if it
//! is created meanwhile.

use cairn_kv::{Batch, PutOptions};

use super::{batch, error, expected, reached};
use crate::error::{Error, Result};
use crate::wire::Code;
use crate::write::{Change, Expect, Receipt, Write};

/// The version that a bucket which never was is said to have: the least there is.
pub(super) const VERSION: u64 = 1;

/// What a write comes to where there is no bucket, which is said to have a version; `None` if one has
/// to be created for it.
///
/// # Errors
/// What the store says of a faulty write; `version_mismatch`.
pub(super) fn outcome(
    write: &Write,
    asked: Option<cairn_kv::Durability>,
    version: u64,
) -> Result<Option<Receipt>> {
    batch(write.clone())?.check().map_err(error)?;
    for (key, expect) in &write.conditions {
        judge(key, expect).map_err(|refusal| {
            if write.of_one_key {
                refusal
            } else {
                refusal.with_key(key.clone())
            }
        })?;
    }
    let puts = |change: &Change| matches!(change, Change::Put { .. });
    if write.changes.iter().any(puts) {
        return Ok(None);
    }
    Ok(Some(Receipt {
        version,
        durability: reached(asked.unwrap_or_default()),
        existed: false,
    }))
}

/// Refuses an upload for which no bucket should be created.
///
/// # Errors
/// What the store says of its key and options; `version_mismatch`.
pub(super) fn check_upload(key: &[u8], options: &PutOptions, expects: &[Expect]) -> Result<()> {
    let mut batch = Batch::new().put_with(key, [], options.clone());
    for expect in expects {
        batch = batch.require(key, expected(expect.clone()));
    }
    batch.check().map_err(error)?;
    expects.iter().try_for_each(|expect| judge(key, expect))
}

fn judge(key: &[u8], expect: &Expect) -> Result<()> {
    if expect.holds(None) {
        return Ok(());
    }
    let key = key.escape_ascii();
    let detail = format!("the key \"{key}\" does not exist, which the condition excludes");
    Err(Error::new(Code::VersionMismatch, detail).with_version(0))
}

#[cfg(test)]
mod tests;
