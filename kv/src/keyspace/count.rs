//! How many keys a bucket holds.
//!
//! Writers look nothing up to put a key, so nobody knows at once whether it was there before. What
//! is merged is counted exactly by the merge; a run's part was estimated when it was written; keys
//! of the memtables are compared with the levels below when somebody asks, each key once. So the
//! number of keys is exact while there are no runs, and drifts with what is in them: by keys that
//! were deleted from the merged index and are back, and by a hundredth of those that are new to it.
//! A run made for another merged index than the one there is now, which was lost, drifts by more
//! until it is merged. What an index file of no use can't tell is guessed and asked again.
//! Bytes are exact while all is in memtables, and as far as all is merged; in between they are off
//! by as much as replaced values differ from the average.

use std::sync::Arc;

use super::Keyspace;
use crate::bucket::state::BucketState;
use crate::index::levels::{Below, Estimate, Levels};
use crate::index::members::Counts;
use crate::index::memtable::Node;
use crate::index::run::Run;
use crate::record::BucketId;

impl Keyspace {
    /// What the bucket holds, counting what is sequenced.
    pub(crate) fn counts(&self, bucket: &BucketState) -> Counts {
        let levels = Arc::clone(&self.levels.read());
        let counts = self.counts_below(&levels, bucket.id, u64::MAX);
        Counts {
            keys: counts.keys.max(0),
            bytes: counts.bytes.max(0),
        }
    }

    /// What the levels of segments that begin below `base` hold of a bucket.
    pub(super) fn counts_below(&self, levels: &Levels, bucket: BucketId, base: u64) -> Counts {
        let mut counts = self.merged_counts(levels, bucket);
        let runs = levels.runs.iter().rev();
        for run in runs.take_while(|run| run.head().identity.base < base) {
            counts += counts_of(run, bucket);
        }
        for memtable in levels.memtables.iter().rev() {
            if memtable.base() >= base {
                break;
            }
            let members = memtable.members_of(bucket);
            let average = counts.average_bytes();
            let here = members.map(|members| {
                let prepare = |node: &Node| levels.prefetch_filters(node.hash());
                let mut older = Below::of(levels, memtable);
                members.counts(prepare, |node| {
                    older.counted(bucket, node, average, Estimate::Close)
                })
            });
            // Asked last: a memtable that is retired meanwhile has forgotten what was below.
            counts += match memtable.run() {
                Some(run) => counts_of(&run, bucket),
                None => here.unwrap_or_default(),
            };
        }
        counts
    }
}

/// What a run adds to a bucket's counts.
fn counts_of(run: &Run, bucket: BucketId) -> Counts {
    let buckets = &run.head().buckets;
    match buckets.binary_search_by_key(&bucket.0, |one| one.bucket) {
        Ok(at) => Counts {
            keys: buckets[at].keys_delta,
            bytes: buckets[at].bytes_delta,
        },
        Err(_) => Counts::default(),
    }
}
