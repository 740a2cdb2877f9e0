//! What a server runs with: flags, environment, file and defaults, in this order of precedence.
//!
//! Flags and environment arrive together from the command line (`clap` looks at both, flag first);
//! the file is TOML with the same names in snake_case. A name in the file that is none of ours is
//! an error with the name in it: a misspelt limit must not leave the default in force unnoticed.

mod file;
mod secret;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

pub(crate) use file::File;
pub(crate) use secret::Secret;

/// Settings as one source gives them; what it leaves out is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Directory of the store; created if there is none
    #[arg(long, env = "CAIRN_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Address of the HTTP API; port 0 chooses a free one
    #[arg(long, env = "CAIRN_LISTEN", value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// Address of the S3 door (not in this version yet)
    #[arg(long, env = "CAIRN_S3_LISTEN", value_name = "ADDR")]
    pub(crate) s3_listen: Option<String>,
    /// Partitions of a store that is created
    #[arg(long, env = "CAIRN_PARTITIONS", value_name = "N")]
    pub(crate) partitions: Option<u16>,
    /// Keep everything in memory and nothing on disk
    #[arg(long, env = "CAIRN_MEMORY", value_name = "BOOL", num_args = 0..=1,
          require_equals = true, default_missing_value = "true")]
    pub(crate) memory: Option<bool>,
    /// Listen beyond this machine without tokens
    #[arg(long, env = "CAIRN_INSECURE", value_name = "BOOL", num_args = 0..=1,
          require_equals = true, default_missing_value = "true")]
    pub(crate) insecure: Option<bool>,
    /// Whether a write creates its bucket where there is none
    #[arg(long, env = "CAIRN_AUTO_CREATE_BUCKETS", value_name = "BOOL", num_args = 0..=1,
          require_equals = true, default_missing_value = "true")]
    pub(crate) auto_create_buckets: Option<bool>,
    /// How long running requests get at shutdown, in milliseconds
    #[arg(long, env = "CAIRN_SHUTDOWN_GRACE_MS", value_name = "MS")]
    pub(crate) shutdown_grace_ms: Option<u64>,
    /// Connections at once; of more, idle ones are closed
    #[arg(long, env = "CAIRN_CONNECTIONS_MAX", value_name = "N")]
    pub(crate) connections_max: Option<usize>,
    /// Requests at once; more are answered 503
    #[arg(long, env = "CAIRN_REQUESTS_MAX", value_name = "N")]
    pub(crate) requests_max: Option<usize>,
    /// Bytes of large request and reply bodies in memory at once; more are answered 503
    #[arg(long, env = "CAIRN_BODIES_BYTES_MAX", value_name = "BYTES")]
    pub(crate) bodies_bytes_max: Option<usize>,
    /// How long a connection may send no request before it is closed, in milliseconds
    #[arg(long, env = "CAIRN_IDLE_TIMEOUT_MS", value_name = "MS")]
    pub(crate) idle_timeout_ms: Option<u64>,
    /// How long a peer may stall while a body crosses the wire, in milliseconds
    #[arg(long, env = "CAIRN_STALL_TIMEOUT_MS", value_name = "MS")]
    pub(crate) stall_timeout_ms: Option<u64>,
    /// Threads for calls that wait for the disk
    #[arg(long, env = "CAIRN_BLOCKING_THREADS", value_name = "N")]
    pub(crate) blocking_threads: Option<usize>,
    /// Bytes of index over the newest part of the log
    #[arg(long, env = "CAIRN_MEMTABLE_BYTES", value_name = "BYTES")]
    pub(crate) memtable_bytes: Option<u64>,
    /// Bytes of memory for the places of keys, 8.5 a key at best
    #[arg(long, env = "CAIRN_HOT_INDEX_BYTES", value_name = "BYTES")]
    pub(crate) hot_index_bytes: Option<u64>,
    /// Bytes of cached index pages
    #[arg(long, env = "CAIRN_CACHE_BYTES", value_name = "BYTES")]
    pub(crate) cache_bytes: Option<u64>,
    /// After how long a buffered write is synced, in milliseconds
    #[arg(long, env = "CAIRN_BUFFERED_SYNC_MS", value_name = "MS")]
    pub(crate) buffered_sync_ms: Option<u64>,
    /// Bytes of log that are kept for a watch which lags; further behind it may be cut off
    #[arg(long, env = "CAIRN_WATCH_LAG_BYTES", value_name = "BYTES")]
    pub(crate) watch_lag_bytes: Option<u64>,
    /// After how long a record of a topic is removed, in milliseconds; 0 for never
    #[arg(long, env = "CAIRN_TOPIC_RETENTION_MS", value_name = "MS")]
    pub(crate) topic_retention_ms: Option<u64>,
    /// Bytes of records that a topic keeps in a partition, the newest; 0 for all
    #[arg(long, env = "CAIRN_TOPIC_RETENTION_BYTES", value_name = "BYTES")]
    pub(crate) topic_retention_bytes: Option<u64>,
    /// What is logged, such as `info` or `cairn=debug`
    #[arg(long, env = "CAIRN_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// Form of the log lines
    #[arg(long, env = "CAIRN_LOG_FORMAT", value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// Read as tables of their own; known here so that an unknown name is answered with all there
    /// are.
    #[arg(skip)]
    token: Elsewhere,
    #[arg(skip)]
    topic: Elsewhere,
}

