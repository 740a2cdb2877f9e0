use super::*;

#[test]
fn what_is_put_is_read_with_its_version_and_attributes() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    let attributes = Attributes::new()
        .with(Attributes::CONTENT_TYPE, "text/plain")
        .unwrap();
    let options = PutOptions {
        attributes: attributes.clone(),
        ..Default::default()
    };
    let first = bucket.put_with("k", "one", &options).unwrap();
    let entry = bucket.get("k").unwrap().unwrap();
    assert_eq!(
        (entry.version, &entry.value[..], entry.size),
        (first, &b"one"[..], 3)
    );
    assert_eq!((&entry.attributes, entry.expires_ms), (&attributes, None));

    let second = bucket.put("k", "").unwrap();
    assert!(second > first && second.is_valid());
    let entry = bucket.get("k").unwrap().unwrap();
    assert_eq!((entry.version, &entry.value[..]), (second, &b""[..]));
    assert!(
        entry.attributes.is_empty(),
        "a put replaces the attributes whole"
    );
    assert_eq!(bucket.get("other").unwrap(), None);
}

#[test]
fn a_deleted_key_is_absent_and_deleting_it_again_writes_nothing() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    bucket.put("k", "v").unwrap();
    let deleted = bucket.delete("k").unwrap();
    assert!(deleted.existed);
    assert_eq!(bucket.get("k").unwrap(), None);
    let end = store.status().partitions[0].end;
    let again = bucket.delete("k").unwrap();
    assert_eq!(
        again,
        Deleted {
            version: deleted.version,
            existed: false
        }
    );
    assert_eq!(store.status().partitions[0].end, end);
    assert_eq!(bucket.version(), deleted.version);
}

#[test]
fn values_of_every_size_come_back_whole_also_from_the_next_open() {
    let bench = Bench::on(SimulatedDisk::new(1));
    let bench = Bench {
        options: bench.options.clone().segment_bytes(16 << 20),
        ..bench
    };
    let sizes = [
        0,
        1,
        4_095,
        16 << 10,
        (16 << 10) + 1,
        1 << 20,
        limits::VALUE_RECORD_BYTES_MAX,
    ];
    let bytes = |size: usize| {
        (0..size)
            .map(|at| (at % 251).to_le_bytes()[0])
            .collect::<Vec<_>>()
    };
    for reopened in [false, true] {
        let store = bench.open();
        let bucket = store.bucket("b").unwrap();
        for size in sizes {
            let key = size.to_string();
            if !reopened {
                bucket.put(&key, bytes(size)).unwrap();
            }
            let entry = bucket.get(&key).unwrap().unwrap();
            assert!(entry.value == bytes(size), "{size} bytes");
        }
        store.close().unwrap();
    }
}

#[test]
fn several_keys_are_read_at_one_version_in_the_order_asked_for() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    let version = bucket.write(Batch::new().put("a", "1").put("b", "2"), Durability::Local);
    let version = version.unwrap().version;
    let found = bucket.multi_get(&["b", "x", "a", "b"]).unwrap();
    let found = found.iter().map(|entry| {
        entry
            .as_ref()
            .map(|entry| (&entry.value[..], entry.version))
    });
    let (one, two) = (Some((&b"1"[..], version)), Some((&b"2"[..], version)));
    assert_eq!(found.collect::<Vec<_>>(), [two, None, one, two]);
    assert_eq!(bucket.multi_get::<&str>(&[]).unwrap(), []);
    let many = vec!["a"; limits::MULTI_GET_KEYS_MAX + 1];
    assert_eq!(
        bucket.multi_get(&many[1..]).unwrap().len(),
        limits::MULTI_GET_KEYS_MAX
    );
    assert_eq!(kind(bucket.multi_get(&many)), ErrorKind::BatchTooLarge);
}

#[test]
fn keys_outside_their_limits_are_refused_by_every_call() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    let long = vec![b'k'; limits::KEY_BYTES_MAX + 1];
    for (key, expected) in [
        (&b""[..], ErrorKind::InvalidArgument),
        (&long[..], ErrorKind::KeyTooLarge),
    ] {
        assert_eq!(kind(bucket.get(key)), expected);
        assert_eq!(kind(bucket.multi_get(&[key])), expected);
        assert_eq!(kind(bucket.put(key, "")), expected);
        assert_eq!(kind(bucket.delete(key)), expected);
        assert_eq!(
            kind(bucket.write(Batch::new().put(key, ""), Durability::Local)),
            expected
        );
    }
    let key = &long[1..];
    bucket.put(key, "v").unwrap();
    assert_eq!(bucket.get(key).unwrap().unwrap().size, 1);
    let value = vec![0; limits::VALUE_RECORD_BYTES_MAX + 1];
    assert_eq!(kind(bucket.put("k", value)), ErrorKind::ValueTooLarge);
}

#[test]
fn keys_of_any_bytes_are_kept_apart() {
    let store = Store::memory();
    let bucket = store.bucket("b").unwrap();
    let keys: [&[u8]; 7] = [
        b"\0",
        b"\0\0",
        b"a",
        b"a\0",
        b"\xff",
        b"\xff\xfe",
        "\u{e4}".as_bytes(),
    ];
    for key in keys {
        bucket.put(key, key).unwrap();
    }
    for key in keys {
        assert_eq!(bucket.get(key).unwrap().unwrap().value, key);
    }
    assert_eq!(bucket.info().unwrap().keys, 7);
}

