use super::*;
use cairn_sdk::wire::PartitionStatus;

#[test]
fn the_text_holds_requests_and_store_and_ends_once() {
    let metrics = Metrics::new();
    metrics.answered("kv", "GET", 200, Duration::from_micros(300));
    let status = Status {
        version: "0.1.0".to_owned(),
        log_id: "00".to_owned(),
        uptime_ms: 12_345,
        writable: true,
        partitions: vec![PartitionStatus {
            syncs: 7,
            ..PartitionStatus::default()
        }],
        committee: None,
    };
    let text = metrics.text(&status, 1, 2);
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
