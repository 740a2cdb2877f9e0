use super::super::key::KeyRule;
use super::super::ndjson::NdjsonRows;
use super::*;

fn plan(text: &'static str, last_wins: bool, skip_bad: bool) -> Result<Plan, String> {
    let open = || -> Result<Box<dyn Rows>, String> {
        Ok(Box::new(NdjsonRows::new(
            text.as_bytes(),
            KeyRule::parse("id"),
        )))
    };
    Plan::make(
        open,
        Tolerance {
            last_wins,
            skip_bad,
        },
        |_| (),
    )
}

fn taken(plan: &Plan, rows: u64) -> Vec<u64> {
    (0..rows).filter(|&place| plan.takes(place)).collect()
}

const TWICE: &str =
    "{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"id\":\"c\"}\n{\"id\":\"b\"}\n{\"id\":\"a\"}\n";

#[test]
fn a_key_twice_names_both_lines() {
    let what = plan(TWICE, false, false).unwrap_err();
    assert!(
        what.contains("\"b\" stands on line 2 and again on line 4"),
        "{what}"
    );
}

#[test]
fn of_a_key_twice_last_wins_takes_the_last_and_skip_bad_the_first() {
    let last = plan(TWICE, true, false).unwrap();
    assert_eq!(taken(&last, 5), [2, 3, 4]);
    assert_eq!((last.taken(), last.skipped()), (3, 0));
    let first = plan(TWICE, false, true).unwrap();
    assert_eq!(taken(&first, 5), [0, 1, 2]);
    assert_eq!((first.taken(), first.skipped()), (3, 2));
    let both = plan(TWICE, true, true).unwrap();
    assert_eq!(taken(&both, 5), [2, 3, 4]);
}

#[test]
fn a_bad_row_fails_the_file_unless_it_may_be_skipped() {
    const BAD: &str = "{\"id\":\"a\"}\n{\"id\":null}\nnonsense\n{\"id\":\"b\"}\n";
    assert!(plan(BAD, false, false).unwrap_err().starts_with("line 2: "));
    assert!(plan(BAD, true, false).is_err());
    let plan = plan(BAD, false, true).unwrap();
    assert_eq!((plan.taken(), plan.skipped()), (2, 2));
    let told: Vec<_> = plan.bad_rows().collect();
    assert!(
        told[0].starts_with("line 2") && told[1].starts_with("line 3"),
        "{told:?}"
    );
}
