use super::*;

/// One record of each shape, as its bytes stand in `records.hex`.
fn samples() -> Vec<(&'static str, Record<'static>)> {
    let record = |place, bucket, body| Record {
        origin: Origin::Here { place },
        bucket: BucketId(bucket),
        body,
    };
    let moved = |superseded, bucket, body| Record {
        origin: Origin::Moved(Moved {
            version: 4_096,
            time_ms: 1_795_507_200_000,
            superseded,
        }),
        bucket: BucketId(bucket),
        body,
    };
    let put = |attributes, expires_ms, value| {
        Body::Put(Put {
            key: b"key",
            attributes,
            expires_ms,
            value,
        })
    };
    let large = |attributes, expires_ms| {
        Body::LargePut(LargePut {
            key: b"key",
            attributes,
            expires_ms,
            large: large(VALUE_BYTES_MAX),
        })
    };
    let delete = |expired| Body::Delete {
        key: b"key",
        expired,
    };
    let created = |name, options| Body::BucketCreated {
        name: BucketName::new(name).unwrap(),
        options,
    };
    let options = BucketOptions {
        history_ms: Some(3_600_000),
        history_bytes: Some(1),
        durability: Durability::Buffered,
    };
    vec![
        ("put", record(24, 1, put(b"", 0, b"value"))),
        ("put, empty value", record(300, 1, put(b"", 0, b""))),
        (
            "put, expiry",
            record(24, 200, put(b"", 1_795_507_200_000, b"value")),
        ),
        (
            "put, attributes",
            record(24, 1, put(b"\x01a\x01\x001", 0, b"value")),
        ),
        (
            "put, both",
            record(24, u32::MAX, put(b"\x01a\x01\x001", 1, b"value")),
        ),
        (
            "put, a piece",
            record(
                24,
                (1 << 31) + 1,
                Body::Put(Put {
                    key: b"\0\0\0\0\0\0\x01\x02\0\0\0\x03key",
                    attributes: b"",
                    expires_ms: 0,
                    value: b"piece",
                }),
            ),
        ),
        ("large put", record(24, 1, large(b"", 0))),
        (
            "large put, both",
            record(24, 1, large(b"\x01a\x01\x001", 1_795_507_200_000)),
        ),
        ("delete", record(70_000, 1, delete(false))),
        ("delete, expired", record(24, 1, delete(true))),
        (
            "bucket created",
            record(24, 1, created("users", BucketOptions::default())),
        ),
        (
            "bucket created, options",
            record(24, 2, created("logs", options)),
        ),
        ("bucket dropped", record(24, 2, Body::BucketDropped)),
        (
            "history floor",
            record(24, 0, Body::HistoryFloor { version: 70_000 }),
        ),
        ("moved put", moved(false, 1, put(b"", 0, b"value"))),
        (
            "moved and superseded put",
            moved(true, 1, put(b"", 0, b"value")),
        ),
        (
            "moved and superseded delete",
            moved(
                true,
                1,
                Body::Delete {
                    key: b"key",
                    expired: false,
                },
            ),
        ),
        ("moved bucket", moved(false, 2, Body::BucketDropped)),
    ]
}

fn large(size: u64) -> Large {
    Large {
        size,
        upload: 258,
        piece_bytes: 65_536,
        hash: [0xab; 32],
    }
}

#[test]
fn the_bytes_of_every_record_are_those_of_the_fixture() {
    let mut text = String::new();
    for (name, record) in samples() {
        let hex: String = encoded(&record)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        text.push_str(&format!("{name}: {hex}\n"));
    }
    assert_eq!(
        text,
        include_str!("records.hex"),
        "the format changed; see STYLE on fixtures"
    );
}

#[test]
fn what_is_encoded_is_decoded() {
    for (name, record) in samples() {
        assert_eq!(
            Record::decode(&encoded(&record)).as_ref(),
            Ok(&record),
            "{name}"
        );
    }
}

#[test]
fn keys_and_values_are_taken_up_to_their_limits_and_not_past_them() {
    let key = vec![7; KEY_BYTES_MAX];
    let value = vec![9; VALUE_RECORD_BYTES_MAX];
    let put = Put {
        key: &key,
        attributes: &[],
        expires_ms: VERSION_END - 1,
        value: &value,
    };
    let record = Record {
        origin: Origin::Here { place: u32::MAX },
        bucket: BucketId(1),
        body: Body::Put(put),
    };
    let mut bytes = encoded(&record);
    assert_eq!(Record::decode(&bytes).as_ref(), Ok(&record));
    bytes.push(0);
    assert_eq!(
        Record::decode(&bytes),
        Err(Malformed("a value over its limit"))
    );

    let mut delete = vec![DELETE, 24, 1];
    assert!(Record::decode(&delete).is_err(), "an empty key");
    delete.extend_from_slice(&key);
    assert!(Record::decode(&delete).is_ok());
    delete.push(0);
    assert!(Record::decode(&delete).is_err(), "a key over its limit");
}

