//! What a transaction is by itself; how transactions and others come between one another stands in
//! the tests of the store.

use super::scanned::Scanned;
use crate::limits::*;
use crate::*;

fn bucket() -> Bucket {
    Store::memory().bucket("b").unwrap()
}

fn rows(entries: TransactionEntries) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    entries
        .map(|row| row.unwrap())
        .map(|(key, entry)| (text(&key), text(&entry.value)))
        .collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
    expected.iter().map(owned).collect()
}

fn refusal<T>(result: Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("that should have been refused"),
        Err(error) => error.kind(),
    }
}

#[test]
fn a_transaction_reads_its_own_writes_and_nobody_else_does() {
    let bucket = bucket();
    for key in ["a", "c", "e"] {
        bucket.put(key, "stored").unwrap();
    }
    let mut transaction = bucket.transaction().unwrap();
    transaction.put("b", "own").unwrap();
    transaction.put("c", "own").unwrap();
    transaction.delete("e").unwrap();
    transaction.put("f", "own").unwrap();
    transaction.put("f", "own again").unwrap();
    let own = transaction.get("c").unwrap().unwrap();
    assert_eq!(
        (&own.value[..], own.version),
        (&b"own"[..], Version::ABSENT)
    );
    assert_eq!(transaction.get("e").unwrap(), None);
    let expected = [
        ("a", "stored"),
        ("b", "own"),
        ("c", "own"),
        ("f", "own again"),
    ];
    let mut expected = pairs(&expected);
    assert_eq!(rows(transaction.scan(&Scan::default()).unwrap()), expected);
    let limited = Scan {
        start: Some(b"b".to_vec()),
        limit: Some(2),
        ..Scan::default()
    };
    assert_eq!(rows(transaction.scan(&limited).unwrap()), expected[1..3]);
    let back = Scan {
        reverse: true,
        ..Scan::default()
    };
    let back = rows(transaction.scan(&back).unwrap());
    assert!(back.iter().eq(expected.iter().rev()), "{back:?}");
    assert_eq!(bucket.get("b").unwrap(), None);
    let receipt = transaction.commit(Durability::Local).unwrap();
    assert!(receipt.existed);
    for (key, value) in expected.drain(1..) {
        let entry = bucket.get(&key).unwrap().unwrap();
        assert_eq!(
            (entry.version, &entry.value[..]),
            (receipt.version, value.as_bytes())
        );
    }
    assert_eq!(bucket.get("e").unwrap(), None);
}

#[test]
fn a_limit_counts_rows_and_not_what_own_deletes_hide() {
    let bucket = bucket();
    for number in 0..10 {
        bucket.put(format!("{number}"), "").unwrap();
    }
    let mut transaction = bucket.transaction().unwrap();
    for number in 0..7 {
        transaction.delete(format!("{number}")).unwrap();
    }
    let limited = Scan {
        limit: Some(2),
        ..Scan::default()
    };
    let found = rows(transaction.scan(&limited).unwrap());
    assert_eq!(found, pairs(&[("7", ""), ("8", "")]));
}

#[test]
fn a_scan_shows_own_writes_as_of_its_beginning_and_may_be_written_under() {
    let bucket = bucket();
    for key in ["a", "b", "c"] {
        bucket.put(key, "stored").unwrap();
    }
    let mut transaction = bucket.transaction().unwrap();
    let scan = transaction.scan(&Scan::default()).unwrap();
    let mut seen = 0;
    for row in scan {
        let (key, _) = row.unwrap();
        transaction.delete(&key).unwrap();
        transaction.put([&key[..], b"+"].concat(), "own").unwrap();
        seen += 1;
    }
    assert_eq!(seen, 3);
    transaction.commit(Durability::Local).unwrap();
    let keys = bucket
        .scan(Scan::default())
        .unwrap()
        .map(|row| row.unwrap().0);
    assert!(keys.eq(["a+", "b+", "c+"]));
}

#[test]
fn a_scan_of_keys_only_leaves_own_values_out_as_well() {
    let bucket = bucket();
    let mut transaction = bucket.transaction().unwrap();
    let attributes = Attributes::new().with("n", "v").unwrap();
    let options = PutOptions {
        ttl_ms: Some(60_000),
        attributes: attributes.clone(),
    };
    transaction.put_with("k", "value", options).unwrap();
    let keys_only = Scan {
        keys_only: true,
        ..Scan::default()
    };
    let mut scan = transaction.scan(&keys_only).unwrap();
    let (_, entry) = scan.next().unwrap().unwrap();
    assert_eq!((entry.size, entry.has_value()), (5, false));
    assert_eq!(entry.attributes, Attributes::new());
    assert!(entry.expires_ms.is_some());
    assert!(scan.next().is_none() && scan.next().is_none());
    let whole = transaction.get("k").unwrap().unwrap();
    assert_eq!(whole.attributes, attributes);
    assert!(whole.has_value());
}

#[test]
fn a_write_that_comes_between_the_look_ahead_and_the_place_refuses() {
    let bucket = bucket();
    bucket.put("a", "").unwrap();
    for (written, is_refused) in [("b", true), ("z", false)] {
        let mut transaction = bucket.transaction().unwrap();
        let scan = Scan {
            end: Some(b"m".to_vec()),
            ..Scan::default()
        };
        assert!(!rows(transaction.scan(&scan).unwrap()).is_empty());
        transaction.put("written", "").unwrap();
        let noting = transaction.noting.take();
        let mut scanned = Scanned::new(transaction.version(), &transaction.scans, noting);
        let (keyspace, pin) = (&transaction.keyspace, transaction.view.pin());
        let ahead = scanned.judge_ahead(keyspace, &transaction.bucket, pin);
        assert!(ahead.unwrap().is_none());
        bucket.put(written, "").unwrap();
        let outcome = transaction.sequence(&scanned, Durability::Buffered);
        assert_eq!(outcome.is_err(), is_refused, "{written}");
    }
}

