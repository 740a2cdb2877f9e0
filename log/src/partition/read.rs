//! Reading many records at once: the misses of the caches overlap, and one lock serves all.

use super::{Partition, find};
use crate::error::Result;
use crate::identity::Offset;
use crate::segment::Segment;

impl Partition {
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
            for &offset in offsets.iter().filter(is_durable) {
                if let Ok(segment) = holder(offset) {
                    segment.touch(offset);
                }
            }
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
}
