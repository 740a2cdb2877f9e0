//! The numbers that name things in a log, each its own type so that none is taken for another.

use std::fmt;

/// A place in a partition's byte stream: a logical offset in bytes, counted from the partition's
/// creation. It is never handed out twice, so the offset of a batch also serves as its version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset(u64);

impl Offset {
    /// The greatest offset a log may reach, exclusive: every JSON number below it is exact.
    pub const MAX: Offset = Offset(1 << 53);

    /// Wraps a number of bytes from the start of the partition.
    pub const fn new(bytes: u64) -> Offset {
        Offset(bytes)
    }

    /// The number of bytes from the start of the partition.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The offset `bytes` further on.
    pub(crate) const fn plus(self, bytes: u64) -> Offset {
        Offset(self.0 + bytes)
    }

    /// How many bytes this offset lies behind `earlier`; zero if it does not.
    pub const fn since(self, earlier: Offset) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// The number of a partition within its log, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId(pub u16);

impl fmt::Display for PartitionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// The random name of a log, chosen at creation and never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogId(pub [u8; 16]);

impl fmt::Display for LogId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// Counts the openings of a partition that followed an unclean close.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Incarnation(pub(crate) u32);

/// The writer's term; 0 until the log is replicated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Term(pub(crate) u64);

/// The number of a segment file within its partition, from 1 and without holes at creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SegmentNumber(pub(crate) u64);

impl SegmentNumber {
    pub(crate) const fn next(self) -> SegmentNumber {
        SegmentNumber(self.0 + 1)
    }
}
