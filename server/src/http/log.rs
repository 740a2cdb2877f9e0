//! The log: `/v1/log`, its records and its topics.
//!
//! Whoever reads the log sees every bucket, so these routes need a token that covers all of them.
//! Without a committee there are no certificates, and nothing to prove.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{HeaderName, HeaderValue};
use axum::http::{Method, Response, StatusCode};
use cairn_sdk::wire::{
    self, Appended, DURABILITY_HEADER, LogInfo, LogLine, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX,
    VALUE_BYTES_MAX,
};
use cairn_sdk::{Code, LogRequest};

use super::body::Reading;
use super::key::percent_decode;
use super::kv::durability;
use super::query::Query;
use super::{App, caller, json, whole};
use crate::config::Role;
use crate::problem::{Problem, Result};

const NDJSON: &str = "application/x-ndjson";

/// `/v1/log`.
#[utoipa::path(
    method(get, head), path = "/v1/log", operation_id = "log", tag = "log",
    responses((status = 200, description = "Where each partition stands", body = LogInfo)),
)]
pub(super) async fn info(State(app): State<Arc<App>>, request: Request) -> Result<Response<Body>> {
    only_reads(&request)?;
    Query::parse(request.uri().query())?.finish()?;
    caller(&request)?.may_all(Role::Reader)?;
    json(StatusCode::OK, &app.store.log().await?)
}

/// `/v1/log/{partition}`.
#[utoipa::path(
    method(get, head), path = "/v1/log/{partition}", operation_id = "read_log", tag = "log",
    params(
        ("partition" = u16, Path, description = "The partition"),
        ("from" = Option<u64>, Query,
         description = "Only records at or above this offset; 0 or absent for the oldest there is"),
        ("limit" = Option<u64>, Query, description = "1 to 10,000; more is lowered; 1,000 by default"),
        ("topic" = Option<String>, Query, description = "Only the records of this topic"),
    ),
    responses(
        (status = 200, content_type = "application/x-ndjson", body = LogLine,
         description = "A record a line, by offset; a page also ends at 4 MiB, and the next one \
                        begins above its last offset. Topic records keep their first offset for \
                        ever, others are there as long as their segment is"),
        (status = 404, description = "`not_found`: no such partition", body = wire::Problem),
        (status = 410, description = "`compacted`: retention removed records of the topic from \
                        here on; `from=0` is the oldest that is kept", body = wire::Problem),
    ),
)]
pub(super) async fn read(State(app): State<Arc<App>>, request: Request) -> Result<Response<Body>> {
    only_reads(&request)?;
    let (partition, _) = place(request.uri().path())?;
    let mut query = Query::parse(request.uri().query())?;
    let limit = match query.number("limit")?.unwrap_or(PAGE_ITEMS_DEFAULT as u64) {
        0 => return Err(Problem::invalid("limit is 0, it starts at 1")),
        limit => usize::try_from(limit).map_or(PAGE_ITEMS_MAX, |limit| limit.min(PAGE_ITEMS_MAX)),
    };
    let read = LogRequest {
        from: query.number("from")?.unwrap_or(0),
        limit,
        topic: query.text("topic")?,
    };
    query.finish()?;
    caller(&request)?.may_all(Role::Reader)?;
    let lines = app.store.read_log(partition, read).await?;
    let encode = move || {
        let mut text = Vec::new();
        for line in &lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        Ok::<_, serde_json::Error>(text)
    };
    let text = app.store.bridge().run(encode).await.map_err(|refused| {
        let detail = format!("the page could not be encoded: {refused:?}");
        Problem::new(Code::Overloaded, detail)
    })?;
    let text = text.map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
    Ok(whole(StatusCode::OK, NDJSON, text.into()))
}

