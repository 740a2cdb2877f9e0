//! Transactions against what others write meanwhile, and against what the index does meanwhile.

use super::*;

fn keys(transaction: &mut Transaction, scan: &Scan) -> Vec<Bytes> {
    let entries = transaction.scan(scan).unwrap();
    entries.map(|row| row.unwrap().0).collect()
}

/// The key that refused a transaction.
#[track_caller]
fn conflict(outcome: Result<Receipt>) -> String {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VersionMismatch, "{error}");
    let conflict = error.conflict().unwrap();
    String::from_utf8(conflict.key.to_vec()).unwrap()
}

fn filled(keys: &[&str]) -> (Bench, Store, Bucket) {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    for key in keys {
        bucket.put(key, "stored").unwrap();
    }
    (bench, store, bucket)
}

#[test]
fn a_transaction_shows_the_moment_at_which_it_began() {
    let (_bench, _store, bucket) = filled(&["a", "b"]);
    let mut transaction = bucket.transaction().unwrap();
    bucket.put("a", "new").unwrap();
    bucket.delete("b").unwrap();
    bucket.put("c", "new").unwrap();
    assert_eq!(transaction.get("a").unwrap().unwrap().value, "stored");
    assert_eq!(transaction.get("c").unwrap(), None);
    assert_eq!(keys(&mut transaction, &Scan::default()), ["a", "b"]);
    assert!(transaction.version() < bucket.version());
}

#[test]
fn what_was_read_of_a_key_must_still_be_so() {
    for (read, between, refused_by) in [
        ("a", Batch::new().put("a", "new"), Some("a")),
        ("a", Batch::new().delete("a"), Some("a")),
        ("a", Batch::new().put("b", "new"), None),
        ("none", Batch::new().put("none", "new"), Some("none")),
        ("none", Batch::new().delete("none"), None),
    ] {
        for durability in [Durability::Local, Durability::Buffered] {
            let (_bench, _store, bucket) = filled(&["a", "b"]);
            let mut transaction = bucket.transaction().unwrap();
            transaction.get(read).unwrap();
            transaction.put("written", "yes").unwrap();
            bucket.write(between.clone(), durability).unwrap();
            let outcome = transaction.commit(durability);
            match refused_by {
                Some(key) => assert_eq!(conflict(outcome), key),
                None => drop(outcome.unwrap()),
            }
            assert_eq!(value(&bucket, "written").is_some(), refused_by.is_none());
        }
    }
}

#[test]
fn a_key_that_came_and_went_was_absent_all_along_to_who_read_it_alone() {
    let (_bench, _store, bucket) = filled(&[]);
    let mut transaction = bucket.transaction().unwrap();
    assert_eq!(transaction.get("k").unwrap(), None);
    bucket.put("k", "").unwrap();
    bucket.delete("k").unwrap();
    transaction.put("written", "").unwrap();
    transaction.commit(Durability::Local).unwrap();
}

#[test]
fn what_is_written_unread_refuses_nothing() {
    let (_bench, _store, bucket) = filled(&["a"]);
    let mut transaction = bucket.transaction().unwrap();
    transaction.put("a", "mine").unwrap();
    transaction.delete("b").unwrap();
    transaction.get("a").unwrap();
    bucket.put("a", "theirs").unwrap();
    bucket.put("b", "theirs").unwrap();
    assert!(transaction.commit(Durability::Local).unwrap().existed);
    assert_eq!(value(&bucket, "a").unwrap(), "mine");
    assert_eq!(value(&bucket, "b"), None);
}

