//! `/openapi.json`: the API as a document, put together from what stands at the routes.
//!
//! A test asks the server for every operation of the document, and looks up every route in it, so
//! the two cannot drift apart.

use std::sync::LazyLock;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use cairn_sdk::wire;
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, OpenApi as OpenApiDocument, Ref, RefOr, ResponseBuilder};

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
        kv::read, kv::put, kv::delete, list::page, watch::stream, batch::write,
        log::info, log::read, log::append, log::certificates, log::proof,
        bucket::list, bucket::one, bucket::create, bucket::remove,
        status::healthz, status::readyz, status::metrics, status::status, status::page, document,
    ),
    modifiers(&KeysByParameter, &OwnNames, &Tokens, &Refusals)
)]
struct Api;

/// `/v1/key/{bucket}` takes and answers what `/v1/kv/{bucket}/{key}` does.
struct KeysByParameter;

impl utoipa::Modify for KeysByParameter {
    fn modify(&self, document: &mut OpenApiDocument) {
        let paths = &mut document.paths.paths;
        let mut item = paths["/v1/kv/{bucket}/{key}"].clone();
        item.description = Some("As by path, for keys that a URL library would change".to_owned());
        for operation in operations(&mut item) {
            if let Some(id) = &mut operation.operation_id {
                id.push_str("_by_parameter");
            }
            for parameter in operation.parameters.iter_mut().flatten() {
                if let RefOr::T(parameter) = parameter
                    && parameter.name == "key"
                {
                    "key_b64".clone_into(&mut parameter.name);
                    parameter.parameter_in = ParameterIn::Query;
                    parameter.description = Some("The key in base64url without padding".to_owned());
                }
            }
        }
        paths.insert("/v1/key/{bucket}".to_owned(), item);
    }
}

/// What stands once at a route of several methods is one operation for each: each gets its name.
struct OwnNames;

impl utoipa::Modify for OwnNames {
    fn modify(&self, document: &mut OpenApiDocument) {
        for item in document.paths.paths.values_mut() {
            if let Some(id) = item
                .head
                .as_mut()
                .and_then(|head| head.operation_id.as_mut())
            {
                id.insert_str(0, "head_of_");
            }
        }
    }
}

/// A token is sent where the configuration has some.
struct Tokens;

impl utoipa::Modify for Tokens {
    fn modify(&self, document: &mut OpenApiDocument) {
        let scheme =
            SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", scheme);
        let token = SecurityRequirement::new("token", [""; 0]);
        document.security = Some(vec![token, SecurityRequirement::default()]);
    }
}

/// What any route may answer, by its kind, where it says nothing of its own.
struct Refusals;

/// Status, name in the document, description.
const REFUSALS: [(&str, &str, &str); 6] = [
    (
        "400",
        "BadRequest",
        "`invalid_argument`: a parameter or header is malformed, unknown or twice",
    ),
    (
        "401",
        "Unauthorized",
        "`unauthorized`: no token, or none of ours",
    ),
    (
        "403",
        "Forbidden",
        "`forbidden`: the token does not cover it; without tokens, a foreign Host or Origin",
    ),
    (
        "408",
        "RequestTimeout",
        "`request_timeout`: the body stalled",
    ),
    (
        "500",
        "InternalError",
        "`internal`, `corrupt`, `outcome_unknown`",
    ),
    (
        "503",
        "Unavailable",
        "`overloaded`, `shutting_down`: did nothing, try again; `poisoned`",
    ),
];

impl utoipa::Modify for Refusals {
    fn modify(&self, document: &mut OpenApiDocument) {
        let components = document.components.get_or_insert_default();
        for (_, name, description) in REFUSALS {
            let schema = Ref::from_schema_name("Problem");
            let content = Content::new(Some(schema));
            let response = ResponseBuilder::new()
                .description(description)
                .content(wire::PROBLEM_MEDIA_TYPE, content);
            components
                .responses
                .insert(name.to_owned(), response.build().into());
        }
        for (path, item) in &mut document.paths.paths {
            let open = matches!(path.as_str(), "/healthz" | "/readyz" | "/openapi.json");
            let busy = path.starts_with("/v1/") && path != "/v1/status";
            for operation in operations(item) {
                if open {
                    operation.security = Some(vec![SecurityRequirement::default()]);
                }
                let takes_body = operation.request_body.is_some();
                for (status, name, _) in REFUSALS {
                    let may = match status {
                        "401" | "403" => !open,
                        "408" => takes_body,
                        "500" | "503" => busy,
                        _ => true,
                    };
                    if may {
                        let known = &mut operation.responses.responses;
                        let refusal = || Ref::from_response_name(name).into();
                        known.entry(status.to_owned()).or_insert_with(refusal);
                    }
                }
            }
        }
    }
}

/// The operations of a path.
fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let methods = [
        &mut item.get,
        &mut item.head,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
    ];
    methods.into_iter().flatten()
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
