//! Bodies: read within a size, within a budget of memory, and at a pace.
//!
//! - A body that one record holds is read whole, up to the limit of its route. A larger one is
//!   taken frame by frame: the next is asked for when the store has taken the one before, so a
//!   client sends at the pace of the disk.
//! - What bodies hold in memory beyond [`FREE_BYTES`] each is taken from one [`Budget`]; when it is
//!   spent the request is refused as `overloaded`, whatever the number of requests.
//! - A peer must not stall: each piece has `stall` to arrive, and the whole must average
//!   [`PACE_BYTES_PER_S`] once `stall` has passed. Only the time in which the server waits counts.
//! - A request that was refused may still be sending. Closing then would reset the connection and
//!   lose the refusal on its way, so what was not read is drained after the refusal was sent,
//!   within [`DRAIN_BYTES_MAX`], [`DRAIN_TIME_MAX`] and [`DRAIN_SILENCE_MAX`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use cairn_sdk::{Code, ValueStream};
use futures_util::Stream;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::problem::{Problem, Result};

/// What a body may hold in memory before it is counted.
pub(crate) const FREE_BYTES: usize = 64 * 1024;
/// The least average at which a body arrives.
const PACE_BYTES_PER_S: u64 = 16 * 1024;
/// What is read, and thrown away, of the body of a refused request.
const DRAIN_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long that may take.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);
/// Who has sent nothing for as long has had the time to read the refusal.
const DRAIN_SILENCE_MAX: Duration = Duration::from_secs(1);

/// Bytes that all bodies together may hold in memory.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    /// In units of [`UNIT_BYTES`], since a semaphore counts in 32 bits at a time.
    units: Arc<Semaphore>,
}

const UNIT_BYTES: usize = 1024;

/// Bytes taken from a budget; dropping gives them back.
#[derive(Debug, Default)]
pub(crate) struct Held(Option<OwnedSemaphorePermit>);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            units: Arc::new(Semaphore::new(
                (bytes / UNIT_BYTES).min(Semaphore::MAX_PERMITS),
            )),
        }
    }

    /// Raises what is held to `bytes`, of which [`FREE_BYTES`] cost nothing.
    pub(crate) fn hold(&self, held: &mut Held, bytes: usize) -> Result<()> {
        let units = bytes.saturating_sub(FREE_BYTES).div_ceil(UNIT_BYTES);
        let more =
            units.saturating_sub(held.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        if more == 0 {
            return Ok(());
        }
        let taken = u32::try_from(more)
            .ok()
            .and_then(|more| Arc::clone(&self.units).try_acquire_many_owned(more).ok())
            .ok_or_else(|| {
                Problem::new(
                    Code::Overloaded,
                    "the memory for bodies is in use; try again",
                )
            })?;
        match &mut held.0 {
            Some(held) => held.merge(taken),
            none => *none = Some(taken),
        }
        Ok(())
    }
}

/// How a body is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading<'a> {
    pub(crate) budget: &'a Budget,
    pub(crate) bytes_max: usize,
    /// The code of a body that is larger.
    pub(crate) too_large: fn() -> Code,
    pub(crate) stall: Duration,
}

/// A body as far as it was read.
pub(crate) enum Read {
    /// It is here.
    Whole(Bytes, Held),
    /// It is larger: what came so far, and where the rest comes from.
    More(Bytes, Frames, Held),
}

impl Reading<'_> {
    /// Reads a body whole. What it holds of the budget comes with it.
    pub(crate) async fn read(&self, body: Body) -> Result<(Bytes, Held)> {
        let announced = body.size_hint().lower();
        if announced > self.bytes_max as u64 {
            return Err(self.over(announced));
        }
        match self.begin(body).await? {
            Read::Whole(bytes, held) => Ok((bytes, held)),
            Read::More(_, frames, _) => Err(self.over(frames.bytes)),
        }
    }

    /// Reads a body whole, or until it turns out to be larger than is read whole.
    pub(crate) async fn begin(&self, body: Body) -> Result<Read> {
        let mut held = Held::default();
        let announced = body
            .size_hint()
            .exact()
            .and_then(|bytes| usize::try_from(bytes).ok());
        let mut pieces = Pieces::default();
        let mut frames = Frames::of(body, self.stall);
        if announced.is_some_and(|bytes| bytes > self.bytes_max) {
            return Ok(Read::More(Bytes::new(), frames, held));
        }
        while let Some(data) = frames.next().await? {
            let bytes = pieces.bytes + data.len();
            // Joining copies, so for a moment more than one piece takes twice its size.
            self.budget.hold(&mut held, bytes)?;
            pieces.push(data, announced);
            if bytes > self.bytes_max {
                return Ok(Read::More(pieces.join(), frames, held));
            }
        }
        Ok(Read::Whole(pieces.join(), held))
    }

    fn over(&self, bytes: u64) -> Problem {
        let detail = format!(
            "a body of {bytes} bytes or more, at most {} are taken",
            self.bytes_max
        );
        Problem::new((self.too_large)(), detail)
    }
}

