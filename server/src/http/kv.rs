//! One key: `/v1/kv/{bucket}/{key}` and `/v1/key/{bucket}?key_b64=`.
//!
//! A value that is in memory is answered at once; what waits, waits in a box of its own. So what
//! every request is boxed and moved in stays small, whatever the rarest of them needs.

use std::future::{Future, Ready, ready};
use std::ops::Range;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Method, Response, StatusCode};
use cairn_sdk::wire::{
    self, DURABILITY_HEADER, Deleted, LARGE_VALUE_BYTES_MAX, VALUE_BYTES_MAX, Written,
};
use cairn_sdk::{
    Change, Code, Durability, Receipt, UploadTerms, Value, Write, check_readable, check_writable,
};
use futures_util::future::{BoxFuture, Either};
use http_body::Body as _;

use super::body::{Frames, Read, Reading, Sent, Streamed};
use super::condition::{Conditions, Verdict, etag};
use super::key::{KeyTarget, names_no_key};
use super::query::Query;
use super::range::{Selection, content_range, select};
use super::{App, caller, json, list};
use crate::config::Role;
use crate::problem::{Problem, Result};

/// An answer, or what it comes from.
pub(super) type Answer = Either<Ready<Outcome>, BoxFuture<'static, Outcome>>;

type Outcome = Result<Response<Body>>;

/// Whether a path is one of [`by_path`].
pub(super) fn is_by_path(path: &str) -> bool {
    path.strip_prefix("/v1/kv/")
        .is_some_and(|bucket_and_key| !bucket_and_key.is_empty())
}

/// `/v1/kv/{bucket}/{key}`, and without a key the list of the bucket.
pub(super) fn by_path(State(app): State<Arc<App>>, request: Request) -> Answer {
    if names_no_key(request.uri().path()) {
        return later(list::page(app, request));
    }
    let path = request.uri().path();
    let target = KeyTarget::of_path(path).and_then(|target| {
        let query = Query::parse(request.uri().query())?;
        Ok((target, query))
    });
    answer(app, target, request)
}

/// `/v1/key/{bucket}?key_b64=`. The document makes its operations from those by path.
pub(super) fn by_query(State(app): State<Arc<App>>, request: Request) -> Answer {
    let target = Query::parse(request.uri().query()).and_then(|mut query| {
        let target = KeyTarget::of_query(request.uri().path(), &mut query)?;
        Ok((target, query))
    });
    answer(app, target, request)
}

fn answer(app: Arc<App>, target: Result<(KeyTarget, Query)>, request: Request) -> Answer {
    let (target, query) = match target {
        Ok(target) => target,
        Err(problem) => return at_once(Err(problem)),
    };
    match *request.method() {
        Method::GET | Method::HEAD => read(app, target, query, request),
        Method::PUT => later(put(app, target, query, request)),
        Method::DELETE => later(delete(app, target, query, request)),
        ref other => {
            let allowed = "GET, HEAD, PUT, DELETE";
            at_once(Err(Problem::method_not_allowed(other.as_str(), allowed)))
        }
    }
}

fn at_once(outcome: Outcome) -> Answer {
    Either::Left(ready(outcome))
}

fn later(outcome: impl Future<Output = Outcome> + Send + 'static) -> Answer {
    Either::Right(Box::pin(outcome))
}

#[utoipa::path(
    method(get, head), path = "/v1/kv/{bucket}/{key}", operation_id = "get_key", tag = "keys",
    params(
        ("bucket" = String, Path, description = "The bucket"),
        ("key" = String, Path, description = "The key, percent-encoded; it may hold slashes"),
        ("If-Match" = Option<String>, Header, description = "`*` or a list of `\"VERSION\"`"),
        ("If-None-Match" = Option<String>, Header, description = "`*` or a list of `\"VERSION\"`"),
        ("Range" = Option<String>, Header, description = "One range of bytes"),
        ("If-Range" = Option<String>, Header, description = "The range counts for this version"),
        ("at" = Option<u64>, Query, description = "The key as it was at this version"),
    ),
    responses(
        (status = 200, description = "The value, its version as ETag",
         body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 206, description = "The range",
         body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 304, description = "The client has this version"),
        (status = 404, description = "`key_not_found`, `bucket_not_found`", body = wire::Problem),
        (status = 410, description = "`compacted`: `at` is not covered", body = wire::Problem),
        (status = 412, description = "`version_mismatch`", body = wire::Problem),
        (status = 416, description = "`range_not_satisfiable`", body = wire::Problem),
    ),
)]
fn read(app: Arc<App>, target: KeyTarget, query: Query, request: Request) -> Answer {
    let asked = match Asked::of(&target, query, &request) {
        Ok(asked) => asked,
        Err(problem) => return at_once(Err(problem)),
    };
    if asked.at.is_none() {
        match app.store.try_open_value(&target.bucket, &target.key) {
            Ok(None) => {}
            Ok(Some(found)) => return at_once(shown(found, &asked, &request)),
            Err(error) => return at_once(Err(error.into())),
        }
    }
    later(async move {
        let (bucket, key) = (&target.bucket, &target.key);
        let found = match asked.at {
            Some(version) => app.store.open_value_at(bucket, key, version).await?,
            None => app.store.open_value(bucket, key).await?,
        };
        shown(found, &asked, &request)
    })
}

