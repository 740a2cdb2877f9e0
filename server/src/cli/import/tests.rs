use std::path::PathBuf;

use super::*;

/// Real records, kept beside the project and not in it.
fn real(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for above in ["../shared/data", "../../shared/data"] {
        let path = root.join(above).join(name);
        if path.is_file() {
            return path;
        }
    }
    panic!("{name} is missing: it belongs into ../shared/data beside the workspace");
}

fn plan_of(name: &str, key: &str, tolerance: Tolerance) -> Result<Plan, String> {
    let path = real(name);
    let source = Source {
        format: Format::of(&path).unwrap(),
        path,
        key: KeyRule::parse(key),
    };
    Plan::make(|| source.rows(), tolerance, |_| ())
}

#[test]
fn every_zip_code_is_a_row_with_its_own_key() {
    let plan = plan_of("zipcodes.csv", "zip_code", Tolerance::default()).unwrap();
    assert_eq!((plan.taken(), plan.skipped()), (42_049, 0));
}

#[test]
fn movies_have_no_field_that_names_each_once_but_a_number() {
    let plan = plan_of("movies.json", "#", Tolerance::default()).unwrap();
    assert_eq!(plan.taken(), 3_201);
    assert!(plan_of("movies.json", "Title", Tolerance::default()).is_err());
    let skipping = Tolerance {
        skip_bad: true,
        last_wins: true,
    };
    let plan = plan_of("movies.json", "Title", skipping).unwrap();
    assert!(plan.taken() > 3_000 && plan.taken() < 3_201);
}

#[test]
fn a_movie_keeps_every_token_of_its_text() {
    let path = real("movies.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let source = Source {
        format: Format::Json,
        path,
        key: KeyRule::RowNumber,
    };
    let mut rows = source.rows().unwrap();
    let mut joined = String::new();
    while let Some(row) = rows.next() {
        let row = row.unwrap();
        joined.push_str(std::str::from_utf8(&row.value).unwrap());
    }
    let parsed: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let again: Vec<serde_json::Value> = serde_json::Deserializer::from_str(&joined)
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(again, parsed);
}

#[test]
fn the_extension_tells_the_format() {
    for (name, format) in [
        ("a.csv", Some(Format::Csv)),
        ("a.JSON", Some(Format::Json)),
        ("a.b.ndjson", Some(Format::Ndjson)),
        ("a.jsonl", Some(Format::Ndjson)),
        ("a.txt", None),
        ("csv", None),
    ] {
        assert_eq!(Format::of(Path::new(name)), format, "{name}");
    }
}
