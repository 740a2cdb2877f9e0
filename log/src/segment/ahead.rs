//! Reading ahead: the map of a segment is said to be read at random, so that a point read brings in
//! no neighbours, and who walks through a segment asks for what comes next himself.

use super::Segment;
use crate::identity::Offset;

/// How far a walk has asked.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    asked: Offset,
}

impl Ahead {
    /// The walk is about to read from `offset` to `end` of `segment`, and then on. Asks for whole
    /// windows only: who follows the end of the log reads what was just written, and has nothing
    /// to ask for.
    pub(crate) fn come_to(&mut self, segment: &Segment, offset: Offset, end: Offset) {
        let needed = end.max(offset.plus(WINDOW_BYTES));
        if needed <= self.asked {
            return;
        }
        let limit = segment.published().min(needed.plus(WINDOW_BYTES));
        let mut from = self.asked.max(offset);
        while from.plus(WINDOW_BYTES) <= limit {
            segment.will_need(from, WINDOW_BYTES);
            from = from.plus(WINDOW_BYTES);
            self.asked = from;
        }
    }
}

/// The kernel takes as much of one wish: at least the size of the device's largest request.
const WINDOW_BYTES: u64 = 256 << 10;

#[cfg(test)]
mod tests;
