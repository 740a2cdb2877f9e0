//! A batch encoded for the log before its order is known, in a buffer that its thread keeps for the
//! next one.

use std::cell::Cell;

use cairn_log::{BatchBuffer, Claim};
use smallvec::SmallVec;

use crate::batch::{EffectRef, OperationRef};
use crate::clock::BelievedClock;
use crate::index::hash::HashSeed;
use crate::index::hot::HotIndex;
use crate::index::memtable::Memtable;
use crate::index::versions::{Kind, Location};
use crate::record::{Body, BucketId, LargePut, Origin, Put, Record};

/// A batch encoded for the log, and what will be entered of it.
pub(in crate::keyspace) struct Draft<'a> {
    pub(super) bucket: BucketId,
    pub(in crate::keyspace) buffer: BatchBuffer,
    pub(super) entries: SmallVec<[DraftEntry<'a>; 1]>,
    pub(super) has_puts: bool,
    pub(super) has_deletes: bool,
}

pub(super) struct DraftEntry<'a> {
    pub(super) key: &'a [u8],
    pub(super) hash: u64,
    /// The version is still open, and `record` counts from the start of the batch.
    pub(super) after: Location,
}

impl DraftEntry<'_> {
    pub(super) fn is_delete(&self) -> bool {
        self.after.kind == Kind::Tombstone
    }
}

impl<'a> Draft<'a> {
    pub(in crate::keyspace) fn encode(
        bucket: BucketId,
        operations: impl ExactSizeIterator<Item = OperationRef<'a>>,
        clock: &BelievedClock,
        seed: HashSeed,
    ) -> Draft<'a> {
        let mut buffer = BUFFER.take().unwrap_or_default();
        let mut entries = SmallVec::with_capacity(operations.len());
        let (mut has_puts, mut has_deletes) = (false, false);
        for operation in operations {
            let place = buffer.next_place();
            let key = operation.key;
            let mut after = Location {
                record: u64::from(place),
                ..Location::NONE
            };
            let body = match operation.effect {
                EffectRef::Put { value, options } => {
                    has_puts = true;
                    after.kind = Kind::Value;
                    after.value_bytes = value.len() as u64;
                    after.expires_ms = options.ttl_ms.map_or(0, |ttl| clock.deadline_ms(ttl));
                    let attributes = options.attributes.block();
                    Body::Put(Put {
                        key,
                        attributes,
                        expires_ms: after.expires_ms,
                        value,
                    })
                }
                EffectRef::LargePut { large, options } => {
                    has_puts = true;
                    after.kind = Kind::Large;
                    after.value_bytes = large.size;
                    after.expires_ms = options.ttl_ms.map_or(0, |ttl| clock.deadline_ms(ttl));
                    Body::LargePut(LargePut {
                        key,
                        attributes: options.attributes.block(),
                        expires_ms: after.expires_ms,
                        large: *large,
                    })
                }
                EffectRef::Delete => {
                    has_deletes = true;
                    let expired = false;
                    Body::Delete { key, expired }
                }
            };
            let record = Record {
                origin: Origin::Here { place },
                bucket,
                body,
            };
            buffer.record(|bytes| record.encode(bytes));
            let hash = seed.hash(bucket, key);
            entries.push(DraftEntry { key, hash, after });
        }
        Draft {
            bucket,
            buffer,
            entries,
            has_puts,
            has_deletes,
        }
    }

    /// Has brought in what entering some of its keys will ask, without waiting for it.
    pub(super) fn prefetch(&self, memtable: &Memtable, hot: &HotIndex, from: usize) {
        for entry in self.entries.iter().skip(from).take(ENTRIES_AHEAD) {
            memtable.prefetch(entry.hash);
            hot.prefetch(entry.hash);
        }
    }

    /// Deletes may take from the reserve: a full disk is freed by them.
    pub(super) fn claim(&self) -> Claim {
        if self.has_puts {
            Claim::Write
        } else {
            Claim::Delete
        }
    }

    /// Keeps the buffer for this thread's next write, unless it has grown large.
    pub(in crate::keyspace) fn recycle(mut self) {
        if self.buffer.byte_len() <= BUFFER_BYTES_KEPT {
            self.buffer.clear();
            BUFFER.set(Some(self.buffer));
        }
    }
}

thread_local! {
    static BUFFER: Cell<Option<BatchBuffer>> = const { Cell::new(None) };
}

/// Keys of a batch whose places are fetched before those before them are entered.
pub(super) const ENTRIES_AHEAD: usize = 8;

/// The largest batch whose buffer a thread keeps.
const BUFFER_BYTES_KEPT: usize = 256 << 10;
