//! Large values over real sockets, on a real disk.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::clients::memory_of;
use super::run::{Server, is_problem};

const MIB: usize = 1 << 20;

/// The bytes of a value from here on: no two mebibytes of it are alike.
fn part(at: u64) -> Vec<u8> {
    let words = (0..MIB as u64 / 8).map(|word| (at + word * 8).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    words.flat_map(u64::to_le_bytes).collect()
}

fn begin_put(server: &Server, key: &str, mib: usize) -> TcpStream {
    let mut stream = server.connect();
    let head = format!(
        "PUT /v1/kv/b/{key} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        mib * MIB
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn put(server: &Server, key: &str, mib: usize) -> String {
    let mut stream = begin_put(server, key, mib);
    for at in 0..mib {
        stream.write_all(&part((at * MIB) as u64)).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Asks for a value and reads the head of the answer.
fn begin_get(server: &Server, key: &str, mib: usize) -> TcpStream {
    let mut stream = server.connect();
    let request =
        format!("GET /v1/kv/b/{key} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(
        head.contains(&format!("content-length: {}\r\n", mib * MIB)),
        "{head}"
    );
    stream
}

/// Reads a value and checks every byte.
fn check(server: &Server, key: &str, mib: usize) {
    let mut stream = begin_get(server, key, mib);
    let mut found = vec![0; MIB];
    for at in 0..mib {
        stream.read_exact(&mut found).unwrap();
        assert!(found == part((at * MIB) as u64), "mebibyte {at} of {key}");
    }
    assert_eq!(
        stream.read(&mut found).unwrap(),
        0,
        "bytes behind the value"
    );
}

/// The most memory that the server takes while something happens, above what it takes before.
fn growth_kib(server: &Server, happens: impl FnOnce()) -> u64 {
    let process = server.child.id();
    let before = memory_of(process);
    let over = AtomicBool::new(false);
    let most = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                most = memory_of(process).max(most);
                std::thread::sleep(Duration::from_millis(5));
            }
            most
        });
        happens();
        over.store(true, Ordering::Relaxed);
        watching.join().unwrap()
    });
    most.saturating_sub(before)
}

#[test]
fn a_value_of_200_mib_goes_in_and_out_through_little_memory() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let mut times = Vec::new();
    let grown = growth_kib(&server, || {
        let began = Instant::now();
        let answer = put(&server, "film", 200);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        times.push(began.elapsed());
        let began = Instant::now();
        check(&server, "film", 200);
        times.push(began.elapsed());
    });
    println!("put, get: {times:?}; {grown} KiB");
    assert!(grown < 64 * 1024, "{grown} KiB");
}