#[test]
fn a_dropped_transaction_has_done_nothing() {
    let bucket = bucket();
    let before = bucket.version();
    let mut transaction = bucket.transaction().unwrap();
    transaction.put("k", "v").unwrap();
    let _ = transaction.scan(&Scan::default()).unwrap().count();
    drop(transaction);
    assert_eq!((bucket.version(), bucket.get("k").unwrap()), (before, None));
}

#[test]
fn a_transaction_reads_so_many_keys_and_ranges_and_no_more() {
    let bucket = bucket();
    let mut transaction = bucket.transaction().unwrap();
    for number in 1..TRANSACTION_READS_MAX {
        assert_eq!(transaction.get(number.to_be_bytes()).unwrap(), None);
    }
    let _ = transaction.scan(&Scan::default()).unwrap();
    assert_eq!(
        refusal(transaction.scan(&Scan::default())),
        ErrorKind::BatchTooLarge
    );
    assert_eq!(refusal(transaction.get("other")), ErrorKind::BatchTooLarge);
    // One that was read, or written, is no further one.
    assert_eq!(transaction.get(1_usize.to_be_bytes()).unwrap(), None);
    transaction.put("other", "own").unwrap();
    assert!(transaction.get("other").unwrap().is_some());
    transaction.commit(Durability::Buffered).unwrap();
}

#[test]
fn a_transaction_reads_keys_of_so_many_bytes_and_no_more() {
    let bucket = bucket();
    let mut transaction = bucket.transaction().unwrap();
    let key = |number: usize| {
        let mut key = vec![0; KEY_BYTES_MAX];
        key[..8].copy_from_slice(&number.to_be_bytes());
        key
    };
    let most = TRANSACTION_READ_BYTES_MAX / KEY_BYTES_MAX;
    for number in 0..most {
        transaction.get(key(number)).unwrap();
    }
    assert_eq!(refusal(transaction.get("k")), ErrorKind::BatchTooLarge);
    assert_eq!(
        refusal(transaction.scan(&Scan::prefix("k"))),
        ErrorKind::BatchTooLarge
    );
    assert!(
        transaction.scan(&Scan::default()).is_ok(),
        "no bounds, no bytes"
    );
}

#[test]
fn a_transaction_writes_what_a_batch_may_hold_and_no_more() {
    let bucket = bucket();
    let mut transaction = bucket.transaction().unwrap();
    for number in 0..BATCH_OPS_MAX {
        transaction.put(number.to_be_bytes(), "").unwrap();
    }
    assert_eq!(refusal(transaction.put("k", "")), ErrorKind::BatchTooLarge);
    transaction.delete(7_usize.to_be_bytes()).unwrap();
    assert!(transaction.commit(Durability::Buffered).is_ok());

    let mut transaction = bucket.transaction().unwrap();
    let value = vec![0; BATCH_BYTES_MAX];
    transaction.put("k", &value).unwrap();
    assert_eq!(refusal(transaction.delete("l")), ErrorKind::BatchTooLarge);
    transaction.put("k", &value[..BATCH_BYTES_MAX - 4]).unwrap();
    transaction.put("l", "xx").unwrap();
    assert_eq!(
        refusal(transaction.put("l", "xxx")),
        ErrorKind::BatchTooLarge
    );
    assert_eq!(transaction.get("l").unwrap().unwrap().value, "xx");
    assert_eq!(refusal(transaction.put("", "")), ErrorKind::InvalidArgument);
    assert_eq!(refusal(transaction.get("")), ErrorKind::InvalidArgument);
    let oversized = vec![0; VALUE_RECORD_BYTES_MAX + 1];
    assert_eq!(
        refusal(transaction.put("m", oversized)),
        ErrorKind::ValueTooLarge
    );
    transaction.commit(Durability::Buffered).unwrap();
}

#[test]
fn transact_gives_up_after_so_many_attempts() {
    let bucket = bucket();
    let mut attempts = 0;
    let outcome = bucket.transact(Durability::Buffered, |transaction| {
        attempts += 1;
        transaction.get("k")?;
        bucket.put("k", "always")?;
        transaction.put("l", "never")
    });
    assert_eq!(refusal(outcome), ErrorKind::VersionMismatch);
    assert_eq!(attempts, TRANSACTION_ATTEMPTS_MAX);
    assert_eq!(bucket.get("l").unwrap(), None);
}

#[test]
fn transact_begins_again_until_nobody_comes_between_and_passes_other_errors_on() {
    let bucket = bucket();
    let mut attempts = 0;
    let (seen, receipt) = bucket
        .transact(Durability::Local, |transaction| {
            attempts += 1;
            let seen = transaction.get("k")?.is_some();
            if attempts == 1 {
                bucket.put("k", "first")?;
            }
            transaction.put("k", "second")?;
            Ok(seen)
        })
        .unwrap();
    assert_eq!((attempts, seen), (2, true));
    let entry = bucket.get("k").unwrap().unwrap();
    assert_eq!(
        (&entry.value[..], entry.version),
        (&b"second"[..], receipt.version)
    );
    let outcome = bucket.transact(Durability::Local, |transaction| transaction.put("", ""));
    assert_eq!(refusal(outcome), ErrorKind::InvalidArgument);
}
