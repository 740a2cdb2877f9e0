//! The gate that every request passes on its way in and every answer on its way out.
//!
//! In: who is it; is there room. Out: a panic becomes a problem, what a refused request still
//! sends is handed over to be drained, the answer is counted and logged. It is a plain function
//! around the router, not a stack of layers: each layer costs a boxed future a request.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::EXPECT;
use axum::http::request::Parts;
use axum::http::{Method, Request, Response, StatusCode};
use axum::response::IntoResponse;
use cairn_sdk::Code;
use futures_util::FutureExt;
use http_body::Body as HttpBody;
use tokio::sync::OwnedSemaphorePermit;
use tower_service::Service;

use super::App;
use super::body::{FREE_BYTES, Held, Holding, Streamed, Tracked};
use super::kv;
use super::watch::Endless;
use crate::problem::{Problem, Reported, Result};

/// The gate of a server. Clones share it.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(super) app: Arc<App>,
    pub(super) router: Router,
}

impl Gate {
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self {
            router: super::router(Arc::clone(&app)),
            app,
        }
    }

    /// Answers a request. There is always an answer. What a refused request still sends is in its
    /// extensions, as [`Left`](super::body::Left).
    pub(crate) async fn answer<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let began = Instant::now();
        let (mut parts, body) = request.into_parts();
        let (body, left) = Tracked::split(body);
        let about = About::of(&parts.method, parts.uri.path());
        let log = tracing::enabled!(tracing::Level::DEBUG).then(|| parts.uri.clone());
        // A client that waits for `100 Continue` sends nothing, and must not be told to.
        let left = left.filter(|_| !parts.headers.contains_key(EXPECT));
        let refusal = match about.open {
            true => None,
            false => self.identify(&mut parts).err().map(Box::new),
        };
        let request = Request::from_parts(parts, body);
        let outcome = AssertUnwindSafe(self.pass(request, refusal, about));
        let mut response = match outcome.catch_unwind().await {
            Ok(response) => response,
            Err(_) => {
                self.app.metrics.panics.inc();
                Problem::new(Code::Internal, "the request met a defect of the server")
                    .into_response()
            }
        };
        if let Some(left) = left
            && is_refusal(response.status())
        {
            response.extensions_mut().insert(left);
        }
        self.record(about, log, &response, began.elapsed());
        response
    }

    async fn pass(
        &self,
        request: Request<Body>,
        refusal: Option<Box<Problem>>,
        about: About,
    ) -> Response<Body> {
        if let Some(problem) = refusal {
            return problem.into_response();
        }
        if about.operations {
            // These answer however busy the server is.
            return self.route(request).await;
        }
        let room = match self.room() {
            Ok(room) => room,
            Err(problem) => return problem.into_response(),
        };
        self.app.metrics.in_flight.inc();
        let leaving = Leaving(&self.app);
        let response = self.route(request).await;
        drop(leaving);
        self.keep_room(response, room)
    }

    async fn route(&self, request: Request<Body>) -> Response<Body> {
        // Most requests are for a key. The router would box each of them twice, and collect
        // parameters that nobody asks for.
        if kv::is_by_path(request.uri().path()) {
            let answer = kv::by_path(State(Arc::clone(&self.app)), request);
            return answer.await.into_response();
        }
        match self.router.clone().call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    fn identify(&self, parts: &mut Parts) -> Result<()> {
        let caller = self.app.access.identify(parts)?;
        parts.extensions.insert(caller);
        Ok(())
    }

    fn room(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.app.requests)
            .try_acquire_owned()
            .map_err(|_| {
                self.app.metrics.refused.inc();
                Problem::new(Code::Overloaded, "too many requests at once; try again")
            })
    }

    /// A large answer keeps its place and its share of the memory until it is sent. One without end
    /// has a limit of its own.
    fn keep_room(&self, response: Response<Body>, room: OwnedSemaphorePermit) -> Response<Body> {
        if response.extensions().get::<Endless>().is_some() {
            return response;
        }
        let bytes = match response.extensions().get::<Streamed>() {
            Some(&Streamed(bytes)) => bytes,
            None => {
                let bytes = response.body().size_hint().exact().unwrap_or(u64::MAX);
                usize::try_from(bytes).unwrap_or(usize::MAX)
            }
        };
        if bytes <= FREE_BYTES {
            return response;
        }
        let mut held = Held::default();
        match self.app.bodies.hold(&mut held, bytes) {
            Ok(()) => response.map(|body| Holding::wrap(body, (room, held))),
            Err(problem) => problem.into_response(),
        }
    }

    fn record(
        &self,
        about: About,
        log: Option<axum::http::Uri>,
        response: &Response<Body>,
        took: Duration,
    ) {
        let status = response.status().as_u16();
        self.app
            .metrics
            .answered(about.resource, about.method, status, took);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let method = about.method;
        match response.extensions().get::<Reported>() {
            Some(Reported(code, detail)) if status >= 500 => {
                tracing::warn!(method, resource = about.resource, status, micros, %code, detail);
            }
            reported => {
                if let Some(uri) = log {
                    let code = reported.map(|Reported(code, _)| code.as_str());
                    tracing::debug!(method, %uri, status, micros, code);
                }
            }
        }
    }
}

/// What is told of a request whatever becomes of it; few enough values to be labels.
#[derive(Clone, Copy, Debug)]
struct About {
    resource: &'static str,
    method: &'static str,
    /// Watches over the server rather than uses it.
    operations: bool,
    /// Answers anyone.
    open: bool,
}

impl About {
    fn of(method: &Method, path: &str) -> Self {
        let resource = match path {
            "/healthz" => "healthz",
            "/readyz" => "readyz",
            "/metrics" => "metrics",
            "/openapi.json" => "openapi",
            "/v1/status" => "status",
            "/" => "page",
            _ => match path
                .strip_prefix("/v1/")
                .and_then(|rest| rest.split('/').next())
            {
                Some("kv" | "key") => "kv",
                Some("batch") => "batch",
                Some("buckets") => "buckets",
                Some("watch") => "watch",
                Some("log") => "log",
                _ => "other",
            },
        };
        let method = match *method {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            Method::PUT => "PUT",
            Method::POST => "POST",
            Method::DELETE => "DELETE",
            _ => "OTHER",
        };
        let open = matches!(resource, "healthz" | "readyz" | "openapi");
        let operations = open || matches!(resource, "metrics" | "status");
        Self {
            resource,
            method,
            operations,
            open,
        }
    }
}

/// Whether a client may still be sending what nobody reads. Whoever has stalled is waited for no
/// longer.
fn is_refusal(status: StatusCode) -> bool {
    status.as_u16() >= 400 && status != StatusCode::REQUEST_TIMEOUT
}

/// Counts a request out, also when it is abandoned or panics.
struct Leaving<'a>(&'a App);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.metrics.in_flight.dec();
    }
}
