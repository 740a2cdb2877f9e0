use std::collections::VecDeque;

use cairn_kv::Store;

use super::*;
use crate::bridge::Bridge;
use crate::client::Cairn;
use crate::embedded::Embedded;

/// A stream of what is in it.
struct Parts(VecDeque<io::Result<Bytes>>);

impl Stream for Parts {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.pop_front())
    }
}

fn parts(value: &[u8]) -> Parts {
    let parts = value.chunks(70_000).map(Bytes::copy_from_slice);
    Parts(parts.map(Ok).collect())
}

fn value(length: usize) -> Vec<u8> {
    (0_u32..).flat_map(u32::to_le_bytes).take(length).collect()
}

fn memory() -> Bucket {
    let store = Embedded::new(Store::memory(), Bridge::new(1, 0), true);
    Cairn::embedded(store).bucket("b")
}

async fn read(stream: GetStream) -> Vec<u8> {
    let mut stream = stream.await.unwrap().unwrap();
    let mut value = Vec::new();
    while let Some(part) = stream.next().await.unwrap() {
        assert!(!part.is_empty());
        value.extend_from_slice(&part);
    }
    assert_eq!(stream.next().await.unwrap(), None);
    value
}

#[tokio::test]
async fn streams_and_readers_of_any_length_come_back_whole_and_in_ranges() {
    let bucket = memory();
    for length in [0, 1, 1 << 20, (1 << 20) + 1, 10_000_001] {
        let value = value(length);
        let version = bucket
            .put_stream("k", parts(&value))
            .content_type("a/b")
            .await
            .unwrap();
        assert!(read(bucket.get_stream("k")).await == value, "{length}");
        let put = bucket
            .put_reader("k", io_cursor(&value))
            .size(length as u64);
        assert!(put.await.unwrap() > version);
        let stream = bucket.get_stream("k").await.unwrap().unwrap();
        assert_eq!(
            (stream.size(), stream.range()),
            (length as u64, 0..length as u64)
        );
        assert!(read(bucket.get_stream("k")).await == value, "{length}");
    }
    let value = value(10_000_001);
    for (from, to) in [
        (0, 1),
        (65_535, 65_537),
        (5, 9_000_000),
        (10_000_000, 10_000_001),
    ] {
        let range = from as u64..to as u64;
        assert!(read(bucket.get_stream("k").range(range)).await == value[from..to]);
    }
    assert!(read(bucket.get_stream("k").range(9_999_999..)).await == value[9_999_999..]);
    assert!(read(bucket.get_stream("k").range(..=4)).await == value[..5]);
    assert!(read(bucket.get_stream("k").range(7..u64::MAX)).await == value[7..]);
    let code = |error: Error| error.code().clone();
    let behind = bucket.get_stream("k").range(10_000_001..).await;
    assert_eq!(behind.map_err(code).err(), Some(Code::RangeNotSatisfiable));
    let empty = bucket.get_stream("k").range(5..5).await;
    assert_eq!(empty.map_err(code).err(), Some(Code::InvalidArgument));
    assert!(bucket.get_stream("absent").await.unwrap().is_none());
    let whole = bucket.get("k").await;
    assert_eq!(whole.map_err(code).err(), Some(Code::ValueTooLarge));
}

fn io_cursor(value: &[u8]) -> impl AsyncRead + Send + 'static {
    std::io::Cursor::new(value.to_vec())
}

#[tokio::test]
async fn a_source_that_fails_or_has_another_length_leaves_the_key_as_it_was() {
    let bucket = memory();
    bucket.put("k", "before").await.unwrap();
    let value = value(3_000_000);
    let mut failing = parts(&value);
    failing.0.push_back(Err(io::Error::other("the film tore")));
    let failed = bucket.put_stream("k", failing).await.unwrap_err();
    assert_eq!(*failed.code(), Code::Io);
    assert!(failed.detail().contains("the film tore"), "{failed}");
    for told in [2_999_999, 3_000_001] {
        let failed = bucket.put_stream("k", parts(&value)).size(told).await;
        assert_eq!(*failed.unwrap_err().code(), Code::Io, "{told}");
    }
    let large = bucket
        .put_stream("k", parts(&value))
        .size((5 << 40) + 1)
        .await;
    assert_eq!(*large.unwrap_err().code(), Code::ValueTooLarge);
    assert_eq!(read(bucket.get_stream("k")).await, b"before");
}

#[tokio::test]
async fn a_read_shows_one_version_although_the_key_is_overwritten() {
    let bucket = memory();
    let old = value(5_000_000);
    let version = bucket.put_stream("k", parts(&old)).await.unwrap();
    let mut stream = bucket.get_stream("k").await.unwrap().unwrap();
    let mut found = stream.next().await.unwrap().unwrap().to_vec();
    bucket.put("k", "new").await.unwrap();
    while let Some(part) = stream.next().await.unwrap() {
        found.extend_from_slice(&part);
    }
    assert!(found == old);
    assert_eq!(stream.version(), version);
}

#[tokio::test]
async fn conditions_are_judged_when_the_value_has_come() {
    let bucket = memory();
    let version = bucket.put("k", "v").await.unwrap();
    let value = value(2_000_000);
    let refused = bucket
        .put_stream("k", parts(&value))
        .if_absent()
        .await
        .unwrap_err();
    assert_eq!(*refused.code(), Code::VersionMismatch);
    assert_eq!(refused.version(), Some(version));
    bucket
        .put_stream("k", parts(&value))
        .if_version(version)
        .await
        .unwrap();
}
