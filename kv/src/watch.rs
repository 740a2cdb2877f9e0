//! Watch: the batches of a bucket as they became durable, from any retained version on (law 6).
//!
//! A [`Watch`] is a position in the log of the bucket's partition. It yields every durable batch
//! that touches a key of its bucket and prefix exactly once, in the order of their versions, and
//! goes on with new ones as they become durable and visible: a reader that has seen an event finds
//! its state, or a newer one. Batches without such a key are examined and not yielded, but the
//! position moves over them, so that a quiet watch can be resumed too.
//!
//! # Where it begins
//!
//! `from` is exclusive: what follows is everything above it. Absent, it is the newest durable
//! batch. A number between two batches stands for the lower one. A `from` that is sequenced and
//! not durable yet waits. It is `Compacted`, never skipped silently:
//!
//! - below the partition's watch floor, the end of its highest dropped segment, unless nothing was
//!   written since;
//! - where batches were lost: in a gap that an unclean close left, or not durable when the log
//!   failed;
//! - above the newest batch: such a version was lost, or belongs to another store.
//!
//! # What it holds
//!
//! The segments above its position are kept from being dropped, as long as it is less than
//! `watch_lag_bytes` behind ([`watchers`]); past that it is cut off with `Compacted` at the first
//! batch that is gone. What it has yielded is held by the batch alone.
//!
//! # How it ends
//!
//! With `BucketNotFound` after the last event of a bucket that was dropped: a bucket created again
//! under the name is another one. With `Poisoned` when the log has failed or the store is closed,
//! after everything that is durable. Each of these, and a damaged batch, is told again at every
//! further call.
//!
//! Never shown are records of other buckets, those of buckets themselves, and records that
//! garbage collection moved: [`shown`] decides.

mod event;
pub(crate) mod watchers;

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_log::{Offset, Partition, TailBatch, TailReader};

use self::event::shown;
pub use self::event::{WatchChange, WatchEvent};
use crate::bucket::state::BucketState;
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::Keyspace;
use crate::record::{Body, Malformed, Record};
use crate::store::Open;
use crate::version::Version;
use watchers::Watcher;

/// The batches of one bucket as they become durable. See [`crate::Bucket::watch`].
///
/// ```
/// use std::time::Duration;
///
/// let store = cairn_kv::Store::memory();
/// let users = store.bucket("users")?;
/// let mut watch = users.watch(None, "")?;
/// let version = users.put("alice", "1")?;
/// let batch = watch.next(Duration::from_secs(1))?.expect("it is durable");
/// assert_eq!((batch.version, &batch.events[0].key[..]), (version, &b"alice"[..]));
/// # Ok::<(), cairn_kv::Error>(())
/// ```
pub struct Watch {
    keyspace: Arc<Keyspace>,
    bucket: Arc<BucketState>,
    prefix: Vec<u8>,
    from: u64,
    reader: TailReader,
    /// The version of the newest batch examined.
    examined: u64,
    watcher: Arc<Watcher>,
    /// Why there is nothing to come.
    end: Option<End>,
    /// Keeps the store open.
    _store: Arc<Open>,
}

/// One batch, as far as a watch shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchBatch {
    /// The version of the batch: where a resumed watch goes on after it.
    pub version: Version,
    /// The time the batch was judged by, in milliseconds since 1970.
    pub time_ms: u64,
    /// Its events, at least one, in the order of its operations.
    pub events: Vec<WatchEvent>,
}

/// Why a watch has nothing more to yield, whatever is written.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The bucket is gone.
    Dropped,
    /// A record at or behind this offset is none of ours.
    Damaged(Offset, Malformed),
}

/// What a look at the log came to.
enum Step {
    Found(WatchBatch),
    /// Nothing yet, and there is more to examine.
    More,
    /// Everything durable is examined.
    UpToDate,
}

