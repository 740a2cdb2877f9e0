//! One asynchronous API over an embedded or a remote Cairn store.
//!
//! ```no_run
//! # async fn tour() -> cairn_sdk::Result<()> {
//! use cairn_sdk::Cairn;
//!
//! let cairn = Cairn::connect("http://127.0.0.1:7070").await?; // or Cairn::open("data")
//! let users = cairn.bucket("users");
//! let version = users.put("alice", "hello").await?;
//! users.put("alice", "world").if_version(version).await?;
//! assert_eq!(users.get("alice").await?.expect("just written").value, "world");
//! # Ok(())
//! # }
//! ```
//!
//! A write that may or may not have happened ends in [`Code::OutcomeUnknown`], never in a silent
//! retry: only what certainly did not happen, and what only reads, is tried again.

pub mod bridge;
#[cfg(any(feature = "embedded", feature = "remote"))]
mod client;
#[cfg(feature = "embedded")]
mod embedded;
mod error;
#[cfg(any(all(test, feature = "embedded"), feature = "testing"))]
pub mod fuzzing;
#[cfg(feature = "remote")]
mod remote;
#[cfg(feature = "remote")]
mod retry;
#[cfg(any(feature = "embedded", feature = "remote"))]
mod scan;
#[cfg(any(feature = "embedded", feature = "remote"))]
mod watch;
pub mod wire;
mod write;

#[cfg(any(feature = "embedded", feature = "remote"))]
pub use client::{
    Batch, Bucket, Cairn, Delete, Entry, GetStream, LogRequest, Put, PutStream, ValueStream,
    check_bucket_name, check_readable, check_writable, snapshot_of,
};
#[cfg(feature = "embedded")]
pub use embedded::{Embedded, Feed, Upload, Value};
pub use error::{Error, Result, is_retryable};
#[cfg(feature = "remote")]
pub use remote::ConnectOptions;
#[cfg(feature = "remote")]
pub use retry::Retry;
#[cfg(any(feature = "embedded", feature = "remote"))]
pub use scan::{Pages, Scan, ScanRequest};
#[cfg(any(feature = "embedded", feature = "remote"))]
pub use watch::{Watch, WatchBatch, WatchChange, WatchEvent, WatchRequest, WatchStream};
pub use wire::{BucketInfo, BucketOptions, Code, Deleted, Durability, Item, Page, Status};
pub use write::{Change, Expect, Receipt, UploadTerms, Write, check_key};
