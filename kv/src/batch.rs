//! Batches: operations and conditions that hold together.
//!
//! A batch is collected without touching the store: keys, values and attributes are copied into
//! one buffer. Each part is checked as it is added; the first fault is kept, what follows it is
//! ignored (so a faulty batch takes no memory either), and the write answers with it.

use std::collections::HashSet;

use crate::attributes::Attributes;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_CONDITIONS_MAX, BATCH_OPS_MAX, CONDITION_VERSIONS_MAX, KEY_BYTES_MAX,
    TTL_MS_MAX, VALUE_RECORD_BYTES_MAX,
};
use crate::record::Large;
use crate::version::Version;

/// Operations on one bucket that become visible together or not at all, and conditions that all
/// must hold for that.
///
/// Every operation gets the batch's version. A key may be written once in a batch; conditions are
/// judged before any of the batch's operations.
///
/// ```
/// use cairn_kv::{Batch, Durability, Expect, Store};
///
/// let store = Store::memory();
/// let users = store.bucket("users")?;
/// let batch = Batch::new()
///     .require("alice", Expect::Absent)
///     .put("alice", "1")
///     .delete("bob");
/// let receipt = users.write(batch, Durability::Local)?;
/// assert!(!receipt.existed);
/// # Ok::<(), cairn_kv::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Keys and values, one after the other.
    bytes: Vec<u8>,
    operations: Vec<Operation>,
    conditions: Vec<Condition>,
    /// Bytes of keys, values and attributes.
    counted: usize,
    /// Bytes of the keys and versions in conditions.
    counted_in_conditions: usize,
    /// Whether some key was not greater than the one before it.
    unordered: bool,
    fault: Option<Fault>,
}

/// What a put says beside key and value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// How long the key lives, in milliseconds; for ever if absent, also where it had a deadline.
    pub ttl_ms: Option<u64>,
    /// What stands beside the value; replaces what stood there.
    pub attributes: Attributes,
}

/// What must hold of a key for its batch to be written.
///
/// Judged against the newest sequenced version of the key, be it durable yet or not. An expired
/// key is absent, and so is one that never was: its version is [`Version::ABSENT`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expect {
    /// The key exists.
    Exists,
    /// The key does not exist.
    Absent,
    /// The key's version is one of these.
    OneOf(Vec<Version>),
    /// The key's version is none of these.
    NoneOf(Vec<Version>),
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds: set `key` to `value`, with no attributes and no deadline.
    pub fn put(self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Batch {
        self.put_with(key, value, PutOptions::default())
    }

    /// Adds: set `key` to `value`, with these attributes and this time to live.
    pub fn put_with(
        mut self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        options: PutOptions,
    ) -> Batch {
        let (key, value) = (key.as_ref(), value.as_ref());
        let checked = check_put(key, value.len(), &options);
        self.add(
            checked,
            key,
            value,
            options.attributes.byte_len(),
            Effect::Put(options),
        );
        self
    }

    /// Adds: remove `key`. It is no error if the key does not exist.
    pub fn delete(mut self, key: impl AsRef<[u8]>) -> Batch {
        let key = key.as_ref();
        self.add(check_key(key), key, &[], 0, Effect::Delete);
        self
    }

    /// Adds a condition. A key may have several; all must hold.
    pub fn require(mut self, key: impl AsRef<[u8]>, expect: Expect) -> Batch {
        if self.fault.is_some() {
            return self;
        }
        let key = key.as_ref();
        let counted = self.counted_in_conditions + key.len() + expect.version_bytes();
        if let Err(error) = check_key(key).and_then(|()| expect.check()) {
            self.fault = Some(Fault::of(error));
        } else if self.conditions.len() == BATCH_CONDITIONS_MAX || counted > BATCH_BYTES_MAX {
            let message = format!(
                "a batch has at most {BATCH_CONDITIONS_MAX} conditions and {BATCH_BYTES_MAX} \
                 bytes of them"
            );
            self.fault = Some(Fault(ErrorKind::BatchTooLarge, message));
        } else {
            self.counted_in_conditions = counted;
            let key = self.keep(key);
            self.conditions.push(Condition { key, expect });
        }
        self
    }

    /// The number of operations.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether there are no operations. Such a batch writes nothing, but its conditions are
    /// judged.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Checks the batch as a write does before it looks at any key.
    ///
    /// # Errors
    ///
    /// The first fault: `InvalidArgument`, `KeyTooLarge`, `ValueTooLarge`, `BatchTooLarge`.
    pub fn check(&self) -> Result<()> {
        if let Some(Fault(kind, message)) = &self.fault {
            return Err(Error::new(*kind, message.clone()));
        }
        if self.operations.len() > 1 && self.counted > BATCH_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::BatchTooLarge,
                too_many_bytes(self.counted),
            ));
        }
        if !self.unordered {
            return Ok(());
        }
        let mut keys = HashSet::with_capacity(self.operations.len());
        match self
            .operations()
            .find(|operation| !keys.insert(operation.key))
        {
            None => Ok(()),
            Some(twice) => {
                let key = twice.key.escape_ascii();
                Err(Error::invalid(format!(
                    "the batch writes the key \"{key}\" twice"
                )))
            }
        }
    }

    pub(crate) fn operations(&self) -> impl ExactSizeIterator<Item = OperationRef<'_>> {
        self.operations.iter().map(|operation| OperationRef {
            key: self.slice(operation.key),
            effect: match &operation.effect {
                Effect::Put(options) => EffectRef::Put {
                    value: self.slice(operation.value),
                    options,
                },
                Effect::Delete => EffectRef::Delete,
            },
        })
    }

    pub(crate) fn conditions(&self) -> impl Iterator<Item = (&[u8], &Expect)> + Clone {
        self.conditions
            .iter()
            .map(|condition| (self.slice(condition.key), &condition.expect))
    }

    fn add(
        &mut self,
        checked: Result<()>,
        key: &[u8],
        value: &[u8],
        attribute_bytes: usize,
        effect: Effect,
    ) {
        if self.fault.is_some() {
            return;
        }
        let counted = self.counted + key.len() + value.len() + attribute_bytes;
        if let Err(error) = checked {
            self.fault = Some(Fault::of(error));
        } else if self.operations.len() == BATCH_OPS_MAX {
            let message = format!("a batch has at most {BATCH_OPS_MAX} operations");
            self.fault = Some(Fault(ErrorKind::BatchTooLarge, message));
        } else if !self.operations.is_empty() && counted > BATCH_BYTES_MAX {
            self.fault = Some(Fault(ErrorKind::BatchTooLarge, too_many_bytes(counted)));
        } else {
            let before = self.operations.last().map(|last| self.slice(last.key));
            self.unordered |= before.is_some_and(|before| before >= key);
            self.counted = counted;
            let (key, value) = (self.keep(key), self.keep(value));
            self.operations.push(Operation { key, value, effect });
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Span {
            start,
            end: self.bytes.len(),
        }
    }

    fn slice(&self, span: Span) -> &[u8] {
        &self.bytes[span.start..span.end]
    }
}

