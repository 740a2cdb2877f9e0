//! A store behind HTTP: each call is one request of API.md, over pooled HTTP/1.1 connections.
//!
//! Keys travel in the path where every URL library leaves them alone and as `key_b64` elsewhere
//! (`wire::key_target`). A reply that is no problem document and no success is reported with its
//! status; it is never taken for data.

mod following;
mod large;
mod log;
mod reply;
mod sse;

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use reqwest::{Method, RequestBuilder, Url};

use crate::client::Entry;
use crate::error::{Error, Result};
use crate::retry::Retry;
use crate::scan::ScanRequest;
use crate::wire::{
    BatchRequest, BucketInfo, BucketList, BucketOptions, Code, Condition, DURABILITY_HEADER,
    DeleteOp, Deleted, Durability, Op, Page, PutOp, Status, VALUE_BYTES_MAX, Written,
    bucket_target, key_target, percent_encode,
};
use crate::write::{Change, Expect, Receipt, Write};
pub(crate) use following::Following;
use reply::Reply;

/// How to connect to a server.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    token: Option<String>,
    connect_timeout: Duration,
    request_timeout: Duration,
    retry: Retry,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            token: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(60),
            retry: Retry::default(),
        }
    }
}

impl ConnectOptions {
    /// Sends this secret with every request.
    #[must_use]
    pub fn token(mut self, secret: impl Into<String>) -> Self {
        self.token = Some(secret.into());
        self
    }

    /// How long a connection may take to be made.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long one attempt may take, its reply read.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// When a failed call is made again.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }
}

/// A store behind HTTP.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    http: reqwest::Client,
    /// Without a limit on how long all of a request may take.
    streaming: reqwest::Client,
    request_timeout: Duration,
    /// For replies that never end: bounded is the silence, not the whole.
    streams: reqwest::Client,
    /// Scheme, host and port, without a slash at the end.
    origin: String,
    retry: Retry,
}

