use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::client::{Cairn, LogRequest};

/// A server that answers the connections it gets with these bytes, one each, and closes; an empty
/// answer closes at once after the request was read.
async fn scripted(answers: Vec<&'static str>) -> (Remote, Arc<AtomicUsize>) {
    let (remote, served, _) = recorded(answers).await;
    (remote, served)
}

/// [`scripted`], and the first line of each request.
async fn recorded(
    answers: Vec<&'static str>,
) -> (Remote, Arc<AtomicUsize>, mpsc::UnboundedReceiver<String>) {
    let (lines, asked) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    tokio::spawn(async move {
        for answer in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            let mut seen = Vec::new();
            while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
                let read = socket.read(&mut head).await.unwrap();
                seen.extend_from_slice(&head[..read]);
            }
            let first = seen.split(|&byte| byte == b'\r').next().unwrap_or(&[]);
            lines.send(String::from_utf8_lossy(first).into_owned()).ok();
            count.fetch_add(1, Ordering::Relaxed);
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let retry = Retry {
        attempts: 3,
        first: Duration::from_millis(1),
        longest: Duration::from_millis(2),
    };
    let remote = Remote::new(&url, ConnectOptions::default().retry(retry)).unwrap();
    (remote, served, asked)
}

const REFUSED: &str = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\
    content-type: application/problem+json\r\nconnection: close\r\ncontent-length: 58\r\n\r\n\
    {\"code\":\"overloaded\",\"detail\":\"too much\",\"retryable\":true}";
const WRITTEN: &str = "HTTP/1.1 200 OK\r\ncairn-durability: buffered\r\nconnection: close\r\n\
    content-length: 13\r\n\r\n{\"version\":9}";
const MISMATCH: &str = "HTTP/1.1 412 Precondition Failed\r\n\
    content-type: application/problem+json\r\nconnection: close\r\ncontent-length: 56\r\n\r\n\
    {\"code\":\"version_mismatch\",\"detail\":\"it is\",\"version\":7}";
const VALUE: &str = "HTTP/1.1 200 OK\r\netag: \"7\"\r\ncontent-type: text/plain\r\n\
    connection: close\r\ncontent-length: 2\r\n\r\nhi";

fn put() -> Write {
    Write {
        changes: vec![Change::Put {
            key: Bytes::from_static(b"k"),
            value: Bytes::from_static(b"v"),
            ttl_ms: None,
            content_type: None,
        }],
        ..Write::default()
    }
}

#[tokio::test]
async fn a_failed_condition_of_a_batch_of_one_change_names_its_key() {
    let (remote, _) = scripted(vec![MISMATCH, MISMATCH]).await;
    let error = remote.write("b", put()).await.unwrap_err();
    assert_eq!(error.key().unwrap(), "k");
    assert_eq!(error.version(), Some(7));
    let of_one_key = Write {
        of_one_key: true,
        ..put()
    };
    let error = remote.write("b", of_one_key).await.unwrap_err();
    assert_eq!((error.version(), error.key()), (Some(7), None));
}

#[tokio::test]
async fn a_write_that_was_refused_is_made_again() {
    let (remote, served) = scripted(vec![REFUSED, REFUSED, WRITTEN]).await;
    let receipt = remote.write("b", put()).await.unwrap();
    assert_eq!(
        (receipt.version, receipt.durability),
        (9, Durability::Buffered)
    );
    assert_eq!(served.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_write_that_broke_half_way_is_unknown_and_not_made_again() {
    let (remote, served) = scripted(vec!["", WRITTEN]).await;
    let error = remote.write("b", put()).await.unwrap_err();
    assert_eq!(*error.code(), Code::OutcomeUnknown);
    assert!(!error.is_retryable());
    assert_eq!(served.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_read_that_broke_half_way_is_made_again() {
    let (remote, _) = scripted(vec![
        "",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi",
        VALUE,
    ])
    .await;
    let entry = remote.get("b", b"k").await.unwrap().expect("a value");
    assert_eq!((entry.version, &entry.value[..]), (7, &b"hi"[..]));
    assert_eq!(entry.content_type.as_deref(), Some("text/plain"));
}

#[tokio::test]
async fn patience_ends_with_the_servers_own_error() {
    let (remote, served) = scripted(vec![REFUSED; 3]).await;
    let error = remote.get("b", b"k").await.unwrap_err();
    assert_eq!(*error.code(), Code::Overloaded);
    assert_eq!(served.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn nobody_at_the_address_is_unreachable() {
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let options = ConnectOptions::default().retry(Retry::NEVER);
    let error = Cairn::connect_with(&format!("http://{free}"), options)
        .await
        .unwrap_err();
    assert_eq!(*error.code(), Code::Unreachable);
}

#[tokio::test]
async fn a_reply_of_something_else_is_an_error_with_its_status() {
    let html = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 6\r\n\r\n<html>";
    let (remote, _) = scripted(vec![html]).await;
    let error = remote.get("b", b"k").await.unwrap_err();
    assert_eq!(error.code().as_str(), "http_502");
    assert!(error.detail().contains("<html>"));
}

#[test]
fn a_url_names_a_server_and_nothing_more() {
    assert_eq!(
        origin("http://localhost:7070/").unwrap(),
        "http://localhost:7070"
    );
    assert_eq!(origin("http://[::1]:7070").unwrap(), "http://[::1]:7070");
    for bad in [
        "localhost",
        "https://a",
        "http://a/v1",
        "http://a?x=1",
        "http://u:p@a",
        "",
    ] {
        assert!(origin(bad).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_value_over_8_mib_is_not_read_only_to_be_refused() {
    let (remote, _) = scripted(vec![
        "HTTP/1.1 200 OK\r\netag: \"7\"\r\ncontent-length: 8388609\r\n\r\nx",
    ])
    .await;
    let error = remote.get("b", b"k").await.unwrap_err();
    assert_eq!(*error.code(), Code::ValueTooLarge);
}

#[tokio::test]
async fn a_value_that_breaks_off_is_an_error_and_no_end() {
    let (remote, _) = scripted(vec![
        "HTTP/1.1 200 OK\r\netag: \"7\"\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 206 Partial Content\r\netag: \"7\"\r\ncontent-length: 3\r\n\
         content-range: bytes 0-2/10\r\n\r\nhal",
    ])
    .await;
    let mut value = remote
        .get_stream("b", b"k", (0, None))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((value.version(), value.size()), (7, 10));
    let mut found = Vec::new();
    let error = loop {
        match value.next().await {
            Ok(part) => found.extend_from_slice(&part.expect("no end before the last byte")),
            Err(error) => break error,
        }
    };
    assert_eq!(
        (&found[..], error.code()),
        (&b"half"[..], &Code::Unreachable)
    );
    let other = remote
        .get_stream("b", b"k", (0, Some(4)))
        .await
        .unwrap_err();
    assert_eq!(other.code().as_str(), "unexpected_reply");
}

#[test]
fn conditions_become_the_two_headers_of_rfc_9110() {
    let text = |expects: &[&Expect]| {
        let headers = condition_headers(expects).unwrap();
        headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect::<Vec<_>>()
            .join("; ")
    };
    assert_eq!(text(&[&Expect::Exists]), "if-match: *");
    assert_eq!(
        text(&[&Expect::OneOf(vec![7, 9]), &Expect::NoneOf(vec![3])]),
        "if-match: \"7\", \"9\"; if-none-match: \"3\""
    );
    assert_eq!(text(&[&Expect::OneOf(vec![])]), "if-match: \"\"");
    assert!(condition_headers(&[&Expect::Absent, &Expect::NoneOf(vec![1])]).is_err());
}

#[test]
fn a_batch_refuses_what_its_json_cannot_say() {
    let with = |expect: Expect| Write {
        conditions: vec![(Bytes::from_static(b"other"), expect)],
        ..put()
    };
    assert!(batch_request(with(Expect::Absent)).is_ok());
    assert!(batch_request(with(Expect::OneOf(vec![3]))).is_ok());
    for bad in [
        Expect::Exists,
        Expect::OneOf(vec![1, 2]),
        Expect::NoneOf(vec![1]),
    ] {
        assert_eq!(
            *batch_request(with(bad)).unwrap_err().code(),
            Code::InvalidArgument
        );
    }
}

const APPENDED: &str = "HTTP/1.1 200 OK\r\ncairn-durability: local\r\nconnection: close\r\n\
    content-length: 22\r\n\r\n{\"offset\":9,\"next\":12}";
const NO_LINES: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n\
    connection: close\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn the_name_of_a_topic_is_one_segment_of_the_path_whatever_is_in_it() {
    let names = [
        ("a/b", "a%2Fb"),
        ("/", "%2F"),
        ("../x", "..%2Fx"),
        ("./.", ".%2F."),
        ("a%2Fb", "a%252Fb"),
        ("a b?c#d", "a%20b%3Fc%23d"),
        ("\u{e4}", "%C3%A4"),
        ("...", "..."),
    ];
    let (remote, _, mut asked) = recorded(vec![APPENDED; names.len()]).await;
    for (name, segment) in names {
        let data = Bytes::from_static(b"x");
        let (appended, _) = remote.append(3, name, data, None).await.unwrap();
        assert_eq!((appended.offset, appended.next), (9, 12));
        let line = asked.recv().await.unwrap();
        assert_eq!(line, format!("POST /v1/log/3/{segment} HTTP/1.1"));
    }
}

#[tokio::test]
async fn a_topic_whose_name_is_no_segment_of_a_path_is_refused_and_nothing_is_sent() {
    let (remote, served, mut asked) = recorded(vec![APPENDED, NO_LINES]).await;
    for name in [".", "..", ""] {
        let data = Bytes::from_static(b"x");
        let error = remote.append(0, name, data, None).await.unwrap_err();
        assert_eq!(*error.code(), Code::InvalidArgument, "{name:?}");
    }
    assert_eq!(served.load(Ordering::Relaxed), 0);
    remote.append(0, "...", Bytes::new(), None).await.unwrap();
    assert_eq!(asked.recv().await.unwrap(), "POST /v1/log/0/... HTTP/1.1");
    // In a query they are names like any other.
    let request = LogRequest {
        from: 7,
        limit: 5,
        topic: Some("..".to_owned()),
    };
    assert_eq!(remote.read_log(0, request).await.unwrap(), []);
    let line = asked.recv().await.unwrap();
    assert_eq!(line, "GET /v1/log/0?from=7&limit=5&topic=.. HTTP/1.1");
}
