//! fjall: a log-structured merge tree with a journal.
//!
//! Synced is an insert followed by `persist(SyncData)`: the journal is one writer behind a mutex,
//! so each of many threads pays a sync of its own. Buffered is a plain insert, which reaches the
//! kernel before it returns. Values from 1 KiB (its own threshold) are kept apart from keys, and
//! nothing is compressed, because the data cannot be.

use super::{Durability, Engine, Outcome, Purpose, ReadMode, Reader, Tuning, wait_until_idle};
use crate::data::Pairs;
use fjall::config::CompressionPolicy;
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode,
    Readable, Snapshot,
};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

const SEPARATED_VALUE_BYTES_MIN: usize = 1024;

struct Fjall {
    database: Database,
    keyspace: Keyspace,
    cache_bytes: u64,
    separated: bool,
    syncs: AtomicU64,
}

pub(super) fn open(directory: &Path, tuning: &Tuning) -> Outcome<Box<dyn Engine>> {
    let database = Database::builder(directory)
        .cache_size(tuning.cache_bytes)
        .journal_compression(CompressionType::None)
        .open()?;
    let separated = tuning.shape.value_bytes >= SEPARATED_VALUE_BYTES_MIN;
    let keyspace = database.keyspace("rows", || {
        KeyspaceCreateOptions::default()
            .manual_journal_persist(tuning.purpose == Purpose::DurableWrites)
            .data_block_compression_policy(CompressionPolicy::disabled())
            .with_kv_separation(
                separated
                    .then(|| KvSeparationOptions::default().compression(CompressionType::None)),
            )
    })?;
    Ok(Box::new(Fjall {
        database,
        keyspace,
        cache_bytes: tuning.cache_bytes,
        separated,
        syncs: AtomicU64::new(0),
    }))
}

impl Fjall {
    fn persist(&self, durability: Durability) -> Outcome<()> {
        if durability == Durability::Synced {
            self.syncs.fetch_add(1, Ordering::Relaxed);
            self.database.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }
}

impl Engine for Fjall {
    fn settings(&self) -> String {
        format!(
            "3.1, block cache {} MiB, compression off, values {}; buffered: in the kernel; \
             durable writers each persist with fdatasync",
            self.cache_bytes >> 20,
            if self.separated {
                "separated from keys"
            } else {
                "beside their keys"
            }
        )
    }

    /// Blocks are checked when they are read from disk into the cache.
    fn verifies_reads(&self) -> bool {
        true
    }

    fn put(&self, key: &[u8], value: &[u8], durability: Durability) -> Outcome<()> {
        self.keyspace.insert(key, value)?;
        self.persist(durability)
    }

    fn delete(&self, key: &[u8], durability: Durability) -> Outcome<()> {
        self.keyspace.remove(key)?;
        self.persist(durability)
    }

    fn batch(&self, pairs: &Pairs, durability: Durability) -> Outcome<()> {
        let mut batch = self.database.batch().durability(Some(match durability {
            Durability::Synced => PersistMode::SyncData,
            Durability::Buffered => PersistMode::Buffer,
        }));
        for (key, value) in pairs.iter() {
            batch.insert(&self.keyspace, key, value);
        }
        if durability == Durability::Synced {
            self.syncs.fetch_add(1, Ordering::Relaxed);
        }
        Ok(batch.commit()?)
    }

    fn read(
        &self,
        mode: ReadMode,
        body: &mut dyn FnMut(&dyn Reader) -> Outcome<()>,
    ) -> Outcome<()> {
        match mode {
            ReadMode::Held => body(&Held {
                snapshot: self.database.snapshot(),
                keyspace: &self.keyspace,
            }),
            ReadMode::PerGet => body(self),
        }
    }

    fn flush(&self) -> Outcome<()> {
        self.persist(Durability::Synced)
    }

    fn settle(&self) -> Outcome<()> {
        self.keyspace.rotate_memtable_and_wait()?;
        wait_until_idle(|| {
            let flushing = self.database.outstanding_flushes() > 0;
            Ok(flushing || self.database.active_compactions() > 0)
        })
    }

    fn syncs(&self) -> Option<u64> {
        Some(self.syncs.load(Ordering::Relaxed))
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.flush()
    }
}

struct Held<'a> {
    snapshot: Snapshot,
    keyspace: &'a Keyspace,
}

impl Reader for Held<'_> {
    fn get(&self, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let found = self.snapshot.get(self.keyspace, key)?;
        if let Some(value) = &found {
            visit(value);
        }
        Ok(found.is_some())
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        for row in self.snapshot.iter(self.keyspace) {
            let (key, value) = row.into_inner()?;
            visit(&key, &value);
        }
        Ok(())
    }
}

/// A read without a snapshot sees the newest version.
impl Reader for Fjall {
    fn get(&self, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let found = self.keyspace.get(key)?;
        if let Some(value) = &found {
            visit(value);
        }
        Ok(found.is_some())
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        for row in self.keyspace.iter() {
            let (key, value) = row.into_inner()?;
            visit(&key, &value);
        }
        Ok(())
    }
}
