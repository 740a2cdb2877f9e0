//! A consumer of all that is written, which keeps what it has got and where it was.

use std::net::SocketAddr;
use std::time::Duration;

use cairn_sdk::{Cairn, Code, ConnectOptions, Result, Retry, WatchBatch, WatchChange, WatchStream};

use super::PATIENCE;

/// A batch: its version, and of each event the key and the value.
pub(super) type Seen = (u64, Vec<(String, Option<String>)>);

/// A consumer of bucket `b`.
#[derive(Debug, Default)]
pub(super) struct Follower {
    pub(super) seen: Vec<Seen>,
    /// Where it resumes.
    position: u64,
}

impl Follower {
    /// Follows a server until it is gone.
    pub(super) fn follow_until_killed(&mut self, address: SocketAddr) {
        let end = run(async {
            let mut stream = self.resume(address).await?;
            loop {
                let next = stream.next().await;
                self.take(next.expect("a stream ends with an error")?);
            }
        });
        let end: Result<()> = end;
        let error = end.expect_err("a stream ends with an error");
        assert_eq!(*error.code(), Code::Unreachable, "{error}");
    }

    /// Follows a server up to a version.
    pub(super) fn follow_up_to(&mut self, address: SocketAddr, head: u64) {
        let end: Result<()> = run(async {
            let resumed = tokio::time::timeout(PATIENCE, self.resume(address)).await;
            let mut stream = resumed.expect("the bucket is there")?;
            while self.position < head {
                let next = tokio::time::timeout(PATIENCE, stream.next()).await;
                let next = next.expect("all that is durable is told");
                self.take(next.expect("a stream ends with an error")?);
            }
            Ok(())
        });
        end.expect("a server that stays");
    }

    async fn resume(&self, address: SocketAddr) -> Result<WatchStream> {
        let url = format!("http://{address}");
        let options = ConnectOptions::default().retry(Retry::NEVER);
        let cairn = Cairn::connect_with(&url, options).await?;
        loop {
            match cairn.bucket("b").watch().from(self.position).await {
                // The first write creates the bucket.
                Err(error) if *error.code() == Code::BucketNotFound => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                outcome => return outcome,
            }
        }
    }

    fn take(&mut self, batch: WatchBatch) {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        let changes = batch.events.iter().map(|event| {
            let value = match &event.change {
                WatchChange::Put { value, .. } => value.as_deref().map(text),
                WatchChange::Delete { .. } => None,
            };
            (text(&event.key), value)
        });
        self.seen.push((batch.version, changes.collect()));
        self.position = batch.version;
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(future)
}
