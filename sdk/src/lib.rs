//! One asynchronous API over an embedded or a remote Cairn store.

pub mod bridge;
pub mod wire;
