//! What is done with a store until the disk crashes.

use cairn_log::vfs::SyncSite;

use super::*;
use crate::store::tests::crash::expected::{BUCKETS, Change, Content, KEYS, TOPIC, key};

impl Run {
    pub(super) fn operate(&mut self, store: &Store) -> Outcome {
        if let Some(at) = (0..2).find(|at| self.expected.newest.buckets[*at].is_none()) {
            let place = self.expected.submit(vec![Change::Create(at)]);
            return self.told(store.bucket(BUCKETS[at]), |run, _| {
                run.expected.acknowledge(place, Durability::Local);
            });
        }
        match self.random.below(100) {
            0..30 => self.write(store),
            30..45 => self.delete(store),
            45..50 => self.write_group(store),
            50..85 => self.maintain(store),
            85..91 => self.append(store),
            91..94 => self.upload(store),
            94 => self.remove_bucket(store),
            _ => {
                self.bench.clock.pass(self.random.next() % 400);
                Ok(())
            }
        }
    }

    /// Takes an answer; only a crash may refuse anything.
    pub(super) fn told<T>(&mut self, told: Result<T>, note: impl FnOnce(&mut Run, T)) -> Outcome {
        match told {
            Ok(told) => {
                note(self, told);
                Ok(())
            }
            Err(error) => {
                assert!(self.bench.disk.has_crashed(), "refused: {error}");
                Err(Crashed)
            }
        }
    }

    fn durability(&mut self) -> Durability {
        if self.one_in(3) {
            Durability::Buffered
        } else {
            Durability::Local
        }
    }

    fn content(&mut self, store: &Store, bytes_most: usize) -> (Content, PutOptions) {
        let ttl_ms = self.one_in(8).then(|| 1 + self.random.next() % 1_000);
        let options = PutOptions {
            ttl_ms,
            ..PutOptions::default()
        };
        let content = Content {
            number: self.number,
            bytes: 8 + self.random.below(bytes_most),
            expires_ms: ttl_ms.map(|ttl_ms| store.status().now_ms + ttl_ms),
        };
        (content, options)
    }

    /// A batch of puts and deletes, and what it changes.
    fn batch(&mut self, store: &Store, at: usize) -> (Batch, Vec<Change>) {
        self.number += 1;
        let (length, bytes_most) = match self.random.below(10) {
            0 => {
                self.events.note("large batch");
                (KEYS, 200)
            }
            1..4 => (2 + self.random.below(4), 700),
            4 => (1, 6_000),
            _ => (1, 50),
        };
        let first = self.random.below(KEYS);
        let mut batch = Batch::new();
        let mut changes = Vec::new();
        for nth in 0..length {
            let key = key((first + nth) % KEYS);
            if nth > 0 && self.one_in(3) {
                batch = batch.delete(&key);
                changes.push(Change::Delete(at, key));
            } else {
                let (content, options) = self.content(store, bytes_most);
                batch = batch.put_with(&key, content.value(), options);
                changes.push(Change::Put(at, key, content));
            }
        }
        (batch, changes)
    }

    fn write(&mut self, store: &Store) -> Outcome {
        let at = self.random.below(2);
        let bucket = self.bucket(store, at);
        let (batch, changes) = self.batch(store, at);
        let (number, durability) = (self.number, self.durability());
        let place = self.expected.submit(changes);
        self.told(bucket.write(batch, durability), |run, receipt| {
            run.expected.acknowledge(place, durability);
            run.expected.see_version(number, receipt.version);
        })
    }

    /// Batches that are under way together, waited for in any order.
    fn write_group(&mut self, store: &Store) -> Outcome {
        let mut commits = Vec::new();
        for _ in 0..2 + self.random.below(4) {
            let at = self.random.below(2);
            let bucket = self.bucket(store, at);
            let (batch, changes) = self.batch(store, at);
            let (number, durability) = (self.number, self.durability());
            let place = self.expected.submit(changes);
            self.told(bucket.submit(batch, durability), |_, commit| {
                commits.push((number, place, durability, commit));
            })?;
        }
        self.events.note("group of batches");
        if self.one_in(2) {
            commits.reverse();
        }
        for (number, place, durability, commit) in commits {
            self.told(commit.wait(), |run, receipt| {
                run.expected.acknowledge(place, durability);
                run.expected.see_version(number, receipt.version);
            })?;
        }
        Ok(())
    }

