use cairn_log::vfs::Vfs;
use cairn_log::vfs::simulated::{SimulatedDisk, Survival};

use super::*;
use crate::testing::Random;
use crate::{Batch, Durability, Options, Store};

const SEGMENT_BYTES: u64 = 64 << 10;

fn options() -> Options {
    Store::options()
        .threads(false)
        .segment_bytes(SEGMENT_BYTES)
        .merge_entries(50)
        .history_bytes_min(0)
}

fn open(disk: &Arc<SimulatedDisk>) -> Store {
    let disk = Arc::clone(disk) as Arc<dyn Vfs>;
    options().open_on(disk, "/store").unwrap()
}

fn scan(from: u64, limit: usize, topic: Option<&str>) -> LogScan {
    LogScan {
        from,
        limit,
        topic: topic.map(str::to_owned),
    }
}

/// All records from an offset on, in pages of this size.
fn paged(store: &Store, mut from: u64, limit: usize, topic: Option<&str>) -> Vec<LogRecord> {
    let mut all = Vec::new();
    loop {
        let page = store.read_log(0, &scan(from, limit, topic)).unwrap();
        assert!(page.len() <= limit);
        let Some(last) = page.last() else {
            return all;
        };
        from = last.offset + 1;
        all.extend(page);
    }
}

fn told(records: &[LogRecord]) -> Vec<(u64, String)> {
    let text = |record: &LogRecord| String::from_utf8(record.data.to_vec()).unwrap();
    let told = records.iter().map(|record| (record.offset, text(record)));
    told.collect()
}

#[test]
fn an_append_that_need_not_wait_is_placed_at_once_and_any_other_not_at_all() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let store = open(&disk);
    let try_append = |data: &str| {
        let placed = store.try_submit_append(0, "a", data.as_bytes(), Durability::Local);
        placed.unwrap()
    };
    assert!(try_append("early").is_none(), "there are no topics yet");
    store.append(0, "a", "0").unwrap();
    let mut expected = told(&paged(&store, 0, 10, Some("a")));
    let data = "x".repeat(9_000);
    let mut refused = 0;
    for _ in 0..40 {
        let appended = match try_append(&data) {
            Some((appended, commit)) => {
                commit.wait().unwrap();
                appended
            }
            // The segment is full: the next one is waited for.
            None => {
                refused += 1;
                store.append(0, "a", &data).unwrap()
            }
        };
        expected.push((appended.offset, data.clone()));
    }
    assert!((1..20).contains(&refused), "{refused}");
    assert_eq!(told(&paged(&store, 0, 10, Some("a"))), expected);
    let refusal = store.try_submit_append(7, "a", b"", Durability::Local);
    assert_eq!(refusal.unwrap_err().kind(), ErrorKind::InvalidArgument);
    disk.fail_sync(disk.counts().syncs + 1);
    let (_, commit) = try_append("lost").unwrap();
    assert_eq!(commit.wait().unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    let refusal = store.try_submit_append(0, "a", b"", Durability::Local);
    assert_eq!(refusal.unwrap_err().kind(), ErrorKind::Poisoned);
}

#[test]
fn an_append_waits_for_an_index_that_is_behind_and_one_that_may_not_says_so() {
    let disk = Arc::new(SimulatedDisk::new(0)) as Arc<dyn Vfs>;
    let store = options()
        .memtable_bytes(4_000)
        .open_on(disk, "/store")
        .unwrap();
    store.append(0, "a", "0").unwrap();
    let placed = |_: &u32| {
        let placed = store.try_submit_append(0, "a", b"1", Durability::Buffered);
        placed.unwrap().is_some()
    };
    // A segment has room for a thousand of them.
    let before = (0..200).take_while(placed).count();
    assert!((5..100).contains(&before), "{before}");
    store.append(0, "a", "2").unwrap();
    assert!(placed(&0), "another memtable has begun");
}

