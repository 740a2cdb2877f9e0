//! Buckets.

pub(crate) mod name;
pub(crate) mod options;