/// What a name stands for is read elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Elsewhere;

impl<'de> Deserialize<'de> for Elsewhere {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|IgnoredAny| Self)
    }
}

/// Settings of which each has its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Config {
    pub(crate) data: PathBuf,
    pub(crate) listen: String,
    pub(crate) s3_listen: Option<String>,
    pub(crate) partitions: u16,
    /// Somebody has asked for so many: the store may have others.
    #[serde(skip)]
    pub(crate) has_asked_partitions: bool,
    pub(crate) memory: bool,
    pub(crate) insecure: bool,
    pub(crate) auto_create_buckets: bool,
    pub(crate) shutdown_grace_ms: u64,
    pub(crate) connections_max: usize,
    pub(crate) requests_max: usize,
    pub(crate) bodies_bytes_max: usize,
    pub(crate) idle_timeout_ms: u64,
    pub(crate) stall_timeout_ms: u64,
    pub(crate) blocking_threads: usize,
    pub(crate) memtable_bytes: u64,
    pub(crate) hot_index_bytes: u64,
    pub(crate) cache_bytes: u64,
    pub(crate) buffered_sync_ms: u64,
    pub(crate) watch_lag_bytes: u64,
    pub(crate) topic_retention_ms: u64,
    pub(crate) topic_retention_bytes: u64,
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
    pub(crate) token: Vec<Token>,
    pub(crate) topic: Vec<Topic>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A token: a secret and what it lets its bearer do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Token {
    pub(crate) name: String,
    pub(crate) secret: Secret,
    pub(crate) role: Role,
    /// Patterns of bucket names.
    pub(crate) buckets: Vec<String>,
    pub(crate) s3_access_key: Option<String>,
    pub(crate) s3_secret_key: Option<Secret>,
}

/// How long the records of one topic are kept, where that differs from `topic_retention_ms` and
/// `topic_retention_bytes`; 0 for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Topic {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) retention_ms: Option<u64>,
    #[serde(default)]
    pub(crate) retention_bytes: Option<u64>,
}

/// What a token lets its bearer do. Each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Reads keys and lists buckets.
    Reader,
    /// Writes keys and creates buckets.
    Writer,
    /// Removes buckets.
    Admin,
}

impl Role {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Role::Reader => "reader",
            Role::Writer => "writer",
            Role::Admin => "admin",
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unusable(pub(crate) String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unusable {}

impl Config {
    /// The effective configuration: `given` (flags and environment) before the file before the
    /// defaults.
    pub(crate) fn resolve(given: Settings, path: Option<&Path>) -> Result<Self, Unusable> {
        let file = path.map(File::read).transpose()?.unwrap_or_default();
        Self::combine(given, file)
    }

    fn combine(given: Settings, file: File) -> Result<Self, Unusable> {
        let File {
            settings: below,
            token,
            topic,
        } = file;
        macro_rules! pick {
            ($name:ident) => {
                given.$name.or(below.$name)
            };
            ($name:ident, $default:expr) => {
                pick!($name).unwrap_or_else(|| $default)
            };
        }
        if given.memory == Some(true) && given.data.is_some() {
            return Err(Unusable("memory and data exclude each other".to_owned()));
        }
        let config = Self {
            data: pick!(data, PathBuf::from("./cairn-data")),
            listen: pick!(listen, "127.0.0.1:7070".to_owned()),
            s3_listen: pick!(s3_listen),
            has_asked_partitions: pick!(partitions).is_some(),
            partitions: pick!(partitions, 1),
            memory: pick!(memory, false),
            insecure: pick!(insecure, false),
            auto_create_buckets: pick!(auto_create_buckets, true),
            shutdown_grace_ms: pick!(shutdown_grace_ms, 10_000),
            connections_max: pick!(connections_max, 10_000),
            requests_max: pick!(requests_max, 1_024),
            bodies_bytes_max: pick!(bodies_bytes_max, 128 << 20),
            idle_timeout_ms: pick!(idle_timeout_ms, 75_000),
            stall_timeout_ms: pick!(stall_timeout_ms, 30_000),
            blocking_threads: pick!(blocking_threads, default_blocking_threads()),
            memtable_bytes: pick!(memtable_bytes, 64 << 20),
            hot_index_bytes: pick!(hot_index_bytes, 128 << 20),
            cache_bytes: pick!(cache_bytes, 64 << 20),
            buffered_sync_ms: pick!(buffered_sync_ms, 1_000),
            watch_lag_bytes: pick!(watch_lag_bytes, 256 << 20),
            topic_retention_ms: pick!(topic_retention_ms, 0),
            topic_retention_bytes: pick!(topic_retention_bytes, 0),
            log: pick!(log, "info".to_owned()),
            log_format: pick!(log_format, LogFormat::Text),
            token,
            topic,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Unusable> {
        let at_least_one = [
            ("connections_max", self.connections_max as u64),
            ("requests_max", self.requests_max as u64),
            ("blocking_threads", self.blocking_threads as u64),
            ("partitions", u64::from(self.partitions)),
            ("idle_timeout_ms", self.idle_timeout_ms),
            ("stall_timeout_ms", self.stall_timeout_ms),
        ];
        match at_least_one.iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(Unusable(format!("{name} is 0, it starts at 1"))),
            None => Ok(()),
        }
    }
}

fn default_blocking_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores * cairn_sdk::bridge::THREADS_PER_CORE
}

#[cfg(test)]
mod tests;