#[test]
fn a_topic_is_read_in_order_from_any_offset_and_apart_from_others() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let store = open(&disk);
    assert_eq!(paged(&store, 0, 10, Some("a")), []);
    let mut expected: HashMap<&str, Vec<(u64, String)>> = HashMap::new();
    let mut before = 0;
    for number in 0..60 {
        // Names of which one begins with another, and one that is not ASCII.
        let topic = ["a", "ab", "a b", "ä"][number % 4];
        let text = number.to_string();
        let Appended { offset, next } = store.append(0, topic, &text).unwrap();
        assert!(before <= offset && offset < next);
        before = next;
        expected.entry(topic).or_default().push((offset, text));
    }
    for (topic, expected) in &expected {
        assert_eq!(told(&paged(&store, 0, 4, Some(topic))), *expected);
        for (at, (offset, _)) in expected.iter().enumerate() {
            let from = |from| told(&paged(&store, from, 100, Some(topic)));
            assert_eq!(from(*offset), expected[at..]);
            assert_eq!(from(*offset + 1), expected[at + 1..]);
        }
    }
    let record = &paged(&store, 0, 1, Some("ab"))[0];
    assert_eq!(
        (record.kind, record.topic.as_deref()),
        (LogKind::Topic, Some("ab"))
    );
}

#[test]
fn all_records_are_read_in_order_each_once_whatever_the_page() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let store = open(&disk);
    let users = store.bucket("users").unwrap();
    users.put("alice", "1").unwrap();
    let topic = store.append(0, "orders", "one").unwrap();
    let batch = Batch::new()
        .put("bob", "2")
        .delete("alice")
        .put("carol", "3");
    users.write(batch, Durability::Local).unwrap();
    store.bucket("gone").unwrap();
    store.remove_bucket("gone", true).unwrap();
    let all = paged(&store, 0, 100, None);
    let kinds: Vec<_> = all.iter().map(|record| record.kind.as_str()).collect();
    let expected = [
        "bucket_created",
        "put",
        "internal",
        "topic",
        "put",
        "delete",
        "put",
        "bucket_created",
        "bucket_dropped",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(all[3].offset, topic.offset);
    assert_eq!(
        (all[4].bucket.as_deref(), all[4].key.as_deref()),
        (Some("users"), Some(&b"bob"[..]))
    );
    assert_eq!(all[2].bucket, None, "system buckets have no name outside");
    assert!(all.is_sorted_by(|one, next| one.offset < next.offset));
    for limit in 1..10 {
        assert_eq!(paged(&store, 0, limit, None), all, "pages of {limit}");
    }
    for (at, record) in all.iter().enumerate() {
        let rest = paged(&store, record.offset, 4, None);
        assert_eq!(rest, all[at..], "also from the middle of a batch");
    }
}

#[test]
fn system_buckets_are_hidden_and_nobody_reaches_them() {
    let store = Store::options().partitions(3);
    let disk = Arc::new(SimulatedDisk::new(0)) as Arc<dyn Vfs>;
    let store = store
        .threads(false)
        .segment_bytes(SEGMENT_BYTES)
        .open_on(disk, "/s")
        .unwrap();
    for partition in 0..3 {
        store.append(partition, "t", "x").unwrap();
        assert_eq!(
            store
                .read_log(partition, &scan(0, 10, Some("t")))
                .unwrap()
                .len(),
            1
        );
    }
    assert!(store.append(3, "t", "x").is_err());
    assert!(store.read_log(3, &scan(0, 10, None)).is_err());
    assert_eq!(store.buckets().unwrap(), []);
    assert_eq!(store.status().buckets, 0);
    for outcome in [
        store.open_bucket("$topics-0").map(drop),
        store.bucket("$topics-0").map(drop),
        store.remove_bucket("$topics-0", true),
    ] {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    // They count for nothing where the next bucket goes.
    let partitions: Vec<_> = ["a", "b", "c"]
        .map(|name| store.bucket(name).unwrap().info().unwrap().partition)
        .into();
    assert_eq!(partitions, [0, 1, 2]);
}

#[test]
fn names_and_sizes_are_taken_up_to_their_limits_and_not_past_them() {
    let store = Store::memory();
    let longest = "t".repeat(TOPIC_NAME_BYTES_MAX);
    store.append(0, &longest, "x").unwrap();
    store.append(0, "empty", "").unwrap();
    let largest = vec![7; 8 << 20];
    let appended = store.append(0, "large", &largest).unwrap();
    let page = store.read_log(0, &scan(0, 10, Some("large"))).unwrap();
    assert_eq!(
        (page[0].offset, page[0].data.len()),
        (appended.offset, 8 << 20)
    );
    let more = store
        .append(0, "large", vec![7; (8 << 20) + 1])
        .unwrap_err();
    assert_eq!(more.kind(), ErrorKind::ValueTooLarge);
    for topic in ["", "a\0b", "a\nb", &"t".repeat(TOPIC_NAME_BYTES_MAX + 1)] {
        let error = store.append(0, topic, "x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{topic:?}");
    }
}

#[test]
fn a_record_keeps_its_offset_when_its_segment_is_collected_and_across_reopens() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let mut store = open(&disk);
    let mut expected: HashMap<&str, Vec<(u64, String)>> = HashMap::new();
    let mut random = Random(7);
    for round in 0..6 {
        let bucket = store.bucket("b").unwrap();
        for number in 0..150 {
            bucket
                .put(format!("k{}", number % 10), vec![7; 1_500])
                .unwrap();
            if random.below(4) == 0 {
                let topic = ["a", "ab", "b"][random.below(3)];
                let text = format!("{round}/{number}");
                let offset = store.append(0, topic, &text).unwrap().offset;
                expected.entry(topic).or_default().push((offset, text));
            }
            while store.step().unwrap() {}
        }
        drop(bucket);
        store.close().unwrap();
        drop(store);
        store = open(&disk);
    }
    let bucket = store.open_bucket("b").unwrap();
    let log = bucket.keyspace().log();
    let first = log.segments()[0].base.get();
    assert!(first > 5 * SEGMENT_BYTES, "segments were dropped: {first}");
    let mut everything = Vec::new();
    for (topic, expected) in expected {
        assert_eq!(told(&paged(&store, 0, 7, Some(topic))), expected);
        everything.extend(expected);
    }
    everything.sort();
    assert!(everything[0].0 < first);
    for limit in [1, 3, 1_000] {
        let all = paged(&store, 0, limit, None);
        assert!(all.is_sorted_by(|one, next| one.offset < next.offset));
        let topics = all
            .into_iter()
            .filter(|record| record.kind == LogKind::Topic);
        assert_eq!(
            told(&topics.collect::<Vec<_>>()),
            everything,
            "pages of {limit}"
        );
    }
}

