use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test]
async fn a_peer_that_takes_nothing_ends_the_write_and_one_that_reads_slowly_does_not() {
    let (near, mut far) = tokio::io::duplex(16);
    let mut near = Stalling::new(near, Duration::from_millis(60));
    let slow = tokio::spawn(async move {
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(25)).await;
            far.read_exact(&mut [0; 16]).await.unwrap();
        }
        far
    });
    near.write_all(&[7; 80]).await.expect("each wait is short");
    let far = slow.await.unwrap();
    let error = near.write_all(&[7; 80]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    drop(far);
}
