//! A reply, read whole, and what its parts mean.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::wire::{Code, DURABILITY_HEADER, Durability, Problem};

/// A reply with its body.
#[derive(Debug)]
pub(super) struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    /// Sends a request and reads all of its reply.
    pub(super) async fn of(request: RequestBuilder) -> Result<Self, reqwest::Error> {
        Self::read(request.send().await?).await
    }

    /// Reads all of a reply that has begun.
    pub(super) async fn read(response: reqwest::Response) -> Result<Self, reqwest::Error> {
        let status = response.status();
        let headers = response.headers().clone();
        let body = response.bytes().await?;
        Ok(Self {
            status,
            headers,
            body,
        })
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// Whether the server turned the request away before doing anything, for now.
    pub(super) fn was_refused(&self) -> bool {
        matches!(
            self.status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        ) && matches!(
            self.problem().map(|problem| problem.code),
            Some(Code::Overloaded | Code::ShuttingDown)
        )
    }

    /// How long the server asks to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let seconds = self.headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    }

    /// This reply if it is a success, else the error that it reports.
    pub(super) fn success(self) -> Result<Self> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(match self.problem() {
            Some(problem) => problem.into(),
            None => {
                let begin = String::from_utf8_lossy(&self.body[..self.body.len().min(200)]);
                Error::new(
                    Code::Other(format!("http_{}", self.status.as_u16())),
                    format!("the server replied {} {:?}", self.status, begin.trim()),
                )
            }
        })
    }

    /// The body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body)
            .map_err(|error| strange(format!("a reply in an unknown shape: {error}")))
    }

    /// The version in the entity tag.
    pub(super) fn version(&self) -> Result<u64> {
        self.text(ETAG.as_str())
            .and_then(|tag| tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok())
            .ok_or_else(|| strange("a reply without a version in its ETag"))
    }

    pub(super) fn content_type(&self) -> Option<String> {
        self.text(CONTENT_TYPE.as_str()).map(str::to_owned)
    }

    /// What the server vouches for.
    pub(super) fn durability(&self) -> Durability {
        self.text(DURABILITY_HEADER)
            .and_then(|text| text.parse().ok())
            .unwrap_or_default()
    }

    pub(super) fn into_body(self) -> Bytes {
        self.body
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn problem(&self) -> Option<Problem> {
        serde_json::from_slice(&self.body).ok()
    }
}

fn strange(detail: impl Into<String>) -> Error {
    Error::new(Code::Other("unexpected_reply".to_owned()), detail)
}
