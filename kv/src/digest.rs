//! The state digest: one hash that is equal exactly where two stores hold the same.
//!
//! BLAKE3 over the following, integers little-endian:
//!
//! ```text
//! "cairn state 1\0\0\0"                                                  16 bytes
//! for each bucket, in byte order of the names:
//!   0x01 · name length u8 · name · id u32 · partition u16 · version of its creation u64
//!   for each key, in byte order:
//!     0x02 · key length u32 · key · version u64 · deadline u64 (0 if none)
//!          · attribute block length u32 · attribute block · BLAKE3 of the value, 32 bytes
//! 0x00
//! ```
//!
//! Of a value in pieces the hash is taken from its commit record. A key whose deadline has passed
//! counts until its tombstone is logged: the wall clock never changes the digest. All buckets of a
//! partition are read at one version.

use std::fmt;

use blake3::Hasher;

use crate::bucket::state::BucketState;
use crate::entry::Entry;
use crate::error::Result;
use crate::scan::Entries;

/// The hash of a store's whole state.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateDigest(pub [u8; 32]);

impl fmt::Display for StateDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for StateDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "StateDigest({self})")
    }
}

/// A digest being computed.
pub(crate) struct Digesting(Hasher);

impl Digesting {
    pub(crate) fn new() -> Digesting {
        let mut hasher = Hasher::new();
        hasher.update(b"cairn state 1\0\0\0");
        Digesting(hasher)
    }

    /// Adds a bucket and all its keys. Buckets come in byte order of their names.
    pub(crate) fn bucket(&mut self, bucket: &BucketState, entries: Entries) -> Result<()> {
        let mut entries = entries.including_expired();
        let name = bucket.name.as_str().as_bytes();
        self.0
            .update(&[1, u8::try_from(name.len()).unwrap_or(u8::MAX)]);
        self.0.update(name);
        self.0.update(&bucket.id.0.to_le_bytes());
        self.0.update(&bucket.partition.to_le_bytes());
        self.0.update(&bucket.created.version.to_le_bytes());
        while let Some((key, location)) = entries.next_location()? {
            let (entry, hash) = entries.read_hashed(&key, &location)?;
            self.key(&key, &entry, &hash);
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> StateDigest {
        self.0.update(&[0]);
        StateDigest(*self.0.finalize().as_bytes())
    }

    fn key(&mut self, key: &[u8], entry: &Entry, value_hash: &[u8; 32]) {
        self.0.update(&[2]);
        self.sized(key);
        self.0.update(&entry.version.get().to_le_bytes());
        self.0.update(&entry.expires_ms.unwrap_or(0).to_le_bytes());
        self.sized(entry.attributes.block());
        self.0.update(value_hash);
    }

    fn sized(&mut self, bytes: &[u8]) {
        self.0
            .update(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.0.update(bytes);
    }
}
