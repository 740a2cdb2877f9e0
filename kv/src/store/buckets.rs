//! Buckets by name: how a store finds, creates, lists and removes them.
//!
//! Whoever finds, creates or removes one waits until that is durable.

use std::sync::Arc;

use cairn_log::Claim;

use super::{Open, Store};
use crate::bucket::name::BucketName;
use crate::bucket::options::BucketOptions;
use crate::bucket::state::BucketState;
use crate::bucket::{Bucket, BucketInfo};
use crate::catalogue::Named;
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::Keyspace;
use crate::keyspace::buckets::Dropping;
use crate::version::Version;

impl Store {
    /// The bucket of this name, created with default options if there is none.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if the name is not allowed; `DiskFull`, `Poisoned`, `OutcomeUnknown`.
    pub fn bucket(&self, name: &str) -> Result<Bucket> {
        let (state, _) = self.0.open_or_create(name, BucketOptions::default())?;
        Ok(self.handle(state))
    }

    /// The bucket of this name.
    ///
    /// # Errors
    ///
    /// `BucketNotFound`; `InvalidArgument` if the name is not allowed; `Poisoned`.
    pub fn open_bucket(&self, name: &str) -> Result<Bucket> {
        let name = BucketName::new(name)?;
        self.0.existing(&name).map(|state| self.handle(state))
    }

    /// The version at which the bucket of this name was removed last; `None` if there never was one.
    /// For answers about a bucket that there is none of, which is the caller's to have found out.
    ///
    /// Cost: a look into memory.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if the name is not allowed; `Poisoned`, as a write would be answered.
    pub fn removed_at(&self, name: &str) -> Result<Option<Version>> {
        let name = BucketName::new(name)?;
        self.0
            .keyspaces
            .iter()
            .try_for_each(|keyspace| keyspace.check_poison())?;
        Ok(match self.0.catalogue.read().named(name.as_str()) {
            Some(Named::Former { dropped, .. }) => Some(Version::new(*dropped)),
            Some(Named::Live(_)) | None => None,
        })
    }

    /// The bucket of this name, and whether it was created by this call. Of several calls at once,
    /// one creates it.
    ///
    /// # Errors
    ///
    /// `BucketExists` if it exists with other options; `InvalidArgument` if the name is not
    /// allowed; `DiskFull`, `Poisoned`, `OutcomeUnknown`.
    pub fn create_bucket(&self, name: &str, options: BucketOptions) -> Result<(Bucket, bool)> {
        let (state, created) = self.0.open_or_create(name, options)?;
        if state.options != options {
            let message = format!("the bucket {name:?} exists with other options");
            return Err(Error::new(ErrorKind::BucketExists, message));
        }
        Ok((self.handle(state), created))
    }

