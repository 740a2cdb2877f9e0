//! The threads of an open log: thin loops over each partition's steps.
//!
//! One thread a partition commits groups that have no waiting thread. Another syncs what `Buffered`
//! batches left while more come in. A third prepares segments, syncs what has waited for long, and
//! marks idle partitions; it never holds up a commit.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, Result};
use crate::partition::Partition;

/// How often a housekeeper looks.
const PERIOD: Duration = Duration::from_millis(50);

/// The housekeeping of one partition.
pub(crate) struct Housekeeper {
    partition: Arc<Partition>,
    stopping: Mutex<bool>,
    stopped: Condvar,
}

impl Housekeeper {
    pub(crate) fn new(partition: Arc<Partition>) -> Arc<Housekeeper> {
        Arc::new(Housekeeper {
            partition,
            stopping: Mutex::new(false),
            stopped: Condvar::new(),
        })
    }

    pub(crate) fn stop(&self) {
        *self.stopping.lock() = true;
        self.stopped.notify_all();
    }

    fn run(&self) {
        loop {
            // A failed step poisons the partition or is met again by the next writer, who is told.
            let _ = self.partition.step_idle();
            let _ = self.partition.step_prepare();
            let mut stopping = self.stopping.lock();
            if !*stopping {
                self.stopped.wait_for(&mut stopping, PERIOD);
            }
            if *stopping {
                return;
            }
        }
    }
}

/// Starts the threads of every partition.
pub(crate) fn start(housekeepers: &[Arc<Housekeeper>]) -> Result<Vec<JoinHandle<()>>> {
    let mut threads = Vec::new();
    for housekeeper in housekeepers {
        let id = housekeeper.partition.id();
        let partition = Arc::clone(&housekeeper.partition);
        threads.push(spawn(format!("cairn-commit-{id}"), move || {
            partition.run_commits()
        })?);
        let partition = Arc::clone(&housekeeper.partition);
        threads.push(spawn(format!("cairn-sync-{id}"), move || {
            partition.run_syncs()
        })?);
        let housekeeper = Arc::clone(housekeeper);
        threads.push(spawn(format!("cairn-keep-{id}"), move || {
            housekeeper.run()
        })?);
    }
    Ok(threads)
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(name)
        .spawn(run)
        .map_err(|error| Error::io("start a thread for", std::path::Path::new("the log"), error))
}
