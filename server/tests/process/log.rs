//! `cairn log`, against a server and against a directory.

use std::process::Output;

use serde_json::Value;

use super::run::{Server, cairn, stdout};

fn check(run: &dyn Fn(&[&str]) -> Output) {
    let mut expected = String::new();
    for number in 0..3 {
        let data = format!("order {number}");
        let offset = stdout(&run(&["log", "append", "or/ders ä", &data]));
        expected += &format!("{}\ttopic\tor/ders ä\t{data}\n", offset.trim());
        run(&["log", "append", "other", "x"]);
        run(&["put", "bucket", "key", "value"]);
    }
    let read = ["log", "read", "--topic", "or/ders ä"];
    assert_eq!(stdout(&run(&read)), expected);
    let first = expected.lines().next().unwrap();
    let limited = stdout(&run(&[&read[..], &["--limit", "1"]].concat()));
    assert_eq!(limited.trim_end(), first);
    let above: u64 = first.split('\t').next().unwrap().parse().unwrap();
    let above = (above + 1).to_string();
    let rest = stdout(&run(&[&read[..], &["--from", &above]].concat()));
    assert_eq!(rest.lines().count(), 2);
    let all = stdout(&run(&["log", "read", "--json"]));
    let kinds: Vec<String> = all
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].to_string())
        .collect();
    let count = |kind: &str| kinds.iter().filter(|known| known.contains(kind)).count();
    assert_eq!((count("topic"), count("put")), (6, 3), "{all}");
    assert!(stdout(&run(&["log", "status"])).starts_with("partition 0: "));
    assert_eq!(
        run(&["log", "read", "--partition", "9"]).status.code(),
        Some(3)
    );
    assert_eq!(run(&["log", "append", "", "x"]).status.code(), Some(1));
}

#[test]
fn topics_are_written_and_read_from_the_command_line() {
    let server = Server::in_memory(&[]);
    check(&|arguments| server.run(arguments));
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    check(&|arguments| {
        let mut command = cairn();
        let command = command.args(arguments).args(["--data", data]);
        command.output().unwrap()
    });
}
