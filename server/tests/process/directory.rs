//! Data directories that can not be used as they are, at each door that opens one.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::command::{failure, readers, real, zip_rows};
use super::run::{Server, cairn, stdout};
use super::verify::{crc32, files, flip, store_in_new_directory, verify};

const BINARY: &str = env!("CARGO_BIN_EXE_cairn");

/// The binary in mounts of its own, after a line of shell that makes them; `$0` is the directory.
/// Only the arguments are missing.
///
/// Whoever is not root becomes that in a user namespace; a machine that forbids it can not run the
/// tests that need it.
pub(super) fn in_own_mounts(mount: &str, directory: &Path) -> Command {
    let flags = if is_root() { "-m" } else { "-rm" };
    let mut command = Command::new("unshare");
    command
        .args([flags, "sh", "-c"])
        .arg(format!("{mount} && exec \"$@\""))
        .arg(directory)
        .arg(BINARY);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CAIRN_")) {
        command.env_remove(name);
    }
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What each door says of a directory: the server, and commands that read and write.
fn doors(data: &Path, command: impl Fn() -> Command) -> Vec<(Option<i32>, String)> {
    let doors: [&[&str]; 3] = [
        &["serve", "--listen", "127.0.0.1:0", "--log", "error"],
        &["get", "b", "k"],
        &["put", "b", "k", "lost"],
    ];
    let doors = doors.iter().map(|arguments| {
        let mut command = command();
        let output = command.args(*arguments).arg("--data").arg(data);
        let output = output.output().expect("`unshare` is installed");
        assert!(output.stdout.is_empty(), "{arguments:?}: {output:?}");
        (output.status.code(), told(&output))
    });
    doors.collect()
}

/// A closed store with one key.
fn small_store(data: &Path) {
    let put = cairn()
        .args(["put", "b", "k", "kept", "--data"])
        .arg(data)
        .output();
    stdout(&put.unwrap());
}

fn holds_its_key(data: &Path) {
    let got = cairn().args(["get", "b", "k", "--data"]).arg(data).output();
    assert_eq!(stdout(&got.unwrap()), "kept");
}

#[test]
fn a_read_only_file_system_is_told_and_can_still_be_verified() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    small_store(&data);
    let mount = "mount --bind \"$0\" \"$0\" && mount -o remount,ro,bind \"$0\"";
    for (code, says) in doors(&data, || in_own_mounts(mount, &data)) {
        assert_eq!(code, Some(1), "{says}");
        assert!(says.contains("Read-only file system"), "{says}");
        assert!(says.contains(data.to_str().unwrap()), "{says}");
        assert!(says.contains("mount the file system for writing"), "{says}");
    }
    let mut command = in_own_mounts(mount, &data);
    let verified = stdout(&command.arg("verify").arg(&data).output().unwrap());
    assert!(verified.contains("state-digest "), "{verified}");
    holds_its_key(&data);
}

#[test]
fn a_directory_of_another_user_is_told_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let mode = |path: &Path, mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, permissions).unwrap();
    };
    mode(directory.path(), 0o755);
    let data = directory.path().join("data");
    small_store(&data);
    mode(&data, 0o555);
    mode(&data.join("lock"), 0o444);
    let before = files(&data);
    for data in [&data, &data.join("new")] {
        let stranger = || {
            let mut command = cairn();
            if is_root() {
                command.uid(65_534).gid(65_534);
            }
            command
        };
        for (code, says) in doors(data, stranger) {
            assert!(says.contains(data.to_str().unwrap()), "{says}");
            if says.contains("no such directory") {
                assert_eq!(code, Some(3), "{says}");
                continue;
            }
            assert_eq!(code, Some(1), "{says}");
            assert!(says.contains("Permission denied"), "{says}");
            assert!(says.contains("owner of the data directory"), "{says}");
            assert!(says.ends_with(" (io)\n"), "{says}");
        }
    }
    assert!(files(&data) == before, "not a byte was changed");
    mode(&data, 0o755);
    mode(&data.join("lock"), 0o644);
    holds_its_key(&data);
}

