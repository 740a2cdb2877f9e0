use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cairn_log::Clock;
use cairn_log::vfs::Vfs;
use cairn_log::vfs::simulated::{SimulatedDisk, Survival};

use crate::error::ErrorKind;
use crate::testing::{ManualClock, Random};
use crate::topic::{LogKind, LogRecord, LogScan};
use crate::{Durability, Options, Store, TopicRetention};

use super::*;

const START_MS: u64 = 1_700_000_000_000;
const HOUR_MS: u64 = 3_600_000;
const SEGMENT_BYTES: u64 = 64 << 10;

struct Fixture {
    disk: Arc<SimulatedDisk>,
    clock: Arc<ManualClock>,
    options: Options,
    store: Store,
}

impl Fixture {
    fn new(limit: impl FnOnce(Options) -> Options) -> Fixture {
        let disk = Arc::new(SimulatedDisk::new(0));
        let clock = Arc::new(ManualClock::at(START_MS));
        let options = Store::options()
            .threads(false)
            .segment_bytes(SEGMENT_BYTES)
            .merge_entries(50)
            .history_bytes_min(0)
            .clock(Arc::clone(&clock) as Arc<dyn Clock>);
        let options = limit(options);
        let store = open(&options, &disk);
        Fixture {
            disk,
            clock,
            options,
            store,
        }
    }

    fn append(&self, topic: &str, data: impl AsRef<[u8]>) -> u64 {
        self.store.append(0, topic, data).unwrap().offset
    }

    /// Lets the rest between two passes go by, and then everything be done that is due.
    fn settle(&self) {
        // Behind an open it is five seconds.
        self.clock.pass(5_000);
        while self.store.step().unwrap() {}
    }

    fn read(&self, topic: &str, from: u64) -> crate::Result<Vec<LogRecord>> {
        let scan = LogScan {
            from,
            limit: 10_000,
            topic: Some(topic.to_owned()),
        };
        self.store.read_log(0, &scan)
    }

    fn offsets(&self, topic: &str) -> Vec<u64> {
        let records = self.read(topic, 0).unwrap();
        records.iter().map(|record| record.offset).collect()
    }

    /// Exactly these records are there, and to ask for one that was removed is told.
    fn assert_kept(&self, topic: &str, removed: &[u64], kept: &[u64]) {
        assert_eq!(self.offsets(topic), kept, "{topic}");
        for from in removed {
            let error = self.read(topic, *from).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Compacted, "from {from}");
        }
        for (at, from) in kept.iter().enumerate() {
            let found = self.read(topic, *from).unwrap();
            assert_eq!(found.len(), kept.len() - at);
        }
        if let Some(last) = removed.last() {
            let found = self.read(topic, last + 1).unwrap();
            assert_eq!(found.len(), kept.len(), "just above what was removed");
        }
    }

    fn reopen(&mut self) {
        self.close();
        self.store = open(&self.options, &self.disk);
    }

    /// Another store stands in for it, so that nobody holds the disk.
    fn close(&mut self) {
        self.store.close().unwrap();
        self.store = Store::memory();
    }

    fn crash(&mut self, seed: u64) {
        self.disk = Arc::new(self.disk.power_loss(Survival::Random(seed)));
        self.store = open(&self.options, &self.disk);
    }

    fn erase_index(&mut self) {
        self.close();
        let mut erased = 0;
        for path in self.disk.paths() {
            let suffix = path.extension().unwrap_or_default();
            if suffix == "run" || suffix == "redb" {
                self.disk.erase(&path);
                erased += 1;
            }
        }
        assert!(erased > 0);
        self.store = open(&self.options, &self.disk);
    }

    fn log_bytes(&self) -> u64 {
        self.store.status().partitions[0].bytes
    }
}

fn open(options: &Options, disk: &Arc<SimulatedDisk>) -> Store {
    let disk = Arc::clone(disk) as Arc<dyn Vfs>;
    options.clone().open_on(disk, "/store").unwrap()
}

