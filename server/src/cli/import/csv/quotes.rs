//! Quotes of a CSV file that do not pair up.
//!
//! The parser takes any text: a field whose quote is not closed goes on to the next quote in the
//! file, or to its end, and rows that follow are lost in it. So the same bytes are followed here, by
//! the parser's own rules, and each field that no writer of CSV makes is kept as a fault.

use std::collections::VecDeque;

/// Follows the quotes of a file, byte by byte.
#[derive(Default)]
pub(super) struct Quotes {
    place: Place,
    /// How many bytes of a mark at the beginning of the file were seen.
    marked: usize,
    /// In the order of the file, as far as no record has taken them.
    faults: VecDeque<Fault>,
}

/// What is wrong with a quoted field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    opening: Opening,
    pub(super) why: &'static str,
}

/// Where a quote opens a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Opening {
    offset: u64,
    line: u64,
}

#[derive(Clone, Copy, Default)]
enum Place {
    #[default]
    FieldStart,
    /// In a field that no quote opened, or past what one has opened. Quotes mean nothing there.
    Bare,
    Quoted(Opening),
    /// After a quote in a quoted field: it closes the field, unless another follows.
    Closing(Opening),
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const UNCLOSED: &str = "the quote that opens a field here is not closed before the end of the file";
const GOES_ON: &str = "the field that a quote opens here goes on after its closing quote: one is \
                       missing, or one inside is not written twice";

impl Quotes {
    /// Follows one more byte, at this offset and on this line.
    pub(super) fn take(&mut self, byte: u8, offset: u64, line: u64) {
        let ends_field = matches!(byte, b',' | b'\n' | b'\r');
        self.place = match self.place {
            Place::FieldStart if byte == b'"' => Place::Quoted(Opening { offset, line }),
            Place::Quoted(opening) if byte == b'"' => Place::Closing(opening),
            Place::Quoted(opening) => Place::Quoted(opening),
            Place::Closing(opening) if byte == b'"' => Place::Quoted(opening),
            _ if ends_field => Place::FieldStart,
            Place::Closing(opening) => {
                self.add(opening, GOES_ON);
                Place::Bare
            }
            Place::FieldStart | Place::Bare => Place::Bare,
        };
        if offset == self.marked as u64 && BYTE_ORDER_MARK.get(self.marked) == Some(&byte) {
            self.marked += 1;
            if self.marked == BYTE_ORDER_MARK.len() {
                self.place = Place::FieldStart;
            }
        }
    }

    /// There are no more bytes.
    pub(super) fn end(&mut self) {
        if let Place::Quoted(opening) = self.place {
            self.add(opening, UNCLOSED);
            self.place = Place::Bare;
        }
    }

    /// The first fault of what lies before this offset, all of which is done with.
    pub(super) fn fault_before(&mut self, offset: u64) -> Option<Fault> {
        let mut first = None;
        while let Some(fault) = self
            .faults
            .pop_front_if(|fault| fault.opening.offset < offset)
        {
            first.get_or_insert(fault);
        }
        first
    }

    /// The line on which a quote has opened the field that the last byte is in.
    pub(super) fn open_on(&self) -> Option<u64> {
        match self.place {
            Place::Quoted(opening) => Some(opening.line),
            _ => None,
        }
    }

    fn add(&mut self, opening: Opening, why: &'static str) {
        self.faults.push_back(Fault { opening, why });
    }
}

impl Fault {
    /// The line on which the quote opens.
    pub(super) fn line(&self) -> u64 {
        self.opening.line
    }
}

#[cfg(test)]
mod tests;