#[test]
fn a_file_in_place_of_the_directory_is_told_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    for data in [&file, &file.join("below")] {
        for (code, says) in doors(data, cairn) {
            assert_eq!(code, Some(1), "{says}");
            assert!(says.contains(data.to_str().unwrap()), "{says}");
            assert!(says.contains("a file stands where"), "{says}");
            assert!(says.ends_with(" (io)\n"), "{says}");
        }
        for output in readers(data, &directory.path().join("to")) {
            assert_eq!(failure(&output), ("io".to_owned(), Some(1)), "{output:?}");
            assert!(told(&output).contains("a file stands where"), "{output:?}");
        }
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
}

#[test]
fn a_command_that_reads_makes_no_store_in_a_directory_of_something_else() {
    let directory = tempfile::tempdir().unwrap();
    let mine = directory.path().join("mine");
    std::fs::write(&mine, "mine").unwrap();
    for output in readers(directory.path(), &directory.path().join("to")) {
        assert_eq!(failure(&output), ("not_found".to_owned(), Some(3)));
        assert!(
            told(&output).contains("no store in this directory"),
            "{output:?}"
        );
    }
    assert_eq!(
        files(directory.path()).into_keys().collect::<Vec<_>>(),
        [mine]
    );
}

#[test]
fn files_of_another_format_version_are_named_with_it_and_left_as_they_are() {
    let (_directory, data, digest) = store_in_new_directory();
    let mut segments = files(&data.join("p0000")).into_keys();
    let segment = segments.find(|path| path.extension().is_some_and(|end| end == "seg"));
    for path in [
        data.join("identity"),
        data.join("p0000/superblock"),
        segment.unwrap(),
    ] {
        let whole = std::fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        for at in [0, 4096] {
            // A segment has one header, the others two slots.
            let is_segment = path.extension().is_some();
            if at == 0 || !is_segment {
                let sector = &mut bytes[at..at + 512];
                sector[8] = 9;
                let sum = crc32(&sector[..508]);
                sector[508..].copy_from_slice(&sum.to_le_bytes());
            }
        }
        std::fs::write(&path, bytes).unwrap();
        let before = files(&data);
        for (code, says) in doors(&data, cairn) {
            assert_eq!(code, Some(1), "{says}");
            for part in [
                path.to_str().unwrap(),
                "format version 9",
                "reads version 1",
                "use the build",
            ] {
                assert!(says.contains(part), "{part}: {says}");
            }
        }
        assert!(files(&data) == before, "not a byte was changed");
        std::fs::write(&path, whole).unwrap();
    }
    let found = stdout(&verify(&data, &[]));
    assert!(
        found.ends_with(&format!("state-digest {digest}\n")),
        "{found}"
    );
}

#[test]
fn a_flipped_byte_in_any_file_is_told_with_the_file_or_changes_no_answer() {
    let (directory, data, _) = store_in_new_directory();
    let whole = files(&data);
    let copy = directory.path().join("copy");
    std::fs::create_dir_all(copy.join("p0000")).unwrap();
    std::fs::create_dir_all(copy.join("p0001")).unwrap();
    let scan = |data: &Path| {
        let scan = cairn()
            .args(["scan", "one", "--json", "--data"])
            .arg(data)
            .output();
        scan.unwrap()
    };
    restore(&whole, &data, &copy);
    let expected = stdout(&scan(&copy));
    assert_eq!(expected.lines().count(), 50);
    let (mut refused, mut harmless) = (0, 0);
    for (path, bytes) in &whole {
        let damaged = copy.join(path.strip_prefix(&data).unwrap());
        let used = bytes.iter().rposition(|&byte| byte != 0).unwrap_or(0) as u64;
        for at in [20, 4096 + 9, used / 2, used] {
            if at > used || used == 0 {
                continue;
            }
            restore(&whole, &data, &copy);
            flip(&damaged, at);
            let output = scan(&copy);
            let says = told(&output);
            if output.status.success() {
                assert_eq!(stdout(&output), expected, "{damaged:?} at {at}");
                harmless += 1;
                continue;
            }
            let end = damaged.extension().and_then(|end| end.to_str());
            assert!(
                !matches!(end, Some("run" | "redb")),
                "{damaged:?} at {at}: {says}"
            );
            assert_eq!(output.status.code(), Some(1), "{damaged:?} at {at}: {says}");
            for part in [
                damaged.to_str().unwrap(),
                "at byte",
                "cairn verify",
                "corrupt",
            ] {
                assert!(says.contains(part), "{damaged:?} at {at}: {part}: {says}");
            }
            refused += 1;
        }
    }
    assert!(refused > 3 && harmless > 10, "{refused} {harmless}");
}

