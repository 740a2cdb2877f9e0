use super::*;

fn filled(store: &Store) -> Bucket {
    let bucket = store.bucket("b").unwrap();
    for key in ["a", "a/1", "a/2", "a/3", "a0", "b/1", "\u{ff}"] {
        bucket.put(key, key).unwrap();
    }
    bucket
}

fn keys(bucket: &Bucket, scan: Scan) -> Vec<String> {
    let entries = bucket.scan(scan).unwrap();
    entries
        .map(|found| String::from_utf8(found.unwrap().0.to_vec()).unwrap())
        .collect()
}

#[test]
fn scans_go_in_byte_order_within_their_bounds_both_ways() {
    let store = Store::memory();
    let bucket = filled(&store);
    let all = ["a", "a/1", "a/2", "a/3", "a0", "b/1", "\u{ff}"];
    assert_eq!(keys(&bucket, Scan::default()), all);
    let mut reversed = all;
    reversed.reverse();
    assert_eq!(
        keys(
            &bucket,
            Scan {
                reverse: true,
                ..Scan::default()
            }
        ),
        reversed
    );
    assert_eq!(keys(&bucket, Scan::prefix("a/")), ["a/1", "a/2", "a/3"]);
    let scan = Scan {
        start: Some("a/2".into()),
        end: Some("b".into()),
        ..Scan::default()
    };
    assert_eq!(keys(&bucket, scan.clone()), ["a/2", "a/3", "a0"]);
    let scan = Scan {
        reverse: true,
        limit: Some(2),
        ..scan
    };
    assert_eq!(keys(&bucket, scan), ["a0", "a/3"]);
    for nothing in [
        Scan {
            limit: Some(0),
            ..Scan::default()
        },
        Scan {
            start: Some("b".into()),
            end: Some("a".into()),
            ..Scan::default()
        },
        Scan {
            start: Some("b".into()),
            end: Some("b".into()),
            ..Scan::default()
        },
        Scan {
            end: Some(vec![]),
            ..Scan::default()
        },
        Scan::prefix("c"),
    ] {
        assert!(keys(&bucket, nothing.clone()).is_empty(), "{nothing:?}");
    }
}

#[test]
fn a_scan_of_keys_only_has_versions_and_sizes_but_no_values() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    let attributes = Attributes::new().with("n", "v").unwrap();
    let options = PutOptions {
        attributes,
        ttl_ms: Some(1_000_000),
    };
    let version = bucket.put_with("k", "value", &options).unwrap();
    let scan = Scan {
        keys_only: true,
        ..Scan::default()
    };
    let (key, entry) = bucket.scan(scan).unwrap().next().unwrap().unwrap();
    assert_eq!(
        (&key[..], entry.version, entry.size),
        (&b"k"[..], version, 5)
    );
    assert!(entry.value.is_empty() && entry.attributes.is_empty() && entry.expires_ms.is_some());
}

#[test]
fn a_scan_shows_one_version_whatever_is_written_meanwhile() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    let key = |number: u32| format!("{number:04}");
    for number in 0..500 {
        bucket.put(key(number), "before").unwrap();
    }
    let version = bucket.version();
    let mut entries = bucket.scan(Scan::default()).unwrap();
    assert_eq!(entries.version(), version);
    for number in 0..500 {
        let (found, entry) = entries.next().unwrap().unwrap();
        assert_eq!(
            (&found[..], &entry.value[..]),
            (key(number).as_bytes(), &b"before"[..])
        );
        let other = 499 - number;
        let batch = Batch::new().put(key(1_000 + number), "new");
        let batch = if number % 2 == 0 {
            batch.put(key(other), "after")
        } else {
            batch.delete(key(other))
        };
        bucket.write(batch, Durability::Buffered).unwrap();
    }
    assert!(entries.next().is_none() && entries.next().is_none());
    assert_eq!(bucket.scan(Scan::default()).unwrap().count(), 250 + 500);
}

#[test]
fn chunks_end_anywhere_and_lose_nothing() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    for count in [63, 64, 65, 128, 129] {
        while bucket.info().unwrap().keys < count {
            let number = bucket.info().unwrap().keys;
            bucket
                .write(
                    Batch::new().put(number.to_be_bytes(), ""),
                    Durability::Buffered,
                )
                .unwrap();
        }
        for reverse in [false, true] {
            let scan = Scan {
                reverse,
                ..Scan::default()
            };
            assert_eq!(bucket.scan(scan).unwrap().count() as u64, count);
        }
        let scan = Scan {
            limit: Some(64),
            ..Scan::default()
        };
        assert_eq!(bucket.scan(scan).unwrap().count() as u64, count.min(64));
    }
}

