//! Some keys of a scan, and what was read of them.

use std::ops::Range;

use bytes::Bytes;

use super::Row;
use crate::attributes::Attributes;
use crate::entry::Entry;
use crate::index::versions::Location;
use crate::index::walk::Found;
use crate::record::Put;
use crate::version::Version;

/// Keys that exist, in order. The bytes of keys and small values stand in one piece of memory, which
/// serves again and again unless somebody keeps part of it.
#[derive(Default)]
pub(crate) struct Chunk {
    memory: Memory,
    keys: Vec<OneKey>,
}

enum Memory {
    Own(Vec<u8>),
    Shared(Bytes),
}

struct OneKey {
    key: Range<usize>,
    location: Location,
    value: Value,
}

enum Value {
    Unread,
    /// In the chunk's memory, and an attribute block as well.
    Here {
        value: Range<usize>,
        attributes: Range<usize>,
    },
    Apart(Box<Entry>),
}

impl Chunk {
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        match &mut self.memory {
            Memory::Own(memory) => memory.clear(),
            Memory::Shared(memory) => {
                self.memory = Memory::Own(Vec::with_capacity(memory.len()));
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Adds a key, with its value if it is known.
    pub(super) fn push(&mut self, found: &Found<'_>) {
        let key = self.memory.keep(found.key);
        let value = match found.value {
            None => Value::Unread,
            Some(value) => Value::Here {
                value: self.memory.keep(value),
                attributes: 0..0,
            },
        };
        self.keys.push(OneKey {
            key,
            location: found.location,
            value,
        });
    }

    pub(super) fn last_key(&self) -> Option<&[u8]> {
        let last = self.keys.last()?;
        Some(&self.memory.bytes()[last.key.clone()])
    }

    /// The keys whose value was not read, by their index.
    pub(crate) fn unread(&self) -> impl Iterator<Item = (usize, &Location)> {
        let keys = self.keys.iter().enumerate();
        keys.filter(|(_, key)| matches!(key.value, Value::Unread))
            .map(|(at, key)| (at, &key.location))
    }

    pub(crate) fn location(&self, at: usize) -> (&[u8], &Location) {
        let key = &self.keys[at];
        (&self.memory.bytes()[key.key.clone()], &key.location)
    }

    /// Keeps what was read of a key.
    pub(crate) fn read(&mut self, at: usize, put: &Put<'_>) {
        self.keys[at].value = Value::Here {
            value: self.memory.keep(put.value),
            attributes: self.memory.keep(put.attributes),
        };
    }

    pub(super) fn is_read(&self, at: usize) -> bool {
        !matches!(self.keys[at].value, Value::Unread)
    }

    pub(super) fn read_apart(&mut self, at: usize, entry: Entry) {
        self.keys[at].value = Value::Apart(Box::new(entry));
    }

    /// Lends a key and its entry.
    pub(super) fn row(&self, at: usize) -> Row<'_> {
        let (key, memory) = (&self.keys[at], self.memory.bytes());
        let location = &key.location;
        let (value, attributes) = match &key.value {
            Value::Unread => (&[][..], &[][..]),
            Value::Here { value, attributes } => {
                (&memory[value.clone()], &memory[attributes.clone()])
            }
            Value::Apart(entry) => (&entry.value[..], entry.attributes.block()),
        };
        Row {
            key: &memory[key.key.clone()],
            value,
            version: Version::new(location.version),
            expires_ms: Some(location.expires_ms).filter(|&deadline| deadline != 0),
            size: location.value_bytes,
            attributes,
        }
    }

    /// A key and its entry, to be kept.
    pub(super) fn entry(&mut self, at: usize) -> (Bytes, Entry) {
        let memory = self.memory.shared();
        let key = &mut self.keys[at];
        let bytes = memory.slice(key.key.clone());
        let (value, attributes) = match std::mem::replace(&mut key.value, Value::Unread) {
            Value::Apart(entry) => return (bytes, *entry),
            Value::Unread => (Bytes::new(), Attributes::new()),
            Value::Here { value, attributes } if attributes.is_empty() => {
                (memory.slice(value), Attributes::new())
            }
            Value::Here { value, attributes } => {
                let attributes = Attributes::from_block(memory.slice(attributes));
                (memory.slice(value), attributes)
            }
        };
        let location = &key.location;
        let entry = Entry {
            version: Version::new(location.version),
            value,
            attributes,
            expires_ms: Some(location.expires_ms).filter(|&deadline| deadline != 0),
            size: location.value_bytes,
        };
        (bytes, entry)
    }
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::Own(Vec::new())
    }
}

impl Memory {
    fn bytes(&self) -> &[u8] {
        match self {
            Memory::Own(memory) => memory,
            Memory::Shared(memory) => memory,
        }
    }

    /// Appends some bytes and says where they stand.
    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let memory = match self {
            Memory::Own(memory) => memory,
            Memory::Shared(memory) => {
                *self = Memory::Own(memory.to_vec());
                return self.keep(bytes);
            }
        };
        let start = memory.len();
        memory.extend_from_slice(bytes);
        start..memory.len()
    }

    fn shared(&mut self) -> &Bytes {
        if let Memory::Own(memory) = self {
            *self = Memory::Shared(Bytes::from(std::mem::take(memory)));
        }
        match self {
            Memory::Shared(memory) => memory,
            Memory::Own(_) => unreachable!("it was shared just now"),
        }
    }
}