fn restore(whole: &std::collections::BTreeMap<PathBuf, Vec<u8>>, from: &Path, to: &Path) {
    for extra in files(to).into_keys() {
        std::fs::remove_file(extra).unwrap();
    }
    for (path, bytes) in whole {
        std::fs::write(to.join(path.strip_prefix(from).unwrap()), bytes).unwrap();
    }
}

#[test]
fn a_damaged_store_is_corrupt_at_each_door_that_opens_it() {
    let (directory, data, _) = store_in_new_directory();
    let superblock = data.join("p0000/superblock");
    for at in [20, 4096 + 20] {
        flip(&superblock, at);
    }
    for (code, says) in doors(&data, cairn) {
        assert_eq!(code, Some(1), "{says}");
        assert!(says.ends_with(" (corrupt)\n"), "{says}");
    }
    for output in readers(&data, &directory.path().join("to")) {
        // To verify is to tell what is damaged: there it is what was asked for.
        if output.stdout.is_empty() {
            assert_eq!(failure(&output), ("corrupt".to_owned(), Some(1)));
        } else {
            let found = String::from_utf8_lossy(&output.stdout);
            assert!(found.contains("\"ok\":false"), "{found}");
            assert_eq!(output.status.code(), Some(1), "{found}");
        }
        let told = [&output.stdout[..], &output.stderr[..]].concat();
        let told = String::from_utf8(told).unwrap();
        assert!(told.contains(superblock.to_str().unwrap()), "{told}");
    }
}

#[test]
fn a_directory_copied_under_writes_opens_with_all_that_was_there_or_says_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Server::start(&data, &[]);
    for number in 0..50 {
        let answer = server.put(&format!("/v1/kv/b/early{number:02}"), "kept");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let copies: Vec<PathBuf> = (0..4)
        .map(|n| directory.path().join(format!("copy{n}")))
        .collect();
    std::thread::scope(|scope| {
        let copying = scope.spawn(|| {
            for copy in &copies {
                let copied = Command::new("cp").arg("-r").arg(&data).arg(copy).status();
                assert!(copied.unwrap().success());
            }
        });
        while !copying.is_finished() {
            server.put("/v1/kv/b/late", &"x".repeat(10_000));
        }
    });
    for copy in &copies {
        holds_50_or_is_corrupt(copy);
    }
    assert_eq!(server.stop().0, Some(0));
    assert_eq!(verify(&data, &[]).status.code(), Some(0));
}