#[test]
fn a_scanned_range_refuses_what_came_into_it_and_only_that() {
    let range = |start: &str, end: &str| Scan {
        start: Some(start.into()),
        end: Some(end.into()),
        ..Scan::default()
    };
    for (between, is_refused) in [
        (Batch::new().put("c", "phantom"), true),
        (Batch::new().put("d", "overwritten"), true),
        (Batch::new().delete("d"), true),
        (Batch::new().put("b", "at the start"), true),
        (Batch::new().put("a", "below"), false),
        (Batch::new().put("f", "at the end"), false),
        (Batch::new().put("z", "").put("e", ""), true),
    ] {
        for reverse in [false, true] {
            let (_bench, _store, bucket) = filled(&["a", "d", "f"]);
            let mut transaction = bucket.transaction().unwrap();
            let scan = Scan {
                reverse,
                ..range("b", "f")
            };
            assert_eq!(keys(&mut transaction, &scan), ["d"]);
            transaction.put("written", "").unwrap();
            bucket.write(between.clone(), Durability::Local).unwrap();
            let outcome = transaction.commit(Durability::Local);
            assert_eq!(outcome.is_err(), is_refused, "{between:?}");
            if is_refused {
                assert!(("b".."f").contains(&&conflict(outcome)[..]));
            }
        }
    }
}

#[test]
fn a_scan_that_stopped_early_has_read_up_to_where_it_stopped() {
    for reverse in [false, true] {
        for (written, is_refused) in [("b", !reverse), ("d", true), ("f", reverse)] {
            let (_bench, _store, bucket) = filled(&["a", "d", "g"]);
            for limit in [None, Some(2)] {
                let mut transaction = bucket.transaction().unwrap();
                let scan = Scan {
                    reverse,
                    limit,
                    ..Scan::default()
                };
                let mut entries = transaction.scan(&scan).unwrap();
                for expected in [if reverse { "g" } else { "a" }, "d"] {
                    assert_eq!(entries.next().unwrap().unwrap().0, expected);
                }
                if limit.is_some() {
                    assert!(entries.next().is_none());
                }
                bucket.put(written, "new").unwrap();
                let outcome = transaction.commit(Durability::Local);
                assert_eq!(
                    outcome.is_err(),
                    is_refused,
                    "{written}, reverse: {reverse}"
                );
                if written != "d" {
                    bucket.delete(written).unwrap();
                }
            }
        }
    }
}

#[test]
fn a_scan_that_was_not_asked_for_a_key_has_read_nothing() {
    let (_bench, _store, bucket) = filled(&["a"]);
    let mut transaction = bucket.transaction().unwrap();
    let _entries = transaction.scan(&Scan::default()).unwrap();
    bucket.put("a", "new").unwrap();
    transaction.put("written", "").unwrap();
    transaction.commit(Durability::Local).unwrap();
}

#[test]
fn write_skew_is_refused() {
    let (_bench, _store, bucket) = filled(&["on call/ann", "on call/bob"]);
    let leave = |who: &str| {
        let mut transaction = bucket.transaction().unwrap();
        let scan = Scan::prefix("on call/");
        assert_eq!(keys(&mut transaction, &scan).len(), 2);
        transaction.delete(format!("on call/{who}")).unwrap();
        transaction
    };
    let (ann, bob) = (leave("ann"), leave("bob"));
    ann.commit(Durability::Local).unwrap();
    assert_eq!(conflict(bob.commit(Durability::Local)), "on call/ann");
}

#[test]
fn writes_that_nobody_sees_yet_refuse_as_well() {
    for is_range in [false, true] {
        let (_bench, _store, bucket) = filled(&["a"]);
        // In its place before the transaction begins, and not durable.
        let pending = bucket
            .submit(Batch::new().put("a", "new"), Durability::Local)
            .unwrap();
        let mut transaction = bucket.transaction().unwrap();
        if is_range {
            assert_eq!(keys(&mut transaction, &Scan::default()), ["a"]);
        } else {
            assert_eq!(transaction.get("a").unwrap().unwrap().value, "stored");
        }
        transaction.put("written", "").unwrap();
        let at_once = transaction.submit(Durability::Local).unwrap();
        assert_eq!(conflict(at_once.wait()), "a");
        assert_eq!(value(&bucket, "a").unwrap(), "new", "its cause is durable");
        pending.wait().unwrap();
    }
}

