use super::*;

fn enter(state: &mut IndexState, id: u32, name: &str, created: u64, dropped: Option<u64>) {
    *state.met(BucketId(id)) = BucketRow {
        id: BucketId(id),
        creation: Some(creation(name, created)),
        dropped,
        written: created + 5,
        keys: 3,
        bytes: 1 << 40,
    };
}

fn creation(name: &str, version: u64) -> Creation {
    Creation {
        name: BucketName::new(name).unwrap(),
        options: BucketOptions {
            history_ms: Some(7),
            ..BucketOptions::default()
        },
        version,
        time_ms: 9,
    }
}

fn state() -> IndexState {
    let mut state = IndexState {
        last_version: 1 << 50,
        newest_time_ms: 1_795_507_200_000,
        ..IndexState::default()
    };
    enter(&mut state, 1, "a", 4096, Some(5000));
    enter(&mut state, 2, "b", 4200, None);
    enter(&mut state, 5, "a", 6000, None);
    state.met(BucketId(4)).dropped = Some(5500);
    state.floor = 77;
    state.add_segment(SegmentRow {
        base: 4096,
        live_bytes: 1 << 25,
        ..SegmentRow::default()
    });
    state
}

#[test]
fn what_is_encoded_is_decoded_and_what_is_cut_is_not() {
    let state = state();
    let bytes = state.encode();
    assert_eq!(IndexState::decode(&bytes), Some(state));
    for length in 0..bytes.len() {
        assert_eq!(IndexState::decode(&bytes[..length]), None, "{length}");
    }
}

#[test]
fn a_bucket_above_the_greatest_id_is_no_state() {
    let mut state = state();
    state.last_bucket = 4;
    assert_eq!(IndexState::decode(&state.encode()), None);
}

#[test]
fn a_creation_record_that_stands_anywhere_else_is_no_state() {
    let mut bytes = state().encode();
    let (tag, place) = (3, 0);
    let at = bytes.windows(2).position(|pair| pair == [tag, place]);
    bytes[at.unwrap() + 1] = 1;
    assert_eq!(IndexState::decode(&bytes), None);
}

#[test]
fn a_row_is_the_same_whatever_is_met_of_its_bucket_first() {
    type Met = fn(&mut BucketRow);
    let met: [Met; 4] = [
        |row| row.create(creation("a", 4096)),
        |row| row.dropped = Some(6000),
        |row| row.written = row.written.max(5000),
        // Moved once more.
        |row| row.create(creation("a", 4096)),
    ];
    let mut found = Vec::new();
    for first in 0..met.len() {
        let mut state = IndexState::default();
        for at in 0..met.len() {
            met[(first + at) % met.len()](state.met(BucketId(7)));
            let decoded = IndexState::decode(&state.encode());
            assert_eq!(decoded.as_ref(), Some(&state));
        }
        assert_eq!(state.last_bucket, 7);
        found.push(state.bucket(BucketId(7)).cloned());
    }
    let expected = BucketRow {
        id: BucketId(7),
        creation: Some(creation("a", 4096)),
        dropped: Some(6000),
        written: 5000,
        keys: 0,
        bytes: 0,
    };
    assert!(found.iter().all(|row| row.as_ref() == Some(&expected)));
}
