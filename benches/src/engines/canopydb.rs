//! canopydb: a B-tree with versions in memory, a write-ahead log and background checkpoints.
//!
//! Synced is an exclusive write transaction, committed without a sync and followed by
//! `Database::sync`: with one writer it costs what a synced commit does, and with many one sync
//! may serve several, where a synced commit holds the writer's lock through its sync and
//! concurrent transactions conflict page by page (README.md has the figures). Buffered is the
//! commit alone: in the kernel when it returns. A load is one transaction without a write-ahead
//! log, made durable by a checkpoint. Page checksums are off, as by default.

use super::{Durability, Engine, Outcome, Purpose, ReadMode, Reader, Tuning};
use crate::data::{Pairs, Rows};
use canopydb::{Database, DbOptions, EnvOptions, Environment, ReadTransaction, Tree};
use std::path::Path;

const TREE: &[u8] = b"rows";
/// A loading transaction may hold so much before it spills.
const LOAD_MEMORY_BYTES: usize = 256 << 20;

struct Canopydb {
    // Dropped before the environment, which then waits for the background threads.
    database: Database,
    _environment: Environment,
    cache_bytes: u64,
    logs: bool,
}

pub(super) fn open(directory: &Path, tuning: &Tuning) -> Outcome<Box<dyn Engine>> {
    let mut options = EnvOptions::new(directory);
    options.page_cache_size = usize::try_from(tuning.cache_bytes)?;
    let environment = Environment::with_options(options)?;
    let logs = !matches!(tuning.purpose, Purpose::LoadThenRead | Purpose::CappedReads);
    let mut options = DbOptions::default();
    if !logs {
        options.use_wal = false;
        options.write_txn_memory_limit = LOAD_MEMORY_BYTES;
        options.checkpoint_target_size = LOAD_MEMORY_BYTES;
        options.throttle_memory_limit = 2 * LOAD_MEMORY_BYTES;
        options.stall_memory_limit = 2 * LOAD_MEMORY_BYTES;
    }
    let database = environment.get_or_create_database_with("rows", options)?;
    let transaction = database.begin_write()?;
    transaction.get_or_create_tree(TREE)?;
    transaction.commit_with(false)?;
    let engine = Canopydb {
        database,
        _environment: environment,
        cache_bytes: tuning.cache_bytes,
        logs,
    };
    engine.flush()?;
    Ok(Box::new(engine))
}

impl Canopydb {
    fn write(
        &self,
        durability: Durability,
        change: impl FnOnce(&mut Tree) -> Outcome<()>,
    ) -> Outcome<()> {
        let transaction = self.database.begin_write()?;
        change(&mut transaction.get_or_create_tree(TREE)?)?;
        transaction.commit_with(false)?;
        match durability {
            Durability::Synced => self.flush(),
            Durability::Buffered => Ok(()),
        }
    }
}

impl Engine for Canopydb {
    fn settings(&self) -> String {
        format!(
            "0.2.5, page cache {} MiB, {}, exclusive transactions, page checksums off; buffered: \
             in the kernel; durable writers commit in turn and share syncs",
            self.cache_bytes >> 20,
            if self.logs {
                "write-ahead log"
            } else {
                "loads in one transaction with no log, then a checkpoint"
            }
        )
    }

    fn verifies_reads(&self) -> bool {
        false
    }

    fn put(&self, key: &[u8], value: &[u8], durability: Durability) -> Outcome<()> {
        self.write(durability, |tree| Ok(tree.insert(key, value)?))
    }

    fn delete(&self, key: &[u8], durability: Durability) -> Outcome<()> {
        self.write(durability, |tree| {
            tree.delete(key)?;
            Ok(())
        })
    }

    fn batch(&self, pairs: &Pairs, durability: Durability) -> Outcome<()> {
        self.write(durability, |tree| {
            for (key, value) in pairs.iter() {
                tree.insert(key, value)?;
            }
            Ok(())
        })
    }

    fn load(&self, rows: &mut Rows) -> Outcome<()> {
        self.write(Durability::Buffered, |tree| {
            rows.each(u64::MAX, |key, value| tree.insert(key, value))?;
            Ok(())
        })?;
        self.flush()
    }

    fn read(
        &self,
        mode: ReadMode,
        body: &mut dyn FnMut(&dyn Reader) -> Outcome<()>,
    ) -> Outcome<()> {
        match mode {
            ReadMode::Held => {
                let transaction = self.database.begin_read()?;
                body(&Held {
                    tree: tree_of(&transaction)?,
                })
            }
            ReadMode::PerGet => body(self),
        }
    }

    fn flush(&self) -> Outcome<()> {
        match self.logs {
            true => Ok(self.database.sync()?),
            false => Ok(self.database.checkpoint()?),
        }
    }

    fn settle(&self) -> Outcome<()> {
        Ok(self.database.checkpoint()?)
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.flush()
    }
}

fn tree_of(transaction: &ReadTransaction) -> Outcome<Tree<'_>> {
    Ok(transaction.get_tree(TREE)?.ok_or("the tree is gone")?)
}

struct Held<'a> {
    tree: Tree<'a>,
}

impl Reader for Held<'_> {
    fn get(&self, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let found = self.tree.get(key)?;
        if let Some(value) = &found {
            visit(value);
        }
        Ok(found.is_some())
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        for row in self.tree.iter()? {
            let (key, value) = row?;
            visit(&key, &value);
        }
        Ok(())
    }
}

/// Each read begins a transaction of its own.
impl Reader for Canopydb {
    fn get(&self, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let transaction = self.database.begin_read()?;
        let tree = tree_of(&transaction)?;
        Held { tree }.get(key, visit)
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        self.read(ReadMode::Held, &mut |reader| reader.scan(visit))
    }
}
