//! Transactions with other writes in between: the model says whether they commit, and why not.

use super::*;

/// What a transaction under way has read, by the model.
struct Begun {
    at: usize,
    /// The bucket when it began.
    before: Model,
    own: BTreeMap<Vec<u8>, Option<Put>>,
    reads: BTreeMap<Vec<u8>, Version>,
    scans: Vec<Shown>,
    /// How many keys others had written when it scanned first.
    first_scan: Option<usize>,
    /// Whether the index has had a step before that.
    maintained: bool,
}

#[derive(Clone)]
struct Put {
    value: Vec<u8>,
    ttl_ms: Option<u64>,
}

/// A range, as far as it was shown.
struct Shown {
    scan: Scan,
    last: Option<Vec<u8>>,
    ended: bool,
    soonest_ms: u64,
}

/// What a commit has to come to.
#[derive(Debug, PartialEq)]
enum Verdict {
    Commits,
    Conflicts,
    /// It depends on whether a key that has expired was swept.
    Either,
}

impl Shown {
    fn covers(&self, key: &[u8]) -> bool {
        let is_past_start = self.scan.start.as_deref().is_none_or(|start| key >= start);
        let is_before_end = self.scan.end.as_deref().is_none_or(|end| key < end);
        let was_reached = match &self.last {
            _ if self.ended => true,
            Some(last) if self.scan.reverse => key >= &last[..],
            Some(last) => key <= &last[..],
            None => false,
        };
        key.starts_with(&self.scan.prefix) && is_past_start && is_before_end && was_reached
    }
}

impl Run {
    /// A whole transaction, with other operations in between.
    pub(super) fn transaction(&mut self, at: usize) {
        self.touched.clear();
        let mut transaction = self.buckets[at].transaction().unwrap();
        let mut begun = Begun {
            at,
            before: self.models[at].clone(),
            own: BTreeMap::new(),
            reads: BTreeMap::new(),
            scans: Vec::new(),
            first_scan: None,
            maintained: false,
        };
        for _ in 0..self.random.below(10) {
            match self.random.below(12) {
                0..3 => self.get_within(&mut transaction, &mut begun),
                3..5 => self.scan_within(&mut transaction, &mut begun),
                5..9 => self.write_within(&mut transaction, &mut begun),
                9 => {
                    begun.maintained |= begun.first_scan.is_none();
                    self.maintain();
                    if self.random.below(4) == 0 {
                        self.move_on(at);
                    }
                }
                _ => self.come_between(at),
            }
        }
        self.finish(transaction, &begun);
    }

    /// Writes until segments are sealed, and lets the index follow.
    fn move_on(&mut self, at: usize) {
        for _ in 0..self.random.below(60) {
            self.put(at);
        }
        while self.store.step().unwrap() {}
    }

    fn come_between(&mut self, at: usize) {
        let other = (at + 1) % BUCKETS;
        match self.random.below(12) {
            0..4 => self.put(at),
            4..6 => self.delete(at),
            6..8 => self.batch(at),
            8 => self.put(other),
            9 => self.scan(at),
            10 => self.multi_get(at),
            _ => self.bench.clock.pass(self.random.next() % 300),
        }
    }

    fn get_within(&mut self, transaction: &mut Transaction, begun: &mut Begun) {
        let key = self.key();
        let found = transaction.get(&key).unwrap();
        if let Some(own) = begun.own.get(&key) {
            let own = own.as_ref().map(|put| &put.value[..]);
            assert_eq!(found.as_ref().map(|entry| &entry.value[..]), own);
            self.events.note("transaction reads its own write");
            return;
        }
        let known = begun.before.live(&key, self.now_ms());
        assert_eq!(found.as_ref().map(known_of).as_ref(), known);
        let version = known.map_or(Version::ABSENT, |known| known.version);
        begun.reads.entry(key).or_insert(version);
    }

    fn scan_within(&mut self, transaction: &mut Transaction, begun: &mut Begun) {
        let (scan, now_ms) = (self.random_scan(), self.now_ms());
        begun.first_scan.get_or_insert(self.touched.len());
        let mut shown = Shown {
            last: None,
            ended: false,
            soonest_ms: u64::MAX,
            scan: scan.clone(),
        };
        let mut expected = begun.merged(&scan, now_ms).into_iter();
        let mut entries = transaction.scan(&scan).unwrap();
        for _ in 0..self.random.below(KEYS) {
            let (found, row) = (entries.next(), expected.next());
            let Some((key, value, expires_ms)) = row else {
                assert!(found.is_none(), "{scan:?}");
                // A limit that is reached says nothing of what is behind it.
                shown.ended = begun.is_at_end(&scan, now_ms);
                break;
            };
            let (found_key, found) = found.unwrap().unwrap();
            assert_eq!((&found_key[..], &found.value[..]), (&key[..], &value[..]));
            shown.soonest_ms = shown.soonest_ms.min(expires_ms);
            shown.last = Some(key);
        }
        if !shown.ended && shown.last.is_some() {
            self.events.note("transaction stops a scan early");
        }
        begun.scans.push(shown);
    }

