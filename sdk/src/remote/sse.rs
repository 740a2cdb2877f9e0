//! `text/event-stream`, taken apart as it arrives (WHATWG HTML, "Server-sent events").

/// A message: what stands between two blank lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) event: Option<String>,
    pub(super) id: Option<String>,
    pub(super) data: Option<String>,
}

/// A line longer than this is none of ours: the longest event carries a value of 64 KiB.
pub(super) const LINE_BYTES_MAX: usize = 1 << 20;

/// Takes bytes, however they were split, and gives messages.
#[derive(Debug, Default)]
pub(super) struct Parser {
    bytes: Vec<u8>,
    /// Bytes of it that have become lines.
    taken: usize,
    /// Bytes of it in which no end of a line was found.
    searched: usize,
    message: Message,
}

/// A line over [`LINE_BYTES_MAX`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Parser {
    /// Takes more bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.searched -= self.taken;
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message that is whole. One without any field is skipped.
    pub(super) fn next(&mut self) -> Result<Option<Message>, TooLong> {
        while let Some(line) = self.line()? {
            if !line.is_empty() {
                self.field(&line);
            } else if self.message != Message::default() {
                return Ok(Some(std::mem::take(&mut self.message)));
            }
        }
        Ok(None)
    }

    fn line(&mut self) -> Result<Option<String>, TooLong> {
        let fresh = &self.bytes[self.searched..];
        let Some(length) = fresh.iter().position(|&byte| byte == b'\n') else {
            self.searched = self.bytes.len();
            return match self.searched - self.taken > LINE_BYTES_MAX {
                true => Err(TooLong),
                false => Ok(None),
            };
        };
        let end = self.searched + length;
        let line = &self.bytes[self.taken..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = String::from_utf8_lossy(line).into_owned();
        (self.taken, self.searched) = (end + 1, end + 1);
        Ok(Some(line))
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => self.message.event = Some(value.to_owned()),
            "id" => self.message.id = Some(value.to_owned()),
            "data" => match &mut self.message.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                none => *none = Some(value.to_owned()),
            },
            // Comments, which have an empty name, and what is not known.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