impl Remote {
    pub(crate) fn new(url: &str, options: ConnectOptions) -> Result<Self> {
        let origin = origin(url)?;
        let mut headers = reqwest::header::HeaderMap::new();
        if let Some(token) = &options.token {
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| invalid("the token holds characters that no header may carry"))?;
            value.set_sensitive(true);
            headers.insert(reqwest::header::AUTHORIZATION, value);
        }
        let client = || {
            reqwest::Client::builder()
                .default_headers(headers.clone())
                .connect_timeout(options.connect_timeout)
                // Below the server's own bound, so that a request rarely meets a closing connection.
                .pool_idle_timeout(Duration::from_secs(30))
                .redirect(reqwest::redirect::Policy::none())
                .tcp_nodelay(true)
                .user_agent(concat!("cairn-sdk/", env!("CARGO_PKG_VERSION")))
        };
        let build = |client: reqwest::ClientBuilder| {
            client
                .build()
                .map_err(|error| invalid(format!("no HTTP client can be made: {error}")))
        };
        Ok(Self {
            http: build(client().timeout(options.request_timeout))?,
            streaming: build(client())?,
            streams: build(client().read_timeout(STREAM_SILENCE_MAX))?,
            request_timeout: options.request_timeout,
            origin,
            retry: options.retry,
        })
    }

    /// Asks whether a Cairn server answers.
    pub(crate) async fn probe(&self) -> Result<()> {
        let reply = self.read("/healthz", "").await?;
        reply.success().map(drop)
    }

    pub(crate) async fn get(&self, bucket: &str, key: &[u8]) -> Result<Option<Entry>> {
        self.get_with(bucket, key, Query::default()).await
    }

    pub(crate) async fn get_at(
        &self,
        bucket: &str,
        key: &[u8],
        version: u64,
    ) -> Result<Option<Entry>> {
        let mut query = Query::default();
        query.bytes("at", Some(&version.to_string()));
        self.get_with(bucket, key, query).await
    }

    async fn get_with(&self, bucket: &str, key: &[u8], query: Query) -> Result<Option<Entry>> {
        let target = key_target(bucket, key);
        // A larger value is not read only to be refused.
        let bytes_max = Some(VALUE_BYTES_MAX as u64);
        let request = || self.request(Method::GET, &target, &query.0);
        let reply = self.send(true, bytes_max, request).await?;
        match reply.success() {
            Ok(reply) => Ok(Some(Entry {
                version: reply.version()?,
                content_type: reply.content_type(),
                value: reply.into_body(),
            })),
            Err(error) if *error.code() == Code::KeyNotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn scan(&self, bucket: &str, scan: &ScanRequest) -> Result<Page> {
        let mut query = Query::default();
        query.bytes("prefix", scan.prefix.as_deref());
        query.bytes("start", scan.start.as_deref());
        query.bytes("end", scan.end.as_deref());
        query.bytes(
            "limit",
            scan.limit.map(|limit| limit.to_string()).as_deref(),
        );
        query.flag("reverse", scan.reverse);
        query.flag("keys_only", scan.keys_only);
        query.bytes("at", scan.at.map(|at| at.to_string()).as_deref());
        query.bytes("cursor", scan.cursor.as_deref());
        self.read(&bucket_target("kv", bucket), &query.0)
            .await?
            .success()?
            .json()
    }

    pub(crate) async fn write(&self, bucket: &str, write: Write) -> Result<Receipt> {
        let durability = write.durability;
        if let Some((change, expects)) = lone_change(&write) {
            let outcome = self.write_one(bucket, change, &expects, durability).await;
            return outcome.map_err(|refusal| {
                let of_a_batch = !write.of_one_key && *refusal.code() == Code::VersionMismatch;
                if of_a_batch {
                    refusal.with_key(change.key().clone())
                } else {
                    refusal
                }
            });
        }
        let body = json(&batch_request(write)?)?;
        let target = bucket_target("batch", bucket);
        let reply = self
            .change(|| {
                let request = self.request(Method::POST, &target, "")?;
                Ok(asking(request, durability).body(body.clone()))
            })
            .await?
            .success()?;
        let Written { version } = reply.json()?;
        Ok(Receipt {
            version,
            durability: reply.durability(),
            existed: false,
        })
    }

    async fn write_one(
        &self,
        bucket: &str,
        change: &Change,
        expects: &[&Expect],
        durability: Option<Durability>,
    ) -> Result<Receipt> {
        let target = key_target(bucket, change.key());
        let conditions = condition_headers(expects)?;
        let with_terms = |mut request: RequestBuilder| {
            for (name, value) in &conditions {
                request = request.header(name.clone(), value.clone());
            }
            asking(request, durability)
        };
        match change {
            Change::Put {
                value,
                ttl_ms,
                content_type,
                ..
            } => {
                let mut query = Query::default();
                query.bytes("ttl_ms", ttl_ms.map(|ttl| ttl.to_string()).as_deref());
                let media_type = match content_type {
                    Some(text) => Some(
                        HeaderValue::try_from(text)
                            .map_err(|_| invalid(format!("{text:?} is no media type")))?,
                    ),
                    None => None,
                };
                let reply = self
                    .change(|| {
                        let mut request =
                            with_terms(self.request(Method::PUT, &target, &query.0)?);
                        if let Some(media_type) = &media_type {
                            request = request.header(CONTENT_TYPE, media_type.clone());
                        }
                        Ok(request.body(value.clone()))
                    })
                    .await?
                    .success()?;
                let Written { version } = reply.json()?;
                Ok(Receipt {
                    version,
                    durability: reply.durability(),
                    existed: false,
                })
            }
            Change::Delete { .. } => {
                let reply = self
                    .change(|| Ok(with_terms(self.request(Method::DELETE, &target, "")?)))
                    .await?
                    .success()?;
                let Deleted { version, existed } = reply.json()?;
                Ok(Receipt {
                    version,
                    durability: reply.durability(),
                    existed,
                })
            }
        }
    }

    pub(crate) async fn buckets(&self) -> Result<Vec<BucketInfo>> {
        let list: BucketList = self.read("/v1/buckets", "").await?.success()?.json()?;
        Ok(list.buckets)
    }

    pub(crate) async fn bucket_info(&self, bucket: &str) -> Result<BucketInfo> {
        self.read(&bucket_target("buckets", bucket), "")
            .await?
            .success()?
            .json()
    }

    pub(crate) async fn create_bucket(&self, name: &str, options: BucketOptions) -> Result<bool> {
        let target = bucket_target("buckets", name);
        let body = json(&options)?;
        let reply = self
            .change(|| Ok(self.request(Method::PUT, &target, "")?.body(body.clone())))
            .await?
            .success()?;
        Ok(reply.status() == reqwest::StatusCode::CREATED)
    }

    pub(crate) async fn remove_bucket(&self, name: &str, force: bool) -> Result<()> {
        let target = bucket_target("buckets", name);
        let mut query = Query::default();
        query.flag("force", force);
        let reply = self
            .change(|| self.request(Method::DELETE, &target, &query.0))
            .await?;
        reply.success().map(drop)
    }

    pub(crate) async fn status(&self) -> Result<Status> {
        self.read("/v1/status", "").await?.success()?.json()
    }

    /// A server outlives its clients: there is nothing to close.
    #[expect(
        clippy::unused_async,
        reason = "the same shape as the embedded store's"
    )]
    pub(crate) async fn close(&self) -> Result<()> {
        Ok(())
    }

    /// A request that only reads: repeated after any transport failure.
    async fn read(&self, target: &str, query: &str) -> Result<Reply> {
        self.send(true, None, || self.request(Method::GET, target, query))
            .await
    }

    /// A request that changes something: repeated only where it certainly did nothing.
    async fn change(&self, request: impl Fn() -> Result<RequestBuilder>) -> Result<Reply> {
        self.send(false, None, request).await
    }

    async fn send(
        &self,
        repeatable: bool,
        bytes_max: Option<u64>,
        request: impl Fn() -> Result<RequestBuilder>,
    ) -> Result<Reply> {
        let mut made = 0;
        loop {
            made += 1;
            let (again, asked, outcome) = match Reply::of(request()?, bytes_max).await {
                Ok(reply) => (reply.was_refused(), reply.retry_after(), Ok(reply)),
                Err(error) => {
                    let untouched = error.is_connect();
                    let error = transport_error(&error, repeatable, &self.origin);
                    (untouched || repeatable, None, Err(error))
                }
            };
            match self.retry.wait(made, asked) {
                Some(wait) if again => tokio::time::sleep(wait).await,
                _ => return outcome,
            }
        }
    }

    fn request(&self, method: Method, target: &str, query: &str) -> Result<RequestBuilder> {
        self.request_of(&self.http, method, target, query)
    }

    fn request_of(
        &self,
        client: &reqwest::Client,
        method: Method,
        target: &str,
        query: &str,
    ) -> Result<RequestBuilder> {
        Ok(client.request(method, self.url(target, query)?))
    }

    fn url(&self, target: &str, query: &str) -> Result<Url> {
        let mark = if query.is_empty() { "" } else { "?" };
        Url::parse(&format!("{}{target}{mark}{query}", self.origin))
            .map_err(|error| invalid(format!("{target:?} makes no URL: {error}")))
    }
}

