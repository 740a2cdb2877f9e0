//! The API itself: a [`Cairn`] is a store in this process or behind HTTP, a [`Bucket`] is a place
//! in it. Handles are cheap to clone and safe to share.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

#[cfg(feature = "embedded")]
use crate::embedded::Embedded;
use crate::error::Result;
#[cfg(feature = "remote")]
use crate::remote::{ConnectOptions, Remote};
use crate::scan::{Scan, ScanRequest};
use crate::watch::{self, Watch, WatchRequest, WatchStream};
use crate::wire::{BucketInfo, BucketOptions, Deleted, Durability, Page, Status};
use crate::write::{Change, Expect, Receipt, Write, check_key};

/// Runs the same call on whichever store this is.
macro_rules! on {
    ($backend:expr, $store:ident => $call:expr) => {
        match $backend {
            #[cfg(feature = "embedded")]
            Backend::Embedded($store) => $call,
            #[cfg(feature = "remote")]
            Backend::Remote($store) => $call,
        }
    };
}

/// A store, in this process or behind HTTP.
#[derive(Clone, Debug)]
pub struct Cairn {
    backend: Arc<Backend>,
}

impl Cairn {
    /// Opens a store in this process, creating it if there is none.
    ///
    /// # Errors
    /// `locked` when another process holds the directory, `corrupt` when it is damaged, `io`.
    #[cfg(feature = "embedded")]
    pub async fn open(path: impl AsRef<std::path::Path>) -> Result<Self> {
        Ok(Self::embedded(Embedded::open(path.as_ref()).await?))
    }

    /// A store that is open already.
    #[cfg(feature = "embedded")]
    pub fn embedded(store: Embedded) -> Self {
        Self {
            backend: Arc::new(Backend::Embedded(store)),
        }
    }

    /// Connects to a server and asks whether it is one.
    ///
    /// # Errors
    /// `invalid_argument` for a URL that is none, `unreachable` where nobody answers.
    #[cfg(feature = "remote")]
    pub async fn connect(url: &str) -> Result<Self> {
        Self::connect_with(url, ConnectOptions::default()).await
    }

    /// Connects with a token, timeouts or a retry policy of one's own.
    ///
    /// # Errors
    /// Those of [`Cairn::connect`].
    #[cfg(feature = "remote")]
    pub async fn connect_with(url: &str, options: ConnectOptions) -> Result<Self> {
        let remote = Remote::new(url, options)?;
        remote.probe().await?;
        Ok(Self {
            backend: Arc::new(Backend::Remote(remote)),
        })
    }

    /// A handle to a bucket. Nothing is asked of the store until the handle is used.
    pub fn bucket(&self, name: impl Into<String>) -> Bucket {
        Bucket {
            backend: Arc::clone(&self.backend),
            name: name.into().into(),
        }
    }

    /// The buckets that this caller may read, by name.
    ///
    /// # Errors
    /// Those of any read.
    pub async fn buckets(&self) -> Result<Vec<BucketInfo>> {
        on!(&*self.backend, store => store.buckets().await)
    }

    /// Creates a bucket; false when it was there with the same options.
    ///
    /// # Errors
    /// `bucket_exists` when it is there with other options; those of any write.
    pub async fn create_bucket(&self, name: &str, options: BucketOptions) -> Result<bool> {
        check_writable(name)?;
        on!(&*self.backend, store => store.create_bucket(name, options).await)
    }

    /// Removes a bucket; `force` removes its keys with it.
    ///
    /// # Errors
    /// `bucket_not_empty` without `force`, `bucket_not_found`; those of any write.
    pub async fn remove_bucket(&self, name: &str, force: bool) -> Result<()> {
        check_writable(name)?;
        on!(&*self.backend, store => store.remove_bucket(name, force).await)
    }

    /// What the store says about itself.
    ///
    /// # Errors
    /// Those of any read.
    pub async fn status(&self) -> Result<Status> {
        on!(&*self.backend, store => store.status().await)
    }

    /// Closes an embedded store cleanly; a remote one is left as it is.
    ///
    /// # Errors
    /// Where the last sync fails.
    pub async fn close(&self) -> Result<()> {
        on!(&*self.backend, store => store.close().await)
    }
}

/// A bucket of a store.
#[derive(Clone, Debug)]
pub struct Bucket {
    backend: Arc<Backend>,
    name: Arc<str>,
}

