//! How far a long command has come: one line on stderr, redrawn, where stderr is a terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// A line of progress.
pub(super) struct Progress {
    what: &'static str,
    shown: bool,
    drawn: Instant,
}

const REDRAW: Duration = Duration::from_millis(100);

impl Progress {
    pub(super) fn new(what: &'static str, json: bool) -> Self {
        let shown = !json && std::io::stderr().is_terminal();
        Self {
            what,
            shown,
            drawn: Instant::now(),
        }
    }

    /// Tells how much is done, of how much if that is known.
    pub(super) fn at(&mut self, done: u64, of: Option<u64>) {
        if !self.shown || self.drawn.elapsed() < REDRAW {
            return;
        }
        self.drawn = Instant::now();
        let text = match of {
            Some(of) if of > 0 => {
                let percent = done.min(of) * 100 / of;
                format!("\r{} {done} of {of} ({percent} %)", self.what)
            }
            _ => format!("\r{} {done}", self.what),
        };
        // A terminal that went away takes the line with it.
        let _ = write!(std::io::stderr(), "{text}\x1b[K");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
