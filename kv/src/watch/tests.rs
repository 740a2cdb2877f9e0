//! Law 6 on a disk, a clock and steps that a test decides.

mod retention;

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};
use std::thread;

use cairn_log::vfs::Vfs;
use cairn_log::vfs::simulated::{SimulatedDisk, Survival};
use cairn_log::{BatchBuffer, Clock};

use super::*;
use crate::testing::{ManualClock, Random};
use crate::{Attributes, Batch, Bucket, Durability, Options, PutOptions, Scan, Store};

/// Small, so that tests roll segments.
const SEGMENT_BYTES: u64 = 64 << 10;
const NO_WAIT: Duration = Duration::ZERO;
const PATIENCE: Duration = Duration::from_secs(60);
const START_MS: u64 = 1_795_507_200_000;

fn options() -> Options {
    let clock = Arc::new(ManualClock::at(START_MS)) as Arc<dyn Clock>;
    Store::options()
        .threads(false)
        .segment_bytes(SEGMENT_BYTES)
        .clock(clock)
}

fn open(disk: &Arc<SimulatedDisk>) -> Store {
    open_with(options(), disk)
}

fn open_with(options: Options, disk: &Arc<SimulatedDisk>) -> Store {
    let disk = Arc::clone(disk) as Arc<dyn Vfs>;
    options.open_on(disk, "/store").unwrap()
}

fn watch(bucket: &Bucket, from: u64) -> Watch {
    bucket.watch(Some(Version::new(from)), "").unwrap()
}

/// A batch as these tests compare it: version, and of each event the key and the value.
type Seen = (u64, Vec<(String, Option<String>)>);

fn seen(batch: &WatchBatch) -> Seen {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let events = batch.events.iter().map(|event| {
        let value = match &event.change {
            WatchChange::Put { value, .. } => value.as_deref().map(text),
            WatchChange::Delete { .. } => None,
        };
        (text(&event.key), value)
    });
    (batch.version.get(), events.collect())
}

/// Everything that is there already.
fn drained(watch: &mut Watch) -> Vec<Seen> {
    let mut all = Vec::new();
    while let Some(batch) = watch.next(NO_WAIT).unwrap() {
        assert_eq!(watch.version(), batch.version);
        all.push(seen(&batch));
    }
    all
}

fn refusal(bucket: &Bucket, from: u64) -> ErrorKind {
    match bucket.watch(Some(Version::new(from)), "") {
        Ok(watch) => panic!("{watch:?} should have been refused"),
        Err(error) => error.kind(),
    }
}

/// Writes to two buckets, and what a watch of the first has to show of that.
struct Writer {
    random: Random,
    number: u64,
    expected: Vec<Seen>,
    /// The versions of all batches, of both buckets.
    versions: Vec<u64>,
}

impl Writer {
    fn new(seed: u64) -> Writer {
        Writer {
            random: Random(seed * 2 + 1),
            number: 0,
            expected: Vec::new(),
            versions: Vec::new(),
        }
    }

    fn key(&mut self) -> String {
        let prefix = ["a/", "b/"][self.random.below(2)];
        format!("{prefix}{}", self.random.below(20))
    }

    /// One batch; its version is noted if it is acknowledged.
    fn write(&mut self, shown: &Bucket, other: &Bucket) -> crate::Result<()> {
        self.number += 1;
        let is_shown = self.random.below(3) > 0;
        let mut batch = Batch::new().put(format!("n/{}", self.number), self.number.to_string());
        let mut events = vec![(format!("n/{}", self.number), Some(self.number.to_string()))];
        for at in 0..self.random.below(4) {
            // A batch writes a key once.
            let key = format!("{}/{at}", self.key());
            if self.random.below(3) == 0 {
                batch = batch.delete(&key);
                events.push((key, None));
            } else {
                let value = "v".repeat(self.random.below(3_000));
                batch = batch.put(&key, &value);
                events.push((key, Some(value)));
            }
        }
        let durability = match self.random.below(3) {
            0 => Durability::Buffered,
            _ => Durability::Local,
        };
        let bucket = if is_shown { shown } else { other };
        let version = bucket.write(batch, durability)?.version.get();
        self.versions.push(version);
        if is_shown {
            self.expected.push((version, events));
        }
        Ok(())
    }
}

