//! A server that is killed under load, again and again on one directory, keeps what it promised;
//! and a consumer that resumes after each kill sees each batch once, in order (law 6).

mod follower;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cairn_log::vfs::simulated::Random;
use cairn_sdk::wire::{Deleted, Page, Written};
use cairn_tests::http::{Client, Reply};
use cairn_tests::server::Server;
use cairn_tests::writer::{Held, Outcome, State, Write, Writer};
use follower::Follower;
use serde_json::json;

const KILLS: u64 = 30;
const WRITERS: u64 = 16;

/// The load before a kill, in microseconds; in every other round from the first acknowledged write
/// on, so that on a slow disk not every kill comes before one.
const LOAD_US: std::ops::Range<u64> = 20_000..120_000;

/// How long anything may take that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// What happened.
#[derive(Debug, Default)]
struct Events {
    puts: u64,
    deletes: u64,
    batches: u64,
    /// Writes without a reply when the server died.
    in_flight: u64,
    /// Those of them that are there after the restart.
    in_flight_found: u64,
    /// Batches that the consumer got from a server that was killed then.
    followed: usize,
}

/// The write that each version names.
#[derive(Debug, Default)]
struct Versions(BTreeMap<u64, String>);

impl Versions {
    fn record(&mut self, version: u64, write: &str) {
        let named = self.0.entry(version).or_insert_with(|| write.to_owned());
        assert_eq!(named, write, "version {version} names two writes");
    }
}

/// Writes that were acknowledged under a version of their own, by their names.
type Acknowledged = Vec<(Write, u64, String)>;

#[test]
fn kill_9_under_16_writers_loses_nothing_acknowledged_and_splits_no_batch() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut random = Random::new(9);
    let mut writers: Vec<Writer> = (0..WRITERS)
        .map(|number| Writer::new(&format!("w{number:02}"), number))
        .collect();
    let mut versions = Versions::default();
    let mut events = Events::default();
    let mut follower = Follower::default();
    for round in 0..KILLS {
        let is_first_awaited = round % 2 == 0;
        let has_acknowledged = AtomicBool::new(false);
        let server = Server::start(directory.path());
        let address = server.address();
        let load = LOAD_US.start + random.below(LOAD_US.end - LOAD_US.start);
        let acknowledged: Vec<Acknowledged> = std::thread::scope(|scope| {
            let told = &has_acknowledged;
            let start = |writer| scope.spawn(move || write_until_killed(writer, address, told));
            let threads: Vec<_> = writers.iter_mut().map(start).collect();
            scope.spawn(|| follower.follow_until_killed(address));
            let deadline = Instant::now() + PATIENCE;
            while is_first_awaited && !has_acknowledged.load(Ordering::Relaxed) {
                if Instant::now() > deadline {
                    // What the writers and the consumer wait for never comes; this ends them.
                    server.kill();
                    panic!("no write was acknowledged within {PATIENCE:?}");
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_micros(load));
            server.kill();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined.map(|result| result.expect("a writer")).collect()
        });
        for (write, version, name) in acknowledged.into_iter().flatten() {
            match write {
                Write::Put(_) => events.puts += 1,
                Write::Delete(_) => events.deletes += 1,
                Write::Batch(..) => events.batches += 1,
            }
            versions.record(version, &name);
        }
        let server = Server::start(directory.path());
        settle(&mut writers, server.address(), &mut versions, &mut events);
        server.kill();
    }
    events.followed = follower.seen.len();
    let server = Server::start(directory.path());
    check_follower(follower, server.address(), &versions);
    println!("{events:?}");
    assert!(
        events.puts > 0 && events.deletes > 0 && events.batches > 0,
        "{events:?}"
    );
    assert!(
        events.in_flight > 0 && events.in_flight_found > 0 && events.followed > 20,
        "{events:?}"
    );
}

/// Sends one write after the other until the server is gone.
fn write_until_killed(
    writer: &mut Writer,
    address: SocketAddr,
    has_acknowledged: &AtomicBool,
) -> Acknowledged {
    let mut acknowledged = Vec::new();
    let Ok(mut client) = Client::connect(address) else {
        return acknowledged;
    };
    loop {
        let write = writer.submit();
        let name = writer.write_name();
        let Ok(reply) = send(&mut client, &write, &name) else {
            return acknowledged;
        };
        let text = String::from_utf8_lossy(&reply.body);
        assert_eq!(reply.status, 200, "{name}: {text}");
        let version = match &write {
            Write::Delete(key) => {
                let deleted: Deleted = serde_json::from_str(&text).expect("a reply to a delete");
                assert_eq!(deleted.existed, writer.holds(key), "{name}: {key}");
                deleted.existed.then_some(deleted.version)
            }
            _ => {
                let written: Written = serde_json::from_str(&text).expect("a reply to a write");
                Some(written.version)
            }
        };
        match version {
            Some(version) => {
                has_acknowledged.store(true, Ordering::Relaxed);
                writer.acknowledge(version);
                acknowledged.push((write, version, name));
            }
            None => writer.acknowledge_unchanged(),
        }
    }
}

