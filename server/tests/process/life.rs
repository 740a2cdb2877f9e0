//! How a server starts and ends.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::run::{Server, cairn, is_problem, read_all};
use super::verify::flip;

#[test]
fn it_announces_itself_in_one_line_and_ends_cleanly_on_both_signals() {
    for signal in ["-TERM", "-INT"] {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let server = Server::start(&data, &[]);
        let (address, shown) = (server.address, data.display());
        assert_eq!(
            server.ready,
            format!("cairn ready http={address} s3=- data={shown}\n")
        );
        assert!(server.get("/healthz").starts_with("HTTP/1.1 200 "));
        assert!(server.put("/v1/kv/b/k", "kept").contains("\"version\":"));
        server.signal(signal);
        let (code, log) = server.stop();
        assert_eq!(code, Some(0), "{log:#?}");
        assert!(
            log.iter()
                .any(|line| line.contains("effective configuration")),
            "{log:#?}"
        );
        let again = Server::start(&data, &[]);
        assert!(again.get("/v1/kv/b/k").ends_with("\r\n\r\nkept"));
    }
}

#[test]
fn partitions_that_a_store_does_not_have_are_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let says = |arguments: &[&str]| {
        let (code, log) = Server::start(directory.path(), arguments).stop();
        assert_eq!(code, Some(0), "{log:#?}");
        log.iter().any(|line| line.contains("keeps the partitions"))
    };
    assert!(!says(&["--partitions", "2"]), "it is created so");
    assert!(!says(&[]) && !says(&["--partitions", "2"]));
    assert!(says(&["--partitions", "4"]));
}

#[test]
fn a_killed_server_loses_nothing_that_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path(), &[]);
    for n in 0..20 {
        assert!(
            server
                .put(&format!("/v1/kv/b/k{n}"), "kept")
                .starts_with("HTTP/1.1 200 ")
        );
    }
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let again = Server::start(directory.path(), &[]);
    for n in 0..20 {
        assert!(
            again
                .get(&format!("/v1/kv/b/k{n}"))
                .ends_with("\r\n\r\nkept")
        );
    }
}

#[test]
fn a_running_request_is_finished_and_an_idle_connection_closed_at_shutdown() {
    let server = Server::in_memory(&[]);
    let mut idle = server.connect();
    let mut busy = server.connect();
    let head = "PUT /v1/kv/b/k HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\n";
    busy.write_all(head.as_bytes()).unwrap();
    busy.write_all(b"la").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    server.signal("-TERM");
    assert_eq!(read_all(&mut idle), "");
    std::thread::sleep(Duration::from_millis(200));
    busy.write_all(b"te").unwrap();
    let answer = read_all(&mut busy);
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"version\":"),
        "{answer}"
    );
    let mut server = server;
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_request_that_never_ends_is_left_behind_after_the_grace() {
    let mut server = Server::in_memory(&["--shutdown-grace-ms", "300"]);
    let mut stuck = server.connect();
    stuck
        .write_all(b"PUT /v1/kv/b/k HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\nla")
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    server.signal("-TERM");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    let took = began.elapsed();
    assert!(
        took >= Duration::from_millis(250) && took < Duration::from_secs(5),
        "{took:?}"
    );
}

#[test]
fn a_store_that_a_failed_write_has_closed_ends_the_server_in_exit_1() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut command = Command::new("sh");
    // A write past the limit is to fail, not to kill.
    command
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_cairn"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data);
    let mut server = Server::of_command(&mut command);
    assert!(
        server
            .put("/v1/kv/b/k", "kept")
            .starts_with("HTTP/1.1 200 ")
    );
    let mut busy = server.connect();
    let head = "PUT /v1/kv/b/busy HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\nla";
    busy.write_all(head.as_bytes()).unwrap();
    let nothing = Rlimit {
        current: Some(0),
        maximum: None,
    };
    prlimit(
        Some(Pid::from_child(&server.child)),
        Resource::Fsize,
        nothing,
    )
    .unwrap();
    is_problem(&server.put("/v1/kv/b/k", "lost"), 500, "outcome_unknown");
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(server.child.try_wait().unwrap().is_none(), "a request runs");
    assert!(TcpStream::connect(server.address).is_err(), "no more come");
    busy.write_all(b"te").unwrap();
    is_problem(&read_all(&mut busy), 503, "poisoned");
    assert_eq!(server.child.wait().unwrap().code(), Some(1));
    let again = Server::start(&data, &[]);
    assert!(again.get("/readyz").starts_with("HTTP/1.1 200 "));
    assert!(again.get("/v1/kv/b/k").ends_with("\r\n\r\nkept"));
}

