//! What a transaction has scanned, and whether it is still so.
//!
//! A range counts as far as it was shown: up to the last key that was given, itself included, or
//! the whole range once the scan has come to its end. It is no longer what was shown if a key in it
//! has been put or deleted since the transaction began, or if a key that was shown has expired.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::bucket::state::BucketState;
use crate::error::{Error, ErrorKind, Result};
use crate::index::levels::{LevelError, Levels};
use crate::index::versions::Kind;
use crate::index::walk::{Course, Walk};
use crate::keyspace::recent::{Gap, Noting};
use crate::keyspace::{Keyspace, Pin};
use crate::scan::Scan;
use crate::version::Version;

/// Keys from one on and, if there is an end, before another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) start: Vec<u8>,
    pub(super) end: Option<Vec<u8>>,
}

/// How far a scan has come.
#[derive(Debug)]
pub(super) struct Progress {
    /// All that the scan may come to.
    span: Span,
    reverse: bool,
    reached: Reached,
    /// The first deadline of those shown, and its key.
    soonest: Option<(u64, Bytes)>,
}

#[derive(Debug)]
enum Reached {
    Nothing,
    Key(Bytes),
    End,
}

/// The ranges of a transaction, to be judged when it is sequenced.
#[derive(Default)]
pub(crate) struct Scanned {
    noting: Option<Noting>,
    /// The note that is to be looked at next.
    next: u64,
    /// Ascending, and apart from each other.
    spans: Vec<Span>,
    soonest: Option<(u64, Bytes)>,
    /// The version that was scanned.
    version: u64,
}

/// Why a transaction can't commit.
pub(crate) struct Overtaken {
    pub(crate) refusal: Error,
    /// The version that the refusal rests on.
    pub(crate) cause: u64,
}

