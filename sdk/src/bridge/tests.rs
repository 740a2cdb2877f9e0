use std::sync::mpsc;
use std::time::Duration;

use super::*;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// A call that runs until it is told to end.
fn held(
    bridge: &Bridge,
) -> (
    mpsc::Sender<()>,
    tokio::task::JoinHandle<Result<u8, Refused>>,
) {
    let (end, wait) = mpsc::channel();
    let bridge = bridge.clone();
    let task = tokio::spawn(async move {
        bridge
            .run(move || {
                wait.recv().ok();
                1
            })
            .await
    });
    (end, task)
}

async fn until(mut holds: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("the pool never came to the expected state");
}

#[test]
fn a_call_beyond_the_queue_is_refused_at_once() {
    runtime().block_on(async {
        let bridge = Bridge::new(1, 1);
        let (end_first, first) = held(&bridge);
        until(|| bridge.running() == 1).await;
        let (end_second, second) = held(&bridge);
        until(|| bridge.waiting() == 1).await;
        assert_eq!(bridge.run(|| 2).await, Err(Refused::Full));
        end_first.send(()).unwrap();
        end_second.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(1));
        assert_eq!(second.await.unwrap(), Ok(1));
        assert_eq!(bridge.run(|| 2).await, Ok(2));
        assert_eq!((bridge.running(), bridge.waiting()), (0, 0));
    });
}

#[test]
fn a_caller_that_goes_away_leaves_the_queue_but_not_the_thread() {
    runtime().block_on(async {
        let bridge = Bridge::new(1, 1);
        let (end_first, first) = held(&bridge);
        until(|| bridge.running() == 1).await;
        let (_end_second, second) = held(&bridge);
        until(|| bridge.waiting() == 1).await;
        second.abort();
        until(|| bridge.waiting() == 0).await;
        first.abort();
        first.await.unwrap_err();
        assert_eq!(bridge.running(), 1, "the call itself still runs");
        end_first.send(()).unwrap();
        until(|| bridge.running() == 0).await;
    });
}

#[test]
fn a_panic_in_a_call_is_reported_and_frees_its_place() {
    runtime().block_on(async {
        let bridge = Bridge::new(1, 0);
        let outcome = bridge.run(|| -> u8 { panic!("on purpose") }).await;
        assert_eq!(outcome, Err(Refused::Panicked));
        assert_eq!(bridge.run(|| 3).await, Ok(3));
    });
}
