//! How snapshots come and go, and what of the past they keep readable. See [`crate::snapshot`].

use std::sync::Arc;

use cairn_log::{BatchBuffer, Claim, Durability as LogDurability};

use super::sequence::Draft;
use super::{Keyspace, Sequencer};
use crate::batch::{EffectRef, OperationRef, PutOptions};
use crate::bucket::name::BucketName;
use crate::bucket::state::BucketState;
use crate::error::{Error, ErrorKind, Result};
use crate::index::levels::LevelError;
use crate::index::versions::{Kind, Location};
use crate::record::{Body, BucketId, Origin, Record};
use crate::scan::{Entries, Scan};
use crate::snapshot::{self, SnapshotInfo, SnapshotName};
use crate::version::{Durability, Version};

impl Keyspace {
    /// Learns the snapshots that are there, at open, before anything is written or collected.
    ///
    /// # Errors
    ///
    /// `Corrupt` if a record of the system bucket is no snapshot's.
    pub(crate) fn load_snapshots(self: &Arc<Self>) -> Result<()> {
        let live = self.live_buckets();
        let name = BucketName::snapshots(self.log.id().0);
        let Some(system) = live.iter().find(|bucket| bucket.name == name) else {
            return Ok(());
        };
        self.snapshots.lock().hold_in(system);
        for found in Entries::begin(self, system, &Scan::default())? {
            let (key, entry) = found?;
            let (bucket, name, time_ms) = snapshot::decode(&key, &entry.value)?;
            // With a bucket its snapshots go, in one batch.
            if live.iter().any(|live| live.id == bucket) {
                let version = entry.version.get();
                self.snapshots.lock().enter(bucket, name, version, time_ms);
            }
        }
        Ok(())
    }

    /// Takes a snapshot of a bucket, and returns once it is durable.
    ///
    /// # Errors
    ///
    /// `SnapshotExists`, `BucketNotFound`; `InvalidArgument` if there are too many.
    pub(crate) fn take_snapshot(
        &self,
        system: &Arc<BucketState>,
        bucket: &Arc<BucketState>,
        name: &SnapshotName,
    ) -> Result<SnapshotInfo> {
        let key = snapshot::key(bucket.id, name);
        let options = PutOptions::default();
        self.seal_if_full(Claim::Write)?;
        loop {
            let mut sequencer = self.sequencer.lock();
            self.check_poison()?;
            if let Some(refused) = self.refusal_of(bucket, name) {
                drop(sequencer);
                return Err(self.once_durable(refused));
            }
            self.snapshots.lock().check_room(bucket.id)?;
            let time_ms = self.clock.now_ms();
            let value = snapshot::encode_time(time_ms);
            let effect = EffectRef::Put {
                value: &value,
                options: &options,
            };
            let operation = std::iter::once(OperationRef { key: &key, effect });
            let draft = Draft::encode(system.id, operation, &self.clock, self.seed);
            let durability = LogDurability::Local;
            let appended =
                self.log
                    .try_append_claiming(Claim::Write, &draft.buffer, time_ms, durability)?;
            let Some(appended) = appended else {
                drop(sequencer);
                self.make_room(Claim::Write, draft.buffer.byte_len())?;
                continue;
            };
            let version = appended.offset.get();
            {
                // Before anything newer can make dead what it holds.
                let mut snapshots = self.snapshots.lock();
                snapshots.hold_in(system);
                snapshots.enter(bucket.id, name.clone(), version, time_ms);
            }
            self.apply(&mut sequencer, system, &draft, &appended, time_ms);
            drop(sequencer);
            draft.recycle();
            appended.commit.wait()?;
            return Ok(SnapshotInfo {
                name: name.as_str().to_owned(),
                version: Version::new(version),
                created_ms: time_ms,
            });
        }
    }

    /// Removes a snapshot, and returns once that is durable.
    ///
    /// # Errors
    ///
    /// `SnapshotNotFound`, `BucketNotFound`.
    pub(crate) fn remove_snapshot(
        &self,
        bucket: &Arc<BucketState>,
        name: &SnapshotName,
    ) -> Result<()> {
        let key = snapshot::key(bucket.id, name);
        self.seal_if_full(Claim::Delete)?;
        loop {
            let mut sequencer = self.sequencer.lock();
            self.check_poison()?;
            let system = {
                let snapshots = self.snapshots.lock();
                let is_there = snapshots.version(bucket.id, name).is_some();
                snapshots.system().filter(|_| is_there).cloned()
            };
            let Some(system) = system else {
                drop(sequencer);
                return Err(self.once_durable(self.missing(bucket, name)));
            };
            let effect = EffectRef::Delete;
            let operation = std::iter::once(OperationRef { key: &key, effect });
            let draft = Draft::encode(system.id, operation, &self.clock, self.seed);
            let (time_ms, durability) = (self.clock.now_ms(), LogDurability::Local);
            let appended =
                self.log
                    .try_append_claiming(Claim::Delete, &draft.buffer, time_ms, durability)?;
            let Some(appended) = appended else {
                drop(sequencer);
                self.make_room(Claim::Delete, draft.buffer.byte_len())?;
                continue;
            };
            self.apply(&mut sequencer, &system, &draft, &appended, time_ms);
            self.snapshots.lock().strike(bucket.id, name);
            drop(sequencer);
            draft.recycle();
            appended.commit.wait()?;
            self.signal.raise();
            return Ok(());
        }
    }

