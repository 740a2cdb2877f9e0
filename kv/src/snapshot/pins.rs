//! What snapshots hold, for whoever orders writes, collects garbage or reads the past.
//!
//! A table of the snapshots whose records are sequenced, durable or not. It changes with the
//! sequencer's lock held and is filled from the index at open. Readers by name ask the index, which
//! knows what is visible.
//!
//! Memory: some 150 bytes a snapshot, of which a partition has at most
//! [`SNAPSHOTS_OF_PARTITION_MAX`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::SnapshotName;
use crate::bucket::state::BucketState;
use crate::error::{Error, Result};
use crate::limits::{SNAPSHOTS_OF_BUCKET_MAX, SNAPSHOTS_OF_PARTITION_MAX};
use crate::record::BucketId;

/// The snapshots of a partition. See the module.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    /// The system bucket that holds them, once there is one.
    system: Option<Arc<BucketState>>,
    buckets: HashMap<BucketId, OfBucket>,
    count: usize,
    removals: u64,
}

#[derive(Debug, Default)]
struct OfBucket {
    versions: BTreeMap<SnapshotName, u64>,
    /// The time of each version.
    times: BTreeMap<u64, u64>,
}

/// The versions that snapshots hold at one moment, by bucket and ascending.
#[derive(Debug, Default)]
pub(crate) struct Pinned {
    buckets: HashMap<BucketId, Vec<u64>>,
    /// How many snapshots had been removed by then.
    pub(crate) removals: u64,
}

impl Pins {
    pub(crate) fn system(&self) -> Option<&Arc<BucketState>> {
        self.system.as_ref()
    }

    pub(crate) fn hold_in(&mut self, system: &Arc<BucketState>) {
        self.system.get_or_insert_with(|| Arc::clone(system));
    }

    /// The version of a snapshot, if there is one of that name.
    pub(crate) fn version(&self, bucket: BucketId, name: &SnapshotName) -> Option<u64> {
        self.buckets.get(&bucket)?.versions.get(name).copied()
    }

    /// The time of the snapshot that has exactly this version.
    pub(crate) fn time_ms(&self, bucket: BucketId, version: u64) -> Option<u64> {
        self.buckets.get(&bucket)?.times.get(&version).copied()
    }

    /// The names of a bucket's snapshots.
    pub(crate) fn names(&self, bucket: BucketId) -> Vec<SnapshotName> {
        let of_bucket = self.buckets.get(&bucket);
        of_bucket.map_or_else(Vec::new, |found| found.versions.keys().cloned().collect())
    }

    /// The versions of a bucket's snapshots that are above `version`, ascending.
    pub(crate) fn above(&self, bucket: BucketId, version: u64) -> Vec<u64> {
        let of_bucket = self.buckets.get(&bucket);
        of_bucket.map_or_else(Vec::new, |found| {
            let above = found.times.range(version.saturating_add(1)..);
            above.map(|(&version, _)| version).collect()
        })
    }

    /// The newest version that is held; 0 if none is.
    pub(crate) fn newest(&self) -> u64 {
        let newest = |found: &OfBucket| found.times.keys().next_back().copied();
        self.buckets.values().filter_map(newest).max().unwrap_or(0)
    }

    /// How many snapshots have been removed.
    pub(crate) fn removals(&self) -> u64 {
        self.removals
    }

    pub(crate) fn pinned(&self) -> Pinned {
        let versions = |found: &OfBucket| found.times.keys().copied().collect();
        let buckets = self.buckets.iter();
        Pinned {
            buckets: buckets.map(|(&id, found)| (id, versions(found))).collect(),
            removals: self.removals,
        }
    }

    /// Refuses one more snapshot of a bucket if there are as many as there may be.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`.
    pub(crate) fn check_room(&self, bucket: BucketId) -> Result<()> {
        let of_bucket = self.buckets.get(&bucket);
        let message = if of_bucket.map_or(0, |found| found.times.len()) >= SNAPSHOTS_OF_BUCKET_MAX {
            format!("the bucket has {SNAPSHOTS_OF_BUCKET_MAX} snapshots already; remove some")
        } else if self.count >= SNAPSHOTS_OF_PARTITION_MAX {
            format!("the partition has {SNAPSHOTS_OF_PARTITION_MAX} snapshots already; remove some")
        } else {
            return Ok(());
        };
        Err(Error::invalid(message))
    }