#[test]
fn the_digest_depends_on_the_state_and_on_nothing_else() {
    let digest = |changes: &[(&str, Option<&str>)]| {
        let bench = Bench::new(1);
        let store = bench.open();
        let bucket = store.bucket("b").unwrap();
        for (key, value) in changes {
            match value {
                Some(value) => drop(bucket.put(key, value).unwrap()),
                None => drop(bucket.delete(key).unwrap()),
            }
        }
        let digest = store.state_digest().unwrap();
        bench.clock.pass(5_000);
        store.close().unwrap();
        drop((bucket, store));
        assert_eq!(
            bench.open().state_digest().unwrap(),
            digest,
            "replay gives the same state"
        );
        digest
    };
    let base = digest(&[("a", Some("1")), ("b", Some("2"))]);
    assert_eq!(base, digest(&[("a", Some("1")), ("b", Some("2"))]));
    assert_ne!(base, digest(&[("a", Some("1"))]));
    assert_ne!(
        base,
        digest(&[("a", Some("1")), ("b", Some("3"))]),
        "a value"
    );
    assert_ne!(base, digest(&[("a", Some("1")), ("c", Some("2"))]), "a key");
    assert_ne!(
        base,
        digest(&[("b", Some("2")), ("a", Some("1"))]),
        "versions"
    );
    assert_eq!(
        digest(&[("a", Some("1")), ("x", Some("1")), ("x", None)]),
        digest(&[("a", Some("1")), ("y", Some("2")), ("y", None)]),
        "what is gone leaves no trace"
    );
}

#[test]
fn the_digest_of_a_known_state_is_that_of_the_fixture() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("fixture").unwrap();
    let attributes = Attributes::new().with("a", "1").unwrap();
    bucket
        .put_with(
            "k",
            "v",
            &PutOptions {
                ttl_ms: Some(1),
                attributes,
            },
        )
        .unwrap();
    store.bucket("empty").unwrap();
    assert_eq!(
        store.state_digest().unwrap().to_string(),
        include_str!("digest.hex").trim()
    );
}

#[test]
fn a_record_that_is_not_its_keys_is_corruption_and_never_data() {
    let bench = Bench::new(3);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    bucket.put("k", "here stands a value").unwrap();
    let path = "store/p0000/0000000000000001.seg";
    let bytes = bench.disk.read(path);
    let place = bytes
        .windows(5)
        .position(|window| window == b"value")
        .unwrap();
    bench.disk.flip_bit(path, place as u64, 0);
    assert_eq!(kind(bucket.get("k")), ErrorKind::Corrupt);
    assert_eq!(
        kind(bucket.scan(Scan::default()).unwrap().next().unwrap()),
        ErrorKind::Corrupt
    );
    assert_eq!(kind(store.state_digest()), ErrorKind::Corrupt);
    bench.disk.flip_bit(path, place as u64, 0);
    assert_eq!(value(&bucket, "k").unwrap(), "here stands a value");
}

#[test]
fn the_past_is_read_as_it_was_and_what_is_not_kept_is_told() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let first = bucket.put("k", "1").unwrap();
    bucket.put("other", "x").unwrap();
    let second = bucket.put("k", "2").unwrap();
    bucket.delete("k").unwrap();
    let at = |version: Version| bucket.at(version).unwrap();
    let get = |version| at(version).get("k").unwrap().map(|entry| entry.value);
    assert_eq!(get(first).unwrap(), "1");
    assert_eq!(get(second).unwrap(), "2");
    assert_eq!(get(bucket.version()), None);
    // Any number means the newest batch at or below it.
    let between = Version::new(second.get() - 1);
    assert_eq!(get(between).unwrap(), "1");
    assert!(at(between).version() < second);
    assert_eq!(at(first).scan(&Scan::default()).count(), 1);
    let above = Version::new(bucket.version().get() + 1);
    assert_eq!(kind(bucket.at(above)), ErrorKind::Compacted);
    let before = Version::new(1);
    let refused = bucket.at(before).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::BucketNotFound);
    let says = "there was no bucket \"b\" at version 1 yet";
    assert!(refused.to_string().contains(says), "{refused}");
}

#[test]
fn the_past_judges_deadlines_by_its_own_time() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let mortal = PutOptions {
        ttl_ms: Some(1_000),
        ..PutOptions::default()
    };
    let version = bucket.put_with("k", "v", &mortal).unwrap();
    bench.clock.pass(5_000);
    let later = bucket.put("other", "v").unwrap();
    assert!(bucket.get("k").unwrap().is_none());
    assert!(bucket.at(version).unwrap().get("k").unwrap().is_some());
    assert!(bucket.at(later).unwrap().get("k").unwrap().is_none());
}

#[test]
fn a_verification_counts_what_is_whole_and_names_what_is_not() {
    let bench = Bench::new(1);
    let options = bench.options.clone().merge_entries(1);
    let bench = Bench { options, ..bench };
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    for number in 0..40_u32 {
        bucket.put(number.to_be_bytes(), vec![1; 6_000]).unwrap();
        while store.step().unwrap() {}
    }
    let verified = store.verify().unwrap();
    assert!(verified.damaged.is_empty(), "{verified:?}");
    assert!(verified.runs > 2 && verified.entries > 20 && verified.records == 41);
    let run = bench
        .disk
        .paths()
        .into_iter()
        .find(|path| path.extension().is_some_and(|suffix| suffix == "run"));
    let run = run.unwrap();
    bench.disk.flip_bit(&run, bench.disk.length(&run) - 100, 0);
    let verified = store.verify().unwrap();
    assert_eq!(verified.damaged.len(), 1, "{verified:?}");
    let segment = run.with_extension("seg");
    bench.disk.flip_bit(&segment, 9_000, 3);
    assert_eq!(kind(store.verify()), ErrorKind::Corrupt);
}
