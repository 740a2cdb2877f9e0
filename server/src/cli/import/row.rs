//! A row of a file, whatever the form of the file.

use std::fmt;

use cairn_sdk::check_key;
use cairn_sdk::wire::VALUE_BYTES_MAX;

/// A row that can be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The line where it begins, from 1.
    pub(super) line: u64,
    pub(super) key: Vec<u8>,
    /// The row as a JSON object.
    pub(super) value: Vec<u8>,
}

/// A row that cannot be imported; those after it can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) line: u64,
    pub(super) why: String,
}

/// Why there is no row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// This row cannot be imported.
    Bad(Bad),
    /// Nothing from here on can be read.
    Fatal(String),
}

/// The rows of a file, good and bad, in order. Nothing follows after [`Trouble::Fatal`].
pub(super) trait Rows {
    fn next(&mut self) -> Option<Result<Row, Trouble>>;

    /// Bytes of the file read so far, about.
    fn position(&self) -> u64;
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl Trouble {
    pub(super) fn bad(line: u64, why: impl Into<String>) -> Self {
        Trouble::Bad(Bad {
            line,
            why: why.into(),
        })
    }

    pub(super) fn fatal(line: u64, why: impl fmt::Display) -> Self {
        Trouble::Fatal(format!("line {line}: {why}"))
    }
}

impl Row {
    /// A row, if the store takes its key and value.
    pub(super) fn new(line: u64, key: Vec<u8>, value: Vec<u8>) -> Result<Self, Trouble> {
        if let Err(error) = check_key(&key) {
            return Err(Trouble::bad(line, error.detail()));
        }
        if value.len() > VALUE_BYTES_MAX {
            let size = value.len();
            return Err(Trouble::bad(
                line,
                format!("a row of {size} bytes, at most {VALUE_BYTES_MAX} are taken"),
            ));
        }
        Ok(Self { line, key, value })
    }
}