    /// The snapshots of a bucket that readers see, in byte order of their names.
    pub(crate) fn list_snapshots(
        self: &Arc<Self>,
        system: &Arc<BucketState>,
        bucket: &BucketState,
    ) -> Result<Vec<SnapshotInfo>> {
        let scan = Scan::prefix(snapshot::prefix(bucket.id));
        let entries = Entries::begin(self, system, &scan)?;
        entries
            .map(|found| {
                let (key, entry) = found?;
                let (_, name, created_ms) = snapshot::decode(&key, &entry.value)?;
                Ok(SnapshotInfo {
                    name: name.as_str().to_owned(),
                    version: entry.version,
                    created_ms,
                })
            })
            .collect()
    }

    /// The version of a snapshot that readers see.
    ///
    /// # Errors
    ///
    /// `SnapshotNotFound`.
    pub(crate) fn snapshot_version(
        &self,
        system: Option<&Arc<BucketState>>,
        bucket: &BucketState,
        name: &SnapshotName,
    ) -> Result<Version> {
        let key = snapshot::key(bucket.id, name);
        let found = match system {
            Some(system) => self.get(system, &key)?,
            None => None,
        };
        match found {
            Some(entry) => Ok(entry.version),
            None => Err(self.missing(bucket, name)),
        }
    }

    /// The refusal that there is no snapshot of this name.
    pub(crate) fn missing(&self, bucket: &BucketState, name: &SnapshotName) -> Error {
        let message = format!("the bucket {:?} has no snapshot {name:?}", bucket.name);
        Error::new(ErrorKind::SnapshotNotFound, message)
    }

    /// The newest version of a key at or below `version`, superseded ones included. Makes no damaged
    /// index file anew, but runs of what is merged.
    pub(crate) fn newest_at(&self, bucket: BucketId, key: &[u8], version: u64) -> Result<Location> {
        let levels = Arc::clone(&self.levels.read());
        let archive = self.archive(&levels)?;
        let hash = self.seed.hash(bucket, key);
        let (log, watermark) = (&self.log, version.saturating_add(1));
        match levels.locate_ever(&archive, log, hash, bucket, key, watermark) {
            Ok(found) => Ok(found),
            Err(LevelError::Log(error)) => Err(error.into()),
            Err(error) => Err(Error::new(ErrorKind::Io, error.to_string())),
        }
    }

    /// The batch that drops a bucket and removes its snapshots, and the keys of these with their
    /// places. The caller holds the sequencer's lock.
    pub(super) fn drop_batch(&self, bucket: BucketId) -> (BatchBuffer, Removed) {
        let snapshots = self.snapshots.lock();
        let mut batch = BatchBuffer::new();
        // First, as who looks for the time of a record that is no key's expects.
        let place = batch.next_place();
        let dropped = Record {
            origin: Origin::Here { place },
            bucket,
            body: Body::BucketDropped,
        };
        batch.record(|bytes| dropped.encode(bytes));
        let mut removed = Removed {
            system: snapshots.system().cloned(),
            keys: Vec::new(),
        };
        let Some(system) = &removed.system else {
            return (batch, removed);
        };
        for name in snapshots.names(bucket) {
            let place = batch.next_place();
            let key = snapshot::key(bucket, &name);
            let record = Record {
                origin: Origin::Here { place },
                bucket: system.id,
                body: Body::Delete {
                    key: &key,
                    expired: false,
                },
            };
            batch.record(|bytes| record.encode(bytes));
            removed.keys.push((name, key, u64::from(place)));
        }
        (batch, removed)
    }

    /// Enters what [`Keyspace::drop_batch`] made, once it has its place.
    pub(super) fn enter_removed(
        &self,
        sequencer: &mut Sequencer,
        bucket: BucketId,
        removed: &Removed,
        version: u64,
    ) {
        let Some(system) = removed.system.as_ref().filter(|_| !removed.keys.is_empty()) else {
            return;
        };
        let members = sequencer.members(system.id);
        for (name, key, place) in &removed.keys {
            let tombstone = Location {
                version,
                record: version + place,
                kind: Kind::Tombstone,
                ..Location::NONE
            };
            let hash = self.seed.hash(system.id, key);
            let memtable = &sequencer.memtable;
            let entered = memtable.enter(&members, system.id, hash, key, tombstone);
            assert!(entered, "the log hands out offsets in order");
            self.hot.outbid(hash, 0);
            self.snapshots.lock().strike(bucket, name);
        }
        system.written_at(version);
    }

    /// Why a snapshot of this name cannot be taken. The caller holds the sequencer's lock.
    fn refusal_of(&self, bucket: &BucketState, name: &SnapshotName) -> Option<Error> {
        if bucket.dropped().is_some() {
            return Some(Error::bucket_not_found(bucket.name.as_str()));
        }
        self.snapshots.lock().version(bucket.id, name)?;
        let message = format!(
            "the bucket {:?} has a snapshot {name:?} already; remove it or choose another name",
            bucket.name
        );
        Some(Error::new(ErrorKind::SnapshotExists, message))
    }

    /// A refusal, once what it may rest on is durable; `Poisoned` if that is lost.
    pub(crate) fn once_durable(&self, refusal: Error) -> Error {
        let cause = self.newest_sequenced();
        match self.refuse(refusal, cause, Durability::Local) {
            Ok(commit) => commit.wait().err().unwrap_or_else(|| {
                // A commit of a refusal ends in an error.
                Error::new(ErrorKind::Io, "a refusal was taken for an answer")
            }),
            Err(refusal) => refusal,
        }
    }
}

/// The snapshots that go with their bucket: names, keys and places in the batch.
pub(super) struct Removed {
    system: Option<Arc<BucketState>>,
    keys: Vec<(SnapshotName, Vec<u8>, u64)>,
}

impl Removed {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