fn send(client: &mut Client, write: &Write, name: &str) -> std::io::Result<Reply> {
    match write {
        Write::Put(key) => client.send("PUT", &format!("/v1/kv/b/{key}"), name.as_bytes()),
        Write::Delete(key) => client.send("DELETE", &format!("/v1/kv/b/{key}"), b""),
        Write::Batch(puts, deletes) => {
            let puts = puts.iter();
            let puts = puts.map(|key| json!({"put": {"key": key, "value": name}}));
            let deletes = deletes.iter().map(|key| json!({"delete": {"key": key}}));
            let operations: Vec<_> = puts.chain(deletes).collect();
            let body = json!({ "ops": operations }).to_string();
            client.send("POST", "/v1/batch/b", body.as_bytes())
        }
    }
}

/// Checks every writer's keys after a restart.
fn settle(
    writers: &mut [Writer],
    address: SocketAddr,
    versions: &mut Versions,
    events: &mut Events,
) {
    let mut found = vec![State::new(); writers.len()];
    for (key, held) in scan(address) {
        versions.record(held.version, &held.value);
        let number = key.strip_prefix('w').and_then(|rest| rest.get(..2));
        let number: usize = number
            .and_then(|number| number.parse().ok())
            .expect("a key of a writer");
        found[number].insert(key, held);
    }
    for (writer, found) in writers.iter_mut().zip(&found) {
        events.in_flight += u64::from(writer.is_pending());
        let settled = writer.settle(found);
        let outcome = settled.unwrap_or_else(|difference| panic!("{difference}"));
        events.in_flight_found += u64::from(matches!(outcome, Some(Outcome::Found(_))));
    }
}

/// What the consumer has got over all its connections is what one that begins anew gets, and makes
/// up what the keys hold.
fn check_follower(mut follower: Follower, address: SocketAddr, versions: &Versions) {
    let (state, head) = scan_at(address);
    follower.follow_up_to(address, head);
    let mut whole = Follower::default();
    whole.follow_up_to(address, head);
    assert_eq!(
        follower.seen, whole.seen,
        "law 6: a gap, a repeat or a torn batch"
    );
    let mut replayed = State::new();
    let mut newest = 0;
    for (version, changes) in whole.seen {
        assert!(version > newest, "law 6: {version} comes after {newest}");
        newest = version;
        let named = versions.0.get(&version);
        for (key, value) in changes {
            match value {
                Some(value) => {
                    assert!(
                        named.is_none_or(|name| *name == value),
                        "{version}: {value}"
                    );
                    replayed.insert(key, Held { version, value });
                }
                None => drop(replayed.remove(&key)),
            }
        }
    }
    assert_eq!(replayed, state);
}

fn scan(address: SocketAddr) -> State {
    scan_at(address).0
}

/// All keys, and the version that they are read at.
fn scan_at(address: SocketAddr) -> (State, u64) {
    let mut client = Client::connect(address).expect("a server that is ready");
    let reply = client.send("GET", "/v1/kv/b?limit=10000", b"");
    let reply = reply.expect("a page of a scan");
    let text = String::from_utf8_lossy(&reply.body);
    if reply.status == 404 && text.contains("\"bucket_not_found\"") {
        // The first write creates the bucket, and the server may die before it. A writer to whom
        // anything was acknowledged misses it.
        return (State::new(), 0);
    }
    assert_eq!(reply.status, 200, "{text}");
    let page: Page = serde_json::from_slice(&reply.body).expect("a page of a scan");
    assert_eq!(page.cursor, None, "all keys fit one page");
    let items = page.items.into_iter().map(|item| {
        let value = item.value_b64.expect("small values are embedded").0;
        let value = String::from_utf8(value.to_vec()).expect("values are text");
        let version = item.version;
        (item.key.expect("keys are text"), Held { version, value })
    });
    (items.collect(), page.version)
}
