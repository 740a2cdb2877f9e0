//! Retention of topics: tombstones for records that are too old, or too many.
//!
//! A *pass* looks at each topic in small steps, and buries its oldest records while they are older
//! than its limit allows or its records together are larger. Tombstones and the topic's new
//! [floor](crate::topic::floor) are one batch, the oldest records first: so every record below the
//! floor is gone and every record above it is there, whatever happens in between. A record of a
//! topic is never written again, so nothing has to be looked at twice before it is buried.
//!
//! # Cost
//!
//! Nothing without a limit. Of a topic with one: a look-up a pass, a look at each record once for
//! its bytes and, if there is a limit of time, a read of those it buries and one more. A pass begins
//! when something was appended since the last one or a record gets too old, at the earliest some
//! seconds after an open; passes rest like those of the [sweep](super::sweep). Some hundred bytes
//! of memory for each topic that has a limit and records.

mod burial;
mod judge;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::Keyspace;
use super::maintain::Maintenance;
use super::sweep::Rest;
use crate::bucket::name::BucketName;
use crate::bucket::state::BucketState;
use crate::error::Result;
use crate::topic;
use crate::topic::floor::RECORDS_START;
use crate::topic::retention::TopicLimits;
use judge::{Known, Subject, Verdict};

/// What retention remembers from step to step.
#[derive(Default)]
pub(super) struct Retention {
    limits: TopicLimits,
    topics: Option<Arc<BucketState>>,
    /// What was learnt of topics that have a limit.
    known: HashMap<String, Known>,
    pass: Option<Pass>,
    passes: u64,
    rest: Rest,
    /// What was written before this is within the limits until `due_ms`.
    written: Option<u64>,
    due_ms: u64,
}

/// Where a pass stands.
struct Pass {
    number: u64,
    /// The first key of the topic that comes next, or the key before it.
    start: Vec<u8>,
    /// When the first record that was left gets too old.
    due_ms: u64,
    written: u64,
    began: Instant,
    began_ms: u64,
}

impl Keyspace {
    /// Sets how long the records of topics are kept, before the first step.
    pub(crate) fn limit_topics(&self, limits: &TopicLimits) {
        let retention = &mut self.maintenance.lock().retention;
        retention.limits = limits.clone();
        retention.rest = Rest::after_open(self.clock.now_ms());
    }

    /// Looks at some more topics, if one may be beyond its limits. Says whether it did anything.
    pub(super) fn retain_topics(&self, maintenance: &mut Maintenance) -> Result<bool> {
        let now_ms = self.clock.now_ms();
        let retention = &mut maintenance.retention;
        if retention.limits.are_none() {
            return Ok(false);
        }
        let pass = match retention.pass.take() {
            Some(pass) => Some(pass),
            None => self.begin_pass(retention, now_ms),
        };
        let (Some(mut pass), Some(topics)) = (pass, retention.topics.clone()) else {
            return Ok(false);
        };
        let outcome = self.retain_some(maintenance, &topics, &mut pass, now_ms);
        let retention = &mut maintenance.retention;
        if matches!(outcome, Ok(true)) {
            retention.pass = Some(pass);
            return Ok(true);
        }
        retention.rest = Rest::after_pass(pass.began, pass.began_ms.max(now_ms));
        outcome?;
        retention.written = Some(pass.written);
        retention.due_ms = pass.due_ms;
        retention.known.retain(|_, known| known.pass == pass.number);
        Ok(true)
    }

    fn begin_pass(&self, retention: &mut Retention, now_ms: u64) -> Option<Pass> {
        if !retention.rest.is_over(now_ms) {
            return None;
        }
        if retention.topics.is_none() {
            let name = BucketName::topics(self.log.id().0);
            let mut live = self.live_buckets().into_iter();
            retention.topics = live.find(|bucket| bucket.name == name);
        }
        // Before the records: what is appended meanwhile is for the next pass.
        let written = retention.topics.as_ref()?.written();
        if retention.written == Some(written) && now_ms < retention.due_ms {
            return None;
        }
        retention.passes += 1;
        Some(Pass {
            number: retention.passes,
            start: RECORDS_START.to_vec(),
            due_ms: u64::MAX,
            written,
            began: Instant::now(),
            began_ms: now_ms,
        })
    }

    /// Looks at a step's topics; says whether the pass has more before it.
    fn retain_some(
        &self,
        maintenance: &mut Maintenance,
        topics: &Arc<BucketState>,
        pass: &mut Pass,
        now_ms: u64,
    ) -> Result<bool> {
        let mut left = STEP_KEYS;
        while left > 0 {
            let (levels, watermark) = {
                let levels = self.levels.read();
                (Arc::clone(&levels), self.settled())
            };
            left = left.saturating_sub(TOPIC_KEYS);
            let found = match self.first_key(&levels, topics, &pass.start, watermark) {
                Ok(Some(found)) => found,
                Ok(None) => return Ok(false),
                Err(error) => return self.repair(maintenance, &levels, error).map(|_| true),
            };
            let topic = topic::topic_and_offset(&found)?.0;
            let next = topic::behind(topic);
            let limits = maintenance.retention.limits.of(topic);
            if limits.is_for_ever() {
                pass.start = next;
                continue;
            }
            let subject = Subject {
                levels: &levels,
                topics,
                watermark,
                topic,
                limits,
                now_ms,
            };
            let known = &mut maintenance.retention.known;
            let judged = self
                .known(known, &subject, pass.number)
                .and_then(|known| self.judge_topic(known, &subject, &mut left));
            match judged {
                Ok(Verdict::Unfinished) => {}
                Ok(Verdict::Kept { due_ms }) => {
                    pass.due_ms = pass.due_ms.min(due_ms);
                    pass.start = next;
                }
                Ok(Verdict::Doomed(doomed)) => {
                    self.bury_records(maintenance, topics, topic, &doomed)?;
                }
                Err(error) => return self.repair(maintenance, &levels, error).map(|_| true),
            }
        }
        Ok(true)
    }
}

/// Keys looked at in one step; a topic counts as some.
const STEP_KEYS: usize = 16_384;
const TOPIC_KEYS: usize = 16;

#[cfg(test)]
mod tests;
