//! A bucket: its handle, and what can be done with its keys.
//!
//! write: handle -> `keyspace::sequence` -> log; read: handle -> `keyspace::read` -> log.

pub(crate) mod name;
pub(crate) mod options;
mod snapshots;
pub(crate) mod state;

use std::fmt;
use std::iter;
use std::sync::Arc;

use crate::batch::{self, Batch, EffectRef, OperationRef, PutOptions};
use crate::commit::{Commit, Receipt};
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::index::members::Counts;
use crate::keyspace::{Condition, Keyspace};
use crate::large::{Upload, ValueReader};
use crate::limits::MULTI_GET_KEYS_MAX;
use crate::scan::{Entries, Scan};
use crate::store::Open;
use crate::transaction::Transaction;
use crate::version::{Durability, Version};
use crate::view::View;
use crate::watch::Watch;
use options::BucketOptions;
use state::BucketState;

/// A named set of keys in a store. Cheap to clone, and usable from any number of threads.
///
/// A handle keeps its store open. Once the bucket is removed, every call answers `BucketNotFound`,
/// also if another bucket of the same name is created.
///
/// # Errors
///
/// Any call: `BucketNotFound`, `Corrupt`, `Io`. Any write: `DiskFull`, `Poisoned`,
/// `OutcomeUnknown`. Other kinds are named at the call.
#[derive(Clone)]
pub struct Bucket {
    keyspace: Arc<Keyspace>,
    state: Arc<BucketState>,
    /// Keeps the store open.
    store: Arc<Open>,
}

/// What a bucket is and holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BucketInfo {
    /// Its name.
    pub name: String,
    /// Its id, never given to another bucket of the store.
    pub id: u32,
    /// The partition it lives in.
    pub partition: u16,
    /// Number of keys, counting writes under way, and expired keys until their tombstone is
    /// logged. Exact while the index is in memory; otherwise it may be off by about a hundredth
    /// of the keys written since the index was last merged.
    pub keys: u64,
    /// Bytes of those keys and their values; an estimate where keys written since the last merge
    /// replace others.
    pub bytes: u64,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: u64,
    /// What was chosen when it was created.
    pub options: BucketOptions,
}

/// What a delete came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The version of the delete; if the key did not exist, the current version of the bucket.
    pub version: Version,
    /// Whether the key existed.
    pub existed: bool,
}

impl Bucket {
    pub(crate) fn new(
        store: Arc<Open>,
        keyspace: Arc<Keyspace>,
        state: Arc<BucketState>,
    ) -> Bucket {
        Bucket {
            keyspace,
            state,
            store,
        }
    }

    /// The bucket's name.
    pub fn name(&self) -> &str {
        self.state.name.as_str()
    }

    /// What the bucket is and holds.
    ///
    /// Cost: none to speak of, but a look at every key if the log has failed, since then only
    /// what is durable counts.
    ///
    /// # Errors
    ///
    /// `BucketNotFound`.
    pub fn info(&self) -> Result<BucketInfo> {
        self.keyspace
            .check_bucket(&self.state, self.keyspace.watermark())?;
        let counts = if self.keyspace.log().is_poisoned() {
            self.count_durable()?
        } else {
            self.keyspace.counts(&self.state)
        };
        Ok(info(&self.state, counts))
    }

    /// The current version of the bucket: that of the newest batch of its partition that readers
    /// see. At least that of its creation.
    pub fn version(&self) -> Version {
        self.keyspace.head()
    }

