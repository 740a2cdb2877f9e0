//! Named snapshots of a bucket. See [`crate::snapshot`].

use super::Bucket;
use crate::error::{ErrorKind, Result};
use crate::snapshot::{SnapshotInfo, SnapshotName};
use crate::view::View;

impl Bucket {
    /// Takes a snapshot of the bucket as it is now, under a name of 1 to 20 bytes of `a-z`, `0-9`
    /// and `-`. Blocks until it is durable, and with it everything it shows, `Buffered` writes too.
    ///
    /// What it shows can be read until it is removed, however often keys are overwritten: large
    /// values too, and whatever the bucket's history is. Deadlines are judged by the time at which
    /// it was taken.
    ///
    /// Cost: that of a put. What it shows and the bucket no longer has takes space until the
    /// snapshot is removed.
    ///
    /// ```
    /// let bucket = cairn_kv::Store::memory().bucket("b")?;
    /// bucket.put("key", "old")?;
    /// let taken = bucket.snapshot("before")?;
    /// bucket.put("key", "new")?;
    /// let view = bucket.snapshot_view("before")?;
    /// assert_eq!(view.get("key")?.expect("it was there").value, "old");
    /// assert_eq!(bucket.snapshots()?, [taken]);
    /// bucket.remove_snapshot("before")?;
    /// # Ok::<(), cairn_kv::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `SnapshotExists`; `InvalidArgument` if the name is not allowed, or the bucket has
    /// [`SNAPSHOTS_OF_BUCKET_MAX`](crate::limits::SNAPSHOTS_OF_BUCKET_MAX) snapshots or its
    /// partition [`SNAPSHOTS_OF_PARTITION_MAX`](crate::limits::SNAPSHOTS_OF_PARTITION_MAX).
    pub fn snapshot(&self, name: &str) -> Result<SnapshotInfo> {
        let name = SnapshotName::new(name)?;
        self.check_there()?;
        let system = self.store.snapshots_of(self.state.partition)?;
        self.keyspace.take_snapshot(&system, &self.state, &name)
    }

    /// The snapshots of the bucket, in byte order of their names.
    ///
    /// Cost: a read of each.
    ///
    /// # Errors
    ///
    /// None but those of any call.
    pub fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        self.check_there()?;
        match self.store.known_snapshots_of(self.state.partition)? {
            Some(system) => self.keyspace.list_snapshots(&system, &self.state),
            None => Ok(Vec::new()),
        }
    }

    /// The bucket as a snapshot shows it. [`Bucket::at`] its version is the same.
    ///
    /// Cost: that of [`Bucket::at`]. The view goes on although the snapshot is removed, but then a
    /// large value that nobody has open may turn out to be `Compacted`.
    ///
    /// # Errors
    ///
    /// `SnapshotNotFound`; `InvalidArgument` if no snapshot can bear the name.
    pub fn snapshot_view(&self, name: &str) -> Result<View> {
        let name = SnapshotName::new(name)?;
        self.check_there()?;
        let system = self.store.known_snapshots_of(self.state.partition)?;
        let version = self
            .keyspace
            .snapshot_version(system.as_ref(), &self.state, &name)?;
        match View::past(&self.store, &self.keyspace, &self.state, version) {
            // It was there: somebody has removed it since.
            Err(error) if error.kind() == ErrorKind::Compacted => {
                let missing = self.keyspace.missing(&self.state, &name);
                Err(self.keyspace.once_durable(missing))
            }
            view => view,
        }
    }

    /// Removes a snapshot, and blocks until that is durable. Its name is free then, and what only it
    /// kept is garbage.
    ///
    /// # Errors
    ///
    /// `SnapshotNotFound`; `InvalidArgument` if no snapshot can bear the name.
    pub fn remove_snapshot(&self, name: &str) -> Result<()> {
        let name = SnapshotName::new(name)?;
        self.check_there()?;
        self.keyspace.remove_snapshot(&self.state, &name)
    }

    fn check_there(&self) -> Result<()> {
        let watermark = self.keyspace.watermark();
        self.keyspace.check_bucket(&self.state, watermark)
    }
}