#[test]
fn law_6_a_watch_resumed_from_every_version_sees_exactly_the_rest_in_order() {
    let disk = Arc::new(SimulatedDisk::new(6));
    let mut writer = Writer::new(6);
    let mut store = open(&disk);
    for round in 0..4 {
        let (shown, other) = (store.bucket("b").unwrap(), store.bucket("other").unwrap());
        for _ in 0..70 {
            writer.write(&shown, &other).unwrap();
        }
        drop((shown, other));
        // An unclean end leaves a gap; a clean one does not.
        store.sync().unwrap();
        if round % 2 == 0 {
            store.close().unwrap();
        }
        drop(store);
        store = open(&disk);
    }
    let bucket = store.open_bucket("b").unwrap();
    let segments = store.status().partitions[0].segments;
    assert!(segments > 6, "{segments}");
    assert_eq!(drained(&mut watch(&bucket, 0)), writer.expected);
    let at = |version: u64| [version - 1, version, version + 1];
    let around = writer.versions.iter().flat_map(|&version| at(version));
    for from in around.filter(|&from| from <= bucket.version().get()) {
        let rest = writer
            .expected
            .partition_point(|(version, _)| *version <= from);
        assert_eq!(
            drained(&mut watch(&bucket, from)),
            writer.expected[rest..],
            "from {from}"
        );
    }
    // With a prefix, what is left of a batch keeps its order and version.
    let with_prefix = writer.expected.iter().filter_map(|(version, events)| {
        let events = events.iter().filter(|(key, _)| key.starts_with("a/"));
        let events: Vec<_> = events.cloned().collect();
        (!events.is_empty()).then_some((*version, events))
    });
    let mut watch = bucket.watch(Some(Version::ABSENT), "a/").unwrap();
    assert_eq!(drained(&mut watch), with_prefix.collect::<Vec<_>>());
    assert_eq!(watch.version().get(), *writer.versions.last().unwrap());
}

#[test]
fn law_6_a_watch_resumed_after_each_power_loss_misses_and_repeats_nothing() {
    let (mut crashes, mut lost, mut shown_batches) = (0, 0, 0);
    for seed in 0..80 {
        let mut disk = Arc::new(SimulatedDisk::new(seed));
        let mut random = Random(seed * 2 + 1);
        let mut writer = Writer::new(seed);
        let mut resumed: Vec<Seen> = Vec::new();
        let mut position = 0;
        for _ in 0..5 {
            disk.crash_at(disk.calls() + 1 + random.next() % 200);
            let mut life = || -> crate::Result<()> {
                let store = options().open_on(Arc::clone(&disk) as Arc<dyn Vfs>, "/store")?;
                let (bucket, other) = (store.bucket("b")?, store.bucket("other")?);
                let mut watch = bucket.watch(Some(Version::new(position)), "")?;
                let mut outcome = Ok(());
                while outcome.is_ok() {
                    outcome = writer.write(&bucket, &other);
                    if random.below(4) == 0 {
                        // What a broken disk cannot tell is told after the next open.
                        while let Ok(Some(batch)) = watch.next(NO_WAIT) {
                            resumed.push(seen(&batch));
                        }
                        position = watch.version().get();
                    }
                }
                outcome
            };
            crashes += usize::from(life().is_err());
            let survival = match random.below(3) {
                0 => Survival::Nothing,
                1 => Survival::Everything,
                _ => Survival::Random(random.next()),
            };
            disk = Arc::new(disk.power_loss(survival));
        }
        let store = open(&disk);
        let bucket = store.bucket("b").unwrap();
        shown_batches += resumed.len();
        resumed.extend(drained(&mut watch(&bucket, position)));
        let whole = drained(&mut watch(&bucket, 0));
        assert_eq!(resumed, whole, "seed {seed}");
        assert!(whole.is_sorted_by(|one, next| one.0 < next.0));
        // What was acknowledged and is missing was buffered, and stood at the end before a crash.
        for (version, events) in &writer.expected {
            let found = whole.iter().find(|(other, _)| other == version);
            assert!(found.is_none_or(|(_, found)| found == events), "law 14");
            lost += usize::from(found.is_none());
        }
        let numbers = whole.iter().map(|(_, events)| events[0].1.clone().unwrap());
        let numbers: Vec<u64> = numbers.map(|number| number.parse().unwrap()).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    }
    assert!(
        crashes > 100 && lost > 10 && shown_batches > 300,
        "{crashes} crashes, {lost} lost, {shown_batches} shown"
    );
}

