//! Appends to topics: what is asked, and whether a record stands where the answer said.
//!
//! Records are of a fixed size and go to all topics in turn, so that none is special. Each is read
//! back by topic and offset, and its bytes are those of its row.

use super::client::{Connection, Load, Operation, Written, runtime};
use crate::data;
use crate::engines::Outcome;
use std::io::Write as _;

const TOPICS: u64 = 500;
pub(super) const NAME_BYTES: usize = "topic-000".len();
pub(super) const RECORD_BYTES: usize = 256;
/// Below it are the topics of the partition.
const PATH: &str = "/v1/log/0";

fn name(row: u64) -> String {
    format!("topic-{:03}", row % TOPICS)
}

/// The request that appends the record of a row.
pub(super) fn write_append(row: u64, host: &str, out: &mut Vec<u8>) -> Outcome<()> {
    let mut record = [0; RECORD_BYTES];
    data::fill_value(row, 0, &mut record);
    let topic = name(row);
    write!(
        out,
        "POST {PATH}/{topic} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {RECORD_BYTES}\r\n\r\n"
    )?;
    out.extend_from_slice(&record);
    Ok(())
}

/// The offset in the answer to an append.
pub(super) fn offset_of(answer: &[u8]) -> Outcome<u64> {
    let text = std::str::from_utf8(answer)?;
    number_after(text, "\"offset\":").ok_or_else(|| format!("no offset in {text:?}").into())
}

/// How many records do not stand where they were said to, as they were sent.
pub(super) fn compare(load: &Load, written: &[Written]) -> Outcome<u64> {
    runtime()?.block_on(async {
        let mut connection = Connection::open(load).await?;
        let mut wrong = 0;
        for &Written { row, place } in written {
            let (topic, host) = (name(row), load.address.to_string());
            let request = format!(
                "GET {PATH}?topic={topic}&from={place}&limit=1 HTTP/1.1\r\nhost: {host}\r\n\r\n"
            );
            let line = connection
                .exchange(Operation::Get, request.as_bytes())
                .await?;
            wrong += u64::from(!is_record(line, row, place));
        }
        Ok(wrong)
    })
}

/// Whether a line of the log is the record of a row at its place.
pub(super) fn is_record(line: &[u8], row: u64, place: u64) -> bool {
    let mut record = [0; RECORD_BYTES];
    data::fill_value(row, 0, &mut record);
    let data = format!("\"data_b64\":\"{}\"", base64(&record));
    let topic = format!("\"topic\":\"{}\"", name(row));
    std::str::from_utf8(line).is_ok_and(|line| {
        number_after(line, "\"offset\":") == Some(place)
            && line.contains(&topic)
            && line.contains(&data)
    })
}

fn number_after(text: &str, name: &str) -> Option<u64> {
    let (_, rest) = text.split_once(name)?;
    let end = rest.find(|next: char| !next.is_ascii_digit());
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

/// RFC 4648, with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let at = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let word = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let value = (word >> (18 - 6 * digit) & 63) as usize;
            let is_there = digit <= three.len();
            text.push(if is_there { DIGITS[value] } else { b'=' } as char);
        }
    }
    text
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
