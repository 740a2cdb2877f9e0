//! What a store may hold after a crash: the outcome of its first batches in the order of their
//! submission, of all that were acknowledged at least, and of no part of one.

use std::collections::BTreeMap;

use super::*;
use crate::testing::Events;
use crate::topic::LogScan;

pub(super) const BUCKETS: [&str; 2] = ["b0", "b1"];
pub(super) const KEYS: usize = 24;
pub(super) const TOPIC: &str = "events";

/// What a store holds at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    pub(super) buckets: [Option<BTreeMap<String, Content>>; 2],
    /// The numbers of the topic's records.
    topic: Vec<u64>,
}

/// The value of a key is made of the number of its batch and its length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Content {
    pub(super) number: u64,
    pub(super) bytes: usize,
    pub(super) expires_ms: Option<u64>,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Create(usize),
    Remove(usize),
    Put(usize, String, Content),
    Delete(usize, String),
    Append(u64),
}

#[derive(Default)]
pub(super) struct Expected {
    /// What the last look at a recovered store found.
    found: State,
    /// What was submitted since.
    batches: Vec<Vec<Change>>,
    /// How many of them are durable.
    durable: usize,
    /// How many survive a kill.
    written: usize,
    /// After all of them.
    pub(super) newest: State,
    /// Every version ever seen, and the batch that has it; and the other way round.
    versions: BTreeMap<Version, u64>,
    numbers: BTreeMap<u64, Version>,
    /// Where each record of the topic stands.
    places: BTreeMap<u64, u64>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    PowerLoss,
    Kill,
    Close,
}

impl Expected {
    /// Notes a batch that is about to be submitted; gives its place among them.
    pub(super) fn submit(&mut self, batch: Vec<Change>) -> usize {
        batch.iter().for_each(|change| self.newest.apply(change));
        self.batches.push(batch);
        self.batches.len()
    }

    /// Notes that the first `count` batches are acknowledged.
    pub(super) fn acknowledge(&mut self, count: usize, durability: Durability) {
        self.written = self.written.max(count);
        if durability == Durability::Local {
            self.durable = self.durable.max(count);
        }
    }

    /// A version belongs to one batch for ever, and a batch has one version, wherever it is moved.
    pub(super) fn see_version(&mut self, number: u64, version: Version) {
        let named = *self.versions.entry(version).or_insert(number);
        assert_eq!(named, number, "law 14: {version} names two batches");
        let known = *self.numbers.entry(number).or_insert(version);
        assert_eq!(known, version, "law 14: batch {number} has two versions");
    }

    pub(super) fn see_place(&mut self, number: u64, offset: u64) {
        let known = *self.places.entry(number).or_insert(offset);
        assert_eq!(known, offset, "record {number} of the topic has moved");
    }

    /// Checks what is there after an end, and forgets what was lost.
    pub(super) fn check(&mut self, store: &Store, end: End, events: &mut Events) {
        let found = self.read(store);
        let now_ms = store.status().now_ms;
        let least = match end {
            End::PowerLoss => self.durable,
            End::Kill | End::Close => self.written,
        };
        let mut state = self.found.clone();
        let mut kept = None;
        for count in 0..=self.batches.len() {
            if count > 0 {
                let changes = &self.batches[count - 1];
                changes.iter().for_each(|change| state.apply(change));
            }
            if count >= least && state.at(now_ms) == found {
                kept = Some(count);
            }
        }
        let all = self.batches.len();
        if state.at(now_ms) != state {
            events.note("expired key");
        }
        let kept = kept.unwrap_or_else(|| {
            let newest = self.newest.at(now_ms);
            panic!(
                "laws 1 and 2: after {end:?} no {least}..={all} batches lead to what is found: \
                 {found:?}, all of them to {newest:?}; the last were {:?}",
                &self.batches[least.saturating_sub(1)..]
            )
        });
        if kept < all {
            events.note("lost batch");
        }
        if kept > least {
            events.note("unacknowledged batch kept");
        }
        *self = Expected {
            found: found.clone(),
            newest: found,
            versions: std::mem::take(&mut self.versions),
            numbers: std::mem::take(&mut self.numbers),
            places: std::mem::take(&mut self.places),
            ..Expected::default()
        };
    }

    /// Reads all there is, in order and key by key.
    fn read(&mut self, store: &Store) -> State {
        let mut state = State::default();
        for (at, name) in BUCKETS.iter().enumerate() {
            let bucket = match store.open_bucket(name) {
                Err(error) if error.kind() == ErrorKind::BucketNotFound => continue,
                opened => opened.unwrap(),
            };
            let mut keys = BTreeMap::new();
            for row in bucket.scan(Scan::default()).unwrap() {
                let (name, listed) = row.unwrap();
                let name = String::from_utf8(name.to_vec()).unwrap();
                let entry = bucket.get(&name).unwrap().unwrap();
                assert_eq!((entry.version, entry.size), (listed.version, listed.size));
                let content = content_of(&entry);
                self.see_version(content.number, entry.version);
                keys.insert(name, content);
            }
            for name in (0..KEYS).map(key).filter(|name| !keys.contains_key(name)) {
                assert_eq!(bucket.get(&name).unwrap(), None, "no scan shows {name}");
            }
            state.buckets[at] = Some(keys);
        }
        let scan = LogScan {
            from: 0,
            limit: usize::MAX,
            topic: Some(TOPIC.to_owned()),
        };
        let mut last = 0;
        for record in store.read_log(0, &scan).unwrap() {
            assert!(record.offset > last, "the topic is out of order");
            last = record.offset;
            let number = number_in(&record.data);
            self.see_place(number, record.offset);
            state.topic.push(number);
        }
        state
    }
}

impl State {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Create(at) => drop(self.buckets[*at].get_or_insert_default()),
            Change::Remove(at) => self.buckets[*at] = None,
            Change::Put(at, key, content) => {
                let keys = self.buckets[*at].as_mut().unwrap();
                keys.insert(key.clone(), *content);
            }
            Change::Delete(at, key) => {
                self.buckets[*at].as_mut().unwrap().remove(key);
            }
            Change::Append(number) => self.topic.push(*number),
        }
    }

    fn at(&self, now_ms: u64) -> State {
        let mut state = self.clone();
        for keys in state.buckets.iter_mut().flatten() {
            keys.retain(|_, content| content.is_there(now_ms));
        }
        state
    }
}

impl Content {
    pub(super) fn is_there(&self, now_ms: u64) -> bool {
        self.expires_ms.is_none_or(|deadline| now_ms < deadline)
    }

    pub(super) fn value(&self) -> Vec<u8> {
        let number = self.number.to_be_bytes();
        let filler = (number.len()..self.bytes).map(|at| filler(self.number, at));
        number.into_iter().chain(filler).collect()
    }
}

pub(super) fn key(at: usize) -> String {
    // Some are long enough to stand outside the nodes of an index.
    let long = if at % 8 == 7 {
        "-".repeat(60)
    } else {
        String::new()
    };
    format!("key {at:02}{long}")
}

/// Differs from batch to batch and, in a large value, from piece to piece.
fn filler(number: u64, at: usize) -> u8 {
    number.to_le_bytes()[0] ^ (at / 500).to_le_bytes()[0]
}

fn content_of(entry: &Entry) -> Content {
    let content = Content {
        number: number_in(&entry.value),
        bytes: entry.value.len(),
        expires_ms: entry.expires_ms,
    };
    assert!(entry.value == content.value(), "mixed bytes: {content:?}");
    content
}

fn number_in(value: &[u8]) -> u64 {
    u64::from_be_bytes(*value.first_chunk().unwrap())
}
