//! What `/metrics` tells, as OpenMetrics or in the older text format of Prometheus.
//!
//! Counters of requests live here and are bumped by the gate; figures of the store and of the pool
//! are asked for when they are scraped (`store`), so they cost nothing otherwise. `docs/metrics.md` lists
//! them all, and a test holds it to that.

mod store;

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use cairn_sdk::wire::Status;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The counters of a server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    seconds: Family<Resource, Histogram, fn() -> Histogram>,
    pub(crate) in_flight: Gauge<i64, AtomicI64>,
    pub(crate) refused: Counter<u64, AtomicU64>,
    pub(crate) panics: Counter<u64, AtomicU64>,
    pub(crate) watches: Gauge<i64, AtomicI64>,
    pub(crate) watch_events: Counter<u64, AtomicU64>,
    pub(crate) connections: Gauge<i64, AtomicI64>,
    pub(crate) connections_accepted: Counter<u64, AtomicU64>,
    pub(crate) connections_evicted: Counter<u64, AtomicU64>,
    pub(crate) connections_refused: Counter<u64, AtomicU64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    resource: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Resource {
    resource: &'static str,
}

/// Seconds; from a read in memory to a write behind a slow disk.
const BUCKETS: [f64; 14] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];

impl Metrics {
    pub(crate) fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("cairn"),
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            in_flight: Gauge::default(),
            refused: Counter::default(),
            panics: Counter::default(),
            watches: Gauge::default(),
            watch_events: Counter::default(),
            connections: Gauge::default(),
            connections_accepted: Counter::default(),
            connections_evicted: Counter::default(),
            connections_refused: Counter::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let r = &mut self.registry;
        r.register("http_requests", "Requests answered", self.requests.clone());
        r.register(
            "http_request_seconds",
            "Time to an answer",
            self.seconds.clone(),
        );
        r.register(
            "http_requests_in_flight",
            "Requests being answered",
            self.in_flight.clone(),
        );
        r.register(
            "http_requests_refused",
            "Requests over the limit",
            self.refused.clone(),
        );
        r.register(
            "http_panics",
            "Requests that ended in a panic",
            self.panics.clone(),
        );
        r.register("watches", "Open watches", self.watches.clone());
        r.register(
            "watch_events",
            "Events sent to watches",
            self.watch_events.clone(),
        );
        r.register(
            "http_connections",
            "Open connections",
            self.connections.clone(),
        );
        r.register(
            "http_connections_accepted",
            "Connections accepted",
            self.connections_accepted.clone(),
        );
        r.register(
            "http_connections_evicted",
            "Idle connections closed for new ones",
            self.connections_evicted.clone(),
        );
        r.register(
            "http_connections_refused",
            "Connections over the limit",
            self.connections_refused.clone(),
        );
        self
    }

    /// Counts one answer.
    pub(crate) fn answered(
        &self,
        resource: &'static str,
        method: &'static str,
        status: u16,
        took: Duration,
    ) {
        self.requests
            .get_or_create(&Answered {
                resource,
                method,
                status,
            })
            .inc();
        self.seconds
            .get_or_create(&Resource { resource })
            .observe(took.as_secs_f64());
    }

    /// The figures as OpenMetrics.
    pub(crate) fn text(&self, status: &Status, running: usize, waiting: usize) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        let body = text
            .trim_end()
            .strip_suffix("# EOF")
            .map_or(text.len(), str::len);
        text.truncate(body);
        let _ = store::write(&mut text, status, running, waiting);
        text.push_str("# EOF\n");
        text
    }
}

/// OpenMetrics as version 0.0.4 of the text format. There a counter's type and help name its
/// samples, `_total` included, and nothing marks the end.
pub(crate) fn plain(open: &str) -> String {
    let counters: HashSet<&str> = open
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut plain = String::with_capacity(open.len() + counters.len() * 16);
    for line in open.lines().filter(|line| *line != "# EOF") {
        let family = ["# TYPE ", "# HELP "].iter().find_map(|&head| {
            let (family, rest) = line.strip_prefix(head)?.split_once(' ')?;
            counters.contains(family).then_some((head, family, rest))
        });
        match family {
            Some((head, family, rest)) => {
                plain.extend([head, family, "_total ", rest, "\n"]);
            }
            None => plain.extend([line, "\n"]),
        }
    }
    plain
}

#[cfg(test)]
mod tests;
