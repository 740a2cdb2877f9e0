use super::*;
use crate::identity::{Incarnation, LogId, PartitionId, Term};

fn seed(incarnation: u32) -> Seed {
    Seed::new(
        LogId([7; 16]),
        PartitionId(3),
        Incarnation(incarnation),
        Term(0),
    )
}

const PLACE: Offset = Offset::new(10_000);

fn sealed_batch(payloads: &[&[u8]]) -> Vec<u8> {
    let mut batch = BatchBuffer::new();
    for payload in payloads {
        batch.record(|buffer| buffer.extend_from_slice(payload));
    }
    let mut bytes = Vec::new();
    batch.place_at(PLACE, seed(1), 55, &mut bytes);
    seal_header(&mut bytes, PLACE, seed(1), Offset::new(9_000));
    bytes
}

/// The payloads of a batch if all of it verifies.
fn decode(bytes: &[u8], offset: Offset, seed: Seed) -> Option<Vec<Vec<u8>>> {
    let header = BatchHeader::decode(bytes, offset, seed)?;
    let body_end = usize::try_from(header.batch_bytes()).ok()?;
    let body = bytes.get(BATCH_HEADER_BYTES..body_end)?;
    Records::new(body, offset.plus(BATCH_HEADER_BYTES as u64), seed)
        .map(|record| record.ok().map(|(_, payload)| payload.to_vec()))
        .collect()
}

#[test]
fn what_is_encoded_is_decoded() {
    let bytes = sealed_batch(&[b"one", b"", b"three"]);
    let header = BatchHeader::decode(&bytes, PLACE, seed(1)).unwrap();
    assert_eq!(header.synced, Offset::new(9_000));
    assert_eq!(header.time_ms, 55);
    assert_eq!(header.batch_bytes(), bytes.len() as u64);
    assert_eq!(
        decode(&bytes, PLACE, seed(1)).unwrap(),
        [b"one".to_vec(), b"".to_vec(), b"three".to_vec()]
    );
}

#[test]
fn a_place_returned_by_the_buffer_is_where_the_record_stands() {
    let mut batch = BatchBuffer::new();
    batch.record(|buffer| buffer.extend_from_slice(b"first"));
    assert_eq!(batch.next_place(), 24 + 8 + 5);
    let place = batch.record(|buffer| buffer.extend_from_slice(b"second"));
    let mut bytes = Vec::new();
    batch.place_at(PLACE, seed(1), 0, &mut bytes);
    let at = PLACE.plus(u64::from(place));
    assert_eq!(
        decode_record(&bytes[place as usize..], at, seed(1)),
        Some(&b"second"[..])
    );
}

#[test]
fn every_flipped_bit_is_detected() {
    let whole = sealed_batch(&[b"some payload", b"x"]);
    let expected = decode(&whole, PLACE, seed(1));
    assert!(expected.is_some());
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode(&bytes, PLACE, seed(1)), None, "bit {bit}");
    }
}

#[test]
fn every_truncation_is_detected() {
    let whole = sealed_batch(&[b"some payload", b"x"]);
    for length in 0..whole.len() {
        assert_eq!(
            decode(&whole[..length], PLACE, seed(1)),
            None,
            "{length} bytes"
        );
    }
}

#[test]
fn a_moved_or_stale_batch_does_not_verify() {
    let bytes = sealed_batch(&[b"payload"]);
    assert_eq!(decode(&bytes, PLACE.plus(1), seed(1)), None);
    assert_eq!(decode(&bytes, PLACE, seed(2)), None);
    let record = &bytes[BATCH_HEADER_BYTES..];
    let at = PLACE.plus(BATCH_HEADER_BYTES as u64);
    assert!(decode_record(record, at, seed(1)).is_some());
    assert_eq!(decode_record(record, at.plus(512), seed(1)), None);
    assert_eq!(decode_record(record, at, seed(2)), None);
}

#[test]
fn zeros_are_neither_a_header_nor_a_record() {
    let zeros = [0u8; 64];
    for offset in 0..10_000 {
        assert_eq!(
            BatchHeader::decode(&zeros, Offset::new(offset), seed(1)),
            None
        );
        assert_eq!(decode_record(&zeros, Offset::new(offset), seed(1)), None);
    }
}

#[test]
fn a_length_past_the_end_is_no_record() {
    let mut bytes = sealed_batch(&[b"payload"]);
    bytes[BATCH_HEADER_BYTES + 4..BATCH_HEADER_BYTES + 8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(decode(&bytes, PLACE, seed(1)), None);
}

#[test]
fn the_overhead_stays_within_its_budget() {
    assert_eq!(
        BATCH_HEADER_BYTES + RECORD_HEADER_BYTES,
        32,
        "a lone record, of 40 with its key"
    );
    assert_eq!(
        RECORD_HEADER_BYTES, 8,
        "a record in a batch, of 24 with its key"
    );
}

#[test]
fn the_bytes_of_a_batch_are_these() {
    let hex: String = sealed_batch(&[b"k=v"])
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, include_str!("batch.hex").trim());
}

#[test]
fn a_header_that_vouches_for_4_gib_less_than_its_place_is_refused_as_the_encoder_refuses_it() {
    let place = Offset::new(1 << 40);
    let mut batch = sealed_batch(&[b"payload"]);
    for (behind, is_taken) in [(u32::MAX - 1, true), (u32::MAX, false)] {
        batch[8..12].copy_from_slice(&behind.to_le_bytes());
        let sum = crc32(&batch[4..BATCH_HEADER_BYTES]) ^ seed(1).header_mask(place);
        batch[..4].copy_from_slice(&sum.to_le_bytes());
        let header = BatchHeader::decode(&batch, place, seed(1));
        assert_eq!(header.is_some(), is_taken, "{behind}");
    }
}
