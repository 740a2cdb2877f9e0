//! The API as a client sees it, in process: every request passes the gate and the router.

mod buckets;
mod gate;
mod keys;
mod large;
mod lists;
mod log;
mod openapi;
mod watch;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Request, Response};
use cairn_kv::Store;
use cairn_sdk::bridge::Bridge;
use http_body_util::{BodyExt, Full};

use super::*;
use crate::config::Settings;

/// A server without sockets.
struct Site {
    gate: Gate,
    headers: Vec<(String, String)>,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Site {
    fn new() -> Self {
        Self::with("")
    }

    /// A server with these lines of configuration.
    fn with(file: &str) -> Self {
        Self::of(file, Store::memory(), super::watch::KEEP_ALIVE)
    }

    fn of(file: &str, store: Store, keep_alive: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cairn.toml");
        std::fs::write(&path, format!("memory = true\n{file}")).unwrap();
        let config = Config::resolve(Settings::default(), Some(&path)).unwrap();
        let bridge = Bridge::default();
        let store = Embedded::new(store, bridge, config.auto_create_buckets);
        let mut app = App::new(&config, store);
        Arc::get_mut(&mut app).unwrap().keep_alive = keep_alive;
        let gate = Gate::new(app);
        Self {
            gate,
            headers: vec![("host".to_owned(), "localhost".to_owned())],
        }
    }

    fn bearing(&self, secret: &str) -> Self {
        let mut headers = self.headers.clone();
        headers.push(("authorization".to_owned(), format!("Bearer {secret}")));
        Self {
            gate: self.gate.clone(),
            headers,
        }
    }

    async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        Answer::of(self.begin(method, target, headers, body).await).await
    }

    /// The answer to a request, of which only the head is there for certain.
    async fn begin(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<Body> {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.uri(target).body(Full::new(body.into())).unwrap();
        self.gate.answer(request).await
    }

    async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], "").await
    }

    async fn put(&self, target: &str, body: impl Into<Bytes>) -> Answer {
        self.send("PUT", target, &[], body).await
    }
}

impl Answer {
    async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {:?}", self.status, self.body))
    }

    fn version(&self) -> u64 {
        assert_eq!(self.status, 200, "{:?}", self.body);
        self.json()["version"].as_u64().unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts that this is a problem document with this status and code.
    #[track_caller]
    fn is_problem(&self, status: u16, code: &str) {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{text}");
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{text}"
        );
        let document = self.json();
        assert_eq!(document["code"], code, "{text}");
        assert_eq!(document["status"], status);
        assert!(document["retryable"].is_boolean() && document["title"].is_string());
    }
}
