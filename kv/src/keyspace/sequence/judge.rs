//! What a write is judged by: looked up before the sequencer's lock is taken, since older levels may
//! have to read the disk, and held against the memtables under it.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Condition, Draft};
use crate::batch::Expect;
use crate::error::{Error, Result};
use crate::index::levels::Levels;
use crate::index::memtable::Memtable;
use crate::index::versions::Location;
use crate::keyspace::Keyspace;
use crate::record::BucketId;
use crate::transaction::scanned::{Overtaken, Scanned};
use crate::version::Version;

/// What a write is judged by, looked up without the sequencer's lock.
pub(super) struct Judging<'a> {
    levels: Arc<Levels>,
    /// Of a transaction.
    scanned: Option<&'a Scanned>,
    conditions: SmallVec<[(LookedUp<'a>, &'a Expect); 1]>,
    deletes: SmallVec<[LookedUp<'a>; 1]>,
}

struct LookedUp<'a> {
    key: &'a [u8],
    hash: u64,
    newest: Location,
}

impl Judging<'_> {
    fn is_empty(&self) -> bool {
        self.conditions.is_empty() && self.deletes.is_empty() && self.scanned.is_none()
    }
}

/// What the checks under the lock found.
pub(super) struct Judged {
    pub(super) refusal: Option<Error>,
    /// The newest version that the answer rests on.
    pub(super) cause: u64,
    /// Whether a key to be deleted exists.
    pub(super) existed: bool,
}

impl Keyspace {
    /// Finds the newest versions that the write is judged by, as far as that can be done without
    /// the sequencer's lock: older levels may have to read the disk.
    pub(super) fn look_up<'a>(
        &self,
        bucket: BucketId,
        draft: &Draft<'a>,
        conditions: impl Iterator<Item = Condition<'a>>,
        scanned: Option<&'a Scanned>,
    ) -> Result<Judging<'a>> {
        let levels = Arc::clone(&self.levels.read());
        let mut judging = Judging {
            levels,
            scanned,
            conditions: SmallVec::new(),
            deletes: SmallVec::new(),
        };
        for (key, expect) in conditions {
            let hash = self.seed.hash(bucket, key);
            let newest = self.newest_in(&judging.levels, hash, bucket, key)?;
            judging
                .conditions
                .push((LookedUp { key, hash, newest }, expect));
        }
        if draft.has_deletes {
            for entry in draft.entries.iter().filter(|entry| entry.is_delete()) {
                let (key, hash) = (entry.key, entry.hash);
                let newest = self.newest_in(&judging.levels, hash, bucket, key)?;
                judging.deletes.push(LookedUp { key, hash, newest });
            }
        }
        Ok(judging)
    }

    /// Checks conditions and what was scanned, and whether what is to be deleted exists. `None` if what was looked up
    /// has been overtaken: a memtable that was written to since is no longer in memory.
    pub(super) fn judge(
        &self,
        bucket: BucketId,
        judging: &Judging<'_>,
        now_ms: u64,
    ) -> Option<Judged> {
        let mut judged = Judged {
            refusal: None,
            cause: 0,
            existed: false,
        };
        if judging.is_empty() {
            return Some(judged);
        }
        let levels = self.levels.read();
        let looked_into = judging.levels.active();
        let is_kept = |memtable: &Arc<Memtable>| Arc::ptr_eq(memtable, looked_into);
        if !levels.memtables.iter().any(is_kept) {
            return None;
        }
        let newest = |looked_up: &LookedUp<'_>| {
            let LookedUp { key, hash, newest } = *looked_up;
            let found = levels.locate_in_memory(hash, bucket, key, u64::MAX);
            if found.location.version > newest.version {
                found.location
            } else {
                newest
            }
        };
        for (looked_up, expect) in &judging.conditions {
            let newest = newest(looked_up);
            let current = if newest.is_live(now_ms) {
                newest.version
            } else {
                0
            };
            if !expect.holds(Version::new(current)) {
                let (key, current) = (looked_up.key, Version::new(current));
                judged.refusal = Some(match judging.scanned {
                    None => Error::version_mismatch(key, current),
                    Some(_) => Error::overtaken(key, current),
                });
                judged.cause = newest.version;
                return Some(judged);
            }
            judged.cause = judged.cause.max(newest.version);
        }
        if let Some(scanned) = judging.scanned {
            if let Some(Overtaken { refusal, cause }) = scanned.judge(now_ms) {
                judged.refusal = Some(refusal);
                judged.cause = cause;
                return Some(judged);
            }
            judged.cause = judged.cause.max(scanned.cause());
        }
        for looked_up in &judging.deletes {
            let newest = newest(looked_up);
            judged.existed |= newest.is_live(now_ms);
            judged.cause = judged.cause.max(newest.version);
        }
        Some(judged)
    }
}
