//! RocksDB: a log-structured merge tree in C++, from the system's library.
//!
//! Synced is a write with `sync`, which its write queue groups: one thread leads, writes the log
//! for all that wait and syncs once. Buffered is a plain write, which reaches the kernel. Ten
//! bits of Bloom filter a key, an LRU cache of whole blocks, dynamic level sizes, a recycled log
//! file for the durable rows (its tuning guide's advice for synced writes), and no compression,
//! because the data cannot be compressed. A load writes no log and flushes the memtables at its
//! end, as its guide for bulk loads says.

use super::{Durability, Engine, Outcome, Purpose, ReadMode, Reader, Tuning, wait_until_idle};
use crate::data::{Pairs, Rows};
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBRawIterator, Options, Snapshot, WriteBatch, WriteOptions,
};
use std::path::Path;

const BLOOM_BITS_A_KEY: f64 = 10.0;
const BLOCK_BYTES: usize = 4096;
const BACKGROUND_JOBS: i32 = 2;
const RECYCLED_LOGS: usize = 4;
const LOAD_ROWS_A_BATCH: u64 = 1_000;
const BACKGROUND_WORK: [&str; 4] = [
    "rocksdb.mem-table-flush-pending",
    "rocksdb.num-running-flushes",
    "rocksdb.compaction-pending",
    "rocksdb.num-running-compactions",
];

struct RocksDb {
    database: DB,
    cache_bytes: u64,
    durable: bool,
}

pub(super) fn open(directory: &Path, tuning: &Tuning) -> Outcome<Box<dyn Engine>> {
    let durable = tuning.purpose == Purpose::DurableWrites;
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(usize::try_from(tuning.cache_bytes)?)?);
    blocks.set_bloom_filter(BLOOM_BITS_A_KEY, false);
    blocks.set_block_size(BLOCK_BYTES);
    blocks.set_format_version(5);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(rocksdb::DBCompressionType::None);
    options.increase_parallelism(BACKGROUND_JOBS);
    options.set_level_compaction_dynamic_level_bytes(true);
    if durable {
        options.set_recycle_log_file_num(RECYCLED_LOGS);
    }
    Ok(Box::new(RocksDb {
        database: DB::open(&options, directory)?,
        cache_bytes: tuning.cache_bytes,
        durable,
    }))
}

fn write_options(durability: Durability) -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(durability == Durability::Synced);
    options
}

impl RocksDb {
    fn write(&self, pairs: &Pairs, options: &WriteOptions) -> Outcome<()> {
        let mut batch = WriteBatch::default();
        for (key, value) in pairs.iter() {
            batch.put(key, value);
        }
        Ok(self.database.write_opt(batch, options)?)
    }

    fn busy(&self) -> Outcome<bool> {
        for work in BACKGROUND_WORK {
            if self.database.property_int_value(work)? > Some(0) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Engine for RocksDb {
    fn settings(&self) -> String {
        format!(
            "7.8, block cache {} MiB, Bloom {BLOOM_BITS_A_KEY} bits, compression off, {}; \
             buffered: in the kernel; durable writers share syncs (write groups)",
            self.cache_bytes >> 20,
            if self.durable {
                "logs recycled"
            } else {
                "logs not recycled"
            }
        )
    }

    /// Blocks are checked when they are read from disk into the cache.
    fn verifies_reads(&self) -> bool {
        true
    }

    fn put(&self, key: &[u8], value: &[u8], durability: Durability) -> Outcome<()> {
        Ok(self
            .database
            .put_opt(key, value, &write_options(durability))?)
    }

    fn delete(&self, key: &[u8], durability: Durability) -> Outcome<()> {
        Ok(self.database.delete_opt(key, &write_options(durability))?)
    }

    fn batch(&self, pairs: &Pairs, durability: Durability) -> Outcome<()> {
        self.write(pairs, &write_options(durability))
    }

    fn load(&self, rows: &mut Rows) -> Outcome<()> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        let mut pairs = Pairs::new(rows.shape());
        while rows.next_chunk(LOAD_ROWS_A_BATCH, &mut pairs) {
            self.write(&pairs, &options)?;
        }
        Ok(self.database.flush()?)
    }

    fn read(
        &self,
        mode: ReadMode,
        body: &mut dyn FnMut(&dyn Reader) -> Outcome<()>,
    ) -> Outcome<()> {
        match mode {
            ReadMode::Held => body(&self.database.snapshot()),
            ReadMode::PerGet => body(self),
        }
    }

    fn flush(&self) -> Outcome<()> {
        Ok(self.database.flush_wal(true)?)
    }

    fn settle(&self) -> Outcome<()> {
        self.database.flush()?;
        wait_until_idle(|| self.busy())
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.database.cancel_all_background_work(true);
        Ok(())
    }
}

fn scan_all(mut rows: DBRawIterator<'_>, visit: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
    rows.seek_to_first();
    while let Some((key, value)) = rows.item() {
        visit(key, value);
        rows.next();
    }
    Ok(rows.status()?)
}

impl Reader for Snapshot<'_> {
    fn get(&self, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let found = self.get_pinned(key)?;
        if let Some(value) = &found {
            visit(value);
        }
        Ok(found.is_some())
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        scan_all(self.raw_iterator(), visit)
    }
}

/// A read without a snapshot sees the newest version.
impl Reader for RocksDb {
    fn get(&self, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let found = self.database.get_pinned(key)?;
        if let Some(value) = &found {
            visit(value);
        }
        Ok(found.is_some())
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        scan_all(self.database.raw_iterator(), visit)
    }
}
