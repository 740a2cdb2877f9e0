//! How long the records of topics are kept: what the options of a store say.

use std::collections::HashMap;

use super::check_topic;
use crate::error::Result;

/// How long the records of a topic are kept, where it differs from other topics. Default: it does
/// not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicRetention {
    /// Milliseconds after which a record is removed; 0 for never, absent for what holds of all
    /// topics.
    pub ms: Option<u64>,
    /// Bytes of records that are kept, the newest; 0 for all, absent for what holds of all topics.
    pub bytes: Option<u64>,
}

/// What the options say of all topics.
#[derive(Clone, Debug, Default)]
pub(crate) struct TopicLimits {
    /// 0 where there is no limit.
    pub(crate) ms: u64,
    pub(crate) bytes: u64,
    pub(crate) named: HashMap<String, TopicRetention>,
}

/// How long the records of one topic are kept; `None` for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) ms: Option<u64>,
    pub(crate) bytes: Option<u64>,
}

impl Limits {
    pub(crate) fn is_for_ever(self) -> bool {
        self.ms.is_none() && self.bytes.is_none()
    }
}

impl TopicLimits {
    /// Refuses names that are none of a topic.
    pub(crate) fn check(&self) -> Result<()> {
        self.named.keys().try_for_each(|topic| check_topic(topic))
    }

    /// How long the records of a topic are kept.
    pub(crate) fn of(&self, topic: &str) -> Limits {
        let named = self.named.get(topic).copied().unwrap_or_default();
        let limit = |named: Option<u64>, all| Some(named.unwrap_or(all)).filter(|&limit| limit > 0);
        Limits {
            ms: limit(named.ms, self.ms),
            bytes: limit(named.bytes, self.bytes),
        }
    }

    /// Whether all records of all topics are kept for ever.
    pub(crate) fn are_none(&self) -> bool {
        let is_none =
            |named: &TopicRetention| named.ms.unwrap_or(0) == 0 && named.bytes.unwrap_or(0) == 0;
        self.ms == 0 && self.bytes == 0 && self.named.values().all(is_none)
    }
}
