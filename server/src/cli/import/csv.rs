//! CSV (RFC 4180) under a header: each row becomes an object of strings, fields in the order of
//! the header. A row whose quotes do not pair up is bad: rows that follow it may be lost in it.

mod quotes;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::rc::Rc;

use csv::ByteRecord;

use super::key::{KeyRule, row_number};
use super::row::{Row, Rows, Trouble};
use quotes::{Fault, Quotes};

/// The rows of a CSV file.
pub(super) struct CsvRows<R> {
    reader: csv::Reader<Guarded<R>>,
    seen: Rc<RefCell<Seen>>,
    names: Vec<String>,
    key: Column,
    number: u64,
    record: ByteRecord,
    ended: bool,
}

/// Where the key stands in a record.
enum Column {
    At(usize),
    RowNumber,
}

/// The longest record. An opening quote without its end would otherwise read the whole file.
const RECORD_BYTES_MAX: u64 = 32 * 1024 * 1024;
const BYTE_ORDER_MARK: char = '\u{feff}';

impl<R: Read> CsvRows<R> {
    pub(super) fn new(from: R, key: KeyRule) -> Result<Self, String> {
        let seen = Rc::new(RefCell::new(Seen::default()));
        let guarded = Guarded {
            from,
            seen: Rc::clone(&seen),
        };
        let mut reader = csv::ReaderBuilder::new()
            .flexible(true)
            .from_reader(guarded);
        let header = reader.headers().cloned();
        let header = header.map_err(|error| seen.borrow().of_header(&error))?;
        if let Some(fault) = seen.borrow_mut().finish(reader.position().byte()) {
            return Err(format!("line {}: {}", fault.line(), fault.why));
        }
        let mut names: Vec<String> = header.iter().map(str::to_owned).collect();
        match names.first_mut() {
            Some(first) => {
                if let Some(rest) = first.strip_prefix(BYTE_ORDER_MARK) {
                    *first = rest.to_owned();
                }
            }
            None => return Err("the file has no header".to_owned()),
        }
        for (at, name) in names.iter().enumerate() {
            if names[..at].contains(name) {
                let what = format_args!("it names the field {name:?} twice");
                return Err(seen.borrow().of_header(&what));
            }
        }
        let key = match key {
            KeyRule::RowNumber => Column::RowNumber,
            KeyRule::Field(field) => match names.iter().position(|name| *name == field) {
                Some(at) => Column::At(at),
                None => {
                    let names = names.join(", ");
                    let what = format_args!("it has no field {field:?}; it has {names}");
                    return Err(seen.borrow().of_header(&what));
                }
            },
        };
        let record = ByteRecord::new();
        Ok(Self {
            reader,
            seen,
            names,
            key,
            number: 0,
            record,
            ended: false,
        })
    }

    fn row(&self, line: u64) -> Result<Row, Trouble> {
        let (has, wants) = (self.record.len(), self.names.len());
        if has != wants {
            return Err(Trouble::bad(
                line,
                format!("{has} fields, the header has {wants}"),
            ));
        }
        let mut value = vec![b'{'];
        for (name, field) in self.names.iter().zip(&self.record) {
            let field = std::str::from_utf8(field)
                .map_err(|_| Trouble::bad(line, format!("the field {name:?} is not UTF-8")))?;
            if value.len() > 1 {
                value.push(b',');
            }
            let written = serde_json::to_writer(&mut value, name);
            value.push(b':');
            written
                .and_then(|()| serde_json::to_writer(&mut value, field))
                .map_err(|error| Trouble::bad(line, error.to_string()))?;
        }
        value.push(b'}');
        let key = match self.key {
            Column::At(at) => self.record[at].to_vec(),
            Column::RowNumber => row_number(self.number).map_err(|why| Trouble::bad(line, why))?,
        };
        Row::new(line, key, value)
    }
}

impl<R: Read> Rows for CsvRows<R> {
    fn next(&mut self) -> Option<Result<Row, Trouble>> {
        if self.ended {
            return None;
        }
        let start = self.reader.position().byte();
        match self.reader.read_byte_record(&mut self.record) {
            Ok(true) => {
                self.number += 1;
                let mut seen = self.seen.borrow_mut();
                let line = seen.line_at(start);
                let fault = seen.finish(self.reader.position().byte());
                drop(seen);
                Some(match fault {
                    Some(fault) => Err(Trouble::bad(fault.line(), fault.why)),
                    None => self.row(line),
                })
            }
            Ok(false) => {
                self.ended = true;
                None
            }
            Err(error) => {
                self.ended = true;
                let mut seen = self.seen.borrow_mut();
                let line = seen.line_at(start);
                let line = seen.quotes.open_on().unwrap_or(line);
                Some(Err(Trouble::fatal(line, error)))
            }
        }
    }

    fn position(&self) -> u64 {
        self.reader.position().byte()
    }
}

/// A source that gives up on a record without end, and knows on which line what begins.
struct Guarded<R> {
    from: R,
    seen: Rc<RefCell<Seen>>,
}

/// What has been seen of a source.
///
/// The parser's own line numbers are those before the blank lines, and before the `\n` of a
/// `\r\n`, that it skips on its way to a record, so they are not those where a record begins.
struct Seen {
    /// Bytes read for the record that is being read.
    unfinished: u64,
    offset: u64,
    line: u64,
    /// Whether the last byte ended a line.
    between: bool,
    /// Where something begins after the end of a line, and on which line, for what the parser has
    /// not reached yet.
    begins: VecDeque<(u64, u64)>,
    quotes: Quotes,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            unfinished: 0,
            offset: 0,
            line: 1,
            between: true,
            begins: VecDeque::new(),
            quotes: Quotes::default(),
        }
    }
}

impl Seen {
    fn take(&mut self, bytes: &[u8]) {
        self.unfinished += bytes.len() as u64;
        for &byte in bytes {
            let ends = matches!(byte, b'\n' | b'\r');
            if self.between && !ends {
                self.begins.push_back((self.offset, self.line));
            }
            self.between = ends;
            self.quotes.take(byte, self.offset, self.line);
            self.line += u64::from(byte == b'\n');
            self.offset += 1;
        }
    }

    /// A record that ends at this offset was read: what is wrong with its quotes.
    fn finish(&mut self, end: u64) -> Option<Fault> {
        // What is buffered of the next records was counted before; a little slack does no harm.
        self.unfinished = 0;
        self.quotes.fault_before(end)
    }

    fn of_header(&self, what: &dyn fmt::Display) -> String {
        let line = self.begins.front().map_or(self.line, |(_, line)| *line);
        format!("line {line}: the header: {what}")
    }

    /// The line of the first record that begins at this offset or after it.
    fn line_at(&mut self, offset: u64) -> u64 {
        while self
            .begins
            .front()
            .is_some_and(|(begin, _)| *begin < offset)
        {
            self.begins.pop_front();
        }
        self.begins.front().map_or(self.line, |(_, line)| *line)
    }
}

impl<R: Read> Read for Guarded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut seen = self.seen.borrow_mut();
        if seen.unfinished > RECORD_BYTES_MAX {
            let detail = "a record of more than 32 MiB: is a closing quote missing?";
            return Err(io::Error::new(io::ErrorKind::InvalidData, detail));
        }
        let read = self.from.read(buffer)?;
        seen.take(&buffer[..read]);
        if read == 0 {
            seen.quotes.end();
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
