//! Look-ups in a run by hash.
//!
//! A look-up checks the block it ends up in, which costs more than all the rest of it. Whoever has
//! many takes them in the order of their hashes' upper halves and keeps a [`Cursor`]: then each block
//! is checked once, not once a look-up.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::block::items;
use super::{BY_HASH_BYTES, Place, Run, RunFault, split, top};

/// Looks hashes up, in any order; holds the block it looked into last.
pub(crate) struct Cursor<'a> {
    run: &'a Run,
    /// Which one of the by-hash section it is, and its bytes, checked.
    block: Option<(u64, Cow<'a, [u8]>)>,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(run: &'a Run) -> Cursor<'a> {
        Cursor { run, block: None }
    }

    /// [`Run::find`].
    pub(crate) fn find<B>(
        &mut self,
        hash: u64,
        mut visit: impl FnMut(Place) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, RunFault> {
        let run = self.run;
        if !run.filter.may_hold(hash) {
            return Ok(ControlFlow::Continue(()));
        }
        let top = top(hash);
        // The block before the first that starts with this hash may end with it.
        let before = run.fences.partition_point(|&fence| fence < top);
        let mut nth = before.saturating_sub(1);
        while run.fences.get(nth).is_some_and(|&fence| fence <= top) {
            let section = &run.layout.by_hash;
            let block = self.block(nth as u64)?;
            let entries = items::<BY_HASH_BYTES>(section, nth as u64, block);
            let from = entries.partition_point(|entry| split(entry).0 < top);
            for (index, entry) in entries.iter().enumerate().skip(from) {
                let (entry_top, place) = split(entry);
                if entry_top != top {
                    break;
                }
                let index = nth as u64 * section.items_a_block() + index as u64;
                if let ControlFlow::Break(found) = visit(run.place(section, index, place)?) {
                    return Ok(ControlFlow::Break(found));
                }
            }
            nth += 1;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The n-th block of the by-hash section, checked now or when it was taken.
    fn block(&mut self, nth: u64) -> Result<&[u8], RunFault> {
        let held = match self.block.take() {
            Some(held) if held.0 == nth => held,
            _ => (nth, self.run.block(&self.run.layout.by_hash, nth)?),
        };
        Ok(&self.block.insert(held).1)
    }
}
