//! LMDB through heed: a copy-on-write B-tree in a memory map, one write transaction at a time.
//!
//! Synced is its default: data pages, fdatasync, then the meta page through an O_DSYNC
//! descriptor. Buffered is `MDB_NOSYNC`: the commit reaches the kernel, and after a power loss
//! the file may be damaged. `MDB_WRITEMAP` is left off, as it is by default: a stray pointer or a
//! full disk would then damage the file or kill the process. It has no checksums. A load of small
//! rows is one transaction; large values stand on pages of their own, where a transaction saves
//! no work and its pages sit in memory, so those loads commit now and then. Where data exceeds
//! memory its readahead is off (`MDB_NORDAHEAD`), as its documentation advises.

use super::{Durability, Engine, Outcome, Purpose, ReadMode, Reader, Tuning};
use crate::data::{Pairs, Rows};
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, RoTxn, RwTxn, WithTls};
use std::path::Path;

/// Address space, not disk: the file grows as it is written.
const MAP_BYTES: usize = 64 << 30;
/// One slot a reading thread.
const READERS_MAX: u32 = 512;
/// From here on a value stands on overflow pages.
const LARGE_VALUE_BYTES_MIN: usize = 2048;
const LARGE_ROWS_A_TRANSACTION: u64 = 10_000;

type RowsTable = Database<'static, Bytes, Bytes>;

struct Lmdb {
    environment: Env<WithTls>,
    rows: RowsTable,
    syncs_at_commit: bool,
    reads_ahead: bool,
}

pub(super) fn open(directory: &Path, tuning: &Tuning) -> Outcome<Box<dyn Engine>> {
    let syncs_at_commit = tuning.purpose == Purpose::DurableWrites;
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES).max_readers(READERS_MAX);
    let reads_ahead = tuning.purpose != Purpose::CappedReads;
    let environment = open_environment(&mut options, directory, syncs_at_commit, reads_ahead)?;
    let transaction = environment.write_txn()?;
    let rows = environment
        .create_databases_and_commit(transaction, |opener, transaction| {
            opener
                .create_database::<Bytes, Bytes>(transaction, None)
                .map(CommitOrAbort::<_, ()>::Commit)
        })?
        .commit()
        .ok_or("the unnamed database was not created")?;
    Ok(Box::new(Lmdb {
        environment,
        rows,
        syncs_at_commit,
        reads_ahead,
    }))
}

#[allow(unsafe_code)]
fn open_environment(
    options: &mut EnvOpenOptions<WithTls>,
    directory: &Path,
    syncs_at_commit: bool,
    reads_ahead: bool,
) -> heed::Result<Env<WithTls>> {
    if !reads_ahead {
        // SAFETY: NO_READ_AHEAD changes what is asked of the page cache and nothing else.
        unsafe {
            options.flags(EnvFlags::NO_READ_AHEAD);
        }
    }
    if !syncs_at_commit {
        // SAFETY: NO_SYNC risks the file's content after a power loss, never memory; the store
        // is scratch data that no row reads after one.
        unsafe {
            options.flags(EnvFlags::NO_SYNC);
        }
    }
    // SAFETY: the map must not be changed from outside. The directory was made for this row, is
    // on a local disk, and no other process has it open: a child that loaded it is dead.
    unsafe { options.open(directory) }
}

impl Lmdb {
    fn write(
        &self,
        durability: Durability,
        change: impl FnOnce(&mut RwTxn) -> Outcome<()>,
    ) -> Outcome<()> {
        let mut transaction = self.environment.write_txn()?;
        change(&mut transaction)?;
        transaction.commit()?;
        if durability == Durability::Synced && !self.syncs_at_commit {
            self.environment.force_sync()?;
        }
        Ok(())
    }
}

impl Engine for Lmdb {
    fn settings(&self) -> String {
        format!(
            "heed 0.23, map {} GiB, {}{}; no cache of its own, no checksums; writers take turns",
            MAP_BYTES >> 30,
            if self.syncs_at_commit {
                "default flags: fdatasync, then the meta page with O_DSYNC"
            } else {
                "NOSYNC; buffered: in the kernel, the file unsafe after a power loss"
            },
            if self.reads_ahead { "" } else { "; NORDAHEAD" }
        )
    }

    fn verifies_reads(&self) -> bool {
        false
    }

    fn put(&self, key: &[u8], value: &[u8], durability: Durability) -> Outcome<()> {
        self.write(durability, |transaction| {
            Ok(self.rows.put(transaction, key, value)?)
        })
    }

    fn delete(&self, key: &[u8], durability: Durability) -> Outcome<()> {
        self.write(durability, |transaction| {
            self.rows.delete(transaction, key)?;
            Ok(())
        })
    }

    fn batch(&self, pairs: &Pairs, durability: Durability) -> Outcome<()> {
        self.write(durability, |transaction| {
            for (key, value) in pairs.iter() {
                self.rows.put(transaction, key, value)?;
            }
            Ok(())
        })
    }

    fn load(&self, rows: &mut Rows) -> Outcome<()> {
        let rows_a_transaction = match rows.shape().value_bytes {
            LARGE_VALUE_BYTES_MIN.. => LARGE_ROWS_A_TRANSACTION,
            _ => u64::MAX,
        };
        let mut taken = 1;
        while taken > 0 {
            self.write(Durability::Buffered, |transaction| {
                taken = rows.each(rows_a_transaction, |key, value| {
                    self.rows.put(transaction, key, value)
                })?;
                Ok(())
            })?;
        }
        self.flush()
    }

    fn read(
        &self,
        mode: ReadMode,
        body: &mut dyn FnMut(&dyn Reader) -> Outcome<()>,
    ) -> Outcome<()> {
        match mode {
            ReadMode::Held => body(&Held {
                transaction: self.environment.read_txn()?,
                rows: self.rows,
            }),
            ReadMode::PerGet => body(self),
        }
    }

    fn flush(&self) -> Outcome<()> {
        Ok(self.environment.force_sync()?)
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.environment.prepare_for_closing().wait();
        Ok(())
    }
}

struct Held<'a> {
    transaction: RoTxn<'a, WithTls>,
    rows: RowsTable,
}

impl Reader for Held<'_> {
    fn get(&self, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let found = self.rows.get(&self.transaction, key)?;
        if let Some(value) = found {
            visit(value);
        }
        Ok(found.is_some())
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        for row in self.rows.iter(&self.transaction)? {
            let (key, value) = row?;
            visit(key, value);
        }
        Ok(())
    }
}

/// Each read begins a transaction of its own.
impl Reader for Lmdb {
    fn get(&self, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let transaction = self.environment.read_txn()?;
        let found = self.rows.get(&transaction, key)?;
        if let Some(value) = found {
            visit(value);
        }
        Ok(found.is_some())
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        self.read(ReadMode::Held, &mut |reader| reader.scan(visit))
    }
}
