use super::*;

fn require(key: &str, expect: Expect) -> Batch {
    Batch::new().require(key, expect).put("written", "yes")
}

#[test]
fn a_batch_is_written_only_if_all_its_conditions_hold() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    let version = bucket.put("k", "v").unwrap();
    let (other, absent) = (Version::new(version.get() + 1), Version::ABSENT);
    for (expect, holds) in [
        (Expect::Exists, true),
        (Expect::Absent, false),
        (Expect::OneOf(vec![other, version]), true),
        (Expect::OneOf(vec![other]), false),
        (Expect::OneOf(vec![absent]), false),
        (Expect::NoneOf(vec![version]), false),
        (Expect::NoneOf(vec![other, absent]), true),
    ] {
        let outcome = bucket.write(require("k", expect.clone()), Durability::Local);
        assert_eq!(outcome.is_ok(), holds, "{expect:?}");
        assert_eq!(
            bucket.get("written").unwrap().is_some(),
            holds,
            "{expect:?}"
        );
        bucket.delete("written").unwrap();
    }
    for (expect, holds) in [
        (Expect::Exists, false),
        (Expect::Absent, true),
        (Expect::OneOf(vec![version]), false),
        (Expect::OneOf(vec![version, absent]), true),
        (Expect::NoneOf(vec![version]), true),
        (Expect::NoneOf(vec![absent]), false),
    ] {
        let outcome = bucket.write(require("none", expect.clone()), Durability::Local);
        assert_eq!(outcome.is_ok(), holds, "{expect:?} of an absent key");
    }
}

#[test]
fn a_refusal_names_the_first_key_that_fails_and_its_version() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    let version = bucket.put("k", "v").unwrap();
    let batch = Batch::new()
        .put("x", "")
        .require("k", Expect::Exists)
        .require("\0none", Expect::Exists)
        .require("k", Expect::Absent);
    let error = bucket.write(batch, Durability::Local).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VersionMismatch);
    assert_eq!(&error.conflict().unwrap().key[..], b"\0none");
    assert_eq!(error.conflict().unwrap().version, Version::ABSENT);
    assert!(error.message().contains("\\x00none"), "{error}");
    let error = bucket
        .write(require("k", Expect::Absent), Durability::Local)
        .unwrap_err();
    assert_eq!(error.conflict().unwrap().version, version);
}

#[test]
fn conditions_are_judged_before_the_batchs_own_operations() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    let batch = || Batch::new().put("k", "v").require("k", Expect::Absent);
    bucket.write(batch(), Durability::Local).unwrap();
    assert_eq!(
        kind(bucket.write(batch(), Durability::Local)),
        ErrorKind::VersionMismatch
    );
}

#[test]
fn conditions_see_what_is_sequenced_though_nobody_else_does() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let put = bucket
        .submit(Batch::new().put("k", "v"), Durability::Local)
        .unwrap();
    assert_eq!(bucket.get("k").unwrap(), None, "it is not durable yet");
    let second = bucket
        .submit(require("k", Expect::Exists), Durability::Local)
        .unwrap();
    let delete = bucket
        .submit(Batch::new().delete("k"), Durability::Local)
        .unwrap();
    let third = bucket
        .submit(require("k", Expect::Exists), Durability::Local)
        .unwrap();
    let refused = third.wait().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::VersionMismatch);
    for commit in [put, second, delete] {
        commit.wait().unwrap();
    }
}

#[test]
fn batches_share_one_version_and_say_whether_what_they_delete_existed() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    let batch = Batch::new().put("a", "1").put("b", "2").delete("none");
    let receipt = bucket.write(batch, Durability::Local).unwrap();
    assert_eq!(
        (receipt.existed, receipt.durability),
        (false, Durability::Local)
    );
    for key in ["a", "b"] {
        assert_eq!(bucket.get(key).unwrap().unwrap().version, receipt.version);
    }
    let batch = Batch::new().delete("a").delete("none").put("c", "3");
    let receipt = bucket.write(batch, Durability::Buffered).unwrap();
    assert_eq!(
        (receipt.existed, receipt.durability),
        (true, Durability::Buffered)
    );
    let keys: Vec<_> = bucket
        .scan(Scan::default())
        .unwrap()
        .map(|found| found.unwrap().0)
        .collect();
    assert_eq!(keys, ["b", "c"]);
}

#[test]
fn a_batch_that_changes_nothing_writes_nothing_but_judges_its_conditions() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    let version = bucket.put("k", "v").unwrap();
    let end = store.status().partitions[0].end;
    for batch in [Batch::new(), Batch::new().delete("x").delete("y")] {
        for durability in [Durability::Local, Durability::Buffered] {
            let receipt = bucket.write(batch.clone(), durability).unwrap();
            assert_eq!(
                receipt,
                Receipt {
                    version,
                    durability,
                    existed: false
                }
            );
            let refused = batch.clone().require("k", Expect::Absent);
            assert_eq!(
                kind(bucket.write(refused, durability)),
                ErrorKind::VersionMismatch
            );
        }
    }
    assert_eq!(store.status().partitions[0].end, end);
}

#[test]
fn a_faulty_batch_is_refused_whole() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    let twice = Batch::new().put("a", "").put("b", "").put("a", "");
    assert_eq!(
        kind(bucket.write(twice, Durability::Local)),
        ErrorKind::InvalidArgument
    );
    let oversized = vec![0; limits::VALUE_RECORD_BYTES_MAX + 1];
    let batch = Batch::new().put("a", "").put("b", oversized);
    assert_eq!(
        kind(bucket.write(batch, Durability::Local)),
        ErrorKind::ValueTooLarge
    );
    assert_eq!(bucket.info().unwrap().keys, 0);
}

#[test]
fn a_batch_that_no_segment_takes_is_refused_and_the_largest_that_one_takes_is_not() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let fits = |bytes: u64| bucket.put("k", vec![0; usize::try_from(bytes).unwrap()]);
    let (mut taken, mut refused) = (0, SEGMENT_BYTES);
    while refused - taken > 1 {
        let middle = taken.midpoint(refused);
        match fits(middle) {
            Ok(_) => taken = middle,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::BatchTooLarge);
                refused = middle;
            }
        }
    }
    assert!(taken > SEGMENT_BYTES * 9 / 10);
    assert_eq!(bucket.get("k").unwrap().unwrap().size, taken);
}

#[test]
fn the_largest_batch_is_written_whole() {
    let store = Store::options().segment_bytes(32 << 20);
    let store = store
        .open_on(Arc::new(SimulatedDisk::new(1)), "store")
        .unwrap();
    let bucket = store.bucket("b").unwrap();
    let value = vec![7; limits::BATCH_BYTES_MAX / limits::BATCH_OPS_MAX - 8];
    let batch = (0..limits::BATCH_OPS_MAX).fold(Batch::new(), |batch, number| {
        batch.put(number.to_be_bytes(), &value)
    });
    bucket.write(batch, Durability::Local).unwrap();
    assert_eq!(
        bucket.scan(Scan::default()).unwrap().count(),
        limits::BATCH_OPS_MAX
    );
}
