use super::*;

fn mapped(range: Range<u64>) -> Published {
    let published = Published::default();
    published.map(range, || Ok(())).unwrap();
    published
}

#[test]
fn a_publish_is_held_to_a_write_in_flight() {
    let published = mapped(0..1000);
    let later = published.begin_write(700, 100).unwrap();
    let write = published.begin_write(300, 100).unwrap();
    published.publish(1000);
    assert!(published.covers(0, &(0..300)));
    assert!(!published.covers(0, &(0..301)));
    drop(write);
    published.publish(600);
    assert!(published.covers(0, &(0..600)));
    drop(later);
    published.publish(1000);
    assert!(published.covers(0, &(0..1000)));
}

#[test]
fn a_write_begun_before_the_map_holds_its_publish() {
    let published = Published::default();
    let _write = published.begin_write(10, 10).unwrap();
    published.map(0..1000, || Ok(())).unwrap();
    published.publish(1000);
    assert!(!published.covers(0, &(0..11)));
}

#[test]
fn a_failed_map_leaves_the_handle_without_one() {
    let published = Published::default();
    published
        .map(0..10, || Err::<(), _>(io::ErrorKind::UnexpectedEof.into()))
        .unwrap_err();
    published.map(0..10, || Ok(())).unwrap();
    published.map(0..10, || Ok(())).unwrap_err();
}

#[test]
fn a_failed_cut_still_takes_the_bytes_from_the_map() {
    let published = mapped(0..1000);
    published
        .cut(500, || Err(io::ErrorKind::Other.into()))
        .unwrap_err();
    published.publish(1000);
    assert!(published.covers(0, &(0..500)));
    assert!(!published.covers(0, &(0..501)));
}