#[test]
fn a_record_goes_when_it_is_as_old_as_its_time_and_none_before() {
    let fixture = Fixture::new(|options| options.topic_retention_ms(HOUR_MS));
    let mut offsets = Vec::new();
    for number in 0..6 {
        offsets.push(fixture.append("t", number.to_string()));
        fixture.clock.pass(HOUR_MS / 6);
        while fixture.store.step().unwrap() {}
    }
    // The first is an hour old now, to the millisecond.
    fixture.assert_kept("t", &offsets[..1], &offsets[1..]);
    fixture.clock.pass(HOUR_MS / 6 - 1);
    while fixture.store.step().unwrap() {}
    fixture.assert_kept("t", &offsets[..1], &offsets[1..]);
    // The pass that found it too young may have been a moment ago.
    fixture.clock.pass(1_000);
    while fixture.store.step().unwrap() {}
    fixture.assert_kept("t", &offsets[..2], &offsets[2..]);
    fixture.clock.pass(HOUR_MS);
    while fixture.store.step().unwrap() {}
    fixture.assert_kept("t", &offsets, &[]);
    let next = fixture.append("t", "after all of them");
    fixture.assert_kept("t", &offsets, &[next]);
}

#[test]
fn the_oldest_records_go_while_all_together_are_too_large() {
    let fixture = Fixture::new(|options| options.topic_retention_bytes(1_000));
    let offsets: Vec<_> = (0..10).map(|_| fixture.append("t", [7; 100])).collect();
    let other = fixture.append("t2", [7; 1_000]);
    fixture.settle();
    fixture.assert_kept("t", &[], &offsets);
    let last = fixture.append("t", [7; 1]);
    fixture.settle();
    let kept = [&offsets[1..], &[last]].concat();
    fixture.assert_kept("t", &offsets[..1], &kept);
    fixture.assert_kept("t2", &[], &[other]);
    // What is larger than all that may be kept does not stay either, and a smaller one does.
    let large = fixture.append("t", [7; 1_001]);
    let small = fixture.append("t", [7; 10]);
    fixture.settle();
    fixture.assert_kept("t", &[&offsets[1..], &[last, large]].concat(), &[small]);
}

