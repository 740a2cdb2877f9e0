//! A disk that is really full under the real binary: a small file system of memory.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::directory::in_own_mounts;
use super::run::{Server, is_problem, read_all, stdout};

/// Room for four segments, and for what stands beside them. With less than three there is none that
/// collection could give back.
const FREE: &str = "290m";

fn on_a_small_disk(directory: &Path) -> Server {
    let mount = format!("mount -t tmpfs -o size={FREE} none \"$0\"");
    let data = directory.join("data");
    let mut command = in_own_mounts(&mount, directory);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]);
    Server::of_command(command.arg(&data))
}

fn put(server: &Server, key: &str, mib: usize) -> String {
    let mut stream = server.connect();
    let head = format!(
        "PUT /v1/kv/b/{key} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        mib << 20
    );
    stream.write_all(head.as_bytes()).unwrap();
    // What is refused is not taken to its end: a client reads while it sends.
    let mut sending = stream.try_clone().unwrap();
    sending
        .set_write_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || (0..mib).try_for_each(|_| sending.write_all(&[7; 1 << 20])));
        read_all(&mut stream)
    })
}

#[test]
fn on_a_full_disk_writes_are_refused_reads_and_deletes_go_on_and_space_brings_writes_back() {
    let directory = tempfile::tempdir().unwrap();
    let server = on_a_small_disk(directory.path());
    assert!(
        server
            .put("/v1/kv/b/k", "before")
            .starts_with("HTTP/1.1 200 ")
    );
    assert!(put(&server, "filler", 110).starts_with("HTTP/1.1 200 "));

    let refused = put(&server, "k", 300);
    is_problem(&refused, 507, "disk_full");
    assert!(refused.contains("free some, and writes go on"), "{refused}");
    assert!(refused.contains("\"retryable\":true"), "{refused}");
    assert!(
        server.get("/v1/kv/b/k").ends_with("\r\n\r\nbefore"),
        "the key is as it was"
    );
    is_problem(&put(&server, "new", 70), 507, "disk_full");
    is_problem(&server.get("/v1/kv/b/new"), 404, "key_not_found");
    assert!(
        server.get("/readyz").starts_with("HTTP/1.1 200 "),
        "nothing is poisoned"
    );

    let file = directory.path().join("film");
    std::fs::write(&file, vec![7; 70 << 20]).unwrap();
    let upload = server.run(&["upload", file.to_str().unwrap(), "b/new", "--json"]);
    assert_eq!(upload.status.code(), Some(1));
    let told: serde_json::Value = serde_json::from_slice(&upload.stderr).unwrap();
    assert_eq!(told["code"], "disk_full", "{told}");

    // Deletes give back what they free, without a restart and without anybody's help.
    stdout(&server.run(&["delete", "b", "filler"]));
    let began = Instant::now();
    while !put(&server, "new", 70).starts_with("HTTP/1.1 200 ") {
        assert!(began.elapsed() < Duration::from_secs(30), "writes resume");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(server.get("/v1/kv/b/k").ends_with("\r\n\r\nbefore"));
    assert_eq!(server.stop().0, Some(0));
}