/// The first segment and the superblock as they were at two moments: `cp` may take either first.
#[test]
fn a_segment_older_than_the_superblock_of_its_copy_is_corrupt_and_a_newer_one_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Server::start(&data, &[]);
    for number in 0..50 {
        server.put(&format!("/v1/kv/b/early{number:02}"), "kept");
    }
    let early = files(&data);
    for _ in 0..20 {
        server.put("/v1/kv/b/late", &"x".repeat(10_000));
    }
    // A clean end marks in the superblock how far all is durable.
    assert_eq!(server.stop().0, Some(0));
    let late = files(&data);
    let is_superblock = |path: &Path| path.file_name().is_some_and(|name| name == "superblock");
    for superblock_first in [true, false] {
        let copy = directory.path().join(format!("copy-{superblock_first}"));
        std::fs::create_dir_all(copy.join("p0000")).unwrap();
        for (path, bytes) in &late {
            let is_early = is_superblock(path) == superblock_first;
            let bytes = early.get(path).filter(|_| is_early).unwrap_or(bytes);
            std::fs::write(copy.join(path.strip_prefix(&data).unwrap()), bytes).unwrap();
        }
        assert_eq!(holds_50_or_is_corrupt(&copy), superblock_first);
    }
}

/// What a copy may be: it has all that was there before, or it is told to be corrupt with the place
/// and what to do, and not a byte of it is changed. Says which.
fn holds_50_or_is_corrupt(copy: &Path) -> bool {
    let before = files(copy);
    let scan = cairn()
        .args(["scan", "b", "--prefix", "early", "--data"])
        .arg(copy)
        .output();
    let scan = scan.unwrap();
    if scan.status.success() {
        assert_eq!(stdout(&scan).matches("\tkept\n").count(), 50);
        assert_eq!(verify(copy, &[]).status.code(), Some(0));
        return true;
    }
    let says = told(&scan);
    assert_eq!(scan.status.code(), Some(1), "{says}");
    assert!(scan.stdout.is_empty(), "nothing of it is shown");
    for part in ["at byte", "cairn verify", "restore", "(corrupt)"] {
        assert!(says.contains(part), "{part}: {says}");
    }
    let named = before
        .keys()
        .find(|path| says.contains(path.to_str().unwrap()));
    assert!(named.is_some(), "{says}");
    // Only an index may be made anew.
    let is_index = |path: &Path| {
        path.extension()
            .is_some_and(|end| end == "redb" || end == "run")
    };
    let (mut before, mut after) = (before, files(copy));
    before.retain(|path, _| !is_index(path));
    after.retain(|path, _| !is_index(path));
    assert!(after == before, "not a byte of the log was changed");
    assert_ne!(verify(copy, &[]).status.code(), Some(0));
    false
}

#[test]
fn an_import_that_is_killed_leaves_whole_rows_and_is_made_whole_by_importing_again() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let file = real("zipcodes.csv");
    let import = || {
        let mut command = cairn();
        command.args(["import", "zips", "--key", "zip_code", "--data"]);
        command.arg(&data).arg(&file).stdout(Stdio::null());
        command
    };
    let expected = zip_rows();
    let exported = || {
        let mut export = cairn();
        let export = export.args(["export", "zips", "--data"]).arg(&data);
        let export = export.output().unwrap();
        if export.status.code() == Some(3) {
            return 0;
        }
        let rows = stdout(&export);
        for line in rows.lines() {
            let key = line
                .strip_prefix("{\"key\":\"")
                .and_then(|rest| rest.get(..5));
            let row = &expected[key.unwrap()];
            assert!(line.ends_with(&format!(",\"value\":{row}}}")), "{line}");
        }
        rows.lines().count()
    };
    let (mut cut_short, mut partial) = (0, 0);
    for delay_ms in [60, 120, 200] {
        let mut child = import().spawn().unwrap();
        let began = Instant::now();
        while !data.join("p0000/0000000000000001.seg").exists() {
            assert!(began.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(delay_ms));
        child.kill().unwrap();
        cut_short += u32::from(!child.wait().unwrap().success());
        let verified = verify(&data, &[]);
        assert_eq!(verified.status.code(), Some(0), "{}", told(&verified));
        let rows = exported();
        partial += usize::from((1..expected.len()).contains(&rows));
    }
    println!("{cut_short} were killed, {partial} left some rows");
    assert!(cut_short > 0, "an import was killed");
    assert!(import().status().unwrap().success());
    assert_eq!(exported(), expected.len());
}