#[test]
fn a_consumer_held_still_across_a_merge_gc_a_reopen_and_10_000_events_gets_what_the_log_says() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let options = || options().merge_entries(2_000).history_bytes_min(0);
    let store = open_with(options(), &disk);
    let bucket = store.bucket("b").unwrap();
    // Segments below what is held: dead but for keys of this bucket that nobody writes again.
    for number in 0..400 {
        let batch = Batch::new()
            .put(format!("0/{}", number % 70), vec![b'v'; 1_000])
            .put(format!("kept/{}", number / 10), vec![b'k'; 100]);
        bucket.write(batch, Durability::Local).unwrap();
    }
    let mut still = bucket.watch(None, "").unwrap();
    let first = still.version().get();
    assert_eq!(store.status().partitions[0].index.segments_dropped, 0);
    let mut expected = Vec::new();
    for number in 0..1_000 {
        let keys = (0..10).map(|member| format!("{member}/{}", number % 70));
        let batch = keys.clone().fold(Batch::new(), |batch, key| {
            batch.put(key, number.to_string())
        });
        let version = bucket.write(batch, Durability::Local).unwrap().version;
        let events = keys.map(|key| (key, Some(number.to_string())));
        expected.push((version.get(), events.collect::<Vec<_>>()));
        store.step().unwrap();
    }
    while store.step().unwrap() {}
    let log = bucket.keyspace().log();
    let kept = log.segments().len();
    assert!(kept > 3 && log.dropped_end().get() <= first, "{kept}");
    let merged = bucket.keyspace().pin().0.levels.covered();
    assert!(merged > first, "it is held across a merge, too");
    let collected = store.status().partitions[0].index.clone();
    assert!(collected.segments_dropped > 3, "{collected:?}");
    assert!(
        collected.moved_bytes > 30 * 100,
        "what it must not show was moved above where it stands: {collected:?}"
    );
    let mut told = Vec::new();
    for _ in 0..300 {
        told.push(seen(&still.next(NO_WAIT).unwrap().unwrap()));
    }
    let position = still.version().get();
    drop((still, bucket));
    store.close().unwrap();
    drop(store);
    let store = open_with(options(), &disk);
    let bucket = store.open_bucket("b").unwrap();
    assert_eq!(drained(&mut watch(&bucket, first)), expected);
    let mut resumed = watch(&bucket, position);
    assert!(bucket.put("after", "x").unwrap().get() > position);
    // Collected once more, up to where the consumer stands now, before it takes anything.
    while store.step().unwrap() {}
    let floor = bucket.keyspace().log().dropped_end().get();
    assert!((first + 1..=position).contains(&floor), "{floor}");
    let rest = drained(&mut resumed);
    told.extend_from_slice(&rest[..rest.len() - 1]);
    assert_eq!(told, expected);
    assert_eq!(rest.last().unwrap().1[0].0, "after");
}

#[test]
fn a_batch_is_shown_once_it_is_durable_and_not_before() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let store = open(&disk);
    let bucket = store.bucket("b").unwrap();
    let mut watch = bucket.watch(None, "").unwrap();
    let buffered = bucket
        .write(Batch::new().put("k", "buffered"), Durability::Buffered)
        .unwrap();
    assert_eq!(bucket.get("k").unwrap().unwrap().value, "buffered");
    assert_eq!(watch.next(NO_WAIT).unwrap(), None, "it is not durable");
    let commit = bucket.submit(Batch::new().put("k", "local"), Durability::Local);
    assert_eq!(watch.next(NO_WAIT).unwrap(), None, "it is not written");
    let local = commit.unwrap().wait().unwrap();
    let versions: Vec<_> = drained(&mut watch).into_iter().map(|(at, _)| at).collect();
    assert_eq!(versions, [buffered.version.get(), local.version.get()]);
    store.sync().unwrap();
    assert_eq!(watch.next(NO_WAIT).unwrap(), None, "it was shown");
}

#[test]
fn a_from_that_is_not_durable_waits_and_the_watch_begins_behind_it() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let store = open(&disk);
    let bucket = store.bucket("b").unwrap();
    let buffered = |value: &str| {
        let batch = Batch::new().put("k", value);
        let receipt = bucket.write(batch, Durability::Buffered).unwrap();
        receipt.version.get()
    };
    let (_, from, after) = (buffered("1"), buffered("2"), buffered("3"));
    let mut watch = watch(&bucket, from);
    assert_eq!(watch.next(NO_WAIT).unwrap(), None);
    assert_eq!(watch.version().get(), from);
    store.sync().unwrap();
    let local = bucket.put("k", "4").unwrap().get();
    let versions: Vec<_> = drained(&mut watch).into_iter().map(|(at, _)| at).collect();
    assert_eq!(versions, [after, local]);
}

