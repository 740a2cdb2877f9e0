use std::collections::VecDeque;
use std::convert::Infallible;

use super::*;

/// A body of these pieces, each after a pause.
struct Slow {
    pieces: VecDeque<Bytes>,
    pause: Duration,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl HttpBody for Slow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let pause = self.pause;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        std::task::ready!(sleep.as_mut().poll(cx));
        self.sleep = None;
        Poll::Ready(self.pieces.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

fn slow(pieces: usize, bytes: usize, pause_ms: u64) -> Body {
    Body::new(Slow {
        pieces: std::iter::repeat_n(Bytes::from(vec![7; bytes]), pieces).collect(),
        pause: Duration::from_millis(pause_ms),
        sleep: None,
    })
}

fn reading(budget: &Budget, bytes_max: usize) -> Reading<'_> {
    Reading {
        budget,
        bytes_max,
        too_large: || Code::ValueTooLarge,
        stall: Duration::from_secs(10),
    }
}

fn ample() -> Budget {
    Budget::new(1 << 30)
}

#[tokio::test]
async fn a_body_may_have_its_limit_and_not_one_byte_more() {
    let budget = ample();
    let reading = reading(&budget, 100);
    assert_eq!(
        reading
            .read(Body::from(vec![1; 100]))
            .await
            .unwrap()
            .0
            .len(),
        100
    );
    assert_eq!(reading.read(Body::empty()).await.unwrap().0.len(), 0);
    assert_eq!(reading.read(slow(10, 10, 0)).await.unwrap().0, vec![7; 100]);
    for over in [Body::from(vec![1; 101]), slow(11, 10, 0)] {
        assert_eq!(
            *reading.read(over).await.unwrap_err().code(),
            Code::ValueTooLarge
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_or_trickles_is_given_up() {
    let budget = ample();
    let reading = reading(&budget, 1 << 20);
    let stalled = reading.read(slow(2, 10, 10_001)).await.unwrap_err();
    assert_eq!(*stalled.code(), Code::RequestTimeout);
    // Never silent for long, and still too slow as a whole.
    let trickle = reading.read(slow(1000, 10, 9_000)).await.unwrap_err();
    assert_eq!(*trickle.code(), Code::RequestTimeout);
    let steady = reading.read(slow(40, 20_000, 1_000)).await.unwrap();
    assert_eq!(steady.0.len(), 800_000);
}

#[tokio::test]
async fn bodies_together_stay_within_the_budget() {
    let budget = Budget::new(300 * 1024);
    let reading = reading(&budget, 1 << 20);
    let whole = || Body::from(vec![1; 200 * 1024]);
    let (_, first) = reading.read(whole()).await.unwrap();
    let (_, second) = reading.read(whole()).await.unwrap();
    let refused = reading.read(whole()).await.unwrap_err();
    assert_eq!(*refused.code(), Code::Overloaded);
    assert!(
        reading.read(Body::from(vec![1; FREE_BYTES])).await.is_ok(),
        "small ones always go"
    );
    drop(first);
    assert!(reading.read(whole()).await.is_ok());
    drop(second);
}

#[tokio::test]
async fn an_unread_body_comes_back_and_is_drained() {
    let (body, left) = Tracked::split(Slow {
        pieces: std::iter::repeat_n(Bytes::from_static(b"x"), 5).collect(),
        pause: Duration::ZERO,
        sleep: None,
    });
    let left = left.unwrap();
    drop(body);
    let peek = left.clone();
    assert!(peek.0.lock().is_some());
    left.drain().await;
    assert!(peek.0.lock().is_none());
    let (_, nothing) = Tracked::split(http_body_util::Empty::<Bytes>::new());
    assert!(nothing.is_none());
}
