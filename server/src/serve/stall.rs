//! A stream whose peer has to keep taking what is written.
//!
//! A client that asks for a large value and then reads nothing would keep the value in memory and
//! the connection open for ever. When a write has waited for `stall`, it fails and the connection
//! ends. Until then the connection is busy, however long ago its request was answered.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::connections::{Busy, Counter};

/// A stream whose writes fail when they wait too long.
pub(crate) struct Stalling<S> {
    stream: S,
    stall: Duration,
    counter: Option<Counter>,
    /// While a write waits.
    waiting: Option<Waiting>,
}

struct Waiting {
    timer: Pin<Box<Sleep>>,
    _busy: Option<Busy>,
}

impl<S> Stalling<S> {
    pub(crate) fn new(stream: S, stall: Duration) -> Self {
        Self {
            stream,
            stall,
            counter: None,
            waiting: None,
        }
    }

    /// Counts the connection as busy while a write waits.
    pub(crate) fn counted(mut self, counter: Counter) -> Self {
        self.counter = Some(counter);
        self
    }

    /// Lets the timer run while `outcome` is pending, and only then.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.waiting = None;
            return outcome;
        }
        let stall = self.stall;
        let waiting = self.waiting.get_or_insert_with(|| Waiting {
            timer: Box::pin(sleep(stall)),
            _busy: self.counter.as_ref().map(Counter::busy),
        });
        let timer = &mut waiting.timer;
        ready!(timer.as_mut().poll(cx));
        timer.as_mut().reset(Instant::now() + stall);
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer takes no more",
        )))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, outcome)
    }
}

#[cfg(test)]
mod tests;
