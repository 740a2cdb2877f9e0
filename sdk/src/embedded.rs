//! A store in this process, behind the same calls as a remote one. The server answers its requests
//! through this, so there is one place where async meets the store.
//!
//! A write is submitted and its commit awaited: no thread is parked. What may wait for the disk
//! goes through the [`Bridge`].

mod feed;
mod log;
mod unborn;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use cairn_kv::{Attributes, Batch, Entries, PutOptions, Store, Version};
use tokio::sync::Semaphore;

use crate::bridge::{Bridge, Refused};
use crate::client::Entry;
use crate::error::{Error, Result};
use crate::scan::{Cursor, Leases, ScanRequest};
use crate::watch::WatchRequest;
use crate::wire::{
    BucketInfo, BucketOptions, Code, Durability, INLINE_VALUE_BYTES_MAX, IndexStatus, Item,
    PAGE_BYTES_MAX, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, Page, PartitionStatus, Status,
};
use crate::write::{Change, Expect, Receipt, Write};
pub use feed::Feed;

mod large;

pub use large::{Upload, Value};

/// A store in this process. Clones share it.
#[derive(Clone)]
pub struct Embedded {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    bridge: Bridge,
    auto_create_buckets: bool,
    leases: Leases,
    /// Turns of watches to read.
    watch_readers: Arc<Semaphore>,
    opened: Instant,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").finish_non_exhaustive()
    }
}

impl Embedded {
    /// Opens the store in a directory, creating it if there is none, with a pool of its own.
    ///
    /// # Errors
    /// `locked`, `corrupt`, `io`.
    pub async fn open(path: &Path) -> Result<Self> {
        let bridge = Bridge::default();
        let path = path.to_owned();
        let store = bridge
            .run(move || Store::open(path))
            .await
            .map_err(refused)?
            .map_err(error)?;
        Ok(Self::new(store, bridge, true))
    }

    /// A store that is open already. Without `auto_create_buckets` a write to a missing bucket is
    /// refused.
    pub fn new(store: Store, bridge: Bridge, auto_create_buckets: bool) -> Self {
        let opened = Instant::now();
        Self {
            shared: Arc::new(Shared {
                store,
                bridge,
                auto_create_buckets,
                leases: Leases::default(),
                watch_readers: Arc::new(Semaphore::new(feed::READERS_MAX)),
                opened,
            }),
        }
    }

    /// The pool that this store's calls run on.
    pub fn bridge(&self) -> &Bridge {
        &self.shared.bridge
    }

    /// The value of a key. Answered in place if the index in memory can tell; what has to ask the
    /// index on disk runs on the pool.
    ///
    /// # Errors
    /// `bucket_not_found`, `corrupt`, `overloaded`.
    pub async fn get(&self, bucket: &str, key: &[u8]) -> Result<Option<Entry>> {
        let bucket = self.shared.store.open_bucket(bucket).map_err(error)?;
        let found = match bucket.try_get(key).map_err(error)? {
            Some(found) => found,
            None => {
                let key = key.to_vec();
                self.run(move || bucket.get(key)).await?
            }
        };
        Ok(found.map(entry))
    }

    /// The value that a key had at a version; any number up to the newest, and it means the newest
    /// batch at or below it.
    ///
    /// # Errors
    /// `bucket_not_found`; `compacted` if history does not reach back to it, or it is above the
    /// newest.
    pub async fn get_at(&self, bucket: &str, key: &[u8], version: u64) -> Result<Option<Entry>> {
        let bucket = self.shared.store.open_bucket(bucket).map_err(error)?;
        let key = key.to_vec();
        let read = move || bucket.at(Version::new(version))?.get(key);
        Ok(self.run(read).await?.map(entry))
    }

    /// Makes a write happen. Its conditions are decided by the store, against what is newest.
    ///
    /// # Errors
    /// `version_mismatch`, `bucket_not_found`, `overloaded`, `disk_full`, `poisoned`,
    /// `outcome_unknown`, `not_certified`.
    pub async fn write(&self, bucket: &str, write: Write) -> Result<Receipt> {
        write.check()?;
        let asked = write.durability.map(durability).transpose()?;
        let of_one_key = write.of_one_key;
        let bucket = match self.bucket_if_any(bucket)? {
            Some(bucket) => bucket,
            None => {
                let version = self.version_without(bucket)?;
                match unborn::outcome(&write, asked, version)? {
                    Some(receipt) => return Ok(receipt),
                    None => self.bucket_made(bucket).await?,
                }
            }
        };
        let durability = match asked {
            Some(durability) => durability,
            None => bucket.info().map_err(error)?.options.durability,
        };
        let outcome = match bucket.try_submit(batch(write)?, durability) {
            Ok(Ok(commit)) => commit.await,
            // It would wait for the disk, which no thread of the executor does.
            Ok(Err(batch)) => {
                let submit = move || bucket.submit(batch, durability);
                match self.shared.bridge.run(submit).await.map_err(refused)? {
                    Ok(commit) => commit.await,
                    Err(refusal) => Err(refusal),
                }
            }
            Err(refusal) => Err(refusal),
        };
        let receipt = outcome.map_err(|cause| {
            let failed = error(cause);
            // One key is known to the caller; of a batch the failing one has to be told.
            if of_one_key {
                failed.without_key()
            } else {
                failed
            }
        })?;
        Ok(Receipt {
            version: receipt.version.get(),
            durability: reached(receipt.durability),
            existed: receipt.existed,
        })
    }

