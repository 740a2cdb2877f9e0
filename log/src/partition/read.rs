//! Reading records: one, checked on this read, or many together, where the misses of the caches
//! overlap and one lock serves all.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Partition;
use crate::error::{Error, Result};
use crate::frame::{RECORD_HEADER_BYTES, decode_record, record_length};
use crate::identity::Offset;
use crate::segment::Segment;

/// A record's payload that can be kept: it pins the memory map it lies in.
#[derive(Debug)]
pub struct RecordBytes(Kept);

#[derive(Debug)]
enum Kept {
    Mapped {
        segment: Arc<Segment>,
        start: Offset,
        end: Offset,
    },
    Owned(Vec<u8>),
}

impl RecordBytes {
    pub(super) fn owned(payload: Vec<u8>) -> RecordBytes {
        RecordBytes(Kept::Owned(payload))
    }

    #[cfg(test)]
    pub(super) fn is_mapped(&self) -> bool {
        matches!(self.0, Kept::Mapped { .. })
    }

    /// What `segment` lent from `start` to `end`.
    pub(super) fn mapped(segment: Arc<Segment>, start: Offset, end: Offset) -> RecordBytes {
        RecordBytes(Kept::Mapped {
            segment,
            start,
            end,
        })
    }
}

impl AsRef<[u8]> for RecordBytes {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Kept::Owned(payload) => payload,
            Kept::Mapped {
                segment,
                start,
                end,
            } => match segment.bytes(*start..*end) {
                Some(Cow::Borrowed(payload)) => payload,
                // Only a range that was borrowed once is kept as `Mapped`, and what is published
                // stays published and borrowed.
                _ => &[],
            },
        }
    }
}

impl Partition {
    /// Calls `read` with the payload of the record at `offset`, its checksum verified on this
    /// read. Anything written can be read; what is not yet durable is copied from the page cache,
    /// the rest is borrowed from the memory map.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] if no retained segment holds the offset; [`Error::Corrupt`].
    pub fn with_record<T>(&self, offset: Offset, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        if offset < self.durable() {
            let segments = self.segments.read();
            let segment = find(&segments, offset)?;
            let timed = self.before_read(segment, offset);
            let payload = segment.record(offset)?;
            self.after_read(timed, payload.len());
            return Ok(read(&payload));
        }
        self.unsynced_record(offset).map(|payload| read(&payload))
    }

    /// The payload of the record at `offset`, like [`Partition::with_record`], in a form that can
    /// be kept: it pins its segment's memory map rather than copying.
    pub fn record(&self, offset: Offset) -> Result<RecordBytes> {
        if offset >= self.durable() {
            return self.unsynced_record(offset).map(RecordBytes::owned);
        }
        let segment = Arc::clone(find(&self.segments.read(), offset)?);
        let timed = self.before_read(&segment, offset);
        let payload = segment.record(offset)?;
        self.after_read(timed, payload.len());
        let length = match payload {
            Cow::Owned(payload) => return Ok(RecordBytes::owned(payload)),
            Cow::Borrowed(payload) => payload.len() as u64,
        };
        let start = offset.plus(RECORD_HEADER_BYTES as u64);
        Ok(RecordBytes::mapped(segment, start, start.plus(length)))
    }

    /// Calls `read` with the payload of the record at each of these offsets, and with its index;
    /// what each holds is what [`Partition::with_record`] would say. They come in the order of
    /// `offsets`, but for those that are not durable yet, which come last.
    ///
    /// Small records that lie far from one another come in several times as fast as one at a
    /// time, if there are some dozen: more than that push one another out of the caches. `read`
    /// must not ask the partition for anything: a lock is held.
    pub fn with_records(&self, offsets: &[Offset], mut read: impl FnMut(usize, Result<&[u8]>)) {
        let durable = self.durable();
        {
            let segments = self.segments.read();
            let is_durable = |&&offset: &&Offset| offset < durable;
            let mut last: Option<&Segment> = None;
            let mut holder = |offset: Offset| match last {
                Some(segment) if segment.holds(offset) => Ok(segment),
                _ => {
                    let segment = &**find(&segments, offset)?;
                    last = Some(segment);
                    Ok(segment)
                }
            };
            let first = offsets.iter().find(is_durable);
            let timed = first.and_then(|&first| self.before_touches(first));
            if timed.is_some() {
                for &offset in offsets.iter().filter(is_durable) {
                    if let Ok(segment) = holder(offset)
                        && !self.ask_before_touch(segment, offset)
                    {
                        break;
                    }
                }
            }
            for &offset in offsets.iter().filter(is_durable) {
                if let Ok(segment) = holder(offset) {
                    segment.touch(offset);
                }
            }
            self.after_touches(timed);
            for (index, &offset) in offsets.iter().enumerate() {
                if offset < durable {
                    match holder(offset).and_then(|segment| segment.record(offset)) {
                        Ok(payload) => read(index, Ok(&payload)),
                        Err(error) => read(index, Err(error)),
                    }
                }
            }
        }
        // Without the lock, which may be asked for again.
        for (index, &offset) in offsets.iter().enumerate() {
            if offset >= durable {
                match self.unsynced_record(offset) {
                    Ok(payload) => read(index, Ok(&payload)),
                    Err(error) => read(index, Err(error)),
                }
            }
        }
    }
    /// A record that is written but not durable: read from the page cache into memory of its own.
    fn unsynced_record(&self, offset: Offset) -> Result<Vec<u8>> {
        let missing = Error::OutOfRange { offset };
        let Some(active) = self.active.read().clone() else {
            return Err(missing);
        };
        let segment = &active.segment;
        if offset < segment.base() || offset.get() >= self.written.load(Ordering::Acquire) {
            // It may have become durable, and its segment sealed, since the caller looked.
            let segments = self.segments.read();
            return Ok(find(&segments, offset)?.record(offset)?.into_owned());
        }
        let position = segment.position(offset);
        let read = |length: usize| {
            let mut bytes = vec![0; length];
            active
                .file
                .read_exact_at(&mut bytes, position)
                .map(|()| bytes)
                .map_err(|error| Error::io("read", segment.path(), error))
        };
        let damaged = || {
            Error::corrupt(
                segment.path(),
                position,
                "the record's checksum does not match",
            )
        };
        let room = segment.limit().since(offset);
        let length = record_length(&read(RECORD_HEADER_BYTES)?)
            .map(|length| length + RECORD_HEADER_BYTES)
            .filter(|&length| length as u64 <= room)
            .ok_or_else(damaged)?;
        let frame = read(length)?;
        decode_record(&frame, offset, segment.seed())
            .map(<[u8]>::to_vec)
            .ok_or_else(damaged)
    }
}

/// The segment that holds an offset, as far as it is published. A gap and a dropped segment belong
/// to nobody, least of all to the segment before them.
pub(super) fn find(segments: &[Arc<Segment>], offset: Offset) -> Result<&Arc<Segment>> {
    let after = segments.partition_point(|segment| segment.base() <= offset);
    segments[..after]
        .last()
        .filter(|segment| offset < segment.published())
        .ok_or(Error::OutOfRange { offset })
}

/// The segment that begins at `base`; behind it in the list stands none that does. An empty one
/// (a file of which recovery kept nothing) has the base of the next, and counts as part of it.
pub(super) fn starting_at(segments: &[Arc<Segment>], base: Offset) -> Result<&Arc<Segment>> {
    let after = segments.partition_point(|segment| segment.base() <= base);
    segments[..after]
        .last()
        .filter(|segment| segment.base() == base)
        .ok_or(Error::OutOfRange { offset: base })
}
