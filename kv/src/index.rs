//! Where the newest record of each key stands in the log.
//!
//! The log is the database; everything here is derived from it and rebuilt by replay.

pub(crate) mod checked_file;
pub(crate) mod filter;
pub(crate) mod hash;
pub(crate) mod hot;
pub(crate) mod levels;
pub(crate) mod members;
pub(crate) mod memtable;
pub(crate) mod merged;
pub(crate) mod run;
pub(crate) mod state;
pub(crate) mod versions;
pub(crate) mod walk;