    /// One page of a scan. All pages of it read what the first one saw: a page that has a next one
    /// leases its snapshot for a minute after its last use.
    ///
    /// # Errors
    /// `bucket_not_found`, `invalid_argument` for a cursor that is none of this scan's,
    /// `compacted` for one that is no longer covered.
    pub async fn scan(&self, bucket: &str, request: &ScanRequest) -> Result<Page> {
        let limit = match request.limit.unwrap_or(PAGE_ITEMS_DEFAULT) {
            0 => {
                return Err(Error::new(
                    Code::InvalidArgument,
                    "limit is 0, it starts at 1",
                ));
            }
            limit => limit.min(PAGE_ITEMS_MAX),
        };
        let bucket = self.shared.store.open_bucket(bucket).map_err(error)?;
        let cursor = Cursor::of(request, bucket.info().map_err(error)?.id)?;
        let leases = self.shared.leases.clone();
        let page = move || page(&bucket, cursor, limit, &leases);
        self.shared.bridge.run(page).await.map_err(refused)?
    }

    /// Follows the batches of a bucket. What is written after this call has returned is seen.
    ///
    /// # Errors
    /// `bucket_not_found`; `compacted` if something after `from` is no longer there, or `from` is
    /// above the newest version.
    pub async fn watch(&self, bucket: &str, request: WatchRequest) -> Result<Feed> {
        let (store, bucket) = (self.shared.store.clone(), bucket.to_owned());
        let begin = move || {
            let from = request.from.map(Version::new);
            store.open_bucket(&bucket)?.watch(from, request.prefix)
        };
        let watch = self.run(begin).await?;
        let readers = Arc::clone(&self.shared.watch_readers);
        Ok(Feed::new(self.shared.bridge.clone(), readers, watch))
    }

    /// Every bucket, by name.
    ///
    /// # Errors
    /// `overloaded`, `io`.
    pub async fn buckets(&self) -> Result<Vec<BucketInfo>> {
        let store = self.shared.store.clone();
        let list = self.run(move || store.buckets()).await?;
        Ok(list.into_iter().map(bucket_info).collect())
    }

    /// What a bucket reports about itself.
    ///
    /// # Errors
    /// `bucket_not_found`.
    pub async fn bucket_info(&self, bucket: &str) -> Result<BucketInfo> {
        let bucket = self.shared.store.open_bucket(bucket).map_err(error)?;
        bucket.info().map(bucket_info).map_err(error)
    }

    /// Creates a bucket; false when it was there with the same options.
    ///
    /// # Errors
    /// `bucket_exists` when it is there with other options.
    pub async fn create_bucket(&self, name: &str, options: BucketOptions) -> Result<bool> {
        let options = cairn_kv::BucketOptions {
            history_ms: options.history_ms,
            history_bytes: options.history_bytes,
            durability: durability(options.durability.unwrap_or_default())?,
        };
        let (store, name) = (self.shared.store.clone(), name.to_owned());
        let (_, created) = self
            .run(move || store.create_bucket(&name, options))
            .await?;
        Ok(created)
    }

    /// Removes a bucket, with its keys if `force` says so.
    ///
    /// # Errors
    /// `bucket_not_found`, `bucket_not_empty`.
    pub async fn remove_bucket(&self, name: &str, force: bool) -> Result<()> {
        let (store, name) = (self.shared.store.clone(), name.to_owned());
        self.run(move || store.remove_bucket(&name, force)).await
    }

