//! Buckets: `/v1/buckets` and `/v1/buckets/{bucket}`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, Response, StatusCode};
use cairn_sdk::wire::{self, BucketInfo, BucketList, BucketOptions};
use cairn_sdk::{Code, check_readable, check_writable};

use super::body::Reading;
use super::key::bucket_of;
use super::query::Query;
use super::{App, caller, json, object};
use crate::config::Role;
use crate::problem::{Problem, Result};

/// The largest body of bucket options.
const OPTIONS_BYTES_MAX: usize = 64 * 1024;

/// `/v1/buckets`: those that the caller sees.
#[utoipa::path(
    method(get, head), path = "/v1/buckets", operation_id = "list_buckets", tag = "buckets",
    responses((status = 200, description = "Those that the caller sees", body = BucketList)),
)]
pub(super) async fn list(State(app): State<Arc<App>>, request: Request) -> Result<Response<Body>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Problem::method_not_allowed(
            request.method().as_str(),
            "GET, HEAD",
        ));
    }
    Query::parse(request.uri().query())?.finish()?;
    let caller = caller(&request)?;
    let mut buckets = app.store.buckets().await?;
    buckets.retain(|bucket| caller.sees(&bucket.name));
    json(StatusCode::OK, &BucketList { buckets })
}

/// `/v1/buckets/{bucket}`.
#[utoipa::path(
    method(get, head), path = "/v1/buckets/{bucket}", operation_id = "get_bucket", tag = "buckets",
    params(("bucket" = String, Path, description = "The bucket")),
    responses(
        (status = 200, description = "What it reports", body = BucketInfo),
        (status = 404, description = "`bucket_not_found`", body = wire::Problem),
    ),
)]
pub(super) async fn one(State(app): State<Arc<App>>, request: Request) -> Result<Response<Body>> {
    let bucket = bucket_of(request.uri().path(), "/v1/buckets/")?;
    let query = Query::parse(request.uri().query())?;
    match *request.method() {
        Method::GET | Method::HEAD => {
            query.finish()?;
            caller(&request)?.may(Role::Reader, &bucket)?;
            check_readable(&bucket)?;
            json(StatusCode::OK, &app.store.bucket_info(&bucket).await?)
        }
        Method::PUT => create(app, bucket, query, request).await,
        Method::DELETE => remove(app, bucket, query, request).await,
        ref other => Err(Problem::method_not_allowed(
            other.as_str(),
            "GET, HEAD, PUT, DELETE",
        )),
    }
}

#[utoipa::path(
    put, path = "/v1/buckets/{bucket}", operation_id = "create_bucket", tag = "buckets",
    params(("bucket" = String, Path, description = "The bucket")),
    request_body(content = Option<BucketOptions>),
    responses(
        (status = 201, description = "Created", body = BucketInfo),
        (status = 200, description = "There with the same options", body = BucketInfo),
        (status = 409, description = "`bucket_exists` with other options", body = wire::Problem),
    ),
)]
async fn create(
    app: Arc<App>,
    bucket: String,
    query: Query,
    request: Request,
) -> Result<Response<Body>> {
    query.finish()?;
    caller(&request)?.may(Role::Writer, &bucket)?;
    check_writable(&bucket)?;
    let reading = Reading {
        budget: &app.bodies,
        bytes_max: OPTIONS_BYTES_MAX,
        too_large: || Code::BodyTooLarge,
        stall: app.stall,
    };
    let (body, _held) = reading.read(request.into_body()).await?;
    let options: BucketOptions = if body.trim_ascii().is_empty() {
        BucketOptions::default()
    } else {
        object(&body, "bucket options")?
    };
    let created = app.store.create_bucket(&bucket, options).await?;
    let status = if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    json(status, &app.store.bucket_info(&bucket).await?)
}

#[utoipa::path(
    delete, path = "/v1/buckets/{bucket}", operation_id = "delete_bucket", tag = "buckets",
    params(
        ("bucket" = String, Path, description = "The bucket"),
        ("force" = Option<bool>, Query, description = "Also if it holds keys"),
    ),
    responses(
        (status = 204, description = "Removed"),
        (status = 409, description = "`bucket_not_empty`", body = wire::Problem),
    ),
)]
async fn remove(
    app: Arc<App>,
    bucket: String,
    mut query: Query,
    request: Request,
) -> Result<Response<Body>> {
    let force = query.flag("force")?;
    query.finish()?;
    caller(&request)?.may(Role::Admin, &bucket)?;
    check_writable(&bucket)?;
    app.store.remove_bucket(&bucket, force).await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}