#[test]
fn a_from_that_was_lost_is_compacted_also_when_newer_batches_stand_above_it() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let store = open(&disk);
    let bucket = store.bucket("b").unwrap();
    let kept = bucket.put("k", "kept").unwrap().get();
    let batch = Batch::new().put("k", "lost");
    let lost = bucket.write(batch, Durability::Buffered).unwrap();
    let lost = lost.version.get();
    let mut waiting = watch(&bucket, lost);
    let mut behind = watch(&bucket, 0);
    disk.fail_sync(disk.counts().syncs + 1);
    assert!(store.sync().is_err());
    assert_eq!(
        waiting.next(PATIENCE).unwrap_err().kind(),
        ErrorKind::Compacted
    );
    // One that waits for nothing in particular is told that nothing more will come.
    assert_eq!(drained_until_error(&mut behind).0, 1);
    assert_eq!(
        behind.next(PATIENCE).unwrap_err().kind(),
        ErrorKind::Poisoned
    );
    drop((waiting, behind, bucket));
    drop(store);
    let store = open(&Arc::new(disk.power_loss(Survival::Nothing)));
    let bucket = store.open_bucket("b").unwrap();
    assert_eq!(
        refusal(&bucket, lost),
        ErrorKind::Compacted,
        "above the head"
    );
    let next = bucket.put("k", "next").unwrap().get();
    assert_eq!(refusal(&bucket, lost), ErrorKind::Compacted, "in the gap");
    assert_eq!(drained(&mut watch(&bucket, kept))[0].0, next);
}

fn drained_until_error(watch: &mut Watch) -> (usize, Error) {
    let mut count = 0;
    loop {
        match watch.next(NO_WAIT) {
            Ok(Some(_)) => count += 1,
            Ok(None) => panic!("no error after {count} batches"),
            Err(error) => return (count, error),
        }
    }
}

#[test]
fn a_version_above_the_newest_is_compacted() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let store = open(&disk);
    let bucket = store.bucket("b").unwrap();
    let newest = bucket.put("k", "v").unwrap().get();
    assert_eq!(drained(&mut watch(&bucket, newest)), []);
    for from in [newest + 1, newest + 1_000, (1 << 53) + 7, u64::MAX] {
        assert_eq!(refusal(&bucket, from), ErrorKind::Compacted, "{from}");
    }
}

#[test]
fn the_version_of_a_scan_and_a_watch_from_it_make_up_the_newest_state() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let store = open(&disk);
    let bucket = store.bucket("b").unwrap();
    bucket.put("old", "1").unwrap();
    let batch = Batch::new().put("buffered", "1");
    bucket.write(batch, Durability::Buffered).unwrap();
    let scan = bucket.scan(Scan::default()).unwrap();
    let version = scan.version();
    assert_eq!(scan.count(), 2);
    let next = bucket.put("new", "1").unwrap().get();
    let mut watch = bucket.watch(Some(version), "").unwrap();
    let versions: Vec<_> = drained(&mut watch).into_iter().map(|(at, _)| at).collect();
    assert_eq!(versions, [next]);
}

#[test]
fn an_event_carries_what_was_written() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let store = open(&disk);
    let bucket = store.bucket("b").unwrap();
    let mut watch = bucket.watch(None, "").unwrap();
    let mut attributes = Attributes::new();
    attributes
        .set(Attributes::CONTENT_TYPE, "text/plain")
        .unwrap();
    let ttl_ms = Some(1_000);
    let with_all = PutOptions {
        ttl_ms,
        attributes: attributes.clone(),
    };
    let large = vec![7; 40_000];
    let batch = Batch::new()
        .put_with("z", "first", with_all)
        .delete("gone")
        .put("a", &large);
    bucket.write(batch, Durability::Local).unwrap();
    let batch = watch.next(NO_WAIT).unwrap().unwrap();
    assert_eq!(batch.time_ms, START_MS);
    let event = |key: &'static str, change| WatchEvent {
        key: key.into(),
        change,
    };
    let put = |value: &[u8], attributes, expires_ms| WatchChange::Put {
        value: Some(Bytes::copy_from_slice(value)),
        size: value.len() as u64,
        attributes,
        expires_ms,
    };
    let expected = [
        event("z", put(b"first", attributes, Some(START_MS + 1_000))),
        event("gone", WatchChange::Delete { expired: false }),
        event("a", put(&large, Attributes::new(), None)),
    ];
    assert_eq!(batch.events, expected);
}