#[test]
fn keys_of_pieces_are_as_much_longer_as_what_stands_before_the_owners() {
    let key = vec![7; KEY_BYTES_MAX + PIECE_KEY_BYTES];
    let body = Body::Delete {
        key: &key,
        expired: false,
    };
    let record = Record {
        origin: Origin::Here { place: 24 },
        bucket: BucketId(1).pieces(),
        body,
    };
    let mut bytes = encoded(&record);
    assert_eq!(Record::decode(&bytes).as_ref(), Ok(&record));
    bytes.push(0);
    assert!(Record::decode(&bytes).is_err());
}

#[test]
fn large_puts_are_taken_up_to_their_limits_and_not_past_them() {
    let check = |change: &dyn Fn(&mut Large)| {
        let mut large = large(VALUE_BYTES_MAX);
        change(&mut large);
        large.check().is_ok()
    };
    assert!(check(&|_| {}));
    assert!(!check(&|large| large.size += 1));
    assert!(!check(&|large| large.piece_bytes = 0));
    assert!(!check(&|large| large.piece_bytes = 65_537));
    assert!(
        !check(&|large| large.piece_bytes = 1_024),
        "more pieces than have a number"
    );
    assert!(!check(&|large| large.upload = 0));
    assert!(check(&|large| large.upload = VERSION_END - 1));
    assert!(!check(&|large| large.upload = VERSION_END));

    let body = Body::LargePut(LargePut {
        key: b"k",
        attributes: b"",
        expires_ms: 0,
        large: large(1 << 30),
    });
    let record = Record {
        origin: Origin::Here { place: 24 },
        bucket: BucketId(1),
        body,
    };
    let mut bytes = encoded(&record);
    bytes.push(0);
    assert!(Record::decode(&bytes).is_err(), "a tail");
    bytes.truncate(bytes.len() - 2);
    assert!(Record::decode(&bytes).is_err(), "a hash that is cut short");
}

#[test]
fn nothing_but_pieces_stands_in_a_bucket_of_pieces() {
    let pieces = [0x81, 0x80, 0x80, 0x80, 0x08];
    for (kind, taken) in [(PUT, true), (DELETE, true), (BUCKET_DROPPED, false)] {
        let body: &[u8] = match kind {
            PUT => &[1, b'k'],
            DELETE => b"k",
            _ => &[],
        };
        let bytes = [&[kind, 24][..], &pieces, body].concat();
        assert_eq!(Record::decode(&bytes).is_ok(), taken, "kind {kind}");
    }
    let bucket_0 = [&[DELETE, 24][..], &[0x80, 0x80, 0x80, 0x80, 0x08], b"k"].concat();
    assert!(Record::decode(&bucket_0).is_err());
}

#[test]
fn small_puts_cost_five_bytes_beside_key_and_value() {
    let put = Put {
        key: &[1; 24],
        attributes: &[],
        expires_ms: 0,
        value: &[2; 100],
    };
    for (place, overhead) in [(24, 4), (16_383, 5), (2_000_000, 6)] {
        let record = Record {
            origin: Origin::Here { place },
            bucket: BucketId(1),
            body: Body::Put(put),
        };
        assert_eq!(encoded(&record).len(), 124 + overhead);
    }
}

#[test]
fn no_bytes_make_the_decoder_panic_and_what_it_takes_it_gives_back() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut taken = 0;
    for (_, record) in samples() {
        let bytes = encoded(&record);
        for cut in 0..bytes.len() {
            check(&bytes[..cut], &mut taken);
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            check(&flipped, &mut taken);
        }
        for _ in 0..2_000 {
            let mut changed = bytes.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(changed.len());
                changed[at] = random.next().to_le_bytes()[3];
            }
            changed.truncate(random.below(changed.len() + 1));
            check(&changed, &mut taken);
        }
    }
    assert!(
        taken > 1_000,
        "only {taken} of the changed records were still records"
    );
}

#[test]
fn zeroed_bytes_are_never_a_record() {
    for length in 0..64 {
        assert!(Record::decode(&vec![0; length]).is_err());
    }
}

#[test]
fn reserved_flags_and_unknown_kinds_and_options_are_refused() {
    for tag in [0x00, 0x06, 0x0f, 0x41, 0x81, 0x12, 0x32, 0x82, 0x13, 0x24] {
        assert!(
            Record::decode(&[tag, 24, 1, 1, b'k']).is_err(),
            "tag {tag:#x}"
        );
    }
    let created = [BUCKET_CREATED, 24, 1, 1, b'b'];
    assert!(Record::decode(&created).is_ok());
    for options in [&[4, 1][..], &[3, 1], &[2, 1, 1, 1], &[1, 1, 1, 1], &[1]] {
        assert!(
            Record::decode(&[&created, options].concat()).is_err(),
            "options {options:?}"
        );
    }
    assert!(
        Record::decode(&[BUCKET_DROPPED, 24, 1, 0]).is_err(),
        "a tail"
    );
    assert!(
        Record::decode(&[BUCKET_DROPPED, 24, 0]).is_err(),
        "bucket 0"
    );
}

fn check(bytes: &[u8], taken: &mut usize) {
    if let Ok(record) = Record::decode(bytes) {
        *taken += 1;
        assert_eq!(encoded(&record), bytes, "two encodings of {record:?}");
    }
}

fn encoded(record: &Record<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}

use crate::testing::Random;
