//! JSON: one array of objects, read element by element.
//!
//! An element is cut out by its brackets and quotes, then checked by the parser. What is kept is
//! its text without the white space between tokens: numbers, escapes and the order of fields stay
//! as they were written.

use std::io::{self, BufRead};

use super::key::KeyRule;
use super::row::{Row, Rows, Trouble};

/// The rows of a JSON file.
pub(super) struct JsonRows<R> {
    bytes: Counted<R>,
    key: KeyRule,
    number: u64,
    ended: bool,
}

/// The longest text of an element, white space included.
const ELEMENT_BYTES_MAX: usize = 32 * 1024 * 1024;
const NO_END: &str = "the file ends before its array does: is it cut short?";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl<R: BufRead> JsonRows<R> {
    pub(super) fn new(mut from: R, key: KeyRule) -> Result<Self, String> {
        let begin = from.fill_buf().map_err(|error| error.to_string())?;
        if begin.starts_with(BYTE_ORDER_MARK) {
            from.consume(BYTE_ORDER_MARK.len());
        }
        let mut bytes = Counted {
            from,
            line: 1,
            position: 0,
        };
        match bytes.skip_blank().map_err(|error| error.to_string())? {
            Some(b'[') => bytes.next().map_err(|error| error.to_string())?,
            Some(_) => {
                let line = bytes.line;
                return Err(format!(
                    "line {line}: a JSON file is one array of objects; for an object a line use \
                     --format ndjson"
                ));
            }
            None => return Err("the file is empty".to_owned()),
        };
        Ok(Self {
            bytes,
            key,
            number: 0,
            ended: false,
        })
    }

    fn element(&mut self) -> Result<Option<Row>, Trouble> {
        let fatal = |line, error: io::Error| Trouble::fatal(line, error);
        let first = self
            .bytes
            .skip_blank()
            .map_err(|error| fatal(self.bytes.line, error))?;
        let line = self.bytes.line;
        match first {
            Some(b']') if self.number == 0 => return self.end().map(|()| None),
            None => return Err(Trouble::fatal(line, NO_END)),
            Some(b',' | b']') => return Err(Trouble::fatal(line, "an element is missing")),
            Some(_) => {}
        }
        let text = self.bytes.cut().map_err(|error| fatal(line, error))?;
        self.number += 1;
        // The separator is read with the element, so the next one begins at its own line.
        match self
            .bytes
            .skip_blank()
            .map_err(|error| fatal(self.bytes.line, error))?
        {
            Some(b',') => {
                self.bytes
                    .next()
                    .map_err(|error| fatal(self.bytes.line, error))?;
            }
            Some(b']') => self.end()?,
            // An element is cut up to a `,`, a `]` or the end.
            _ => return Err(Trouble::fatal(self.bytes.line, NO_END)),
        }
        self.row(line, text).map(Some)
    }

    fn row(&self, line: u64, text: Option<Vec<u8>>) -> Result<Row, Trouble> {
        let Some(text) = text else {
            let why = format!("a row of more than {ELEMENT_BYTES_MAX} bytes");
            return Err(Trouble::bad(line, why));
        };
        let text = String::from_utf8(text).map_err(|_| Trouble::bad(line, "not UTF-8"))?;
        let key = self
            .key
            .of_json(&text, self.number)
            .map_err(|why| Trouble::bad(line, why))?;
        Row::new(line, key, without_blanks(&text))
    }

    /// Reads the end of the array, after which there is nothing.
    fn end(&mut self) -> Result<(), Trouble> {
        self.ended = true;
        let rest = self.bytes.next().and_then(|_| self.bytes.skip_blank());
        match rest {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(Trouble::fatal(
                self.bytes.line,
                "something follows the array",
            )),
            Err(error) => Err(Trouble::fatal(self.bytes.line, error)),
        }
    }
}

impl<R: BufRead> Rows for JsonRows<R> {
    fn next(&mut self) -> Option<Result<Row, Trouble>> {
        if self.ended {
            return None;
        }
        let element = self.element();
        if matches!(element, Err(Trouble::Fatal(_))) {
            self.ended = true;
        }
        element.transpose()
    }

    fn position(&self) -> u64 {
        self.bytes.position
    }
}

/// Bytes with the line that they stand on.
struct Counted<R> {
    from: R,
    line: u64,
    position: u64,
}

impl<R: BufRead> Counted<R> {
    fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.from.fill_buf() {
                Ok(buffer) => return Ok(buffer.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn next(&mut self) -> io::Result<Option<u8>> {
        let byte = self.peek()?;
        if let Some(byte) = byte {
            self.from.consume(1);
            self.position += 1;
            self.line += u64::from(byte == b'\n');
        }
        Ok(byte)
    }

    /// The next byte that is not white space, not read yet.
    fn skip_blank(&mut self) -> io::Result<Option<u8>> {
        while let Some(byte) = self.peek()? {
            if !is_blank(byte) {
                return Ok(Some(byte));
            }
            self.next()?;
        }
        Ok(None)
    }

    /// Cuts out one element: up to the `,` or `]` outside of all brackets and strings that ends
    /// it, which is not read. `None` when it is longer than is kept.
    fn cut(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut text = Vec::new();
        let mut depth = 0u32;
        let (mut in_string, mut escaped) = (false, false);
        while let Some(byte) = self.peek()? {
            if in_string {
                in_string = escaped || byte != b'"';
                escaped = !escaped && byte == b'\\';
            } else {
                match byte {
                    b'"' => in_string = true,
                    b'{' | b'[' => depth += 1,
                    b',' | b']' if depth == 0 => break,
                    b'}' | b']' => depth = depth.saturating_sub(1),
                    _ => {}
                }
            }
            self.next()?;
            if text.len() <= ELEMENT_BYTES_MAX {
                text.push(byte);
            }
        }
        Ok((text.len() <= ELEMENT_BYTES_MAX).then(|| text.trim_ascii_end().to_vec()))
    }
}

/// JSON without the white space between tokens. The text has been parsed, so a blank between two
/// tokens that would merge cannot occur.
fn without_blanks(text: &str) -> Vec<u8> {
    let (mut in_string, mut escaped) = (false, false);
    text.bytes()
        .filter(|&byte| {
            if in_string {
                in_string = escaped || byte != b'"';
                escaped = !escaped && byte == b'\\';
                return true;
            }
            in_string = byte == b'"';
            !is_blank(byte)
        })
        .collect()
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests;