impl Span {
    pub(super) fn of(scan: &Scan) -> Span {
        let (start, end) = scan.bounds();
        let key = |bound| match bound {
            Bound::Included(key) | Bound::Excluded(key) => Some(key),
            Bound::Unbounded => None,
        };
        Span {
            start: key(start).unwrap_or_default(),
            end: key(end),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// Bytes of its bounds.
    pub(super) fn byte_len(&self) -> usize {
        self.start.len() + self.end.as_ref().map_or(0, Vec::len)
    }

    /// Whether a key that is not below the start is in it.
    fn reaches(&self, key: &[u8]) -> bool {
        self.end.as_ref().is_none_or(|end| key < &end[..])
    }
}

impl Progress {
    pub(super) fn new(span: Span, reverse: bool) -> Progress {
        Progress {
            span,
            reverse,
            reached: Reached::Nothing,
            soonest: None,
        }
    }

    /// Notes that a key was given.
    pub(super) fn gave(&mut self, key: &Bytes) {
        self.reached = Reached::Key(key.clone());
    }

    /// Notes the deadline of a key that was given.
    pub(super) fn gave_until(&mut self, key: &Bytes, deadline_ms: u64) {
        let soonest = self.soonest.as_ref();
        if soonest.is_none_or(|(known_ms, _)| deadline_ms < *known_ms) {
            self.soonest = Some((deadline_ms, key.clone()));
        }
    }

    /// Notes that there are no more keys.
    pub(super) fn ended(&mut self) {
        self.reached = Reached::End;
    }

    /// What was shown.
    fn shown(&self) -> Option<Span> {
        let mut span = self.span.clone();
        match &self.reached {
            Reached::Nothing => return None,
            Reached::End => {}
            Reached::Key(last) if self.reverse => span.start = last.to_vec(),
            Reached::Key(last) => {
                // The first key behind it.
                let mut end = last.to_vec();
                end.push(0);
                span.end = Some(end);
            }
        }
        Some(span).filter(|span| !span.is_empty())
    }
}

impl Scanned {
    /// Of scans of a transaction that began at `version`.
    pub(super) fn new(
        version: Version,
        scans: &[Arc<Mutex<Progress>>],
        noting: Option<Noting>,
    ) -> Scanned {
        let mut shown = Vec::with_capacity(scans.len());
        let mut soonest: Option<(u64, Bytes)> = None;
        for scan in scans {
            let progress = scan.lock();
            shown.extend(progress.shown());
            soonest = soonest.into_iter().chain(progress.soonest.clone()).min();
        }
        shown.sort_unstable();
        let mut spans: Vec<Span> = Vec::with_capacity(shown.len());
        for span in shown {
            match spans.last_mut() {
                Some(last) if last.reaches(&span.start) => {
                    // No end is the greatest.
                    let reaches_further = match (&last.end, &span.end) {
                        (Some(known), Some(end)) => end > known,
                        (known, _) => known.is_some(),
                    };
                    if reaches_further {
                        last.end = span.end;
                    }
                }
                _ => spans.push(span),
            }
        }
        Scanned {
            next: noting.as_ref().map_or(0, Noting::start),
            noting,
            spans,
            soonest,
            version: version.get(),
        }
    }

    /// The version that an answer rests on which rests on these ranges.
    pub(crate) fn cause(&self) -> u64 {
        if self.spans.is_empty() {
            return 0;
        }
        self.version
    }

    /// Does all of the judging that can be done without the sequencer's lock.
    ///
    /// # Errors
    ///
    /// What reading the index may fail with.
    pub(super) fn judge_ahead(
        &mut self,
        keyspace: &Keyspace,
        bucket: &BucketState,
        pin: &Pin,
    ) -> Result<Option<Overtaken>> {
        if self.spans.is_empty() {
            return Ok(None);
        }
        match self.noting.as_ref().map(Noting::gap) {
            None | Some(Gap::Empty) => {}
            Some(Gap::Lost) => return Ok(Some(Overtaken::beyond_notes())),
            Some(Gap::Kept(levels)) => {
                for span in &self.spans {
                    if let Some(found) = find_in_gap(keyspace, bucket, pin, levels, span)? {
                        return Ok(Some(found));
                    }
                }
            }
        }
        let mut next = self.next;
        let found = self.find_noted(&mut next);
        self.next = next;
        Ok(found)
    }

    /// What has overtaken the transaction, if anything has, by now. For the holder of the
    /// sequencer's lock.
    pub(crate) fn judge(&self, now_ms: u64) -> Option<Overtaken> {
        if let Some((deadline_ms, key)) = &self.soonest
            && now_ms >= *deadline_ms
        {
            return Some(Overtaken {
                refusal: Error::overtaken(key, Version::ABSENT),
                cause: self.version,
            });
        }
        self.find_noted(&mut self.next.clone())
    }

    fn find_noted(&self, next: &mut u64) -> Option<Overtaken> {
        if self.spans.is_empty() {
            return None;
        }
        match self.noting.as_ref()?.find(next, |key| self.covers(key)) {
            Ok(None) => None,
            Ok(Some((key, version))) => Some(Overtaken::by(&key, version)),
            Err(_) => Some(Overtaken::beyond_notes()),
        }
    }

    fn covers(&self, key: &[u8]) -> bool {
        let count = self.spans.partition_point(|span| &span.start[..] <= key);
        count > 0 && self.spans[count - 1].reaches(key)
    }
}

impl Overtaken {
    fn by(key: &[u8], version: u64) -> Overtaken {
        Overtaken {
            refusal: Error::overtaken(key, Version::new(version)),
            cause: version,
        }
    }

    fn beyond_notes() -> Overtaken {
        let message = "too much has been written to the bucket since the transaction began to tell \
                       whether it was to a range that it scanned: begin it again, and let it end \
                       sooner";
        Overtaken {
            refusal: Error::new(ErrorKind::Overloaded, message),
            cause: 0,
        }
    }
}

/// Looks for a key of a range that was written when the transaction had begun, but before writes
/// were noted for it.
fn find_in_gap(
    keyspace: &Keyspace,
    bucket: &BucketState,
    pin: &Pin,
    levels: &Arc<Levels>,
    span: &Span,
) -> Result<Option<Overtaken>> {
    let course = Course {
        bucket: bucket.id,
        start: Bound::Included(span.start.clone()),
        end: span.end.clone().map_or(Bound::Unbounded, Bound::Excluded),
        reverse: false,
        watermark: u64::MAX,
        archive: None,
        value_bytes_max: 0,
    };
    let ask = |levels: &Levels| walk_gap(keyspace, bucket, pin, levels, &course);
    keyspace.repairing(levels, ask)?
}

fn walk_gap(
    keyspace: &Keyspace,
    bucket: &BucketState,
    pin: &Pin,
    levels: &Levels,
    course: &Course,
) -> std::result::Result<Result<Option<Overtaken>>, LevelError> {
    let log = keyspace.log();
    let mut walk = Walk::new(levels, log, course)?;
    while let Some(next) = walk.next(log)? {
        let (key, location) = (next.key, next.location);
        if location.version < pin.watermark {
            continue;
        }
        // Of a key that expired, and is now deleted, nothing was shown.
        if location.kind == Kind::Tombstone {
            let now_ms = keyspace.clock().now_ms();
            match keyspace.visible_at(bucket.id, key, pin) {
                Ok(shown) if shown.is_live(now_ms) => {}
                Ok(_) => continue,
                Err(error) => return Ok(Err(error)),
            }
        }
        return Ok(Ok(Some(Overtaken::by(key, location.version))));
    }
    Ok(Ok(None))
}

#[cfg(test)]
mod tests;
