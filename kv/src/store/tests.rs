//! The store's behaviour, by subject.

mod buckets;
mod conditions;
mod crash;
mod durability;
mod expiry;
mod full_disk;
mod large;
mod linearizable;
mod model;
mod moving;
mod reads;
mod retired;
mod scans;
mod snapshots;
mod threads;
mod transactions;

use std::sync::Arc;

use bytes::Bytes;
use cairn_log::vfs::Vfs;
use cairn_log::vfs::simulated::SimulatedDisk;

use crate::testing::ManualClock;
use crate::*;

/// A store whose disk, clock and every step a test decides.
struct Bench {
    disk: Arc<SimulatedDisk>,
    clock: Arc<ManualClock>,
    options: Options,
}

const START_MS: u64 = 1_795_507_200_000;

impl Bench {
    fn new(seed: u64) -> Bench {
        Bench::on(SimulatedDisk::new(seed))
    }

    fn on(disk: SimulatedDisk) -> Bench {
        let clock = Arc::new(ManualClock::at(START_MS));
        let options = Store::options()
            .threads(false)
            .segment_bytes(SEGMENT_BYTES)
            .clock(Arc::clone(&clock) as Arc<dyn Clock>);
        Bench {
            disk: Arc::new(disk),
            clock,
            options,
        }
    }

    fn open(&self) -> Store {
        self.try_open().unwrap()
    }

    fn fail_next_sync(&self) {
        self.disk.fail_sync(self.disk.counts().syncs + 1);
    }

    fn try_open(&self) -> Result<Store> {
        let disk = Arc::clone(&self.disk) as Arc<dyn Vfs>;
        self.options.clone().open_on(disk, "/store")
    }
}

/// Small, so that tests roll segments.
const SEGMENT_BYTES: u64 = 64 << 10;

fn value(bucket: &Bucket, key: &str) -> Option<String> {
    let entry = bucket.get(key).unwrap()?;
    Some(String::from_utf8(entry.value.to_vec()).unwrap())
}

fn kind<T>(result: Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("that should have been refused"),
        Err(error) => error.kind(),
    }
}

/// Removes what an open makes again from the log.
fn erase_index(disk: &SimulatedDisk) {
    for path in disk.paths() {
        let suffix = path.extension().unwrap_or_default();
        if suffix == "run" || suffix == "redb" {
            disk.erase(&path);
        }
    }
}
