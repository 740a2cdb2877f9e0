//! redb: a copy-on-write B-tree in one file, one write transaction at a time.
//!
//! Synced is its default commit: one phase, one fsync. Buffered is `Durability::None`: the commit
//! stays in the process until the next durable one, so a kill loses it; pages that it freed come
//! back into use only then. A load is one transaction, as in its own benchmark: on random keys
//! smaller ones rewrite each page many times (README.md has the figures).

use super::{Durability, Engine, Outcome, ReadMode, Reader, Tuning};
use crate::data::{Pairs, Rows};
use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

const TABLE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("rows");

struct Redb {
    database: Database,
    cache_bytes: u64,
    syncs: AtomicU64,
}

pub(super) fn open(directory: &Path, tuning: &Tuning) -> Outcome<Box<dyn Engine>> {
    let database = Database::builder()
        .set_cache_size(usize::try_from(tuning.cache_bytes)?)
        .create(directory.join("rows.redb"))?;
    let engine = Redb {
        database,
        cache_bytes: tuning.cache_bytes,
        syncs: AtomicU64::new(0),
    };
    engine.write(Durability::Synced, |_| Ok(()))?;
    Ok(Box::new(engine))
}

type RowsTable<'a> = redb::Table<'a, &'static [u8], &'static [u8]>;

impl Redb {
    fn write(
        &self,
        durability: Durability,
        change: impl FnOnce(&mut RowsTable) -> Outcome<()>,
    ) -> Outcome<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(match durability {
            Durability::Synced => redb::Durability::Immediate,
            Durability::Buffered => redb::Durability::None,
        })?;
        change(&mut transaction.open_table(TABLE)?)?;
        transaction.commit()?;
        if durability == Durability::Synced {
            self.syncs.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn table(&self) -> Outcome<ReadOnlyTable<&'static [u8], &'static [u8]>> {
        Ok(self.database.begin_read()?.open_table(TABLE)?)
    }
}

impl Engine for Redb {
    fn settings(&self) -> String {
        format!(
            "4.6, cache {} MiB, one-phase commit, quick repair off, loads in one transaction; \
             buffered: in the process until the next durable commit; writers take turns",
            self.cache_bytes >> 20
        )
    }

    fn verifies_reads(&self) -> bool {
        false
    }

    fn put(&self, key: &[u8], value: &[u8], durability: Durability) -> Outcome<()> {
        self.write(durability, |table| {
            table.insert(key, value)?;
            Ok(())
        })
    }

    fn delete(&self, key: &[u8], durability: Durability) -> Outcome<()> {
        self.write(durability, |table| {
            table.remove(key)?;
            Ok(())
        })
    }

    fn batch(&self, pairs: &Pairs, durability: Durability) -> Outcome<()> {
        self.write(durability, |table| {
            for (key, value) in pairs.iter() {
                table.insert(key, value)?;
            }
            Ok(())
        })
    }

    fn load(&self, rows: &mut Rows) -> Outcome<()> {
        self.write(Durability::Synced, |table| {
            rows.each(u64::MAX, |key, value| {
                table.insert(key, value)?;
                Outcome::Ok(())
            })?;
            Ok(())
        })
    }

    fn read(
        &self,
        mode: ReadMode,
        body: &mut dyn FnMut(&dyn Reader) -> Outcome<()>,
    ) -> Outcome<()> {
        match mode {
            ReadMode::Held => body(&self.table()?),
            ReadMode::PerGet => body(self),
        }
    }

    fn flush(&self) -> Outcome<()> {
        self.write(Durability::Synced, |_| Ok(()))
    }

    fn syncs(&self) -> Option<u64> {
        Some(self.syncs.load(Ordering::Relaxed))
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.database.close()?;
        Ok(())
    }
}

impl Reader for ReadOnlyTable<&'static [u8], &'static [u8]> {
    fn get(&self, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let found = ReadOnlyTable::get(self, key)?;
        if let Some(value) = &found {
            visit(value.value());
        }
        Ok(found.is_some())
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        for row in self.iter()? {
            let (key, value) = row?;
            visit(key.value(), value.value());
        }
        Ok(())
    }
}

/// Each read begins a transaction of its own.
impl Reader for Redb {
    fn get(&self, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        Reader::get(&self.table()?, key, visit)
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        Reader::scan(&self.table()?, visit)
    }
}
