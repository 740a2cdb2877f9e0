//! Scanning the newest segment after an unclean close: where its whole batches end, and what the
//! bytes behind them still vouch for.

use std::path::Path;

use crate::error::{Error, Result};
use crate::frame::{BATCH_HEADER_BYTES, BatchHeader, Records, looks_like_header};
use crate::identity::Offset;
use crate::segment::ahead::Ahead;
use crate::segment::sectors::Header;
use crate::segment::{PAGE_BYTES, Segment};
use crate::vfs::Vfs;

/// What a scan found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// The end of the last whole batch before the first damage (X).
    pub(crate) end: Offset,
    /// The greatest W of any batch header that verifies, before or behind the damage.
    pub(crate) vouched: Offset,
    /// One past the last byte of the file that is not zero.
    pub(crate) used_end: Offset,
}

/// Scans a whole segment file. Cost: one pass over its bytes, through a map of its own; the
/// zeroed part at memory speed.
pub(crate) fn scan(vfs: &dyn Vfs, path: &Path, header: Header) -> Result<Scanned> {
    let io = |error| Error::io("scan", path, error);
    // A handle of its own, because this map shows more than the log will.
    let file = vfs.open(path).map_err(io)?;
    let length = file.length().map_err(io)?;
    let limit = header
        .base
        .plus(header.file_bytes.min(length).saturating_sub(PAGE_BYTES));
    // The file was found, so nobody writes it any more, and all of it may be read.
    let segment = Segment::new(path, header, file.as_ref(), limit)?;
    let mut scanned = Scanned {
        end: header.base,
        vouched: header.base,
        used_end: header.base,
    };
    let mut ahead = Ahead::default();
    while let Some((end, synced)) = whole_batch(&segment, scanned.end, limit, &mut ahead) {
        scanned.end = end;
        scanned.vouched = scanned.vouched.max(synced);
    }
    search(&segment, limit, &mut scanned, &mut ahead);
    Ok(scanned)
}

/// The end and the W of the batch at `offset`, if all of it verifies.
fn whole_batch(
    segment: &Segment,
    offset: Offset,
    limit: Offset,
    ahead: &mut Ahead,
) -> Option<(Offset, Offset)> {
    let body_start = offset.plus(BATCH_HEADER_BYTES as u64);
    let head = segment.bytes(offset..body_start.min(limit))?;
    let header = BatchHeader::decode(&head, offset, segment.seed())?;
    let end = offset.plus(header.batch_bytes());
    ahead.come_to(segment, offset, end);
    let body = segment.bytes(body_start..end)?;
    Records::new(&body, body_start, segment.seed())
        .all(|record| record.is_ok())
        .then_some((end, header.synced))
}

/// Looks for headers that verify behind the first damage, at every byte: a torn tail may hold
/// batches whose W proves that what is damaged was synced.
fn search(segment: &Segment, limit: Offset, scanned: &mut Scanned, ahead: &mut Ahead) {
    let mut start = scanned.end;
    scanned.used_end = start;
    while start < limit {
        let window_end = start.plus(WINDOW_BYTES).min(limit);
        // Headers that begin in this window may reach into the next.
        let reach = window_end.plus(BATCH_HEADER_BYTES as u64 - 1).min(limit);
        ahead.come_to(segment, start, reach);
        let Some(window) = segment.bytes(start..reach) else {
            return;
        };
        if let Some(last) = last_used(&window) {
            scanned.used_end = scanned.used_end.max(start.plus(last as u64 + 1));
            for at in 0..window.len() {
                let bytes = &window[at..];
                if !looks_like_header(bytes) {
                    continue;
                }
                let offset = start.plus(at as u64);
                if let Some(header) = BatchHeader::decode(bytes, offset, segment.seed()) {
                    scanned.vouched = scanned.vouched.max(header.synced);
                }
            }
        }
        start = window_end;
    }
}

/// The place of the last byte that is not zero.
fn last_used(window: &[u8]) -> Option<usize> {
    let zeros = [0; ZEROS_BYTES];
    let mut end = window.len();
    for chunk in window.rchunks(ZEROS_BYTES) {
        if *chunk != zeros[..chunk.len()] {
            return chunk
                .iter()
                .rposition(|&byte| byte != 0)
                .map(|at| end - chunk.len() + at);
        }
        end -= chunk.len();
    }
    None
}

const WINDOW_BYTES: u64 = 1 << 20;
const ZEROS_BYTES: usize = 4096;
