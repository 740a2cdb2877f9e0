use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::*;

#[tokio::test]
async fn a_refusal_is_a_whole_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (server, _) = listener.accept().await.unwrap();
    refuse(&server);
    drop(server);
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("content-length: {}", body.len())),
        "{}",
        body.len()
    );
    let problem: cairn_sdk::wire::Problem = serde_json::from_str(body).unwrap();
    assert_eq!(problem.code, cairn_sdk::Code::Overloaded);
}
