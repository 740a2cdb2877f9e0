//! The life of a server: bind, open, announce, answer, and end without losing anything.
//!
//! The address is bound before the store is opened, so a taken port fails at once; it is listened
//! to only afterwards, so nobody waits on a store that recovers. Exactly one line goes to stdout,
//! when requests are answered:
//!
//! ```text
//! cairn ready http=127.0.0.1:7070 s3=- data=./cairn-data
//! ```
//!
//! SIGTERM or SIGINT: no more connections, idle ones closed, watches ended, running requests finished within
//! `shutdown_grace_ms` (a second signal ends the wait), the store closed, exit 0.
//!
//! A store that a failed write has closed to writes ends the same way and by itself, in exit 1:
//! only a reopen clears it, and whoever watches over the process starts another. Until the running
//! requests are finished `/readyz` answers 503 on connections that are there.

mod connection;
mod connections;
mod stall;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cairn_kv::{Store, TopicRetention};
use cairn_sdk::bridge::{Bridge, WAITING_MAX};
use cairn_sdk::{Code, Embedded};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Config;
use crate::http::{App, Gate};
use connections::Connections;

/// Why a server ends badly.
pub(crate) type Failure = cairn_sdk::Error;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;
/// File descriptors kept for the store and for whatever else is open.
const DESCRIPTORS_RESERVED: u64 = 512;
/// How long accepting pauses when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// How often it is looked whether the store still takes writes and believes the clock.
const LOOK_PERIOD: Duration = Duration::from_millis(500);

/// Runs a server to its end; true when all of it went well.
pub(crate) fn run(config: Config) -> Result<bool, Failure> {
    let threads = config.blocking_threads;
    // Beside the pool, a few for what the runtime itself looks up.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(threads.saturating_add(4))
        .thread_name("cairn")
        .enable_all()
        .build()
        .map_err(refused)?;
    let outcome = runtime.block_on(serve(config));
    // A call that still waits for a broken disk must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

async fn serve(config: Config) -> Result<bool, Failure> {
    let shown = serde_json::to_string(&config).map_err(|error| refused(error.into()))?;
    tracing::info!(config = %shown, "effective configuration");
    if config.s3_listen.is_some() {
        tracing::warn!("s3_listen is set, but this version has no S3 door");
    }
    let mut signals = Signals::new().map_err(refused)?;
    let connections_max = allowed_connections(config.connections_max);
    let socket = bind(&config).await?;
    let bridge = Bridge::new(config.blocking_threads, WAITING_MAX);
    let store = tokio::select! {
        store = open(&config, &bridge) => store?,
        () = signals.next() => return Ok(true),
    };
    let (asked, kept) = (config.partitions, store.partitions());
    if config.has_asked_partitions && asked != kept {
        tracing::warn!(
            asked,
            kept,
            "the store keeps the partitions it was created with: partitions changes nothing"
        );
    }
    let store = Embedded::new(store, bridge, config.auto_create_buckets);
    let app = App::new(&config, store.clone());
    let listener = socket.listen(BACKLOG).map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    announce(&config, address).map_err(refused)?;

    let connections = Connections::new(connections_max, Arc::clone(&app));
    let limits = connection::Limits {
        idle: Duration::from_millis(config.idle_timeout_ms),
        stall: Duration::from_millis(config.stall_timeout_ms),
    };
    let gate = Gate::new(Arc::clone(&app));
    tokio::select! {
        () = accept(listener, &connections, gate, limits) => {}
        () = connections.close_idle(limits.idle) => {}
        () = signals.next() => {}
        () = watch_over(&store) => tracing::error!(
            "a disk write failed and the store takes no more: ending, so that it is opened anew"
        ),
    }
    tracing::info!(open = connections.open(), "shutting down");
    app.shut_down();
    connections.close();
    let grace = Duration::from_millis(config.shutdown_grace_ms);
    tokio::select! {
        () = connections.ended() => {}
        () = tokio::time::sleep(grace) => {
            tracing::warn!(open = connections.open(), "requests outlived the grace");
        }
        () = signals.next() => tracing::warn!("told twice: closing at once"),
    }
    let writable = store.status().await?.writable;
    store.close().await?;
    if !writable {
        tracing::error!("a disk write had failed: the store did not close cleanly");
    }
    Ok(writable)
}

/// Returns once a failed write has closed the store to writes. Tells of a clock that leaps ahead.
async fn watch_over(store: &Embedded) {
    let mut looks = tokio::time::interval(LOOK_PERIOD);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut suspect = false;
    loop {
        looks.tick().await;
        let Ok(status) = store.status().await else {
            continue;
        };
        if !status.writable {
            return;
        }
        tell_of_clock(&mut suspect, status.clock_is_suspect);
    }
}

/// One line when the clock becomes suspect, and one when that is over.
fn tell_of_clock(suspect: &mut bool, now: bool) {
    if now && !*suspect {
        tracing::warn!(
            "the clock has leapt more than an hour ahead: keys expire by the old time unless it \
             holds for a minute"
        );
    } else if *suspect && !now {
        tracing::info!("the clock is believed again");
    }
    *suspect = now;
}

async fn accept(
    listener: TcpListener,
    connections: &Connections,
    gate: Gate,
    limits: connection::Limits,
) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // A connection that is gone already concerns nobody; anything else is a lack of
                // something, which passes when connections close.
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    tracing::warn!(%error, "a connection could not be accepted");
                    connections.evict();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                continue;
            }
        };
        match connections.admit() {
            Some(line) => {
                tokio::spawn(connection::answer(stream, line, gate.clone(), limits));
            }
            None => connection::refuse(&stream),
        }
    }
}