#[test]
fn eight_slow_puts_and_gets_of_a_gibibyte_hold_little_memory() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    put(&server, "film", 24);
    let grown = growth_kib(&server, || {
        let mut puts: Vec<_> = (0..8)
            .map(|n| begin_put(&server, &format!("k{n}"), 1024))
            .collect();
        let mut gets: Vec<_> = (0..8).map(|_| server.connect()).collect();
        for get in &mut gets {
            let request = "GET /v1/kv/b/film HTTP/1.1\r\nhost: localhost\r\n\r\n";
            get.write_all(request.as_bytes()).unwrap();
        }
        let part = part(0);
        for _ in 0..6 {
            for stream in &mut puts {
                stream.write_all(&part[..700_000]).unwrap();
            }
            for stream in &mut gets {
                stream.read_exact(&mut vec![0; 300_000]).unwrap();
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    });
    assert!(grown < 64 * 1024, "{grown} KiB");
    let kept = server.get("/v1/kv/b?keys_only=true");
    assert_eq!(kept.matches("\"key_b64\"").count(), 1, "{kept}");
}

/// All 16 GiB. Red with glibc's defaults: docs/LAWS.md has the figures and the cause.
#[test]
#[ignore = "long, and takes 8 GiB of disk"]
fn eight_slow_puts_and_gets_of_a_whole_gibibyte_each_hold_little_memory() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    put(&server, "film", 1);
    let at_once = |begin: Begin, go_on: GoOn| -> (Vec<blake3::Hash>, u64) {
        let mut hashes = Vec::new();
        let began = Instant::now();
        let grown = growth_kib(&server, || {
            let streams =
                (0..8).map(|client| (begin(&server, &format!("k{client}"), 1024), client));
            let clients =
                streams.map(|(stream, client)| std::thread::spawn(move || go_on(stream, client)));
            let clients: Vec<_> = clients.collect();
            hashes.extend(clients.into_iter().map(|client| client.join().unwrap()));
        });
        println!("{:?}, {grown} KiB", began.elapsed());
        (hashes, grown)
    };
    let (sent, grown_by_puts) = at_once(begin_put, put_a_gibibyte);
    let (received, grown_by_gets) = at_once(begin_get, get_a_gibibyte);
    assert_eq!(sent, received);
    let different: std::collections::HashSet<_> = sent.iter().collect();
    assert_eq!(different.len(), sent.len(), "no value is another one");
    assert!(grown_by_puts < 64 * 1024, "{grown_by_puts} KiB");
    assert!(grown_by_gets < 64 * 1024, "{grown_by_gets} KiB");
}

type Begin = fn(&Server, &str, usize) -> TcpStream;
type GoOn = fn(TcpStream, u64) -> blake3::Hash;

/// How long a slow client takes for a mebibyte: 16 MiB/s.
const MIB_TAKES: Duration = Duration::from_micros(62_500);

/// Waits until a client that is this far may go on.
fn keep_pace(began: Instant, mib: u32) {
    std::thread::sleep((MIB_TAKES * mib).saturating_sub(began.elapsed()));
}

fn put_a_gibibyte(mut stream: TcpStream, client: u64) -> blake3::Hash {
    let (began, mut hasher) = (Instant::now(), blake3::Hasher::new());
    for mib in 0..1024 {
        keep_pace(began, mib);
        let part = part((client << 40) + u64::from(mib) * MIB as u64);
        hasher.update(&part);
        stream.write_all(&part).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    hasher.finalize()
}

fn get_a_gibibyte(mut stream: TcpStream, _client: u64) -> blake3::Hash {
    let (began, mut hasher) = (Instant::now(), blake3::Hasher::new());
    let mut part = vec![0; MIB];
    for mib in 0..1024 {
        keep_pace(began, mib);
        stream.read_exact(&mut part).unwrap();
        hasher.update(&part);
    }
    assert_eq!(stream.read(&mut part).unwrap(), 0, "bytes behind the value");
    hasher.finalize()
}

#[test]
fn a_client_that_goes_away_in_the_middle_of_a_large_put_leaves_the_key_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    server.put("/v1/kv/b/k", "before");
    let mut stream = begin_put(&server, "k", 100);
    for at in 0..20 {
        stream.write_all(&part(at)).unwrap();
    }
    drop(stream);
    let mut stream = begin_put(&server, "new", 100);
    stream.write_all(&part(0)).unwrap();
    drop(stream);
    std::thread::sleep(Duration::from_millis(100));
    assert!(server.get("/v1/kv/b/k").ends_with("\r\n\r\nbefore"));
    is_problem(&server.get("/v1/kv/b/new"), 404, "key_not_found");
    let answer = put(&server, "k", 10);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    check(&server, "k", 10);
}

#[test]
fn a_large_value_survives_sigkill_and_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    assert!(put(&server, "film", 20).starts_with("HTTP/1.1 200 "));
    let mut half = begin_put(&server, "half", 20);
    half.write_all(&part(0)).unwrap();
    server.signal("-KILL");
    drop(server);
    let server = Server::start(directory.path(), &[]);
    check(&server, "film", 20);
    is_problem(&server.get("/v1/kv/b/half"), 404, "key_not_found");
}
