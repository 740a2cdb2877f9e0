//! Watches: of a server that ends, dies and comes back.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::run::{Server, cairn, read_all, stdout};

const WATCH: &str = "GET /v1/watch/b HTTP/1.1\r\nhost: localhost\r\n\r\n";

fn put(server: &Server, key: &str) {
    let answer = server.put(&format!("/v1/kv/b/{key}"), "v");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn a_shutdown_ends_watches_at_once() {
    let mut server = Server::in_memory(&[]);
    put(&server, "before");
    let mut watch = server.connect();
    watch.write_all(WATCH.as_bytes()).unwrap();
    let mut head = [0; 64];
    watch.read_exact(&mut head).unwrap();
    put(&server, "seen");
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("\"key\":\"seen\"") {
        let mut byte = [0];
        watch.read_exact(&mut byte).unwrap();
        seen.extend(byte);
    }
    let began = Instant::now();
    server.signal("-TERM");
    let rest = read_all(&mut watch);
    assert!(
        rest.ends_with("\r\n0\r\n\r\n"),
        "the answer is whole: {rest}"
    );
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    // The grace for other requests is ten seconds.
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_connection_with_a_watch_is_not_idle() {
    let server = Server::in_memory(&["--connections-max", "2"]);
    put(&server, "before");
    let mut watch = server.connect();
    watch.write_all(WATCH.as_bytes()).unwrap();
    let mut head = [0; 64];
    watch.read_exact(&mut head).unwrap();
    let mut idle = server.connect();
    std::thread::sleep(Duration::from_millis(50));
    put(&server, "seen");
    assert_eq!(read_all(&mut idle), "", "the other one gives way");
    let mut text = BufReader::new(watch).lines();
    let mut next = || text.next().unwrap().unwrap();
    while !next().contains("\"key\":\"seen\"") {}
}

#[test]
fn a_watch_from_the_command_line_outlives_its_server() {
    let directory = tempfile::tempdir().unwrap();
    let start = |listen: &str| {
        let mut command = cairn();
        command.args(["serve", "--listen", listen, "--data"]);
        Server::of_command(command.arg(directory.path()))
    };
    let mut server = start("127.0.0.1:0");
    let address = server.address.to_string();
    put(&server, "k0");
    let mut watch = cairn()
        .args([
            "watch", "b", "--prefix", "k", "--from", "0", "--json", "--url",
        ])
        .arg(server.url())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let first = next();
    assert_eq!(
        (&first["event"], &first["key"]),
        (&"put".into(), &"k0".into())
    );
    let mut version = first["version"].as_u64().unwrap();
    for round in 1..4 {
        put(&server, "elsewhere");
        put(&server, &format!("k{round}"));
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        server = start(&address);
        let told = next();
        assert_eq!(told["key"], format!("k{round}"), "each once, in order");
        assert!(told["version"].as_u64().unwrap() > version);
        version = told["version"].as_u64().unwrap();
    }
    watch.kill().unwrap();
    watch.wait().unwrap();
    // From where it was, nothing is left; what a bucket never had is told in the exit code.
    let missing = server.run(&["watch", "missing"]);
    assert_eq!(missing.status.code(), Some(3));
    let above = server.run(&["watch", "b", "--from", "9007199254740000"]);
    assert_eq!(above.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&above.stderr).contains("compacted"));
    assert_eq!(stdout(&server.run(&["get", "b", "k3"])), "v");
}
