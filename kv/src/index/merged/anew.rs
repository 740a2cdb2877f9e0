//! Writing the index anew: entries on their way from the file that stands into its successor.
//!
//! Pages are copied on write, so changes that fall into most of them write the file once over
//! anyway, and leave the old pages free in it. In key order into a new file costs the same bytes
//! and less time a key, and nothing is free in it. Changes that fall into few pages, as keys that
//! grow with time do, are cheaper where they are ([`Spread`]).

use std::collections::BTreeSet;
use std::ops::Bound;

use redb::AccessGuard;

use super::{BucketBytes, Entry, Fault, View, entry};
use crate::index::checked_file::PAGE_BYTES;
use crate::record::BucketId;

/// The entries of a view in key order, as far as they are not in the new file yet.
pub(super) struct Older<'a> {
    view: &'a View,
    entries: redb::Range<'static, &'static [u8], &'static [u8; entry::BYTES]>,
    next: Option<OlderEntry>,
    /// Buckets whose entries are left out.
    gone: BTreeSet<BucketId>,
    pages: Pages,
}

/// One of them, where it stands in its page.
pub(super) struct OlderEntry {
    key: AccessGuard<'static, &'static [u8]>,
    pub(super) entry: Entry,
}

impl<'a> Older<'a> {
    pub(super) fn of(view: &'a View) -> Result<Older<'a>, Fault> {
        let all = (Bound::<&[u8]>::Unbounded, Bound::<&[u8]>::Unbounded);
        let entries = view.entries().range::<&[u8]>(all);
        let mut older = Older {
            view,
            entries: entries.map_err(|error| Fault::of(error, &view.file))?,
            next: None,
            gone: BTreeSet::new(),
            pages: Pages::default(),
        };
        older.advance()?;
        Ok(older)
    }

    pub(super) fn view(&self) -> &'a View {
        self.view
    }

    /// Leaves out a bucket.
    pub(super) fn leave_out(&mut self, bucket: BucketId) {
        self.gone.insert(bucket);
    }

    /// The next entry below this bucket and key, or of all that are left.
    pub(super) fn next_below(&mut self, end: Option<&[u8]>) -> Result<Option<OlderEntry>, Fault> {
        loop {
            let is_below = |next: &OlderEntry| end.is_none_or(|end| next.full() < end);
            if !self.next.as_ref().is_some_and(is_below) {
                return Ok(None);
            }
            let found = self.next.take();
            self.advance()?;
            if let Some(found) = found
                && !self.is_gone(&found)
            {
                return Ok(Some(found));
            }
        }
    }

    /// Takes the entry of this bucket and key, which is changed, if it is the next.
    pub(super) fn take(&mut self, full: &[u8]) -> Result<Option<Entry>, Fault> {
        self.pages.change();
        if self.next.as_ref().is_none_or(|next| next.full() != full) {
            return Ok(None);
        }
        let found = self.next.take();
        self.advance()?;
        Ok(found
            .filter(|found| !self.is_gone(found))
            .map(|found| found.entry))
    }

    /// Of the changes so far.
    pub(super) fn spread(&self) -> Spread {
        Spread::of(self.pages.changed, self.pages.passed)
    }

    fn is_gone(&self, found: &OlderEntry) -> bool {
        !self.gone.is_empty() && self.gone.contains(&found.bucket())
    }

    fn advance(&mut self) -> Result<(), Fault> {
        let file = &self.view.file;
        let found = self.entries.next().transpose();
        self.next = match found.map_err(|error| Fault::of(error, file))? {
            Some((key, bytes)) => {
                if key.value().len() < size_of::<BucketBytes>() {
                    return Err(Fault::Damaged(format!("{}: a short key", file.name())));
                }
                let entry = Entry::decode(bytes.value(), file.name())?;
                self.pages.pass(key.value().len());
                Some(OlderEntry { key, entry })
            }
            None => None,
        };
        Ok(())
    }
}

impl OlderEntry {
    /// Bucket and key, as the table of entries has them.
    pub(super) fn full(&self) -> &[u8] {
        self.key.value()
    }

    pub(super) fn bucket(&self) -> BucketId {
        let bucket = self.full().first_chunk().copied().unwrap_or_default();
        BucketId(u32::from_be_bytes(bucket))
    }

    pub(super) fn key(&self) -> &[u8] {
        self.full()
            .get(size_of::<BucketBytes>()..)
            .unwrap_or_default()
    }
}

/// Counts the pages that changes in place would have copied.
#[derive(Default)]
struct Pages {
    passed: u64,
    changed: u64,
    /// Of the page that is being passed.
    bytes: usize,
    is_changed: bool,
}

impl Pages {
    fn pass(&mut self, key_bytes: usize) {
        self.bytes += key_bytes + entry::BYTES + ENTRY_BYTES;
        // Pages that have split are half full.
        if self.bytes > PAGE_BYTES / 2 {
            self.passed += 1;
            self.bytes = 0;
            self.is_changed = false;
        }
    }

    fn change(&mut self) {
        self.changed += u64::from(!self.is_changed);
        self.is_changed = true;
    }
}

/// Whether the changes of the last merge fell into many of the pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Spread {
    #[default]
    Unknown,
    Few,
    Many,
}

impl Spread {
    /// Of changes that fell into so many pages of so many.
    pub(super) fn of(changed: u64, pages: u64) -> Spread {
        match changed.saturating_mul(MANY_PART) >= pages {
            true => Spread::Many,
            false => Spread::Few,
        }
    }
}

/// What redb keeps of an entry beside key and value.
const ENTRY_BYTES: usize = 4;

/// Many are this part of all pages: a page costs more to find and copy than to write in order.
const MANY_PART: u64 = 3;
