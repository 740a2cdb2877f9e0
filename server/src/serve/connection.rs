//! One connection: HTTP/1.1, request after request.
//!
//! It costs next to nothing until its first byte arrives: only then are buffers made for it. It is
//! closed when no request head comes within `idle`, when the peer takes nothing of an answer for
//! `stall`, when it has to give way, and after the running request at shutdown.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use axum::extract::Request;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::connections::Line;
use super::stall::Stalling;
use crate::http::{Gate, Holding, Left};

/// Bytes of a request head, and of a read ahead in a body. The longest scan carries four keys,
/// percent-encoded, and a cursor.
const BUFFER_BYTES_MAX: usize = 128 * 1024;

/// How long a connection that was told to close may take to notice that nothing is asked of it.
const LINGER: Duration = Duration::from_millis(100);

/// The patience with a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Without a request head.
    pub(crate) idle: Duration,
    /// Without a byte of the answer taken.
    pub(crate) stall: Duration,
}

/// Answers the requests of a connection until it ends.
pub(crate) async fn answer(stream: TcpStream, mut line: Line, gate: Gate, limits: Limits) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    tokio::select! {
        ready = tokio::time::timeout(limits.idle, stream.ready(Interest::READABLE)) => {
            if !matches!(ready, Ok(Ok(_))) {
                return;
            }
        }
        () = line.told_to_close() => return,
    }
    let counter = line.counter();
    let requests = counter.clone();
    let stream = Stalling::new(stream, limits.stall).counted(counter.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let (gate, busy) = (gate.clone(), counter.busy());
        async move {
            let mut response = gate.answer(request).await;
            if let Some(left) = response.extensions_mut().remove::<Left<Incoming>>() {
                // Beside the answer: the connection sends it and reads at the same time.
                tokio::spawn(async move {
                    left.drain().await;
                    drop(busy);
                });
                return Ok::<_, Infallible>(response);
            }
            // An answer that goes on keeps the connection from looking idle, and being closed.
            let goes_on = response.body().size_hint().exact().is_none();
            Ok(match goes_on {
                true => response.map(|body| Holding::wrap(body, busy)),
                false => response,
            })
        }
    });
    // No timeout for the head: who is idle for too long is told to close.
    let connection = http1::Builder::new()
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut ended = tokio::select! {
        biased;
        ended = connection.as_mut() => Some(ended),
        () = line.told_to_close() => None,
    };
    if ended.is_none() {
        connection.as_mut().graceful_shutdown();
    }
    let ended = loop {
        match ended {
            Some(ended) => break ended,
            // Nobody waits for the rest of a head.
            None => match tokio::time::timeout(LINGER, connection.as_mut()).await {
                Err(_) if !requests.is_busy() => return,
                outcome => ended = outcome.ok(),
            },
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

/// Turns a connection away. Nothing is waited for: a peer that does not read loses only this.
pub(crate) fn refuse(stream: &TcpStream) {
    const REFUSAL: &str = concat!(
        "HTTP/1.1 503 Service Unavailable\r\n",
        "content-type: application/problem+json\r\n",
        "retry-after: 1\r\nconnection: close\r\ncontent-length: 142\r\n\r\n",
        "{\"type\":\"urn:cairn:problem:overloaded\",\"title\":\"Overloaded\",\"status\":503,",
        "\"detail\":\"too many connections\",\"code\":\"overloaded\",\"retryable\":true}",
    );
    // A fresh socket has room for these few bytes.
    let _ = stream.try_write(REFUSAL.as_bytes());
}

#[cfg(test)]
mod tests;
