//! The figures of the store and of the pool: what `/v1/status` says, as metrics.

use std::fmt::{Result, Write};

use cairn_sdk::wire::{PartitionStatus, Status};

/// Writes them all, each with its type and help. Counters end in `_total`, and units come last.
pub(super) fn write(out: &mut String, status: &Status, running: usize, waiting: usize) -> Result {
    let version = &status.version;
    head(out, "cairn_build", "gauge", "The version that runs")?;
    writeln!(out, "cairn_build{{version=\"{version}\"}} 1")?;
    let whole: [(&str, &str, u64); 5] = [
        (
            "cairn_uptime_seconds",
            "Since the store was opened",
            status.uptime_ms / 1000,
        ),
        (
            "cairn_writable",
            "Whether writes are taken",
            u64::from(status.writable),
        ),
        (
            "cairn_clock_suspect",
            "Whether the clock has leapt ahead and is not yet believed",
            u64::from(status.clock_is_suspect),
        ),
        (
            "cairn_pool_running",
            "Blocking calls that run",
            running as u64,
        ),
        (
            "cairn_pool_waiting",
            "Blocking calls that wait for their turn",
            waiting as u64,
        ),
    ];
    for (name, help, value) in whole {
        head(out, name, "gauge", help)?;
        writeln!(out, "{name} {value}")?;
    }
    for figure in FIGURES {
        let kind = if figure.name.ends_with("_total") {
            "counter"
        } else {
            "gauge"
        };
        head(out, figure.name, kind, figure.help)?;
        for partition in &status.partitions {
            // One that the disk does not tell is left out.
            if let Some(value) = (figure.of)(partition) {
                let (name, number) = (figure.name, partition.partition);
                writeln!(out, "{name}{{partition=\"{number}\"}} {value}")?;
            }
        }
    }
    Ok(())
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> Result {
    // A family of counters is named without what its members end in.
    let family = name.trim_end_matches("_total");
    writeln!(out, "# HELP {family} {help}")?;
    writeln!(out, "# TYPE {family} {kind}")
}

/// A figure of each partition.
struct Figure {
    name: &'static str,
    help: &'static str,
    of: fn(&PartitionStatus) -> Option<u64>,
}

const fn figure(
    name: &'static str,
    help: &'static str,
    of: fn(&PartitionStatus) -> Option<u64>,
) -> Figure {
    Figure { name, help, of }
}

const FIGURES: [Figure; 27] = [
    figure(
        "cairn_log_start_bytes",
        "Where the retained log begins",
        |p| Some(p.start),
    ),
    figure(
        "cairn_log_end_bytes",
        "Everything below has its place",
        |p| Some(p.end),
    ),
    figure(
        "cairn_log_durable_bytes",
        "Everything below survives a power loss",
        |p| Some(p.durable),
    ),
    figure(
        "cairn_log_visible_bytes",
        "Readers see what is below",
        |p| Some(p.visible),
    ),
    figure("cairn_log_segments", "Segment files", |p| Some(p.segments)),
    figure(
        "cairn_log_disk_bytes",
        "Bytes of log in segment files",
        |p| Some(p.bytes),
    ),
    figure(
        "cairn_log_prepared_bytes",
        "Bytes of files prepared for log to come",
        |p| Some(p.prepared_bytes),
    ),
    figure(
        "cairn_log_keys_in_memory",
        "Keys in memtables, deleted ones included",
        |p| Some(p.keys_in_memory),
    ),
    figure("cairn_log_batches_total", "Batches appended", |p| {
        Some(p.batches)
    }),
    figure(
        "cairn_log_writes_total",
        "Write calls for batches, one a group",
        |p| Some(p.writes),
    ),
    figure("cairn_log_syncs_total", "Syncs for batches", |p| {
        Some(p.syncs)
    }),
    figure(
        "cairn_log_poisoned",
        "Whether a failed write or sync has stopped writes",
        |p| Some(u64::from(p.poisoned)),
    ),
    figure(
        "cairn_disk_free_bytes",
        "Bytes that can still be written on the disk",
        |p| p.free_bytes,
    ),
    figure(
        "cairn_index_memtables",
        "Memtables, the one that takes writes included",
        |p| Some(p.index.memtables),
    ),
    figure("cairn_index_memtable_bytes", "Memory of memtables", |p| {
        Some(p.index.memtable_bytes)
    }),
    figure("cairn_index_runs", "Runs that are not merged", |p| {
        Some(p.index.runs)
    }),
    figure(
        "cairn_index_run_records",
        "Records in runs that are not merged",
        |p| Some(p.index.run_records),
    ),
    figure(
        "cairn_index_merged_entries",
        "Entries of the merged index",
        |p| Some(p.index.merged_entries),
    ),
    figure(
        "cairn_index_merges_total",
        "Merges of runs into the merged index",
        |p| Some(p.index.merges),
    ),
    figure(
        "cairn_index_rebuilds_total",
        "Index files made again because they were lost or damaged",
        |p| Some(p.index.rebuilds),
    ),
    figure(
        "cairn_gc_live_bytes",
        "Bytes of merged segments that are the newest of their key",
        |p| Some(p.index.live_bytes),
    ),
    figure(
        "cairn_gc_dead_bytes",
        "Bytes of merged segments that seem dead, history included",
        |p| Some(p.index.dead_bytes),
    ),
    figure(
        "cairn_gc_segments_dropped_total",
        "Segments whose space was given back",
        |p| Some(p.index.segments_dropped),
    ),
    figure(
        "cairn_gc_moved_bytes_total",
        "Bytes of log written again because they live",
        |p| Some(p.index.moved_bytes),
    ),
    figure(
        "cairn_expired_keys_total",
        "Keys that got a tombstone because their deadline had passed",
        |p| Some(p.index.keys_expired),
    ),
    figure("cairn_watch_open", "Open watches of the store", |p| {
        Some(p.index.watches)
    }),
    figure(
        "cairn_watch_lag_bytes",
        "Bytes of log before the watch with the most to see",
        |p| Some(p.index.watch_lag_bytes),
    ),
];
