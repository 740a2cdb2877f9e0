//! The versions of the newest batches, so that a watermark can be told as a version.
//!
//! A watermark is an offset between batches; what is shown outside is the version of the newest
//! batch below it. A watermark told while the lock of its keyspace's heads is held is never below
//! the least of the durable and visible offsets known there, so only the batches above that have
//! to be remembered, and the newest below it.

use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(super) struct Heads {
    /// The newest batch known to be durable and visible; 0 if the partition is empty.
    settled: u64,
    /// Those after it, ascending.
    later: VecDeque<u64>,
}

impl Heads {
    /// Of a log whose newest batch, all of it durable, has this version.
    pub(super) fn starting_at(settled: u64) -> Heads {
        Heads {
            settled,
            later: VecDeque::new(),
        }
    }

    /// Notes a batch, given that all batches below `settled` are durable and visible.
    pub(super) fn push(&mut self, version: u64, settled: u64) {
        while let Some(&next) = self.later.front()
            && next < settled
        {
            self.settled = next;
            self.later.pop_front();
        }
        self.later.push_back(version);
    }

    /// The newest batch of all.
    pub(super) fn newest(&self) -> u64 {
        self.later.back().copied().unwrap_or(self.settled)
    }

    /// The newest batch below `watermark`.
    pub(super) fn below(&self, watermark: u64) -> u64 {
        let count = self.later.partition_point(|&version| version < watermark);
        count
            .checked_sub(1)
            .map_or(self.settled, |at| self.later[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_is_told_as_the_newest_batch_below_it() {
        let mut heads = Heads::default();
        assert_eq!(heads.below(1_000), 0);
        for version in [10, 20, 30] {
            heads.push(version, 0);
        }
        let told: Vec<u64> = [10, 11, 20, 21, 30, 31].map(|at| heads.below(at)).into();
        assert_eq!(told, [0, 10, 10, 20, 20, 30]);
        assert_eq!(heads.newest(), 30);
        heads.push(40, 21);
        assert_eq!((heads.settled, heads.later.len()), (20, 2));
        assert_eq!(heads.below(21), 20);
        assert_eq!(heads.below(41), 40);
    }
}
