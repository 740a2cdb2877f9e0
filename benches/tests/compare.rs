//! Runs the whole of `compare`, small: every workload on every engine, each row read back. No
//! figure is looked at, only that it is there.

// What helpers of tests unwrap fails the test that called them.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const TABLE: &str = "\
| cluster3 | 0 | 1 | 19 | 120 | 1 | 1 | 1 | 1 | 1d | 0 | 0 | get:0.70 set:0.20 delete:0.10 | 1.2 |
| cluster9 | 0 | 1 | 32 | 10658 | 1 | 1 | 1 | 1 | 1d | 0 | 0 | get:0.40 add:0.30 incr:0.30 | 0 |
";

struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Directory {
        let name = format!("cairn-benches-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn compare(directory: &Directory, arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_cairn-benches"))
        .args(["compare", "--quick", "--keys", "2000", "--row-ms", "20"])
        .arg("--dir")
        .arg(&directory.0)
        .args(arguments)
        .output()
        .unwrap();
    (
        output.status.success(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn all_workloads(directory: &Directory) -> String {
    let table = directory.0.join("table.md");
    let rows = directory.0.join("rows.json");
    fs::write(&table, TABLE).unwrap();
    let names = "put-durable,put-buffered,batch-sorted,bulk,get-hot,get-absent,scan,bulk-4k,\
                 get-4k,reopen,overwrite,space,twitter-3,twitter-9";
    let (passed, printed, errors) = compare(
        directory,
        &[
            "--workloads",
            names,
            "--twitter",
            table.to_str().unwrap(),
            "--json",
            rows.to_str().unwrap(),
        ],
    );
    assert!(passed, "{printed}\n{errors}");
    for name in names.split(',') {
        assert!(
            printed.contains(&format!("## {name}\n")),
            "no table of {name}"
        );
    }
    fs::read_to_string(rows).unwrap()
}

#[test]
fn every_workload_runs_on_every_engine_and_reads_back_what_it_wrote() {
    let directory = Directory::new("all");
    let rows = all_workloads(&directory);
    let rows: Vec<&str> = rows.lines().filter(|line| line.contains("{")).collect();
    let mut rows_of_engine: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &rows {
        let engine = row.split("\"engine\":\"").nth(1).unwrap();
        *rows_of_engine
            .entry(engine.split('"').next().unwrap())
            .or_default() += 1;
    }
    let floors = rows_of_engine.remove("floor");
    assert_eq!(floors, Some(6));
    assert!(rows_of_engine.len() >= 4, "{rows_of_engine:?}");
    assert!(
        rows_of_engine.values().all(|&count| count == 30),
        "{rows_of_engine:?}"
    );
    for row in &rows {
        let is_floor = row.contains("\"engine\":\"floor\"");
        assert!(is_floor || row.contains("\"check\":\"ok ("), "{row}");
        for field in [
            "workload",
            "threads",
            "ops_per_s",
            "p50_us",
            "p99_us",
            "p999_us",
        ] {
            assert!(row.contains(&format!("\"{field}\":")), "{field} in {row}");
        }
        for field in ["bytes_written", "disk_bytes", "rss_bytes"] {
            assert!(row.contains(&format!("\"{field}\":")), "{field} in {row}");
        }
    }
    assert!(
        !directory.0.join("cairn-benches").exists(),
        "the stores were not removed"
    );
}

#[test]
fn repeats_show_the_range_beside_the_median() {
    let directory = Directory::new("repeat");
    let (passed, printed, errors) = compare(
        &directory,
        &[
            "--engines",
            "lmdb",
            "--workloads",
            "put-buffered",
            "--repeat",
            "3",
        ],
    );
    assert!(passed, "{printed}\n{errors}");
    assert!(printed.contains("min..max"), "{printed}");
}

#[test]
fn a_named_twitter_row_without_its_table_is_an_error() {
    let directory = Directory::new("no-table");
    let (passed, _, errors) = compare(
        &directory,
        &["--workloads", "twitter-3", "--twitter", "/no/such/table.md"],
    );
    assert!(!passed);
    assert!(errors.contains("/no/such/table.md"), "{errors}");
}

#[test]
fn capped_reads_stay_in_their_group_and_leave_none_behind() {
    let directory = Directory::new("capped");
    let rows = directory.0.join("rows.json");
    let arguments = [
        "--workloads",
        "get-capped",
        "--json",
        rows.to_str().unwrap(),
    ];
    let (passed, printed, errors) = compare(&directory, &arguments);
    assert!(passed, "{printed}\n{errors}");
    assert!(!errors.contains("stays behind"), "{errors}");
    let text = fs::read_to_string(rows).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| line.contains("{")).collect();
    let of = |engine: &str| {
        let engine = format!("\"engine\":\"{engine}\"");
        rows.iter().filter(|row| row.contains(&engine)).count()
    };
    if printed.contains("no memory cgroup can be made here") {
        return;
    }
    for engine in ["cairn", "redb", "fjall", "lmdb", "floor"] {
        assert_eq!(of(engine), 2, "{engine}: {printed}");
    }
    let fio_is_missing = printed.contains("fio is not on this machine");
    for row in rows {
        if row.contains("\"engine\":\"floor\"") {
            assert!(
                fio_is_missing || !row.contains("\"ops_per_s\":null"),
                "{row}"
            );
            continue;
        }
        assert!(row.contains("\"check\":\"ok ("), "{row}");
        assert_eq!(row.contains("\"ratio_floor\":"), !fio_is_missing, "{row}");
        let group = row.split("\"group_bytes\":").nth(1);
        let group = group.map(|rest| rest.split(',').next().unwrap());
        let group: Option<u64> = group.map(|bytes| bytes.parse().unwrap());
        assert!(group.is_none_or(|bytes| bytes > 1 << 20), "{row}");
    }
}

#[test]
fn servers_answer_what_was_written_and_one_that_is_missing_fails_nothing() {
    let directory = Directory::new("http");
    let rows = directory.0.join("rows.json");
    let (passed, printed, errors) = compare(
        &directory,
        &[
            "--workloads",
            "put-durable,http-get,http-put",
            "--engines",
            "cairn,axum,redis",
            "--json",
            rows.to_str().unwrap(),
        ],
    );
    assert!(passed, "{printed}\n{errors}");
    let rows = fs::read_to_string(rows).unwrap();
    let of = |engine: &str| {
        let engine = format!("\"engine\":\"{engine}\"");
        let rows = rows
            .lines()
            .filter(|row| row.contains("\"workload\":\"http-"));
        let rows: Vec<&str> = rows.filter(|row| row.contains(&engine)).collect();
        assert_eq!(rows.len(), 6, "{engine}");
        rows
    };
    for row in of("cairn") {
        assert!(row.contains("\"check\":\"ok ("), "{row}");
        assert!(row.contains("\"ratio_axum\":"), "{row}");
        let is_put = row.contains("\"workload\":\"http-put\"");
        assert_eq!(row.contains("\"ratio_embedded\":"), is_put, "{row}");
    }
    for row in of("redis") {
        let is_missing = row.contains("not on this machine");
        assert!(is_missing || row.contains("\"check\":\"ok ("), "{row}");
    }
    of("axum");
}
