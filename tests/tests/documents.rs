//! What the documents say of the tests is so.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Pages with tables whose last column names tests, as `name` in backticks, and how many names at
/// the least they hold.
const PAGES: [(&str, usize); 2] = [("docs/BAD-DAYS.md", 60), ("docs/LAWS.md", 60)];
const PACKAGES: [&str; 5] = ["log", "kv", "sdk", "server", "tests"];

#[test]
fn every_test_that_a_page_names_exists() {
    let tests = tests_of(&workspace());
    for (page, least) in PAGES {
        let text = std::fs::read_to_string(workspace().join(page));
        let text = text.unwrap_or_else(|error| panic!("{page}: {error}"));
        let named = named_in(&text);
        assert!(named.len() >= least, "{page} names {} tests", named.len());
        let missing: Vec<_> = named.iter().filter(|name| !tests.contains(*name)).collect();
        assert!(
            missing.is_empty(),
            "{page} names no tests of ours: {missing:#?}"
        );
    }
}

#[test]
fn every_row_of_a_page_names_a_test() {
    for (page, _) in PAGES {
        let text = std::fs::read_to_string(workspace().join(page));
        let text = text.unwrap_or_else(|error| panic!("{page}: {error}"));
        for row in rows(&text) {
            assert!(!named_in(row).is_empty(), "{page}: {row}");
        }
    }
}

#[test]
fn a_name_that_no_test_has_is_found_out() {
    let tests = tests_of(&workspace());
    let page = "| a | b |\n|---|---|\n| what | kv `a_test_that_was_never_written`, `unread` |\n";
    assert_eq!(rows(page).count(), 1);
    let named = named_in(page);
    assert_eq!(named.len(), 1, "{named:?}");
    assert!(!tests.contains("a_test_that_was_never_written"));
    assert!(tests.contains("a_name_that_no_test_has_is_found_out"));
    assert!(!tests.contains("tests_of"), "what is no test is none");
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The rows of the tables, without their heads.
fn rows(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().filter(|line| line.starts_with('|'));
    let kept: Vec<&str> = lines.collect();
    // A head stands directly above its line of dashes.
    let is_rule = |line: &str| line.starts_with("|---");
    let heads: BTreeSet<usize> = (1..kept.len()).filter(|&at| is_rule(kept[at])).collect();
    let is_row = move |at: usize| !heads.contains(&at) && !heads.contains(&(at + 1));
    kept.into_iter()
        .enumerate()
        .filter(move |(at, _)| is_row(*at))
        .map(|(_, line)| line)
}

/// The names in the last cell of each row: those in backticks that are words joined by three
/// underscores or more.
fn named_in(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for row in rows(text) {
        let cell = row
            .trim_end_matches('|')
            .rsplit('|')
            .next()
            .unwrap_or_default();
        for word in cell.split('`').skip(1).step_by(2) {
            if word.matches('_').count() >= 3 {
                names.insert(word.to_owned());
            }
        }
    }
    names
}

/// The names of all tests: functions below a test attribute, and those that a macro makes tests of.
fn tests_of(workspace: &Path) -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for package in PACKAGES {
        for kind in ["src", "tests"] {
            collect(&workspace.join(package).join(kind), &mut tests);
        }
    }
    tests
}

fn collect(directory: &Path, tests: &mut BTreeSet<String>) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("a directory is read").path();
        if path.is_dir() {
            collect(&path, tests);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let source = std::fs::read_to_string(&path).expect("source is text");
            collect_source(&source, tests);
        }
    }
}

fn collect_source(source: &str, tests: &mut BTreeSet<String>) {
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(rest) = line.strip_prefix("async fn ").or(line.strip_prefix("fn ")) {
            if std::mem::take(&mut is_test) {
                let name = rest.split(['(', '<']).next().unwrap_or_default();
                tests.insert(name.to_owned());
            }
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            is_test = false;
        }
    }
}