#[test]
fn a_topic_has_its_own_limits_and_those_it_lacks_from_all() {
    let named = |ms, bytes| TopicRetention { ms, bytes };
    let fixture = Fixture::new(|options| {
        options
            .topic_retention_ms(HOUR_MS)
            .topic_retention("ever", named(Some(0), Some(0)))
            .topic_retention("day", named(Some(24 * HOUR_MS), None))
            .topic_retention("small", named(None, Some(10)))
            .topic_retention("last", named(Some(0), Some(10)))
    });
    let topics = ["all", "ever", "day", "small", "last"];
    let offsets: Vec<_> = topics
        .map(|topic| [(); 2].map(|()| fixture.append(topic, [7; 10])))
        .into();
    fixture.settle();
    let kept = |expected: [usize; 5]| {
        for (at, topic) in topics.into_iter().enumerate() {
            let removed = 2 - expected[at];
            fixture.assert_kept(topic, &offsets[at][..removed], &offsets[at][removed..]);
        }
    };
    kept([2, 2, 2, 1, 1]);
    fixture.clock.pass(HOUR_MS);
    while fixture.store.step().unwrap() {}
    kept([0, 2, 2, 0, 1]);
    fixture.clock.pass(24 * HOUR_MS);
    while fixture.store.step().unwrap() {}
    kept([0, 2, 0, 0, 1]);
    let refused = Store::options().topic_retention("no\nname", TopicRetention::default());
    let disk = Arc::new(SimulatedDisk::new(1)) as Arc<dyn Vfs>;
    let error = refused.open_on(disk, "/s").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn without_a_limit_everything_is_kept_and_from_anywhere_below() {
    let fixture = Fixture::new(|options| options);
    let first = fixture.append("t", "one");
    fixture.clock.pass(1_000 * HOUR_MS);
    fixture.settle();
    for from in 0..=first {
        assert_eq!(fixture.read("t", from).unwrap().len(), 1);
    }
    // One that never lost anything is read from anywhere, and so is one that never was.
    let limited = Fixture::new(|options| options.topic_retention_ms(HOUR_MS));
    let first = limited.append("t", "one");
    limited.settle();
    assert_eq!(limited.read("t", first - 1).unwrap().len(), 1);
    assert_eq!(limited.read("never", first).unwrap(), []);
}

#[test]
fn law_5_what_was_removed_stays_removed_and_is_told_from_an_index_made_anew() {
    let mut fixture = Fixture::new(|options| options.topic_retention_bytes(5_000));
    let mut appended = Vec::new();
    for round in 0..4 {
        for _ in 0..40 {
            appended.push(fixture.append("t", [7; 500]));
        }
        let gone = fixture.append("gone", [7; 6_000]);
        fixture.settle();
        let digest = fixture.store.state_digest().unwrap();
        for again in 0..3 {
            let (removed, kept) = appended.split_at(appended.len() - 10);
            fixture.assert_kept("t", removed, kept);
            // Of this one nothing is left but what it says of itself.
            fixture.assert_kept("gone", &[gone], &[]);
            assert_eq!(
                fixture.store.state_digest().unwrap(),
                digest,
                "round {round}"
            );
            match again {
                0 => fixture.reopen(),
                1 => fixture.erase_index(),
                _ => {}
            }
        }
        // After an open retention goes on where it stood.
        appended.push(fixture.append("t", [7; 500]));
        fixture.settle();
        let (removed, kept) = appended.split_at(appended.len() - 10);
        fixture.assert_kept("t", removed, kept);
    }
}

#[test]
fn law_7_collection_gives_back_the_space_of_removed_records() {
    let mut fixture = Fixture::new(|options| {
        options.topic_retention(
            "bounded",
            TopicRetention {
                ms: None,
                bytes: Some(20_000),
            },
        )
    });
    let kept = fixture.append("kept", "for ever");
    let mut largest = 0;
    for round in 0..60 {
        for _ in 0..40 {
            fixture.append("bounded", [7; 1_000]);
            while fixture.store.step().unwrap() {}
        }
        fixture.settle();
        largest = largest.max(fixture.log_bytes());
        if round % 20 == 10 {
            fixture.reopen();
        }
    }
    // 2.4 MB were appended. What is alive is 20 KB, and a segment has 64.
    assert!(largest <= 10 * SEGMENT_BYTES, "{largest}");
    assert_eq!(fixture.offsets("bounded").len(), 20);
    assert_eq!(fixture.offsets("kept"), [kept]);
    fixture.erase_index();
    assert_eq!(fixture.offsets("bounded").len(), 20);
    assert_eq!(fixture.offsets("kept"), [kept]);
    fixture.store.verify().unwrap();
}

#[test]
fn a_record_that_collection_moved_is_as_old_as_it_was() {
    let fixture = Fixture::new(|options| options.topic_retention_ms(10 * HOUR_MS));
    let bucket = fixture.store.bucket("b").unwrap();
    let early = fixture.append("t", "early");
    for number in 0..400 {
        bucket.put(format!("k{}", number % 3), [7; 1_500]).unwrap();
        fixture.clock.pass(1_000);
        while fixture.store.step().unwrap() {}
    }
    let first = bucket.keyspace().log().segments()[0].base.get();
    assert!(first > early, "its segment is gone");
    let late = fixture.append("t", "late");
    fixture.clock.pass(10 * HOUR_MS - 400 * 1_000 - 1);
    while fixture.store.step().unwrap() {}
    fixture.assert_kept("t", &[], &[early, late]);
    // The pass that found it too young may have been a moment ago.
    fixture.clock.pass(1_000);
    while fixture.store.step().unwrap() {}
    fixture.assert_kept("t", &[early], &[late]);
}

#[test]
fn a_power_loss_leaves_a_record_or_the_floor_above_it() {
    for seed in 0..40 {
        let mut fixture = Fixture::new(|options| options.topic_retention_bytes(20_000));
        let mut random = Random(seed * 2 + 1);
        let mut appended = Vec::new();
        for _ in 0..5 {
            for _ in 0..random.below(60) {
                appended.push(fixture.append("t", vec![7; random.below(2_000)]));
            }
            fixture.clock.pass(5_000);
            for _ in 0..random.below(8) {
                fixture.store.step().unwrap();
            }
            fixture.crash(seed);
            let found = fixture.offsets("t");
            assert!(appended.ends_with(&found), "seed {seed}: no gap in between");
            let removed = appended.len() - found.len();
            fixture.assert_kept("t", &appended[..removed], &found);
        }
    }
}

#[test]
fn many_records_go_in_steps_of_bounded_work() {
    let fixture = Fixture::new(|options| options.topic_retention_ms(HOUR_MS));
    for topic in 0..30 {
        for number in 0..100 {
            let (topic, data) = (format!("topic-{topic}"), format!("{number}"));
            let commit =
                fixture
                    .store
                    .submit_append(0, &topic, data.as_bytes(), Durability::Buffered);
            commit.unwrap().1.wait().unwrap();
        }
    }
    fixture.store.sync().unwrap();
    fixture.settle();
    fixture.clock.pass(HOUR_MS);
    while fixture.store.step().unwrap() {}
    for topic in 0..30 {
        assert_eq!(fixture.offsets(&format!("topic-{topic}")), []);
    }
    // Nothing is due any more, whatever time goes by.
    fixture.clock.pass(HOUR_MS);
    while fixture.store.step().unwrap() {}
    let end = fixture.store.status().partitions[0].end;
    fixture.clock.pass(HOUR_MS);
    while fixture.store.step().unwrap() {}
    assert_eq!(fixture.store.status().partitions[0].end, end);
}

#[test]
fn a_reader_that_retention_overtakes_is_told_and_never_skips() {
    let fixture = Fixture::new(|options| options.topic_retention_bytes(500));
    let [told, appended, pages] = [0, 0, 0].map(AtomicU64::new);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (mut number, mut last) = (0_u32, 0);
            while told.load(Ordering::Relaxed) < 500 {
                fixture.append("t", [&number.to_be_bytes()[..], &[7; 96]].concat());
                number += 1;
                appended.fetch_add(1, Ordering::Relaxed);
                // Never behind a rest.
                fixture.clock.pass(5_000);
                while fixture.store.step().unwrap() {}
                if !number.is_multiple_of(20) {
                    continue;
                }
                // It does not run away from a reader that seldom gets the processor.
                let since = Instant::now();
                while pages.load(Ordering::Relaxed) == last {
                    if since.elapsed() > Duration::from_secs(30) {
                        return;
                    }
                    std::thread::yield_now();
                }
                last = pages.load(Ordering::Relaxed);
            }
        });
        let (mut next, mut from) = (None, 0);
        while !writer.is_finished() {
            let page = pages.fetch_add(1, Ordering::Relaxed);
            if page.is_multiple_of(2) {
                // It dawdles, or it would keep up where nothing else runs; the other times they race.
                let enough = appended.load(Ordering::Relaxed) + 10;
                while appended.load(Ordering::Relaxed) < enough && !writer.is_finished() {
                    std::thread::yield_now();
                }
            }
            let scan = LogScan {
                from,
                limit: 3,
                topic: Some("t".into()),
            };
            let page = match fixture.store.read_log(0, &scan) {
                Ok(page) => page,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Compacted);
                    told.fetch_add(1, Ordering::Relaxed);
                    (next, from) = (None, 0);
                    continue;
                }
            };
            for record in page {
                let number = u32::from_be_bytes(record.data[..4].try_into().unwrap());
                assert!(next.is_none_or(|next| next == number), "{next:?} {number}");
                next = Some(number + 1);
                from = record.offset + 1;
            }
        }
        writer.join().unwrap();
    });
    assert!(told.into_inner() >= 500);
}

#[test]
fn what_was_removed_is_internal_to_who_reads_all_of_the_log() {
    let fixture = Fixture::new(|options| options.topic_retention_ms(HOUR_MS));
    let offset = fixture.append("t", "one");
    fixture.clock.pass(HOUR_MS);
    fixture.settle();
    fixture.store.sync().unwrap();
    let scan = LogScan {
        from: 0,
        limit: 100,
        topic: None,
    };
    let all = fixture.store.read_log(0, &scan).unwrap();
    let kinds: Vec<_> = all.iter().map(|record| record.kind).collect();
    // Its segment is still there, and so are its creation, tombstone and floor.
    assert_eq!(
        kinds,
        [
            LogKind::Internal,
            LogKind::Topic,
            LogKind::Internal,
            LogKind::Internal
        ]
    );
    assert_eq!(all[1].offset, offset);
    assert!(all.iter().all(|record| record.key.is_none()));
}
