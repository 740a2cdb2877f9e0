//! Records as a fuzz target: a payload that decodes is byte for byte what the encoder makes of the
//! record, so there is one encoding of each.

use super::*;
use crate::fuzzing::Target;

pub(crate) const TARGET: Target = Target {
    name: "kv_record",
    check,
    seeds,
};

fn check(bytes: &[u8]) {
    if let Ok(record) = Record::decode(bytes) {
        let mut again = Vec::new();
        record.encode(&mut again);
        assert_eq!(again, bytes);
        assert_eq!(Record::decode(&again), Ok(record));
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let attributes = Attributes::new()
        .with(Attributes::CONTENT_TYPE, "text/plain")
        .and_then(|attributes| attributes.with("x", [0, 255]))
        .expect("short");
    let put = Put {
        key: b"users/alice",
        attributes: &[],
        expires_ms: 0,
        value: b"value",
    };
    let long = [7; 200];
    let bodies = [
        Body::Put(put),
        Body::Put(Put {
            attributes: attributes.block(),
            expires_ms: 1_795_507_200_000,
            ..put
        }),
        Body::Put(Put {
            key: &long,
            value: &[],
            ..put
        }),
        Body::Delete {
            key: b"k",
            expired: true,
        },
        Body::BucketCreated {
            name: BucketName::new("users-1.old_x").expect("a name"),
            options: BucketOptions {
                history_ms: Some(86_400_000),
                history_bytes: Some(1 << 40),
                durability: Durability::Buffered,
            },
        },
        Body::BucketDropped,
    ];
    let moved = Record {
        origin: Origin::Moved(Moved {
            version: 1 << 30,
            time_ms: 1_795_507_200_000,
            superseded: true,
        }),
        bucket: BucketId(1),
        body: Body::Put(put),
    };
    let floor = Record {
        origin: Origin::Here { place: 24 },
        bucket: BucketId(0),
        body: Body::HistoryFloor { version: 1 << 40 },
    };
    let lone = [moved, floor].map(|record| {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        bytes
    });
    (1..)
        .zip(bodies)
        .map(|(number, body)| {
            let record = Record {
                origin: Origin::Here {
                    place: 24 << (3 * number),
                },
                bucket: BucketId(number << number),
                body,
            };
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            bytes
        })
        .chain(lone)
        .collect()
}