/// What a read asks for beside its key.
struct Asked {
    at: Option<u64>,
    conditions: Conditions,
}

impl Asked {
    fn of(target: &KeyTarget, mut query: Query, request: &Request) -> Result<Self> {
        let at = list::version_at(&mut query)?;
        query.finish()?;
        caller(request)?.may(Role::Reader, &target.bucket)?;
        check_readable(&target.bucket)?;
        let conditions = Conditions::of(request.headers())?;
        Ok(Self { at, conditions })
    }
}

fn shown(found: Option<Value>, asked: &Asked, request: &Request) -> Outcome {
    let value =
        found.ok_or_else(|| Problem::new(Code::KeyNotFound, "the bucket holds no such key"))?;
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(ETAG, header(&etag(value.version()))?);
    // A value changes at any time: whoever caches one asks again.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    match asked.conditions.of_read(value.version()) {
        Verdict::Failed => return Err(mismatch(value.version())),
        Verdict::NotModified => {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
        Verdict::Proceed => {}
    }
    let selection = match *request.method() {
        // A range is defined for GET alone.
        Method::HEAD => Selection::Whole,
        _ => select(request.headers(), value.size(), value.version())?,
    };
    let with_body = *request.method() != Method::HEAD;
    fill(response, &value, selection, with_body)
}

fn fill(
    mut response: Response<Body>,
    value: &Value,
    selection: Selection,
    with_body: bool,
) -> Result<Response<Body>> {
    let size = value.size();
    let range = match selection {
        Selection::Whole => 0..size,
        Selection::Part { first, last } => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = header(&content_range(first, last, size))?;
            response.headers_mut().insert(CONTENT_RANGE, range);
            first..last + 1
        }
    };
    let headers = response.headers_mut();
    let media_type = value
        .content_type()
        .and_then(|text| HeaderValue::from_str(&text).ok());
    let media_type =
        media_type.unwrap_or_else(|| HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_TYPE, media_type);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // A stored page must not run as a page of this server, with its rights.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    if let Some(whole) = value.whole() {
        if with_body {
            *response.body_mut() = Body::from(slice(&whole, &range));
        }
    } else {
        let held = if with_body { STREAM_BYTES } else { 0 };
        response.extensions_mut().insert(Streamed(held));
        if with_body {
            *response.body_mut() = Sent::body(value.stream(range));
        }
    }
    Ok(response)
}

/// The bytes of a range that lies in the value.
fn slice(value: &Bytes, range: &Range<u64>) -> Bytes {
    let at = |offset: u64| {
        usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(value.len())
    };
    value.slice(at(range.start)..at(range.end))
}

#[utoipa::path(
    put, path = "/v1/kv/{bucket}/{key}", operation_id = "put_key", tag = "keys",
    params(
        ("bucket" = String, Path, description = "The bucket"),
        ("key" = String, Path, description = "The key, percent-encoded; it may hold slashes"),
        ("ttl_ms" = Option<u64>, Query, description = "After how long the key expires"),
        ("Content-Type" = Option<String>, Header, description = "Kept with the value"),
        ("If-Match" = Option<String>, Header, description = "`*` or a list of `\"VERSION\"`"),
        ("If-None-Match" = Option<String>, Header, description = "`*` or a list of `\"VERSION\"`"),
        ("Cairn-Durability" = Option<wire::Durability>, Header, description = "What the reply vouches for"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "Written", body = Written),
        (status = 400, description = "`invalid_argument`, `key_too_large`", body = wire::Problem),
        (status = 412, description = "`version_mismatch` with the current version", body = wire::Problem),
        (status = 413, description = "`value_too_large`", body = wire::Problem),
        (status = 507, description = "`disk_full`", body = wire::Problem),
    ),
)]
async fn put(
    app: Arc<App>,
    target: KeyTarget,
    mut query: Query,
    request: Request,
) -> Result<Response<Body>> {
    let ttl_ms = query.number("ttl_ms")?;
    query.finish()?;
    caller(&request)?.may(Role::Writer, &target.bucket)?;
    check_writable(&target.bucket)?;
    let content_type = one_line(request.headers(), &CONTENT_TYPE)?;
    let terms = Terms::of(request.headers())?;
    let body = request.into_body();
    let announced = body.size_hint().lower();
    if announced > LARGE_VALUE_BYTES_MAX {
        let detail = format!(
            "a body of {announced} bytes or more, at most {LARGE_VALUE_BYTES_MAX} are taken"
        );
        return Err(Problem::new(Code::ValueTooLarge, detail));
    }
    let reading = Reading {
        budget: &app.bodies,
        // Who does not tell the size gets no more memory for it than an upload needs.
        bytes_max: match body.size_hint().exact() {
            Some(_) => VALUE_BYTES_MAX,
            None => UNTOLD_BYTES_MAX,
        },
        too_large: || Code::ValueTooLarge,
        stall: app.stall,
    };
    let key = Bytes::from(target.key);
    let receipt = match reading.begin(body).await? {
        Read::Whole(value, _held) => {
            let change = Change::Put {
                key: key.clone(),
                value,
                ttl_ms,
                content_type,
            };
            let write = terms.write(key, change);
            app.store.write(&target.bucket, write).await?
        }
        Read::More(begin, frames, mut held) => {
            app.bodies.hold(&mut held, STREAM_BYTES)?;
            let terms = UploadTerms {
                ttl_ms,
                content_type,
                expects: terms.conditions.into_expects().collect(),
                durability: terms.durability,
            };
            // In a box, for the sake of all the values that come whole.
            Box::pin(upload(&app, &target.bucket, &key, terms, begin, frames)).await?
        }
    };
    acknowledged(
        receipt,
        &Written {
            version: receipt.version,
        },
    )
}