#[test]
fn a_scans_version_is_a_batchs_and_covers_what_it_shows() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let first = bucket.put("a", "1").unwrap();
    let pending = bucket
        .submit(Batch::new().put("b", "2"), Durability::Local)
        .unwrap();
    let scan = bucket.scan(Scan::default()).unwrap();
    assert_eq!(scan.version(), first);
    let second = pending.wait().unwrap().version;
    assert_eq!(scan.version(), first);
    assert_eq!(scan.count(), 1);
    assert_eq!(bucket.scan(Scan::default()).unwrap().version(), second);
}

#[test]
fn a_scan_begun_again_shows_what_the_first_one_shows() {
    let store = Store::memory();
    let bucket = filled(&store);
    let mut first = bucket.scan(Scan::default()).unwrap();
    first.next().unwrap().unwrap();
    bucket.delete("a").unwrap();
    bucket.put("a/4", "new").unwrap();
    let again = first.again(&Scan::prefix("a"));
    assert_eq!(again.version(), first.version());
    drop(first);
    let seen: Vec<_> = again.map(|found| found.unwrap().0).collect();
    assert_eq!(seen, ["a", "a/1", "a/2", "a/3", "a0"]);
}

/// A record that does not verify ends a scan where it stands; it is never passed over.
#[test]
fn a_damaged_record_of_a_run_ends_a_scan_and_is_not_skipped() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let name = |nth: usize| format!("{nth:04}");
    for nth in 0..400 {
        bucket.put(name(nth), [b'v'; 300]).unwrap();
    }
    while store.step().unwrap() {}
    let levels = &store.0.levels()[0];
    assert!(!levels.runs.is_empty(), "what is damaged is told by a run");
    let segment = "/store/p0000/0000000000000001.seg";
    bench
        .disk
        .flip_bit(segment, bench.disk.length(segment) / 2, 3);

    let broken = |scan: Scan| {
        let mut given = 0;
        for found in bucket.scan(scan.clone()).unwrap() {
            match found {
                Ok((key, _)) => {
                    let nth = if scan.reverse { 399 - given } else { given };
                    assert_eq!(key, name(nth), "none is left out");
                    given += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                    return given;
                }
            }
        }
        panic!("the scan passed over the damage");
    };
    let upwards = broken(Scan::default());
    let downwards = broken(Scan {
        reverse: true,
        ..Scan::default()
    });
    assert!(upwards > 50 && downwards > 200);
    // But for the keys beside it, of which a better version might stand there.
    assert!((397..400).contains(&(upwards + downwards)));
    let keys_only = Scan {
        keys_only: true,
        ..Scan::default()
    };
    assert!(broken(keys_only) <= upwards);
}

#[test]
fn a_scan_of_a_run_shows_what_stands_beside_its_values() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let beside = PutOptions {
        attributes: Attributes::default().with("color", "red").unwrap(),
        ..PutOptions::default()
    };
    bucket.put_with("a", "with", &beside).unwrap();
    bucket.put("b", "without").unwrap();
    bucket.put_with("c", "with", &beside).unwrap();
    store.0.log.partitions()[0].seal().unwrap();
    bucket.put("d", "in a memtable").unwrap();
    while store.step().unwrap() {}
    assert_eq!(store.0.levels()[0].runs.len(), 1, "it is not merged");
    for reverse in [false, true] {
        let scan = Scan {
            reverse,
            ..Scan::default()
        };
        let rows = bucket.scan(scan).unwrap().map(|row| row.unwrap());
        let mut rows: Vec<_> = rows
            .map(|(key, entry)| {
                let color = entry.attributes.get_str("color").map(str::to_owned);
                (key, entry.value, color)
            })
            .collect();
        if reverse {
            rows.reverse();
        }
        let row = |key: &str, value: &str, color: Option<&str>| {
            let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
            (bytes(key), bytes(value), color.map(str::to_owned))
        };
        let expected = [
            row("a", "with", Some("red")),
            row("b", "without", None),
            row("c", "with", Some("red")),
            row("d", "in a memtable", None),
        ];
        assert_eq!(rows, expected, "reverse: {reverse}");
    }
}
