use super::*;
use cairn_sdk::wire::PartitionStatus;

fn status() -> Status {
    Status {
        version: "0.1.0".to_owned(),
        log_id: "00".to_owned(),
        uptime_ms: 12_345,
        writable: true,
        clock_is_suspect: false,
        partitions: vec![PartitionStatus {
            syncs: 7,
            free_bytes: Some(1),
            ..PartitionStatus::default()
        }],
        committee: None,
    }
}

#[test]
fn the_text_holds_requests_and_store_and_ends_once() {
    let metrics = Metrics::new();
    metrics.answered("kv", "GET", 200, Duration::from_micros(300));
    let text = metrics.text(&status(), 1, 2);
    for line in [
        "cairn_http_requests_total{resource=\"kv\",method=\"GET\",status=\"200\"} 1",
        "cairn_http_request_seconds_bucket{le=\"0.0005\",resource=\"kv\"} 1",
        "cairn_log_syncs_total{partition=\"0\"} 7",
        "cairn_uptime_seconds 12",
        "cairn_pool_waiting 2",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    assert_eq!(text.matches("# EOF").count(), 1);
}

#[test]
fn in_the_older_format_a_counter_is_named_as_its_samples_are() {
    let metrics = Metrics::new();
    metrics.answered("kv", "GET", 200, Duration::from_micros(300));
    let open = metrics.text(&status(), 1, 2);
    let plain = plain(&open);
    let mut of = "";
    for line in plain.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            of = family.split(' ').next().unwrap();
            assert!(plain.contains(&format!("# HELP {of} ")), "{of}");
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let of_histogram = ["_sum", "_count", "_bucket"].map(|end| format!("{of}{end}"));
            assert!(
                name == of || of_histogram.iter().any(|known| known == name),
                "{line}"
            );
        }
    }
    assert!(plain.contains("\n# TYPE cairn_log_syncs_total counter\n"));
    assert!(!plain.contains("# EOF"));
    let samples = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(samples(&plain), samples(&open));
}

/// The names of a text, each once, without what the members of a histogram end in.
fn names(text: &str) -> std::collections::BTreeSet<&str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut names = std::collections::BTreeSet::new();
    for line in lines {
        let (family, kind) = line.split_once(' ').unwrap();
        let told = match kind {
            "counter" => text
                .lines()
                .any(|line| line.starts_with(&format!("{family}_total"))),
            _ => text.lines().any(|line| line.starts_with(family)),
        };
        assert!(told, "{family} has a value\n{text}");
        assert!(
            text.contains(&format!("# HELP {family} ")),
            "{family} has help"
        );
        assert!(names.insert(family), "{family} stands there once");
    }
    names
}

#[test]
fn every_metric_is_in_the_list_and_every_one_of_the_list_is_told() {
    let metrics = Metrics::new();
    metrics.answered("kv", "GET", 200, Duration::from_micros(300));
    let text = metrics.text(&status(), 0, 0);
    let listed = include_str!("../../../docs/metrics.md");
    let listed: std::collections::BTreeSet<&str> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(|name| name.trim_end_matches("_total"))
        .collect();
    assert_eq!(names(&text), listed);
}
