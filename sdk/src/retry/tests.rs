use super::*;

#[test]
fn waits_stay_below_their_doubling_bound_and_end() {
    let retry = Retry {
        attempts: 6,
        first: Duration::from_millis(100),
        longest: Duration::from_millis(500),
    };
    for (made, bound_ms) in [(1, 100), (2, 200), (3, 400), (4, 500), (5, 500)] {
        for _ in 0..100 {
            let wait = retry.wait(made, None).expect("another attempt");
            assert!(wait <= Duration::from_millis(bound_ms), "{made}: {wait:?}");
        }
    }
    assert_eq!(retry.wait(6, None), None);
    assert_eq!(Retry::NEVER.wait(1, None), None);
}

#[test]
fn a_server_that_asks_for_a_pause_gets_it_up_to_the_longest() {
    let retry = Retry::default();
    let asked = Some(Duration::from_secs(1));
    assert!(retry.wait(1, asked) >= asked);
    assert_eq!(
        retry.wait(1, Some(Duration::from_secs(3600))),
        Some(retry.longest)
    );
}
