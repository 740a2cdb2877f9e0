//! Every error that leaves the server: a problem document of RFC 9457.
//!
//! One table, [`facts`], turns a code into its status and title; the store's kinds of error become
//! codes in one other place, `cairn_sdk::Embedded`. A code says what a client may do, so whether it
//! may try again (`retryable`) is the SDK's own rule, asked here.

use axum::body::Body;
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use cairn_sdk::wire::{self, Base64};
use cairn_sdk::{Code, Error, is_retryable};

/// An error on its way to a client.
#[derive(Debug)]
pub(crate) struct Problem(Box<Facts>);

#[derive(Debug)]
struct Facts {
    error: Error,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The result of a route.
pub(crate) type Result<T, E = Problem> = std::result::Result<T, E>;

/// The code of an error, kept beside its response for the log and the metrics.
#[derive(Clone, Debug)]
pub(crate) struct Reported(pub(crate) Code, pub(crate) String);

impl Problem {
    /// A problem of this kind; `detail` says what happened this time.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        let headers = match code {
            Code::Overloaded | Code::ShuttingDown => {
                vec![(RETRY_AFTER, HeaderValue::from_static("1"))]
            }
            // The rest of the body may still come, and is no request.
            Code::RequestTimeout => vec![(CONNECTION, HeaderValue::from_static("close"))],
            Code::Unauthorized => vec![(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))],
            _ => Vec::new(),
        };
        Self(Box::new(Facts {
            error: Error::new(code, detail),
            headers,
        }))
    }

    /// A malformed request.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, detail)
    }

    /// A method that this route does not have.
    pub(crate) fn method_not_allowed(method: &str, allowed: &'static str) -> Self {
        let detail = format!("{method} is no method of this route; it takes {allowed}");
        Self::new(Code::MethodNotAllowed, detail).with_header(ALLOW, allowed)
    }

    /// The same problem with one more header.
    pub(crate) fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::try_from(value) {
            self.0.headers.push((name, value));
        }
        self
    }

    /// The same problem, with the current version of the key whose condition failed.
    pub(crate) fn with_version(mut self, version: u64) -> Self {
        self.0.error = self.0.error.with_version(version);
        self
    }

    /// The kind of problem.
    pub(crate) fn code(&self) -> &Code {
        self.0.error.code()
    }

    /// The document, for where it is no answer of its own.
    pub(crate) fn into_document(self) -> wire::Problem {
        let (status, title) = facts(self.code());
        self.document(status, title)
    }

    fn document(&self, status: StatusCode, title: &str) -> wire::Problem {
        let error = &self.0.error;
        let key = error.key();
        wire::Problem {
            kind: format!("urn:cairn:problem:{}", error.code()),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: error.detail().to_owned(),
            code: error.code().clone(),
            retryable: is_retryable(error.code()),
            version: error.version(),
            key: key
                .and_then(|key| std::str::from_utf8(key).ok())
                .map(str::to_owned),
            key_b64: key.map(|key| Base64(key.clone())),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let mut problem = Self::new(error.code().clone(), "");
        problem.0.error = error;
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let (status, title) = facts(self.code());
        let document = self.document(status, title);
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(wire::PROBLEM_MEDIA_TYPE),
        );
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.0.headers {
            headers.append(name, value);
        }
        response
            .extensions_mut()
            .insert(Reported(document.code, document.detail));
        *response.body_mut() = Body::from(body);
        response
    }
}

/// The status and the title of each code.
fn facts(code: &Code) -> (StatusCode, &'static str) {
    match code {
        Code::InvalidArgument => (StatusCode::BAD_REQUEST, "Invalid argument"),
        Code::KeyTooLarge => (StatusCode::BAD_REQUEST, "Key too large"),
        Code::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized"),
        Code::Forbidden => (StatusCode::FORBIDDEN, "Forbidden"),
        Code::BucketNotFound => (StatusCode::NOT_FOUND, "Bucket not found"),
        Code::KeyNotFound => (StatusCode::NOT_FOUND, "Key not found"),
        Code::NotFound => (StatusCode::NOT_FOUND, "Route not found"),
        Code::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
        Code::ReadOnly => (StatusCode::METHOD_NOT_ALLOWED, "Read only"),
        Code::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "Request timeout"),
        Code::BucketExists => (StatusCode::CONFLICT, "Bucket exists with other options"),
        Code::BucketNotEmpty => (StatusCode::CONFLICT, "Bucket not empty"),
        Code::NotCertified => (StatusCode::CONFLICT, "Not certified"),
        Code::Compacted => (StatusCode::GONE, "Version no longer kept"),
        Code::VersionMismatch => (StatusCode::PRECONDITION_FAILED, "Version mismatch"),
        Code::ValueTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Value too large"),
        Code::BatchTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Batch too large"),
        Code::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Body too large"),
        Code::RangeNotSatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, "Range not satisfiable"),
        Code::Corrupt => (StatusCode::INTERNAL_SERVER_ERROR, "Corrupt data"),
        Code::OutcomeUnknown => (StatusCode::INTERNAL_SERVER_ERROR, "Outcome unknown"),
        Code::Poisoned => (StatusCode::SERVICE_UNAVAILABLE, "Closed to writes"),
        Code::Fenced => (StatusCode::SERVICE_UNAVAILABLE, "Fenced by a newer writer"),
        Code::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "Overloaded"),
        Code::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "Shutting down"),
        Code::DiskFull => (StatusCode::INSUFFICIENT_STORAGE, "Disk full"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "Internal error"),
    }
}

#[cfg(test)]
mod tests;
