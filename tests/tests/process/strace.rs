//! On the real disk a reply comes after the sync that covers it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cairn_tests::http::Client;
use cairn_tests::server::{Server, binary};
use cairn_tests::trace::{CALLS, Connection, check_replies};

const SEQUENTIAL_PUTS: usize = 10;
const WRITERS: usize = 8;
const PUTS_OF_A_WRITER: usize = 5;

/// Bytes of a buffer that the trace shows: above those of all puts that may be written at once.
const SHOWN_BYTES: &str = "4096";

#[test]
fn every_local_reply_comes_after_a_returned_sync_that_covers_it() {
    let found = Command::new("strace")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    assert!(
        found.is_ok_and(|status| status.success()),
        "strace is missing: install it (`apt-get install -y strace`)"
    );
    let directory = tempfile::tempdir().expect("a temporary directory");
    let trace = directory.path().join("trace");
    let server = start_traced(&directory.path().join("data"), &trace);
    let address = server.address();
    let mut connections = vec![put(address, "sequential", SEQUENTIAL_PUTS)];
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..WRITERS)
            .map(|number| {
                let name = format!("concurrent{number}");
                scope.spawn(move || put(address, &name, PUTS_OF_A_WRITER))
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        connections.extend(joined.map(|connection| connection.expect("a writer")));
    });
    let process_id = server.process_id();
    server.kill();
    let trace = whole_trace(&trace, process_id);
    let checked = check_replies(&trace, &connections).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(checked, SEQUENTIAL_PUTS + WRITERS * PUTS_OF_A_WRITER);
}

/// Starts the server under `strace`, which detaches itself, so that the child is the server.
fn start_traced(data: &Path, trace: &Path) -> Server {
    let mut command = Command::new("strace");
    command
        .args([
            "-D",
            "-f",
            "-ttt",
            "-yy",
            "-s",
            SHOWN_BYTES,
            "-e",
            CALLS,
            "-o",
        ])
        .arg(trace)
        .arg(binary());
    Server::start_under(&mut command, data)
}

fn put(address: SocketAddr, name: &str, count: usize) -> Connection {
    let mut client = Client::connect(address).expect("a server that is ready");
    let port = client.port().expect("a connection has a port");
    let keys: Vec<String> = (0..count)
        .map(|number| format!("{name}-key{number:02}"))
        .collect();
    for key in &keys {
        let reply = client.send("PUT", &format!("/v1/kv/b/{key}"), b"value");
        let reply = reply.expect("a reply");
        let text = String::from_utf8_lossy(&reply.body);
        assert_eq!(reply.status, 200, "{key}: {text}");
    }
    Connection { port, keys }
}

/// The trace, once it tells that the process is gone.
fn whole_trace(path: &Path, process_id: u32) -> String {
    let began = Instant::now();
    let process_id = process_id.to_string();
    loop {
        let trace = std::fs::read(path).expect("strace writes the trace");
        let trace = String::from_utf8_lossy(&trace).into_owned();
        let is_end = |line: &str| {
            line.split_whitespace().next() == Some(&process_id) && line.contains(" +++ killed")
        };
        if trace.lines().rev().take(100).any(is_end) {
            return trace;
        }
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "the trace does not end"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
