use super::*;

fn request() -> ScanRequest {
    ScanRequest {
        prefix: Some(Bytes::from_static(b"a")),
        start: None,
        end: Some(Bytes::from_static(b"b\xff\x00")),
        reverse: true,
        ..ScanRequest::default()
    }
}

fn part_way() -> Cursor {
    let mut cursor = Cursor::of(&request(), 7).unwrap();
    cursor.version = 1 << 52;
    cursor.last = Some(Bytes::from_static(b"a5"));
    cursor
}

#[test]
fn a_cursor_comes_back_with_its_whole_scan() {
    let cursor = part_way();
    let alone = ScanRequest {
        cursor: Some(cursor.encode()),
        ..ScanRequest::default()
    };
    assert_eq!(Cursor::of(&alone, 7).unwrap(), cursor);
    let repeated = ScanRequest {
        cursor: Some(cursor.encode()),
        ..request()
    };
    assert_eq!(Cursor::of(&repeated, 7).unwrap(), cursor);
}

#[test]
fn a_cursor_of_another_scan_or_bucket_is_refused() {
    let cursor = Some(part_way().encode());
    let other = |change: fn(&mut ScanRequest)| {
        let mut other = ScanRequest {
            cursor: cursor.clone(),
            ..request()
        };
        change(&mut other);
        Cursor::of(&other, 7)
    };
    assert!(other(|_| ()).is_ok());
    assert!(other(|r| r.prefix = Some(Bytes::from_static(b"z"))).is_err());
    assert!(other(|r| r.start = Some(Bytes::from_static(b"z"))).is_err());
    assert!(other(|r| r.end = Some(Bytes::from_static(b"z"))).is_err());
    assert!(other(|r| r.keys_only = true).is_err());
    let same = ScanRequest {
        cursor: cursor.clone(),
        ..request()
    };
    assert!(Cursor::of(&same, 8).is_err());
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_cursor_is_refused() {
    let bytes = decode_key_parameter(&part_way().encode()).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            Cursor::decode(&encode_key_parameter(&flipped)),
            None,
            "bit {bit}"
        );
    }
    for end in 0..bytes.len() {
        assert_eq!(
            Cursor::decode(&encode_key_parameter(&bytes[..end])),
            None,
            "cut at {end}"
        );
    }
    for absurd in ["", "!", "AAAA", &"A".repeat(1 << 20)] {
        assert_eq!(Cursor::decode(absurd), None);
    }
}

#[test]
fn what_remains_begins_beyond_the_last_key() {
    let mut cursor = part_way();
    assert_eq!(cursor.remaining(), (None, Some(Bytes::from_static(b"a5"))));
    cursor.reverse = false;
    let (start, end) = cursor.remaining();
    assert_eq!(start.unwrap(), "a5\0");
    assert_eq!(end, request().end);
}

#[test]
fn bounds_longer_than_a_key_are_refused() {
    let long = |size: usize| ScanRequest {
        prefix: Some(vec![b'a'; size].into()),
        ..ScanRequest::default()
    };
    assert!(Cursor::of(&long(KEY_BYTES_MAX + 1), 1).is_ok());
    assert_eq!(
        *Cursor::of(&long(KEY_BYTES_MAX + 2), 1).unwrap_err().code(),
        Code::KeyTooLarge
    );
    let mut widest = Cursor::of(&long(KEY_BYTES_MAX + 1), 1).unwrap();
    widest.last = Some(vec![b'a'; KEY_BYTES_MAX].into());
    assert!(Cursor::decode(&widest.encode()).is_some());
}

#[test]
fn a_cursor_with_flags_that_nothing_means_is_refused() {
    let whole = decode_key_parameter(&part_way().encode()).unwrap();
    for flag in [0, 32, 64, 128] {
        let mut body = whole[..whole.len() - 4].to_vec();
        body[1] |= flag;
        let sum = fnv1a(&body).to_le_bytes();
        let text = encode_key_parameter(&[&body[..], &sum].concat());
        assert_eq!(Cursor::decode(&text).is_some(), flag == 0, "{flag}");
    }
}

#[test]
fn a_cursor_with_a_bound_that_no_request_may_have_is_refused() {
    for (bound, last, is_taken) in [
        (KEY_BYTES_MAX + 1, KEY_BYTES_MAX, true),
        (KEY_BYTES_MAX + 2, KEY_BYTES_MAX, false),
        (KEY_BYTES_MAX + 1, KEY_BYTES_MAX + 1, false),
    ] {
        let cursor = Cursor {
            end: Some(vec![b'a'; bound].into()),
            last: Some(vec![b'a'; last].into()),
            ..part_way()
        };
        assert_eq!(Cursor::decode(&cursor.encode()).is_some(), is_taken);
    }
}