/// Appends payloads as a batch that nobody enters into the index, and an ordinary one behind it.
fn append_raw(bucket: &Bucket, payload: impl FnOnce(u32) -> Vec<u8>) -> u64 {
    let mut buffer = BatchBuffer::new();
    let payload = payload(buffer.next_place());
    buffer.record(|bytes| bytes.extend_from_slice(&payload));
    let log = bucket.keyspace().log();
    let appended = log.try_append(&buffer, START_MS, Durability::Local.into());
    let appended = appended.unwrap().unwrap();
    bucket.put("after", "x").unwrap();
    appended.offset.get()
}

#[test]
fn a_delete_by_a_deadline_says_so() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let store = open(&disk);
    let bucket = store.bucket("b").unwrap();
    bucket.put("k", "v").unwrap();
    let mut watch = bucket.watch(None, "").unwrap();
    append_raw(&bucket, |place| {
        let body = Body::Delete {
            key: b"k",
            expired: true,
        };
        let bucket = watch.bucket.id;
        let mut bytes = Vec::new();
        Record {
            origin: crate::record::Origin::Here { place },
            bucket,
            body,
        }
        .encode(&mut bytes);
        bytes
    });
    let batch = watch.next(NO_WAIT).unwrap().unwrap();
    assert_eq!(
        batch.events[0].change,
        WatchChange::Delete { expired: true }
    );
}

#[test]
fn a_record_of_another_make_ends_the_watch_where_it_stands() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let store = open(&disk);
    let bucket = store.bucket("b").unwrap();
    let before = bucket.put("k", "v").unwrap().get();
    let mut first = watch(&bucket, 0);
    append_raw(&bucket, |_| vec![0x0f, 1, 1]);
    assert_eq!(first.next(NO_WAIT).unwrap().unwrap().version.get(), before);
    for _ in 0..3 {
        assert_eq!(first.next(NO_WAIT).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(first.version().get(), before);
    }
    let mut resumed = watch(&bucket, before);
    assert_eq!(
        resumed.next(NO_WAIT).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
}

#[test]
fn a_quiet_watch_moves_on_with_what_others_write() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let store = open(&disk);
    let (bucket, other) = (store.bucket("b").unwrap(), store.bucket("other").unwrap());
    let mut quiet = bucket.watch(None, "").unwrap();
    let mut narrow = other.watch(None, "a/").unwrap();
    let newest = other.put("b/k", "v").unwrap();
    for watch in [&mut quiet, &mut narrow] {
        assert!(watch.version() < newest);
        assert_eq!(watch.next(NO_WAIT).unwrap(), None);
        assert_eq!(watch.version(), newest);
    }
}

#[test]
fn one_call_examines_a_bounded_part_of_the_log_and_the_next_goes_on() {
    let store = Store::memory();
    let (bucket, other) = (store.bucket("b").unwrap(), store.bucket("other").unwrap());
    let mut watch = bucket.watch(None, "").unwrap();
    for _ in 0..5 {
        other.put("k", vec![0; 1 << 20]).unwrap();
    }
    let version = bucket.put("k", "v").unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut calls = 0;
    let batch = loop {
        calls += 1;
        assert!(watch.poll_ready(&mut context).is_ready());
        if let Some(batch) = watch.try_next().unwrap() {
            break batch;
        }
    };
    assert_eq!(batch.version, version);
    assert!((4..8).contains(&calls), "{calls}");
    assert!(watch.poll_ready(&mut context).is_pending());
}

#[test]
fn a_dropped_bucket_ends_its_watch_after_its_last_event() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let store = open(&disk);
    let bucket = store.bucket("b").unwrap();
    let mut watch = watch(&bucket, 0);
    let last = bucket.put("k", "v").unwrap();
    store.remove_bucket("b", true).unwrap();
    let again = store.bucket("b").unwrap();
    again.put("k", "of another bucket").unwrap();
    assert_eq!(watch.next(NO_WAIT).unwrap().unwrap().version, last);
    for _ in 0..3 {
        let error = watch.next(PATIENCE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BucketNotFound);
        let mut context = Context::from_waker(Waker::noop());
        assert!(
            watch.poll_ready(&mut context).is_ready(),
            "it is told again"
        );
    }
    assert_eq!(refusal(&bucket, 0), ErrorKind::BucketNotFound);
    // The other bucket has only its own events.
    let all = drained(&mut super::tests::watch(&again, 0));
    assert_eq!(all.len(), 1);
    assert!(all[0].0 > last.get());
}

