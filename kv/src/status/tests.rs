use std::sync::Arc;

use cairn_log::vfs::Vfs;
use cairn_log::vfs::simulated::SimulatedDisk;

use crate::testing::ManualClock;
use crate::*;

#[test]
fn every_figure_of_the_index_moves_with_what_it_counts() {
    let disk = Arc::new(SimulatedDisk::new(1));
    let clock = Arc::new(ManualClock::at(1_795_507_200_000));
    let options = Store::options()
        .threads(false)
        .segment_bytes(64 << 10)
        .merge_entries(60)
        .history_bytes_min(0)
        .clock(Arc::clone(&clock) as Arc<dyn Clock>);
    let open = || {
        let disk = Arc::clone(&disk) as Arc<dyn Vfs>;
        options.clone().open_on(disk, "/store").unwrap()
    };
    let store = open();
    let step = || while store.step().unwrap() {};
    let index = || store.status().partitions.remove(0).index;
    step();
    let idle = index();
    assert_eq!((idle.memtables, idle.runs, idle.merges), (1, 0, 0));
    assert_eq!(
        (idle.watches, idle.watch_lag_bytes, idle.keys_expired),
        (0, 0, 0)
    );

    let without_history = BucketOptions {
        history_ms: Some(0),
        ..BucketOptions::default()
    };
    let (bucket, _) = store.create_bucket("b", without_history).unwrap();
    let watch = bucket.watch(None, "").unwrap();
    bucket.put("kept", vec![1; 9_000]).unwrap();
    let written = index();
    assert!(written.memtable_bytes > idle.memtable_bytes);
    assert!(
        written.watches == 1 && written.watch_lag_bytes > 9_000,
        "{written:?}"
    );
    drop(watch);
    assert_eq!((index().watches, index().watch_lag_bytes), (0, 0));

    let (mut runs, mut run_records) = (0, 0);
    for number in 0..400_u32 {
        bucket
            .put((number % 7).to_be_bytes(), vec![1; 4_000])
            .unwrap();
        step();
        runs = runs.max(index().runs);
        run_records = run_records.max(index().run_records);
    }
    assert!(runs > 0 && run_records > 10, "{runs} {run_records}");
    let churned = index();
    assert!(
        churned.merges > 0 && churned.merged_entries > 0,
        "{churned:?}"
    );
    assert!(
        churned.segments_dropped > 0 && churned.moved_bytes > 9_000,
        "{churned:?}"
    );
    assert!(
        churned.live_bytes > 0 && churned.dead_bytes > 0,
        "{churned:?}"
    );

    let ttl = PutOptions {
        ttl_ms: Some(5),
        ..PutOptions::default()
    };
    bucket.put_with("short", "1", &ttl).unwrap();
    clock.pass(60_000);
    step();
    assert_eq!(index().keys_expired, 1);

    assert_eq!(index().rebuilds, 0);
    let log = &store.status().partitions[0];
    assert!(log.free_bytes.is_some() && log.visible == log.end);
    drop((bucket, store));
    let paths = disk.paths();
    let is_index = |path: &&std::path::PathBuf| path.ends_with("index.redb");
    let path = paths.iter().find(is_index).unwrap();
    for page in 1..disk.length(path) / 4096 {
        disk.flip_bit(path, page * 4096 + 100, 0);
    }
    let store = open();
    assert_eq!(store.status().partitions[0].index.rebuilds, 1);
    assert!(
        store
            .open_bucket("b")
            .unwrap()
            .get("kept")
            .unwrap()
            .is_some()
    );
}
