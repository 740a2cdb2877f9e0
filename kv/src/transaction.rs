//! Optimistic transactions: reads of one moment, and writes that happen only if what was read is
//! still so.
//!
//! ```text
//! begin     a view of the bucket: every read shows that moment, and the transaction's own writes
//! get       the key is noted with its version, or as absent
//! scan      the range is noted as far as it was shown; from the first scan on, so are the keys
//!           that others write to the bucket (keyspace/recent.rs)
//! put ...   kept in memory; nobody else sees them
//! commit    one atomic batch, sequenced like any other, with what was read as its conditions
//! ```
//!
//! # What a commit promises
//!
//! Committed transactions, batches and single writes have one order, that of their versions, and
//! each transaction has read what the writes before it left: they are serializable, and in real
//! time. At the commit every key that was read must have the version that was read, or be absent if
//! it was; and nothing may have been put or deleted within what was scanned. Checked against the
//! newest sequenced version, durable or not, as conditions of batches are, and like those a refusal
//! is answered once its cause is durable.
//!
//! A key that was read and has expired since refuses the commit, since its absence was not read. A
//! record that garbage collection moves keeps its version and refuses nothing; neither does the
//! tombstone of a key that had expired when it was read. Within a scanned range a delete of a key
//! that was not there refuses if it was part of a batch that was written.
//!
//! What a transaction holds, in memory and on the disk, is what a [`View`] holds, its own writes and
//! the keys that it has read. It takes no lock that anybody waits for, and dropping it undoes it.

pub(crate) mod scan;
pub(crate) mod scanned;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::batch::{self, EffectRef, Expect, OperationRef, PutOptions};
use crate::bucket::state::BucketState;
use crate::commit::{Commit, Receipt};
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::Keyspace;
use crate::keyspace::recent::Noting;
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_OPS_MAX, TRANSACTION_ATTEMPTS_MAX, TRANSACTION_READ_BYTES_MAX,
    TRANSACTION_READS_MAX,
};
use crate::scan::Scan;
use crate::store::Open;
use crate::version::{Durability, Version};
use crate::view::View;
pub use scan::TransactionEntries;
use scanned::{Overtaken, Progress, Scanned, Span};

/// A transaction under way, of one bucket.
///
/// Reads show the moment at which it began, and what it has written itself. Nothing it writes is
/// seen by others before [`commit`](Transaction::commit), and nothing ever if that is refused or the
/// transaction is dropped. See the module for what a commit promises.
///
/// ```
/// use cairn_kv::{Durability, ErrorKind, Scan, Store};
///
/// let queue = Store::memory().bucket("queue")?;
/// queue.put("job/1", "sweep")?;
///
/// let mut take = queue.transaction()?;
/// let (key, job) = take.scan(&Scan::prefix("job/"))?.next().unwrap()?;
/// take.delete(&key)?;
/// take.put("taken", &job.value)?;
///
/// queue.put("job/0", "first of all")?; // comes before what was scanned
/// let refused = take.commit(Durability::Local).unwrap_err();
/// assert_eq!(refused.kind(), ErrorKind::VersionMismatch);
/// assert_eq!(refused.conflict().unwrap().key, "job/0");
/// # Ok::<(), cairn_kv::Error>(())
/// ```
#[must_use = "a transaction that is not committed does nothing"]
pub struct Transaction {
    view: View,
    keyspace: Arc<Keyspace>,
    bucket: Arc<BucketState>,
    /// What was read of single keys, as conditions.
    reads: BTreeMap<Bytes, Expect>,
    scans: Vec<Arc<Mutex<Progress>>>,
    /// From the first scan on.
    noting: Option<Noting>,
    /// Bytes of keys and bounds that were read.
    read_bytes: usize,
    writes: BTreeMap<Bytes, Write>,
    /// Bytes of keys, values and attributes that are to be written.
    written_bytes: usize,
}

enum Write {
    Put {
        value: Bytes,
        options: PutOptions,
        /// As of the call; the real one counts from the commit.
        expires_ms: Option<u64>,
    },
    Delete,
}

impl Transaction {
    pub(crate) fn begin(
        store: &Arc<Open>,
        keyspace: &Arc<Keyspace>,
        bucket: &Arc<BucketState>,
    ) -> Result<Transaction> {
        Ok(Transaction {
            view: View::begin(store, keyspace, bucket)?,
            keyspace: Arc::clone(keyspace),
            bucket: Arc::clone(bucket),
            reads: BTreeMap::new(),
            scans: Vec::new(),
            noting: None,
            read_bytes: 0,
            writes: BTreeMap::new(),
            written_bytes: 0,
        })
    }

