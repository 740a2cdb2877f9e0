//! The threads of an open store: one a partition, which writes runs and merges them.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::Keyspace;

/// Starts a thread for each partition.
pub(crate) fn start(keyspaces: &[Arc<Keyspace>]) -> Result<Vec<JoinHandle<()>>> {
    let mut threads = Vec::new();
    for keyspace in keyspaces {
        let name = format!("cairn-index-{}", keyspace.log().id());
        let worker = Arc::clone(keyspace);
        let thread = thread::Builder::new()
            .name(name)
            .spawn(move || worker.maintain());
        match thread {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                keyspaces
                    .iter()
                    .for_each(|keyspace| keyspace.stop_maintaining());
                let message = format!("a thread cannot be started: {error}");
                return Err(Error::new(ErrorKind::Io, message));
            }
        }
    }
    Ok(threads)
}
