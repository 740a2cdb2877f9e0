//! The state blob of the merged index as a fuzz target: bytes that decode are what the encoder makes
//! of the state, and each of its buckets is found by its id.

use super::*;
use crate::fuzzing::Target;
use crate::version::Durability;

pub(crate) const TARGET: Target = Target {
    name: "kv_index_state",
    check,
    seeds,
};

fn check(bytes: &[u8]) {
    let Some(state) = IndexState::decode(bytes) else {
        return;
    };
    assert_eq!(state.encode(), bytes);
    for row in &state.buckets {
        assert_eq!(state.bucket(row.id), Some(row));
        assert!(row.id.0 <= state.last_bucket, "the next id is free");
    }
    for row in &state.segments {
        let mut state = state.clone();
        assert_eq!(
            state.segment_of(row.base).map(|found| found.base),
            (row.base < row.end).then_some(row.base)
        );
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut state = IndexState {
        last_version: 1 << 50,
        newest_time_ms: 1_795_507_200_000,
        ..IndexState::default()
    };
    let mut encoded = vec![state.encode()];
    for (id, name, dropped) in [(1, "a", Some(5000)), (2, "users", None), (500, "a", None)] {
        *state.met(BucketId(id)) = BucketRow {
            id: BucketId(id),
            creation: Some(Creation {
                name: BucketName::new(name).expect("a name"),
                options: BucketOptions {
                    history_ms: Some(7),
                    history_bytes: None,
                    durability: Durability::Buffered,
                },
                version: 4096 * u64::from(id),
                time_ms: 9,
            }),
            dropped,
            written: 1 << 40,
            keys: 3,
            bytes: 1 << 33,
        };
        encoded.push(state.encode());
        state.met(BucketId(id + 1)).dropped = dropped;
        encoded.push(state.encode());
    }
    state.add_segment(SegmentRow {
        base: 4_096,
        end: 1 << 26,
        live_bytes: 1 << 25,
        ..SegmentRow::default()
    });
    encoded.push(state.encode());
    encoded
}
