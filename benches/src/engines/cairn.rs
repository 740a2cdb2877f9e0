//! Cairn, embedded: the default options, one partition, one bucket. Where the cache of all engines
//! is set, the hot index and the index cache share it. For reads in bounded memory they do as well,
//! and the memtable, which no read fills, may take no more.
//!
//! Synced is `Local`: the put returns after an fdatasync that covers it, shared by all who wait.
//! Buffered is `Buffered`: written to the kernel, so it survives a kill, and synced within a
//! second. A load is buffered batches and one flush.

use super::{Durability, Engine, Outcome, Purpose, ReadMode, Reader, Tuning, wait_until_idle};
use crate::data::Pairs;
use crate::measure::thread_ticks;
use cairn_kv::{Batch, Bucket, Entries, IndexStatus, Scan, Store, View};
use std::cell::Cell;
use std::path::Path;

struct Cairn {
    store: Store,
    bucket: Bucket,
    memory: String,
}

pub(super) fn open(directory: &Path, tuning: &Tuning) -> Outcome<Box<dyn Engine>> {
    let mut options = Store::options();
    let mut memory =
        "default options: 128 MiB of hot index, 64 of memtable and of index cache".into();
    let is_capped = tuning.purpose == Purpose::CappedReads;
    if is_capped {
        options = options.memtable_bytes(tuning.cache_bytes);
    }
    if is_capped || tuning.cache_is_given {
        let half = tuning.cache_bytes / 2;
        options = options.hot_index_bytes(half).cache_bytes(half);
        memory = format!("{} KiB each of hot index and index cache", half >> 10);
    }
    let store = options.open(directory.join("cairn"))?;
    let bucket = store.bucket("rows")?;
    Ok(Box::new(Cairn {
        store,
        bucket,
        memory,
    }))
}

/// How the names of the threads begin that write runs, merge them and collect garbage.
pub(super) const INDEX_THREADS: &str = "cairn-index";

impl Cairn {
    /// What its threads in the background have done so far.
    fn index_work(&self) -> Vec<IndexStatus> {
        let partitions = self.store.status().partitions;
        partitions.into_iter().map(|row| row.index).collect()
    }
}

fn promise(durability: Durability) -> cairn_kv::Durability {
    match durability {
        Durability::Synced => cairn_kv::Durability::Local,
        Durability::Buffered => cairn_kv::Durability::Buffered,
    }
}

impl Engine for Cairn {
    fn settings(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        format!(
            "{version}, {}; buffered: written to the kernel, survives a kill; writers share one sync",
            self.memory
        )
    }

    fn verifies_reads(&self) -> bool {
        true
    }

    fn put(&self, key: &[u8], value: &[u8], durability: Durability) -> Outcome<()> {
        self.bucket
            .submit_put(key, value, &Default::default(), promise(durability))?
            .wait()?;
        Ok(())
    }

    fn delete(&self, key: &[u8], durability: Durability) -> Outcome<()> {
        self.bucket
            .submit_delete(key, promise(durability))?
            .wait()?;
        Ok(())
    }

    fn batch(&self, pairs: &Pairs, durability: Durability) -> Outcome<()> {
        let batch = pairs
            .iter()
            .fold(Batch::new(), |batch, (key, value)| batch.put(key, value));
        self.bucket.write(batch, promise(durability))?;
        Ok(())
    }

    fn read(
        &self,
        mode: ReadMode,
        body: &mut dyn FnMut(&dyn Reader) -> Outcome<()>,
    ) -> Outcome<()> {
        match mode {
            ReadMode::Held => body(&self.bucket.view()?),
            ReadMode::PerGet => body(self),
        }
    }

    fn flush(&self) -> Outcome<()> {
        self.store.sync()?;
        Ok(())
    }

    fn settle(&self) -> Outcome<()> {
        // A merge that is under way does not show in the status.
        let seen = Cell::new((self.index_work(), 0));
        wait_until_idle(|| {
            let now = (self.index_work(), thread_ticks(INDEX_THREADS)?);
            Ok(seen.replace(now.clone()) != now)
        })
    }

    fn syncs(&self) -> Option<u64> {
        Some(
            self.store
                .status()
                .partitions
                .iter()
                .map(|partition| partition.syncs)
                .sum(),
        )
    }

    fn prepared_bytes(&self) -> u64 {
        let status = self.store.status();
        status
            .partitions
            .iter()
            .map(|partition| partition.prepared_bytes)
            .sum()
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.store.close()?;
        Ok(())
    }
}

impl Reader for View {
    fn get(&self, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let entry = View::get(self, key)?;
        if let Some(entry) = &entry {
            visit(&entry.value);
        }
        Ok(entry.is_some())
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        scan(View::scan(self, &Scan::default()), visit)
    }
}

/// Each read sees what is newest when it begins.
impl Reader for Cairn {
    fn get(&self, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let entry = self.bucket.get(key)?;
        if let Some(entry) = &entry {
            visit(&entry.value);
        }
        Ok(entry.is_some())
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        scan(self.bucket.scan(Scan::default())?, visit)
    }
}

fn scan(mut entries: Entries, visit: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
    while let Some(row) = entries.next_row()? {
        visit(row.key, row.value);
    }
    Ok(())
}
