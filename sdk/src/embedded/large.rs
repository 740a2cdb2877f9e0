//! Values of any size: uploads, and reads part by part.
//!
//! What waits for the disk goes through the bridge a mebibyte at a time, and the next is taken only
//! when that is done: so the source is read at the pace of the disk, and the store at the pace of
//! the reader.

use std::collections::VecDeque;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use cairn_kv::ValueReader;
use futures_core::Stream;

use super::{
    Embedded, content_type, durability, error, expected, put_options, reached, refused, unborn,
};
use crate::bridge::Bridge;
use crate::client::{Source, ValueStream, bounds, unreadable};
use crate::error::{Error, Result};
use crate::wire::{Code, LARGE_VALUE_BYTES_MAX};
use crate::write::{Expect, Receipt, UploadTerms};

impl Embedded {
    /// Begins to put a value that comes in parts. Dropping the upload leaves the key as it was.
    ///
    /// # Errors
    /// `bucket_not_found`, `invalid_argument`, `key_too_large`, `not_certified`, `poisoned`;
    /// `version_mismatch` where there is no bucket and the conditions demand a key.
    pub async fn upload(&self, bucket: &str, key: &[u8], terms: UploadTerms) -> Result<Upload> {
        let asked = terms.durability.map(durability).transpose()?;
        let options = put_options(terms.ttl_ms, terms.content_type)?;
        let bucket = match self.bucket_if_any(bucket)? {
            Some(bucket) => bucket,
            None => {
                self.version_without(bucket)?;
                unborn::check_upload(key, &options, &terms.expects)?;
                self.bucket_made(bucket).await?
            }
        };
        let durability = match asked {
            Some(durability) => durability,
            None => bucket.info().map_err(error)?.options.durability,
        };
        let upload = bucket.upload(key, options).map_err(error)?;
        Ok(Upload {
            upload: Some(upload),
            bridge: self.bridge().clone(),
            expects: terms.expects,
            durability,
        })
    }

    /// [`Embedded::open_value`] of what is told from memory and the log's map alone; `None` if the
    /// index on disk has to be asked.
    ///
    /// # Errors
    /// Those of [`Embedded::open_value`].
    pub fn try_open_value(&self, bucket: &str, key: &[u8]) -> Result<Option<Option<Value>>> {
        let bucket = self.shared.store.open_bucket(bucket).map_err(error)?;
        let reader = bucket.try_open(key).map_err(error)?;
        Ok(reader.map(|reader| reader.map(|reader| self.value(reader))))
    }

    /// Opens a key, to read its value in parts or to learn its size.
    ///
    /// # Errors
    /// `bucket_not_found`, `corrupt`.
    pub async fn open_value(&self, bucket: &str, key: &[u8]) -> Result<Option<Value>> {
        let bucket = self.shared.store.open_bucket(bucket).map_err(error)?;
        let reader = match bucket.try_open(key).map_err(error)? {
            Some(reader) => reader,
            None => {
                let key = key.to_vec();
                self.run(move || bucket.open(key)).await?
            }
        };
        Ok(reader.map(|reader| self.value(reader)))
    }

    /// Opens a key as it was at a version.
    ///
    /// # Errors
    /// `bucket_not_found`, `corrupt`; `compacted` if history does not reach back to it, or it is
    /// above the newest.
    pub async fn open_value_at(
        &self,
        bucket: &str,
        key: &[u8],
        version: u64,
    ) -> Result<Option<Value>> {
        let bucket = self.shared.store.open_bucket(bucket).map_err(error)?;
        let key = key.to_vec();
        let open = move || bucket.at(cairn_kv::Version::new(version))?.open(key);
        let reader = self.run(open).await?;
        Ok(reader.map(|reader| self.value(reader)))
    }

    fn value(&self, reader: ValueReader) -> Value {
        Value {
            reader: Arc::new(reader),
            bridge: self.bridge().clone(),
        }
    }

    pub(crate) async fn put_stream(
        &self,
        bucket: &str,
        key: Bytes,
        mut source: Source,
        terms: UploadTerms,
    ) -> Result<Receipt> {
        if let Some(size) = source.size().filter(|&size| size > LARGE_VALUE_BYTES_MAX) {
            let detail =
                format!("a value of {size} bytes, at most {LARGE_VALUE_BYTES_MAX} are taken");
            return Err(Error::new(Code::ValueTooLarge, detail));
        }
        let mut upload = self.upload(bucket, &key, terms).await?;
        while let Some(part) = source.next().await {
            let part = part.map_err(|cause| unreadable(&cause.to_string()))?;
            upload.write(part).await?;
        }
        upload.finish().await
    }

    pub(crate) async fn get_stream(
        &self,
        bucket: &str,
        key: &[u8],
        range: (u64, Option<u64>),
    ) -> Result<Option<ValueStream>> {
        let Some(value) = self.open_value(bucket, key).await? else {
            return Ok(None);
        };
        let range = bounds(range, value.size())?;
        Ok(Some(value.stream(range)))
    }
}

/// A value on its way into a key.
#[derive(Debug)]
pub struct Upload {
    /// Lost with the future of a call that was dropped.
    upload: Option<cairn_kv::Upload>,
    bridge: Bridge,
    expects: Vec<Expect>,
    durability: cairn_kv::Durability,
}