#[test]
fn a_refusal_whose_cause_is_lost_is_poisoned() {
    for is_range in [false, true] {
        let (bench, _store, bucket) = filled(&["a"]);
        let mut transaction = bucket.transaction().unwrap();
        if is_range {
            keys(&mut transaction, &Scan::default());
        } else {
            transaction.get("a").unwrap();
        }
        let pending = bucket
            .submit(Batch::new().put("a", "new"), Durability::Local)
            .unwrap();
        let refused = transaction.submit(Durability::Local).unwrap();
        bench.fail_next_sync();
        assert_eq!(kind(refused.wait()), ErrorKind::Poisoned);
        assert_eq!(kind(pending.wait()), ErrorKind::OutcomeUnknown);
        let mut later = bucket.transaction().unwrap();
        assert_eq!(later.get("a").unwrap().unwrap().value, "stored");
        later.put("a", "later").unwrap();
        assert_eq!(kind(later.commit(Durability::Local)), ErrorKind::Poisoned);
    }
}

/// Rolls segments, writes their runs and merges them.
fn churn(store: &Store, other: &Bucket, rounds: usize) {
    for _ in 0..rounds {
        for number in 0..4 {
            other.put(format!("{number}"), vec![1; 20_000]).unwrap();
        }
        while store.step().unwrap() {}
    }
}

#[test]
fn ranges_are_judged_though_the_writes_are_in_runs_or_merged_by_now() {
    for scan_late in [false, true] {
        for written in [None, Some("c"), Some("deleted"), Some("z")] {
            let mut bench = Bench::new(3);
            bench.options = bench.options.merge_entries(1).history_bytes_min(0);
            let store = bench.open();
            let (bucket, other) = (store.bucket("b").unwrap(), store.bucket("o").unwrap());
            for key in ["a", "b", "deleted"] {
                bucket.put(key, "stored").unwrap();
            }
            churn(&store, &other, 3);
            let mut transaction = bucket.transaction().unwrap();
            let scan = Scan {
                end: Some(b"m".to_vec()),
                ..Scan::default()
            };
            if !scan_late {
                assert_eq!(keys(&mut transaction, &scan).len(), 3);
            }
            match written {
                Some("deleted") => drop(bucket.delete("deleted").unwrap()),
                Some(key) => drop(bucket.put(key, "new").unwrap()),
                None => {}
            }
            churn(&store, &other, 6);
            let covered = store.0.levels()[0].covered();
            assert!(
                covered > transaction.version().get(),
                "nothing newer is merged"
            );
            if scan_late {
                assert_eq!(keys(&mut transaction, &scan).len(), 3);
            }
            transaction.put("written", "").unwrap();
            let outcome = transaction.commit(Durability::Local);
            match written {
                None => drop(outcome.unwrap()),
                // Nobody noted what was written, and it is no longer in memory.
                Some(_) if scan_late => assert_eq!(kind(outcome), ErrorKind::Overloaded),
                Some("z") => drop(outcome.unwrap()),
                Some(key) => assert_eq!(conflict(outcome), key),
            }
        }
    }
}

#[test]
fn a_scan_that_begins_late_judges_what_came_before_it_from_memory() {
    for (written, is_refused) in [("c", true), ("z", false)] {
        let (_bench, _store, bucket) = filled(&["a", "b"]);
        let mut transaction = bucket.transaction().unwrap();
        bucket.put(written, "new").unwrap();
        let pending = bucket
            .submit(Batch::new().put("y", ""), Durability::Local)
            .unwrap();
        // Segments begin, but no run is written.
        for number in 0..8 {
            bucket.put(format!("x{number}"), vec![1; 20_000]).unwrap();
        }
        let scan = Scan {
            end: Some(b"m".to_vec()),
            ..Scan::default()
        };
        assert_eq!(keys(&mut transaction, &scan), ["a", "b"]);
        let outcome = transaction.commit(Durability::Local);
        assert_eq!(outcome.is_err(), is_refused);
        if is_refused {
            assert_eq!(conflict(outcome), written);
        }
        pending.wait().unwrap();
    }
}