/// A server says something on a stream every 15 s; three times that is a server that is gone.
const STREAM_SILENCE_MAX: Duration = Duration::from_secs(45);

/// Scheme, host and port of a server's URL.
fn origin(url: &str) -> Result<String> {
    let parsed = Url::parse(url).map_err(|error| invalid(format!("{url:?} is no URL: {error}")))?;
    if parsed.scheme() != "http" {
        return Err(invalid(format!(
            "{url:?}: only http:// is spoken; put TLS in front with a proxy on this machine"
        )));
    }
    if !matches!(parsed.path(), "" | "/") || parsed.query().is_some() {
        return Err(invalid(format!(
            "{url:?} must name a server, without a path or query"
        )));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(invalid("a URL carries no credentials here; give a token"));
    }
    Ok(parsed.origin().ascii_serialization())
}

/// The only change of a write, if all conditions are on its key.
fn lone_change(write: &Write) -> Option<(&Change, Vec<&Expect>)> {
    let [change] = &write.changes[..] else {
        return None;
    };
    let own = write.conditions.iter().all(|(key, _)| key == change.key());
    own.then(|| {
        (
            change,
            write.conditions.iter().map(|(_, expect)| expect).collect(),
        )
    })
}

fn batch_request(write: Write) -> Result<BatchRequest> {
    let mut conditions = Vec::with_capacity(write.conditions.len());
    for (key, expect) in write.conditions {
        let version = match expect {
            Expect::Absent => 0,
            Expect::OneOf(versions) if versions.len() == 1 => versions[0],
            _ => {
                return Err(invalid(
                    "a batch's condition names one version, or that the key is absent",
                ));
            }
        };
        let (key, key_b64) = in_json(key);
        conditions.push(Condition {
            key,
            key_b64,
            version,
        });
    }
    let mut ops = Vec::with_capacity(write.changes.len());
    for change in write.changes {
        ops.push(match change {
            Change::Put {
                content_type: Some(_),
                ..
            } => {
                return Err(invalid("a batch keeps no media types"));
            }
            Change::Put {
                key,
                value,
                ttl_ms,
                content_type: None,
            } => {
                let (key, key_b64) = in_json(key);
                let (value, value_b64) = in_json(value);
                Op::Put(PutOp {
                    key,
                    key_b64,
                    value,
                    value_b64,
                    ttl_ms,
                })
            }
            Change::Delete { key } => {
                let (key, key_b64) = in_json(key);
                Op::Delete(DeleteOp { key, key_b64 })
            }
        });
    }
    Ok(BatchRequest {
        conditions: conditions.into(),
        ops: ops.into(),
    })
}

