//! The first pass over a file: what of it will be imported.

use super::row::{Bad, Rows, Trouble};

/// What an import puts up with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tolerance {
    /// Of rows with the same key the last one counts.
    pub(super) last_wins: bool,
    /// Rows that cannot be imported are left out.
    pub(super) skip_bad: bool,
}

/// Which rows of a file are imported.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Rows in the file that could be imported by themselves.
    good: u64,
    /// The first bad rows, to be shown.
    shown: Vec<Bad>,
    bad: u64,
    /// Places of rows that another one with the same key replaces, ascending.
    replaced: Vec<u64>,
    /// Whether replaced rows count as skipped; with `last_wins` they do not.
    replaced_is_bad: bool,
}

/// What is remembered of each row to find keys given twice: 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    /// Half of the BLAKE3 of the key. That two keys share it is as unlikely as it gets.
    digest: u128,
    place: u64,
    line: u64,
}

/// How many bad rows are shown one by one.
const SHOWN_MAX: usize = 20;

impl Plan {
    /// Reads a file through. `open` begins it anew; `progress` hears how many bytes are read.
    pub(super) fn make(
        open: impl Fn() -> Result<Box<dyn Rows>, String>,
        tolerance: Tolerance,
        mut progress: impl FnMut(u64),
    ) -> Result<Self, String> {
        let mut plan = Self {
            replaced_is_bad: !tolerance.last_wins,
            ..Self::default()
        };
        let mut seen = Vec::new();
        let mut rows = open()?;
        let mut place = 0;
        while let Some(row) = rows.next() {
            match row {
                Ok(row) => seen.push(Seen {
                    digest: digest(&row.key),
                    place,
                    line: row.line,
                }),
                Err(Trouble::Fatal(what)) => return Err(what),
                Err(Trouble::Bad(bad)) if tolerance.skip_bad => plan.add_bad(bad),
                Err(Trouble::Bad(bad)) => return Err(bad.to_string()),
            }
            place += 1;
            progress(rows.position());
        }
        plan.good = seen.len() as u64;
        seen.sort_unstable();
        for same in seen.chunk_by(|one, other| one.digest == other.digest) {
            let [first, .., last] = same else {
                continue;
            };
            if !tolerance.last_wins && !tolerance.skip_bad {
                // Named is the first repetition of the file, as one reading it would meet it.
                let (first, second) = first_repetition(&seen).unwrap_or((*first, *last));
                return Err(twice(&open, first, second));
            }
            let kept = if tolerance.last_wins {
                last.place
            } else {
                first.place
            };
            plan.replaced.extend(
                same.iter()
                    .map(|seen| seen.place)
                    .filter(|&place| place != kept),
            );
        }
        plan.replaced.sort_unstable();
        Ok(plan)
    }

    /// Whether the good row at this place of the file, from 0, is imported.
    pub(super) fn takes(&self, place: u64) -> bool {
        self.replaced.binary_search(&place).is_err()
    }

    /// How many rows are imported.
    pub(super) fn taken(&self) -> u64 {
        self.good - self.replaced.len() as u64
    }

    /// How many rows are left out as bad.
    pub(super) fn skipped(&self) -> u64 {
        self.bad
            + if self.replaced_is_bad {
                self.replaced.len() as u64
            } else {
                0
            }
    }

    /// What to tell of the rows left out.
    pub(super) fn bad_rows(&self) -> impl Iterator<Item = String> {
        let more = self.bad - self.shown.len() as u64;
        let more = (more > 0).then(|| format!("and {more} more"));
        let repeated = if self.replaced_is_bad {
            self.replaced.len()
        } else {
            0
        };
        let repeated = (repeated > 0).then(|| format!("{repeated} rows with a key given before"));
        self.shown
            .iter()
            .map(Bad::to_string)
            .chain(more)
            .chain(repeated)
    }

    fn add_bad(&mut self, bad: Bad) {
        self.bad += 1;
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(bad);
        }
    }
}

/// Of all rows whose key stands before, the one that comes first, and that earlier row.
fn first_repetition(sorted: &[Seen]) -> Option<(Seen, Seen)> {
    sorted
        .windows(2)
        .filter(|pair| pair[0].digest == pair[1].digest)
        .map(|pair| (pair[0], pair[1]))
        .min_by_key(|(_, second)| second.place)
}

/// Says which key stands on which two lines. The key is read again: none was kept.
fn twice(open: &impl Fn() -> Result<Box<dyn Rows>, String>, first: Seen, second: Seen) -> String {
    let row = open().ok().and_then(|mut rows| {
        let place = usize::try_from(first.place).ok()?;
        std::iter::from_fn(|| rows.next()).nth(place)?.ok()
    });
    let key = row.map_or_else(String::new, |row| {
        format!(" \"{}\"", row.key.escape_ascii())
    });
    format!(
        "the key{key} stands on line {} and again on line {}; --last-wins takes the last",
        first.line, second.line
    )
}

fn digest(key: &[u8]) -> u128 {
    let mut half = [0; 16];
    half.copy_from_slice(&blake3::hash(key).as_bytes()[..16]);
    u128::from_le_bytes(half)
}

#[cfg(test)]
mod tests;
