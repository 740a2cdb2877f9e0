use super::*;

fn row(engine: &str, variant: &str, threads: usize, ops_per_s: f64) -> Row {
    let mut row = Row::new("put-durable", engine, variant, threads);
    row.set(figure::OPS_PER_S, ops_per_s);
    row.check = Check::Passed(10);
    row
}

#[test]
fn the_best_peer_is_neither_cairn_nor_the_floor() {
    let rows = [
        row(CAIRN, "", 1, 900.0),
        row("redb", "", 1, 200.0),
        row("fjall", "", 1, 300.0),
        row(FLOOR, "", 1, 5_000.0),
    ];
    assert_eq!(best_peer(&rows, &rows[0]), Some(("fjall", 3.0)));
    assert_eq!(best_peer(&rows, &rows[2]), Some(("fjall", 1.0)));
    assert_eq!(best_peer(&rows, &rows[3]), None);
}

#[test]
fn ratios_stay_inside_a_group() {
    let rows = [
        row(CAIRN, "a", 1, 100.0),
        row("redb", "a", 1, 50.0),
        row("redb", "b", 1, 500.0),
        row("redb", "a", 2, 5_000.0),
    ];
    assert_eq!(best_peer(&rows, &rows[0]), Some(("redb", 2.0)));
}

#[test]
fn a_failed_row_is_never_the_best_peer() {
    let mut rows = [
        row(CAIRN, "", 1, 100.0),
        row("redb", "", 1, 50.0),
        row("lmdb", "", 1, 500.0),
    ];
    rows[2].check = Check::Failed("lost a row".into());
    assert_eq!(best_peer(&rows, &rows[0]), Some(("redb", 2.0)));
    assert_eq!(best_peer(&rows, &rows[2]), None);
}

#[test]
fn less_space_is_a_better_ratio() {
    let space = |engine, bytes| {
        let mut row = Row::new("space", engine, "", 1);
        row.set(figure::DISK_BYTES, bytes);
        row.check = Check::Passed(1);
        row
    };
    let rows = [
        space(CAIRN, 50.0),
        space("redb", 100.0),
        space("fjall", 200.0),
    ];
    assert_eq!(best_peer(&rows, &rows[0]), Some(("redb", 2.0)));
    assert_eq!(best_peer(&rows, &rows[2]), Some(("redb", 0.5)));
}

#[test]
fn large_reads_are_also_compared_with_the_best_peer_that_checks_them() {
    let get = |engine, ops, verifies_reads| {
        let mut row = row(engine, "", 1, ops);
        row.workload = VERIFYING_WORKLOAD.into();
        row.verifies_reads = verifies_reads;
        row
    };
    let rows = [
        get(CAIRN, 150.0, true),
        get("lmdb", 300.0, false),
        get("fjall", 100.0, true),
    ];
    assert_eq!(best_peer(&rows, &rows[0]), Some(("lmdb", 0.5)));
    assert_eq!(best_verifying_peer(&rows, &rows[0]), Some(("fjall", 1.5)));
}

#[test]
fn repeats_merge_to_medians_with_the_range_beside_them() {
    let passes = [300.0, 100.0, 200.0].map(|ops| vec![row("redb", "", 1, ops)]);
    let merged = merge_passes(passes.into());
    assert_eq!(merged.len(), 1);
    assert_eq!(merged[0].get(figure::OPS_PER_S), Some(200.0));
    assert_eq!(merged[0].get(figure::OPS_PER_S_MIN), Some(100.0));
    assert_eq!(merged[0].get(figure::OPS_PER_S_MAX), Some(300.0));
}

#[test]
fn an_even_number_of_repeats_takes_the_middle_of_two() {
    assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
}

#[test]
fn a_check_that_failed_once_stays_failed() {
    let good = row("redb", "", 1, 1.0);
    let mut bad = good.clone();
    bad.check = Check::Failed("no".into());
    let merged = merge_passes(vec![vec![good.clone()], vec![bad], vec![good]]);
    assert!(merged[0].check.failed());
}

#[test]
fn the_ratio_to_the_floor_uses_the_floor_of_the_row() {
    let mut measured = row("redb", "", 1, 90.0);
    assert_eq!(measured.ratio_to(figure::FLOOR_OPS_PER_S), None);
    measured.set(figure::FLOOR_OPS_PER_S, 100.0);
    assert_eq!(measured.ratio_to(figure::FLOOR_OPS_PER_S), Some(0.9));
}

#[test]
fn json_carries_every_promised_field_and_null_for_what_is_missing() {
    let text = json(&[row("redb", "", 16, 1234.5)]);
    assert!(text.starts_with("[\n") && text.ends_with("]\n"));
    for name in [
        "workload", "engine", "threads", "variant", "check", "settings",
    ] {
        assert!(text.contains(&format!("\"{name}\":")), "{name}");
    }
    for name in figure::ALWAYS {
        assert!(text.contains(&format!("\"{name}\":")), "{name}");
    }
    assert!(text.contains("\"ops_per_s\":1234.5000"));
    assert!(text.contains("\"p50_us\":null"));
    assert!(text.contains("\"threads\":16"));
}

#[test]
fn a_table_keeps_the_losing_rows() {
    let rows = [row(CAIRN, "", 1, 10.0), row("redb", "", 1, 100.0)];
    let text = table("put-durable", &rows);
    assert!(text.contains("cairn") && text.contains("0.10"), "{text}");
    assert!(text.contains("redb") && text.contains("1.00"), "{text}");
}