    /// What the store says about itself.
    ///
    /// # Errors
    /// None yet.
    pub async fn status(&self) -> Result<Status> {
        let status = self.shared.store.status();
        let partitions: Vec<_> = status.partitions.into_iter().map(partition).collect();
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            log_id: status.log_id.to_string(),
            uptime_ms: u64::try_from(self.shared.opened.elapsed().as_millis()).unwrap_or(u64::MAX),
            clock_is_suspect: status.clock_is_suspect,
            writable: partitions.iter().all(|partition| !partition.poisoned),
            partitions,
            committee: None,
        })
    }

    /// Closes the store cleanly.
    ///
    /// # Errors
    /// Where the last sync fails.
    pub async fn close(&self) -> Result<()> {
        self.shared.leases.forget_all();
        let store = self.shared.store.clone();
        self.run(move || store.close()).await
    }

    /// The bucket of this name; `None` if there is none and a write may create it.
    fn bucket_if_any(&self, name: &str) -> Result<Option<cairn_kv::Bucket>> {
        match self.shared.store.open_bucket(name) {
            Ok(bucket) => Ok(Some(bucket)),
            Err(missing)
                if missing.kind() == cairn_kv::ErrorKind::BucketNotFound
                    && self.shared.auto_create_buckets =>
            {
                Ok(None)
            }
            Err(other) => Err(error(other)),
        }
    }

    /// The version that a bucket which there is none of is said to have.
    ///
    /// # Errors
    /// `poisoned`: who is closed to writes answers none.
    fn version_without(&self, bucket: &str) -> Result<u64> {
        let removed = self.shared.store.removed_at(bucket).map_err(error)?;
        Ok(removed.map_or(unborn::VERSION, cairn_kv::Version::get))
    }

    /// The bucket of this name, created if there still is none.
    async fn bucket_made(&self, name: &str) -> Result<cairn_kv::Bucket> {
        let (store, name) = (self.shared.store.clone(), name.to_owned());
        self.run(move || store.bucket(&name)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> cairn_kv::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.shared
            .bridge
            .run(call)
            .await
            .map_err(refused)?
            .map_err(error)
    }
}

fn batch(write: Write) -> Result<Batch> {
    let mut batch = Batch::new();
    for (key, expect) in write.conditions {
        batch = batch.require(key, expected(expect));
    }
    for change in write.changes {
        batch = match change {
            Change::Put {
                key,
                value,
                ttl_ms,
                content_type,
            } => batch.put_with(key, value, put_options(ttl_ms, content_type)?),
            Change::Delete { key } => batch.delete(key),
        };
    }
    Ok(batch)
}

fn expected(expect: Expect) -> cairn_kv::Expect {
    let versions = |list: Vec<u64>| list.into_iter().map(Version::new).collect();
    match expect {
        Expect::Exists => cairn_kv::Expect::Exists,
        Expect::Absent => cairn_kv::Expect::Absent,
        Expect::OneOf(list) => cairn_kv::Expect::OneOf(versions(list)),
        Expect::NoneOf(list) => cairn_kv::Expect::NoneOf(versions(list)),
    }
}

fn put_options(ttl_ms: Option<u64>, content_type: Option<String>) -> Result<PutOptions> {
    let mut attributes = Attributes::new();
    if let Some(text) = content_type {
        attributes
            .set(Attributes::CONTENT_TYPE, text)
            .map_err(error)?;
    }
    Ok(PutOptions { ttl_ms, attributes })
}

fn page(
    bucket: &cairn_kv::Bucket,
    mut cursor: Cursor,
    limit: usize,
    leases: &Leases,
) -> Result<Page> {
    let mut entries = snapshot(bucket, &cursor, leases)?;
    let version = entries.version().get();
    let mut items = Vec::new();
    let mut bytes = 0;
    while items.len() < limit && bytes < PAGE_BYTES_MAX {
        let Some((key, entry)) = entries.next().transpose().map_err(error)? else {
            return Ok(Page {
                items,
                cursor: None,
                version,
            });
        };
        let inline = !cursor.keys_only && entry.size <= INLINE_VALUE_BYTES_MAX as u64;
        let value = inline.then_some(entry.value);
        bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
        items.push(Item::new(key, entry.version.get(), entry.size, value));
    }
    // Full; whether anything is left decides whether there is a next page.
    if entries.next().is_none() {
        return Ok(Page {
            items,
            cursor: None,
            version,
        });
    }
    cursor.version = version;
    cursor.last = items.last().map(|item| item.key_b64.0.clone());
    leases.keep(cursor.bucket_id, entries);
    Ok(Page {
        items,
        cursor: Some(cursor.encode()),
        version,
    })
}

/// What is left of a scan, at the version that its first page saw.
fn snapshot(bucket: &cairn_kv::Bucket, cursor: &Cursor, leases: &Leases) -> Result<Entries> {
    let (start, end) = cursor.remaining();
    let scan = cairn_kv::Scan {
        prefix: cursor.prefix.as_deref().unwrap_or_default().to_vec(),
        start: start.map(Vec::from),
        end: end.map(Vec::from),
        reverse: cursor.reverse,
        keys_only: cursor.keys_only,
        ..Default::default()
    };
    let past = |version| bucket.at(Version::new(version)).map_err(error);
    if cursor.last.is_none() {
        return match cursor.version {
            0 => bucket.scan(scan).map_err(error),
            version => Ok(past(version)?.scan(&scan)),
        };
    }
    if let Some(entries) = leases.resume(cursor.bucket_id, cursor.version, &scan) {
        return Ok(entries);
    }
    // The lease is gone, as after a restart: history may still cover it.
    Ok(past(cursor.version)?.scan(&scan))
}

