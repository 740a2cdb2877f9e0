//! `cairn log`, against a server and against a directory.

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::run::{Server, cairn, is_problem, stdout};

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

#[test]
fn a_server_removes_records_of_topics_as_it_is_told_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let (config, data) = (
        directory.path().join("cairn.toml"),
        directory.path().join("data"),
    );
    let kept = "[[topic]]\nname = \"kept\"\nretention_ms = 0\n";
    std::fs::write(&config, kept).unwrap();
    let mut command = cairn();
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data)
        .arg("--config")
        .arg(&config)
        .env("CAIRN_TOPIC_RETENTION_MS", "1");
    let server = Server::of_command(&mut command);
    let append = |topic: &str| {
        let offset = stdout(&server.run(&["log", "append", topic, "x"]));
        offset.trim().to_owned()
    };
    let (gone, there) = (append("gone"), append("kept"));
    let deadline = Instant::now() + Duration::from_secs(60);
    let read = ["log", "read", "--topic"];
    // The first pass begins some seconds after the start.
    while !stdout(&server.run(&[&read[..], &["gone"]].concat())).is_empty() {
        assert!(Instant::now() < deadline, "nothing was removed");
        std::thread::sleep(Duration::from_millis(200));
    }
    let check = |run: &dyn Fn(&[&str]) -> Output| {
        let below = run(&[&read[..], &["gone", "--from", &gone]].concat());
        let told = String::from_utf8_lossy(&below.stderr).into_owned();
        assert!(
            !below.status.success() && told.contains("no longer kept"),
            "{told}"
        );
        let found = stdout(&run(&[&read[..], &["kept", "--from", &there]].concat()));
        assert_eq!(found.lines().count(), 1);
        assert_eq!(stdout(&run(&[&read[..], &["gone"]].concat())), "");
    };
    check(&|arguments| server.run(arguments));
    is_problem(
        &server.get(&format!("/v1/log/0?topic=gone&from={gone}")),
        410,
        "compacted",
    );
    assert_eq!(server.stop().0, Some(0));
    check(&|arguments| {
        let mut command = cairn();
        command.args(arguments).arg("--data").arg(&data);
        command.output().unwrap()
    });
}