/// Passes a body on to the store as it comes. If it ends early, nothing is written.
async fn upload(
    app: &App,
    bucket: &str,
    key: &[u8],
    terms: UploadTerms,
    begin: Bytes,
    mut frames: Frames,
) -> Result<Receipt> {
    let mut upload = app.store.upload(bucket, key, terms).await?;
    upload.write(begin).await?;
    while let Some(bytes) = frames.next().await? {
        upload.write(bytes).await?;
    }
    Ok(upload.finish().await?)
}

#[utoipa::path(
    delete, path = "/v1/kv/{bucket}/{key}", operation_id = "delete_key", tag = "keys",
    params(
        ("bucket" = String, Path, description = "The bucket"),
        ("key" = String, Path, description = "The key, percent-encoded; it may hold slashes"),
        ("If-Match" = Option<String>, Header, description = "`*` or a list of `\"VERSION\"`"),
        ("If-None-Match" = Option<String>, Header, description = "`*` or a list of `\"VERSION\"`"),
        ("Cairn-Durability" = Option<wire::Durability>, Header, description = "What the reply vouches for"),
    ),
    responses(
        (status = 200, description = "Deleted, or absent before", body = Deleted),
        (status = 412, description = "`version_mismatch` with the current version", body = wire::Problem),
    ),
)]
async fn delete(
    app: Arc<App>,
    target: KeyTarget,
    query: Query,
    request: Request,
) -> Result<Response<Body>> {
    query.finish()?;
    caller(&request)?.may(Role::Writer, &target.bucket)?;
    check_writable(&target.bucket)?;
    let terms = Terms::of(request.headers())?;
    let key = Bytes::from(target.key);
    let write = terms.write(key.clone(), Change::Delete { key });
    let receipt = app.store.write(&target.bucket, write).await?;
    acknowledged(
        receipt,
        &Deleted {
            version: receipt.version,
            existed: receipt.existed,
        },
    )
}

/// The answer to a write: its body, its version and what was reached.
pub(super) fn acknowledged(
    receipt: Receipt,
    body: &impl serde::Serialize,
) -> Result<Response<Body>> {
    let mut response = json(StatusCode::OK, body)?;
    let headers = response.headers_mut();
    headers.insert(ETAG, header(&etag(receipt.version))?);
    headers.insert(
        HeaderName::from_static(DURABILITY_HEADER),
        HeaderValue::from_static(receipt.durability.as_str()),
    );
    Ok(response)
}

/// What a write asks for in its headers.
struct Terms {
    conditions: Conditions,
    durability: Option<Durability>,
}

impl Terms {
    fn of(headers: &HeaderMap) -> Result<Self> {
        Ok(Self {
            conditions: Conditions::of(headers)?,
            durability: durability(headers)?,
        })
    }

    fn write(self, key: Bytes, change: Change) -> Write {
        let expects = self.conditions.into_expects();
        Write {
            changes: vec![change],
            conditions: expects.map(|expect| (key.clone(), expect)).collect(),
            durability: self.durability,
            of_one_key: true,
        }
    }
}

/// The header `Cairn-Durability`.
pub(super) fn durability(headers: &HeaderMap) -> Result<Option<Durability>> {
    one_line(headers, &HeaderName::from_static(DURABILITY_HEADER))?
        .map(|text| text.trim().parse().map_err(Problem::invalid))
        .transpose()
}

/// A header that may stand once, as text.
fn one_line(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Ok(None),
        (Some(line), None) => match std::str::from_utf8(line.as_bytes()) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(Problem::invalid(format!("the header {name} is not UTF-8"))),
        },
        _ => Err(Problem::invalid(format!("the header {name} stands twice"))),
    }
}

fn mismatch(version: u64) -> Problem {
    Problem::new(
        Code::VersionMismatch,
        format!("the key has version {version}, which If-Match excludes"),
    )
    .with_version(version)
}

/// What a stream holds in memory, in either direction.
const STREAM_BYTES: usize = 3 << 20;

/// What is read of a body of unknown size before it is taken for a large one.
const UNTOLD_BYTES_MAX: usize = 1 << 20;

fn header(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(|error| Problem::new(Code::Internal, error.to_string()))
}
