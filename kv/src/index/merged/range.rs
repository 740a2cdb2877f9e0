//! Walking through a bucket's entries.

use std::ops::{Bound, Deref};
use std::sync::Arc;

use redb::{AccessGuard, StorageError};

use super::view::{Entries, View};
use super::{Entry, Fault, entry};
use crate::record::BucketId;

/// The entries of a bucket between two bounds. Ends after the first fault.
pub(crate) struct Range {
    view: Arc<View>,
    /// `None` once it has ended.
    inner: Option<Inner>,
    /// Of what is left, with the bucket before the key: moved on at each step, so that it can be
    /// taken up elsewhere.
    bounds: Bounds,
    reverse: bool,
    is_spare: bool,
}

type Inner = redb::Range<'static, &'static [u8], &'static [u8; entry::BYTES]>;
type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// A key, where it stands in its page.
pub(crate) struct Key(AccessGuard<'static, &'static [u8]>);

impl Range {
    pub(super) fn open(
        view: Arc<View>,
        bucket: BucketId,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        reverse: bool,
    ) -> Result<Range, Fault> {
        let bounds = (
            bounds_of(bucket, bounds.0, Bound::Included(bucket.0)),
            match bucket.0.checked_add(1) {
                Some(next) => bounds_of(bucket, bounds.1, Bound::Excluded(next)),
                None => bounds_of(bucket, bounds.1, Bound::Unbounded),
            },
        );
        let mut range = Range {
            view,
            inner: None,
            bounds,
            reverse,
            is_spare: false,
        };
        if !is_empty(&range.bounds) {
            range.inner = Some(match range.walk(range.view.entries()) {
                Ok(inner) => inner,
                Err(error) => range.walk_spare(error)?,
            });
        }
        Ok(range)
    }

    fn walk(&self, entries: &Entries) -> Result<Inner, StorageError> {
        let (lower, upper) = &self.bounds;
        let bounds = (
            lower.as_ref().map(Vec::as_slice),
            upper.as_ref().map(Vec::as_slice),
        );
        entries.range::<&[u8]>(bounds)
    }

    /// Takes what is left up where the newest view can still be read.
    fn walk_spare(&mut self, error: StorageError) -> Result<Inner, Fault> {
        if self.is_spare {
            return Err(Fault::of(error, &self.view.file));
        }
        let entries = self.view.spare(error)?;
        let inner = self.walk(entries);
        let inner = inner.map_err(|error| Fault::of(error, &self.view.file))?;
        self.is_spare = true;
        Ok(inner)
    }

    fn step(&mut self) -> Result<Option<(Key, Entry)>, Fault> {
        loop {
            let Some(inner) = &mut self.inner else {
                return Ok(None);
            };
            let found = match self.reverse {
                false => inner.next(),
                true => inner.next_back(),
            };
            match found {
                None => return Ok(None),
                Some(Ok((key, entry))) => {
                    let entry = Entry::decode(entry.value(), self.view.file.name())?;
                    let bound = match self.reverse {
                        false => &mut self.bounds.0,
                        true => &mut self.bounds.1,
                    };
                    move_on(bound, key.value());
                    return Ok(Some((Key(key), entry)));
                }
                Some(Err(error)) => {
                    let inner = self.walk_spare(error)?;
                    self.inner = (!is_empty(&self.bounds)).then_some(inner);
                }
            }
        }
    }
}

impl Iterator for Range {
    type Item = Result<(Key, Entry), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let stepped = self.step().transpose();
        if !matches!(stepped, Some(Ok(_))) {
            self.inner = None;
        }
        stepped
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.value().get(BUCKET_BYTES..).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.escape_ascii())
    }
}

/// A bound within a bucket, or the bound of the bucket where there is none.
fn bounds_of(bucket: BucketId, bound: Bound<&[u8]>, otherwise: Bound<u32>) -> Bound<Vec<u8>> {
    match bound {
        Bound::Unbounded => otherwise.map(|bucket| bucket.to_be_bytes().to_vec()),
        bound => bound.map(|key| [&bucket.0.to_be_bytes(), key].concat()),
    }
}

/// Whether no key can lie between the two; redb does not take bounds that cross.
fn is_empty(bounds: &Bounds) -> bool {
    match bounds {
        (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
        (
            Bound::Included(lower) | Bound::Excluded(lower),
            Bound::Included(upper) | Bound::Excluded(upper),
        ) => lower >= upper,
        _ => false,
    }
}

fn move_on(bound: &mut Bound<Vec<u8>>, key: &[u8]) {
    let mut buffer = match std::mem::replace(bound, Bound::Unbounded) {
        Bound::Included(buffer) | Bound::Excluded(buffer) => buffer,
        Bound::Unbounded => Vec::new(),
    };
    buffer.clear();
    buffer.extend_from_slice(key);
    *bound = Bound::Excluded(buffer);
}

const BUCKET_BYTES: usize = 4;