/// `/v1/log/{partition}/{topic}`.
#[utoipa::path(
    post, path = "/v1/log/{partition}/{topic}", operation_id = "append", tag = "log",
    params(
        ("partition" = u16, Path, description = "The partition"),
        ("topic" = String, Path,
         description = "The topic, which comes into being with its first record"),
        ("Cairn-Durability" = Option<wire::Durability>, Header, description = "What the reply vouches for"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "Appended", body = Appended),
        (status = 404, description = "`not_found`: no such partition", body = wire::Problem),
        (status = 413, description = "`value_too_large`", body = wire::Problem),
    ),
)]
pub(super) async fn append(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response<Body>> {
    if *request.method() != Method::POST {
        return Err(Problem::method_not_allowed(
            request.method().as_str(),
            "POST",
        ));
    }
    let (partition, topic) = place(request.uri().path())?;
    Query::parse(request.uri().query())?.finish()?;
    caller(&request)?.may_all(Role::Writer)?;
    let durability = durability(request.headers())?;
    let reading = Reading {
        budget: &app.bodies,
        bytes_max: VALUE_BYTES_MAX,
        too_large: || Code::ValueTooLarge,
        stall: app.stall,
    };
    let (body, _held) = reading.read(request.into_body()).await?;
    let (appended, reached) = app
        .store
        .append(partition, &topic, body, durability)
        .await?;
    let mut response = json(StatusCode::OK, &appended)?;
    response.headers_mut().insert(
        HeaderName::from_static(DURABILITY_HEADER),
        HeaderValue::from_static(reached.as_str()),
    );
    Ok(response)
}

/// `/v1/log/{partition}/certificates`.
#[utoipa::path(
    method(get, head), path = "/v1/log/{partition}/certificates",
    operation_id = "certificates", tag = "log",
    params(
        ("partition" = u16, Path, description = "The partition"),
        ("from_seq" = Option<u64>, Query, description = "Only certificates from this one on"),
    ),
    responses((status = 200, content_type = "application/x-ndjson",
               description = "A certificate a line; none without a committee")),
)]
pub(super) async fn certificates(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response<Body>> {
    only_reads(&request)?;
    let (partition, _) = place(request.uri().path())?;
    let mut query = Query::parse(request.uri().query())?;
    query.number("from_seq")?;
    query.finish()?;
    caller(&request)?.may_all(Role::Reader)?;
    app.store.check_partition(partition)?;
    Ok(whole(StatusCode::OK, NDJSON, Bytes::new()))
}

/// `/v1/log/{partition}/proof`.
#[utoipa::path(
    method(get, head), path = "/v1/log/{partition}/proof", operation_id = "proof", tag = "log",
    params(
        ("partition" = u16, Path, description = "The partition"),
        ("offset" = u64, Query, description = "The record"),
    ),
    responses((status = 409, description = "`not_certified`: there is no committee", body = wire::Problem)),
)]
pub(super) async fn proof(State(app): State<Arc<App>>, request: Request) -> Result<Response<Body>> {
    only_reads(&request)?;
    let (partition, _) = place(request.uri().path())?;
    caller(&request)?.may_all(Role::Reader)?;
    app.store.check_partition(partition)?;
    Err(Problem::new(
        Code::NotCertified,
        "no committee certifies this log, so nothing of it can be proved",
    ))
}

/// The partition in a raw path, and what follows it.
fn place(path: &str) -> Result<(u16, String)> {
    let unrouted = || Problem::new(Code::NotFound, "no route answers to this path");
    let rest = path.strip_prefix("/v1/log/").ok_or_else(unrouted)?;
    let (number, topic) = rest.split_once('/').unwrap_or((rest, ""));
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    let partition = number.parse().ok().filter(|_| is_number);
    let partition = partition
        .ok_or_else(|| Problem::new(Code::NotFound, format!("there is no partition {number:?}")))?;
    let topic = percent_decode(topic.as_bytes())?.into_owned();
    let topic =
        String::from_utf8(topic).map_err(|_| Problem::invalid("the topic's name is not UTF-8"))?;
    Ok((partition, topic))
}

fn only_reads(request: &Request) -> Result<()> {
    match *request.method() {
        Method::GET | Method::HEAD => Ok(()),
        ref other => Err(Problem::method_not_allowed(other.as_str(), "GET, HEAD")),
    }
}
