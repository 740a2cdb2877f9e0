//! Buckets of keys and values over the Cairn log.

mod attributes;
mod batch;
mod bucket;
mod clock;
mod error;
mod index;
pub mod limits;
mod record;
#[cfg(test)]
mod testing;
mod version;

pub use attributes::Attributes;
pub use batch::{Batch, Expect, PutOptions};
pub use bucket::options::BucketOptions;
pub use error::{Conflict, Error, ErrorKind, Result};
pub use version::{Durability, Version};
