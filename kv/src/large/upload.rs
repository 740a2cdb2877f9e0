//! Uploading: bytes as they come -> pieces in the log -> one commit. See [`super`].

use std::fmt;
use std::iter;
use std::sync::Arc;

use blake3::Hasher;

use super::piece::PieceKey;
use super::uses::Hold;
use crate::batch::{self, EffectRef, Expect, OperationRef, PutOptions};
use crate::bucket::state::BucketState;
use crate::commit::Commit;
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::{Condition, Keyspace};
use crate::limits::{PIECE_BYTES_MAX, UPLOAD_BATCH_BYTES_MAX, VALUE_BYTES_MAX};
use crate::record::{Large, PIECE_KEY_BYTES};
use crate::store::Open;
use crate::version::Durability;

/// A value on its way into a key, of any size up to
/// [`VALUE_BYTES_MAX`](crate::limits::VALUE_BYTES_MAX).
///
/// Nothing of it is visible before [`Upload::finish`]; dropping it before leaves the key as it
/// was. Takes about 2 MiB of memory, whatever the value's size.
///
/// ```
/// use cairn_kv::{Durability, PutOptions, Store};
///
/// let store = Store::memory();
/// let files = store.bucket("files")?;
/// let mut upload = files.upload("film", PutOptions::default())?;
/// for _ in 0..40 {
///     upload.write(&[7; 100_000])?;
/// }
/// upload.finish(&[], Durability::Local)?.wait()?;
///
/// let reader = files.open("film")?.expect("it was just put");
/// assert_eq!(reader.entry().size, 4_000_000);
/// assert_eq!(reader.chunk_at(3_999_990)?, [7; 10][..]);
/// # Ok::<(), cairn_kv::Error>(())
/// ```
pub struct Upload {
    keyspace: Arc<Keyspace>,
    bucket: Arc<BucketState>,
    /// Keeps the store open.
    _store: Arc<Open>,
    key: Vec<u8>,
    options: PutOptions,
    layout: Layout,
    /// What has come and is no piece yet; at most a batch.
    buffer: Vec<u8>,
    hasher: Hasher,
    /// Bytes that came, those in the buffer included.
    size: u64,
    begun: Option<Begun>,
    /// Why nothing more is taken.
    failure: Option<(ErrorKind, String)>,
}

/// An upload that has a name and pieces.
struct Begun {
    name: u64,
    next_piece: u32,
    /// The batch before the one that is being filled.
    in_flight: Option<Commit>,
    _hold: Hold,
}

/// How a value is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    piece_bytes: usize,
    /// A multiple of it.
    batch_bytes: usize,
}

impl Upload {
    pub(crate) fn new(
        store: Arc<Open>,
        keyspace: Arc<Keyspace>,
        bucket: Arc<BucketState>,
        key: &[u8],
        options: PutOptions,
    ) -> Result<Upload> {
        batch::check_key(key)?;
        batch::check_options(&options)?;
        let layout = Layout::for_log(keyspace.log().batch_bytes_max(), key.len());
        Ok(Upload {
            keyspace,
            bucket,
            _store: store,
            key: key.to_vec(),
            options,
            layout,
            buffer: Vec::new(),
            hasher: Hasher::new(),
            size: 0,
            begun: None,
            failure: None,
        })
    }

    /// Bytes that came so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that [`Upload::write`] takes next without waiting for the disk: it copies them.
    pub fn room(&self) -> usize {
        self.layout.batch_bytes - self.buffer.len()
    }