impl Watch {
    pub(crate) fn begin(
        store: &Arc<Open>,
        keyspace: &Arc<Keyspace>,
        bucket: &Arc<BucketState>,
        from: Option<Version>,
        prefix: &[u8],
    ) -> Result<Watch> {
        let (head, head_end) = keyspace.durable_head();
        let from = from.map_or(head, Version::get);
        check_is_known(from, keyspace.newest_sequenced())?;
        // Above the newest durable batch there is nothing yet, whatever became of it itself.
        let start = if (head..head_end).contains(&from) {
            head_end
        } else {
            from + 1
        };
        // Pinned first: what the checks find is there then stays.
        let log = keyspace.log();
        let watcher = keyspace
            .watchers()
            .enter(log, Offset::new(start), store.watch_lag_bytes());
        keyspace.check_bucket(bucket, keyspace.watermark())?;
        if from < head {
            check_is_whole(log, from)?;
        }
        Ok(Watch {
            keyspace: Arc::clone(keyspace),
            bucket: Arc::clone(bucket),
            prefix: prefix.to_vec(),
            from,
            reader: log.tail(Offset::new(start))?,
            examined: from,
            watcher,
            end: None,
            _store: Arc::clone(store),
        })
    }

    /// The newest version examined: a watch resumed from here misses and repeats nothing.
    pub fn version(&self) -> Version {
        Version::new(self.examined)
    }

    /// The next batch; blocks until there is one, at most for this long.
    ///
    /// # Errors
    ///
    /// `Compacted` if a batch that was not yielded yet is no longer there: read the bucket anew,
    /// and watch from that scan's version. `BucketNotFound` after the last event of a bucket that
    /// was dropped; `Poisoned`; `Corrupt`.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<WatchBatch>> {
        let started = Instant::now();
        loop {
            if let Some(batch) = self.try_next()? {
                return Ok(Some(batch));
            }
            let Some(left) = timeout.checked_sub(started.elapsed()) else {
                return Ok(None);
            };
            let log = self.keyspace.log();
            if !log.wait_durable(self.reader.position(), left) && started.elapsed() >= timeout {
                return Ok(None);
            }
        }
    }

    /// The next batch if it is durable already. `None` may also mean that it has examined enough
    /// for one call: then [`Watch::poll_ready`] is ready at once.
    ///
    /// Cost: examines about a mebibyte of the log at most, and the batch that it yields.
    ///
    /// # Errors
    ///
    /// Those of [`Watch::next`].
    pub fn try_next(&mut self) -> Result<Option<WatchBatch>> {
        match self.look()? {
            Step::Found(batch) => Ok(Some(batch)),
            Step::More | Step::UpToDate => Ok(None),
        }
    }

    /// Ready once [`Watch::try_next`] has something to examine or to tell; the task is woken then.
    pub fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.end.is_some() {
            return Poll::Ready(());
        }
        let log = self.keyspace.log();
        log.poll_durable(self.reader.position(), context)
    }

    /// The next batch, for tasks that may read the disk where they are polled.
    ///
    /// # Errors
    ///
    /// Those of [`Watch::next`].
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<WatchBatch>> {
        loop {
            match self.look()? {
                Step::Found(batch) => return Poll::Ready(Ok(batch)),
                Step::More => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Step::UpToDate => ready!(self.poll_ready(context)),
            }
        }
    }

    fn look(&mut self) -> Result<Step> {
        let step = self.step()?;
        if !matches!(step, Step::UpToDate) {
            return Ok(step);
        }
        let Some(error) = self.failure() else {
            return Ok(step);
        };
        // What became durable before the failure comes first.
        match self.step()? {
            Step::UpToDate => Err(error),
            step => Ok(step),
        }
    }

    /// Examines batches until one is shown.
    fn step(&mut self) -> Result<Step> {
        if let Some(end) = self.end {
            return Err(self.ended(end));
        }
        let stop = Offset::new(self.reader.position().get() + STEP_BYTES_MAX);
        while let Some(batch) = self.reader.next()? {
            self.keyspace.wait_visible(batch.end.get());
            let (version, offset) = (Version::new(batch.offset.get()), batch.offset);
            let time_ms = batch.time_ms;
            let events = self
                .examine(batch)
                .map_err(|malformed| self.end_with(End::Damaged(offset, malformed)))?;
            self.examined = version.get();
            self.watcher.move_to(self.reader.position());
            if !events.is_empty() {
                return Ok(Step::Found(WatchBatch {
                    version,
                    time_ms,
                    events,
                }));
            }
            if let Some(end) = self.end {
                return Err(self.ended(end));
            }
            if self.reader.position() >= stop {
                return Ok(Step::More);
            }
        }
        Ok(Step::UpToDate)
    }

    /// The events of a batch; notes that the bucket ends with it.
    fn examine(&mut self, batch: TailBatch) -> std::result::Result<Vec<WatchEvent>, Malformed> {
        let bucket = self.bucket.id;
        let mut shows = false;
        for (_, payload) in batch.records() {
            let record = Record::decode(payload)?;
            shows |= shown(&record, bucket, &self.prefix).is_some();
            if record.bucket == bucket && record.body == Body::BucketDropped {
                self.end = Some(End::Dropped);
            }
        }
        // Most batches of a busy partition are of other buckets: they are not kept.
        if !shows {
            return Ok(Vec::new());
        }
        let (bytes, places) = batch.into_bytes();
        let bytes = if bytes.as_ref().len() <= BATCH_BYTES_COPIED {
            Bytes::copy_from_slice(bytes.as_ref())
        } else {
            Bytes::from_owner(bytes)
        };
        let mut events = Vec::new();
        for place in places {
            let payload = bytes.slice(place);
            let record = Record::decode(&payload)?;
            events.extend(shown(&record, bucket, &self.prefix).map(|event| event.keep(&payload)));
        }
        Ok(events)
    }

    /// Why nothing more becomes durable.
    fn failure(&self) -> Option<Error> {
        let log = self.keyspace.log();
        if log.is_poisoned() {
            if self.from >= log.durable().get() {
                return Some(lost(self.from));
            }
            return self.keyspace.check_poison().err();
        }
        log.is_closed().then(|| {
            let message = format!(
                "the store is closed; watch on from version {} when it is open",
                self.examined
            );
            Error::new(ErrorKind::Poisoned, message)
        })
    }

    fn end_with(&mut self, end: End) -> Error {
        self.end = Some(end);
        self.ended(end)
    }

    fn ended(&self, end: End) -> Error {
        match end {
            End::Dropped => Error::bucket_not_found(self.bucket.name.as_str()),
            End::Damaged(offset, malformed) => {
                let message = format!(
                    "a record of the batch at offset {offset} of partition {} is damaged: \
                     {malformed}; run `cairn verify` on the data directory",
                    self.keyspace.log().id()
                );
                Error::new(ErrorKind::Corrupt, message)
            }
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Watch({:?}, {})",
            self.bucket.name, self.examined
        )
    }
}

