//! Partitioned, crash-safe, memory-mapped write-ahead log.

pub mod vfs;
