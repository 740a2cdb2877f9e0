use super::*;

#[test]
fn a_horizon_names_the_pins_below_the_stable_offset() {
    let pins = Pins::new();
    assert!(pins.horizon(|| 100).pinned.is_empty());
    let (first, again, later) = (pins.pin(|| 30), pins.pin(|| 30), pins.pin(|| 200));
    let horizon = pins.horizon(|| 100);
    assert_eq!((horizon.stable, &horizon.pinned[..]), (100, &[30][..]));
    drop(first);
    assert_eq!(&pins.horizon(|| 100).pinned[..], [30]);
    drop(again);
    assert!(pins.horizon(|| 100).pinned.is_empty());
    assert_eq!(&pins.horizon(|| 300).pinned[..], [200]);
    drop(later);
    assert_eq!(pins.oldest.load(Ordering::SeqCst), u64::MAX);
}

#[test]
fn a_reader_announces_itself_before_it_looks() {
    let pins = Pins::new();
    let pin = pins.pin(|| {
        assert_eq!(pins.oldest.load(Ordering::SeqCst), 0);
        assert!(
            pins.held.try_lock().is_none(),
            "a writer that sees it waits for the pin"
        );
        7
    });
    assert_eq!(
        (pin.watermark(), pins.oldest.load(Ordering::SeqCst)),
        (7, 7)
    );
}

#[test]
fn no_writer_drops_what_a_reader_is_about_to_pin() {
    use std::sync::atomic::AtomicBool;

    let pins = Pins::new();
    let watermark = AtomicU64::new(0);
    // The highest stable offset by which a writer that saw no pin has dropped versions.
    let dropped = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    let mut pinned = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                watermark.fetch_add(1, Ordering::Release);
                let horizon = pins.horizon(|| watermark.load(Ordering::Acquire));
                if horizon.pinned.is_empty() {
                    dropped.store(horizon.stable, Ordering::SeqCst);
                }
            }
        });
        while pinned < 20_000 {
            let pin = pins.pin(|| watermark.load(Ordering::Acquire));
            for _ in 0..8 {
                assert!(dropped.load(Ordering::SeqCst) <= pin.watermark());
            }
            pinned += usize::from(pin.watermark() > 0);
        }
        done.store(true, Ordering::Relaxed);
    });
}