#[test]
fn what_cannot_be_served_is_refused_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let running = Server::start(&data, &[]);
    let taken = running.address.to_string();
    let config = directory.path().join("cairn.toml");
    std::fs::write(&config, "lisen = \"127.0.0.1:0\"\n").unwrap();
    let (data, config) = (data.to_str().unwrap(), config.to_str().unwrap());
    let damaged = directory.path().join("damaged");
    let in_damaged = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data",
        damaged.to_str().unwrap(),
    ];
    Server::start(&damaged, &[]).stop();
    for at in [20, 4096 + 20] {
        flip(&damaged.join("p0000/superblock"), at);
    }
    for (arguments, says, code) in [
        (
            &["serve", "--listen", "0.0.0.0:0", "--memory"][..],
            "--insecure",
            "invalid_argument",
        ),
        (
            &["serve", "--listen", "127.0.0.1:0", "--data", data],
            "another process",
            "locked",
        ),
        (&["serve", "--listen", &taken, "--memory"], "in use", "io"),
        (
            &["serve", "--listen", "nonsense", "--memory"],
            "listen = \"nonsense\"",
            "invalid_argument",
        ),
        (&["serve", "--config", config], "lisen", "invalid_argument"),
        (
            &["serve", "--config", "/no/such.toml"],
            "/no/such.toml",
            "invalid_argument",
        ),
        (
            &["serve", "--log", "=,=", "--memory"],
            "log = ",
            "invalid_argument",
        ),
        (
            &[
                "serve",
                "--data",
                "/proc/no-such-place",
                "--listen",
                "127.0.0.1:0",
            ],
            "/proc/no-such-place",
            "io",
        ),
        (&in_damaged, "p0000/superblock", "corrupt"),
    ] {
        let output = cairn().args(arguments).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        // What went before are lines of the log, and the effective configuration names everything.
        let error = told.split_once("\ncairn: ").map(|(_, error)| error);
        let error = error.or(told.strip_prefix("cairn: "));
        let error = error.unwrap_or_else(|| panic!("{arguments:?}: {told}"));
        assert!(error.contains(says), "{arguments:?}: {error}");
        let code = format!(" ({code})\n");
        assert!(error.ends_with(&code), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty());
    }
    let usage = cairn().args(["serve", "--no-such-flag"]).output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
}

#[test]
fn flags_stand_above_the_environment_and_that_above_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("cairn.toml");
    let file = "memory = true\nrequests_max = 1\nconnections_max = 1\nshutdown_grace_ms = 1\n\
                [[token]]\nname = \"a\"\nsecret = \"hush-hush\"\nrole = \"admin\"\n";
    std::fs::write(&config, file).unwrap();
    let mut command = cairn();
    command
        .env("CAIRN_CONFIG", &config)
        .env("CAIRN_REQUESTS_MAX", "2")
        .env("CAIRN_CONNECTIONS_MAX", "2")
        .args(["serve", "--listen", "127.0.0.1:0", "--requests-max", "3"]);
    let server = Server::of_command(&mut command);
    let (code, log) = server.stop();
    assert_eq!(code, Some(0));
    let line = log
        .iter()
        .find(|line| line.contains("effective configuration"))
        .unwrap();
    for part in [
        "\"requests_max\":3",
        "\"connections_max\":2",
        "\"shutdown_grace_ms\":1",
        "\"secret\":\"[redacted]\"",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!log.iter().any(|line| line.contains("hush-hush")));
}
