//! A watch against a server that says what a test wants.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::remote::ConnectOptions;
use crate::retry::Retry;
use crate::watch::{Source, WatchStream};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

/// Answers each connection with the next of these and closes; what was asked comes back.
async fn scripted(answers: Vec<String>) -> (Remote, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, asks) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for answer in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            let mut bytes = [0; 4096];
            while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
                let read = socket.read(&mut bytes).await.unwrap();
                seen.extend_from_slice(&bytes[..read]);
            }
            let line = seen.split(|&byte| byte == b'\r').next().unwrap();
            asked.send(String::from_utf8(line.to_vec()).unwrap()).ok();
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let retry = Retry {
        attempts: 3,
        first: Duration::from_millis(1),
        longest: Duration::from_millis(2),
    };
    let options = ConnectOptions::default().retry(retry);
    (Remote::new(&url, options).unwrap(), asks)
}

async fn stream(remote: &Remote, from: Option<u64>) -> Result<WatchStream> {
    let request = WatchRequest {
        prefix: "a b".into(),
        from,
    };
    let following = remote.watch("b", request).await?;
    Ok(WatchStream::new(Source::Remote(Box::new(following))))
}

fn put(key: &str, version: u64, more: bool) -> String {
    let data = EventData::new(key.to_owned().into(), version, more);
    let data = serde_json::to_string(&data).unwrap();
    let id = if more {
        String::new()
    } else {
        format!("id: {version}\n")
    };
    format!("{id}event: put\ndata: {data}\n\n")
}

fn keys(batch: &WatchBatch) -> (u64, Vec<&[u8]>) {
    (
        batch.version,
        batch.events.iter().map(|event| &event.key[..]).collect(),
    )
}

#[tokio::test]
async fn a_stream_that_breaks_goes_on_after_the_last_whole_batch() {
    let first = format!(
        "{HEAD}id: 5\n\n{}{}{}id: 12\n\n{}",
        put("a", 9, true),
        put("b", 9, false),
        put("c", 10, false),
        put("d", 14, true)
    );
    let overloaded = "HTTP/1.1 503 No\r\nconnection: close\r\ncontent-length: 21\r\n\r\n\
                      {\"code\":\"overloaded\"}\n";
    let last = format!(
        "{HEAD}id: 12\n\n{}{}event: error\ndata: {{\"code\":\"compacted\",\"detail\":\"gone\"}}\n\n",
        put("d", 14, true),
        put("e", 14, false)
    );
    let answers = vec![first, String::new(), overloaded.to_owned(), last];
    let (remote, mut asks) = scripted(answers).await;
    let mut stream = stream(&remote, None).await.unwrap();
    assert_eq!(stream.version(), 5);
    let mut next = async || stream.next().await.unwrap();
    assert_eq!(keys(&next().await.unwrap()), (9, vec![&b"a"[..], b"b"]));
    assert_eq!(keys(&next().await.unwrap()), (10, vec![&b"c"[..]]));
    assert_eq!(keys(&next().await.unwrap()), (14, vec![&b"d"[..], b"e"]));
    assert_eq!(*next().await.unwrap_err().code(), Code::Compacted);
    assert_eq!(stream.version(), 14);
    assert!(stream.next().await.is_none());
    let begin = "GET /v1/watch/b?prefix=a%20b";
    for from in ["", "&from=12", "&from=12", "&from=12"] {
        let asked = asks.recv().await.unwrap();
        assert_eq!(asked, format!("{begin}{from} HTTP/1.1"));
    }
}

#[tokio::test]
async fn what_no_connection_can_mend_ends_the_watch_at_once() {
    let gone = "HTTP/1.1 410 Gone\r\nconnection: close\r\ncontent-length: 20\r\n\r\n\
                {\"code\":\"compacted\"}";
    let (remote, mut asks) = scripted(vec![gone.to_owned()]).await;
    let error = stream(&remote, Some(3)).await.unwrap_err();
    assert_eq!(*error.code(), Code::Compacted);
    assert!(asks.recv().await.unwrap().contains("from=3"));
    for strange in [
        put("a", 9, false),
        format!("id: 1\n\n{}id: 3\n\n", put("a", 9, true)),
        "id: 1\n\nevent: put\ndata: {}\n\n".to_owned(),
        "id: 1\n\nevent: other\ndata: {}\n\n".to_owned(),
        "id: one\n\n".to_owned(),
        format!("id: 1\n\nid: 8\n{}", &put("a", 9, true)),
    ] {
        let (remote, _asks) = scripted(vec![format!("{HEAD}{strange}")]).await;
        let error = match stream(&remote, None).await {
            Ok(mut stream) => stream.next().await.unwrap().unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.code().as_str(), "unexpected_reply", "{strange}");
    }
}

#[tokio::test]
async fn the_first_connection_is_tried_as_often_as_the_policy_says() {
    let (remote, mut asks) = scripted(vec![String::new(); 3]).await;
    let error = stream(&remote, Some(3)).await.unwrap_err();
    assert_eq!(*error.code(), Code::Unreachable);
    let mut count = 0;
    while asks.recv().await.is_some() {
        count += 1;
    }
    assert_eq!(count, 3);
}
