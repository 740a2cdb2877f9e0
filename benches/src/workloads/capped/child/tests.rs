use super::*;

fn told(row: &Row, wrong: u64) -> String {
    // What `tell` prints, by the same names.
    let mut lines: Vec<String> = REPORTED
        .into_iter()
        .filter_map(|name| Some(format!("{name} {}", row.get(name)?)))
        .collect();
    lines.push(format!("{SETTINGS} {}", row.settings));
    lines.push(format!("{VERIFIES} {}", row.verifies_reads));
    lines.push(format!("{PASSED} 10"));
    lines.push(format!("{WRONG} {wrong}"));
    lines.join("\n")
}

fn row() -> Row {
    Row::new("get-capped", "lmdb", "", 1)
}

#[test]
fn a_row_survives_the_way_through_the_pipe() {
    let mut sent = row();
    sent.set(figure::OPS_PER_S, 12_345.678);
    sent.set(figure::BYTES_READ, 4_096.0);
    sent.settings = "map 64 GiB; no cache".into();
    sent.verifies_reads = true;
    let mut received = row();
    understand(&told(&sent, 0), &mut received).unwrap();
    for name in REPORTED {
        assert_eq!(received.get(name), sent.get(name), "{name}");
    }
    assert_eq!(received.settings, sent.settings);
    assert!(received.verifies_reads);
    assert_eq!(received.check, Check::Passed(10));
}

#[test]
fn wrong_reads_fail_the_row() {
    let mut received = row();
    understand(&told(&row(), 3), &mut received).unwrap();
    assert_eq!(
        received.check,
        Check::Failed("3 of 10 reads were wrong".into())
    );
}

#[test]
fn half_an_answer_is_an_error() {
    assert!(understand("", &mut row()).is_err());
    assert!(understand("passed 10", &mut row()).is_err());
    assert!(understand("passed 10\nwrong 0\nnonsense 1", &mut row()).is_err());
}

#[test]
fn a_child_that_takes_too_long_is_ended() {
    let mut sleeping = Command::new("sleep");
    sleeping.arg("600");
    let started = Instant::now();
    let refused = run(sleeping, Duration::from_millis(50)).unwrap_err();
    assert!(refused.to_string().contains("hangs"), "{refused}");
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn the_last_words_of_a_child_are_told() {
    let mut failing = Command::new("sh");
    failing.args(["-c", "echo one >&2; echo two >&2; exit 3"]);
    let refused = run(failing, Duration::from_secs(60)).unwrap_err();
    assert!(refused.to_string().ends_with("two"), "{refused}");
}
