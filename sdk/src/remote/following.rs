//! A watch over HTTP, which is connected again whenever it breaks.
//!
//! The position is the last `id:` that the server sent: it stands behind whole batches only. Events
//! without one are collected until the batch is whole, and thrown away if the connection breaks
//! first, since the next one repeats them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use reqwest::header::ACCEPT;
use reqwest::{Method, Response};

use super::reply::Reply;
use super::sse::{Message, Parser};
use super::{Query, Remote, transport_error};
use crate::error::{Error, Result};
use crate::watch::{WatchBatch, WatchChange, WatchEvent, WatchRequest};
use crate::wire::{
    BATCH_OPS_MAX, Code, EVENT_DELETE, EVENT_ERROR, EVENT_PUT, EventData, Problem, bucket_target,
};

/// A watch over HTTP.
pub(crate) struct Following {
    position: Arc<AtomicU64>,
    /// `None` while `working` has it.
    follower: Option<Box<Follower>>,
    working: Option<Working>,
}

type Working = Pin<Box<dyn Future<Output = (Box<Follower>, Result<WatchBatch>)> + Send>>;

struct Follower {
    remote: Remote,
    target: String,
    request: WatchRequest,
    position: Arc<AtomicU64>,
    connection: Option<Connection>,
    /// Connections that failed in a row.
    failures: u32,
}

/// A reply that goes on.
struct Connection {
    response: Response,
    parser: Parser,
    /// The events of a batch that is not whole.
    events: Vec<WatchEvent>,
}

/// What a server said.
enum Told {
    /// Everything up to here was sent.
    Position(u64),
    Batch(WatchBatch),
}

/// Why a connection does not go on.
enum Broken {
    /// Another one may; the server asks for this pause.
    ForNow(Error, Option<Duration>),
    ForGood(Error),
}

impl Remote {
    /// Connects a watch, so that it sees what is written after this call has returned.
    pub(crate) async fn watch(&self, bucket: &str, request: WatchRequest) -> Result<Following> {
        let position = Arc::new(AtomicU64::new(request.from.unwrap_or(0)));
        let mut follower = Box::new(Follower {
            remote: self.clone(),
            target: bucket_target("watch", bucket),
            request,
            position: Arc::clone(&position),
            connection: None,
            failures: 0,
        });
        follower.connect(self.retry.attempts).await?;
        Ok(Following {
            position,
            follower: Some(follower),
            working: None,
        })
    }
}

