//! The keys of a bucket, page by page: `GET /v1/kv/{bucket}`.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{Method, Response, StatusCode};
use cairn_sdk::wire::{self, PAGE_ITEMS_MAX};
use cairn_sdk::{Code, Page, ScanRequest, check_readable};

use super::key::bucket_of;
use super::query::Query;
use super::{App, caller, json, whole};
use crate::config::Role;
use crate::problem::{Problem, Result};

/// A page larger than this is put into JSON on the pool, where it delays no other answer.
const IN_PLACE_BYTES_MAX: usize = 64 * 1024;

/// `/v1/kv/{bucket}`.
#[utoipa::path(
    method(get, head), path = "/v1/kv/{bucket}", operation_id = "list_keys", tag = "keys",
    params(
        ("bucket" = String, Path, description = "The bucket"),
        ("prefix" = Option<String>, Query, description = "Only keys that begin with this"),
        ("start" = Option<String>, Query, description = "Only keys at or above this"),
        ("end" = Option<String>, Query, description = "Only keys below this; empty means to the last"),
        ("limit" = Option<u64>, Query, description = "1 to 10,000; more is lowered; 1,000 by default"),
        ("reverse" = Option<bool>, Query, description = "From the last key to the first"),
        ("keys_only" = Option<bool>, Query, description = "Without values"),
        ("at" = Option<u64>, Query, description = "The bucket as it was at this version"),
        ("cursor" = Option<String>, Query, description = "Where the page before ended"),
    ),
    responses(
        (status = 200, description = "A page, all of one snapshot with the others", body = Page),
        (status = 404, description = "`bucket_not_found`", body = wire::Problem),
        (status = 410, description = "`compacted`: the cursor or `at` is not covered", body = wire::Problem),
    ),
)]
pub(super) async fn page(app: Arc<App>, request: Request) -> Result<Response<Body>> {
    let bucket = bucket_of(request.uri().path(), "/v1/kv/")?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Problem::method_not_allowed(
            request.method().as_str(),
            "GET, HEAD",
        ));
    }
    let scan = scan_request(Query::parse(request.uri().query())?)?;
    caller(&request)?.may(Role::Reader, &bucket)?;
    check_readable(&bucket)?;
    let page = app.store.scan(&bucket, &scan).await?;
    if size(&page) <= IN_PLACE_BYTES_MAX {
        return json(StatusCode::OK, &page);
    }
    let encode = move || serde_json::to_vec(&page);
    let body = app.store.bridge().run(encode).await.map_err(|refused| {
        Problem::new(
            Code::Overloaded,
            format!("the page could not be encoded: {refused:?}"),
        )
    })?;
    let body = body.map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
    Ok(whole(StatusCode::OK, "application/json", body.into()))
}

pub(super) fn scan_request(mut query: Query) -> Result<ScanRequest> {
    let limit = match query.number("limit")? {
        Some(0) => return Err(Problem::invalid("limit is 0, it starts at 1")),
        // More than a page holds is as much as it holds.
        Some(limit) => Some(
            usize::try_from(limit)
                .unwrap_or(usize::MAX)
                .min(PAGE_ITEMS_MAX),
        ),
        None => None,
    };
    let scan = ScanRequest {
        prefix: query.bytes("prefix").map(Bytes::from),
        start: query.bytes("start").map(Bytes::from),
        end: query.bytes("end").map(Bytes::from),
        limit,
        reverse: query.flag("reverse")?,
        keys_only: query.flag("keys_only")?,
        at: version_at(&mut query)?,
        cursor: query.text("cursor")?,
    };
    query.finish()?;
    Ok(scan)
}

/// The version of the past that a read asks for.
pub(super) fn version_at(query: &mut Query) -> Result<Option<u64>> {
    match query.number("at")? {
        Some(0) => Err(Problem::invalid("at is 0, versions start at 1")),
        at => Ok(at),
    }
}

fn size(page: &Page) -> usize {
    page.items
        .iter()
        .map(|item| {
            item.key_b64.0.len() * 3 + item.value_b64.as_ref().map_or(0, |value| value.0.len() * 2)
        })
        .sum()
}
