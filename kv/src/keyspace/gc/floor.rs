//! The history floor: how far back moments can still be asked for, and the record that says so.

use std::sync::atomic::Ordering;

use cairn_log::{BatchBuffer, Claim};

use super::short::FILES_BYTES;
use crate::error::Result;
use crate::index::state::IndexState;
use crate::keyspace::Keyspace;
use crate::record::{Body, BucketId, Origin, Record};

impl Keyspace {
    /// Logs a history floor, if it is higher than the one there is.
    pub(super) fn raise_floor(&self, floor: u64) -> Result<()> {
        if floor <= self.floor() {
            return Ok(());
        }
        let mut batch = BatchBuffer::new();
        let place = batch.next_place();
        let record = Record {
            origin: Origin::Here { place },
            bucket: BucketId(0),
            body: Body::HistoryFloor { version: floor },
        };
        batch.record(|bytes| record.encode(bytes));
        let commit = loop {
            let mut sequencer = self.sequencer.lock();
            let appended =
                self.append_control(&mut sequencer, Claim::Collect, &batch, |_, _| {})?;
            drop(sequencer);
            match appended {
                Some((appended, _)) => break appended.commit,
                None => self
                    .log
                    .make_room_claiming(Claim::Collect, batch.byte_len())?,
            }
        };
        commit.wait()?;
        self.floor.store(floor, Ordering::Release);
        Ok(())
    }

    /// The least version that time and bytes leave to history; the first of a segment, so that the
    /// moments it leaves are all in retained ones.
    pub(super) fn floor_due(&self, state: &IndexState) -> u64 {
        let now_ms = self.clock.now_ms();
        let rows = state.buckets.iter().filter(|row| row.dropped.is_none());
        let options: Option<Vec<_>> = rows
            .map(|row| Some(row.creation.as_ref()?.options))
            .collect();
        // What a bucket asks for is not known until its creation is merged again.
        let Some(options) = options else {
            return 0;
        };
        let options = options.iter();
        let history_ms = options
            .clone()
            .map(|options| options.history_ms.unwrap_or(HISTORY_MS))
            .max();
        let of_buckets: u64 = options
            .filter_map(|options| options.history_bytes)
            .fold(0, u64::saturating_add);
        let live_bytes: u64 = state.segments.iter().map(|row| row.live_bytes).sum();
        let shared = (live_bytes / 4)
            .min(HISTORY_BYTES_MAX)
            .max(self.options.history_bytes_min);
        let bytes_max = shared.saturating_add(of_buckets);
        let oldest_ms = now_ms.saturating_sub(history_ms.unwrap_or(HISTORY_MS));
        let mut bytes = 0_u64;
        for row in state.segments.iter().rev() {
            bytes = bytes.saturating_add(row.superseded_bytes.max(row.dead_bytes()));
            if self.is_short(row) {
                // As long as it is kept, so are its files.
                bytes = bytes.saturating_add(FILES_BYTES);
            }
            if bytes > bytes_max || row.newest_time_ms < oldest_ms {
                let spans = self.log.segments();
                let mut behind = spans
                    .iter()
                    .filter(|span| span.base.get() >= row.end && span.base < span.end);
                return behind.next().map_or(0, |span| span.base.get());
            }
        }
        0
    }
}

/// How long superseded versions are kept if a bucket does not say.
const HISTORY_MS: u64 = 3_600_000;

/// The most bytes of superseded versions that the buckets of a partition share.
const HISTORY_BYTES_MAX: u64 = 64 << 20;