    /// Sets a key, as durably as the bucket's options say. Blocks until that is so.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, `KeyTooLarge`, `ValueTooLarge`.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Version> {
        self.put_with(key, value, &PutOptions::default())
    }

    /// Sets a key with a time to live or attributes.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, `KeyTooLarge`, `ValueTooLarge`.
    pub fn put_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        options: &PutOptions,
    ) -> Result<Version> {
        let commit = self.submit_put(key.as_ref(), value.as_ref(), options, self.durability())?;
        commit.wait().map(|receipt| receipt.version)
    }

    /// Sets a key without waiting for it.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, `KeyTooLarge`, `ValueTooLarge`.
    pub fn submit_put(
        &self,
        key: &[u8],
        value: &[u8],
        options: &PutOptions,
        durability: Durability,
    ) -> Result<Commit> {
        batch::check_put(key, value.len(), options)?;
        self.submit_one(key, EffectRef::Put { value, options }, durability)
    }

    /// Removes a key, as durably as the bucket's options say. An absent key is no error: then
    /// nothing is written, and the call returns once the absence is durable.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, `KeyTooLarge`.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<Deleted> {
        let receipt = self
            .submit_delete(key.as_ref(), self.durability())?
            .wait()?;
        Ok(Deleted {
            version: receipt.version,
            existed: receipt.existed,
        })
    }

    /// Removes a key without waiting for it.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, `KeyTooLarge`.
    pub fn submit_delete(&self, key: &[u8], durability: Durability) -> Result<Commit> {
        batch::check_key(key)?;
        self.submit_one(key, EffectRef::Delete, durability)
    }

    /// Writes a batch: all of it, or none. Blocks until it is acknowledged or refused.
    ///
    /// # Errors
    ///
    /// `VersionMismatch` if a condition does not hold; what [`Batch`] says of its parts.
    pub fn write(&self, batch: Batch, durability: Durability) -> Result<Receipt> {
        self.submit(batch, durability)?.wait()
    }

    /// Gives a batch its place among all writes, without waiting until it is acknowledged.
    ///
    /// # Errors
    ///
    /// What [`Batch`] says of its parts. A condition that does not hold is told here if what it
    /// rests on is durable already or `durability` is `Buffered`, and by the commit otherwise.
    pub fn submit(&self, batch: Batch, durability: Durability) -> Result<Commit> {
        batch.check()?;
        self.keyspace.submit(
            &self.state,
            batch.operations(),
            batch.conditions(),
            durability,
        )
    }

    /// [`Bucket::submit`], unless that would wait for the disk or for work that is behind: then the
    /// batch comes back as `Err`, and nothing was done. For callers that must not block.
    ///
    /// # Errors
    ///
    /// Those of [`Bucket::submit`].
    pub fn try_submit(
        &self,
        batch: Batch,
        durability: Durability,
    ) -> Result<std::result::Result<Commit, Batch>> {
        batch.check()?;
        let submitted = self.keyspace.try_submit(
            &self.state,
            batch.operations(),
            batch.conditions(),
            durability,
        )?;
        Ok(submitted.ok_or(batch))
    }

    /// [`Bucket::get`], answered from memory and the log's map alone; `None` if the index on disk
    /// has to be asked. For callers that must not block.
    ///
    /// # Errors
    ///
    /// Those of [`Bucket::get`].
    pub fn try_get(&self, key: impl AsRef<[u8]>) -> Result<Option<Option<Entry>>> {
        let key = key.as_ref();
        batch::check_key(key)?;
        let found = self.keyspace.try_get(&self.state, key)?;
        // The pieces of a value have to be looked up.
        Ok(found.filter(|entry| entry.as_ref().is_none_or(Entry::has_value)))
    }

    /// [`Bucket::open`], answered from memory and the log's map alone; `None` if the index on disk
    /// has to be asked. For callers that must not block.
    ///
    /// # Errors
    ///
    /// Those of [`Bucket::open`].
    pub fn try_open(&self, key: impl AsRef<[u8]>) -> Result<Option<Option<ValueReader>>> {
        let found = self.try_get(key)?;
        Ok(found.map(|entry| entry.map(ValueReader::whole)))
    }

    /// Begins to set a key to a value that comes in parts and may be of any size up to
    /// [`VALUE_BYTES_MAX`](crate::limits::VALUE_BYTES_MAX).
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, `KeyTooLarge`.
    pub fn upload(&self, key: impl AsRef<[u8]>, options: PutOptions) -> Result<Upload> {
        let (store, keyspace) = (Arc::clone(&self.store), Arc::clone(&self.keyspace));
        Upload::new(
            store,
            keyspace,
            Arc::clone(&self.state),
            key.as_ref(),
            options,
        )
    }

    /// The state of a key, or `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, `KeyTooLarge`; `ValueTooLarge` if the value is over
    /// [`VALUE_RECORD_BYTES_MAX`](crate::limits::VALUE_RECORD_BYTES_MAX): then
    /// [`Bucket::open`] reads it.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Entry>> {
        let key = key.as_ref();
        batch::check_key(key)?;
        match self.keyspace.get(&self.state, key)? {
            Some(entry) if !entry.has_value() => {
                let reader = self.open(key)?;
                reader.map(ValueReader::into_entry).transpose()
            }
            entry => Ok(entry),
        }
    }

    /// The state of a key, to read its value in parts; `None` if the key does not exist. Of a
    /// small value it costs what [`Bucket::get`] does.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, `KeyTooLarge`.
    pub fn open(&self, key: impl AsRef<[u8]>) -> Result<Option<ValueReader>> {
        let key = key.as_ref();
        batch::check_key(key)?;
        ValueReader::newest(&self.store, &self.keyspace, &self.state, key)
    }

    /// The states of several keys, all at one version, in the order asked for. Values in pieces are
    /// left out: [`Entry::has_value`] says so.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, `KeyTooLarge`; `BatchTooLarge` beyond
    /// [`MULTI_GET_KEYS_MAX`] keys.
    pub fn multi_get<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Entry>>> {
        if keys.len() > MULTI_GET_KEYS_MAX {
            let message = format!(
                "{} keys at once; the most is {MULTI_GET_KEYS_MAX}",
                keys.len()
            );
            return Err(Error::new(ErrorKind::BatchTooLarge, message));
        }
        keys.iter()
            .try_for_each(|key| batch::check_key(key.as_ref()))?;
        let (pin, _) = self.keyspace.pin();
        self.keyspace.check_bucket(&self.state, pin.watermark)?;
        let get = |key: &K| self.keyspace.get_at(&self.state, key.as_ref(), &pin);
        keys.iter().map(get).collect()
    }

    /// The bucket as it is now, for several reads of the same moment.
    ///
    /// # Errors
    ///
    /// `BucketNotFound`.
    pub fn view(&self) -> Result<View> {
        View::begin(&self.store, &self.keyspace, &self.state)
    }

    /// Begins a transaction: reads of one moment, and writes that happen together, and only if
    /// what was read is still so when they do. See [`Transaction`].
    ///
    /// # Errors
    ///
    /// `BucketNotFound`.
    pub fn transaction(&self) -> Result<Transaction> {
        Transaction::begin(&self.store, &self.keyspace, &self.state)
    }

    /// Runs `body` in a transaction and commits it; begins again, up to
    /// [`TRANSACTION_ATTEMPTS_MAX`](crate::limits::TRANSACTION_ATTEMPTS_MAX) times in all, if
    /// another write came between. Returns what `body` returned for the transaction that was
    /// committed.
    ///
    /// ```
    /// # use cairn_kv::{Durability, Store};
    /// let accounts = Store::memory().bucket("accounts")?;
    /// accounts.put("ann", "10")?;
    /// let (left, _) = accounts.transact(Durability::Local, |transaction| {
    ///     let ann = transaction.get("ann")?.map_or(0, |entry| entry.value[0] - b'0');
    ///     transaction.put("ann", (ann - 1).to_string())?;
    ///     Ok(ann - 1)
    /// })?;
    /// assert_eq!(left, 0);
    /// # Ok::<(), cairn_kv::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `body`, and of [`Transaction::commit`]; `VersionMismatch` or `Overloaded` only
    /// from the last attempt.
    pub fn transact<T>(
        &self,
        durability: Durability,
        body: impl FnMut(&mut Transaction) -> Result<T>,
    ) -> Result<(T, Receipt)> {
        Transaction::run(&self.store, &self.keyspace, &self.state, durability, body)
    }

    /// The bucket as it was at `version`, whose batch is included: any version above 0 up to the
    /// newest, and it means the newest batch at or below it. Deadlines are judged by the time of
    /// that batch.
    ///
    /// Cost: reads of the past ask the runs of all segments, a few nanoseconds each.
    ///
    /// # Errors
    ///
    /// `Compacted` if history no longer reaches back to `version` and it is no snapshot's, or it is
    /// above the newest;
    /// `BucketNotFound` if there was no such bucket then, or it has been removed since.
    pub fn at(&self, version: Version) -> Result<View> {
        View::past(&self.store, &self.keyspace, &self.state, version)
    }

    /// Begins a scan of the bucket as it is now. Values in pieces are left out:
    /// [`Entry::has_value`] says so.
    ///
    /// Cost: keys that are new since the last scan are sorted first.
    ///
    /// # Errors
    ///
    /// `BucketNotFound`.
    pub fn scan(&self, scan: Scan) -> Result<Entries> {
        Entries::begin(&self.keyspace, &self.state, &scan)
    }

    /// Follows the batches that write a key beginning with `prefix`, in order: every one after
    /// version `from`, or after now, once it is durable. A watch resumed from the version of any
    /// batch that it yielded, or from [`Watch::version`], misses nothing and repeats nothing; so
    /// does one that begins at the version of a scan.
    ///
    /// Cost: a short lock. What was written and not yet yielded is kept on the disk for it, as
    /// far as [`Options::watch_lag_bytes`](crate::Options::watch_lag_bytes) goes.
    ///
    /// # Errors
    ///
    /// `Compacted` if something that followed `from` is no longer there, or `from` is above the
    /// newest version; `BucketNotFound`.
    pub fn watch(&self, from: Option<Version>, prefix: impl AsRef<[u8]>) -> Result<Watch> {
        let prefix = prefix.as_ref();
        Watch::begin(&self.store, &self.keyspace, &self.state, from, prefix)
    }

    #[cfg(test)]
    pub(crate) fn keyspace(&self) -> &Arc<Keyspace> {
        &self.keyspace
    }

    fn durability(&self) -> Durability {
        self.state.options.durability
    }

    fn submit_one(
        &self,
        key: &[u8],
        effect: EffectRef<'_>,
        durability: Durability,
    ) -> Result<Commit> {
        let operation = OperationRef { key, effect };
        let no_conditions = iter::empty::<Condition<'_>>();
        self.keyspace.submit(
            &self.state,
            iter::once(operation),
            no_conditions,
            durability,
        )
    }

    fn count_durable(&self) -> Result<Counts> {
        let keys_only = Scan {
            keys_only: true,
            ..Scan::default()
        };
        let mut entries = self.scan(keys_only)?.including_expired();
        let mut counts = Counts::default();
        while let Some((key, location)) = entries.next_location()? {
            counts += Counts::of(key.len(), &location);
        }
        Ok(counts)
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Bucket({:?})", self.state.name)
    }
}

fn info(state: &BucketState, counts: Counts) -> BucketInfo {
    BucketInfo {
        name: state.name.as_str().to_owned(),
        id: state.id.0,
        partition: state.partition,
        keys: u64::try_from(counts.keys).unwrap_or(0),
        bytes: u64::try_from(counts.bytes).unwrap_or(0),
        created_ms: state.created.time_ms,
        options: state.options,
    }
}
