//! What a store goes through between two lives.

use std::ops::ControlFlow;

use cairn_log::Offset;

use super::*;
use crate::record::{Body, Record};

impl Run {
    /// Takes the disk over an end, perhaps over more crashes on the way, and checks what is found.
    pub(super) fn recover(&mut self, mut end: End) {
        let disk = match end {
            End::Kill => self.bench.disk.process_death(),
            End::PowerLoss => self.power_loss(),
            // A close has made everything durable.
            End::Close => self.bench.disk.power_loss(Survival::Nothing),
        };
        self.go_on_with(disk);
        for event in [
            "crash in recovery",
            "second crash in recovery",
            "third crash in recovery",
        ] {
            if self.one_in(4) {
                erase_index(&self.bench.disk);
                self.events.note("index erased");
            }
            if self.one_in(2) {
                break;
            }
            let call = 1 + self.random.next() % 60;
            self.bench.disk.crash_at(call);
            if let Ok(store) = self.bench.try_open() {
                while store.step().unwrap_or(false) {}
                self.note_what_happened(&store, usize::MAX);
            }
            if self.bench.disk.has_crashed() {
                self.events.note(event);
            }
            // What only a kill leaves may go now, but nothing that was durable.
            if end == End::Kill {
                end = End::PowerLoss;
            }
            let disk = self.power_loss();
            self.go_on_with(disk);
        }
        let store = self.bench.open();
        self.expected.check(&store, end, &mut self.events);
        self.note_what_happened(&store, usize::MAX);
        store.verify().unwrap();
        let digest = store.state_digest().unwrap();
        self.look_for_tombstones(&store);
        drop(store);
        if self.one_in(4) {
            erase_index(&self.bench.disk);
            self.events.note("index erased");
        }
        let store = self.bench.open();
        self.note_what_happened(&store, usize::MAX);
        assert_eq!(store.state_digest().unwrap(), digest);
    }

    fn power_loss(&mut self) -> SimulatedDisk {
        let survival = match self.random.below(4) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            _ => Survival::Random(self.random.next()),
        };
        self.bench.disk.power_loss(survival)
    }

    /// Time goes on as well.
    pub(super) fn go_on_with(&mut self, disk: SimulatedDisk) {
        self.bench.disk = Arc::new(disk);
    }

    /// Counts the tombstones that stood in the durable log at the last look and are gone now.
    fn look_for_tombstones(&mut self, store: &Store) {
        let mut found = BTreeSet::new();
        let log = &store.0.log.partitions()[0];
        let looked = log.replay(Offset::default(), |batch| {
            for (offset, payload) in batch.records() {
                let record = Record::decode(payload).unwrap();
                if let Body::Delete { key, .. } = record.body {
                    let version = record.version(offset.get()).unwrap();
                    found.insert((record.bucket.0, key.to_vec(), version));
                }
            }
            ControlFlow::Continue(())
        });
        looked.unwrap();
        let dropped = self.tombstones.difference(&found).count();
        self.events.note_many("tombstone dropped", dropped);
        self.tombstones = found;
    }
}