/// Text where the bytes are UTF-8, which is shorter and readable, else base64.
fn in_json(bytes: Bytes) -> (Option<String>, Option<crate::wire::Base64>) {
    match std::str::from_utf8(&bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(crate::wire::Base64(bytes))),
    }
}

fn condition_headers(expects: &[&Expect]) -> Result<Vec<(HeaderName, HeaderValue)>> {
    let list = |versions: &[u64]| {
        let tags: Vec<String> = versions
            .iter()
            .map(|version| format!("\"{version}\""))
            .collect();
        // A list that no version can match must not become an empty header, which is malformed.
        if tags.is_empty() {
            "\"\"".to_owned()
        } else {
            tags.join(", ")
        }
    };
    let mut headers = Vec::with_capacity(expects.len());
    for expect in expects {
        let (name, text) = match expect {
            Expect::Exists => (IF_MATCH, "*".to_owned()),
            Expect::Absent => (IF_NONE_MATCH, "*".to_owned()),
            Expect::OneOf(versions) => (IF_MATCH, list(versions)),
            Expect::NoneOf(versions) => (IF_NONE_MATCH, list(versions)),
        };
        if headers.iter().any(|(taken, _)| *taken == name) {
            return Err(invalid("two conditions of one kind on one key"));
        }
        let value = HeaderValue::try_from(text).map_err(|error| invalid(error.to_string()))?;
        headers.push((name, value));
    }
    Ok(headers)
}

fn asking(request: RequestBuilder, durability: Option<Durability>) -> RequestBuilder {
    match durability {
        Some(durability) => request.header(DURABILITY_HEADER, durability.as_str()),
        None => request,
    }
}

fn json(value: &impl serde::Serialize) -> Result<Bytes> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|error| invalid(error.to_string()))
}

fn transport_error(error: &reqwest::Error, repeatable: bool, origin: &str) -> Error {
    let mut detail = format!("{origin}: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        detail.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    if error.is_connect() || repeatable {
        Error::new(Code::Unreachable, detail)
    } else {
        Error::new(
            Code::OutcomeUnknown,
            format!("the write may have happened: {detail}"),
        )
    }
}

fn invalid(detail: impl Into<String>) -> Error {
    Error::new(Code::InvalidArgument, detail)
}

/// A query string under construction.
#[derive(Default)]
struct Query(String);

impl Query {
    fn bytes<T: AsRef<[u8]> + ?Sized>(&mut self, name: &str, value: Option<&T>) {
        if let Some(value) = value {
            if !self.0.is_empty() {
                self.0.push('&');
            }
            self.0.push_str(name);
            self.0.push('=');
            self.0.push_str(&percent_encode(value.as_ref()));
        }
    }

    fn flag(&mut self, name: &str, on: bool) {
        self.bytes(name, on.then_some("true"));
    }
}

#[cfg(test)]
mod tests;
