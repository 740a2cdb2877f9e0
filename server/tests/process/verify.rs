//! `cairn verify` on directories as a clean close, a kill, and a failing disk leave them.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use cairn_kv::Store;
use serde_json::Value;

use super::run::{Server, cairn, stdout};

pub(super) fn verify(data: &Path, arguments: &[&str]) -> Output {
    let command = &mut cairn();
    command
        .arg("verify")
        .arg(data)
        .args(arguments)
        .output()
        .unwrap()
}

pub(super) fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Two partitions with sealed segments, runs, merged entries and garbage, closed cleanly; and the
/// digest of its state.
fn closed_store(data: &Path) -> String {
    let options = Store::options()
        .partitions(2)
        .segment_bytes(64 << 10)
        .merge_entries(20);
    let store = options.threads(false).open(data).unwrap();
    for name in ["one", "two"] {
        let bucket = store.bucket(name).unwrap();
        for number in 0..120_u32 {
            let key = (number % 50).to_be_bytes();
            bucket.put(key, vec![1; 3_000]).unwrap();
            while store.step().unwrap() {}
        }
        store.append(0, "topic", name).unwrap();
    }
    let digest = store.state_digest().unwrap().to_string();
    store.close().unwrap();
    digest
}

/// Every file below a directory, with its bytes.
pub(super) fn files(data: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            files.insert(path, bytes);
        }
    }
    files
}

/// The files of the first partition with this ending, by name.
fn ending(data: &Path, ending: &str) -> Vec<PathBuf> {
    let all = files(&data.join("p0000")).into_keys();
    all.filter(|path| path.to_str().unwrap().ends_with(ending))
        .collect()
}

pub(super) fn flip(path: &Path, at: u64) {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 8], at).unwrap();
}

fn cut(path: &Path, length: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(length).unwrap();
}

pub(super) fn store_in_new_directory() -> (tempfile::TempDir, PathBuf, String) {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let digest = closed_store(&data);
    (directory, data, digest)
}

#[test]
fn a_closed_store_is_verified_and_left_as_it_is() {
    let (_directory, data, digest) = store_in_new_directory();
    let before = files(&data);
    let said = stdout(&verify(&data, &[]));
    assert!(
        said.ends_with(&format!("state-digest {digest}\n")),
        "{said}"
    );
    let found = json(&verify(&data, &["--json"]));
    assert_eq!(
        (&found["ok"], &found["partitions"]),
        (&true.into(), &2.into())
    );
    assert_eq!(found["state_digest"], digest);
    for counted in ["records", "runs", "merged_entries"] {
        assert!(found[counted].as_u64().unwrap() > 0, "{counted}: {found}");
    }
    assert!(files(&data) == before, "not a byte was changed");
}

#[test]
fn a_killed_store_is_verified_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut server = Server::start(&data, &[]);
    for number in 0..20 {
        let answer = server.put(&format!("/v1/kv/b/{number}"), "value");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let before = files(&data);
    let found = json(&verify(&data, &["--json"]));
    assert!(files(&data) == before, "not a byte was changed");
    assert_eq!(found["ok"], true, "{found}");
    let store = Store::open(&data).unwrap();
    let digest = store.state_digest().unwrap().to_string();
    assert_eq!(found["state_digest"], digest);
    assert_eq!(store.bucket("b").unwrap().info().unwrap().keys, 20);
}

#[test]
fn each_damaged_file_of_the_log_is_named_with_its_place() {
    let (_directory, data, _) = store_in_new_directory();
    let segments = ending(&data, ".seg");
    assert!(segments.len() > 3, "{segments:?}");
    let superblock = data.join("p0000/superblock");
    let newest = segments.last().unwrap();
    flip(&superblock, 4096 + 40);
    flip(&segments[0], 4096 + 5);
    flip(&segments[1], 600);
    flip(newest, 4096 + 9);
    cut(&segments[2], 9_000);
    let before = files(&data);
    let output = verify(&data, &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(files(&data) == before, "not a byte was changed");
    let found = json(&output);
    let place = |damage: &Value| {
        let path = damage["path"].as_str().unwrap().into();
        (path, damage["position"].as_u64().unwrap())
    };
    let places: Vec<(PathBuf, u64)> = found["damage"]
        .as_array()
        .unwrap()
        .iter()
        .map(place)
        .collect();
    for expected in [
        (superblock, 4096),
        (segments[0].clone(), 4096),
        (segments[1].clone(), 512),
        (segments[2].clone(), 9_000),
        (newest.clone(), 4096),
    ] {
        assert!(places.contains(&expected), "{expected:?} of {found}");
    }
    assert_eq!(
        (&found["ok"], &found["state_digest"]),
        (&false.into(), &Value::Null)
    );
    let said = String::from_utf8(verify(&data, &[]).stdout).unwrap();
    assert!(said.contains("restore it from a backup"), "{said}");
    assert!(!said.contains("state-digest"), "{said}");
}

#[test]
fn damaged_index_files_are_told_and_lose_nothing() {
    let (_directory, data, digest) = store_in_new_directory();
    let runs = ending(&data, ".run");
    let index = data.join("p0000/index.redb");
    flip(&runs[0], 20);
    let length = std::fs::metadata(&runs[1]).unwrap().len();
    flip(&runs[1], length - 50);
    cut(&index, 4096 * 3 + 7);
    let before = files(&data);
    let output = verify(&data, &["--json"]);
    assert!(files(&data) == before, "not a byte was changed");
    let found = json(&output);
    assert_eq!(output.status.code(), Some(0), "{found}");
    assert_eq!(found["state_digest"], digest);
    let told = found["damaged_index_files"].to_string();
    for path in [&runs[0], &runs[1], &index] {
        assert!(told.contains(path.to_str().unwrap()), "{path:?}: {told}");
    }
    let said = stdout(&verify(&data, &[]));
    assert!(said.contains("made again from the log"), "{said}");
}

#[test]
fn what_is_no_store_to_verify_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let told = |path: &Path| {
        let output = verify(path, &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let (code, said) = told(&directory.path().join("missing"));
    assert_eq!((code, said.contains("no such directory")), (Some(3), true));
    let (code, said) = told(directory.path());
    assert_eq!((code, said.contains("no store")), (Some(3), true), "{said}");
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let (code, said) = told(&file);
    let is_told = said.contains("a file stands where");
    assert_eq!((code, is_told), (Some(1), true), "{said}");
    assert_eq!(
        cairn().arg("verify").output().unwrap().status.code(),
        Some(2)
    );

    let data = directory.path().join("data");
    let server = Server::start(&data, &[]);
    let (code, said) = told(&data);
    assert_eq!(
        (code, said.contains("another process")),
        (Some(1), true),
        "{said}"
    );
    assert_eq!(server.stop().0, Some(0));
    assert_eq!(told(&data).0, Some(0));

    let identity = data.join("identity");
    let mut bytes = std::fs::read(&identity).unwrap();
    for slot in bytes.chunks_mut(4096) {
        slot[8] = 9;
        let sum = crc32(&slot[..508]);
        slot[508..512].copy_from_slice(&sum.to_le_bytes());
    }
    std::fs::write(&identity, bytes).unwrap();
    let (code, said) = told(&data);
    assert_eq!(
        (code, said.contains("format version 9")),
        (Some(1), true),
        "{said}"
    );
}

/// CRC-32 as zlib has it, a bit at a time.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for &byte in bytes {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(sum & 1));
        }
    }
    !sum
}