/// Binds the address, unless it reaches beyond this machine and nobody would be asked for a token.
async fn bind(config: &Config) -> Result<TcpSocket, Failure> {
    let named = |code, what: &dyn std::fmt::Display| {
        Failure::new(code, format!("listen = {:?}: {what}", config.listen))
    };
    let unusable = |what: &dyn std::fmt::Display| named(Code::InvalidArgument, what);
    let addresses = tokio::net::lookup_host(&config.listen)
        .await
        .map_err(|error| unusable(&error))?;
    let address = addresses
        .into_iter()
        .next()
        .ok_or_else(|| unusable(&"names no address"))?;
    if config.token.is_empty() && !config.insecure && !address.ip().to_canonical().is_loopback() {
        return Err(unusable(
            &"without tokens only a loopback address is served; add a [[token]] to the \
              configuration, or pass --insecure",
        ));
    }
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(refused)?;
    socket.set_reuseaddr(true).map_err(refused)?;
    socket.bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            let what = format_args!(
                "{error}; stop what listens there, or choose another address with --listen (port \
                 0 takes a free one)"
            );
            named(Code::Io, &what)
        }
        _ => named(Code::Io, &error),
    })?;
    Ok(socket)
}

async fn open(config: &Config, bridge: &Bridge) -> Result<Store, Failure> {
    let mut options = Store::options()
        .partitions(config.partitions)
        .memtable_bytes(config.memtable_bytes)
        .hot_index_bytes(config.hot_index_bytes)
        .cache_bytes(config.cache_bytes)
        .buffered_sync_ms(config.buffered_sync_ms)
        .watch_lag_bytes(config.watch_lag_bytes)
        .topic_retention_ms(config.topic_retention_ms)
        .topic_retention_bytes(config.topic_retention_bytes);
    for topic in &config.topic {
        let retention = TopicRetention {
            ms: topic.retention_ms,
            bytes: topic.retention_bytes,
        };
        options = options.topic_retention(&topic.name, retention);
    }
    if config.memory {
        return Ok(options.open_in_memory()?);
    }
    let path = config.data.clone();
    let opened = bridge.run(move || options.open(path)).await;
    let store = opened.map_err(|refused| {
        let detail = format!("the store was not opened: {refused:?}");
        Failure::new(Code::Internal, detail)
    })?;
    // Most errors name the file, and so the directory; the rest is told which one it is about.
    let data = config.data.display().to_string();
    store.map_err(|error| {
        let failure = Failure::from(error);
        if failure.detail().contains(&data) {
            return failure;
        }
        let detail = format!("{data}: {}", failure.detail());
        Failure::new(failure.code().clone(), detail)
    })
}

/// The operating system refused what a server needs of it.
fn refused(error: io::Error) -> Failure {
    Failure::new(Code::Io, error.to_string())
}

fn announce(config: &Config, http: SocketAddr) -> io::Result<()> {
    let data = if config.memory {
        "-".to_owned()
    } else {
        config.data.display().to_string()
    };
    let mut out = io::stdout().lock();
    writeln!(out, "cairn ready http={http} s3=- data={data}")?;
    out.flush()?;
    tracing::info!(%http, data, "ready");
    Ok(())
}

/// Raises the limit of open files as far as it goes, and lowers the number of connections to what
/// it allows.
fn allowed_connections(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if setrlimit(Resource::Nofile, raised).is_err() {
        tracing::debug!("the limit of open files stays as it is");
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let room = usize::try_from(files.saturating_sub(DESCRIPTORS_RESERVED)).unwrap_or(usize::MAX);
    let allowed = wanted.min(room.max(16));
    if allowed < wanted {
        tracing::warn!(
            files,
            allowed,
            "the limit of open files allows fewer connections"
        );
    }
    allowed
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests;
