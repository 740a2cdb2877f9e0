//! Where the newest record of each key stands in the log.
//!
//! The log is the database; everything here is derived from it and rebuilt by replay.
//!
//! * [`versions`]: the versions of one key that somebody may still ask for;
//! * [`memtable`]: key -> versions, in memory, for point reads and conditions;
//! * [`order`]: the keys of one bucket in order, for scans;
//! * [`pins`]: which versions readers hold on to.

pub(crate) mod memtable;
pub(crate) mod order;
pub(crate) mod pins;
pub(crate) mod versions;
