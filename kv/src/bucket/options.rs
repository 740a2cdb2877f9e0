//! What is chosen when a bucket is created.

use crate::version::Durability;

/// The options of a bucket, kept in its creation record.
///
/// ```
/// use cairn_kv::{BucketOptions, Durability};
///
/// let options = BucketOptions { durability: Durability::Buffered, ..Default::default() };
/// assert_eq!(options.history_ms, None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketOptions {
    /// How long superseded versions are kept, in milliseconds; the store's default if absent.
    pub history_ms: Option<u64>,
    /// How many bytes of superseded versions are kept; shared with the partition if absent.
    pub history_bytes: Option<u64>,
    /// The durability of writes that name none.
    pub durability: Durability,
}
