//! The server and the command line behind the binary `cairn`.
//!
//! A library only so that fuzz targets reach its decoders; its one entry is [`main`].

mod auth;
mod cli;
mod config;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
mod http;
mod metrics;
mod problem;
mod serve;

pub use cli::main;