fn content_type(entry: &cairn_kv::Entry) -> Option<String> {
    let text = entry.attributes.get_str(Attributes::CONTENT_TYPE);
    text.map(str::to_owned)
}

fn entry(entry: cairn_kv::Entry) -> Entry {
    Entry {
        version: entry.version.get(),
        content_type: content_type(&entry),
        value: entry.value,
    }
}

fn bucket_info(info: cairn_kv::BucketInfo) -> BucketInfo {
    BucketInfo {
        name: info.name,
        partition: info.partition,
        keys: info.keys,
        bytes: info.bytes,
        created_ms: info.created_ms,
        history_ms: info.options.history_ms,
        history_bytes: info.options.history_bytes,
        durability: Some(reached(info.options.durability)),
    }
}

fn partition(status: cairn_kv::PartitionStatus) -> PartitionStatus {
    PartitionStatus {
        partition: status.partition,
        start: status.start,
        end: status.end,
        durable: status.durable,
        segments: status.segments as u64,
        bytes: status.bytes,
        poisoned: status.poisoned,
        keys_in_memory: status.keys_in_memory as u64,
        batches: status.batches,
        writes: status.writes,
        syncs: status.syncs,
        visible: status.visible,
        prepared_bytes: status.prepared_bytes,
        free_bytes: status.free_bytes,
        index: index(status.index),
    }
}

fn index(status: cairn_kv::IndexStatus) -> IndexStatus {
    IndexStatus {
        memtables: status.memtables as u64,
        memtable_bytes: status.memtable_bytes,
        runs: status.runs as u64,
        run_records: status.run_records,
        merged_entries: status.merged_entries,
        live_bytes: status.live_bytes,
        dead_bytes: status.dead_bytes,
        merges: status.merges,
        rebuilds: status.rebuilds,
        segments_dropped: status.segments_dropped,
        moved_bytes: status.moved_bytes,
        keys_expired: status.keys_expired,
        watches: status.watches as u64,
        watch_lag_bytes: status.watch_lag_bytes,
    }
}

fn durability(asked: Durability) -> Result<cairn_kv::Durability> {
    match asked {
        Durability::Buffered => Ok(cairn_kv::Durability::Buffered),
        Durability::Local => Ok(cairn_kv::Durability::Local),
        Durability::Certified => Err(Error::new(
            Code::NotCertified,
            "no committee certifies writes here",
        )),
    }
}

fn reached(durability: cairn_kv::Durability) -> Durability {
    match durability {
        cairn_kv::Durability::Buffered => Durability::Buffered,
        _ => Durability::Local,
    }
}

/// The one table from the store's kinds of error to the codes of the API.
pub(crate) fn error(cause: cairn_kv::Error) -> Error {
    use cairn_kv::ErrorKind as Kind;
    let code = match cause.kind() {
        Kind::InvalidArgument => Code::InvalidArgument,
        Kind::KeyTooLarge => Code::KeyTooLarge,
        Kind::ValueTooLarge => Code::ValueTooLarge,
        Kind::BatchTooLarge => Code::BatchTooLarge,
        Kind::BucketNotFound => Code::BucketNotFound,
        Kind::BucketExists => Code::BucketExists,
        Kind::BucketNotEmpty => Code::BucketNotEmpty,
        Kind::VersionMismatch => Code::VersionMismatch,
        Kind::Compacted => Code::Compacted,
        Kind::Corrupt => Code::Corrupt,
        Kind::OutcomeUnknown => Code::OutcomeUnknown,
        Kind::Poisoned => Code::Poisoned,
        Kind::Overloaded => Code::Overloaded,
        Kind::DiskFull => Code::DiskFull,
        Kind::ReadOnly => Code::ReadOnly,
        Kind::Locked => Code::Locked,
        Kind::Io => Code::Io,
        _ => Code::Internal,
    };
    let error = Error::new(code, cause.message());
    match cause.conflict() {
        Some(conflict) => error
            .with_version(conflict.version.get())
            .with_key(conflict.key.clone()),
        None => error,
    }
}

fn refused(refused: Refused) -> Error {
    match refused {
        Refused::Full => Error::new(Code::Overloaded, "too many reads wait for the disk"),
        Refused::Stopped => Error::new(Code::ShuttingDown, "the store is shutting down"),
        Refused::Panicked => Error::new(Code::Internal, "a call of the store panicked"),
    }
}

#[cfg(test)]
mod tests;