impl Bucket {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the bucket reports about itself.
    ///
    /// # Errors
    /// `bucket_not_found`; those of any read.
    pub async fn info(&self) -> Result<BucketInfo> {
        check_readable(&self.name)?;
        on!(&*self.backend, store => store.bucket_info(&self.name).await)
    }

    /// The value of a key; `None` when the key is absent.
    ///
    /// # Errors
    /// `bucket_not_found`; `value_too_large` over 8 MiB, for which there is
    /// [`Bucket::get_stream`]; those of any read.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Entry>> {
        let key = key.as_ref();
        check_readable(&self.name)?;
        check_key(key)?;
        on!(&*self.backend, store => store.get(&self.name, key).await)
    }

    /// The value that a key had at a version; any number up to the newest, and it means the newest
    /// batch at or below it.
    ///
    /// # Errors
    /// `bucket_not_found`; `compacted` if history does not reach back to it, or it is above the
    /// newest; those of any read.
    pub async fn get_at(&self, key: impl AsRef<[u8]>, version: u64) -> Result<Option<Entry>> {
        let key = key.as_ref();
        check_readable(&self.name)?;
        check_key(key)?;
        on!(&*self.backend, store => store.get_at(&self.name, key, version).await)
    }

    /// Writes a key, once the returned builder is awaited.
    pub fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Put {
        Put {
            bucket: self.clone(),
            key: key.into(),
            value: value.into(),
            ttl_ms: None,
            content_type: None,
            terms: Terms::default(),
        }
    }

    /// Deletes a key, once the returned builder is awaited.
    pub fn delete(&self, key: impl Into<Bytes>) -> Delete {
        Delete {
            bucket: self.clone(),
            key: key.into(),
            terms: Terms::default(),
        }
    }

    /// Starts a batch: several changes that happen together or not at all.
    pub fn batch(&self) -> Batch {
        Batch {
            bucket: self.clone(),
            write: Write::default(),
        }
    }

    /// Starts a scan.
    pub fn scan(&self) -> Scan {
        Scan::new(self.clone())
    }

    /// Follows the bucket: its batches as they become durable, once the returned builder is
    /// awaited.
    ///
    /// ```no_run
    /// # async fn follow(bucket: cairn_sdk::Bucket, kept: u64) -> cairn_sdk::Result<()> {
    /// let mut watch = bucket.watch().prefix("orders/").from(kept).await?;
    /// while let Some(batch) = watch.next().await {
    ///     let batch = batch?;
    ///     for event in &batch.events {
    ///         println!("{} {:?}", event.key.escape_ascii(), event.change);
    ///     }
    ///     // Keep `batch.version`: a watch from there misses and repeats nothing.
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch(&self) -> Watch {
        Watch::new(self.clone())
    }

    pub(crate) async fn begin_watch(&self, request: WatchRequest) -> Result<WatchStream> {
        check_readable(&self.name)?;
        let source = match &*self.backend {
            #[cfg(feature = "embedded")]
            Backend::Embedded(store) => {
                watch::Source::Embedded(store.watch(&self.name, request).await?)
            }
            #[cfg(feature = "remote")]
            Backend::Remote(store) => {
                watch::Source::Remote(Box::new(store.watch(&self.name, request).await?))
            }
        };
        Ok(WatchStream::new(source))
    }

    pub(crate) async fn scan_page(&self, request: &ScanRequest) -> Result<Page> {
        check_readable(&self.name)?;
        on!(&*self.backend, store => store.scan(&self.name, request).await)
    }

    async fn write(&self, write: Write) -> Result<Receipt> {
        check_writable(&self.name)?;
        write.check()?;
        on!(&*self.backend, store => store.write(&self.name, write).await)
    }
}

/// A key's value, as a read returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The version that wrote it.
    pub version: u64,
    /// The value.
    pub value: Bytes,
    /// The media type that was kept with it.
    pub content_type: Option<String>,
}

/// A put that happens when it is awaited.
#[derive(Clone, Debug)]
#[must_use = "a put does nothing until it is awaited"]
pub struct Put {
    bucket: Bucket,
    key: Bytes,
    value: Bytes,
    ttl_ms: Option<u64>,
    content_type: Option<String>,
    terms: Terms,
}