impl Following {
    pub(crate) fn version(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    pub(crate) fn poll_batches(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Vec<WatchBatch>>> {
        if let Some(mut follower) = self.follower.take() {
            self.working = Some(Box::pin(async move {
                let outcome = follower.next().await;
                (follower, outcome)
            }));
        }
        let Some(working) = &mut self.working else {
            let lost = Error::new(Code::Internal, "a watch was polled after it had ended");
            return Poll::Ready(Err(lost));
        };
        let (follower, outcome) = std::task::ready!(working.as_mut().poll(context));
        (self.working, self.follower) = (None, Some(follower));
        Poll::Ready(outcome.map(|batch| vec![batch]))
    }
}

impl Follower {
    /// The next batch, over as many connections as it takes.
    async fn next(&mut self) -> Result<WatchBatch> {
        // A policy that never repeats does not connect again either.
        let attempts = match self.remote.retry.attempts {
            0 | 1 => 0,
            _ => u32::MAX,
        };
        loop {
            let Some(connection) = &mut self.connection else {
                self.connect(attempts).await?;
                continue;
            };
            match connection.next(&self.remote.origin).await {
                Ok(Told::Position(version)) => self.reached(version),
                Ok(Told::Batch(batch)) => {
                    self.reached(batch.version);
                    return Ok(batch);
                }
                Err(Broken::ForGood(error)) => return Err(error),
                Err(Broken::ForNow(error, asked)) => {
                    self.connection = None;
                    self.pause(error, asked, attempts).await?;
                }
            }
        }
    }

    /// Connects, and waits until the server has said where the stream begins.
    async fn connect(&mut self, attempts: u32) -> Result<()> {
        loop {
            match self.try_connect().await {
                Ok(()) => return Ok(()),
                Err(Broken::ForGood(error)) => return Err(error),
                Err(Broken::ForNow(error, asked)) => self.pause(error, asked, attempts).await?,
            }
        }
    }

    async fn try_connect(&mut self) -> Result<(), Broken> {
        let mut query = Query::default();
        let prefix = &self.request.prefix;
        query.bytes("prefix", (!prefix.is_empty()).then_some(&**prefix));
        let from = self.request.from.map(|from| from.to_string());
        query.bytes("from", from.as_deref());
        let url = self.remote.url(&self.target, &query.0);
        let request = self
            .remote
            .streams
            .request(Method::GET, url.map_err(Broken::ForGood)?)
            .header(ACCEPT, "text/event-stream");
        let origin = &self.remote.origin;
        let unreachable =
            |error: reqwest::Error| Broken::ForNow(transport_error(&error, true, origin), None);
        let response = request.send().await.map_err(unreachable)?;
        if !response.status().is_success() {
            let reply = Reply::read(response, None).await.map_err(unreachable)?;
            let (is_for_now, asked) = (reply.was_refused(), reply.retry_after());
            return match reply.success() {
                Err(error) if is_for_now => Err(Broken::ForNow(error, asked)),
                Err(error) => Err(Broken::ForGood(error)),
                Ok(_) => Err(Broken::ForGood(strange("a success that is none"))),
            };
        }
        let mut connection = Connection {
            response,
            parser: Parser::default(),
            events: Vec::new(),
        };
        match connection.next(origin).await? {
            Told::Position(version) => self.reached(version),
            Told::Batch(_) => {
                let what = "a stream that does not say where it begins";
                return Err(Broken::ForGood(strange(what)));
            }
        }
        self.connection = Some(connection);
        Ok(())
    }

    fn reached(&mut self, version: u64) {
        self.failures = 0;
        self.request.from = Some(version);
        self.position.store(version, Ordering::Release);
    }

    /// Waits before the next attempt; passes the error on if there is to be none.
    async fn pause(&mut self, error: Error, asked: Option<Duration>, attempts: u32) -> Result<()> {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= attempts {
            return Err(error);
        }
        tokio::time::sleep(self.remote.retry.pause(self.failures, asked)).await;
        Ok(())
    }
}

impl Connection {
    async fn next(&mut self, origin: &str) -> Result<Told, Broken> {
        loop {
            let message = self.parser.next().map_err(|_| {
                let what = "a line of an event stream that is too long";
                Broken::ForGood(strange(what))
            })?;
            if let Some(message) = message {
                if let Some(told) = self.take(message)? {
                    return Ok(told);
                }
                continue;
            }
            let chunk = self.response.chunk().await;
            let chunk = chunk
                .map_err(|error| Broken::ForNow(transport_error(&error, true, origin), None))?;
            let Some(chunk) = chunk else {
                let detail = format!("{origin}: the server ended the stream");
                return Err(Broken::ForNow(Error::new(Code::Unreachable, detail), None));
            };
            self.parser.push(&chunk);
        }
    }

    fn take(&mut self, message: Message) -> Result<Option<Told>, Broken> {
        let id = match &message.id {
            Some(id) => Some(
                id.parse()
                    .map_err(|_| out_of_shape("an id that is no version"))?,
            ),
            None => None,
        };
        let Some(data) = message.data else {
            return match id {
                Some(version) if self.events.is_empty() => Ok(Some(Told::Position(version))),
                Some(_) => Err(out_of_shape("a position inside a batch")),
                None => Ok(None),
            };
        };
        let change = match message.event.as_deref() {
            Some(EVENT_PUT) => |data: &EventData| WatchChange::Put {
                size: data.size.unwrap_or(0),
                value: data.value_b64.clone().map(|value| value.0),
            },
            Some(EVENT_DELETE) => |data: &EventData| WatchChange::Delete {
                expired: data.expired,
            },
            Some(EVENT_ERROR) => return Err(failure(&data)),
            _ => return Err(out_of_shape("an event of an unknown kind")),
        };
        let data: EventData = serde_json::from_str(&data)
            .map_err(|_| out_of_shape("an event in an unknown shape"))?;
        let change = change(&data);
        if data.more == id.is_some() || id.is_some_and(|id| id != data.version) {
            return Err(out_of_shape("a batch that does not say where it ends"));
        }
        if self.events.len() == BATCH_OPS_MAX {
            return Err(out_of_shape("a batch without end"));
        }
        let key = data.key_b64.0;
        self.events.push(WatchEvent { key, change });
        Ok(id.map(|version| {
            let events = std::mem::take(&mut self.events);
            Told::Batch(WatchBatch { version, events })
        }))
    }
}

/// The error that a server ends a stream with.
fn failure(data: &str) -> Broken {
    match serde_json::from_str::<Problem>(data) {
        Ok(problem) => {
            let error = Error::from(problem);
            match error.is_retryable() {
                true => Broken::ForNow(error, None),
                false => Broken::ForGood(error),
            }
        }
        Err(_) => out_of_shape("an error in an unknown shape"),
    }
}

fn out_of_shape(what: &str) -> Broken {
    Broken::ForGood(strange(what))
}

fn strange(what: &str) -> Error {
    Error::new(
        Code::Other("unexpected_reply".to_owned()),
        format!("the server sent {what}"),
    )
}

#[cfg(test)]
mod tests;
