//! Leases of snapshots: what lets every page of a scan read what the first page saw.
//!
//! A page that has a next one leaves its snapshot here, under its bucket and version. It is held
//! for [`LEASE`] after its last use; of more than [`LEASES_MAX`] the one least recently used goes.
//! A snapshot pins superseded versions in the store, so leases that nobody comes back for are
//! swept, also when no request arrives any more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use cairn_kv::{Entries, Scan};

/// How long a snapshot is held after its last use.
const LEASE: Duration = Duration::from_secs(60);
/// How many snapshots are held at once.
const LEASES_MAX: usize = 1024;
/// How often leases that have ended are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// The leased snapshots of a store. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Leases {
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    held: HashMap<(u32, u64), Lease>,
    sweeping: bool,
}

struct Lease {
    /// Never advanced: other scans begin again from it.
    snapshot: Entries,
    used: Instant,
}

impl Leases {
    /// Holds what a scan of this bucket sees.
    pub(crate) fn keep(&self, bucket_id: u32, snapshot: Entries) {
        let now = Instant::now();
        let id = (bucket_id, snapshot.version().get());
        // Dropped outside the lock: the store then frees what they pinned.
        let mut ended = Vec::new();
        let mut table = self.lock();
        ended.extend(table.held.insert(
            id,
            Lease {
                snapshot,
                used: now,
            },
        ));
        if table.held.len() > LEASES_MAX {
            let oldest = table
                .held
                .iter()
                .min_by_key(|(_, lease)| lease.used)
                .map(|(id, _)| *id);
            ended.extend(oldest.and_then(|id| table.held.remove(&id)));
        }
        if !table.sweeping
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            table.sweeping = true;
            runtime.spawn(sweep(Arc::downgrade(&self.table)));
        }
        drop(table);
    }

    /// Scans a snapshot that is held, and extends its lease.
    pub(crate) fn resume(&self, bucket_id: u32, version: u64, scan: &Scan) -> Option<Entries> {
        let mut table = self.lock();
        let lease = table.held.get_mut(&(bucket_id, version))?;
        let now = Instant::now();
        if now.duration_since(lease.used) > LEASE {
            return None;
        }
        lease.used = now;
        Some(lease.snapshot.again(scan))
    }

    /// Ends every lease.
    pub(crate) fn forget_all(&self) {
        let ended = std::mem::take(&mut self.lock().held);
        drop(ended);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // The table is whole between any two statements, so a panic elsewhere leaves it usable.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends leases as their time comes, and itself when none is left.
async fn sweep(table: Weak<Mutex<Table>>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(table) = table.upgrade() else {
            return;
        };
        let now = Instant::now();
        let mut locked = table.lock().unwrap_or_else(PoisonError::into_inner);
        let ended: Vec<_> = locked
            .held
            .extract_if(|_, lease| now.duration_since(lease.used) > LEASE)
            .collect();
        locked.sweeping = !locked.held.is_empty();
        let done = !locked.sweeping;
        drop(locked);
        drop(ended);
        if done {
            return;
        }
    }
}
