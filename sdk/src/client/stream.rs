//! Values of any size: sent as they come, read part by part.

use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use tokio::io::{AsyncRead, ReadBuf};

use super::{Backend, Bucket, Terms, check_readable, check_writable};
use crate::error::{Error, Result};
use crate::wire::{Code, Durability};
use crate::write::{Expect, UploadTerms, check_key};

impl Bucket {
    /// Writes a key with what a reader gives until its end, of any size up to 5 TiB, once the
    /// returned builder is awaited. A few MiB of it are held at a time.
    pub fn put_reader(
        &self,
        key: impl Into<Bytes>,
        reader: impl AsyncRead + Send + 'static,
    ) -> PutStream {
        PutStream::new(self, key.into(), Source::of_reader(reader))
    }

    /// Writes a key with what a stream gives until its end, as [`Bucket::put_reader`] does. An
    /// error of the stream is `io`, and leaves the key as it was.
    pub fn put_stream(
        &self,
        key: impl Into<Bytes>,
        stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> PutStream {
        PutStream::new(self, key.into(), Source::of_stream(stream))
    }

    /// Reads a key part by part, once the returned builder is awaited: `None` when the key is
    /// absent. What is read is one version, although the key is written meanwhile.
    ///
    /// ```no_run
    /// # async fn show(bucket: cairn_sdk::Bucket) -> cairn_sdk::Result<()> {
    /// if let Some(mut film) = bucket.get_stream("film").range(1_000..).await? {
    ///     while let Some(part) = film.next().await? {
    ///         println!("{} of {} bytes", part.len(), film.size());
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_stream(&self, key: impl Into<Bytes>) -> GetStream {
        GetStream {
            bucket: self.clone(),
            key: key.into(),
            range: (0, None),
        }
    }
}

/// A put of a stream that happens when it is awaited.
///
/// It is never repeated: a connection that breaks while it is sent is `outcome_unknown`.
#[derive(Debug)]
#[must_use = "a put does nothing until it is awaited"]
pub struct PutStream {
    bucket: Bucket,
    key: Bytes,
    source: Source,
    size: Option<u64>,
    ttl_ms: Option<u64>,
    content_type: Option<String>,
    terms: Terms,
}

impl PutStream {
    fn new(bucket: &Bucket, key: Bytes, source: Source) -> Self {
        Self {
            bucket: bucket.clone(),
            key,
            source,
            size: None,
            ttl_ms: None,
            content_type: None,
            terms: Terms::default(),
        }
    }

    /// Tells beforehand how many bytes come; if it are others, nothing is written.
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }

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
terms!(PutStream);

impl IntoFuture for PutStream {
    type Output = Result<u64>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (bucket, key) = (self.bucket, self.key);
            check_writable(&bucket.name)?;
            check_key(&key)?;
            let terms = UploadTerms {
                ttl_ms: self.ttl_ms,
                content_type: self.content_type,
                expects: self.terms.expect,
                durability: self.terms.durability,
            };
            let source = match self.size {
                Some(size) => self.source.announced(size),
                None => self.source,
            };
            let receipt = on!(&*bucket.backend, store => {
                store.put_stream(&bucket.name, key, source, terms).await?
            });
            Ok(receipt.version)
        })
    }
}

/// A read of a value that happens when it is awaited.
#[derive(Clone, Debug)]
#[must_use = "a read does nothing until it is awaited"]
pub struct GetStream {
    bucket: Bucket,
    key: Bytes,
    /// The first byte, and the one behind the last.
    range: (u64, Option<u64>),
}

impl GetStream {
    /// Only these bytes of the value; what lies behind its end is left out.
    pub fn range(mut self, range: impl RangeBounds<u64>) -> Self {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => Some(last.saturating_add(1)),
            Bound::Excluded(&end) => Some(end),
            Bound::Unbounded => None,
        };
        self.range = (start, end);
        self
    }
}

impl IntoFuture for GetStream {
    type Output = Result<Option<ValueStream>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// # Errors
    /// `range_not_satisfiable` for a range that begins behind the end; those of any read.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            check_readable(&self.bucket.name)?;
            check_key(&self.key)?;
            if self.range.1.is_some_and(|end| end <= self.range.0) {
                let detail = "a range holds at least one byte";
                return Err(Error::new(Code::InvalidArgument, detail));
            }
            let (name, key) = (&self.bucket.name, &self.key);
            on!(&*self.bucket.backend, store => store.get_stream(name, key, self.range).await)
        })
    }
}

