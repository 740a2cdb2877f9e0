//! Cursors as a fuzz target: a text that decodes is the one that the encoder makes of the cursor,
//! and the next page's cursor of the same scan decodes as well.

use super::*;
use crate::fuzzing::Target;

pub(crate) const TARGET: Target = Target {
    name: "wire_cursor",
    check,
    seeds,
};

fn check(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        encodes_back(text);
    }
    // With the sum made right, and without the base64 around it.
    let summed = [bytes, &fnv1a(bytes).to_le_bytes()].concat();
    encodes_back(&encode_key_parameter(&summed));
}

fn encodes_back(text: &str) {
    let Some(mut cursor) = Cursor::decode(text) else {
        return;
    };
    assert_eq!(cursor.encode(), text);
    let alone = ScanRequest {
        cursor: Some(text.to_owned()),
        ..ScanRequest::default()
    };
    assert_eq!(
        Cursor::of(&alone, cursor.bucket_id).as_ref().ok(),
        Some(&cursor)
    );
    assert!(Cursor::of(&alone, cursor.bucket_id ^ 1).is_err());
    cursor.last = Some(Bytes::from(vec![7; KEY_BYTES_MAX]));
    let next = Cursor::decode(&cursor.encode());
    assert_eq!(next.as_ref(), Some(&cursor), "the page after");
}

fn seeds() -> Vec<Vec<u8>> {
    let key = |text: &'static [u8]| Some(Bytes::from_static(text));
    let least = Cursor {
        bucket_id: 1,
        version: 1,
        last: key(b"k"),
        ..Cursor::default()
    };
    let full = Cursor {
        bucket_id: 7,
        version: 1 << 52,
        prefix: key(b"a"),
        start: key(b""),
        end: key(b"b\xff\x00"),
        reverse: true,
        keys_only: true,
        last: key(b"a5"),
    };
    let texts = [least.encode(), full.encode()];
    let inner = texts.iter().map(|text| {
        let bytes = decode_key_parameter(text).expect("just encoded");
        bytes[..bytes.len() - 4].to_vec()
    });
    inner
        .chain(texts.iter().map(|text| text.clone().into_bytes()))
        .collect()
}