    fn delete(&mut self, store: &Store) -> Outcome {
        let at = self.random.below(2);
        let key = key(self.random.below(KEYS));
        let now_ms = store.status().now_ms;
        let keys = self.expected.newest.buckets[at].as_ref().unwrap();
        let existed = keys.get(&key).is_some_and(|one| one.is_there(now_ms));
        let bucket = self.bucket(store, at);
        let place = self.expected.submit(vec![Change::Delete(at, key.clone())]);
        self.told(bucket.delete(&key), |run, deleted| {
            assert_eq!(deleted.existed, existed, "{key}");
            // What was absent already rests on nothing that was written before.
            if existed {
                run.expected.acknowledge(place, Durability::Local);
            }
        })
    }

    fn append(&mut self, store: &Store) -> Outcome {
        self.number += 1;
        let number = self.number;
        let place = self.expected.submit(vec![Change::Append(number)]);
        self.events.note("topic record");
        self.told(
            store.append(0, TOPIC, number.to_be_bytes()),
            |run, appended| {
                run.expected.see_place(number, appended.offset);
                run.expected.acknowledge(place, Durability::Local);
            },
        )
    }

    fn upload(&mut self, store: &Store) -> Outcome {
        let (at, key) = (self.random.below(2), key(self.random.below(KEYS)));
        let bucket = self.bucket(store, at);
        self.number += 1;
        let number = self.number;
        let (content, options) = self.content(store, 60_000);
        let mut upload = bucket.upload(&key, options).unwrap();
        for part in content.value().chunks(7_000) {
            self.told(upload.write(part), |_, ()| ())?;
            if self.one_in(4) {
                self.maintain(store)?;
            }
        }
        if self.one_in(5) {
            // Nobody ever hears of it.
            return Ok(());
        }
        // The deadline counts from the end of the upload, and time stands still meanwhile.
        let place = self.expected.submit(vec![Change::Put(at, key, content)]);
        let finished = upload.finish(&[], Durability::Local);
        let finished = finished.and_then(Commit::wait);
        self.told(finished, |run, receipt| {
            run.events.note("value in pieces");
            run.expected.acknowledge(place, Durability::Local);
            run.expected.see_version(number, receipt.version);
        })
    }

    fn remove_bucket(&mut self, store: &Store) -> Outcome {
        let at = self.random.below(2);
        let place = self.expected.submit(vec![Change::Remove(at)]);
        self.told(store.remove_bucket(BUCKETS[at], true), |run, ()| {
            run.events.note("bucket removed");
            run.expected.acknowledge(place, Durability::Local);
        })
    }

    fn bucket(&self, store: &Store, at: usize) -> Bucket {
        store.open_bucket(BUCKETS[at]).unwrap()
    }

    /// Steps the store once or until there is nothing to do; now and then the disk crashes soon.
    fn maintain(&mut self, store: &Store) -> Outcome {
        let mut steps = if self.one_in(4) { 20 } else { 1 };
        if self.one_in(40) {
            let soon = 1 + self.random.next() % 30;
            self.bench.disk.crash_at(self.bench.disk.calls() + soon);
            steps = 20;
        }
        for _ in 0..steps {
            let before = Index::of(store, &self.bench.disk);
            let stepped = store.step();
            if stepped.is_err() {
                let after = Index::of(store, &self.bench.disk);
                self.events.note_many(before.stopped_at(&after), 1);
            }
            let mut worked = false;
            self.told(stepped, |_, more| worked = more)?;
            if !worked {
                break;
            }
        }
        Ok(())
    }
}

/// What tells at which work of maintenance a crash came.
struct Index {
    memtables: usize,
    merges: u64,
    moved_bytes: u64,
    index_syncs: u64,
    drop_syncs: u64,
}

impl Index {
    fn of(store: &Store, disk: &SimulatedDisk) -> Index {
        let index = &store.status().partitions[0].index;
        let sites = disk.sync_sites();
        let syncs = |site| sites.get(&SyncSite(site)).copied().unwrap_or(0);
        Index {
            memtables: index.memtables,
            merges: index.merges,
            moved_bytes: index.moved_bytes,
            index_syncs: syncs("index file"),
            drop_syncs: syncs("retired segments"),
        }
    }

    fn stopped_at(&self, after: &Index) -> &'static str {
        if self.memtables > 1 {
            "crash while a run is written"
        } else if after.index_syncs > self.index_syncs && after.merges == self.merges {
            "crash in a merge"
        } else if after.moved_bytes > self.moved_bytes || after.drop_syncs > self.drop_syncs {
            "crash in a collection"
        } else {
            "crash elsewhere in maintenance"
        }
    }
}