/// Refuses a version above the newest one.
fn check_is_known(from: u64, newest: u64) -> Result<()> {
    if from <= newest {
        return Ok(());
    }
    let message = format!(
        "version {from} is above the newest one, {newest}: it was lost, or is none of this \
         store's; {ANEW}"
    );
    Err(Error::new(ErrorKind::Compacted, message))
}

/// Refuses a version below the newest durable one if something above it is missing, or it is.
/// What is above it has been pinned.
fn check_is_whole(log: &Partition, from: u64) -> Result<()> {
    let floor = log.dropped_end();
    if from < floor.get() {
        let message = format!(
            "what followed version {from} was dropped to free space: the log is complete from \
             offset {floor} on; {ANEW}"
        );
        return Err(Error::new(ErrorKind::Compacted, message));
    }
    let spans = log.segments();
    let after = spans.partition_point(|span| span.base.get() <= from);
    match spans[..after].last() {
        Some(span) if span.end.get() <= from => Err(lost(from)),
        _ => Ok(()),
    }
}

fn lost(from: u64) -> Error {
    let message =
        format!("version {from} was not durable when the log failed, and is lost; {ANEW}");
    Error::new(ErrorKind::Compacted, message)
}

const ANEW: &str = "read the bucket anew and watch from the version of that scan";

/// The most of the log that one step of a watch examines, beyond the batch it ends with.
const STEP_BYTES_MAX: u64 = 1 << 20;

/// A batch up to this length is copied out of the log whole; a larger one is borrowed.
const BATCH_BYTES_COPIED: usize = 16 << 10;

#[cfg(test)]
mod tests;