impl Put {
    /// Lets the key expire. A put without it clears an earlier deadline.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl_ms = Some(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Keeps a media type with the value.
    pub fn content_type(mut self, media_type: impl Into<String>) -> Self {
        self.content_type = Some(media_type.into());
        self
    }
}

/// A delete that happens when it is awaited.
#[derive(Clone, Debug)]
#[must_use = "a delete does nothing until it is awaited"]
pub struct Delete {
    bucket: Bucket,
    key: Bytes,
    terms: Terms,
}

macro_rules! terms {
    ($builder:ty) => {
        impl $builder {
            /// Only if the key has this version; 0 means: only if it is absent.
            pub fn if_version(mut self, version: u64) -> Self {
                self.terms.expect.push(match version {
                    0 => Expect::Absent,
                    version => Expect::OneOf(vec![version]),
                });
                self
            }

            /// Only if the key is absent.
            pub fn if_absent(mut self) -> Self {
                self.terms.expect.push(Expect::Absent);
                self
            }

            /// Only if the key exists.
            pub fn if_exists(mut self) -> Self {
                self.terms.expect.push(Expect::Exists);
                self
            }

            /// What the reply must vouch for.
            pub fn durability(mut self, durability: Durability) -> Self {
                self.terms.durability = Some(durability);
                self
            }
        }
    };
}
terms!(Put);
terms!(Delete);

mod log;
mod name;
mod stream;
pub use log::LogRequest;
pub use name::{check_bucket_name, check_readable, check_writable, snapshot_of};
pub use stream::{GetStream, PutStream, ValueStream};
pub(crate) use stream::{Source, bounds, unreadable};

impl IntoFuture for Put {
    type Output = Result<u64>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let change = Change::Put {
                key: self.key.clone(),
                value: self.value,
                ttl_ms: self.ttl_ms,
                content_type: self.content_type,
            };
            let receipt = self
                .bucket
                .write(self.terms.write(self.key, change))
                .await?;
            Ok(receipt.version)
        })
    }
}

impl IntoFuture for Delete {
    type Output = Result<Deleted>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let change = Change::Delete {
                key: self.key.clone(),
            };
            let receipt = self
                .bucket
                .write(self.terms.write(self.key, change))
                .await?;
            Ok(Deleted {
                version: receipt.version,
                existed: receipt.existed,
            })
        })
    }
}

/// Several changes that happen together or not at all.
#[derive(Clone, Debug)]
#[must_use = "a batch does nothing until it is committed"]
pub struct Batch {
    bucket: Bucket,
    write: Write,
}

impl Batch {
    /// Adds a put.
    pub fn put(self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.change(Change::Put {
            key: key.into(),
            value: value.into(),
            ttl_ms: None,
            content_type: None,
        })
    }

    /// Adds a delete.
    pub fn delete(self, key: impl Into<Bytes>) -> Self {
        self.change(Change::Delete { key: key.into() })
    }

    /// Adds any change.
    pub fn change(mut self, change: Change) -> Self {
        self.write.changes.push(change);
        self
    }

    /// Adds a condition: the key has this version; 0 means: it is absent.
    pub fn if_version(mut self, key: impl Into<Bytes>, version: u64) -> Self {
        let expect = match version {
            0 => Expect::Absent,
            version => Expect::OneOf(vec![version]),
        };
        self.write.conditions.push((key.into(), expect));
        self
    }

    /// What the reply must vouch for.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.write.durability = Some(durability);
        self
    }

    /// Commits the batch and returns its version.
    ///
    /// # Errors
    /// `version_mismatch` with the failing key, `batch_too_large`; those of any write.
    pub async fn commit(self) -> Result<u64> {
        Ok(self.bucket.write(self.write).await?.version)
    }
}

/// The conditions and the durability of one put or delete.
#[derive(Clone, Debug, Default)]
struct Terms {
    expect: Vec<Expect>,
    durability: Option<Durability>,
}

impl Terms {
    fn write(self, key: Bytes, change: Change) -> Write {
        Write {
            changes: vec![change],
            conditions: self
                .expect
                .into_iter()
                .map(|expect| (key.clone(), expect))
                .collect(),
            durability: self.durability,
            of_one_key: true,
        }
    }
}

/// Where a store is.
#[derive(Debug)]
enum Backend {
    #[cfg(feature = "embedded")]
    Embedded(Embedded),
    #[cfg(feature = "remote")]
    Remote(Remote),
}