#[test]
fn a_record_that_garbage_collection_moves_refuses_nothing() {
    let mut bench = Bench::new(3);
    bench.options = bench.options.merge_entries(1).history_bytes_min(0);
    let store = bench.open();
    let (bucket, other) = (store.bucket("b").unwrap(), store.bucket("o").unwrap());
    for key in ["a", "b"] {
        bucket.put(key, "stored").unwrap();
    }
    churn(&store, &other, 3);
    let place = |key: &str| {
        let id = crate::record::BucketId(bucket.info().unwrap().id);
        bucket.keyspace().newest_as_it_is(id, key.as_bytes())
    };
    let before = place("a").unwrap();
    let mut transaction = bucket.transaction().unwrap();
    transaction.get("a").unwrap();
    keys(&mut transaction, &Scan::default());
    churn(&store, &other, 8);
    let after = place("a").unwrap();
    assert!(after.is_moved && after.record > before.record);
    assert_eq!(after.version, before.version);
    transaction.put("written", "").unwrap();
    transaction.commit(Durability::Local).unwrap();
}

#[test]
fn what_expires_after_it_was_read_refuses_and_what_had_expired_does_not() {
    let mortal = |ttl_ms| PutOptions {
        ttl_ms: Some(ttl_ms),
        ..PutOptions::default()
    };
    for is_range in [false, true] {
        for is_swept in [false, true] {
            for expires_first in [false, true] {
                let (bench, store, bucket) = filled(&["a"]);
                bucket.put_with("k", "mortal", &mortal(20_000)).unwrap();
                if expires_first {
                    bench.clock.pass(20_000);
                }
                let mut transaction = bucket.transaction().unwrap();
                if is_range {
                    let found = keys(&mut transaction, &Scan::default());
                    assert_eq!(found.len(), if expires_first { 1 } else { 2 });
                } else {
                    assert_eq!(transaction.get("k").unwrap().is_none(), expires_first);
                }
                bench.clock.pass(20_000);
                if is_swept {
                    let end = store.status().partitions[0].end;
                    while store.step().unwrap() {}
                    assert!(store.status().partitions[0].end > end, "no tombstone");
                }
                transaction.put("written", "").unwrap();
                let outcome = transaction.commit(Durability::Local);
                if expires_first {
                    outcome.unwrap();
                } else {
                    assert_eq!(conflict(outcome), "k");
                }
            }
        }
    }
}

#[test]
fn what_was_swept_before_the_first_scan_refuses_nothing_if_it_had_expired() {
    let (bench, store, bucket) = filled(&["a"]);
    let options = PutOptions {
        ttl_ms: Some(10_000),
        ..PutOptions::default()
    };
    bucket.put_with("k", "mortal", &options).unwrap();
    bench.clock.pass(20_000);
    let mut transaction = bucket.transaction().unwrap();
    let end = store.status().partitions[0].end;
    while store.step().unwrap() {}
    assert!(store.status().partitions[0].end > end, "no tombstone");
    assert_eq!(keys(&mut transaction, &Scan::default()), ["a"]);
    transaction.put("written", "").unwrap();
    transaction.commit(Durability::Local).unwrap();
}

#[test]
fn a_deadline_that_the_transaction_itself_gave_refuses_nothing() {
    let (bench, _store, bucket) = filled(&["a"]);
    let mut transaction = bucket.transaction().unwrap();
    let options = PutOptions {
        ttl_ms: Some(10),
        ..PutOptions::default()
    };
    transaction.put_with("k", "mortal", options).unwrap();
    assert_eq!(keys(&mut transaction, &Scan::default()), ["a", "k"]);
    bench.clock.pass(50);
    transaction.commit(Durability::Local).unwrap();
    assert!(
        bucket.get("k").unwrap().is_some(),
        "it counts from the commit"
    );
    bench.clock.pass(10);
    assert_eq!(bucket.get("k").unwrap(), None);
}

#[test]
fn a_transaction_of_a_removed_bucket_is_refused() {
    let (_bench, store, bucket) = filled(&["a"]);
    let mut transaction = bucket.transaction().unwrap();
    keys(&mut transaction, &Scan::default());
    store.remove_bucket("b", true).unwrap();
    store.bucket("b").unwrap().put("a", "").unwrap();
    transaction.put("a", "").unwrap();
    assert_eq!(
        kind(transaction.commit(Durability::Local)),
        ErrorKind::BucketNotFound
    );
    assert_eq!(kind(bucket.transaction()), ErrorKind::BucketNotFound);
}

