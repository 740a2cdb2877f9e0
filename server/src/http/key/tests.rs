use super::*;
use cairn_sdk::check_writable;
use cairn_sdk::wire::{KEY_BYTES_MAX, encode_key_parameter, key_target};

fn key(path: &str) -> Vec<u8> {
    let target = KeyTarget::of_path(path).unwrap();
    assert_eq!(target.bucket, "b");
    target.key
}

fn refused(path: &str) -> Code {
    KeyTarget::of_path(path).unwrap_err().code().clone()
}

#[test]
fn a_key_is_decoded_once_and_not_normalised() {
    for (path, expected) in [
        ("/v1/kv/b/alice", &b"alice"[..]),
        ("/v1/kv/b/a+b", b"a+b"),
        ("/v1/kv/b/a%20b", b"a b"),
        ("/v1/kv/b/a%2Fb", b"a/b"),
        ("/v1/kv/b/a%2fb", b"a/b"),
        ("/v1/kv/b/a/b", b"a/b"),
        ("/v1/kv/b/%2541", b"%41"),
        ("/v1/kv/b/a//b", b"a//b"),
        ("/v1/kv/b//", b"/"),
        ("/v1/kv/b//a", b"/a"),
        ("/v1/kv/b/a/", b"a/"),
        ("/v1/kv/b/.", b"."),
        ("/v1/kv/b/..", b".."),
        ("/v1/kv/b/a/../c", b"a/../c"),
        ("/v1/kv/b/%2e%2e/c", b"../c"),
        ("/v1/kv/b/%00", b"\0"),
        ("/v1/kv/b/%ff%FE", b"\xff\xfe"),
        ("/v1/kv/b/k?", b"k?"),
    ] {
        assert_eq!(key(path), expected, "{path}");
    }
}

#[test]
fn a_bad_escape_and_the_empty_key_are_refused() {
    for path in [
        "/v1/kv/b/%",
        "/v1/kv/b/a%2",
        "/v1/kv/b/%zz",
        "/v1/kv/b/%2G",
        "/v1/kv/b/%%",
        "/v1/kv/b/",
    ] {
        assert_eq!(refused(path), Code::InvalidArgument, "{path}");
    }
}

#[test]
fn a_key_may_have_4096_bytes_and_not_one_more() {
    let longest = format!("/v1/kv/b/{}", "%00".repeat(KEY_BYTES_MAX));
    assert_eq!(key(&longest).len(), KEY_BYTES_MAX);
    assert_eq!(refused(&format!("{longest}a")), Code::KeyTooLarge);
}

#[test]
fn bucket_names_are_checked_and_snapshots_only_read() {
    for path in [
        "/v1/kv/B/k",
        "/v1/kv/-b/k",
        "/v1/kv/a%2Fb/k",
        "/v1/kv//k",
        "/v1/kv/%ff/k",
    ] {
        assert_eq!(refused(path), Code::InvalidArgument, "{path}");
    }
    assert_eq!(KeyTarget::of_path("/v1/kv/%62/k").unwrap().bucket, "b");
    for name in ["b@monday", "b.at.monday"] {
        let target = KeyTarget::of_path(&format!("/v1/kv/{name}/k")).unwrap();
        assert_eq!(snapshot_of(&target.bucket), Some("b"));
        assert_eq!(
            *check_writable(&target.bucket).unwrap_err().code(),
            Code::ReadOnly
        );
    }
    assert_eq!(refused("/v1/kv/b@Monday/k"), Code::InvalidArgument);
    assert!(check_writable("plain").is_ok());
}

#[test]
fn the_parameter_form_says_any_key() {
    for expected in [&b"."[..], b"a//b", b"\x00\xff", b"plain"] {
        let mut query =
            Query::parse(Some(&format!("key_b64={}", encode_key_parameter(expected)))).unwrap();
        let target = KeyTarget::of_query("/v1/key/b", &mut query).unwrap();
        assert_eq!((target.bucket.as_str(), &target.key[..]), ("b", expected));
        query.finish().unwrap();
    }
    for bad in [
        None,
        Some("key_b64="),
        Some("key_b64=a"),
        Some("key_b64=YQ=="),
        Some("key_b64=+/+/"),
    ] {
        let mut query = Query::parse(bad).unwrap();
        assert!(
            KeyTarget::of_query("/v1/key/b", &mut query).is_err(),
            "{bad:?}"
        );
    }
}

#[test]
fn what_the_client_writes_is_what_the_server_reads() {
    for byte in 0..=255u8 {
        for expected in [vec![byte], vec![b'a', byte, b'/', byte]] {
            let target = key_target("b", &expected);
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            let read = if path.starts_with("/v1/kv/") {
                KeyTarget::of_path(path).unwrap()
            } else {
                KeyTarget::of_query(path, &mut Query::parse(Some(query)).unwrap()).unwrap()
            };
            assert_eq!(read.key, expected, "{target}");
        }
    }
}
