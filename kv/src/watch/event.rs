//! What a watch shows of a batch: its events, and which records are none.

use bytes::Bytes;

use crate::attributes::Attributes;
use crate::record::{Body, BucketId, Origin, Record};

/// What happened to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchEvent {
    /// The key.
    pub key: Bytes,
    /// What became of it.
    pub change: WatchChange,
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchChange {
    /// It was set.
    Put {
        /// The value, unless it is too large to be one record of the log: then it has to be read.
        ///
        /// A value of a large batch borrows from the store's memory map, and keeps that part of
        /// the log from being freed: hold it no longer than needed, or copy it.
        value: Option<Bytes>,
        /// Bytes of the value.
        size: u64,
        /// What stands beside the value.
        attributes: Attributes,
        /// The deadline, in milliseconds since 1970, after which the key no longer exists.
        expires_ms: Option<u64>,
    },
    /// It was removed.
    Delete {
        /// A deadline that passed did it, not a caller.
        expired: bool,
    },
}

/// A record that is shown, borrowed from its payload.
pub(super) struct Shown<'a> {
    key: &'a [u8],
    change: ShownChange<'a>,
}

enum ShownChange<'a> {
    Put {
        value: Option<&'a [u8]>,
        size: u64,
        attributes: &'a [u8],
        expires_ms: u64,
    },
    Delete {
        expired: bool,
    },
}

/// What a watch of `prefix` in `bucket` shows of a record: the one place that decides it.
///
/// A record that was moved is no event: its key got that state earlier, and it was shown then.
pub(super) fn shown<'a>(record: &Record<'a>, bucket: BucketId, prefix: &[u8]) -> Option<Shown<'a>> {
    if record.bucket != bucket || matches!(record.origin, Origin::Moved(_)) {
        return None;
    }
    let shown = match &record.body {
        Body::Put(put) => Shown {
            key: put.key,
            change: ShownChange::Put {
                value: Some(put.value),
                size: put.value.len() as u64,
                attributes: put.attributes,
                expires_ms: put.expires_ms,
            },
        },
        Body::LargePut(put) => Shown {
            key: put.key,
            change: ShownChange::Put {
                value: None,
                size: put.large.size,
                attributes: put.attributes,
                expires_ms: put.expires_ms,
            },
        },
        Body::Delete { key, expired } => Shown {
            key,
            change: ShownChange::Delete { expired: *expired },
        },
        Body::BucketCreated { .. } | Body::BucketDropped | Body::HistoryFloor { .. } => {
            return None;
        }
    };
    shown.key.starts_with(prefix).then_some(shown)
}

impl Shown<'_> {
    /// The event, as parts of the payload it was found in.
    pub(super) fn keep(&self, payload: &Bytes) -> WatchEvent {
        let change = match self.change {
            ShownChange::Put {
                value,
                size,
                attributes,
                expires_ms,
            } => WatchChange::Put {
                value: value.map(|value| payload.slice_ref(value)),
                size,
                attributes: if attributes.is_empty() {
                    Attributes::new()
                } else {
                    Attributes::from_block(payload.slice_ref(attributes))
                },
                expires_ms: Some(expires_ms).filter(|&deadline| deadline != 0),
            },
            ShownChange::Delete { expired } => WatchChange::Delete { expired },
        };
        let key = payload.slice_ref(self.key);
        WatchEvent { key, change }
    }
}
