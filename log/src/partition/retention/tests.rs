use std::thread;
use std::time::Duration;

use super::*;
use crate::testing::open_on;
use crate::vfs::simulated::SimulatedDisk;

#[test]
fn a_pin_waits_for_a_drop_that_it_would_forbid_and_for_no_other() {
    let log = open_on(&SimulatedDisk::new(0), false).unwrap();
    let partition = &log.partitions()[0];
    let end = Offset::new(5_000);
    let dropping = Dropping::begin(&partition.pins, end).unwrap();
    drop(partition.pin(end));
    thread::scope(|scope| {
        let pinning = scope.spawn(|| partition.pin(Offset::new(4_999)));
        thread::sleep(Duration::from_millis(20));
        assert!(!pinning.is_finished());
        drop(dropping);
        let pin = pinning.join().unwrap();
        assert!(Dropping::begin(&partition.pins, end).is_none());
        drop(pin);
        assert!(Dropping::begin(&partition.pins, end).is_some());
    });
}