/// The frames of a body, at a pace.
pub(crate) struct Frames {
    body: Body,
    stall: Duration,
    bytes: u64,
    /// How long the peer was waited for.
    waited: Duration,
}

impl Frames {
    fn of(body: Body, stall: Duration) -> Self {
        Self {
            body,
            stall,
            bytes: 0,
            waited: Duration::ZERO,
        }
    }

    /// The next bytes; `None` at the end of the body.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let patience = (self.stall + pace(self.bytes)).saturating_sub(self.waited);
            let asked = Instant::now();
            let frame = tokio::time::timeout(patience.min(self.stall), self.body.frame()).await;
            self.waited += asked.elapsed();
            match frame {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.bytes += data.len() as u64;
                        return Ok(Some(data));
                    }
                }
                Ok(Some(Err(error))) => {
                    return Err(Problem::invalid(format!("the body ended early: {error}")));
                }
                Err(_) => {
                    return Err(Problem::new(
                        Code::RequestTimeout,
                        format!("the body stalled after {} bytes", self.bytes),
                    ));
                }
            }
        }
    }
}

fn pace(bytes: u64) -> Duration {
    Duration::from_millis(bytes.saturating_mul(1000) / PACE_BYTES_PER_S)
}

/// The body of an answer that is read from the store while it is sent.
pub(crate) struct Sent(ValueStream);

impl Sent {
    pub(crate) fn body(stream: ValueStream) -> Body {
        Body::new(Self(stream))
    }
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = cairn_sdk::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, cairn_sdk::Error>>> {
        let next = Pin::new(&mut self.0).poll_next(cx);
        next.map(|part| part.map(|part| part.map(Frame::data)))
    }
}

/// Marks an answer that holds this much memory while it is sent, whatever its size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streamed(pub(crate) usize);

/// The pieces of a body. A lone piece, as small bodies are, is passed on without a copy.
#[derive(Default)]
struct Pieces {
    bytes: usize,
    first: Option<Bytes>,
    rest: Vec<u8>,
}

impl Pieces {
    fn push(&mut self, data: Bytes, announced: Option<usize>) {
        self.bytes += data.len();
        if data.is_empty() {
            return;
        }
        if self.first.is_none() && self.rest.is_empty() {
            self.first = Some(data);
            return;
        }
        if let Some(first) = self.first.take() {
            // An announcement is a promise of the client's: take a little on it and no more.
            let expected = announced.unwrap_or(0).min(8 * FREE_BYTES);
            self.rest.reserve(expected.max(first.len() + data.len()));
            self.rest.extend_from_slice(&first);
        }
        self.rest.extend_from_slice(&data);
    }

    fn join(self) -> Bytes {
        self.first.unwrap_or_else(|| self.rest.into())
    }
}

/// The body of a request on its way to a route. What the route leaves unread comes back.
pub(crate) struct Tracked<B> {
    body: Option<B>,
    left: Left<B>,
}

/// Where an unread body comes back to.
pub(crate) struct Left<B>(Arc<Mutex<Option<B>>>);

impl<B> Clone for Left<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> Tracked<B>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    /// The body for a route, and where it comes back to; nothing comes back of an empty one.
    pub(crate) fn split(body: B) -> (Body, Option<Left<B>>) {
        if body.is_end_stream() {
            return (Body::empty(), None);
        }
        let left = Left(Arc::new(Mutex::new(None)));
        let tracked = Self {
            body: Some(body),
            left: left.clone(),
        };
        (Body::new(tracked), Some(left))
    }
}

impl<B> Drop for Tracked<B> {
    fn drop(&mut self) {
        *self.left.0.lock() = self.body.take();
    }
}

impl<B> HttpBody for Tracked<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> Left<B> {
    /// Reads what a refused request still sends.
    pub(crate) async fn drain(self) {
        let Some(mut body) = self.0.lock().take() else {
            return;
        };
        let drain = async {
            let mut bytes = 0;
            let next = async |body: &mut B| {
                let frame = tokio::time::timeout(DRAIN_SILENCE_MAX, body.frame()).await;
                frame.ok().flatten().and_then(Result::ok)
            };
            while let Some(frame) = next(&mut body).await {
                bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if bytes > DRAIN_BYTES_MAX {
                    return;
                }
            }
        };
        // Late is as good as done: the connection is closed then.
        let _ = tokio::time::timeout(DRAIN_TIME_MAX, drain).await;
    }
}

/// A body that holds something until it is sent.
pub(crate) struct Holding<T> {
    body: Body,
    _held: T,
}

impl<T: Send + Unpin + 'static> Holding<T> {
    pub(crate) fn wrap(body: Body, held: T) -> Body {
        Body::new(Self { body, _held: held })
    }
}

impl<T: Unpin> HttpBody for Holding<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
