//! A view: reads of one bucket that all show the same moment.
//!
//! A view holds what it shows in memory and in the log until it is dropped; it is not durable and
//! has no name. A deadline that passes while the view is held ends its key in the view, too.

use std::sync::Arc;

use crate::batch;
use crate::bucket::state::BucketState;
use crate::entry::Entry;
use crate::error::{Error, Result};
use crate::keyspace::{Keyspace, Pin};
use crate::large::ValueReader;
use crate::scan::{Entries, Scan};
use crate::store::Open;
use crate::version::Version;

/// One moment of a bucket. Holding it keeps what it shows from being freed.
pub struct View {
    store: Arc<Open>,
    keyspace: Arc<Keyspace>,
    bucket: Arc<BucketState>,
    pin: Pin,
    version: Version,
}

impl View {
    pub(crate) fn begin(
        store: &Arc<Open>,
        keyspace: &Arc<Keyspace>,
        bucket: &Arc<BucketState>,
    ) -> Result<View> {
        let (pin, version) = keyspace.pin();
        keyspace.check_bucket(bucket, pin.watermark)?;
        let (keyspace, bucket) = (Arc::clone(keyspace), Arc::clone(bucket));
        Ok(View {
            store: Arc::clone(store),
            keyspace,
            bucket,
            pin,
            version,
        })
    }

    pub(crate) fn past(
        store: &Arc<Open>,
        keyspace: &Arc<Keyspace>,
        bucket: &Arc<BucketState>,
        version: Version,
    ) -> Result<View> {
        let asked = version;
        let (pin, version) = keyspace.pin_past(bucket.id, asked)?;
        if bucket.created.version >= pin.watermark {
            return Err(Error::no_bucket_yet(bucket.name.as_str(), asked));
        }
        keyspace.check_bucket(bucket, pin.watermark)?;
        // After the levels: what is collected of a bucket that is removed later is still in them.
        keyspace.check_bucket(bucket, keyspace.watermark())?;
        let (keyspace, bucket) = (Arc::clone(keyspace), Arc::clone(bucket));
        Ok(View {
            store: Arc::clone(store),
            keyspace,
            bucket,
            pin,
            version,
        })
    }

    /// The version of the bucket's partition that the view shows.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What the view holds on to.
    pub(crate) fn pin(&self) -> &Pin {
        &self.pin
    }

    /// The state of a key at the view's moment, or `None` if it did not exist.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, `KeyTooLarge`, `Corrupt`, `Io`; `ValueTooLarge` as of
    /// [`crate::Bucket::get`]; `Compacted` as of [`View::open`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Entry>> {
        let key = key.as_ref();
        batch::check_key(key)?;
        match self.keyspace.get_at(&self.bucket, key, &self.pin)? {
            Some(entry) if !entry.has_value() => {
                let reader = self.open(key)?;
                reader.map(ValueReader::into_entry).transpose()
            }
            entry => Ok(entry),
        }
    }

    /// The state of a key at the view's moment, to read its value in parts. A view keeps no value
    /// in pieces: once the key is overwritten, a part may turn out to be `Compacted`, unless it is
    /// in a [snapshot](crate::Bucket::snapshot).
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, `KeyTooLarge`, `Corrupt`, `Io`.
    pub fn open(&self, key: impl AsRef<[u8]>) -> Result<Option<ValueReader>> {
        let key = key.as_ref();
        batch::check_key(key)?;
        ValueReader::pinned(&self.store, &self.keyspace, &self.bucket, key, &self.pin)
    }

    /// Begins a scan of the bucket at the view's moment. See [`crate::Bucket::scan`] for its cost.
    pub fn scan(&self, scan: &Scan) -> Entries {
        Entries::at(&self.keyspace, &self.bucket, scan, &self.pin, self.version)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Scan, Store};

    #[test]
    fn a_view_does_not_see_what_is_written_after_it() {
        let store = Store::memory();
        let bucket = store.bucket("b").unwrap();
        bucket.put("kept", "old").unwrap();
        bucket.put("gone", "old").unwrap();
        let view = bucket.view().unwrap();
        bucket.put("kept", "new").unwrap();
        bucket.put("kept", "newer").unwrap();
        bucket.delete("gone").unwrap();
        bucket.put("later", "new").unwrap();
        for key in ["kept", "gone"] {
            assert_eq!(view.get(key).unwrap().unwrap().value, "old", "{key}");
        }
        assert_eq!(view.get("later").unwrap(), None);
        let keys: Vec<_> = view
            .scan(&Scan::default())
            .map(|row| row.unwrap().0)
            .collect();
        assert_eq!(keys, ["gone", "kept"]);
        assert!(bucket.version() > view.version());
    }
}
