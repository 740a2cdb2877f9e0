//! Tombstones for the pieces of values that are gone.
//!
//! Whoever overwrites or deletes a large value names none of its pieces, and an upload that is given
//! up leaves some behind. So after each merge, and once a snapshot is removed, a *round* goes through
//! the uploads of the merged index in small steps. The pieces of one that nothing needs (`large`)
//! get tombstones, and with the next merge they count as dead where they stand, like any other key
//! that was deleted; garbage collection does the rest.
//!
//! # Cost
//!
//! Of a round: a seek of the merged index and a look-up of the owner's key an upload, however many
//! pieces it has; of each dead one a look-up and a tombstone a piece.

use std::ops::Bound;
use std::sync::Arc;

use cairn_log::Claim;

use super::Keyspace;
use super::maintain::Maintenance;
use super::sweep::{BATCH_KEYS, Doomed};
use crate::bucket::state::BucketState;
use crate::error::Result;
use crate::index::levels::LevelError;
use crate::index::merged::{Fault, View};
use crate::index::versions::Kind;
use crate::index::walk::Key;
use crate::large;

/// How far the rounds have come.
#[derive(Default)]
pub(super) struct Rounds {
    round: Option<Round>,
    /// What the last one went by.
    last: Option<Occasion>,
}

struct Round {
    occasion: Occasion,
    /// Buckets whose pieces are still to be looked at.
    buckets: Vec<Arc<BucketState>>,
    /// In the last of them: where to go on.
    from: Vec<u8>,
}

/// What makes pieces dead: up to where all is merged, and how many snapshots were removed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Occasion {
    covered: u64,
    removals: u64,
}

impl Keyspace {
    /// Looks at some more uploads, if there is an occasion. Says whether it did anything.
    pub(super) fn forget_pieces(&self, maintenance: &mut Maintenance) -> Result<bool> {
        let levels = Arc::clone(&self.levels.read());
        let Some(merged) = &levels.merged else {
            return Ok(false);
        };
        let rounds = &mut maintenance.rounds;
        let mut round = match rounds.round.take() {
            Some(round) => round,
            None => {
                let occasion = Occasion {
                    covered: merged.covered(),
                    removals: self.snapshots.lock().removals(),
                };
                if rounds.last == Some(occasion) {
                    return Ok(false);
                }
                Round {
                    occasion,
                    buckets: self.live_buckets(),
                    from: large::first_key().to_vec(),
                }
            }
        };
        let mut left = STEP_UPLOADS;
        while let Some(bucket) = round.buckets.last().cloned() {
            let found = match self.find_forgotten(merged, &bucket, &mut round.from, &mut left) {
                Ok(found) => found,
                Err(fault) => {
                    maintenance.rounds.round = Some(round);
                    self.repair(maintenance, &levels, LevelError::Merged(fault))?;
                    return Ok(true);
                }
            };
            if found.is_end {
                round.buckets.pop();
                round.from = large::first_key().to_vec();
            }
            if left == 0 || !found.doomed.is_empty() {
                maintenance.rounds.round = Some(round);
                let (id, doomed) = (bucket.id.pieces(), found.doomed);
                self.bury(maintenance, &levels, &bucket, id, &doomed, Claim::Delete)?;
                return Ok(true);
            }
        }
        rounds.last = Some(round.occasion);
        Ok(false)
    }

    /// Goes on through the pieces of a bucket from `from`, which is set to where to go on, over at
    /// most `left` uploads.
    fn find_forgotten(
        &self,
        merged: &Arc<View>,
        bucket: &BucketState,
        from: &mut Vec<u8>,
        left: &mut usize,
    ) -> std::result::Result<FoundPieces, Fault> {
        let id = bucket.id.pieces();
        let mut found = FoundPieces::default();
        while *left > 0 {
            *left -= 1;
            let bounds = (Bound::Included(from.as_slice()), Bound::Unbounded);
            let mut range = merged.range(id, bounds, false)?;
            let Some((first, _)) = range.next().transpose()? else {
                found.is_end = true;
                break;
            };
            let Some(behind) = large::behind_upload(&first) else {
                // None of a piece: whoever reads it says so.
                from.clone_from(&first.to_vec());
                from.push(0);
                continue;
            };
            // What cannot be told stays.
            if self.is_piece_live(id, &first).unwrap_or(true) {
                from.clear();
                from.extend_from_slice(&behind);
                continue;
            }
            let mut key = Some(first);
            while let Some(one) = key.take_if(|key| key[..] < behind[..]) {
                if found.doomed.len() == BATCH_KEYS {
                    from.clear();
                    from.extend_from_slice(&one);
                    return Ok(found);
                }
                let location = self.newest_as_it_is(id, &one);
                if let Ok(location) = location
                    && location.kind != Kind::Tombstone
                {
                    found.doomed.push(Doomed {
                        hash: self.seed.hash(id, &one),
                        key: Key::from_slice(&one),
                        location,
                    });
                }
                key = range.next().transpose()?.map(|(key, _)| key);
            }
            from.clear();
            from.extend_from_slice(&behind);
        }
        Ok(found)
    }
}

/// What one step found.
#[derive(Default)]
struct FoundPieces {
    /// Pieces that nothing needs and that have no tombstone yet.
    doomed: Vec<Doomed>,
    /// The bucket has no more.
    is_end: bool,
}

/// Uploads of one step.
const STEP_UPLOADS: usize = 256;
