//! How much a run measures, and for how long.

use std::time::Duration;

/// How long and how large rows are.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    pub(crate) quick: bool,
    /// Rows that write for a fixed time.
    pub(crate) row: Duration,
    /// Rows that read for a fixed time.
    pub(crate) read: Duration,
    /// Each measurement of the disk's floor.
    pub(crate) floor: Duration,
    pub(crate) keys: u64,
    pub(crate) large_keys: u64,
    /// Rows of 4 KiB: a tenth of them must hold a process.
    pub(crate) capped_keys: u64,
    pub(crate) reopen_keys: u64,
    pub(crate) overwrite_keys: u64,
    pub(crate) overwrite_large_keys: u64,
    /// The longest an engine may overwrite, for small values and for large ones.
    pub(crate) overwrite_caps: [Duration; 2],
    pub(crate) twitter_bytes: u64,
    /// A row, or a loaded store with all its reads, that takes longer hangs.
    pub(crate) row_time_max: Duration,
}

impl Scale {
    pub(super) fn full(keys: u64) -> Scale {
        Scale {
            quick: false,
            row: Duration::from_secs(10),
            read: Duration::from_secs(5),
            floor: Duration::from_secs(1),
            keys,
            large_keys: (keys / 10).max(1),
            capped_keys: (keys / 4).max(1),
            reopen_keys: keys,
            overwrite_keys: keys,
            overwrite_large_keys: (keys / 10).max(1),
            overwrite_caps: [Duration::from_secs(480), Duration::from_secs(120)],
            twitter_bytes: keys.saturating_mul(256),
            row_time_max: Duration::from_secs(30 * 60),
        }
    }

    /// Under three minutes for everything: the loaded store keeps its size, so that reads mean
    /// the same; what has to be loaded for one row only is smaller.
    pub(super) fn quick(keys: u64) -> Scale {
        Scale {
            quick: true,
            row: Duration::from_millis(600),
            read: Duration::from_millis(300),
            floor: Duration::from_millis(150),
            keys,
            large_keys: (keys / 20).max(1),
            capped_keys: (keys / 16).max(1),
            reopen_keys: (keys / 4).max(1),
            overwrite_keys: (keys / 20).max(1),
            overwrite_large_keys: (keys / 200).max(1),
            overwrite_caps: [Duration::from_secs(2); 2],
            twitter_bytes: keys.saturating_mul(16),
            row_time_max: Duration::from_secs(3 * 60),
        }
    }

    /// Rows that run for a fixed time run for this one; the floor is measured as long.
    pub(super) fn lasting(self, row: Duration) -> Scale {
        Scale {
            row,
            read: row,
            floor: row,
            overwrite_caps: self.overwrite_caps.map(|cap| cap.min(row * 10)),
            ..self
        }
    }
}
