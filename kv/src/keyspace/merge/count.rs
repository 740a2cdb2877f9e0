//! What a merge enters of a record, and what that changes in what is counted of buckets and
//! segments.

use super::newest::At;
use crate::index::merged::{Entry, EntryKind};
use crate::index::state::IndexState;
use crate::index::versions::Kind;
use crate::limits::PIECE_BYTES_MAX;

pub(super) fn entry(at: &At) -> Entry {
    let location = &at.location;
    let (value_bytes, in_record) = match location.kind {
        Kind::Large => (location.value_bytes.div_ceil(PIECE_BYTES_MAX as u64), 0),
        Kind::Value | Kind::Tombstone => (location.value_bytes, location.value_bytes),
    };
    let beside = at.bytes.saturating_sub(at.key.len() as u64 + in_record);
    Entry {
        record: location.record,
        version: location.version,
        kind: match location.kind {
            Kind::Large => EntryKind::Large,
            _ if location.expires_ms == 0 => EntryKind::Value,
            _ => EntryKind::Expiring,
        },
        is_moved: location.is_moved,
        value_bytes: u32::try_from(value_bytes).unwrap_or(u32::MAX),
        extra_bytes: u32::try_from(beside.next_multiple_of(8)).unwrap_or(u32::MAX),
    }
}

/// Bytes of the record of an entry, as they are counted. Those of a large value's pieces are their
/// own records.
fn record_bytes(entry: &Entry, key_bytes: u64) -> u64 {
    let value_bytes = match entry.kind {
        EntryKind::Large => 0,
        EntryKind::Value | EntryKind::Expiring => u64::from(entry.value_bytes),
    };
    key_bytes + value_bytes + u64::from(entry.extra_bytes)
}

/// Counts what an entry's coming, going or replacement changes.
pub(super) fn count_change(state: &mut IndexState, at: &At, before: Option<Entry>) {
    let key_bytes = at.key.len() as u64;
    let is_value = at.location.kind != Kind::Tombstone;
    if let Some(row) = state.bucket_mut(at.bucket) {
        if let Some(before) = before {
            let bytes = key_bytes + before.counted_bytes();
            row.keys = row.keys.saturating_sub(1);
            row.bytes = row.bytes.saturating_sub(bytes);
        }
        if is_value {
            row.keys += 1;
            row.bytes += key_bytes + entry(at).counted_bytes();
        }
    }
    let superseded = before.map_or(0, |before| count_dead(state, &before, key_bytes));
    if let Some(row) = state.segment_of(at.location.record) {
        if is_value {
            row.live_bytes += record_bytes(&entry(at), key_bytes);
        } else {
            row.tombstone_bytes += at.bytes;
        }
        // What was moved has superseded nothing.
        if !at.location.is_moved {
            row.superseded_bytes += superseded;
        }
    }
}

/// Counts the record of an entry that is gone as dead; says how many bytes that are.
pub(super) fn count_dead(state: &mut IndexState, entry: &Entry, key_bytes: u64) -> u64 {
    let bytes = record_bytes(entry, key_bytes);
    if let Some(row) = state.segment_of(entry.record) {
        row.live_bytes = row.live_bytes.saturating_sub(bytes);
    }
    bytes
}