    /// [`crate::Bucket::transact`].
    pub(crate) fn run<T>(
        store: &Arc<Open>,
        keyspace: &Arc<Keyspace>,
        bucket: &Arc<BucketState>,
        durability: Durability,
        mut body: impl FnMut(&mut Transaction) -> Result<T>,
    ) -> Result<(T, Receipt)> {
        let mut attempts = 1;
        loop {
            let mut transaction = Transaction::begin(store, keyspace, bucket)?;
            let answer = body(&mut transaction)?;
            let refusal = match transaction.commit(durability) {
                Ok(receipt) => return Ok((answer, receipt)),
                Err(error) => error,
            };
            let is_overtaken = matches!(
                refusal.kind(),
                ErrorKind::VersionMismatch | ErrorKind::Overloaded
            );
            if !is_overtaken || attempts == TRANSACTION_ATTEMPTS_MAX {
                return Err(refusal);
            }
            attempts += 1;
            // Only then does the next attempt read what refused this one.
            keyspace.wait_durable(keyspace.newest_sequenced())?;
        }
    }

    /// The version of the bucket's partition that the transaction reads.
    pub fn version(&self) -> Version {
        self.view.version()
    }

    /// The state of a key: as the transaction has written it, or else as it was when the
    /// transaction began. An entry of its own has the version [`Version::ABSENT`], since it has
    /// none yet.
    ///
    /// # Errors
    ///
    /// `BatchTooLarge` beyond [`TRANSACTION_READS_MAX`] keys and ranges read, or
    /// [`TRANSACTION_READ_BYTES_MAX`] bytes of them; those of [`View::get`].
    pub fn get(&mut self, key: impl AsRef<[u8]>) -> Result<Option<Entry>> {
        let key = key.as_ref();
        if let Some(write) = self.writes.get(key) {
            return Ok(write.entry(false));
        }
        let entry = self.view.get(key)?;
        if !self.reads.contains_key(key) {
            self.count_read(key.len())?;
            let expect = match &entry {
                Some(entry) => Expect::OneOf(vec![entry.version]),
                None => Expect::Absent,
            };
            self.reads.insert(Bytes::copy_from_slice(key), expect);
        }
        Ok(entry)
    }

    /// Begins a scan: of what stood there when the transaction began, merged with what it has
    /// written up to now. The range counts as read as far as the scan has given keys, the last one
    /// included; to its end once the scan has said that there are no more. A
    /// [limit](Scan::limit) that is reached stops it at the last key.
    ///
    /// Cost: that of [`crate::Bucket::scan`]. The first scan of a transaction takes the lock that
    /// orders writes, and until the transaction ends all keys written to the bucket are noted:
    /// some tens of nanoseconds a write, at most
    /// [`TRANSACTION_NOTES_BYTES_MAX`](crate::limits::TRANSACTION_NOTES_BYTES_MAX).
    ///
    /// # Errors
    ///
    /// `BatchTooLarge` as of [`Transaction::get`].
    pub fn scan(&mut self, scan: &Scan) -> Result<TransactionEntries> {
        let span = Span::of(scan);
        self.count_read(span.byte_len())?;
        if self.noting.is_none() {
            let noting = self.keyspace.begin_noting(&self.bucket, self.view.pin());
            self.noting = Some(noting);
        }
        let mut own = self.own(&span, scan.keys_only);
        if scan.reverse {
            own.reverse();
        }
        // Of what is stored no more is needed than this, since each own write hides one at most.
        let stored = Scan {
            limit: scan.limit.map(|limit| limit.saturating_add(own.len())),
            ..scan.clone()
        };
        let progress = Arc::new(Mutex::new(Progress::new(span, scan.reverse)));
        self.scans.push(Arc::clone(&progress));
        Ok(TransactionEntries::new(
            self.view.scan(&stored),
            own,
            scan.reverse,
            scan.limit,
            progress,
        ))
    }

