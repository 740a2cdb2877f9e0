//! Which buckets there are: the union of the creation records of all partitions.
//!
//! Under the catalogue's lock creations and drops are sequenced, so a name belongs to at most one
//! bucket and two threads that create the same one get the same. Nothing is written or synced
//! under it. A bucket counts as created, or gone, for others once that is durable: they wait for
//! it, and get `Poisoned` if it is lost.
//!
//! Ids are never given twice. The name of a bucket that is gone keeps its partition, so that a
//! bucket created again under it gets versions above all that it ever had.

use std::collections::HashMap;
use std::sync::Arc;

use crate::bucket::name::BucketName;
use crate::bucket::state::BucketState;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::BUCKETS_MAX;
use crate::record::BucketId;

/// The names of a store's buckets.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    names: HashMap<BucketName, Named>,
    /// The greatest id ever given.
    last_id: u32,
    /// Number of names that are `Live`.
    live: usize,
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub(crate) enum Named {
    /// A bucket whose creation is sequenced and whose drop is not.
    Live(Arc<BucketState>),
    /// A bucket that is gone.
    Former { partition: u16, dropped: u64 },
}

impl Catalogue {
    /// What a name stands for, if it ever stood for anything.
    pub(crate) fn named(&self, name: &str) -> Option<&Named> {
        self.names.get(name)
    }

    /// Buckets whose drop is not sequenced.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Arc<BucketState>> {
        self.names.values().filter_map(|named| match named {
            Named::Live(bucket) => Some(bucket),
            Named::Former { .. } => None,
        })
    }

    /// Whether this bucket, and not another one of its name, is there.
    pub(crate) fn is_live(&self, bucket: &BucketState) -> bool {
        let named = self.named(bucket.name.as_str());
        matches!(named, Some(Named::Live(live)) if live.id == bucket.id)
    }

    /// Where the next bucket of this name goes: where its name was before, else to the partition
    /// with the fewest buckets.
    pub(crate) fn partition_for(&self, name: &str, partitions: u16) -> u16 {
        if let Some(Named::Former { partition, .. }) = self.named(name) {
            return *partition;
        }
        let mut buckets = vec![0_usize; usize::from(partitions)];
        for bucket in self.live().filter(|bucket| !bucket.name.is_system()) {
            if let Some(count) = buckets.get_mut(usize::from(bucket.partition)) {
                *count += 1;
            }
        }
        (0..partitions)
            .min_by_key(|&number| buckets[usize::from(number)])
            .unwrap_or(0)
    }

    /// Gives out an id.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if there are as many buckets as there may be, or have ever been.
    pub(crate) fn next_id(&mut self) -> Result<BucketId> {
        let next = self
            .last_id
            .checked_add(1)
            .filter(|&next| next <= BucketId::MAX.0 && self.live < BUCKETS_MAX);
        let Some(next) = next else {
            let message = if self.live < BUCKETS_MAX {
                format!("the store has given out all {} bucket ids", BucketId::MAX.0)
            } else {
                format!("the store has {BUCKETS_MAX} buckets already; remove some")
            };
            return Err(Error::invalid(message));
        };
        self.last_id = next;
        Ok(BucketId(next))
    }

    /// Enters a bucket whose creation is sequenced.
    pub(crate) fn enter(&mut self, bucket: Arc<BucketState>) {
        self.last_id = self.last_id.max(bucket.id.0);
        self.live += 1;
        self.names.insert(bucket.name.clone(), Named::Live(bucket));
    }

    /// Strikes a bucket whose drop is sequenced.
    pub(crate) fn strike(&mut self, bucket: &BucketState) {
        let Some(dropped) = bucket.dropped() else {
            return;
        };
        let former = Named::Former {
            partition: bucket.partition,
            dropped,
        };
        if let Some(Named::Live(_)) = self.names.insert(bucket.name.clone(), former) {
            self.live -= 1;
        }
    }

    /// The catalogue of buckets found by replay, in any order.
    ///
    /// # Errors
    ///
    /// `Corrupt` if a name or an id belongs to two buckets, which no code of ours writes.
    pub(crate) fn rebuild(mut buckets: Vec<Arc<BucketState>>) -> Result<Catalogue> {
        let mut catalogue = Catalogue::default();
        let mut ids = HashMap::new();
        // Of one name, the newer creation decides; a partition's versions tell which.
        buckets.sort_by_key(|bucket| (bucket.partition, bucket.created.version));
        for bucket in buckets {
            if let Some(other) = ids.insert(bucket.id, bucket.name.clone()) {
                return Err(claimed_twice("id", &bucket, other.as_str()));
            }
            match catalogue.named(bucket.name.as_str()) {
                Some(Named::Live(other)) => {
                    return Err(claimed_twice("name", &bucket, other.name.as_str()));
                }
                Some(Named::Former { partition, .. }) if *partition != bucket.partition => {
                    return Err(claimed_twice("name", &bucket, bucket.name.as_str()));
                }
                _ => {}
            }
            let dropped = bucket.dropped().is_some();
            catalogue.enter(Arc::clone(&bucket));
            if dropped {
                catalogue.strike(&bucket);
            }
        }
        Ok(catalogue)
    }
}

fn claimed_twice(what: &str, bucket: &BucketState, other: &str) -> Error {
    let message = format!(
        "the {what} of the bucket {:?} in partition {} belongs to the bucket {other:?} as well; \
         run `cairn verify` on the data directory",
        bucket.name, bucket.partition
    );
    Error::new(ErrorKind::Corrupt, message)
}

#[cfg(test)]
mod tests;
