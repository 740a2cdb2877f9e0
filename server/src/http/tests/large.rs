//! Values over what one body holds in memory.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body as HttpBody, Frame, SizeHint};

use super::*;

const TARGET: &str = "/v1/kv/b/film";

fn value(length: usize) -> Vec<u8> {
    (0_u32..).flat_map(u32::to_le_bytes).take(length).collect()
}

/// A body that does not tell its size, or tells any.
struct Parts {
    parts: std::vec::IntoIter<Vec<u8>>,
    told: SizeHint,
    broken: bool,
}

#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection broke")
    }
}

impl std::error::Error for Broken {}

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Broken>>> {
        Poll::Ready(match self.parts.next() {
            Some(part) => Some(Ok(Frame::data(part.into()))),
            None if std::mem::take(&mut self.broken) => Some(Err(Broken)),
            None => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.told
    }
}

impl Site {
    async fn put_parts(&self, value: &[u8], told: SizeHint, broken: bool) -> Answer {
        let parts: Vec<_> = value.chunks(100_000).map(<[u8]>::to_vec).collect();
        let body = Parts {
            parts: parts.into_iter(),
            told,
            broken,
        };
        let request = Request::put(TARGET).header("host", "localhost");
        let request = request.body(body).unwrap();
        Answer::of(self.gate.answer(request).await).await
    }
}

#[tokio::test]
async fn a_value_over_8_mib_is_taken_and_comes_back_whole_and_in_ranges() {
    let site = Site::new();
    for length in [8 << 20, (8 << 20) + 1, 9_999_999] {
        let value = value(length);
        let media = [("content-type", "video/mp4")];
        let put = site.send("PUT", TARGET, &media, value.clone()).await;
        let version = put.version();
        assert_eq!(put.header("cairn-durability"), "local");
        let got = site.get(TARGET).await;
        assert_eq!(got.status, 200);
        assert!(got.body == value, "{length} bytes");
        assert_eq!(got.header("content-length"), length.to_string());
        assert_eq!(got.header("content-type"), "video/mp4");
        assert_eq!(got.header("etag"), format!("\"{version}\""));
        for (range, first, last) in [
            ("bytes=0-0", 0, 0),
            ("bytes=65530-65540", 65_530, 65_540),
            ("bytes=8000000-8300000", 8_000_000, 8_300_000),
            ("bytes=-5", length - 5, length - 1),
            ("bytes=8388600-", 8_388_600, length - 1),
        ] {
            let part = site.send("GET", TARGET, &[("range", range)], "").await;
            assert_eq!(part.status, 206, "{range}");
            assert!(part.body == value[first..=last], "{range} of {length}");
            let content_range = format!("bytes {first}-{last}/{length}");
            assert_eq!(part.header("content-range"), content_range);
            assert_eq!(
                part.header("content-length"),
                (last - first + 1).to_string()
            );
        }
        let beyond = format!("bytes={length}-");
        let beyond = site.send("GET", TARGET, &[("range", &*beyond)], "").await;
        beyond.is_problem(416, "range_not_satisfiable");
        let etag = format!("\"{version}\"");
        let same = site
            .send("GET", TARGET, &[("if-none-match", &*etag)], "")
            .await;
        assert_eq!((same.status, same.body.len()), (304, 0));
        let head = site.send("HEAD", TARGET, &[], "").await;
        assert_eq!(head.header("content-length"), length.to_string());
    }
    let listed = site.get("/v1/kv/b").await.json();
    assert_eq!(listed["items"][0]["size"], 9_999_999);
    assert!(listed["items"][0]["value_b64"].is_null());
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_body_that_tells_no_size_is_taken_however_long_it_becomes() {
    let site = Site::new();
    for length in [0, 5, 1 << 20, (1 << 20) + 1, 9 << 20] {
        let value = value(length);
        let put = site.put_parts(&value, SizeHint::default(), false).await;
        assert_eq!(put.status, 200, "{:?}", put.body);
        assert!(site.get(TARGET).await.body == value, "{length} bytes");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_the_key_as_it_was() {
    let site = Site::new();
    site.put(TARGET, "before").await.version();
    let value = value(10 << 20);
    for told in [SizeHint::default(), SizeHint::with_exact(20 << 20)] {
        let broken = site.put_parts(&value, told, true).await;
        broken.is_problem(400, "invalid_argument");
        assert_eq!(site.get(TARGET).await.body, "before");
    }
}

#[tokio::test]
async fn a_body_over_5_tib_is_refused_before_any_of_it_is_read() {
    let told = SizeHint::with_exact((5 << 40) + 1);
    let refused = Site::new().put_parts(b"", told, true).await;
    refused.is_problem(413, "value_too_large");
}

#[tokio::test]
async fn conditions_on_a_large_value_hold_as_on_any_other() {
    let site = Site::new();
    let value = value(9 << 20);
    let put = |headers: [(&'static str, String); 1]| {
        let (site, value) = (&site, value.clone());
        async move {
            let headers = headers
                .each_ref()
                .map(|(name, text)| (*name, text.as_str()));
            site.send("PUT", TARGET, &headers, value).await
        }
    };
    let absent = || [("if-none-match", "*".to_owned())];
    let version = put(absent()).await.version();
    let refused = put(absent()).await;
    refused.is_problem(412, "version_mismatch");
    assert_eq!(refused.json()["version"], version);
    let tag = |version: u64| [("if-match", format!("\"{version}\""))];
    let next = put(tag(version)).await.version();
    put(tag(version)).await.is_problem(412, "version_mismatch");
    put(tag(next)).await.version();
}

#[tokio::test]
async fn uploads_and_answers_share_the_memory_for_bodies() {
    let site = Site::with("bodies_bytes_max = 2000000");
    let refused = site.put(TARGET, value(9 << 20)).await;
    refused.is_problem(503, "overloaded");
    let site = Site::with("bodies_bytes_max = 12000000");
    // The whole is over the memory, and a part of it is all that is ever there.
    let value = value(30 << 20);
    site.put(TARGET, value.clone()).await.version();
    assert!(site.get(TARGET).await.body == value);
}

#[tokio::test]
async fn an_answer_to_head_holds_no_memory() {
    let site = Site::with("bodies_bytes_max = 12000000");
    site.put(TARGET, value(9 << 20)).await.version();
    let held: Vec<_> = futures_util::future::join_all((0..8).map(|_| {
        let request = Request::head(TARGET).header("host", "localhost");
        site.gate
            .answer(request.body(Full::new(Bytes::new())).unwrap())
    }))
    .await;
    assert!(held.iter().all(|answer| answer.status() == StatusCode::OK));
}
