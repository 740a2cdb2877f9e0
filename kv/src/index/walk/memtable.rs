//! The keys of a memtable, in order.

use std::sync::Arc;

use super::ahead::Ahead;
use super::{Chunk, Course};
use crate::index::levels::LevelError;
use crate::index::members::Members;

pub(super) struct MemtableWalk {
    members: Arc<Members>,
    /// What is left of it.
    course: Course,
    chunk: Chunk,
    exhausted: bool,
}

impl MemtableWalk {
    pub(super) fn new(members: Arc<Members>, course: &Course) -> MemtableWalk {
        MemtableWalk {
            members,
            course: course.clone(),
            chunk: Chunk::default(),
            exhausted: false,
        }
    }

    /// Adds the next keys; none if there are no more.
    ///
    /// # Errors
    ///
    /// `Retired`: another walk goes on in the run.
    pub(super) fn fill(&mut self, ahead: &mut Ahead) -> Result<(), LevelError> {
        let mut last = Vec::new();
        while ahead.len() == 0 && !self.exhausted {
            let (course, limit) = (&self.course, self.chunk.next());
            let (bounds, reverse) = (course.bounds(), course.reverse);
            let mut nth = 0;
            let found = self.members.nodes(bounds, reverse, limit, |node| {
                let location = match &course.archive {
                    Some(_) => node.versions().ever_below(course.watermark),
                    None => node.versions().below(course.watermark),
                };
                if location.version != 0 {
                    ahead.push(node.key(), location, None);
                }
                nth += 1;
                if nth == limit {
                    last.clear();
                    last.extend_from_slice(node.key());
                }
            });
            let found = found.ok_or(LevelError::Retired)?;
            self.exhausted = found < limit;
            if !self.exhausted {
                self.course.go_on_behind(&last);
            }
        }
        Ok(())
    }
}
