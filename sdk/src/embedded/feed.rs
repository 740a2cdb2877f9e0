//! The batches of a watch of the store in this process, read on the pool.
//!
//! A feed waits without a thread: the log wakes it when something is durable. What is there is then
//! read on the bridge, a bounded part at a time, and only a few watches read at once, so that a
//! write which wakes a thousand of them does not take the pool from those who read keys.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::{error, refused};
use crate::bridge::{Bridge, Refused};
use crate::error::Result;
use crate::watch::{WatchBatch, WatchChange, WatchEvent};
use crate::wire::INLINE_VALUE_BYTES_MAX;

/// Watches of one store that read at once.
pub(super) const READERS_MAX: usize = 4;
/// Bytes of keys and values that one read goes beyond at most by a batch.
const READ_BYTES_MAX: usize = 64 * 1024;
/// How long a feed waits when the pool has no room for it.
const PAUSE: Duration = Duration::from_millis(100);

/// A watch of a bucket of this store. Dropping it ends it.
pub struct Feed {
    bridge: Bridge,
    readers: Arc<Semaphore>,
    /// Locked while it is read and while it is polled, which are never at the same time.
    watch: Arc<Mutex<cairn_kv::Watch>>,
    /// The read under way.
    reading: Option<Reading>,
    version: u64,
}

type Reading = Pin<Box<dyn Future<Output = Read> + Send>>;

/// What a read came to, and how far the watch has got.
struct Read {
    batches: Result<Vec<WatchBatch>>,
    /// `None` if the watch was not asked.
    version: Option<u64>,
}

impl Feed {
    pub(super) fn new(bridge: Bridge, readers: Arc<Semaphore>, watch: cairn_kv::Watch) -> Self {
        let version = watch.version().get();
        Self {
            bridge,
            readers,
            watch: Arc::new(Mutex::new(watch)),
            reading: None,
            version,
        }
    }

    /// The newest version examined by reads that have ended: once their batches are passed on, a
    /// watch resumed from here misses and repeats nothing.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The next batches, at least one.
    ///
    /// # Errors
    /// `compacted` if the next batch is no longer there, `bucket_not_found` after the last one of a
    /// bucket that was removed, `poisoned`, `corrupt`. Each is told again.
    pub fn poll_batches(&mut self, context: &mut Context<'_>) -> Poll<Result<Vec<WatchBatch>>> {
        loop {
            let reading = match &mut self.reading {
                Some(reading) => reading,
                None => {
                    let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
                    ready!(watch.poll_ready(context));
                    drop(watch);
                    let reading = self.read();
                    self.reading.insert(reading)
                }
            };
            let Read { batches, version } = ready!(reading.as_mut().poll(context));
            self.reading = None;
            self.version = version.unwrap_or(self.version);
            match batches {
                Ok(batches) if batches.is_empty() => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    fn read(&self) -> Reading {
        let (bridge, readers) = (self.bridge.clone(), Arc::clone(&self.readers));
        let watch = Arc::clone(&self.watch);
        Box::pin(async move {
            let _turn = readers.acquire_owned().await;
            let read = move || read(&mut watch.lock().unwrap_or_else(PoisonError::into_inner));
            let batches = match bridge.run(read).await {
                Ok(read) => return read,
                // Others wait already: come again rather than end the watch.
                Err(Refused::Full) => {
                    tokio::time::sleep(PAUSE).await;
                    Ok(Vec::new())
                }
                Err(other) => Err(refused(other)),
            };
            Read {
                batches,
                version: None,
            }
        })
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Reads what is there, up to a bound. What came before a failure is passed on first; the failure
/// is met again.
fn read(watch: &mut cairn_kv::Watch) -> Read {
    let mut batches = Vec::new();
    let mut bytes = 0;
    let mut failure = None;
    while bytes < READ_BYTES_MAX {
        match watch.try_next() {
            Ok(Some(found)) => {
                let found = batch(found);
                bytes += size(&found);
                batches.push(found);
            }
            Ok(None) => break,
            Err(cause) => {
                failure = Some(error(cause));
                break;
            }
        }
    }
    let batches = match failure {
        Some(failure) if batches.is_empty() => Err(failure),
        _ => Ok(batches),
    };
    let version = Some(watch.version().get());
    Read { batches, version }
}

fn batch(batch: cairn_kv::WatchBatch) -> WatchBatch {
    WatchBatch {
        version: batch.version.get(),
        events: batch.events.into_iter().map(event).collect(),
    }
}

fn event(event: cairn_kv::WatchEvent) -> WatchEvent {
    let change = match event.change {
        cairn_kv::WatchChange::Put { value, size, .. } => WatchChange::Put {
            size,
            value: value.filter(|_| size <= INLINE_VALUE_BYTES_MAX as u64),
        },
        cairn_kv::WatchChange::Delete { expired } => WatchChange::Delete { expired },
    };
    let key = event.key;
    WatchEvent { key, change }
}

fn size(batch: &WatchBatch) -> usize {
    let value = |event: &WatchEvent| match &event.change {
        WatchChange::Put { value, .. } => value.as_ref().map_or(0, Bytes::len),
        WatchChange::Delete { .. } => 0,
    };
    let events = batch.events.iter();
    events.map(|event| event.key.len() + value(event)).sum()
}

#[cfg(test)]
mod tests;
