//! Clients that are slow, many, broken or greedy.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::run::{Server, is_problem, read_all};

const PUT: &str = "PUT /v1/kv/b/k HTTP/1.1\r\nhost: localhost\r\n";

#[test]
fn thousands_of_idle_connections_hurt_nobody() {
    let server = Server::in_memory(&[]);
    let before = memory_kib(&server);
    let files = open_files(&server);
    let idle: Vec<TcpStream> = (0..3000).map(|_| server.connect()).collect();
    let began = Instant::now();
    for n in 0..50 {
        assert!(
            server
                .put(&format!("/v1/kv/b/k{n}"), "v")
                .starts_with("HTTP/1.1 200 ")
        );
    }
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    let grown = memory_kib(&server).saturating_sub(before);
    assert!(
        grown < 48 * 1024,
        "{grown} KiB for {} connections",
        idle.len()
    );
    assert!(open_files(&server) >= files + idle.len());
    drop(idle);
    files_fall_to(&server, files);
}

#[test]
fn clients_that_leave_in_the_middle_leave_no_file_and_no_memory_behind() {
    let server = Server::in_memory(&["--bodies-bytes-max", "33554432"]);
    let value = "x".repeat(8 << 20);
    assert!(
        server
            .put("/v1/kv/b/k", &value)
            .starts_with("HTTP/1.1 200 ")
    );
    let files = open_files(&server);
    for _ in 0..20 {
        // Of four such answers and bodies the fifth would be turned away.
        let mut getting = server.connect();
        getting
            .write_all(b"GET /v1/kv/b/k HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .unwrap();
        let mut part = [0; 1000];
        getting.read_exact(&mut part).unwrap();
        assert!(part.starts_with(b"HTTP/1.1 200 "));
        drop(getting);
        let mut putting = server.connect();
        let head = format!("{PUT}content-length: {}\r\n\r\n", 8 << 20);
        putting.write_all(head.as_bytes()).unwrap();
        putting.write_all(&value.as_bytes()[..4 << 20]).unwrap();
        drop(putting);
        files_fall_to(&server, files);
    }
    assert!(server.get("/v1/kv/b/k").ends_with(&value));
    assert!(
        server
            .put("/v1/kv/b/k", &value)
            .starts_with("HTTP/1.1 200 ")
    );
}

#[test]
fn a_content_length_that_lies_writes_what_it_announces_or_nothing() {
    let server = Server::in_memory(&["--stall-timeout-ms", "300"]);
    let close = "connection: close\r\n";
    for head in [
        "content-length: 2\r\ncontent-length: 5\r\n",
        "content-length: abc\r\n",
        "content-length: -1\r\n",
    ] {
        let answer = server.exchange(&format!("{PUT}{close}{head}\r\nlonger"));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head:?}: {answer}");
        is_problem(&server.get("/v1/kv/b/k"), 404, "bucket_not_found");
    }
    let answer = server.exchange(&format!("{PUT}content-length: 2\r\n\r\nlonger\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        answer.contains("HTTP/1.1 400 "),
        "the rest is no request: {answer}"
    );
    assert!(server.get("/v1/kv/b/k").ends_with("\r\n\r\nlo"));
    let answer = server.exchange(&format!("{PUT}content-length: 7\r\n\r\nlonger"));
    is_problem(&answer, 408, "request_timeout");
    assert!(server.get("/v1/kv/b/k").ends_with("\r\n\r\nlo"));
}

#[test]
fn at_the_limit_the_longest_idle_connection_gives_way() {
    let server = Server::in_memory(&["--connections-max", "3"]);
    let mut first = server.connect();
    std::thread::sleep(Duration::from_millis(50));
    let _others: Vec<TcpStream> = (0..2).map(|_| server.connect()).collect();
    std::thread::sleep(Duration::from_millis(50));
    assert!(server.get("/healthz").starts_with("HTTP/1.1 200 "));
    assert_eq!(read_all(&mut first), "", "the oldest was closed");
}

#[test]
fn when_every_connection_is_busy_a_new_one_is_turned_away() {
    let server = Server::in_memory(&["--connections-max", "1"]);
    let mut busy = server.connect();
    busy.write_all(format!("{PUT}content-length: 4\r\n\r\nla").as_bytes())
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let mut refused = server.connect();
    let answer = read_all(&mut refused);
    is_problem(&answer, 503, "overloaded");
    assert!(answer.contains("retry-after: 1"));
    busy.write_all(b"te").unwrap();
    let mut answer = [0; 15];
    busy.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[test]
fn a_connection_that_sends_no_request_or_half_of_one_is_closed() {
    let server = Server::in_memory(&["--idle-timeout-ms", "300"]);
    for text in [
        "",
        "GET / HT",
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ] {
        let began = Instant::now();
        let answer = server.exchange(text);
        assert!(
            began.elapsed() >= Duration::from_millis(250),
            "{text:?} {answer}"
        );
        assert!(began.elapsed() < Duration::from_secs(5), "{text:?}");
        assert_eq!(
            answer.starts_with("HTTP/1.1 200 "),
            text.contains("healthz"),
            "{answer}"
        );
    }
}

#[test]
fn an_answer_that_is_read_slowly_keeps_its_connection_from_looking_idle() {
    const SIZE: usize = 8 << 20;
    let server = Server::in_memory(&["--idle-timeout-ms", "200"]);
    let value = "x".repeat(SIZE);
    let put = format!("{PUT}connection: close\r\ncontent-length: {SIZE}\r\n\r\n{value}");
    assert!(server.exchange(&put).starts_with("HTTP/1.1 200 "));
    let mut client = server.connect();
    client
        .write_all(b"GET /v1/kv/b/k HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    // Longer than it may be idle, while the answer waits for its reader.
    std::thread::sleep(Duration::from_millis(1_000));
    let answer = read_all(&mut client);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(body == value, "{} of {SIZE} bytes", body.len());
}

#[test]
fn a_body_that_stalls_is_408_and_a_truncated_one_writes_nothing() {
    let server = Server::in_memory(&["--stall-timeout-ms", "300"]);
    let answer = server.exchange(&format!("{PUT}content-length: 10\r\n\r\nhalf"));
    is_problem(&answer, 408, "request_timeout");
    let mut truncated = server.connect();
    truncated
        .write_all(format!("{PUT}content-length: 10\r\n\r\nhalf").as_bytes())
        .unwrap();
    truncated.shutdown(std::net::Shutdown::Write).unwrap();
    read_all(&mut truncated);
    is_problem(&server.get("/v1/kv/b/k"), 404, "bucket_not_found");
}

#[test]
fn a_refusal_does_not_wait_for_a_body_that_does_not_come() {
    let server = Server::in_memory(&["--stall-timeout-ms", "300"]);
    const BATCH: &str = "POST /v1/batch/b HTTP/1.1\r\nhost: localhost\r\n";
    const HALF: &str = "content-length: 10\r\n\r\nhalf";
    for (request, status) in [
        (format!("{PUT}{HALF}"), 408),
        (
            format!("PUT /v1/kv/b/%zz HTTP/1.1\r\nhost: localhost\r\n{HALF}"),
            400,
        ),
        (
            format!("PUT /v1/kv/b/k HTTP/1.1\r\nhost: evil.example\r\n{HALF}"),
            403,
        ),
        (format!("{BATCH}content-length: 99999999\r\n\r\n"), 413),
    ] {
        let mut client = server.connect();
        client.write_all(request.as_bytes()).unwrap();
        let began = Instant::now();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            let mut bytes = [0; 4096];
            let read = client.read(&mut bytes).unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&bytes[..read]);
        }
        let told = String::from_utf8_lossy(&answer);
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{told}");
        assert!(began.elapsed() < Duration::from_secs(3), "{status}");
        if status == 408 {
            assert!(told.contains("connection: close"), "{told}");
            read_all(&mut client);
            assert!(
                began.elapsed() < Duration::from_secs(3),
                "and the connection ends"
            );
        }
    }
}

#[test]
fn a_body_over_the_limit_is_told_to_a_client_that_sends_it_all() {
    let server = Server::in_memory(&[]);
    const BATCH: &str = "POST /v1/batch/b HTTP/1.1\r\nhost: localhost\r\n";
    let size = (32 << 20) + 1;
    let close = "connection: close\r\n";
    let announced = format!(
        "{BATCH}{close}content-length: {size}\r\n\r\n{}",
        "x".repeat(size)
    );
    is_problem(&server.exchange(&announced), 413, "batch_too_large");
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
    let chunked = format!(
        "{BATCH}{close}transfer-encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunk.repeat(34)
    );
    is_problem(&server.exchange(&chunked), 413, "batch_too_large");
    let mut waiting = server.connect();
    let size = (5_u64 << 40) + 1;
    let head = format!("{PUT}expect: 100-continue\r\ncontent-length: {size}\r\n\r\n");
    waiting.write_all(head.as_bytes()).unwrap();
    is_problem(&read_all(&mut waiting), 413, "value_too_large");
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_dropped() {
    let server = Server::in_memory(&["--stall-timeout-ms", "300"]);
    assert!(
        server
            .put("/v1/kv/b/k", &"x".repeat(8 << 20))
            .starts_with("HTTP/1.1 200 ")
    );
    let mut greedy = server.connect();
    greedy
        .write_all(b"GET /v1/kv/b/k HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    let mut taken = Vec::new();
    let ended = greedy.read_to_end(&mut taken);
    assert!(
        ended.is_err() || taken.len() < 8 << 20,
        "{} bytes",
        taken.len()
    );
}

#[test]
fn a_head_without_end_or_without_sense_ends_the_connection() {
    let server = Server::in_memory(&[]);
    let long = format!(
        "GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    let mut stream = server.connect();
    // The server may close before all of it is sent.
    stream.write_all(long.as_bytes()).ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431 "));
    assert!(
        server
            .exchange("nonsense\r\n\r\n")
            .starts_with("HTTP/1.1 400 ")
    );
    assert!(server.get("/healthz").starts_with("HTTP/1.1 200 "));
}

#[test]
fn keys_keep_their_bytes_all_the_way_through_the_socket() {
    let server = Server::in_memory(&[]);
    for key in [
        "a//b",
        ".",
        "..",
        "a/../b",
        "/",
        "x/",
        "a+b",
        "%00%ff",
        "%2E%2e/%2F",
    ] {
        let target = format!("/v1/kv/b/{key}");
        assert!(
            server.put(&target, key).starts_with("HTTP/1.1 200 "),
            "{key}"
        );
        assert!(
            server.get(&target).ends_with(&format!("\r\n\r\n{key}")),
            "{key}"
        );
    }
    let list = server.get("/v1/kv/b?keys_only=true");
    assert_eq!(list.matches("\"key_b64\"").count(), 9, "{list}");
}

fn open_files(server: &Server) -> usize {
    let files = format!("/proc/{}/fd", server.child.id());
    std::fs::read_dir(files).unwrap().count()
}

/// Waits until a server holds no more files than this.
fn files_fall_to(server: &Server, files: usize) {
    let began = Instant::now();
    while open_files(server) > files {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{} files are open, {files} were before",
            open_files(server)
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Resident memory of a server that is not of files.
fn memory_kib(server: &Server) -> u64 {
    memory_of(server.child.id())
}

pub(super) fn memory_of(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