    fn write_within(&mut self, transaction: &mut Transaction, begun: &mut Begun) {
        let key = self.key();
        if self.random.below(3) == 0 {
            transaction.delete(&key).unwrap();
            begun.own.insert(key, None);
            return;
        }
        let (value, options) = (self.value(), self.options());
        let ttl_ms = options.ttl_ms;
        transaction.put_with(&key, &value, options).unwrap();
        begun.own.insert(key, Some(Put { value, ttl_ms }));
    }

    fn finish(&mut self, transaction: Transaction, begun: &Begun) {
        let (at, now_ms) = (begun.at, self.now_ms());
        let verdict = self.verdict(begun, now_ms);
        let durability = self.durability();
        let model = &self.models[at];
        let existed = begun.own.iter().any(|(key, put)| {
            let is_delete = put.is_none();
            is_delete && model.live(key, now_ms).is_some()
        });
        match transaction.commit(durability) {
            Ok(receipt) => {
                assert_ne!(verdict, Verdict::Conflicts, "{:?}", self.touched);
                assert_eq!(receipt.existed, existed);
                if !existed && begun.own.values().all(Option::is_none) {
                    self.events.note("transaction that changes nothing");
                    return;
                }
                self.events.note("transaction");
                if !self.touched.is_empty() && !begun.scans.is_empty() {
                    self.events
                        .note("transaction past writes outside its ranges");
                }
                self.wrote(at, receipt.version);
                for (key, put) in &begun.own {
                    match put {
                        None => drop(self.models[at].keys.remove(key)),
                        Some(put) => {
                            let known = Known {
                                version: receipt.version,
                                value: put.value.clone(),
                                expires_ms: put.ttl_ms.map(|ttl_ms| now_ms + ttl_ms),
                            };
                            self.models[at].keys.insert(key.clone(), known);
                        }
                    }
                }
            }
            Err(error) if error.kind() == ErrorKind::Overloaded => {
                let had_gap = begun.first_scan.is_some_and(|count| count > 0);
                assert!(had_gap && begun.maintained, "{error}");
                self.events.note("transaction too old");
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::VersionMismatch, "{error}");
                assert_ne!(verdict, Verdict::Commits, "{error}");
                let key = &error.conflict().unwrap().key[..];
                if begun.reads.contains_key(key) {
                    self.events.note("conflict over a key");
                } else {
                    assert!(begun.scans.iter().any(|shown| shown.covers(key)));
                    self.events.note("conflict over a range");
                }
            }
        }
    }

    fn verdict(&self, begun: &Begun, now_ms: u64) -> Verdict {
        let model = &self.models[begun.at];
        let version = |key: &[u8]| {
            let known = model.live(key, now_ms);
            known.map_or(Version::ABSENT, |known| known.version)
        };
        let is_overtaken = begun.reads.iter().any(|(key, read)| version(key) != *read);
        let has_expired = begun.scans.iter().any(|shown| shown.soonest_ms <= now_ms);
        if is_overtaken || has_expired {
            return Verdict::Conflicts;
        }
        let mut verdict = Verdict::Commits;
        for (number, (of, key)) in self.touched.iter().enumerate() {
            if *of != begun.at || !begun.scans.iter().any(|shown| shown.covers(key)) {
                continue;
            }
            let is_noted = begun.first_scan.is_some_and(|count| number >= count);
            let was_absent = begun.before.live(key, now_ms).is_none();
            match model.keys.get(key) {
                _ if is_noted || !was_absent => return Verdict::Conflicts,
                // Deleted again before anybody had to note it.
                None => {}
                Some(_) if model.live(key, now_ms).is_some() => return Verdict::Conflicts,
                Some(_) => verdict = Verdict::Either,
            }
        }
        verdict
    }
}

type Row = (Vec<u8>, Vec<u8>, u64);

impl Begun {
    /// What a scan shows without its limit: key, value, and the deadline if it is not its own.
    fn all(&self, scan: &Scan, now_ms: u64) -> Vec<Row> {
        let unlimited = Scan {
            limit: None,
            ..scan.clone()
        };
        let stored = self.before.range(&unlimited, now_ms);
        let stored = stored.into_iter().map(|(key, known)| {
            let expires_ms = known.expires_ms.unwrap_or(u64::MAX);
            (key, (known.value, expires_ms))
        });
        let mut rows: BTreeMap<_, _> = stored.collect();
        let whole = Shown {
            scan: unlimited,
            last: None,
            ended: true,
            soonest_ms: u64::MAX,
        };
        for (key, put) in self.own.iter().filter(|(key, _)| whole.covers(key)) {
            match put {
                Some(put) => drop(rows.insert(key.clone(), (put.value.clone(), u64::MAX))),
                None => drop(rows.remove(key)),
            }
        }
        let rows = rows.into_iter();
        let mut rows: Vec<Row> = rows
            .map(|(key, (value, until))| (key, value, until))
            .collect();
        if scan.reverse {
            rows.reverse();
        }
        rows
    }

    fn merged(&self, scan: &Scan, now_ms: u64) -> Vec<Row> {
        let mut rows = self.all(scan, now_ms);
        rows.truncate(scan.limit.unwrap_or(usize::MAX));
        rows
    }

    /// Whether a scan that gives no more keys has come to the end of its range.
    fn is_at_end(&self, scan: &Scan, now_ms: u64) -> bool {
        let count = self.all(scan, now_ms).len();
        scan.limit.is_none_or(|limit| count < limit)
    }
}
