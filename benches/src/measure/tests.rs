use super::*;

#[test]
fn every_value_lies_at_or_below_the_end_of_its_bucket() {
    let mut values: Vec<u64> = (0..42)
        .flat_map(|shift| [1u64 << shift, (1u64 << shift) + 1, (1u64 << shift) * 3 / 2])
        .filter(|&value| value < 1 << 42)
        .collect();
    values.extend(0..1_000);
    for value in values {
        let end = bucket_end(bucket_of(value));
        assert!(end >= value, "{value} above the end {end} of its bucket");
        assert!(
            (end - value) as f64 <= value as f64 / 64.0,
            "{value} is off by more than 1.6 %: {end}"
        );
    }
}

#[test]
fn buckets_ascend_without_a_gap() {
    let mut last = bucket_of(0);
    for value in 1..100_000 {
        let bucket = bucket_of(value);
        assert!(bucket == last || bucket == last + 1);
        last = bucket;
    }
}

#[test]
fn quantiles_of_a_known_distribution_are_found() {
    let mut histogram = Histogram::new();
    for micros in 1..=1_000 {
        histogram.record(Duration::from_micros(micros));
    }
    for (quantile, expected) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0)] {
        let found = histogram.quantile_us(quantile).unwrap();
        assert!((found - expected).abs() <= expected * 0.016, "{found}");
    }
}

#[test]
fn an_empty_histogram_has_no_quantile() {
    assert_eq!(Histogram::new().quantile_us(0.5), None);
}

#[test]
fn merging_equals_recording_in_one() {
    let (mut one, mut two, mut both) = (Histogram::new(), Histogram::new(), Histogram::new());
    for micros in 0..500 {
        let duration = Duration::from_micros(micros * 7);
        if micros % 3 == 0 {
            one.record(duration);
        } else {
            two.record(duration);
        }
        both.record(duration);
    }
    one.merge(&two);
    for quantile in [0.01, 0.5, 0.99, 1.0] {
        assert_eq!(one.quantile_us(quantile), both.quantile_us(quantile));
    }
}

#[test]
fn a_duration_beyond_the_last_bucket_is_still_counted() {
    let mut histogram = Histogram::new();
    histogram.record(Duration::from_secs(100_000));
    assert!(histogram.quantile_us(0.5).unwrap() > 3.6e9);
}

#[test]
fn block_statistics_are_read_by_position() {
    let text = "6077 3338 1890458 4393 1540 9878 544480 1095 0 1868 5642 3171 50 48528 147 154 6\n";
    let found = parse_block_stat(text).unwrap();
    assert_eq!(found.bytes_written, 544_480 * 512);
    assert_eq!(found.flushes, 154);
    assert!(parse_block_stat("1 2 3").is_none());
}

#[test]
fn processor_time_is_read_by_position() {
    let all = "cpu  10 20 30 1000 500 1 2 4 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
    assert_eq!(busy_ticks(all), Some(10 + 20 + 30 + 1 + 2 + 4));
    let own = "42 (a ) name) S 1 1 1 0 -1 4194560 100 0 0 0 70 30 0 0 20 0 1 0 100\n";
    assert_eq!(own_ticks(own), Some(100));
    assert_eq!(own_ticks("42 (a"), None);
}

#[test]
fn the_kernel_answers_about_this_process() {
    assert!(Resident::read().unwrap().anonymous > 0);
    Counters::read(Path::new(".")).unwrap();
}

#[test]
fn disk_is_allocated_blocks_and_not_lengths() {
    let directory = std::env::temp_dir().join(format!("cairn-benches-{}", std::process::id()));
    fs::create_dir_all(directory.join("below")).unwrap();
    let sparse = fs::File::create(directory.join("below/sparse")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    let found = disk_bytes(&directory).unwrap();
    fs::remove_dir_all(&directory).unwrap();
    assert!(found < 1 << 20, "{found}");
}

#[test]
fn processor_time_is_told_by_the_names_of_threads() {
    let (told, hear) = std::sync::mpsc::channel::<()>();
    let spinning = std::thread::Builder::new().name("ticks-spin".into());
    let thread = spinning.spawn(move || while hear.try_recv().is_err() {});
    while thread_ticks("ticks-").unwrap() == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(thread_ticks("ticks-rest").unwrap(), 0);
    told.send(()).unwrap();
    thread.unwrap().join().unwrap();
}
