//! `cairn backup`.

use std::path::Path;
use std::process::Output;

use super::run::{Server, cairn, stdout};
use super::verify::{files, json, store_in_new_directory, verify};

fn backup(data: &Path, to: &Path) -> Output {
    let command = &mut cairn();
    let command = command.arg("backup").arg(data).arg("--to").arg(to);
    command.output().unwrap()
}

#[test]
fn a_copy_verifies_with_the_digest_of_the_original_and_is_served_in_its_place() {
    let (directory, data, digest) = store_in_new_directory();
    let to = directory.path().join("copy");
    let said = stdout(&backup(&data, &to));
    assert!(
        said.ends_with(&format!("state-digest {digest}\n")),
        "{said}"
    );
    for data in [&data, &to] {
        let found = json(&verify(data, &["--json"]));
        assert_eq!(
            (&found["ok"], &found["state_digest"]),
            (&true.into(), &digest.clone().into())
        );
    }
    // What is written to the original does not reach the copy, and the other way round.
    let mut copied = files(&to);
    let server = Server::start(&data, &[]);
    server.put("/v1/kv/one/later", "1");
    assert_eq!(server.stop().0, Some(0));
    copied.retain(|path, bytes| std::fs::read(path).unwrap() != *bytes);
    assert!(copied.is_empty(), "{:?}", copied.keys());
    let server = Server::start(&to, &[]);
    assert!(server.get("/v1/kv/one/later").starts_with("HTTP/1.1 404"));
    assert!(
        server
            .put("/v1/kv/one/other", "1")
            .starts_with("HTTP/1.1 200")
    );
    assert_eq!(server.stop().0, Some(0));
    assert_eq!(verify(&data, &[]).status.code(), Some(0));
    assert_eq!(verify(&to, &[]).status.code(), Some(0));
}

#[test]
fn what_can_not_be_copied_or_written_is_told() {
    let (directory, data, _) = store_in_new_directory();
    let to = directory.path().join("copy");
    let told = |data: &Path, to: &Path| {
        let output = backup(data, to);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let (code, said) = told(&data, &data);
    assert_eq!(
        (code, said.contains("not empty")),
        (Some(1), true),
        "{said}"
    );
    let (code, said) = told(directory.path(), &to);
    assert_eq!((code, said.contains("no store")), (Some(3), true), "{said}");
    assert_eq!(told(&directory.path().join("missing"), &to).0, Some(3));
    assert!(!to.exists() && !directory.path().join("missing").exists());
    let _server = Server::start(&data, &[]);
    let (code, said) = told(&data, &to);
    assert_eq!(
        (code, said.contains("another process")),
        (Some(1), true),
        "{said}"
    );
}
