//! Values of any size over HTTP: one request a value, whose body is made or read as it goes.
//!
//! No total time is set on these: what must not last is a pause. A request whose body does not
//! move for the request timeout, and a reply that does not, is given up.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use http_body::{Body as HttpBody, Frame, SizeHint};
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RANGE};
use reqwest::{Method, StatusCode};
use tokio::time::{Instant, Sleep};

use super::reply::{Reply, strange};
use super::{Query, Remote, asking, condition_headers, invalid, transport_error};
use crate::client::{Source, ValueStream, bounds, unreadable};
use crate::error::{Error, Result};
use crate::wire::{Code, Written, key_target};
use crate::write::{Receipt, UploadTerms};

impl Remote {
    pub(crate) async fn put_stream(
        &self,
        bucket: &str,
        key: Bytes,
        source: Source,
        terms: UploadTerms,
    ) -> Result<Receipt> {
        let mut query = Query::default();
        query.bytes("ttl_ms", terms.ttl_ms.map(|ttl| ttl.to_string()).as_deref());
        let target = key_target(bucket, &key);
        let state = Arc::new(Sending::default());
        let mut request = self.request_of(&self.streaming, Method::PUT, &target, &query.0)?;
        let expects: Vec<_> = terms.expects.iter().collect();
        for (name, value) in condition_headers(&expects)? {
            request = request.header(name, value);
        }
        if let Some(text) = &terms.content_type {
            let media_type = HeaderValue::try_from(text)
                .map_err(|_| invalid(format!("{text:?} is no media type")))?;
            request = request.header(CONTENT_TYPE, media_type);
        }
        let body = SentBody {
            source,
            state: Arc::clone(&state),
        };
        let request = asking(request, terms.durability).body(reqwest::Body::wrap(body));
        let sending = Reply::of(request, None);
        tokio::pin!(sending);
        let outcome = loop {
            match tokio::time::timeout(self.request_timeout, &mut sending).await {
                Ok(outcome) => break outcome,
                Err(_) if state.moved.swap(false, Ordering::Relaxed) => {}
                Err(_) => {
                    return Err(Error::new(
                        Code::OutcomeUnknown,
                        format!("{}: no byte moved for too long", self.origin),
                    ));
                }
            }
        };
        let reply = match outcome {
            Ok(reply) => reply.success()?,
            Err(error) => {
                // A body that was not sent to its end is never a value.
                let failure = state.failure.lock().ok().and_then(|mut cause| cause.take());
                return Err(match failure {
                    Some(cause) => unreadable(&cause),
                    None => transport_error(&error, false, &self.origin),
                });
            }
        };
        let Written { version } = reply.json()?;
        Ok(Receipt {
            version,
            durability: reply.durability(),
            existed: false,
        })
    }

    pub(crate) async fn get_stream(
        &self,
        bucket: &str,
        key: &[u8],
        range: (u64, Option<u64>),
    ) -> Result<Option<ValueStream>> {
        let target = key_target(bucket, key);
        let mut request = self.request_of(&self.streaming, Method::GET, &target, "")?;
        if range != (0, None) {
            let last = range.1.map_or(String::new(), |end| (end - 1).to_string());
            request = request.header(RANGE, format!("bytes={}-{last}", range.0));
        }
        let response = tokio::time::timeout(self.request_timeout, request.send()).await;
        let response = response
            .map_err(|_| paused(&self.origin))?
            .map_err(|error| transport_error(&error, true, &self.origin))?;
        if !response.status().is_success() {
            let reply = Reply::read(response, None).await;
            let reply = reply.map_err(|error| transport_error(&error, true, &self.origin))?;
            return match reply.success() {
                Err(error) if *error.code() == Code::KeyNotFound => Ok(None),
                Err(error) => Err(error),
                Ok(_) => Err(strange("a reply that is and is no success")),
            };
        }
        let size = match response.status() {
            StatusCode::PARTIAL_CONTENT => response
                .headers()
                .get(CONTENT_RANGE)
                .and_then(|range| range.to_str().ok()?.rsplit_once('/')?.1.parse().ok()),
            _ => response.content_length(),
        };
        let size = size.ok_or_else(|| strange("a value that does not tell its size"))?;
        let range = bounds(range, size)?;
        if response.content_length() != Some(range.end - range.start) {
            return Err(strange("another range than was asked for"));
        }
        let head = Reply::head(&response);
        let parts = ReceivedBody {
            body: response.into(),
            origin: self.origin.clone(),
            pause: self.request_timeout,
            until: Box::pin(tokio::time::sleep(self.request_timeout)),
        };
        Ok(Some(ValueStream::new(
            head.version()?,
            size,
            head.content_type(),
            range,
            parts,
        )))
    }
}

/// What is known of a body while it is sent.
#[derive(Default)]
struct Sending {
    /// Whether any of it was asked for since this was last looked at.
    moved: AtomicBool,
    /// Why the source gave no more.
    failure: std::sync::Mutex<Option<String>>,
}

struct SentBody {
    source: Source,
    state: Arc<Sending>,
}

impl HttpBody for SentBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let next = ready!(this.source.poll_next(cx));
        this.state.moved.store(true, Ordering::Relaxed);
        if let Some(Err(cause)) = &next
            && let Ok(mut failure) = this.state.failure.lock()
        {
            *failure = Some(cause.to_string());
        }
        Poll::Ready(next.map(|part| part.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        self.source
            .size()
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

struct ReceivedBody {
    body: reqwest::Body,
    origin: String,
    pause: Duration,
    until: Pin<Box<Sleep>>,
}

impl Stream for ReceivedBody {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Ok(frame))) => {
                    this.until.as_mut().reset(Instant::now() + this.pause);
                    if let Ok(part) = frame.into_data() {
                        return Poll::Ready(Some(Ok(part)));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    let error = transport_error(&error, true, &this.origin);
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Pending => {
                    ready!(this.until.as_mut().poll(cx));
                    return Poll::Ready(Some(Err(paused(&this.origin))));
                }
            }
        }
    }
}

fn paused(origin: &str) -> Error {
    let detail = format!("{origin}: no byte came for too long");
    Error::new(Code::Unreachable, detail)
}
