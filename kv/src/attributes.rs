//! What stands beside a value: content type, headers, user metadata, tags, checksums.
//!
//! Attributes are pairs of a name and a value, replaced whole by every put. Encoded they are one
//! block of at most [`ATTRIBUTES_BYTES_MAX`] bytes, empty if there are none:
//!
//! ```text
//! for each pair, names strictly ascending in byte order:
//!   name length   u8, 1..=255      name    UTF-8
//!   value length  u16, little-endian   value   any bytes
//! ```
//!
//! The block itself is what is held in memory: a read copies it once and decodes nothing until it
//! is asked for a name.

use std::fmt;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::limits::ATTRIBUTES_BYTES_MAX;

/// The attributes of a key.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    block: Bytes,
}

impl Attributes {
    /// The name under which the media type of a value is kept.
    pub const CONTENT_TYPE: &'static str = "content-type";

    /// No attributes.
    pub const fn new() -> Attributes {
        Attributes {
            block: Bytes::new(),
        }
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// The value of `name`, if it is UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Gives `name` a value, replacing the one it had. Cost: one copy of the block.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if the name is not 1..=255 bytes long; `ValueTooLarge` if the block would
    /// outgrow [`ATTRIBUTES_BYTES_MAX`].
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<()> {
        let value = value.as_ref();
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) {
            let message =
                format!("the attribute name {name:?} must have 1 to {NAME_BYTES_MAX} bytes");
            return Err(Error::invalid(message));
        }
        let kept: usize = self
            .iter()
            .filter(|(known, _)| *known != name)
            .map(|pair| pair_bytes(&pair))
            .sum();
        let bytes = kept.saturating_add(pair_bytes(&(name, value)));
        if bytes > ATTRIBUTES_BYTES_MAX {
            let message = format!(
                "with {name:?} the attributes take {bytes} bytes; the most is \
                 {ATTRIBUTES_BYTES_MAX}"
            );
            return Err(Error::new(ErrorKind::ValueTooLarge, message));
        }
        let mut block = Vec::with_capacity(bytes);
        let others = || self.iter().filter(|(known, _)| *known != name);
        others()
            .filter(|(known, _)| *known < name)
            .for_each(|pair| push(&mut block, pair));
        push(&mut block, (name, value));
        others()
            .filter(|(known, _)| *known > name)
            .for_each(|pair| push(&mut block, pair));
        self.block = block.into();
        Ok(())
    }

    /// [`Attributes::set`] for building in one expression.
    ///
    /// # Errors
    ///
    /// Those of [`Attributes::set`].
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Attributes> {
        self.set(name, value)?;
        Ok(self)
    }

    /// Names and values, in byte order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        Pairs { rest: &self.block }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.block.is_empty()
    }

    /// Bytes of the encoded block.
    pub fn byte_len(&self) -> usize {
        self.block.len()
    }

    /// The encoded block.
    pub(crate) fn block(&self) -> &[u8] {
        &self.block
    }

    /// Whether `block` is what the encoder makes of some attributes.
    pub(crate) fn is_block(block: &[u8]) -> bool {
        if block.len() > ATTRIBUTES_BYTES_MAX {
            return false;
        }
        let mut pairs = Pairs { rest: block };
        let mut before = "";
        for (name, _) in &mut pairs {
            if name <= before {
                return false;
            }
            before = name;
        }
        pairs.rest.is_empty()
    }

    /// Attributes with a copy of a block that [`Attributes::is_block`] has accepted, or of none.
    pub(crate) fn copied(block: &[u8]) -> Attributes {
        if block.is_empty() {
            return Attributes::new();
        }
        Attributes::from_block(Bytes::copy_from_slice(block))
    }

    /// Attributes over a block that [`Attributes::is_block`] has accepted.
    pub(crate) fn from_block(block: Bytes) -> Attributes {
        debug_assert!(Attributes::is_block(&block));
        Attributes { block }
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self
            .iter()
            .map(|(name, value)| (name, value.escape_ascii().to_string()));
        formatter.debug_map().entries(pairs).finish()
    }
}

/// Decodes pairs until the block ends or the next bytes are no pair.
struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<(&'a str, &'a [u8])> {
        let (&length, rest) = self.rest.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(length))?;
        let name = std::str::from_utf8(name).ok()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        self.rest = rest;
        Some((name, value))
    }
}

fn push(block: &mut Vec<u8>, (name, value): (&str, &[u8])) {
    block.push(u8::try_from(name.len()).expect("names were checked at the door"));
    block.extend_from_slice(name.as_bytes());
    let length = u16::try_from(value.len()).expect("the block was checked at the door");
    block.extend_from_slice(&length.to_le_bytes());
    block.extend_from_slice(value);
}

fn pair_bytes((name, value): &(&str, &[u8])) -> usize {
    1 + name.len() + 2 + value.len()
}

const NAME_BYTES_MAX: usize = 255;

#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
