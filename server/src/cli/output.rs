//! What commands print.

use std::io::{self, BufWriter, StdoutLock, Write as _};

use serde::Serialize;

/// Stdout, buffered, in one of two forms.
pub(super) struct Output {
    pub(super) json: bool,
    out: BufWriter<StdoutLock<'static>>,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            out: BufWriter::new(io::stdout().lock()),
        }
    }

    /// A line: an object, or words for people.
    pub(super) fn line(&mut self, object: &impl Serialize, words: &str) -> io::Result<()> {
        if self.json {
            serde_json::to_writer(&mut self.out, object)?;
            self.out.write_all(b"\n")
        } else {
            writeln!(self.out, "{words}")
        }
    }

    /// Bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// Passes on what is buffered.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Bytes for a person's eyes, on one line: text where it is text, escapes elsewhere.
pub(super) fn visible(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}
