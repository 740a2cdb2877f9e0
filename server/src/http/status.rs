//! Operations: whether the server lives, is ready, and how it does.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, HeaderValue};
use axum::http::{Method, Response, StatusCode};
use cairn_sdk::Code;
use cairn_sdk::wire::{self, Status};

use super::query::Query;
use super::{App, json, whole};
use crate::metrics::plain;
use crate::problem::{Problem, Result};

/// `/healthz`: the process answers.
#[utoipa::path(
    method(get, head), path = "/healthz", operation_id = "healthz", tag = "operations",
    responses(
        (status = 200, description = "Alive"),
    ),
)]
pub(super) async fn healthz(request: Request) -> Result<Response<Body>> {
    only_reads(&request)?;
    Ok(whole(
        StatusCode::OK,
        "text/plain; charset=utf-8",
        "ok\n".into(),
    ))
}

/// `/readyz`: recovered and writable.
#[utoipa::path(
    method(get, head), path = "/readyz", operation_id = "readyz", tag = "operations",
    responses(
        (status = 200, description = "Recovered and writable"),
        (status = 503, description = "`poisoned`", body = wire::Problem),
    ),
)]
pub(super) async fn readyz(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response<Body>> {
    only_reads(&request)?;
    if app.store.status().await?.writable {
        Ok(whole(
            StatusCode::OK,
            "text/plain; charset=utf-8",
            "ready\n".into(),
        ))
    } else {
        Err(Problem::new(
            Code::Poisoned,
            "a disk write failed; writes need the store reopened",
        ))
    }
}

/// `/metrics`: the text format of Prometheus.
#[utoipa::path(
    method(get, head), path = "/metrics", operation_id = "metrics", tag = "operations",
    responses(
        (status = 200, description = "Text format of Prometheus"),
    ),
)]
pub(super) async fn metrics(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response<Body>> {
    only_reads(&request)?;
    let status = app.store.status().await?;
    let bridge = app.store.bridge();
    let text = app
        .metrics
        .text(&status, bridge.running(), bridge.waiting());
    let accepted = request
        .headers()
        .get(ACCEPT)
        .map_or(&b""[..], HeaderValue::as_bytes);
    let open = accepted.windows(11).any(|window| window == b"openmetrics");
    let (media_type, text) = if open {
        (
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            text,
        )
    } else {
        ("text/plain; version=0.0.4; charset=utf-8", plain(&text))
    };
    Ok(whole(StatusCode::OK, media_type, text.into()))
}

/// `/v1/status`.
#[utoipa::path(
    method(get, head), path = "/v1/status", operation_id = "status", tag = "operations",
    responses(
        (status = 200, description = "How the store does", body = Status),
    ),
)]
pub(super) async fn status(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response<Body>> {
    only_reads(&request)?;
    json(StatusCode::OK, &app.store.status().await?)
}

/// `/`: a page for people.
#[utoipa::path(
    method(get, head), path = "/", operation_id = "page", tag = "operations",
    responses(
        (status = 200, description = "A page for people"),
    ),
)]
pub(super) async fn page(State(app): State<Arc<App>>, request: Request) -> Result<Response<Body>> {
    only_reads(&request)?;
    let status = app.store.status().await?;
    let buckets = app.store.buckets().await?;
    let keys: u64 = buckets.iter().map(|bucket| bucket.keys).sum();
    let bytes: u64 = buckets.iter().map(|bucket| bucket.bytes).sum();
    let state = if status.writable {
        "takes reads and writes"
    } else {
        "takes reads only"
    };
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Cairn</title>\
         <style>body{{font:16px/1.5 system-ui;max-width:40em;margin:3em auto;padding:0 1em}}\
         td{{padding-right:2em}}</style>\
         <h1>Cairn {version}</h1><p>This store {state}.</p><table>\
         <tr><td>Data<td>{place}<tr><td>Log<td>{log}<tr><td>Up for<td>{up} s\
         <tr><td>Buckets<td>{count}<tr><td>Keys<td>{keys}<tr><td>Bytes<td>{bytes}</table>\
         <p><a href=\"/v1/status\">status</a> · <a href=\"/v1/buckets\">buckets</a> · \
         <a href=\"/metrics\">metrics</a></p></html>\n",
        version = status.version,
        place = escape(&app.place),
        log = status.log_id,
        up = status.uptime_ms / 1000,
        count = buckets.len(),
    );
    let mut response = whole(StatusCode::OK, "text/html; charset=utf-8", html.into());
    response.headers_mut().insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"),
    );
    Ok(response)
}

pub(super) fn only_reads(request: &Request) -> Result<()> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Problem::method_not_allowed(
            request.method().as_str(),
            "GET, HEAD",
        ));
    }
    Query::parse(request.uri().query())?.finish()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
