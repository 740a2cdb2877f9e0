use super::*;

fn sample(reads_per_s: f64) -> Option<FioSample> {
    Some(FioSample {
        reads_per_s,
        p50_us: 1.0,
        p99_us: 2.0,
        p999_us: 3.0,
    })
}

#[test]
fn a_row_is_compared_with_the_better_floor_of_as_many_threads() {
    let mut rows = THREADS.map(|threads| Row::new(WORKLOAD, CAIRN, &variant(10), threads));
    let around = [
        vec![sample(10.0), sample(200.0)],
        vec![sample(20.0), sample(100.0)],
    ];
    set_floor(&mut rows, &around);
    assert_eq!(rows[0].get(figure::FLOOR_OPS_PER_S), Some(20.0));
    assert_eq!(rows[1].get(figure::FLOOR_OPS_PER_S), Some(200.0));
}

#[test]
fn without_fio_rows_have_no_floor_and_say_so() {
    let mut rows = [Row::new(WORKLOAD, CAIRN, &variant(10), 1)];
    set_floor(&mut rows, &[vec![None, None], vec![None, None]]);
    assert_eq!(rows[0].get(figure::FLOOR_OPS_PER_S), None);
    let floors = floor_rows(&CAPS_PERCENT, &[vec![None, None]]);
    assert_eq!(floors.len(), CAPS_PERCENT.len() * THREADS.len());
    for floor in floors {
        assert!(floor.settings.contains("apt-get install fio"));
        assert_eq!(floor.get(figure::OPS_PER_S), None);
    }
}

#[test]
fn a_small_store_still_gets_a_group_that_holds_a_process() {
    assert_eq!(cap_bytes(1, 10), CAP_BYTES_MIN);
    let bytes = cap_bytes(250_000, 10);
    assert_eq!(bytes, 250_000 * SHAPE.row_bytes() as u64 / 10);
}
