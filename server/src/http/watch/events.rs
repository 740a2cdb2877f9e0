//! A watch as a body: events in the text of `text/event-stream`, as the client takes them.
//!
//! Nothing is read ahead of the client but what one read of the feed brings, and an event becomes
//! text only when its frame is made.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::vec;

use axum::body::Bytes;
use cairn_sdk::wire::EVENT_ERROR;
use cairn_sdk::{Error, Feed, WatchBatch, WatchEvent};
use http_body::{Body as HttpBody, Frame};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};

use crate::http::App;
use crate::problem::Problem;

/// A frame is sent once it has this size, or nothing more is at hand.
const FRAME_BYTES: usize = 16 * 1024;

/// The events of a watch.
pub(super) struct Events {
    app: Arc<App>,
    feed: Feed,
    /// Read and not sent.
    batches: vec::IntoIter<WatchBatch>,
    sending: Option<Sending>,
    has_opened: bool,
    has_ended: bool,
    silence: Pin<Box<Sleep>>,
    shutdown: Pin<Box<dyn Future<Output = ()> + Send>>,
    _place: OwnedSemaphorePermit,
}

/// A batch of which events are left to send.
struct Sending {
    version: u64,
    events: vec::IntoIter<WatchEvent>,
}

impl Events {
    pub(super) fn new(app: &Arc<App>, feed: Feed, place: OwnedSemaphorePermit) -> Self {
        let mut shutdown = app.shutdown.subscribe();
        app.metrics.watches.inc();
        Self {
            feed,
            batches: Vec::new().into_iter(),
            sending: None,
            has_opened: false,
            has_ended: false,
            silence: Box::pin(sleep(app.keep_alive)),
            // The app holds the sender.
            shutdown: Box::pin(async move { drop(shutdown.wait_for(|is_on| *is_on).await) }),
            _place: place,
            app: Arc::clone(app),
        }
    }

    /// The text that is to be sent next; `None` when the stream is over.
    fn poll_text(&mut self, context: &mut Context<'_>) -> Poll<Option<String>> {
        if self.has_ended || self.shutdown.as_mut().poll(context).is_ready() {
            self.has_ended = true;
            return Poll::Ready(None);
        }
        if !self.has_opened {
            self.has_opened = true;
            return Poll::Ready(Some(position(self.feed.version())));
        }
        let mut text = String::new();
        while text.len() < FRAME_BYTES {
            if let Some(event) = self.next_event() {
                text.push_str(&event);
                continue;
            }
            match self.feed.poll_batches(context) {
                Poll::Ready(Ok(batches)) => self.batches = batches.into_iter(),
                Poll::Ready(Err(error)) => {
                    self.has_ended = true;
                    text.push_str(&failure(error));
                    break;
                }
                Poll::Pending => break,
            }
        }
        if text.is_empty() {
            // All that was read is sent, so this is between two batches.
            ready!(self.silence.as_mut().poll(context));
            text = position(self.feed.version());
        }
        self.silence
            .as_mut()
            .reset(Instant::now() + self.app.keep_alive);
        Poll::Ready(Some(text))
    }

    fn next_event(&mut self) -> Option<String> {
        loop {
            if let Some(sending) = &mut self.sending {
                if let Some(event) = sending.events.next() {
                    let more = !sending.events.as_slice().is_empty();
                    self.app.metrics.watch_events.inc();
                    return Some(event_text(&event, sending.version, more));
                }
                self.sending = None;
            }
            let batch = self.batches.next()?;
            self.sending = Some(Sending {
                version: batch.version,
                events: batch.events.into_iter(),
            });
        }
    }
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let text = ready!(self.poll_text(context));
        Poll::Ready(text.map(|text| Ok(Frame::data(text.into()))))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.app.metrics.watches.dec();
    }
}

/// Where a watch may resume.
fn position(version: u64) -> String {
    format!("id: {version}\n\n")
}

/// Only the last event of a batch says where a watch may resume: a client that comes back gets the
/// whole batch again, or none of it.
fn event_text(event: &WatchEvent, version: u64, more: bool) -> String {
    let (kind, data) = event.wire(version, more);
    let message = message(kind, &data);
    if more {
        message
    } else {
        format!("id: {version}\n{message}")
    }
}

fn failure(error: Error) -> String {
    message(EVENT_ERROR, &Problem::from(error).into_document())
}

fn message(kind: &str, data: &impl Serialize) -> String {
    // JSON of plain members cannot fail, and has no line ends of its own.
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {kind}\ndata: {data}\n\n")
}
