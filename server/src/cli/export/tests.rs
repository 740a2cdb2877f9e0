use super::*;
use bytes::Bytes;

fn row(key: &'static [u8], value: &'static [u8]) -> String {
    let value = Bytes::from_static(value);
    let item = Item::new(Bytes::from_static(key), 7, value.len() as u64, Some(value));
    let mut out = Vec::new();
    write_row(&mut out, &item).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn json_on_one_line_is_embedded_byte_for_byte() {
    assert_eq!(
        row(b"a", br#"{"z": 1.50, "a":  [1e3,"\u00e9"],"a":2}"#),
        "{\"key\":\"a\",\"version\":7,\"value\":{\"z\": 1.50, \"a\":  [1e3,\"\\u00e9\"],\"a\":2}}\n"
    );
    assert_eq!(
        row(b"a", b"123456789012345678901234567890.10"),
        "{\"key\":\"a\",\"version\":7,\"value\":123456789012345678901234567890.10}\n"
    );
    assert_eq!(
        row(b"a", b"null"),
        "{\"key\":\"a\",\"version\":7,\"value\":null}\n"
    );
}

#[test]
fn everything_else_is_base64() {
    for (value, b64) in [
        (&b""[..], ""),
        (b"text", "dGV4dA=="),
        (b" 1", "IDE="),
        (b"{\"a\":\n1}", "eyJhIjoKMX0="),
        (b"1 2", "MSAy"),
        (b"\"\xff\"", "Iv8i"),
        (b"{\"a\":}", "eyJhIjp9"),
    ] {
        assert_eq!(
            row(b"a", value),
            format!("{{\"key\":\"a\",\"version\":7,\"value_b64\":\"{b64}\"}}\n")
        );
    }
    assert_eq!(
        row(b"\xff", b"1"),
        "{\"key_b64\":\"/w==\",\"version\":7,\"value\":1}\n"
    );
}
