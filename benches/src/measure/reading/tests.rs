use super::*;

#[test]
fn major_faults_are_read_by_position() {
    let stat = "42 (a ) name) S 1 1 1 0 -1 4194560 100 0 77 0 70 30 0 0 20 0 1 0 100\n";
    assert_eq!(major_faults(stat), Some(77));
    assert_eq!(major_faults("42 (a"), None);
    ReadCounters::read().unwrap();
}
