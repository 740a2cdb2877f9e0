//! Reading many records at once: the misses of the caches overlap, and one lock serves all.

use super::{Partition, find};
use crate::error::Result;
use crate::identity::Offset;
use crate::segment::Segment;

impl Partition {
    /// Calls `read` with the payload of the record at each of these offsets, and with its index;
    /// what each holds is what [`Partition::with_record`] would say.
    ///
    /// Small records that lie far from one another come in several times as fast as one at a
    /// time, if there are some dozen: more than that push one another out of the caches. The lock
    /// of the list of segments is held all the while.
    pub fn with_records(&self, offsets: &[Offset], mut read: impl FnMut(usize, Result<&[u8]>)) {
        let durable = self.durable();
        let segments = self.segments.read();
        let mut last: Option<&Segment> = None;
        for &offset in offsets.iter().filter(|&&offset| offset < durable) {
            let segment = match last {
                Some(segment) if segment.holds(offset) => segment,
                _ => match find(&segments, offset) {
                    Ok(segment) => segment,
                    Err(_) => continue,
                },
            };
            segment.touch(offset);
            last = Some(segment);
        }
        for (index, &offset) in offsets.iter().enumerate() {
            if offset >= durable {
                match self.unsynced_record(offset) {
                    Ok(payload) => read(index, Ok(&payload)),
                    Err(error) => read(index, Err(error)),
                }
                continue;
            }
            let segment = match last {
                Some(segment) if segment.holds(offset) => Ok(segment),
                _ => find(&segments, offset).map(|segment| &**segment),
            };
            match segment.and_then(|segment| segment.record(offset)) {
                Ok(payload) => read(index, Ok(&payload)),
                Err(error) => read(index, Err(error)),
            }
        }
    }
}