    /// Sets a key to a value, with no attributes and no deadline, if the transaction commits.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::put_with`].
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.put_with(key, value, PutOptions::default())
    }

    /// Sets a key with a time to live or attributes, if the transaction commits; the time to live
    /// counts from then. Takes the place of what the transaction has written to the key before.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, `KeyTooLarge`, `ValueTooLarge`; `BatchTooLarge` beyond [`BATCH_OPS_MAX`]
    /// keys or, if there are several, [`BATCH_BYTES_MAX`] bytes. What was written before stays.
    pub fn put_with(
        &mut self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        options: PutOptions,
    ) -> Result<()> {
        let (key, value) = (key.as_ref(), value.as_ref());
        batch::check_put(key, value.len(), &options)?;
        let clock = self.keyspace.clock();
        let expires_ms = options.ttl_ms.map(|ttl_ms| clock.deadline_ms(ttl_ms));
        self.write(
            key,
            Write::Put {
                value: Bytes::copy_from_slice(value),
                options,
                expires_ms,
            },
        )
    }

    /// Removes a key, if the transaction commits. It is no error if the key does not exist.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, `KeyTooLarge`; `BatchTooLarge` as of [`Transaction::put_with`].
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> Result<()> {
        let key = key.as_ref();
        batch::check_key(key)?;
        self.write(key, Write::Delete)
    }

    /// Writes what the transaction has written, if all that it has read is still so. Blocks until
    /// that is acknowledged or refused. Without writes it says whether what was read is still so.
    ///
    /// # Errors
    ///
    /// `VersionMismatch` if what was read is no longer so: [`Error::conflict`] names a key.
    /// `Overloaded` if so much was written since the transaction began that this can't be told.
    /// Either way nothing was written; begin again, or let [`crate::Bucket::transact`] do so.
    pub fn commit(self, durability: Durability) -> Result<Receipt> {
        self.submit(durability)?.wait()
    }

    /// Gives the transaction its place among all writes, without waiting until it is
    /// acknowledged.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::commit`]. A refusal is told here if what it rests on is durable
    /// already or `durability` is `Buffered`, and by the commit otherwise.
    pub fn submit(mut self, durability: Durability) -> Result<Commit> {
        let mut scanned = Scanned::new(self.view.version(), &self.scans, self.noting.take());
        let ahead = scanned.judge_ahead(&self.keyspace, &self.bucket, self.view.pin())?;
        match ahead {
            Some(Overtaken { refusal, cause }) => self.keyspace.refuse(refusal, cause, durability),
            None => self.sequence(&scanned, durability),
        }
    }

    fn sequence(&self, scanned: &Scanned, durability: Durability) -> Result<Commit> {
        let operations = self.writes.iter().map(|(key, write)| OperationRef {
            key,
            effect: write.effect(),
        });
        let conditions = self.reads.iter().map(|(key, expect)| (&key[..], expect));
        self.keyspace
            .submit_transaction(&self.bucket, operations, conditions, scanned, durability)
    }

    /// The writes within a range, ascending.
    fn own(&self, span: &Span, keys_only: bool) -> Vec<scan::Own> {
        if span.is_empty() {
            return Vec::new();
        }
        let end = span
            .end
            .as_deref()
            .map_or(Bound::Unbounded, Bound::Excluded);
        let bounds = (Bound::Included(&span.start[..]), end);
        let own = self.writes.range::<[u8], _>(bounds);
        own.map(|(key, write)| (key.clone(), write.entry(keys_only)))
            .collect()
    }

    fn write(&mut self, key: &[u8], write: Write) -> Result<()> {
        let before = self.writes.get(key);
        let replaced = before.map_or(0, |before| key.len() + before.byte_len());
        let count = self.writes.len() + usize::from(before.is_none());
        let bytes = self.written_bytes - replaced + key.len() + write.byte_len();
        if count > BATCH_OPS_MAX {
            let message = format!("a transaction writes at most {BATCH_OPS_MAX} keys");
            return Err(Error::new(ErrorKind::BatchTooLarge, message));
        }
        if count > 1 && bytes > BATCH_BYTES_MAX {
            let message =
                format!("a transaction of {bytes} bytes; it writes at most {BATCH_BYTES_MAX}");
            return Err(Error::new(ErrorKind::BatchTooLarge, message));
        }
        self.written_bytes = bytes;
        self.writes.insert(Bytes::copy_from_slice(key), write);
        Ok(())
    }

    fn count_read(&mut self, bytes: usize) -> Result<()> {
        let count = self.reads.len() + self.scans.len() + 1;
        let bytes = self.read_bytes + bytes;
        if count > TRANSACTION_READS_MAX || bytes > TRANSACTION_READ_BYTES_MAX {
            let message = format!(
                "a transaction reads at most {TRANSACTION_READS_MAX} keys and ranges, and \
                 {TRANSACTION_READ_BYTES_MAX} bytes of them: scan many keys at once"
            );
            return Err(Error::new(ErrorKind::BatchTooLarge, message));
        }
        self.read_bytes = bytes;
        Ok(())
    }
}

impl Write {
    fn effect(&self) -> EffectRef<'_> {
        match self {
            Write::Put { value, options, .. } => EffectRef::Put { value, options },
            Write::Delete => EffectRef::Delete,
        }
    }

    /// What the transaction itself reads.
    fn entry(&self, keys_only: bool) -> Option<Entry> {
        let Write::Put {
            value,
            options,
            expires_ms,
        } = self
        else {
            return None;
        };
        let mut entry = Entry {
            version: Version::ABSENT,
            value: Bytes::new(),
            attributes: crate::Attributes::new(),
            expires_ms: *expires_ms,
            size: value.len() as u64,
        };
        if !keys_only {
            entry.value = value.clone();
            entry.attributes = options.attributes.clone();
        }
        Some(entry)
    }

    fn byte_len(&self) -> usize {
        match self {
            Write::Put { value, options, .. } => value.len() + options.attributes.byte_len(),
            Write::Delete => 0,
        }
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Transaction({:?} at {}, {} read, {} written)",
            self.bucket.name,
            self.view.version(),
            self.reads.len() + self.scans.len(),
            self.writes.len()
        )
    }
}

#[cfg(test)]
mod tests;
