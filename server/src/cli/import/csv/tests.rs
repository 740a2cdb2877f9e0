use super::*;

fn rows(text: &[u8], key: &str) -> Vec<Result<Row, Trouble>> {
    let mut rows = CsvRows::new(text, KeyRule::parse(key)).unwrap();
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
fn a_row_becomes_an_object_of_strings_in_the_order_of_the_header() {
    assert_eq!(
        rows(
            b"zip,city\r\n00501,Holtsville\n\n\"00544\",\"a \"\"b\"\",\nc\"\n00601,\n",
            "zip"
        ),
        [
            row(2, "00501", "{\"zip\":\"00501\",\"city\":\"Holtsville\"}"),
            row(
                4,
                "00544",
                "{\"zip\":\"00544\",\"city\":\"a \\\"b\\\",\\nc\"}"
            ),
            row(6, "00601", "{\"zip\":\"00601\",\"city\":\"\"}"),
        ]
    );
    assert_eq!(
        rows(b"\xef\xbb\xbfa,b\n1,2\n", "a"),
        [row(2, "1", "{\"a\":\"1\",\"b\":\"2\"}")]
    );
    assert_eq!(
        rows(b"a\nx\n", "#"),
        [row(2, "0000000001", "{\"a\":\"x\"}")]
    );
    assert_eq!(rows(b"a,b\n", "a"), []);
}

#[test]
fn a_bad_row_names_its_line_and_the_next_one_is_read() {
    let rows = rows(b"a,b\n1\n1,2,3\n,2\n\xff,2\n5,2\n", "a");
    for (row, line) in rows.iter().zip(2..6) {
        assert!(
            matches!(row, Err(Trouble::Bad(bad)) if bad.line == line),
            "{row:?}"
        );
    }
    assert_eq!(rows[4], row(6, "5", "{\"a\":\"5\",\"b\":\"2\"}"));
}

#[test]
fn a_header_without_the_key_or_with_a_field_twice_is_refused() {
    let refused = |text: &[u8], key: &str| CsvRows::new(text, KeyRule::parse(key)).err().unwrap();
    assert!(refused(b"a,b\n", "c").contains("it has a, b"));
    assert!(refused(b"a,b,a\n", "b").contains("twice"));
    assert!(refused(b"", "a").contains("no field") || refused(b"", "a").contains("no header"));
    assert!(refused(b"\n\xff\n", "a").starts_with("line 2: the header"));
    assert!(refused(b"a,\"b\n1,2\n", "a").starts_with("line 1: the quote"));
}

#[test]
fn a_quote_without_end_does_not_read_for_ever() {
    let mut rows = CsvRows::new(b"a\n\"".chain(io::repeat(b'x')), KeyRule::parse("a")).unwrap();
    let Some(Err(Trouble::Fatal(what))) = rows.next() else {
        panic!("an end")
    };
    assert!(what.starts_with("line 2: "), "{what}");
    assert!(what.contains("closing quote"), "{what}");
    assert_eq!(rows.next(), None);
}

#[test]
fn a_quote_that_is_not_closed_makes_a_bad_row_of_all_that_it_takes_in() {
    let bad = |row: &Result<Row, Trouble>, line: u64| {
        assert!(
            matches!(row, Err(Trouble::Bad(bad)) if bad.line == line && bad.why.contains("quote")),
            "{row:?}"
        );
    };
    let found = rows(b"id,t\n0,x\n\n1,\"a\n2,b\n3,c\n", "id");
    assert_eq!(found[0], row(2, "0", "{\"id\":\"0\",\"t\":\"x\"}"));
    bad(&found[1], 4);
    assert_eq!(found.len(), 2);
    let found = rows(b"id,t\n1,\"a\n2,\"b\"\n3,c\n", "id");
    bad(&found[0], 2);
    assert_eq!(found[1..], [row(4, "3", "{\"id\":\"3\",\"t\":\"c\"}")]);
}
