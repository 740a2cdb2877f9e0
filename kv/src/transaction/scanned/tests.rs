use super::*;

fn span(start: &str, end: Option<&str>) -> Span {
    Span {
        start: start.into(),
        end: end.map(Into::into),
    }
}

fn scanned(ranges: &[(&str, Option<&str>)]) -> Scanned {
    let scans: Vec<_> = ranges
        .iter()
        .map(|&(start, end)| {
            let mut progress = Progress::new(span(start, end), false);
            progress.ended();
            Arc::new(Mutex::new(progress))
        })
        .collect();
    Scanned::new(Version::new(1), &scans, None)
}

#[test]
fn ranges_that_meet_become_one_and_others_stay_apart() {
    for (ranges, expected) in [
        (
            &[("m", Some("p")), ("b", Some("d")), ("c", Some("f"))][..],
            &[("b", Some("f")), ("m", Some("p"))][..],
        ),
        (
            &[("b", Some("f")), ("c", Some("d")), ("f", Some("g"))],
            &[("b", Some("f")), ("f", Some("g"))],
        ),
        (&[("b", None), ("c", Some("d"))], &[("b", None)]),
        (&[("b", Some("d")), ("c", None)], &[("b", None)]),
        (&[("b", Some("c")), ("b", None)], &[("b", None)]),
        (&[("b", None), ("b", Some("c"))], &[("b", None)]),
        (&[("d", Some("b")), ("x", Some("x"))], &[]),
    ] {
        let expected: Vec<_> = expected.iter().map(|&(at, end)| span(at, end)).collect();
        assert_eq!(scanned(ranges).spans, expected, "{ranges:?}");
    }
}

#[test]
fn a_range_covers_its_start_and_not_its_end() {
    let scanned = scanned(&[("b", Some("d")), ("m", None)]);
    for (key, is_covered) in [
        ("a", false),
        ("b", true),
        ("c\u{7f}", true),
        ("d", false),
        ("l", false),
        ("m", true),
        ("z", true),
    ] {
        assert_eq!(scanned.covers(key.as_bytes()), is_covered, "{key}");
    }
}

#[test]
fn a_scan_counts_up_to_the_last_key_it_gave_and_wholly_once_it_has_ended() {
    let whole = span("b", Some("x"));
    for (reverse, expected) in [
        (false, span("b", Some("m\0"))),
        (true, span("m", Some("x"))),
    ] {
        let mut progress = Progress::new(whole.clone(), reverse);
        assert_eq!(progress.shown(), None);
        progress.gave(&Bytes::from_static(b"m"));
        assert_eq!(progress.shown(), Some(expected));
        progress.ended();
        assert_eq!(progress.shown(), Some(whole.clone()));
    }
}

#[test]
fn the_first_deadline_of_all_that_was_shown_is_the_one_that_counts() {
    let mut first = Progress::new(span("b", None), false);
    first.gave_until(&Bytes::from_static(b"late"), 90);
    let mut second = Progress::new(span("b", None), false);
    second.gave_until(&Bytes::from_static(b"soon"), 50);
    second.gave_until(&Bytes::from_static(b"later"), 70);
    let scans = [first, second].map(|progress| Arc::new(Mutex::new(progress)));
    let scanned = Scanned::new(Version::new(1), &scans, None);
    assert!(scanned.judge(49).is_none());
    let overtaken = scanned.judge(50).unwrap();
    assert_eq!(&overtaken.refusal.conflict().unwrap().key[..], b"soon");
}