#[test]
fn a_transaction_without_writes_says_whether_what_it_read_is_still_so() {
    let (_bench, store, bucket) = filled(&["a"]);
    let end = |store: &Store| store.status().partitions[0].end;
    for is_overtaken in [false, true] {
        let mut transaction = bucket.transaction().unwrap();
        keys(&mut transaction, &Scan::default());
        if is_overtaken {
            bucket.put("b", "").unwrap();
        }
        let before = end(&store);
        let outcome = transaction.commit(Durability::Local);
        assert_eq!(outcome.is_err(), is_overtaken);
        assert_eq!(end(&store), before);
    }
}

#[test]
fn more_writes_than_can_be_noted_end_a_transaction_that_has_scanned() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    let other = store.bucket("o").unwrap();
    let key_bytes = limits::KEY_BYTES_MAX;
    let write = |bucket: &Bucket, count: usize| {
        let key = |number: usize| {
            let mut key = vec![b'x'; key_bytes];
            key[8..16].copy_from_slice(&number.to_be_bytes());
            key
        };
        for chunk in (0..count).collect::<Vec<_>>().chunks(500) {
            let put = |batch: Batch, &number: &usize| batch.put(key(number), "");
            let batch = chunk.iter().fold(Batch::new(), put);
            bucket.write(batch, Durability::Buffered).unwrap();
        }
    };
    let begin = || {
        let mut transaction = bucket.transaction().unwrap();
        keys(&mut transaction, &Scan::prefix("a"));
        transaction
    };
    let most = limits::TRANSACTION_NOTES_BYTES_MAX / key_bytes;
    let transaction = begin();
    write(&other, most + 10);
    write(&bucket, most * 9 / 10);
    transaction.commit(Durability::Buffered).unwrap();
    let transaction = begin();
    write(&bucket, most + 10);
    assert_eq!(
        kind(transaction.commit(Durability::Buffered)),
        ErrorKind::Overloaded
    );
    // Who has read single keys alone needs no notes.
    let mut transaction = bucket.transaction().unwrap();
    transaction.get("a").unwrap();
    write(&bucket, most + 10);
    transaction.commit(Durability::Buffered).unwrap();
}

#[test]
fn transfers_between_threads_keep_the_sum_and_every_scan_sees_it() {
    const ACCOUNTS: usize = 6;
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    for account in 0..ACCOUNTS {
        bucket
            .put(format!("{account}"), 100_u64.to_be_bytes())
            .unwrap();
    }
    let amount = |entry: &Entry| u64::from_be_bytes(*entry.value.first_chunk().unwrap());
    let attempts = std::sync::atomic::AtomicUsize::new(0);
    let committed = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (bucket, attempts, committed) = (&bucket, &attempts, &committed);
            scope.spawn(move || {
                let mut random = crate::testing::Random(thread + 9);
                let durability = [Durability::Local, Durability::Buffered][random.below(2)];
                for _ in 0..150 {
                    let (from, to) = (random.below(ACCOUNTS), random.below(ACCOUNTS));
                    let outcome = bucket.transact(durability, |transaction| {
                        attempts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        let rows = transaction.scan(&Scan::default())?;
                        let rows: Vec<_> = rows.collect::<Result<_>>()?;
                        let amounts: Vec<u64> = rows.iter().map(|row| amount(&row.1)).collect();
                        assert_eq!(amounts.iter().sum::<u64>(), 100 * ACCOUNTS as u64);
                        std::thread::yield_now();
                        if from != to && amounts[from] > 0 {
                            let (less, more) = (amounts[from] - 1, amounts[to] + 1);
                            transaction.put(&rows[from].0, less.to_be_bytes())?;
                            transaction.put(&rows[to].0, more.to_be_bytes())?;
                        }
                        Ok(())
                    });
                    match outcome {
                        Ok(_) => drop(committed.fetch_add(1, std::sync::atomic::Ordering::Relaxed)),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::VersionMismatch),
                    }
                }
            });
        }
    });
    let sum: u64 = bucket
        .scan(Scan::default())
        .unwrap()
        .map(|row| amount(&row.unwrap().1))
        .sum();
    assert_eq!(sum, 100 * ACCOUNTS as u64);
    let committed = committed.into_inner();
    assert!(committed > 300, "{committed}");
    assert!(
        attempts.into_inner() > committed,
        "no transaction came between"
    );
}
