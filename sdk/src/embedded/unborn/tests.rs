use bytes::Bytes;
use cairn_kv::Store;

use super::*;
use crate::bridge::Bridge;
use crate::embedded::Embedded;
use crate::wire::Durability;
use crate::write::UploadTerms;

fn key() -> Bytes {
    Bytes::from_static(b"k")
}

fn put(ttl_ms: Option<u64>) -> Change {
    let value = Bytes::from_static(b"v");
    Change::Put {
        key: key(),
        value,
        ttl_ms,
        content_type: None,
    }
}

fn delete() -> Change {
    Change::Delete { key: key() }
}

fn write(changes: Vec<Change>, expects: &[Expect]) -> Write {
    Write {
        changes,
        conditions: expects.iter().map(|e| (key(), e.clone())).collect(),
        ..Write::default()
    }
}

async fn is_empty(store: &Embedded) -> bool {
    store.buckets().await.unwrap().is_empty()
}

#[tokio::test]
async fn a_refused_write_creates_no_bucket() {
    let store = Embedded::new(Store::memory(), Bridge::default(), true);
    let (exists, at_7) = ([Expect::Exists], [Expect::OneOf(vec![7])]);
    for write in [
        write(vec![put(None)], &exists),
        write(vec![put(None)], &at_7),
        write(vec![delete()], &at_7),
        write(vec![], &[Expect::Absent, Expect::Exists]),
    ] {
        let error = store.write("b", write).await.unwrap_err();
        assert_eq!(*error.code(), Code::VersionMismatch);
        assert_eq!((error.version(), error.key()), (Some(0), Some(&key())));
    }
    let of_one_key = Write {
        of_one_key: true,
        ..write(vec![put(None)], &exists)
    };
    let error = store.write("b", of_one_key).await.unwrap_err();
    assert_eq!((error.version(), error.key()), (Some(0), None));
    for faulty in [
        write(vec![put(Some(0))], &[]),
        write(vec![put(Some(u64::MAX))], &exists),
        write(vec![put(None), put(None)], &[]),
        write(vec![delete(), delete()], &[]),
    ] {
        let error = store.write("b", faulty).await.unwrap_err();
        assert_eq!(*error.code(), Code::InvalidArgument);
    }
    assert!(is_empty(&store).await);
}

#[tokio::test]
async fn a_write_that_changes_nothing_creates_no_bucket() {
    let store = Embedded::new(Store::memory(), Bridge::default(), true);
    for nothing in [
        write(vec![delete()], &[]),
        write(vec![delete()], &[Expect::Absent]),
        write(vec![], &[Expect::NoneOf(vec![7])]),
        write(vec![], &[]),
    ] {
        let receipt = store.write("b", nothing).await.unwrap();
        assert!(receipt.version > 0 && !receipt.existed, "{receipt:?}");
        assert_eq!(receipt.durability, Durability::Local);
    }
    assert!(is_empty(&store).await);
    let strict = Embedded::new(Store::memory(), Bridge::default(), false);
    let error = strict.write("b", write(vec![delete()], &[])).await;
    assert_eq!(*error.unwrap_err().code(), Code::BucketNotFound);
}

#[tokio::test]
async fn a_put_whose_conditions_hold_creates_its_bucket() {
    for expect in [Expect::Absent, Expect::NoneOf(vec![7])] {
        let store = Embedded::new(Store::memory(), Bridge::default(), true);
        let write = write(vec![put(None)], &[expect]);
        store.write("b", write).await.unwrap();
        assert!(store.get("b", b"k").await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_refused_upload_creates_no_bucket() {
    let store = Embedded::new(Store::memory(), Bridge::default(), true);
    let terms = |ttl_ms, expects: &[Expect]| UploadTerms {
        ttl_ms,
        expects: expects.to_vec(),
        ..UploadTerms::default()
    };
    let begin = async |terms| store.upload("b", b"k", terms).await;
    let error = begin(terms(Some(0), &[])).await.unwrap_err();
    assert_eq!(*error.code(), Code::InvalidArgument);
    let error = begin(terms(None, &[Expect::Exists])).await.unwrap_err();
    assert_eq!(*error.code(), Code::VersionMismatch);
    assert_eq!((error.version(), error.key()), (Some(0), None));
    assert!(is_empty(&store).await);
    let upload = begin(terms(None, &[Expect::Absent])).await.unwrap();
    upload.finish().await.unwrap();
    assert!(!is_empty(&store).await);
}

#[tokio::test]
async fn a_delete_where_a_bucket_was_names_the_version_at_which_it_went() {
    let store = Embedded::new(Store::memory(), Bridge::default(), true);
    let before = store.write("b", write(vec![put(None)], &[])).await.unwrap();
    store.remove_bucket("b", true).await.unwrap();
    let deleted = store.write("b", write(vec![delete()], &[])).await.unwrap();
    assert!(deleted.version > before.version, "{deleted:?}");
    assert!(is_empty(&store).await);
}
