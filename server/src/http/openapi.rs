//! `/openapi.json`: the API as a document, put together from what stands at the routes.
//!
//! A test asks the server for every operation of the document, and looks up every route in it, so
//! the two cannot drift apart.

use std::sync::LazyLock;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use super::{batch, bucket, kv, list, log, status, watch, whole};
use crate::problem::Result;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Cairn",
        description = "Keys and values over a log. Errors are `application/problem+json` with a \
                       stable `code`. With tokens in the configuration every route but /healthz, \
                       /readyz and this one needs one."
    ),
    paths(
        kv::read, kv::put, kv::delete, kv::by_query, list::page, watch::stream, batch::write,
        log::info, log::read, log::append, log::certificates, log::proof,
        bucket::list, bucket::one, bucket::create, bucket::remove,
        status::healthz, status::readyz, status::metrics, status::status, status::page, document,
    ),
    modifiers(&Tokens)
)]
struct Api;

struct Tokens;

impl utoipa::Modify for Tokens {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme =
            SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", scheme);
    }
}

/// The text of the document.
static TEXT: LazyLock<Bytes> = LazyLock::new(|| {
    let text = Api::openapi().to_pretty_json();
    text.map_or_else(
        |error| panic!("the document has a shape of its own: {error}"),
        Bytes::from,
    )
});

/// `/openapi.json`.
#[utoipa::path(
    method(get, head), path = "/openapi.json", operation_id = "openapi", tag = "operations",
    responses((status = 200, description = "This document")),
)]
pub(super) async fn document(request: Request) -> Result<Response<Body>> {
    status::only_reads(&request)?;
    Ok(whole(StatusCode::OK, "application/json", TEXT.clone()))
}
