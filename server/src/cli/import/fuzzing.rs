//! Rows of imported files as fuzz targets: a row that is taken is a JSON object which, imported
//! again on its own, is the same row; and how the file is cut into reads makes no difference.

use std::io::BufReader;

use cairn_sdk::check_key;

use super::csv::CsvRows;
use super::json::JsonRows;
use super::key::KeyRule;
use super::ndjson::NdjsonRows;
use super::row::{Row, Rows, Trouble};
use crate::fuzzing::Target;

pub(crate) const CSV: Target = Target {
    name: "import_csv",
    check: |bytes| {
        rows_hold(bytes, &|bytes, key, size| {
            let chunked = BufReader::with_capacity(size, bytes);
            CsvRows::new(chunked, key).map(|rows| Box::new(rows) as Box<dyn Rows + '_>)
        });
    },
    seeds: || {
        texts(&[
            "key,b\r\n1,x\r\n2,\"y\"\"z\n\"\r\n",
            "\u{feff}key\na\n\nb\n",
            "a,key,c\n1,2\n1,2,3\n\"\",\u{fc},\"\n",
        ])
    },
};

pub(crate) const JSON: Target = Target {
    name: "import_json",
    check: |bytes| {
        rows_hold(bytes, &|bytes, key, size| {
            let chunked = BufReader::with_capacity(size, bytes);
            JsonRows::new(chunked, key).map(|rows| Box::new(rows) as Box<dyn Rows + '_>)
        });
    },
    seeds: || {
        texts(&[
            "[]",
            "[{\"key\": \"a\", \"b\": [1, {\"c\": \"],}\\\"\"}]}, {\"key\":1.50}\n]\n",
            "\u{feff}[{\"key\":true},\n{\"key\":null},{\"a\":\"\\u00fc\"} ,7]",
        ])
    },
};

pub(crate) const NDJSON: Target = Target {
    name: "import_ndjson",
    check: |bytes| {
        rows_hold(bytes, &|bytes, key, size| {
            let chunked = BufReader::with_capacity(size, bytes);
            Ok(Box::new(NdjsonRows::new(chunked, key)))
        });
    },
    seeds: || {
        texts(&[
            "{\"key\":\"a\"}\n",
            "\u{feff}{\"key\":1e3, \"x\":\"\\n\"}\r\n\n{\"b\":1}\n{\"key\":\"\\ud83d\\ude00\"}",
            "7\n{\"key\":[]}\n{\"key\":\"a\",\"key\":\"b\"}\n",
        ])
    },
};

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Opens a file of these bytes that is read in pieces of this size.
type Open = dyn for<'a> Fn(&'a [u8], KeyRule, usize) -> Result<Box<dyn Rows + 'a>, String>;

/// No less than a byte order mark, which is looked for in the first piece.
const PIECE_BYTES_MIN: usize = 3;

fn rows_hold(bytes: &[u8], open: &Open) {
    for key in [KeyRule::Field("key".to_owned()), KeyRule::RowNumber] {
        let whole = read(bytes, &key, 64 * 1024, open);
        assert_eq!(read(bytes, &key, PIECE_BYTES_MIN, open), whole);
        let Ok(rows) = whole else { continue };
        for row in rows.iter().flatten() {
            is_itself_again(row, &key);
        }
    }
}

type Found = Result<Vec<Result<Row, Trouble>>, String>;

fn read(bytes: &[u8], key: &KeyRule, size: usize, open: &Open) -> Found {
    let mut rows = open(bytes, key.clone(), size)?;
    let mut found = Vec::new();
    let mut line = 1;
    while let Some(row) = rows.next() {
        let is_last = matches!(row, Err(Trouble::Fatal(_)));
        if let Ok(Row { line: at, .. }) | Err(Trouble::Bad(super::row::Bad { line: at, .. })) = &row
        {
            assert!(*at >= line, "lines ascend");
            line = *at;
        }
        found.push(row);
        // A row takes a byte at least, and there is one fault at the end at most.
        assert!(found.len() <= bytes.len() + 1);
        assert!(rows.position() <= bytes.len() as u64);
        if is_last {
            assert!(rows.next().is_none(), "nothing follows what is fatal");
            break;
        }
    }
    assert!(line <= 1 + bytes.iter().filter(|&&byte| byte == b'\n').count() as u64);
    Ok(found)
}

/// The value of a row is an object that has the row's key.
fn is_itself_again(row: &Row, key: &KeyRule) {
    assert!(check_key(&row.key).is_ok());
    let value = std::str::from_utf8(&row.value).expect("JSON is UTF-8");
    let object: Result<serde_json::Value, _> = serde_json::from_str(value);
    // Deep nesting is skipped over by an import, and too much for a tree.
    if let Ok(object) = object {
        assert!(object.is_object(), "{value}");
    }
    if *key != KeyRule::RowNumber {
        assert_eq!(key.of_json(value, 1).as_ref(), Ok(&row.key));
    }
    let array = [b"[", &row.value[..], b"]"].concat();
    let mut rows = JsonRows::new(&array[..], key.clone()).expect("an array");
    let Some(Ok(again)) = rows.next() else {
        panic!("{value} is taken");
    };
    if *key != KeyRule::RowNumber {
        assert_eq!(again.key, row.key);
    }
    // What an import keeps of an array has no white space between its tokens; kept again, it is
    // what it was.
    let twice = [b"[", &again.value[..], b"]"].concat();
    let mut rows = JsonRows::new(&twice[..], key.clone()).expect("an array");
    let Some(Ok(third)) = rows.next() else {
        panic!("{value} is taken a second time");
    };
    assert_eq!(third.value, again.value);
}