    /// All buckets, in byte order of their names.
    ///
    /// # Errors
    ///
    /// None but those of the disk.
    pub fn buckets(&self) -> Result<Vec<BucketInfo>> {
        let mut infos = Vec::new();
        for state in self.0.visible_buckets() {
            match self.handle(state).info() {
                Ok(info) => infos.push(info),
                Err(error) if error.kind() == ErrorKind::BucketNotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(infos)
    }

    /// Removes a bucket; with `force`, also if it holds keys or has snapshots, which go with it.
    /// Blocks until that is durable.
    ///
    /// # Errors
    ///
    /// `BucketNotFound`; `BucketNotEmpty`; `DiskFull`, `Poisoned`, `OutcomeUnknown`.
    pub fn remove_bucket(&self, name: &str, force: bool) -> Result<()> {
        let name = BucketName::new(name)?;
        loop {
            let state = self.0.existing(&name)?;
            let keyspace = self.0.keyspace(&state);
            let written = if force {
                None
            } else {
                Some(keyspace.check_empty(&state)?)
            };
            let dropping = {
                let mut catalogue = self.0.catalogue.write();
                if !catalogue.is_live(&state) {
                    continue;
                }
                let dropping = keyspace.try_drop(&state, written)?;
                catalogue.strike(&state);
                dropping
            };
            match dropping {
                Dropping::Sequenced(commit) => {
                    commit.wait()?;
                    return Ok(());
                }
                Dropping::NoRoom(bytes) => {
                    keyspace.log().make_room_claiming(Claim::Delete, bytes)?;
                }
                Dropping::Written => {}
            }
        }
    }

    fn handle(&self, state: Arc<BucketState>) -> Bucket {
        let keyspace = Arc::clone(self.0.keyspace(&state));
        Bucket::new(Arc::clone(&self.0), keyspace, state)
    }
}

impl Open {
    /// The bucket of this name, once its creation is durable.
    pub(super) fn existing(&self, name: &BucketName) -> Result<Arc<BucketState>> {
        let named = self.catalogue.read().named(name.as_str()).cloned();
        let refusal = || Error::bucket_not_found(name.as_str());
        match named {
            Some(Named::Live(state)) => {
                self.keyspace(&state).wait_durable(state.created.version)?;
                Ok(state)
            }
            Some(Named::Former { partition, dropped }) => {
                self.keyspaces[usize::from(partition)].wait_durable(dropped)?;
                Err(refusal())
            }
            None => Err(refusal()),
        }
    }

    fn open_or_create(
        &self,
        name: &str,
        options: BucketOptions,
    ) -> Result<(Arc<BucketState>, bool)> {
        self.open_or_create_in(BucketName::new(name)?, options, None)
    }

    /// The system bucket that holds the snapshots of a partition's buckets, created if there is none.
    pub(crate) fn snapshots_of(&self, partition: u16) -> Result<Arc<BucketState>> {
        // It has no history of its own to lengthen that of the partition.
        let options = BucketOptions {
            history_ms: Some(0),
            ..BucketOptions::default()
        };
        let name = BucketName::snapshots(partition);
        let (system, _) = self.open_or_create_in(name, options, Some(partition))?;
        Ok(system)
    }

    /// The same, if there is one.
    pub(crate) fn known_snapshots_of(&self, partition: u16) -> Result<Option<Arc<BucketState>>> {
        match self.existing(&BucketName::snapshots(partition)) {
            Ok(system) => Ok(Some(system)),
            Err(error) if error.kind() == ErrorKind::BucketNotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The bucket of this name, created in `partition` or wherever it fits.
    pub(super) fn open_or_create_in(
        &self,
        name: BucketName,
        options: BucketOptions,
        partition: Option<u16>,
    ) -> Result<(Arc<BucketState>, bool)> {
        loop {
            match self.existing(&name) {
                Err(error) if error.kind() == ErrorKind::BucketNotFound => {}
                existing => return existing.map(|state| (state, false)),
            }
            let mut catalogue = self.catalogue.write();
            if let Some(Named::Live(_)) = catalogue.named(name.as_str()) {
                continue;
            }
            let partitions = u16::try_from(self.keyspaces.len()).unwrap_or(u16::MAX);
            let partition =
                partition.unwrap_or_else(|| catalogue.partition_for(name.as_str(), partitions));
            let keyspace = &self.keyspaces[usize::from(partition)];
            let id = catalogue.next_id()?;
            let Some((state, commit)) = keyspace.try_create(id, &name, options)? else {
                drop(catalogue);
                keyspace.log().make_room(LONE_RECORD_BYTES_MAX)?;
                continue;
            };
            catalogue.enter(Arc::clone(&state));
            drop(catalogue);
            commit.wait()?;
            return Ok((state, true));
        }
    }

    /// The buckets that readers see, in byte order of their names, without system buckets.
    pub(super) fn visible_buckets(&self) -> Vec<Arc<BucketState>> {
        let watermark = |keyspace: &Arc<Keyspace>| keyspace.watermark();
        let mut buckets = self.buckets_at(watermark, |&watermark| watermark).1;
        buckets.retain(|state| !state.name.is_system());
        buckets
    }

    /// Looks at each partition, and lists the buckets that a reader at those watermarks sees, in
    /// byte order of their names.
    pub(super) fn buckets_at<T>(
        &self,
        look: impl Fn(&Arc<Keyspace>) -> T,
        watermark: impl Fn(&T) -> u64,
    ) -> (Vec<T>, Vec<Arc<BucketState>>) {
        // No drop is sequenced meanwhile, so none can be visible that is not listed yet.
        let catalogue = self.catalogue.read();
        let looks: Vec<T> = self.keyspaces.iter().map(look).collect();
        let mut buckets: Vec<_> = catalogue.live().cloned().collect();
        for (keyspace, look) in self.keyspaces.iter().zip(&looks) {
            buckets.extend(keyspace.dropped_but_visible(watermark(look)));
        }
        buckets.retain(|state| {
            let look = &looks[usize::from(state.partition)];
            state.is_visible(watermark(look))
        });
        buckets.sort_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
        buckets.dedup_by_key(|state| state.id);
        (looks, buckets)
    }
}

/// At least what a batch of one bucket record takes in the log.
const LONE_RECORD_BYTES_MAX: usize = 256;
