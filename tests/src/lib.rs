//! What the tests that span the packages share.

pub mod log_history;
pub mod seeds;
