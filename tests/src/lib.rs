//! What the tests that span the packages share.

pub mod http;
pub mod log_history;
pub mod seeds;
pub mod server;
pub mod trace;
pub mod writer;
