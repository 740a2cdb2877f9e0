//! Batches as a fuzz target: a batch that verifies is byte for byte what the encoder makes of its
//! header and its records, and no single changed bit lets it verify again.

use super::*;
use crate::fuzzing::{Choices, Target};
use crate::identity::{Incarnation, LogId, PartitionId, Term};

pub(crate) const TARGET: Target = Target {
    name: "log_frames",
    check,
    seeds,
};

/// Far enough up that W can lie as far behind as its field reaches.
const PLACE: Offset = Offset::new(1 << 40);

fn check(bytes: &[u8]) {
    encodes_back(bytes);
    let mut sealed = bytes.to_vec();
    seal(&mut sealed);
    encodes_back(&sealed);
    decodes_back(bytes);
}

fn seed() -> Seed {
    let log = LogId(*b"0123456789abcdef");
    Seed::new(log, PartitionId(3), Incarnation(2), Term(0))
}

/// Bytes that verify are those that the encoder makes.
fn encodes_back(bytes: &[u8]) {
    let Some(header) = BatchHeader::decode(bytes, PLACE, seed()) else {
        return;
    };
    assert!(looks_like_header(bytes), "recovery would pass it by");
    let whole = usize::try_from(header.batch_bytes()).ok();
    let Some(whole) = whole.and_then(|length| bytes.get(..length)) else {
        return;
    };
    let body_start = PLACE.plus(BATCH_HEADER_BYTES as u64);
    let mut batch = BatchBuffer::new();
    for record in Records::new(&whole[BATCH_HEADER_BYTES..], body_start, seed()) {
        let Ok((offset, payload)) = record else {
            return;
        };
        let place = batch.record(|out| out.extend_from_slice(payload));
        assert_eq!(PLACE.plus(u64::from(place)), offset, "where it was found");
    }
    assert_eq!(sealed(&batch, header.time_ms, header.synced), whole);
}

/// Takes the input for payloads, and sees them come back, but not after a bit was flipped.
fn decodes_back(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let (time_ms, behind, bit) = (choices.u64(), choices.u16(), choices.u16());
    let mut batch = BatchBuffer::new();
    let mut payloads = Vec::new();
    while !choices.is_empty() {
        let length = usize::from(choices.byte());
        let payload = choices.take(length);
        batch.record(|out| out.extend_from_slice(payload));
        payloads.push(payload);
    }
    let synced = Offset::new(PLACE.get() - u64::from(behind));
    let mut whole = sealed(&batch, time_ms, synced);
    assert_eq!(
        decoded(&whole),
        Some((time_ms, synced, payloads)),
        "what was written"
    );
    let bit = usize::from(bit) % (whole.len() * 8);
    whole[bit / 8] ^= 1 << (bit % 8);
    assert_eq!(decoded(&whole), None, "with bit {bit} flipped");
}

fn decoded(bytes: &[u8]) -> Option<(u64, Offset, Vec<&[u8]>)> {
    let header = BatchHeader::decode(bytes, PLACE, seed())?;
    let end = usize::try_from(header.batch_bytes()).ok()?;
    let body = bytes.get(BATCH_HEADER_BYTES..end)?;
    let payloads = Records::new(body, PLACE.plus(BATCH_HEADER_BYTES as u64), seed())
        .map(|record| record.ok().map(|(_, payload)| payload))
        .collect::<Option<_>>()?;
    Some((header.time_ms, header.synced, payloads))
}

fn sealed(batch: &BatchBuffer, time_ms: u64, synced: Offset) -> Vec<u8> {
    let mut bytes = Vec::new();
    batch.place_at(PLACE, seed(), time_ms, &mut bytes);
    seal_header(&mut bytes, PLACE, seed(), synced);
    bytes
}

/// Makes every sum right, as far as the lengths make sense.
fn seal(bytes: &mut [u8]) {
    let Some((header, mut rest)) = bytes.split_first_chunk_mut::<BATCH_HEADER_BYTES>() else {
        return;
    };
    let sum = crc32(&header[4..]) ^ seed().header_mask(PLACE);
    header[..4].copy_from_slice(&sum.to_le_bytes());
    let mut offset = PLACE.plus(BATCH_HEADER_BYTES as u64);
    while let Some(length) = record_length(rest) {
        let Some((frame, after)) = rest.split_at_mut_checked(RECORD_HEADER_BYTES + length) else {
            return;
        };
        let sum = crc32(&frame[4..]) ^ seed().record_mask(offset);
        frame[..4].copy_from_slice(&sum.to_le_bytes());
        offset = offset.plus(frame.len() as u64);
        rest = after;
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let long: &[u8] = &[7; 300];
    let batches: [&[&[u8]]; 4] = [&[], &[b""], &[b"one", b"", b"three"], &[long; 3]];
    batches
        .iter()
        .map(|payloads| {
            let mut batch = BatchBuffer::new();
            for payload in *payloads {
                batch.record(|out| out.extend_from_slice(payload));
            }
            sealed(&batch, 1_795_507_200_000, Offset::new(PLACE.get() - 4096))
        })
        .collect()
}