    /// Takes the next bytes of the value.
    ///
    /// Cost: a copy; once a batch is full, its hash, checksums and a write to the kernel. Blocks
    /// until the batch before it is written.
    ///
    /// # Errors
    ///
    /// `ValueTooLarge`; `BucketNotFound` if the bucket is removed; `DiskFull`, `Poisoned`,
    /// `OutcomeUnknown`. Every later call then fails alike: begin a new upload.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.check()?;
        let written = self.take(bytes);
        if let Err(error) = &written {
            self.failure = Some((error.kind(), error.message().to_owned()));
        }
        written
    }

    /// Makes the value that of the key, if all of `expects` hold of the key at that moment. With
    /// `Buffered` too it is acknowledged only when it survives a power loss.
    ///
    /// Cost: that of the last batch, and the commit of a small record.
    ///
    /// # Errors
    ///
    /// Those of [`Upload::write`]; `InvalidArgument` for a condition over its limits;
    /// `VersionMismatch`, here or from the commit as with [`Bucket::submit`](crate::Bucket::submit).
    pub fn finish(mut self, expects: &[Expect], durability: Durability) -> Result<Commit> {
        self.check()?;
        expects.iter().try_for_each(Expect::check)?;
        if self.begun.is_none() {
            let (value, options) = (&self.buffer[..], &self.options);
            return self.commit(EffectRef::Put { value, options }, expects, durability);
        }
        self.flush()?;
        let Some(begun) = &self.begun else {
            return Err(Error::invalid("the upload has no pieces"));
        };
        let large = Large {
            size: self.size,
            upload: begun.name,
            piece_bytes: u32::try_from(self.layout.piece_bytes).unwrap_or(u32::MAX),
            hash: *self.hasher.finalize().as_bytes(),
        };
        let effect = EffectRef::LargePut {
            large: &large,
            options: &self.options,
        };
        self.commit(effect, expects, Durability::Local)
    }

    fn check(&self) -> Result<()> {
        match &self.failure {
            None => Ok(()),
            Some((kind, message)) => {
                let message = format!("the upload has failed: {message}");
                Err(Error::new(*kind, message))
            }
        }
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<()> {
        let size = self.size.saturating_add(bytes.len() as u64);
        if size > VALUE_BYTES_MAX {
            let message = format!("a value of {size} bytes or more; the most is {VALUE_BYTES_MAX}");
            return Err(Error::new(ErrorKind::ValueTooLarge, message));
        }
        self.size = size;
        while !bytes.is_empty() {
            // Only when more has come: a value of one batch becomes one record.
            if self.room() == 0 {
                self.flush()?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.room()));
            self.reserve(now.len());
            self.buffer.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Doubles the buffer up to a batch, and never past it.
    fn reserve(&mut self, more: usize) {
        let length = self.buffer.len() + more;
        if length > self.buffer.capacity() {
            let capacity = length.max(2 * self.buffer.capacity());
            let capacity = capacity.min(self.layout.batch_bytes);
            self.buffer.reserve_exact(capacity - self.buffer.len());
        }
    }

    /// Writes what the buffer holds as pieces.
    fn flush(&mut self) -> Result<()> {
        if self.begun.is_none() {
            self.begun = Some(self.begin()?);
        }
        let Some(begun) = &mut self.begun else {
            return Ok(());
        };
        self.hasher.update(&self.buffer);
        let numbered = self
            .buffer
            .chunks(self.layout.piece_bytes)
            .zip(begun.next_piece..);
        let pieces: Vec<_> = numbered
            .map(|(value, number)| (PieceKey::new(begun.name, number, &self.key), value))
            .collect();
        let no_options = PutOptions::default();
        let operations = pieces.iter().map(|(key, value)| OperationRef {
            key: key.as_bytes(),
            effect: EffectRef::Put {
                value,
                options: &no_options,
            },
        });
        let commit = submit_pieces(&self.keyspace, &self.bucket, operations)?;
        begun.next_piece += u32::try_from(pieces.len()).unwrap_or(u32::MAX);
        drop(pieces);
        self.buffer.clear();
        // One batch is on its way while the next is filled.
        if let Some(before) = begun.in_flight.replace(commit) {
            before.wait()?;
        }
        Ok(())
    }

    /// Gives the upload its name: the version of a record that is written for nothing else.
    fn begin(&self) -> Result<Begun> {
        let key = PieceKey::new(0, 0, &self.key);
        let no_options = PutOptions::default();
        let operation = OperationRef {
            key: key.as_bytes(),
            effect: EffectRef::Put {
                value: &[],
                options: &no_options,
            },
        };
        let commit = submit_pieces(&self.keyspace, &self.bucket, iter::once(operation))?;
        let Some(version) = commit.sequenced_as() else {
            return Err(Error::invalid("the upload was not given a version"));
        };
        Ok(Begun {
            name: version.get(),
            next_piece: 0,
            in_flight: Some(commit),
            _hold: self.keyspace.uses().hold(version.get()),
        })
    }

    fn commit(
        &self,
        effect: EffectRef<'_>,
        expects: &[Expect],
        durability: Durability,
    ) -> Result<Commit> {
        let key = &self.key[..];
        let operation = OperationRef { key, effect };
        let conditions = expects
            .iter()
            .map(|expect| -> Condition<'_> { (key, expect) });
        self.keyspace
            .submit(&self.bucket, iter::once(operation), conditions, durability)
    }

    /// Lets this many pieces pass as if they had come, so that a test meets the limits of a value
    /// without writing it.
    #[cfg(test)]
    pub(crate) fn leave_out(&mut self, pieces: u32) -> Result<()> {
        self.flush()?;
        if let Some(begun) = &mut self.begun {
            begun.next_piece += pieces;
        }
        self.size += u64::from(pieces) * self.layout.piece_bytes as u64;
        Ok(())
    }
}

fn submit_pieces<'a>(
    keyspace: &Arc<Keyspace>,
    bucket: &Arc<BucketState>,
    operations: impl ExactSizeIterator<Item = OperationRef<'a>>,
) -> Result<Commit> {
    let no_conditions = iter::empty::<Condition<'_>>();
    let id = bucket.id.pieces();
    keyspace.submit_to(id, bucket, operations, no_conditions, Durability::Buffered)
}

impl Layout {
    /// For a log that takes batches of `batch_bytes_max`, which is less than usual only in tests:
    /// half of that is used, so that a batch with its keys always fits.
    fn for_log(batch_bytes_max: usize, key_bytes: usize) -> Layout {
        let most = (batch_bytes_max / 2).min(UPLOAD_BATCH_BYTES_MAX);
        let piece_bytes = (most / 4).clamp(1, PIECE_BYTES_MAX);
        let beside = PIECE_KEY_BYTES + key_bytes + PIECE_OVERHEAD_BYTES_MAX;
        // Of usual size, keys take nothing off.
        let room = most.min(batch_bytes_max.saturating_sub(PIECES_MAX * beside));
        let pieces = (room / piece_bytes).max(1);
        Layout {
            piece_bytes,
            batch_bytes: pieces * piece_bytes,
        }
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.escape_ascii();
        write!(formatter, "Upload(\"{key}\", {} bytes)", self.size)
    }
}

/// What a piece takes in a batch beside key and value, at most.
const PIECE_OVERHEAD_BYTES_MAX: usize = 64;

/// Pieces of a batch, at most: of any batch size, at least a sixteenth is a piece.
const PIECES_MAX: usize = 16;

#[cfg(test)]
mod tests;
