//! A disk that refuses: failed syncs, no space, odd paths.

use super::*;

#[test]
fn law_1_in_a_directory_named_without_its_parent() {
    let bench = Bench::new(0);
    let open = |disk: Arc<SimulatedDisk>| bench.options.clone().open_on(disk, "store").unwrap();
    let store = open(Arc::clone(&bench.disk));
    store.bucket("b").unwrap().put("k", "v").unwrap();
    let store = open(Arc::new(bench.disk.power_loss(Survival::Nothing)));
    assert_eq!(value(&store.open_bucket("b").unwrap(), "k").unwrap(), "v");
}

#[test]
fn law_4_no_acknowledgement_follows_a_failed_sync() {
    let calm = Bench::new(0);
    let store = calm.open();
    let bucket = store.bucket("b").unwrap();
    let first = calm.disk.counts().syncs;
    for number in 0..20_u32 {
        bucket.put(number.to_be_bytes(), vec![0; 6_000]).unwrap();
    }
    let last = calm.disk.counts().syncs;
    assert!(last > first + 20, "some syncs are those of new segments");
    let mut poisoned = 0;
    for sync in first + 1..=last {
        let bench = Bench::new(sync);
        let store = bench.open();
        let bucket = store.bucket("b").unwrap();
        bench.disk.fail_sync(sync);
        let outcomes: Vec<_> = (0..20_u32)
            .map(|number| bucket.put(number.to_be_bytes(), vec![0; 6_000]))
            .collect();
        let refused: Vec<_> = outcomes
            .iter()
            .filter_map(|one| one.as_ref().err().map(Error::kind))
            .collect();
        assert!(!refused.is_empty(), "sync {sync} did not matter");
        // The sync of a segment being prepared fails one write and harms nothing; any other
        // stops all that follow.
        if refused != [ErrorKind::Io] {
            assert_eq!(
                refused[0],
                ErrorKind::OutcomeUnknown,
                "sync {sync}: {refused:?}"
            );
            assert!(
                refused[1..].iter().all(|kind| *kind == ErrorKind::Poisoned),
                "{refused:?}"
            );
            assert!(
                outcomes[20 - refused.len()..].iter().all(Result::is_err),
                "sync {sync}"
            );
            poisoned += 1;
        }
        drop((bucket, store));
        let found = Bench::on(bench.disk.power_loss(Survival::Nothing)).open();
        let found = found.open_bucket("b").unwrap();
        for (number, outcome) in (0_u32..).zip(&outcomes) {
            let kept = found.get(number.to_be_bytes()).unwrap().is_some();
            assert!(
                kept || outcome.is_err(),
                "sync {sync}: {number} was acknowledged"
            );
        }
    }
    assert!(poisoned >= 20);
}

#[test]
fn a_full_disk_refuses_writes_and_they_resume_by_themselves() {
    let bench = Bench::new(1);
    let store = bench.open();
    let bucket = store.bucket("b").unwrap();
    let used: u64 = bench
        .disk
        .paths()
        .iter()
        .map(|path| bench.disk.length(path))
        .sum();
    bench.disk.set_capacity(used + SEGMENT_BYTES * 2);
    let mut written = 0_u32;
    let full = loop {
        match bucket.put(written.to_be_bytes(), vec![1; 9_000]) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), ErrorKind::DiskFull);
    assert!(written > 0);
    assert_eq!(
        kind(bucket.put("more", vec![1; 9_000])),
        ErrorKind::DiskFull
    );
    assert_eq!(
        bucket.scan(Scan::default()).unwrap().count(),
        written as usize
    );
    bench.disk.set_capacity(1 << 30);
    bucket.put("more", vec![1; 9_000]).unwrap();
    assert!(!store.status().partitions[0].poisoned);
}
