//! NDJSON: an object a line, kept byte for byte. Blank lines are let through.

use std::io::BufRead;

use cairn_sdk::wire::VALUE_BYTES_MAX;

use super::key::KeyRule;
use super::lines::{Line, Lines};
use super::row::{Row, Rows, Trouble};

/// The rows of an NDJSON file.
pub(super) struct NdjsonRows<R> {
    lines: Lines<R>,
    key: KeyRule,
    number: u64,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl<R: BufRead> NdjsonRows<R> {
    pub(super) fn new(from: R, key: KeyRule) -> Self {
        Self {
            lines: Lines::new(from, VALUE_BYTES_MAX),
            key,
            number: 0,
        }
    }

    fn row(&self, text: Vec<u8>) -> Result<Row, Trouble> {
        let line = self.lines.line;
        let key = match std::str::from_utf8(&text) {
            Ok(text) => self.key.of_json(text, self.number),
            Err(error) => Err(format!("not UTF-8 at column {}", error.valid_up_to() + 1)),
        };
        Row::new(line, key.map_err(|why| Trouble::bad(line, why))?, text)
    }
}

impl<R: BufRead> Rows for NdjsonRows<R> {
    fn next(&mut self) -> Option<Result<Row, Trouble>> {
        loop {
            let mut text = match self.lines.next() {
                Ok(None) => return None,
                Ok(Some(Line::Whole(text))) => text,
                Ok(Some(Line::TooLong)) => {
                    self.number += 1;
                    let why = format!("a row of more than {VALUE_BYTES_MAX} bytes");
                    return Some(Err(Trouble::bad(self.lines.line, why)));
                }
                Err(error) => return Some(Err(Trouble::fatal(self.lines.line + 1, error))),
            };
            if self.lines.line == 1 && text.starts_with(BYTE_ORDER_MARK) {
                text.drain(..BYTE_ORDER_MARK.len());
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            self.number += 1;
            return Some(self.row(text));
        }
    }

    fn position(&self) -> u64 {
        self.lines.position
    }
}

#[cfg(test)]
mod tests;
