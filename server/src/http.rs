//! The HTTP API: a file a resource, and one gate that every request passes.
//!
//! request -> gate (who, how many at once) -> route -> `cairn_sdk::Embedded` -> store;
//! answer  <- gate (panic, metrics, log)   <- route.

mod batch;
mod body;
mod bucket;
mod condition;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
mod gate;
mod key;
mod kv;
mod list;
mod log;
mod openapi;
mod query;
mod range;
mod status;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode};
use axum::routing::any;
use cairn_sdk::{Code, Embedded};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use crate::auth::{Access, Caller};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::problem::{Problem, Result};
use body::Budget;
pub(crate) use body::{Holding, Left};
pub(crate) use gate::Gate;

/// What every route needs.
pub(crate) struct App {
    pub(crate) store: Embedded,
    pub(crate) metrics: Metrics,
    access: Access,
    requests: Arc<Semaphore>,
    bodies: Budget,
    stall: Duration,
    watches: Arc<Semaphore>,
    /// After how much silence a watch says where it stands.
    keep_alive: Duration,
    /// On once the server shuts down: what has no end of its own ends then.
    shutdown: tokio::sync::watch::Sender<bool>,
    /// Where `/` says that the data is.
    place: String,
}

impl App {
    pub(crate) fn new(config: &Config, store: Embedded) -> Arc<Self> {
        Arc::new(Self {
            store,
            metrics: Metrics::new(),
            access: Access::new(&config.token, config.insecure),
            requests: Arc::new(Semaphore::new(
                config.requests_max.min(Semaphore::MAX_PERMITS),
            )),
            bodies: Budget::new(config.bodies_bytes_max),
            stall: Duration::from_millis(config.stall_timeout_ms),
            watches: Arc::new(Semaphore::new(watch::WATCHES_MAX)),
            keep_alive: watch::KEEP_ALIVE,
            shutdown: tokio::sync::watch::Sender::new(false),
            place: match config.memory {
                true => "memory".to_owned(),
                false => config.data.display().to_string(),
            },
        })
    }
}

impl App {
    /// Ends the answers that have no end of their own.
    pub(crate) fn shut_down(&self) {
        self.shutdown.send_replace(true);
    }
}

/// All routes. Each route takes every method and refuses those it does not have itself, so that
/// every refusal is a problem document.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", any(status::page))
        .route("/healthz", any(status::healthz))
        .route("/readyz", any(status::readyz))
        .route("/metrics", any(status::metrics))
        .route("/openapi.json", any(openapi::document))
        .route("/v1/status", any(status::status))
        .route("/v1/buckets", any(bucket::list))
        .route("/v1/buckets/{bucket}", any(bucket::one))
        .route("/v1/batch/{bucket}", any(batch::write))
        .route("/v1/watch/{bucket}", any(watch::stream))
        .route("/v1/log", any(log::info))
        .route("/v1/log/{partition}", any(log::read))
        .route("/v1/log/{partition}/certificates", any(log::certificates))
        .route("/v1/log/{partition}/proof", any(log::proof))
        .route("/v1/log/{partition}/{topic}", any(log::append))
        // `/v1/kv/{bucket}/{key}` is not among them: see the gate. Where the bucket ends and the key
        // begins is no matter for a router, which would have its own opinion of `//` and of a slash
        // at the end.
        .route("/v1/key/{bucket}", any(kv::by_query))
        .fallback(unrouted)
        .with_state(app)
}

async fn unrouted(request: Request) -> Problem {
    Problem::new(
        Code::NotFound,
        format!("no route answers to {}", request.uri().path()),
    )
}

/// Who makes a request: the gate has found out.
fn caller(request: &Request) -> Result<Caller> {
    let caller = request.extensions().get::<Caller>();
    caller
        .cloned()
        .ok_or_else(|| Problem::new(Code::Internal, "a request went past the gate"))
}

/// A body that is a JSON object. (Of a list the parser would make an object too, member by member.)
fn object<T: DeserializeOwned>(body: &[u8], what: &str) -> Result<T> {
    if body
        .trim_ascii_start()
        .first()
        .is_some_and(|&first| first != b'{')
    {
        return Err(Problem::invalid(format!(
            "the body is no {what}: it is no JSON object"
        )));
    }
    serde_json::from_slice(body)
        .map_err(|error| Problem::invalid(format!("the body is no {what}: {error}")))
}

/// An answer in JSON.
fn json(status: StatusCode, value: &impl Serialize) -> Result<Response<Body>> {
    let body = serde_json::to_vec(value)
        .map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
    Ok(whole(status, "application/json", body.into()))
}

/// An answer whose body is at hand.
fn whole(status: StatusCode, media_type: &'static str, body: bytes::Bytes) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.body_mut() = Body::from(body);
    response
}

#[cfg(test)]
mod tests;