/// The bytes of a value of this size that a range asks for.
pub(crate) fn bounds((start, end): (u64, Option<u64>), size: u64) -> Result<Range<u64>> {
    if start > 0 && start >= size {
        let detail = format!("the range begins at {start}, the value has {size} bytes");
        return Err(Error::new(Code::RangeNotSatisfiable, detail));
    }
    Ok(start..end.unwrap_or(size).min(size))
}

/// A value, or a range of it, that is being read. Also a [`Stream`] of its parts.
pub struct ValueStream {
    version: u64,
    size: u64,
    content_type: Option<String>,
    range: Range<u64>,
    parts: Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>,
}

impl ValueStream {
    pub(crate) fn new(
        version: u64,
        size: u64,
        content_type: Option<String>,
        range: Range<u64>,
        parts: impl Stream<Item = Result<Bytes>> + Send + 'static,
    ) -> Self {
        Self {
            version,
            size,
            content_type,
            range,
            parts: Box::pin(parts),
        }
    }

    /// The version that wrote the value.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Bytes of the whole value.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The media type that was kept with it.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// Which bytes of the value are read.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// `compacted` if the version is no longer kept; those of any read. Nothing follows an error.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        poll_fn(|cx| self.parts.as_mut().poll_next(cx))
            .await
            .transpose()
    }
}

impl Stream for ValueStream {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.parts.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for ValueStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueStream")
            .field("version", &self.version)
            .field("size", &self.size)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

/// Where the bytes of a put come from.
pub(crate) struct Source {
    /// Locked by nobody: it makes the source `Sync`, as a request's body must be.
    parts: Mutex<Parts>,
    size: Option<u64>,
    taken: u64,
}

type Parts = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

impl Source {
    fn of_stream(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self {
            parts: Mutex::new(Box::pin(stream)),
            size: None,
            taken: 0,
        }
    }

    fn of_reader(reader: impl AsyncRead + Send + 'static) -> Self {
        Self::of_stream(Reading {
            reader: Box::pin(reader),
            buffer: BytesMut::new(),
        })
    }

    fn announced(mut self, size: u64) -> Self {
        self.size = Some(size);
        self
    }

    /// How many bytes come in all, if that was told.
    pub(crate) fn size(&self) -> Option<u64> {
        self.size
    }

    /// The next bytes. An end elsewhere than where it was announced is an error.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let parts = self
            .parts
            .get_mut()
            .unwrap_or_else(|error| error.into_inner());
        let next = ready!(parts.as_mut().poll_next(cx));
        if let Some(Ok(bytes)) = &next {
            self.taken += bytes.len() as u64;
        }
        let Some(size) = self.size else {
            return Poll::Ready(next);
        };
        let wrong = match &next {
            Some(Ok(_)) => self.taken > size,
            Some(Err(_)) => false,
            None => self.taken != size,
        };
        if wrong {
            let detail = format!("{} bytes came, {size} were announced", self.taken);
            return Poll::Ready(Some(Err(io::Error::other(detail))));
        }
        Poll::Ready(next)
    }

    #[cfg(feature = "embedded")]
    pub(crate) async fn next(&mut self) -> Option<io::Result<Bytes>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({} bytes of {:?})", self.taken, self.size)
    }
}

/// The error of a put whose bytes could not be had. Nothing of it was written.
pub(crate) fn unreadable(cause: &str) -> Error {
    Error::new(Code::Io, format!("the value cannot be read: {cause}"))
}

/// A reader as a stream.
struct Reading {
    reader: Pin<Box<dyn AsyncRead + Send>>,
    buffer: BytesMut,
}

impl Stream for Reading {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        this.buffer.resize(READ_BYTES, 0);
        let mut buffer = ReadBuf::new(&mut this.buffer);
        let read = ready!(this.reader.as_mut().poll_read(cx, &mut buffer));
        let filled = buffer.filled().len();
        Poll::Ready(match read {
            Err(error) => Some(Err(error)),
            Ok(()) if filled == 0 => None,
            Ok(()) => Some(Ok(this.buffer.split_to(filled).freeze())),
        })
    }
}

/// Bytes asked of a reader at once.
const READ_BYTES: usize = 128 * 1024;

#[cfg(test)]
#[cfg(feature = "embedded")]
mod tests;