    /// Enters a snapshot whose name is free.
    pub(crate) fn enter(
        &mut self,
        bucket: BucketId,
        name: SnapshotName,
        version: u64,
        time_ms: u64,
    ) {
        let of_bucket = self.buckets.entry(bucket).or_default();
        let before = of_bucket.versions.insert(name, version);
        assert_eq!(before, None, "a name is given to one snapshot of a bucket");
        of_bucket.times.insert(version, time_ms);
        self.count += 1;
    }

    /// Strikes a snapshot.
    pub(crate) fn strike(&mut self, bucket: BucketId, name: &SnapshotName) {
        let Some(of_bucket) = self.buckets.get_mut(&bucket) else {
            return;
        };
        let Some(version) = of_bucket.versions.remove(name) else {
            return;
        };
        of_bucket.times.remove(&version);
        if of_bucket.times.is_empty() {
            self.buckets.remove(&bucket);
        }
        self.count -= 1;
        self.removals += 1;
    }
}

impl Pinned {
    /// The least version held of a bucket that is `version` or above.
    pub(crate) fn least_from(&self, bucket: BucketId, version: u64) -> Option<u64> {
        let versions = self.buckets.get(&bucket)?;
        let below = versions.partition_point(|&held| held < version);
        versions.get(below).copied()
    }

    /// The greatest version held of a bucket that is below `version`.
    pub(crate) fn greatest_below(&self, bucket: BucketId, version: u64) -> Option<u64> {
        let versions = self.buckets.get(&bucket)?;
        let below = versions.partition_point(|&held| held < version);
        versions.get(below.checked_sub(1)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn name(number: usize) -> SnapshotName {
        SnapshotName::new(&format!("s{number}")).unwrap()
    }

    #[test]
    fn what_is_pinned_is_found_from_both_sides() {
        let mut pins = Pins::default();
        for (number, version) in [(1, 30), (2, 10), (3, 20)] {
            pins.enter(BucketId(1), name(number), version, 1_000 + version);
        }
        pins.enter(BucketId(2), name(1), 15, 1_015);
        let pinned = pins.pinned();
        let least = [0, 10, 11, 20, 30, 31].map(|at| pinned.least_from(BucketId(1), at));
        assert_eq!(
            least,
            [Some(10), Some(10), Some(20), Some(20), Some(30), None]
        );
        let greatest = [0, 10, 11, 20, 31].map(|at| pinned.greatest_below(BucketId(1), at));
        assert_eq!(greatest, [None, None, Some(10), Some(10), Some(30)]);
        assert_eq!(pinned.least_from(BucketId(3), 0), None);
        assert_eq!(pins.above(BucketId(1), 10), [20, 30]);
        assert_eq!(pins.time_ms(BucketId(1), 20), Some(1_020));
        assert_eq!(pins.time_ms(BucketId(1), 15), None);
        assert_eq!(pins.newest(), 30);
        pins.strike(BucketId(1), &name(1));
        pins.strike(BucketId(1), &name(1));
        assert_eq!((pins.newest(), pins.removals()), (20, 1));
        assert_eq!(pins.version(BucketId(1), &name(1)), None);
        pins.enter(BucketId(1), name(1), 40, 1_040);
        assert_eq!(pins.names(BucketId(1)), [name(1), name(2), name(3)]);
    }

    #[test]
    fn a_bucket_and_a_partition_have_no_more_snapshots_than_they_may() {
        let mut pins = Pins::default();
        let mut version = 0;
        let mut take = |pins: &mut Pins, bucket, number| {
            pins.check_room(BucketId(bucket))?;
            version += 1;
            pins.enter(BucketId(bucket), name(number), version, 0);
            Ok::<_, Error>(())
        };
        for number in 0..SNAPSHOTS_OF_BUCKET_MAX {
            take(&mut pins, 1, number).unwrap();
        }
        let refused = take(&mut pins, 1, SNAPSHOTS_OF_BUCKET_MAX).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        pins.strike(BucketId(1), &name(0));
        take(&mut pins, 1, SNAPSHOTS_OF_BUCKET_MAX).unwrap();
        for number in SNAPSHOTS_OF_BUCKET_MAX..SNAPSHOTS_OF_PARTITION_MAX {
            let bucket = u32::try_from(2 + number / SNAPSHOTS_OF_BUCKET_MAX).unwrap();
            take(&mut pins, bucket, number).unwrap();
        }
        let refused = take(&mut pins, 1_000, 0).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    }
}