impl Upload {
    /// Takes the next bytes; done when there is room for more.
    ///
    /// # Errors
    /// `value_too_large`; those of any write. Every later call then fails alike.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let mut upload = self.take()?;
        let (upload, written) = if bytes.len() <= upload.room() {
            let written = upload.write(&bytes);
            (upload, written)
        } else {
            let write = move || {
                let written = upload.write(&bytes);
                (upload, written)
            };
            self.bridge.run_in_turn(write).await.map_err(refused)?
        };
        self.upload = Some(upload);
        written.map_err(error)
    }

    /// Makes the value the key's, if the conditions hold.
    ///
    /// # Errors
    /// `version_mismatch`; those of any write.
    pub async fn finish(mut self) -> Result<Receipt> {
        let upload = self.take()?;
        let expects: Vec<_> = self.expects.drain(..).map(expected).collect();
        let durability = self.durability;
        let finish = move || upload.finish(&expects, durability);
        let outcome = match self.bridge.run_in_turn(finish).await.map_err(refused)? {
            Ok(commit) => commit.await,
            Err(refusal) => Err(refusal),
        };
        // The one key is known to the caller.
        let receipt = outcome.map_err(|cause| error(cause).without_key())?;
        Ok(Receipt {
            version: receipt.version.get(),
            durability: reached(receipt.durability),
            existed: receipt.existed,
        })
    }

    fn take(&mut self) -> Result<cairn_kv::Upload> {
        self.upload.take().ok_or_else(|| {
            let detail = "a call of the upload was abandoned: begin a new one";
            Error::new(Code::InvalidArgument, detail)
        })
    }
}

/// One version of a key, whose value is read in parts.
#[derive(Clone, Debug)]
pub struct Value {
    reader: Arc<ValueReader>,
    bridge: Bridge,
}

impl Value {
    /// The version that wrote it.
    pub fn version(&self) -> u64 {
        self.reader.entry().version.get()
    }

    /// Bytes of the value.
    pub fn size(&self) -> u64 {
        self.reader.entry().size
    }

    /// The media type that was kept with it.
    pub fn content_type(&self) -> Option<String> {
        content_type(self.reader.entry())
    }

    /// The value, if it is at hand as a whole.
    pub fn whole(&self) -> Option<Bytes> {
        let entry = self.reader.entry();
        entry.has_value().then(|| entry.value.clone())
    }

    /// Reads a range of it; what lies behind its end is left out.
    pub fn stream(&self, range: Range<u64>) -> ValueStream {
        let range = range.start.min(self.size())..range.end.min(self.size());
        let parts = Parts {
            value: self.clone(),
            left: range.clone(),
            ready: VecDeque::new(),
            reading: None,
        };
        ValueStream::new(
            self.version(),
            self.size(),
            self.content_type(),
            range,
            parts,
        )
    }
}

/// The parts of a value, read a few at a time.
struct Parts {
    value: Value,
    /// What is still to be read from the store.
    left: Range<u64>,
    ready: VecDeque<Bytes>,
    reading: Option<Reading>,
}

/// A turn of the pool under way.
type Reading = Pin<Box<dyn Future<Output = Result<VecDeque<Bytes>>> + Send>>;

impl Parts {
    fn read(&self) -> Reading {
        let (value, left) = (self.value.clone(), self.left.clone());
        if let Some(whole) = value.whole() {
            let at = |offset| usize::try_from(offset).unwrap_or(usize::MAX);
            let part = whole.slice(at(left.start)..at(left.end));
            return Box::pin(std::future::ready(Ok([part].into())));
        }
        let reader = Arc::clone(&value.reader);
        Box::pin(async move {
            let read = move || read_some(&reader, left);
            let parts = value.bridge.run_in_turn(read).await.map_err(refused)?;
            parts.map_err(error)
        })
    }
}

/// The first mebibyte of a range, in pieces as they stand in the store.
fn read_some(reader: &ValueReader, range: Range<u64>) -> cairn_kv::Result<VecDeque<Bytes>> {
    let end = range.end.min(range.start.saturating_add(PARTS_BYTES_MAX));
    let mut parts = VecDeque::new();
    let mut next = range.start;
    while next < end {
        let mut part = reader.chunk_at(next)?;
        part.truncate(usize::try_from(end - next).unwrap_or(usize::MAX));
        next += part.len() as u64;
        parts.push_back(part);
    }
    Ok(parts)
}

impl Stream for Parts {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(part) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(part)));
            }
            let mut reading = match this.reading.take() {
                Some(reading) => reading,
                None if this.left.is_empty() => return Poll::Ready(None),
                None => this.read(),
            };
            let Poll::Ready(read) = reading.as_mut().poll(cx) else {
                this.reading = Some(reading);
                return Poll::Pending;
            };
            match read {
                Ok(parts) => {
                    this.left.start += parts.iter().map(|part| part.len() as u64).sum::<u64>();
                    this.ready = parts;
                }
                Err(error) => {
                    this.left = 0..0;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

/// Bytes read in one turn of the pool.
const PARTS_BYTES_MAX: u64 = 1 << 20;
