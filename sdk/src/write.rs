//! A write as both stores take it: changes, conditions and the durability asked for.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::wire::{
    BATCH_BYTES_MAX, BATCH_OPS_MAX, Code, Durability, KEY_BYTES_MAX, VALUE_BYTES_MAX,
};

/// Changes that happen together or not at all. Without changes only the conditions are judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Write {
    /// What happens, in order. A key stands here once.
    pub changes: Vec<Change>,
    /// What must hold when it happens.
    pub conditions: Vec<(Bytes, Expect)>,
    /// What the reply must vouch for; `None` leaves it to the bucket, and by default is `Local`.
    pub durability: Option<Durability>,
    /// Whether this is a put or delete of one key rather than a batch. Its caller knows the key, so
    /// a failed condition does not tell it again.
    pub of_one_key: bool,
}

/// One change of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Writes a key.
    Put {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
        /// After how many milliseconds the key expires; `None` clears an earlier deadline.
        ttl_ms: Option<u64>,
        /// The media type to keep with the value.
        content_type: Option<String>,
    },
    /// Deletes a key.
    Delete {
        /// The key.
        key: Bytes,
    },
}

/// A condition on one key: the four forms of RFC 9110's `If-Match` and `If-None-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The key exists: `If-Match: *`.
    Exists,
    /// The key is absent: `If-None-Match: *`.
    Absent,
    /// The key has one of these versions: `If-Match: "7", "9"`. An empty list never holds.
    OneOf(Vec<u64>),
    /// The key is absent or has another version: `If-None-Match: "7"`.
    NoneOf(Vec<u64>),
}

/// What is asked of a value that comes as a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadTerms {
    /// After how many milliseconds the key expires; `None` clears an earlier deadline.
    pub ttl_ms: Option<u64>,
    /// The media type to keep with the value.
    pub content_type: Option<String>,
    /// What must hold of the key when the value has come and is made the key's.
    pub expects: Vec<Expect>,
    /// What the reply must vouch for. A value over 1 MiB is never vouched for as less than `Local`.
    pub durability: Option<Durability>,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The version that the write made, or the bucket's current one where nothing was written.
    pub version: u64,
    /// What is vouched for.
    pub durability: Durability,
    /// Of a single delete: whether there was a key to delete.
    pub existed: bool,
}

impl Change {
    /// The key that changes.
    pub fn key(&self) -> &Bytes {
        match self {
            Change::Put { key, .. } | Change::Delete { key } => key,
        }
    }

    fn size(&self) -> usize {
        match self {
            Change::Put { key, value, .. } => key.len() + value.len(),
            Change::Delete { key } => key.len(),
        }
    }
}

impl Expect {
    /// Whether a key with this version, `None` when absent, meets the condition.
    pub fn holds(&self, current: Option<u64>) -> bool {
        match (self, current) {
            (Expect::Exists, current) => current.is_some(),
            (Expect::Absent, current) => current.is_none(),
            (Expect::OneOf(list), Some(version)) => list.contains(&version),
            (Expect::OneOf(_), None) => false,
            (Expect::NoneOf(list), Some(version)) => !list.contains(&version),
            (Expect::NoneOf(_), None) => true,
        }
    }
}

impl Write {
    /// Checks the limits of keys, values and batches.
    ///
    /// # Errors
    /// `invalid_argument`, `key_too_large`, `value_too_large` or `batch_too_large`.
    pub fn check(&self) -> Result<()> {
        if self.changes.len() > BATCH_OPS_MAX || self.conditions.len() > BATCH_OPS_MAX {
            return Err(Error::new(
                Code::BatchTooLarge,
                format!("a batch takes at most {BATCH_OPS_MAX} operations and conditions"),
            ));
        }
        let mut total = 0;
        for change in &self.changes {
            check_key(change.key())?;
            if let Change::Put { value, .. } = change {
                check_value_size(value.len())?;
            }
            total += change.size();
        }
        for (key, _) in &self.conditions {
            check_key(key)?;
        }
        // A lone put is bounded by its value's own limit.
        if self.changes.len() > 1 && total > BATCH_BYTES_MAX {
            return Err(Error::new(
                Code::BatchTooLarge,
                format!("{total} bytes of keys and values, a batch takes {BATCH_BYTES_MAX}"),
            ));
        }
        Ok(())
    }
}

/// Checks the length of a key.
///
/// # Errors
/// `invalid_argument` for the empty key, `key_too_large` above the limit.
pub fn check_key(key: &[u8]) -> Result<()> {
    if key.is_empty() {
        return Err(Error::new(
            Code::InvalidArgument,
            "the key is empty; it has 1 to 4096 bytes",
        ));
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(Error::new(
            Code::KeyTooLarge,
            format!(
                "a key of {} bytes, at most {KEY_BYTES_MAX} are taken",
                key.len()
            ),
        ));
    }
    Ok(())
}

fn check_value_size(size: usize) -> Result<()> {
    if size > VALUE_BYTES_MAX {
        return Err(Error::new(
            Code::ValueTooLarge,
            format!("a value of {size} bytes, at most {VALUE_BYTES_MAX} are taken"),
        ));
    }
    Ok(())
}
