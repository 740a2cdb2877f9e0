use super::*;
use crate::floor::Floor;

const JSON: &str = r#"{
  "jobs" : [ {
      "job options" : { "rw" : "randread" },
      "read" : {
        "io_bytes" : 108249088,
        "iops" : 13194.208687,
        "slat_ns" : { "min" : 0, "N" : 0 },
        "clat_ns" : {
          "min" : 31367,
          "percentile" : {
            "50.000000" : 45312,
            "99.000000" : 207872,
            "99.900000" : 5472256
          }
        },
        "iops_min" : 11586,
        "iops_mean" : 13213.500000
      },
      "write" : { "iops" : 7.0, "clat_ns" : { "percentile" : { "50.000000" : 1 } } }
  } ]
}"#;

#[test]
fn rate_and_percentiles_are_those_of_the_reads() {
    let sample = parse(JSON).unwrap();
    assert_eq!(sample.reads_per_s, 13_194.208_687);
    assert_eq!(sample.p50_us, 45.312);
    assert_eq!(sample.p99_us, 207.872);
    assert_eq!(sample.p999_us, 5_472.256);
}

#[test]
fn an_answer_without_reads_is_no_sample() {
    assert_eq!(parse(""), None);
    assert_eq!(parse(&JSON.replace("13194.208687", "0.000000")), None);
    assert_eq!(parse(&JSON.replace("clat_ns", "lat_ns")), None);
}

#[test]
fn fio_reads_a_file_where_there_is_one() {
    let name = format!("cairn-benches-fio-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    let floor = Floor::prepare_bytes(&directory, 1 << 20).unwrap();
    let duration = Duration::from_millis(50);
    let sample = random_reads(floor.path(), 2, duration);
    let missing = random_reads(&directory.join("missing"), 1, duration);
    let direct = crate::measure::file_system(&directory) != "tmpfs";
    drop(floor);
    std::fs::remove_dir_all(&directory).unwrap();
    if !direct {
        return;
    }
    if let Some(sample) = sample.unwrap() {
        assert!(sample.reads_per_s > 0.0 && sample.p50_us <= sample.p99_us);
        assert!(missing.is_err(), "{missing:?}");
    }
}