impl Expect {
    /// Whether a key at `version` meets the expectation.
    pub(crate) fn holds(&self, version: Version) -> bool {
        match self {
            Expect::Exists => !version.is_absent(),
            Expect::Absent => version.is_absent(),
            Expect::OneOf(versions) => versions.contains(&version),
            Expect::NoneOf(versions) => !versions.contains(&version),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.version_bytes() > CONDITION_VERSIONS_MAX * size_of::<Version>() {
            let message = format!("a condition lists at most {CONDITION_VERSIONS_MAX} versions");
            return Err(Error::invalid(message));
        }
        Ok(())
    }

    fn version_bytes(&self) -> usize {
        match self {
            Expect::Exists | Expect::Absent => 0,
            Expect::OneOf(versions) | Expect::NoneOf(versions) => size_of_val(&versions[..]),
        }
    }
}

/// One operation, borrowed from a batch or from a caller's arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OperationRef<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) effect: EffectRef<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum EffectRef<'a> {
    Put {
        value: &'a [u8],
        options: &'a PutOptions,
    },
    /// The commit of an upload; no batch of a caller's has one.
    LargePut {
        large: &'a Large,
        options: &'a PutOptions,
    },
    Delete,
}

/// Whether `key` may be a key.
pub(crate) fn check_key(key: &[u8]) -> Result<()> {
    match key.len() {
        0 => Err(Error::invalid("a key has at least one byte")),
        1..=KEY_BYTES_MAX => Ok(()),
        length => {
            let message = format!("a key of {length} bytes; the most is {KEY_BYTES_MAX}");
            Err(Error::new(ErrorKind::KeyTooLarge, message))
        }
    }
}

/// Whether a value of this length may be put under `key` with these options.
pub(crate) fn check_put(key: &[u8], value_bytes: usize, options: &PutOptions) -> Result<()> {
    check_key(key)?;
    if value_bytes > VALUE_RECORD_BYTES_MAX {
        let message = format!(
            "a value of {value_bytes} bytes; the most at once is {VALUE_RECORD_BYTES_MAX}: \
                 upload it"
        );
        return Err(Error::new(ErrorKind::ValueTooLarge, message));
    }
    check_options(options)
}

/// Whether a value may be put with these options.
pub(crate) fn check_options(options: &PutOptions) -> Result<()> {
    match options.ttl_ms {
        Some(ttl_ms) if !(1..=TTL_MS_MAX).contains(&ttl_ms) => {
            let message = format!("a time to live of {ttl_ms} ms; it must be 1..={TTL_MS_MAX}");
            Err(Error::invalid(message))
        }
        _ => Ok(()),
    }
}

#[derive(Clone, Debug)]
struct Operation {
    key: Span,
    value: Span,
    effect: Effect,
}

#[derive(Clone, Debug)]
enum Effect {
    Put(PutOptions),
    Delete,
}

#[derive(Clone, Debug)]
struct Condition {
    key: Span,
    expect: Expect,
}

/// Bytes of the batch's buffer.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
}

/// An error in a form that can be given more than once.
#[derive(Clone, Debug)]
struct Fault(ErrorKind, String);

impl Fault {
    fn of(error: Error) -> Fault {
        Fault(error.kind(), error.message().to_owned())
    }
}

fn too_many_bytes(bytes: usize) -> String {
    format!("a batch of {bytes} bytes; the most is {BATCH_BYTES_MAX}")
}

#[cfg(test)]
mod tests;
