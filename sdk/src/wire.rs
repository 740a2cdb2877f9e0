//! The JSON that crosses the wire, in both directions.
//!
//! The server imports these types, so what one side writes is what the other side reads. They hold
//! bytes and numbers as the API names them and know nothing of HTTP, of the store or of retries.
//!
//! Keys and values are bytes. In JSON a key stands as `key` when it is valid UTF-8 and always as
//! `key_b64`, in standard base64 with padding; a request may give either. Versions are plain JSON
//! numbers: they stay below 2^53, so every JSON parser reads them exactly.

mod base64;
pub(crate) mod batch;
mod bucket;
mod code;
mod durability;
mod event;
mod item;
mod log;
mod problem;
mod status;
mod target;

pub use self::base64::{Base64, decode_key_parameter, encode_key_parameter};
pub use batch::{BatchRequest, Condition, DeleteOp, Op, Ops, PutOp};
pub use bucket::{BucketInfo, BucketList, BucketOptions};
pub use code::Code;
pub use durability::Durability;
pub use event::{EVENT_DELETE, EVENT_ERROR, EVENT_PUT, EventData};
pub use item::{Deleted, Item, Page, Written};
pub use log::{Appended, LogInfo, LogLine, LogPartition};
pub use problem::Problem;
pub use status::{IndexStatus, PartitionStatus, Status};
pub use target::{bucket_target, key_target, percent_encode};

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 4096;
/// The largest value that travels as one body and is stored as one record.
pub const VALUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The largest value, 5 TiB. One over [`VALUE_BYTES_MAX`] comes and goes as a stream.
pub const LARGE_VALUE_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024 * 1024;
/// The most operations of one batch.
pub const BATCH_OPS_MAX: usize = 10_000;
/// The most decoded bytes of keys and values in one batch.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The most items of one page of a scan; a larger `limit` is lowered to it.
pub const PAGE_ITEMS_MAX: usize = 10_000;
/// The items of a page when the request names no `limit`.
pub const PAGE_ITEMS_DEFAULT: usize = 1_000;
/// A page ends once it holds this many bytes of keys and values.
pub const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A listing embeds a value up to this size; of a larger one it tells the size only.
pub const INLINE_VALUE_BYTES_MAX: usize = 64 * 1024;
/// The request and reply header that names how durable a write is asked to be, and became.
pub const DURABILITY_HEADER: &str = "cairn-durability";
/// The media type of an error body.
pub const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";

#[cfg(test)]
mod tests;
