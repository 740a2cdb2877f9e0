//! Scans: a request, and pages that follow each other over one snapshot.

#[cfg(feature = "embedded")]
pub(crate) mod cursor;
#[cfg(feature = "embedded")]
mod leases;

use bytes::Bytes;

use crate::client::Bucket;
use crate::error::Result;
use crate::wire::Page;
#[cfg(feature = "embedded")]
pub(crate) use cursor::Cursor;
#[cfg(feature = "embedded")]
pub(crate) use leases::Leases;

/// What a scan asks for, as both stores take it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanRequest {
    /// Only keys that begin with this.
    pub prefix: Option<Bytes>,
    /// Only keys at or above this.
    pub start: Option<Bytes>,
    /// Only keys below this; empty means: to the last.
    pub end: Option<Bytes>,
    /// At most this many items in a page; `None` is the default.
    pub limit: Option<usize>,
    /// From the last key to the first.
    pub reverse: bool,
    /// Without values.
    pub keys_only: bool,
    /// The bucket as it was at this version; as it is if `None`.
    pub at: Option<u64>,
    /// Where an earlier page ended.
    pub cursor: Option<String>,
}

/// A scan of a bucket, to be narrowed and then read page by page.
#[derive(Clone, Debug)]
#[must_use = "a scan reads nothing until its pages are asked for"]
pub struct Scan {
    bucket: Bucket,
    request: ScanRequest,
}

impl Scan {
    pub(crate) fn new(bucket: Bucket) -> Self {
        Self {
            bucket,
            request: ScanRequest::default(),
        }
    }

    /// Only keys that begin with `prefix`.
    pub fn prefix(mut self, prefix: impl Into<Bytes>) -> Self {
        self.request.prefix = Some(prefix.into());
        self
    }

    /// Only keys at or above `start`.
    pub fn start(mut self, start: impl Into<Bytes>) -> Self {
        self.request.start = Some(start.into());
        self
    }

    /// Only keys below `end`; an empty one bounds nothing.
    pub fn end(mut self, end: impl Into<Bytes>) -> Self {
        self.request.end = Some(end.into());
        self
    }

    /// At most this many items in a page, 1 to
    /// [`PAGE_ITEMS_MAX`](crate::wire::PAGE_ITEMS_MAX).
    pub fn limit(mut self, items: usize) -> Self {
        self.request.limit = Some(items);
        self
    }

    /// The bucket as it was at `version`; any number up to the newest, and it means the newest
    /// batch at or below it.
    pub fn at(mut self, version: u64) -> Self {
        self.request.at = Some(version);
        self
    }

    /// From the last key to the first.
    pub fn reverse(mut self) -> Self {
        self.request.reverse = true;
        self
    }

    /// Without values.
    pub fn keys_only(mut self) -> Self {
        self.request.keys_only = true;
        self
    }

    /// Goes on after the page that carried this cursor.
    pub fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.request.cursor = Some(cursor.into());
        self
    }

    /// Reads one page.
    ///
    /// # Errors
    /// `bucket_not_found`, `compacted` for a cursor that is no longer covered, and those of any
    /// read.
    pub async fn page(self) -> Result<Page> {
        self.bucket.scan_page(&self.request).await
    }

    /// Reads page after page, all of one snapshot.
    pub fn pages(self) -> Pages {
        Pages {
            bucket: self.bucket,
            request: self.request,
            done: false,
        }
    }
}

/// The pages of a scan.
#[derive(Debug)]
pub struct Pages {
    bucket: Bucket,
    request: ScanRequest,
    done: bool,
}

impl Pages {
    /// The next page; `None` after the last. After an error the same page is asked for again.
    ///
    /// # Errors
    /// Those of [`Scan::page`].
    pub async fn next(&mut self) -> Result<Option<Page>> {
        if self.done {
            return Ok(None);
        }
        let page = self.bucket.scan_page(&self.request).await?;
        self.request.cursor.clone_from(&page.cursor);
        self.done = page.cursor.is_none();
        Ok(Some(page))
    }
}