#[test]
fn law_1_an_acknowledged_record_survives_power_loss_at_its_offset() {
    for seed in 0..30 {
        let disk = Arc::new(SimulatedDisk::new(seed));
        let mut random = Random(seed * 2 + 1);
        disk.crash_at(20 + random.next() % 150);
        let mut acknowledged = Vec::new();
        let mut life = || -> Result<()> {
            let store = options().open_on(Arc::clone(&disk) as Arc<dyn Vfs>, "/store")?;
            for number in 0.. {
                let text = format!("{number}/{}", "x".repeat(random.below(3_000)));
                let offset = store.append(0, "t", &text)?.offset;
                acknowledged.push((offset, text));
            }
            Ok(())
        };
        assert!(life().is_err());
        let disk = Arc::new(disk.power_loss(Survival::Random(seed)));
        let store = open(&disk);
        let found = told(&paged(&store, 0, 50, Some("t")));
        assert_eq!(found[..acknowledged.len()], acknowledged);
        assert!(found.len() <= acknowledged.len() + 1);
        let next = store.append(0, "t", "next").unwrap().offset;
        assert!(found.iter().all(|(offset, _)| *offset < next));
    }
}

#[test]
fn a_buffered_record_is_read_once_it_is_durable() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let store = open(&disk);
    store.append(0, "t", "first").unwrap();
    let (_, commit) = store
        .submit_append(0, "t", b"buffered", Durability::Buffered)
        .unwrap();
    commit.wait().unwrap();
    for topic in [Some("t"), None] {
        let last = paged(&store, 0, 10, topic).pop().unwrap();
        assert_eq!(last.data, "first");
    }
    store.sync().unwrap();
    assert_eq!(told(&paged(&store, 0, 10, Some("t")))[1].1, "buffered");
}

#[test]
fn many_append_at_once_and_every_offset_leads_to_its_record() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let (store, bucket) = (store.clone(), bucket.clone());
            scope.spawn(move || {
                for number in 0..300 {
                    let text = format!("{writer}/{number}");
                    bucket.put(&text, &text).unwrap();
                    let offset = store
                        .append(0, &format!("t{writer}"), &text)
                        .unwrap()
                        .offset;
                    let scan = scan(offset, 1, Some(&format!("t{writer}")));
                    let found = store.read_log(0, &scan).unwrap();
                    assert_eq!(told(&found), [(offset, text)]);
                }
            });
        }
    });
    assert_eq!(
        paged(&store, 0, 1_000, None)
            .iter()
            .filter(|r| r.kind == LogKind::Topic)
            .count(),
        900
    );
}
