//! The events of a bucket as they happen: `GET /v1/watch/{bucket}`.
//!
//! The answer is a `text/event-stream` without end. Its `id:` lines are versions, and stand where a
//! watch may resume: one at the beginning, one on the last event of each batch, and one alone every
//! [`KEEP_ALIVE`], never inside a batch. A client that comes back with the last one, as `from` or
//! as `Last-Event-ID`, misses nothing and gets no event twice.
//!
//! A watch takes no place among the requests and no thread. It ends at once at shutdown.

mod events;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, Response};
use cairn_sdk::wire;
use cairn_sdk::{Code, WatchRequest, check_readable};

use super::key::bucket_of;
use super::query::Query;
use super::{App, caller};
use crate::config::Role;
use crate::problem::{Problem, Result};
use events::Events;

/// Watches at once; one more is refused.
pub(crate) const WATCHES_MAX: usize = 1_024;
/// After how much silence a stream says where it stands.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a client sends when it comes back by itself.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Marks an answer that goes on for as long as its client wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endless;

/// `/v1/watch/{bucket}`.
#[utoipa::path(
    get, path = "/v1/watch/{bucket}", operation_id = "watch", tag = "keys",
    params(
        ("bucket" = String, Path, description = "The bucket"),
        ("prefix" = Option<String>, Query, description = "Only keys that begin with this"),
        ("from" = Option<u64>, Query,
         description = "Only what comes after this version; without it, what comes after now"),
        ("Last-Event-ID" = Option<u64>, Header,
         description = "The last id received; stands above `from`"),
    ),
    responses(
        (status = 200, content_type = "text/event-stream", body = wire::EventData,
         description = "`put` and `delete` events, those of a batch together and in order; \
                        `id` stands where a watch may resume"),
        (status = 404, description = "`bucket_not_found`", body = wire::Problem),
        (status = 410, description = "`compacted`: something after `from` is no longer there, or \
                                      it is above the newest version", body = wire::Problem),
        (status = 503, description = "`overloaded`: too many watches", body = wire::Problem),
    ),
)]
pub(super) async fn stream(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response<Body>> {
    let bucket = bucket_of(request.uri().path(), "/v1/watch/")?;
    if *request.method() != Method::GET {
        return Err(Problem::method_not_allowed(
            request.method().as_str(),
            "GET",
        ));
    }
    let mut query = Query::parse(request.uri().query())?;
    let (prefix, from) = (query.bytes("prefix"), query.number("from")?);
    query.finish()?;
    let from = last_event_id(request.headers())?.or(from);
    caller(&request)?.may(Role::Reader, &bucket)?;
    check_readable(&bucket)?;
    let place = Arc::clone(&app.watches)
        .try_acquire_owned()
        .map_err(|_| Problem::new(Code::Overloaded, "too many watches at once; try again"))?;
    let prefix = prefix.unwrap_or_default().into();
    let feed = app
        .store
        .watch(&bucket, WatchRequest { prefix, from })
        .await?;
    let mut response = Response::new(Body::new(Events::new(&app, feed, place)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.extensions_mut().insert(Endless);
    Ok(response)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>> {
    let Some(value) = headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let digits = value.to_str().ok().filter(|text| {
        let mut bytes = text.bytes();
        bytes.all(|byte| byte.is_ascii_digit())
    });
    let Some(digits) = digits else {
        return Err(Problem::invalid("Last-Event-ID is no version"));
    };
    // One that does not fit is above every version all the same.
    Ok(Some(digits.parse().unwrap_or(u64::MAX)))
}
