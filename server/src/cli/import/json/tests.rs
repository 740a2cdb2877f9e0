use super::*;

fn rows(text: &str) -> Vec<Result<Row, Trouble>> {
    let mut rows = JsonRows::new(text.as_bytes(), KeyRule::parse("id")).unwrap();
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
fn elements_keep_their_tokens_and_lose_the_white_space_between() {
    assert_eq!(
        rows(
            "[\n  {\"id\": 1, \"x\": [1.50, \"a ] , \\\" b\"]},\n  {\n    \"id\": \"two\"\n  }\n]\n"
        ),
        [
            row(2, "1", "{\"id\":1,\"x\":[1.50,\"a ] , \\\" b\"]}"),
            row(3, "two", "{\"id\":\"two\"}"),
        ]
    );
    assert_eq!(rows("[]"), []);
    assert_eq!(rows(" \u{20}[ ] "), []);
    let marked = "\u{feff}[{\"id\":1}]";
    assert_eq!(rows(marked), [row(1, "1", "{\"id\":1}")]);
}

#[test]
fn a_bad_element_names_its_line_and_the_next_one_is_read() {
    let rows = rows("[{\"id\":null},\n{\"x\":1},\n[1,2],\n7,\n{\"id\":1 2},\n{\"id\":6}]");
    assert_eq!(rows.len(), 6);
    for (row, line) in rows.iter().zip(1..6) {
        assert!(
            matches!(row, Err(Trouble::Bad(bad)) if bad.line == line),
            "{row:?}"
        );
    }
    assert_eq!(rows[5], row(6, "6", "{\"id\":6}"));
}

#[test]
fn a_broken_array_ends_the_reading_with_its_line() {
    for (text, line) in [
        ("[{\"id\":1}\n{\"id\":2}]", 1),
        ("[{\"id\":1},\n]", 2),
        ("[,{\"id\":1}]", 1),
        ("[{\"id\":1}", 1),
        ("[{\"id\":1}]\nx", 2),
        ("[\n{\"id\":\"1]", 2),
        ("[{\"id\":1}]]", 1),
    ] {
        let last = rows(text).pop().unwrap();
        let starts = format!("line {line}: ");
        // Two objects side by side look like one element, and the parser refuses that.
        let told = match &last {
            Err(Trouble::Fatal(what)) => what.clone(),
            Err(Trouble::Bad(bad)) => bad.to_string(),
            Ok(row) => panic!("{text}: {row:?}"),
        };
        assert!(told.starts_with(&starts), "{text}: {told}");
    }
    for text in ["", "  ", "{\"id\":1}", "7"] {
        assert!(
            JsonRows::new(text.as_bytes(), KeyRule::RowNumber).is_err(),
            "{text:?}"
        );
    }
}
