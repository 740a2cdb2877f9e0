//! A writer that owns its keys, and what a restarted server owes it.
//!
//! A [`Writer`] sends one write after the other, so at most one is under way when the server dies.
//! Every value names the write that put it. What a restart shows must be exactly what was
//! acknowledged, or that with the whole of the one pending write on top; nothing in between, so a
//! lost write, a partial batch and a key that comes back from a delete are all seen.

use std::collections::{BTreeMap, BTreeSet};

use cairn_log::vfs::simulated::Random;

#[cfg(test)]
mod tests;

/// Keys a writer owns: few enough that writes meet one another.
const KEYS: usize = 16;

/// Keys of a batch.
pub const BATCH_KEYS: usize = 5;

/// A value and the version that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The version.
    pub version: u64,
    /// The value.
    pub value: String,
}

/// Keys with their values.
pub type State = BTreeMap<String, Held>;

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Puts one key.
    Put(String),
    /// Deletes one key, which may be absent.
    Delete(String),
    /// Puts the first keys and deletes the others, together.
    Batch(Vec<String>, Vec<String>),
}

impl Write {
    fn puts(&self) -> &[String] {
        match self {
            Write::Put(key) => std::slice::from_ref(key),
            Write::Delete(_) => &[],
            Write::Batch(puts, _) => puts,
        }
    }

    fn deletes(&self) -> &[String] {
        match self {
            Write::Put(_) => &[],
            Write::Delete(key) => std::slice::from_ref(key),
            Write::Batch(_, deletes) => deletes,
        }
    }
}

/// What became of a write whose reply never came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is there, under this version if it put a key.
    Found(Option<u64>),
    /// None of it is there.
    Lost,
    /// It was the delete of an absent key, so nothing can tell.
    Invisible,
}

/// A writer.
#[derive(Debug)]
pub struct Writer {
    name: String,
    random: Random,
    sequence: u64,
    version: u64,
    acknowledged: State,
    pending: Option<Write>,
}

impl Writer {
    /// A writer of a name of its own, whose writes follow from the seed.
    pub fn new(name: &str, seed: u64) -> Writer {
        Writer {
            name: name.to_owned(),
            random: Random::new(seed),
            sequence: 0,
            version: 0,
            acknowledged: State::new(),
            pending: None,
        }
    }

    /// Draws the next write. It is pending until it is acknowledged or settled.
    ///
    /// # Panics
    ///
    /// If one is pending.
    pub fn submit(&mut self) -> Write {
        assert_eq!(self.pending, None, "{} waits for a reply", self.name);
        self.sequence += 1;
        let write = match self.random.below(10) {
            0..5 => Write::Put(self.key()),
            5..7 => Write::Delete(self.key()),
            _ => self.batch(),
        };
        self.pending = Some(write.clone());
        write
    }

    fn key(&mut self) -> String {
        format!("{}-{:02}", self.name, self.random.index(KEYS))
    }

    fn batch(&mut self) -> Write {
        let mut keys = BTreeSet::new();
        while keys.len() < BATCH_KEYS {
            keys.insert(self.key());
        }
        let mut puts: Vec<String> = keys.into_iter().collect();
        // At least one put, so that every batch has a version that a scan shows.
        let deletes = puts.split_off(BATCH_KEYS - self.random.index(BATCH_KEYS));
        Write::Batch(puts, deletes)
    }

    /// The name of the last write, which is also the value that it puts.
    pub fn write_name(&self) -> String {
        format!("{}.{:06}", self.name, self.sequence)
    }

    /// Whether a write waits for its reply.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether the server holds a key, as far as was acknowledged.
    pub fn holds(&self, key: &str) -> bool {
        self.acknowledged.contains_key(key)
    }

    /// The pending write was acknowledged under a version.
    ///
    /// # Panics
    ///
    /// If none is pending, or the version is not above the writer's last one.
    pub fn acknowledge(&mut self, version: u64) {
        let write = self.pending.take().expect("a write is pending");
        assert!(
            version > self.version,
            "{} has version {version} after {}",
            self.write_name(),
            self.version
        );
        self.version = version;
        self.acknowledged = self.after(&write, version);
    }

    /// The pending write was acknowledged as one that changed nothing.
    pub fn acknowledge_unchanged(&mut self) {
        self.pending = None;
    }

    /// Compares what a restart shows of this writer's keys with what it owes, and takes it over.
    /// `None` if no write was pending.
    ///
    /// # Errors
    ///
    /// What is there and should not be, or should be and is not.
    pub fn settle(&mut self, found: &State) -> Result<Option<Outcome>, String> {
        let pending = self.pending.take();
        if *found == self.acknowledged {
            return Ok(pending.map(|write| {
                let visible = !write.puts().is_empty() || self.after(&write, 0) != *found;
                if visible {
                    Outcome::Lost
                } else {
                    Outcome::Invisible
                }
            }));
        }
        let Some(write) = pending else {
            return Err(self.difference(found, None));
        };
        let first = write.puts().first();
        let version = first.map(|key| found.get(key).map_or(0, |held| held.version));
        if *found != self.after(&write, version.unwrap_or(0)) {
            return Err(self.difference(found, Some(&write)));
        }
        if let Some(version) = version {
            if version <= self.version {
                let name = self.write_name();
                return Err(format!(
                    "{name} has version {version} after {}",
                    self.version
                ));
            }
            self.version = version;
        }
        self.acknowledged.clone_from(found);
        Ok(Some(Outcome::Found(version)))
    }

    fn after(&self, write: &Write, version: u64) -> State {
        let mut state = self.acknowledged.clone();
        for key in write.puts() {
            let value = self.write_name();
            state.insert(key.clone(), Held { version, value });
        }
        for key in write.deletes() {
            state.remove(key);
        }
        state
    }

    fn difference(&self, found: &State, pending: Option<&Write>) -> String {
        let keys: BTreeSet<&String> = found.keys().chain(self.acknowledged.keys()).collect();
        let differing = keys
            .into_iter()
            .filter(|key| found.get(*key) != self.acknowledged.get(*key));
        let lines: Vec<String> = differing
            .map(|key| {
                let (owed, found) = (self.acknowledged.get(key), found.get(key));
                format!("{key}: {owed:?} was acknowledged, {found:?} was found")
            })
            .collect();
        let name = self.write_name();
        format!("{lines:#?}, pending was {pending:?} as {name}")
    }
}
