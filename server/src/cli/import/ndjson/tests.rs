use super::*;

fn rows(text: &[u8]) -> Vec<Result<Row, Trouble>> {
    let mut rows = NdjsonRows::new(text, KeyRule::parse("id"));
    std::iter::from_fn(|| rows.next()).collect()
}

fn row(line: u64, key: &str, value: &str) -> Result<Row, Trouble> {
    Ok(Row {
        line,
        key: key.into(),
        value: value.into(),
    })
}

#[test]
fn a_row_is_kept_byte_for_byte() {
    assert_eq!(
        rows(b"{\"id\": 1,  \"x\":1.0}\n\n  {\"id\":\"b\"} \r\n\t\n{\"id\":\"c\"}"),
        [
            row(1, "1", "{\"id\": 1,  \"x\":1.0}"),
            row(3, "b", "  {\"id\":\"b\"} "),
            row(5, "c", "{\"id\":\"c\"}"),
        ]
    );
    assert_eq!(
        rows(b"\xef\xbb\xbf{\"id\":1}\n"),
        [row(1, "1", "{\"id\":1}")]
    );
    assert_eq!(rows(b""), []);
    assert_eq!(rows(b"\n\n"), []);
}

#[test]
fn a_bad_row_names_its_line_and_the_next_one_is_read() {
    let long = format!("{{\"id\":\"{}\"}}", "k".repeat(4097));
    let text = format!("{{\"id\":\"\"}}\n{{\"id\":\n{long}\n{{\"id\":4}}\n");
    let rows = rows(text.as_bytes());
    for (row, line) in rows.iter().zip(1..4) {
        assert!(
            matches!(row, Err(Trouble::Bad(bad)) if bad.line == line),
            "{row:?}"
        );
    }
    assert_eq!(rows[3], row(4, "4", "{\"id\":4}"));
}

#[test]
fn bytes_that_are_not_utf8_are_refused_wherever_they_stand() {
    let rows = rows(b"{\"id\":1,\"x\":\"\xff\"}\n{\"id\":2}\n");
    assert!(matches!(&rows[0], Err(Trouble::Bad(bad)) if bad.why.contains("UTF-8")));
    assert!(rows[1].is_ok());
}

#[test]
fn a_row_longer_than_a_value_is_bad_and_not_kept_in_memory() {
    let mut text = format!("{{\"id\":1,\"x\":\"{}\"}}\n", "x".repeat(VALUE_BYTES_MAX));
    text.push_str("{\"id\":2}\n");
    let rows = rows(text.as_bytes());
    assert!(matches!(&rows[0], Err(Trouble::Bad(bad)) if bad.line == 1));
    assert_eq!(rows[1], row(2, "2", "{\"id\":2}"));
}
