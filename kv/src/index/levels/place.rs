//! What stands in the log where the index says so.

use cairn_log::{Offset, Partition};

use super::LevelError;
use crate::index::merged::{Entry, EntryKind};
use crate::index::run::Place;
use crate::index::versions::{Kind, Location};
use crate::record::{Body, BucketId, Origin, Record};

/// What stands at a place, if it is of this key.
pub(super) fn read_place(
    log: &Partition,
    place: &Place,
    bucket: BucketId,
    key: &[u8],
) -> cairn_log::Result<Option<Location>> {
    log.with_record(Offset::new(place.record), |payload| {
        let record = Record::decode(payload).ok()?;
        let (found, location) = key_location(&record, place.record)?;
        (record.bucket == bucket && found == key).then_some(location)
    })
}

/// The key of a record, and its location; `None` if it is no key's.
pub(crate) fn key_location<'a>(record: &Record<'a>, offset: u64) -> Option<(&'a [u8], Location)> {
    let location = Location {
        version: record.version(offset)?,
        record: offset,
        is_moved: matches!(record.origin, Origin::Moved(_)),
        ..Location::NONE
    };
    match record.body {
        Body::Put(put) => Some((
            put.key,
            Location {
                kind: Kind::Value,
                expires_ms: put.expires_ms,
                value_bytes: put.value.len() as u64,
                ..location
            },
        )),
        Body::LargePut(put) => Some((
            put.key,
            Location {
                kind: Kind::Large,
                expires_ms: put.expires_ms,
                value_bytes: put.large.size,
                ..location
            },
        )),
        Body::Delete { key, .. } => Some((key, location)),
        Body::BucketCreated { .. } | Body::BucketDropped | Body::HistoryFloor { .. } => None,
    }
}

/// The location of a merged entry. Its deadline, if it has one, stands in its record, and so does
/// its version if it was moved, and the size of a large value.
pub(crate) fn complete(log: &Partition, entry: Entry) -> Result<Location, LevelError> {
    let location = Location {
        version: entry.version,
        record: entry.record,
        expires_ms: 0,
        value_bytes: entry.counted_bytes(),
        kind: match entry.kind {
            EntryKind::Value | EntryKind::Expiring => Kind::Value,
            EntryKind::Large => Kind::Large,
        },
        is_moved: entry.is_moved,
    };
    if entry.kind == EntryKind::Value && !entry.is_moved {
        return Ok(location);
    }
    let completed = log.with_record(Offset::new(entry.record), |payload| {
        let record = Record::decode(payload).ok()?;
        Some(key_location(&record, entry.record)?.1)
    })?;
    // A record that is not what the index says shows when its value is read.
    Ok(completed.unwrap_or(location))
}
