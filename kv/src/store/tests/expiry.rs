use super::*;

fn ttl(ms: u64) -> PutOptions {
    PutOptions {
        ttl_ms: Some(ms),
        ..Default::default()
    }
}

#[test]
fn past_its_deadline_a_key_is_absent_to_reads_scans_and_conditions() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    bucket.put("stays", "v").unwrap();
    bucket.put_with("goes", "v", &ttl(100)).unwrap();
    bench.clock.pass(99);
    let entry = bucket.get("goes").unwrap().unwrap();
    assert_eq!(entry.expires_ms, Some(START_MS + 100));
    let early = bucket.scan(Scan::default()).unwrap();
    bench.clock.pass(1);
    assert_eq!(bucket.get("goes").unwrap(), None);
    assert_eq!(bucket.multi_get(&["goes"]).unwrap(), [None]);
    assert_eq!(bucket.scan(Scan::default()).unwrap().count(), 1);
    assert_eq!(early.count(), 2, "a scan judges by the time it began");
    assert!(!bucket.delete("goes").unwrap().existed);
    let require = |expect| Batch::new().require("goes", expect);
    let refused = bucket
        .write(require(Expect::Exists), Durability::Local)
        .unwrap_err();
    assert_eq!(refused.conflict().unwrap().version, Version::ABSENT);
    bucket
        .write(require(Expect::Absent), Durability::Local)
        .unwrap();
}

#[test]
fn a_put_without_a_time_to_live_clears_it() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    bucket.put_with("k", "v", &ttl(10)).unwrap();
    bucket.put("k", "w").unwrap();
    bench.clock.pass(1_000_000);
    assert_eq!(bucket.get("k").unwrap().unwrap().expires_ms, None);
}

#[test]
fn the_digest_does_not_change_with_time() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    bucket.put_with("k", "v", &ttl(10)).unwrap();
    let digest = store.state_digest().unwrap();
    bench.clock.pass(1_000);
    assert_eq!(bucket.get("k").unwrap(), None);
    assert_eq!(store.state_digest().unwrap(), digest);
    bucket
        .write(Batch::new().delete("k").put("l", ""), Durability::Local)
        .unwrap();
    assert_ne!(store.state_digest().unwrap(), digest);
}

#[test]
fn a_clock_set_back_brings_no_key_back_not_even_across_a_restart() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    bucket.put_with("k", "v", &ttl(1_000)).unwrap();
    bench.clock.pass(5_000);
    bucket.put("other", "v").unwrap();
    bench.clock.set_wall(START_MS);
    assert_eq!(bucket.get("k").unwrap(), None);
    drop((store, bucket));
    let store = bench.open();
    assert_eq!(store.open_bucket("b").unwrap().get("k").unwrap(), None);
    assert!(store.status().now_ms >= START_MS + 5_000);
}

#[test]
fn a_leap_that_was_not_believed_is_not_recorded_by_the_close() {
    let bench = Bench::new(1);
    let store = bench.open();
    store.bucket("b").unwrap().put("k", "v").unwrap();
    bench.clock.pass(10);
    bench.clock.set_wall(START_MS + 48 * 3_600_000);
    store.close().unwrap();
    drop(store);
    bench.clock.set_wall(START_MS);
    assert_eq!(
        bench.open().status().now_ms,
        START_MS + 10,
        "the close recorded believed time"
    );
}

#[test]
fn a_clock_that_leaps_ahead_kills_no_key_for_a_minute_and_is_reported() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    bucket.put_with("k", "v", &ttl(7_200_000)).unwrap();
    bench.clock.set_wall(START_MS + 48 * 3_600_000);
    assert!(bucket.get("k").unwrap().is_some());
    assert!(store.status().clock_is_suspect);
    bucket.put_with("young", "v", &ttl(7_200_000)).unwrap();
    bench.clock.pass(60_000);
    assert_eq!(bucket.get("k").unwrap(), None);
    assert!(!store.status().clock_is_suspect);
    assert!(
        bucket.get("young").unwrap().is_some(),
        "it lives as long as was asked for"
    );
}

#[test]
fn a_key_past_its_deadline_is_swept_once_and_no_other_is() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let mortal = |ttl_ms| PutOptions {
        ttl_ms: Some(ttl_ms),
        ..PutOptions::default()
    };
    bucket.put("immortal", "v").unwrap();
    bucket.put_with("short", "v", &mortal(1_000)).unwrap();
    bucket.put_with("again", "v", &mortal(1_000)).unwrap();
    bucket.put_with("long", "v", &mortal(60_000)).unwrap();
    bench.clock.pass(10_000);
    bucket.put("again", "v").unwrap();
    let mut watch = bucket.watch(None, "").unwrap();
    assert_eq!(bucket.info().unwrap().keys, 4);
    while store.step().unwrap() {}
    store.sync().unwrap();
    assert_eq!(bucket.info().unwrap().keys, 3);
    let batch = watch.next(std::time::Duration::ZERO).unwrap().unwrap();
    let events = batch.events;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].key, "short");
    assert_eq!(events[0].change, WatchChange::Delete { expired: true });
    bench.clock.pass(5_000);
    let version = bucket.version();
    while store.step().unwrap() {}
    assert_eq!(bucket.version(), version, "nothing else is due");
    bench.clock.pass(60_000);
    while store.step().unwrap() {}
    assert_eq!(bucket.info().unwrap().keys, 2);
    // Across a restart, from runs and from what is merged.
    bucket.put_with("last", "v", &mortal(1_000)).unwrap();
    drop((watch, bucket, store));
    let store = bench.open();
    let bucket = store.open_bucket("b").unwrap();
    bench.clock.pass(20_000);
    while store.step().unwrap() {}
    bench.clock.pass(20_000);
    while store.step().unwrap() {}
    assert_eq!(bucket.info().unwrap().keys, 2);
}
