//! Lines of bounded length, counted.

use std::io::{self, BufRead};

/// Reads a file line by line and keeps at most `bytes_max` of each.
pub(super) struct Lines<R> {
    from: R,
    bytes_max: usize,
    /// Lines read.
    pub(super) line: u64,
    /// Bytes read.
    pub(super) position: u64,
}

/// A line without its end.
pub(super) enum Line {
    Whole(Vec<u8>),
    /// Longer than is kept.
    TooLong,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(from: R, bytes_max: usize) -> Self {
        Self {
            from,
            bytes_max,
            line: 0,
            position: 0,
        }
    }

    /// The next line, without `\n` or `\r\n`; the last one may have no end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        let mut text = Vec::new();
        let mut too_long = false;
        let mut any = false;
        loop {
            let buffer = match self.from.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if buffer.is_empty() {
                break;
            }
            any = true;
            let end = buffer.iter().position(|&byte| byte == b'\n');
            let piece = &buffer[..end.unwrap_or(buffer.len())];
            too_long |= text.len() + piece.len() > self.bytes_max;
            if !too_long {
                text.extend_from_slice(piece);
            }
            let used = end.map_or(buffer.len(), |end| end + 1);
            self.from.consume(used);
            self.position += used as u64;
            if end.is_some() {
                break;
            }
        }
        if !any {
            return Ok(None);
        }
        self.line += 1;
        if too_long {
            return Ok(Some(Line::TooLong));
        }
        if text.last() == Some(&b'\r') {
            text.pop();
        }
        Ok(Some(Line::Whole(text)))
    }
}