#[test]
fn a_closed_store_ends_its_watches_after_what_is_durable() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let store = open(&disk);
    let bucket = store.bucket("b").unwrap();
    let mut watch = bucket.watch(None, "").unwrap();
    let batch = Batch::new().put("k", "buffered");
    let version = bucket.write(batch, Durability::Buffered).unwrap().version;
    store.close().unwrap();
    assert_eq!(watch.next(PATIENCE).unwrap().unwrap().version, version);
    assert_eq!(
        watch.next(PATIENCE).unwrap_err().kind(),
        ErrorKind::Poisoned
    );
}

#[derive(Default)]
struct Count(AtomicU64);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_task_is_woken_by_what_becomes_durable_and_by_the_end() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let store = open(&disk);
    let bucket = store.bucket("b").unwrap();
    let mut watch = bucket.watch(None, "").unwrap();
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let mut context = Context::from_waker(&waker);
    let woken = || count.0.load(Ordering::Relaxed);
    assert!(watch.poll_next(&mut context).is_pending());
    let batch = Batch::new().put("k", "buffered");
    let _ = bucket.write(batch, Durability::Buffered).unwrap();
    assert_eq!(woken(), 0, "it is not durable");
    store.sync().unwrap();
    assert_eq!(woken(), 1);
    assert!(matches!(watch.poll_next(&mut context), Poll::Ready(Ok(_))));
    assert!(watch.poll_next(&mut context).is_pending());
    store.close().unwrap();
    assert_eq!(woken(), 2);
    assert!(matches!(watch.poll_next(&mut context), Poll::Ready(Err(_))));
}

#[test]
fn a_batch_that_is_durable_and_not_entered_yet_is_not_shown_yet() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    let mut watch = bucket.watch(None, "").unwrap();
    let mut buffer = BatchBuffer::new();
    let (place, key) = (buffer.next_place(), b"k");
    let body = Body::Delete {
        key,
        expired: false,
    };
    let id = watch.bucket.id;
    let record = Record {
        origin: crate::record::Origin::Here { place },
        bucket: id,
        body,
    };
    buffer.record(|bytes| record.encode(bytes));
    let log = bucket.keyspace().log();
    let appended = log.try_append(&buffer, START_MS, Durability::Local.into());
    appended.unwrap().unwrap().commit.wait().unwrap();
    let shown = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let batch = watch.next(PATIENCE).unwrap().unwrap();
            shown.store(batch.version.get(), Ordering::SeqCst);
        });
        thread::sleep(Duration::from_millis(50));
        assert_eq!(shown.load(Ordering::SeqCst), 0);
        bucket.put("after", "x").unwrap();
    });
    assert!(shown.load(Ordering::SeqCst) > 0);
}

#[test]
fn whoever_has_seen_an_event_finds_its_state_while_many_write() {
    const WRITES: u64 = 2_000;
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    let other = store.bucket("other").unwrap();
    let begun = Arc::new(std::sync::Barrier::new(6));
    thread::scope(|scope| {
        for writer in 0..3 {
            let (bucket, begun) = ([&bucket, &other][writer % 2].clone(), Arc::clone(&begun));
            scope.spawn(move || {
                begun.wait();
                for number in 0..WRITES {
                    let key = format!("{writer}/{}", number % 10);
                    bucket.put(key, number.to_string()).unwrap();
                }
            });
        }
        for _ in 0..3 {
            let (bucket, begun) = (bucket.clone(), Arc::clone(&begun));
            scope.spawn(move || {
                let mut watch = bucket.watch(None, "").unwrap();
                begun.wait();
                let mut next = [0; 3];
                while next[0] < WRITES || next[2] < WRITES {
                    let batch = watch.next(PATIENCE).unwrap().expect("no wake is lost");
                    let event = &batch.events[0];
                    let found = bucket.get(&event.key).unwrap().expect("it was put");
                    assert!(found.version >= batch.version);
                    let writer = usize::from(event.key[0] - b'0');
                    let WatchChange::Put {
                        value: Some(value), ..
                    } = &event.change
                    else {
                        panic!("{event:?}");
                    };
                    assert_eq!(*value, next[writer].to_string());
                    next[writer] += 1;
                }
            });
        }
    });
}
