//! Watches: the batches of a bucket as they become durable, resumed by themselves.
//!
//! A batch is yielded whole or not at all, so the version of the last one yielded is where another
//! stream resumes: law 6 holds across connections, and across processes that keep the version. A
//! stream over HTTP that breaks is taken up again after a growing wait, for as long as it takes;
//! half a batch that had arrived is thrown away, and comes again.
//!
//! What no new connection can mend ends the stream with an error: `compacted`, a bucket that is
//! gone, a token that may not read it, a store that has failed.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;

use crate::client::Bucket;
#[cfg(feature = "embedded")]
use crate::embedded::Feed;
use crate::error::Result;
#[cfg(feature = "remote")]
use crate::remote::Following;
use crate::wire::{EVENT_DELETE, EVENT_PUT, EventData};

/// What a watch asks for, as both stores take it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchRequest {
    /// Only keys that begin with this.
    pub prefix: Bytes,
    /// Only what comes after this version; `None` is after now.
    pub from: Option<u64>,
}

/// One batch, as far as a watch shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchBatch {
    /// The version of the batch: where another watch resumes after it.
    pub version: u64,
    /// Its events, at least one, in the order of its operations.
    pub events: Vec<WatchEvent>,
}

/// What happened to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchEvent {
    /// The key.
    pub key: Bytes,
    /// What became of it.
    pub change: WatchChange,
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchChange {
    /// It was set.
    Put {
        /// Bytes of the value.
        size: u64,
        /// The value, unless it is above
        /// [`INLINE_VALUE_BYTES_MAX`](crate::wire::INLINE_VALUE_BYTES_MAX): then it has to be read,
        /// and may have changed since.
        value: Option<Bytes>,
    },
    /// It was removed.
    Delete {
        /// A deadline that passed did it, not a caller.
        expired: bool,
    },
}

/// A watch of a bucket, to be narrowed and then begun by awaiting it.
#[derive(Clone, Debug)]
#[must_use = "a watch sees nothing until it is awaited"]
pub struct Watch {
    bucket: Bucket,
    request: WatchRequest,
}

impl Watch {
    pub(crate) fn new(bucket: Bucket) -> Self {
        Self {
            bucket,
            request: WatchRequest::default(),
        }
    }

    /// Only keys that begin with `prefix`.
    pub fn prefix(mut self, prefix: impl Into<Bytes>) -> Self {
        self.request.prefix = prefix.into();
        self
    }

    /// Only what comes after `version`: that of the last batch seen, or of a scan. Without it, what
    /// comes after the watch has begun.
    pub fn from(mut self, version: u64) -> Self {
        self.request.from = Some(version);
        self
    }
}

/// Begins the watch. `compacted` if something after `from` is no longer there; `bucket_not_found`;
/// those of any read.
impl IntoFuture for Watch {
    type Output = Result<WatchStream>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.bucket.begin_watch(self.request).await })
    }
}

/// The batches of a watch, one after the other. It ends only with an error.
#[must_use = "a stream yields nothing until it is polled"]
pub struct WatchStream {
    source: Source,
    ready: VecDeque<WatchBatch>,
    version: u64,
    has_ended: bool,
}

pub(crate) enum Source {
    #[cfg(feature = "embedded")]
    Embedded(Feed),
    #[cfg(feature = "remote")]
    Remote(Box<Following>),
}

impl WatchStream {
    pub(crate) fn new(source: Source) -> Self {
        let version = source.version();
        Self {
            source,
            ready: VecDeque::new(),
            version,
            has_ended: false,
        }
    }

    /// The next batch; `None` after an error has been yielded.
    ///
    /// The future may be dropped and another one asked for: nothing is lost.
    pub async fn next(&mut self) -> Option<Result<WatchBatch>> {
        poll_fn(|context| self.poll_batch(context)).await
    }

    /// Where another watch resumes: everything up to this version was yielded, or was none of this
    /// watch's. It moves on while the bucket is quiet.
    pub fn version(&self) -> u64 {
        self.version
    }

    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<WatchBatch>>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                self.version = batch.version;
                return Poll::Ready(Some(Ok(batch)));
            }
            if self.has_ended {
                return Poll::Ready(None);
            }
            let polled = self.source.poll_batches(context);
            // Only with nothing left to yield is that where the stream stands.
            if polled.is_pending() {
                self.version = self.source.version();
            }
            match ready!(polled) {
                Ok(batches) => self.ready.extend(batches),
                Err(error) => {
                    self.has_ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

impl Stream for WatchStream {
    type Item = Result<WatchBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_batch(context)
    }
}

impl fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchStream")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Source {
    fn version(&self) -> u64 {
        match self {
            #[cfg(feature = "embedded")]
            Source::Embedded(feed) => feed.version(),
            #[cfg(feature = "remote")]
            Source::Remote(following) => following.version(),
        }
    }

    fn poll_batches(&mut self, context: &mut Context<'_>) -> Poll<Result<Vec<WatchBatch>>> {
        match self {
            #[cfg(feature = "embedded")]
            Source::Embedded(feed) => feed.poll_batches(context),
            #[cfg(feature = "remote")]
            Source::Remote(following) => following.poll_batches(context),
        }
    }
}

impl WatchEvent {
    /// The event as it travels: its `event:` and its data. `more` events of its batch follow.
    pub fn wire(&self, version: u64, more: bool) -> (&'static str, EventData) {
        let mut data = EventData::new(self.key.clone(), version, more);
        match &self.change {
            WatchChange::Put { size, value } => {
                data.size = Some(*size);
                data.value_b64 = value.clone().map(crate::wire::Base64);
                (EVENT_PUT, data)
            }
            WatchChange::Delete { expired } => {
                data.expired = *expired;
                (EVENT_DELETE, data)
            }
        }
    }
}
