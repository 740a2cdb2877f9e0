//! Named snapshots in the model: each shows what its bucket held when it was taken.

use super::*;

/// What a snapshot should show.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    version: Version,
    now_ms: u64,
    model: Model,
}

pub(super) type Snapshots = BTreeMap<String, Taken>;

const NAMES: usize = 4;

impl Run {
    pub(super) fn snapshot(&mut self, at: usize) {
        match self.random.below(8) {
            0..2 => self.take_snapshot(at),
            2..6 => self.read_snapshot(at),
            6 => self.check_snapshots(at),
            _ => self.remove_snapshot(at),
        }
    }

    fn snapshot_name(&mut self) -> String {
        format!("s-{}", self.random.below(NAMES))
    }

    fn take_snapshot(&mut self, at: usize) {
        let name = self.snapshot_name();
        let taken = self.buckets[at].snapshot(&name);
        if self.snapshots[at].contains_key(&name) {
            assert_eq!(kind(taken), ErrorKind::SnapshotExists);
            self.events.note("snapshot exists");
            return;
        }
        let taken = taken.unwrap();
        let now_ms = self.now_ms();
        assert_eq!(taken.created_ms, now_ms);
        assert!(taken.version > self.models[at].newest);
        assert_eq!(taken.version, self.buckets[at].version());
        let taken = Taken {
            version: taken.version,
            now_ms,
            model: self.models[at].clone(),
        };
        self.snapshots[at].insert(name, taken);
        self.events.note("snapshot taken");
    }

    fn read_snapshot(&mut self, at: usize) {
        let name = self.snapshot_name();
        let Some(taken) = self.snapshots[at].get(&name).cloned() else {
            let refused = kind(self.buckets[at].snapshot_view(&name));
            assert_eq!(refused, ErrorKind::SnapshotNotFound);
            self.events.note("snapshot not found");
            return;
        };
        let view = if self.random.below(3) == 0 {
            self.buckets[at].at(taken.version).unwrap()
        } else {
            self.buckets[at].snapshot_view(&name).unwrap()
        };
        assert_eq!(view.version(), taken.version);
        let scan = self.random_scan();
        let rows = view.scan(&scan).map(|row| row.unwrap());
        let found: Vec<_> = rows
            .map(|(key, entry)| (key.to_vec(), known_of(&entry)))
            .collect();
        let expected = taken.model.range(&scan, taken.now_ms);
        assert_eq!(found, expected, "{name} at {}: {scan:?}", taken.version);
        for _ in 0..5 {
            let key = self.key();
            let found = view.get(&key).unwrap();
            let expected = taken.model.live(&key, taken.now_ms);
            let key = key.escape_ascii();
            assert_eq!(found.as_ref().map(known_of).as_ref(), expected, "{key}");
        }
        let floor = self.store.0.floor(&self.buckets[at]);
        self.events.note(if taken.version.get() < floor {
            "snapshot read below the floor"
        } else {
            "snapshot read"
        });
    }

    pub(super) fn check_snapshots(&mut self, at: usize) {
        let listed = self.buckets[at].snapshots().unwrap();
        let listed: Vec<_> = listed
            .into_iter()
            .map(|one| (one.name, one.version, one.created_ms))
            .collect();
        let known = self.snapshots[at].iter();
        let known: Vec<_> = known
            .map(|(name, taken)| (name.clone(), taken.version, taken.now_ms))
            .collect();
        assert_eq!(listed, known);
        if !known.is_empty() {
            self.events.note("snapshots listed");
        }
    }

    fn remove_snapshot(&mut self, at: usize) {
        let name = self.snapshot_name();
        let removed = self.buckets[at].remove_snapshot(&name);
        if self.snapshots[at].remove(&name).is_some() {
            removed.unwrap();
            self.events.note("snapshot removed");
        } else {
            assert_eq!(kind(removed), ErrorKind::SnapshotNotFound);
        }
    }
}
