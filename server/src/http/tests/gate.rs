use axum::extract::State;

use super::*;
use crate::config::Role;

const TOKENS: &str = r#"
[[token]]
name = "read"
secret = "read-secret"
role = "reader"
buckets = ["logs-*"]
[[token]]
name = "write"
secret = "write-secret"
role = "writer"
buckets = ["logs-*"]
[[token]]
name = "keep"
secret = "keep-secret"
role = "admin"
buckets = ["logs-*"]
[[token]]
name = "read-all"
secret = "read-all-secret"
role = "reader"
[[token]]
name = "write-all"
secret = "write-all-secret"
role = "writer"
[[token]]
name = "admin"
secret = "admin-secret"
role = "admin"
"#;

/// Every operation of the document of the API, which has all routes: a test says so.
async fn operations(site: &Site) -> Vec<(String, String)> {
    let document = site.get("/openapi.json").await.json();
    let mut operations = Vec::new();
    for (path, of_path) in document["paths"].as_object().unwrap() {
        for method in ["get", "head", "put", "post", "delete", "patch"] {
            if of_path.get(method).is_some() {
                operations.push((method.to_uppercase(), path.clone()));
            }
        }
    }
    operations
}

/// What a request for an operation is for, in this bucket.
fn target_of(path: &str, bucket: &str) -> String {
    let target = path.replace("{bucket}", bucket).replace("{key}", "k");
    let target = target.replace("{partition}", "0").replace("{topic}", "t");
    match path.starts_with("/v1/key/") {
        true => target + "?key_b64=aw",
        false => target,
    }
}

/// What an operation asks for.
enum Needs {
    Nothing,
    Token,
    /// On the bucket.
    Role(Role),
    /// On every bucket.
    RoleOnAll(Role),
}

fn needs(method: &str, path: &str) -> Needs {
    let role = match method {
        "GET" | "HEAD" => Role::Reader,
        "DELETE" if path.starts_with("/v1/buckets/") => Role::Admin,
        _ => Role::Writer,
    };
    match path {
        "/healthz" | "/readyz" | "/openapi.json" => Needs::Nothing,
        "/" | "/metrics" | "/v1/status" | "/v1/buckets" => Needs::Token,
        _ if path.starts_with("/v1/log") => Needs::RoleOnAll(role),
        _ => Needs::Role(role),
    }
}

impl Answer {
    /// Asserts that this is such a problem, of which a HEAD gets only the head.
    #[track_caller]
    fn refuses(&self, method: &str, status: u16, code: &str) {
        match method {
            "HEAD" => assert_eq!(self.status, status),
            _ => self.is_problem(status, code),
        }
    }
}

#[tokio::test]
async fn every_route_asks_who_it_is_and_whether_they_may() {
    let site = Site::with(TOKENS);
    let bearing = |name: &str| site.bearing(&format!("{name}-secret"));
    let (reader, writer, admin) = (bearing("read"), bearing("write"), bearing("admin"));
    let everybody = [
        ("read", Role::Reader, false),
        ("write", Role::Writer, false),
        ("keep", Role::Admin, false),
        ("read-all", Role::Reader, true),
        ("write-all", Role::Writer, true),
        ("admin", Role::Admin, true),
    ];
    let operations = operations(&site).await;
    let (mut allowed, mut forbidden) = (0, 0);
    let nowhere = ("GET".to_owned(), "/nowhere".to_owned());
    for (method, path) in operations.iter().chain([&nowhere]) {
        let target = target_of(path, "logs-1");
        let needs = needs(method, path);
        for nobody in [site.bearing("wrong"), site.bearing("")]
            .iter()
            .chain([&site])
        {
            let answer = nobody.send(method, &target, &[], "{}").await;
            if matches!(needs, Needs::Nothing) {
                assert_eq!(answer.status, 200, "{method} {target}");
            } else {
                answer.refuses(method, 401, "unauthorized");
                assert_eq!(answer.header("www-authenticate"), "Bearer");
            }
        }
        if *path == nowhere.1 {
            continue;
        }
        for bucket in ["logs-1", "users"] {
            let target = target_of(path, bucket);
            for (name, role, is_all) in everybody {
                let may = match &needs {
                    Needs::Nothing | Needs::Token => true,
                    Needs::Role(least) => role >= *least && (is_all || bucket == "logs-1"),
                    Needs::RoleOnAll(least) => role >= *least && is_all,
                };
                let key = format!("/v1/kv/{bucket}/k");
                admin.put(&key, "v").await.version();
                // The answer to who may need not have an end.
                let answer = bearing(name).begin(method, &target, &[], "{}").await;
                if may {
                    let status = answer.status().as_u16();
                    let is_refused = matches!(status, 401 | 403 | 405);
                    assert!(!is_refused, "{name}: {method} {target}: {status}");
                    allowed += 1;
                } else {
                    let status = answer.status();
                    assert_eq!(status, 403, "{name}: {method} {target}");
                    Answer::of(answer).await.refuses(method, 403, "forbidden");
                    forbidden += 1;
                }
            }
        }
    }
    assert!(operations.len() > 30, "{operations:?}");
    assert!(allowed > 100 && forbidden > 100, "{allowed} {forbidden}");
    writer.put("/v1/kv/logs-1/k", "v").await.version();
    writer
        .put("/v1/kv/users/k", "v")
        .await
        .is_problem(403, "forbidden");
    writer
        .send("DELETE", "/v1/buckets/logs-1", &[], "")
        .await
        .is_problem(403, "forbidden");
    admin.put("/v1/kv/users/k", "v").await.version();
    assert_eq!(reader.get("/v1/kv/logs-1/k").await.status, 200);
    let seen = reader.get("/v1/buckets").await.json();
    assert_eq!(seen["buckets"].as_array().unwrap().len(), 1);
    assert_eq!(reader.get("/v1/status").await.status, 200);
    assert_eq!(site.get("/healthz").await.status, 200);
    assert_eq!(site.get("/readyz").await.status, 200);
    let gone = admin
        .send("DELETE", "/v1/buckets/logs-1?force=true", &[], "")
        .await;
    assert_eq!(gone.status, 204);
}

#[tokio::test]
async fn without_tokens_only_loopback_names_and_own_pages_are_answered() {
    let mut site = Site::new();
    let foreign = site
        .send(
            "GET",
            "/v1/buckets",
            &[("origin", "http://evil.example")],
            "",
        )
        .await;
    foreign.is_problem(403, "forbidden");
    site.headers = vec![("host".to_owned(), "evil.example".to_owned())];
    site.get("/v1/buckets").await.is_problem(403, "forbidden");
    site.put("/v1/kv/b/k", "v")
        .await
        .is_problem(403, "forbidden");
    site.headers.clear();
    site.get("/v1/buckets").await.is_problem(403, "forbidden");
}

#[tokio::test]
async fn unknown_routes_and_methods_are_problems() {
    let site = Site::new();
    for target in [
        "/nowhere",
        "/v1",
        "/v1/",
        "/v1/kv",
        "/v2/kv/b/k",
        "/v1/kvx/b/k",
        "/healthz/",
        "//",
        "/v1/buckets/a/b",
    ] {
        site.get(target).await.is_problem(404, "not_found");
    }
    for (method, target, allow) in [
        ("PATCH", "/v1/kv/b/k", "GET, HEAD, PUT, DELETE"),
        ("POST", "/v1/buckets", "GET, HEAD"),
        ("OPTIONS", "/v1/kv/b/k", "GET, HEAD, PUT, DELETE"),
        ("BREW", "/healthz", "GET, HEAD"),
        ("PUT", "/metrics", "GET, HEAD"),
    ] {
        let answer = site.send(method, target, &[], "").await;
        answer.is_problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), allow);
    }
}

#[tokio::test]
async fn a_panic_is_a_problem_and_the_next_request_is_answered() {
    let site = Site::new();
    let app = Arc::clone(&site.gate.app);
    let gate = Gate {
        router: Router::new().route(
            "/panic",
            any(|| async {
                if true {
                    panic!("on purpose")
                }
            }),
        ),
        app,
    };
    let broken = Site {
        gate,
        headers: site.headers.clone(),
    };
    broken.get("/panic").await.is_problem(500, "internal");
    assert_eq!(site.get("/healthz").await.status, 200);
    let metrics = site.get("/metrics").await;
    assert!(String::from_utf8_lossy(&metrics.body).contains("cairn_http_panics_total 1"));
}

#[tokio::test]
async fn one_request_too_many_is_turned_away_and_health_is_still_told() {
    let site = Site::with("requests_max = 1");
    let held = Arc::clone(&site.gate.app.requests)
        .try_acquire_owned()
        .unwrap();
    let refused = site.put("/v1/kv/b/k", "v").await;
    refused.is_problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), "1");
    for target in ["/healthz", "/readyz", "/metrics", "/v1/status"] {
        assert_eq!(site.get(target).await.status, 200, "{target}");
    }
    drop(held);
    site.put("/v1/kv/b/k", "v").await.version();
}

#[tokio::test]
async fn answers_that_nobody_takes_stay_within_the_memory_for_bodies() {
    let site = Site::with("bodies_bytes_max = 400000");
    site.put("/v1/kv/b/k", vec![7; 300_000]).await.version();
    let request = || {
        Request::get("/v1/kv/b/k")
            .header("host", "localhost")
            .body(Full::new(Bytes::new()))
            .unwrap()
    };
    let unread = site.gate.answer(request()).await;
    assert_eq!(unread.status(), 200);
    site.get("/v1/kv/b/k").await.is_problem(503, "overloaded");
    let head = site.send("HEAD", "/v1/kv/b/k", &[], "").await;
    assert_eq!(head.status, 200, "it has no body");
    drop(unread);
    assert_eq!(site.get("/v1/kv/b/k").await.status, 200);
}

#[tokio::test]
async fn the_operations_routes_tell_how_it_goes() {
    let site = Site::new();
    site.put("/v1/kv/b/k", "v").await.version();
    let status = site.get("/v1/status").await.json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["log_id"].as_str().unwrap().len(), 32);
    assert!(status["committee"].is_null() && status["uptime_ms"].is_u64());
    assert_eq!(status["partitions"].as_array().unwrap().len(), 1);
    let metrics = site.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.body);
    assert!(
        text.contains("cairn_http_requests_total{resource=\"kv\",method=\"PUT\",status=\"200\"} 1")
    );
    assert!(
        metrics
            .header("content-type")
            .starts_with("text/plain; version=0.0.4")
    );
    assert!(text.contains("# TYPE cairn_http_requests_total counter\n"));
    let accept = [("accept", "application/openmetrics-text; version=1.0.0")];
    let open = site.send("GET", "/metrics", &accept, "").await;
    assert!(
        open.header("content-type")
            .starts_with("application/openmetrics-text")
    );
    let text = String::from_utf8_lossy(&open.body);
    assert!(text.contains("# TYPE cairn_http_requests counter\n") && text.ends_with("# EOF\n"));
    let page = site.get("/").await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(String::from_utf8_lossy(&page.body).contains("takes reads and writes"));
}

/// What a request waits in is boxed and moved: each byte is paid for by every request.
#[tokio::test]
async fn what_a_request_waits_in_is_small() {
    let site = Site::new();
    let (app, request) = (&site.gate.app, || Request::new(Body::empty()));
    let of_a_key = size_of_val(&kv::by_path(State(Arc::clone(app)), request()));
    assert!(of_a_key <= 256, "{of_a_key} bytes");
    let of_a_batch = size_of_val(&batch::write(State(Arc::clone(app)), request()));
    let of_an_append = size_of_val(&crate::http::log::append(State(Arc::clone(app)), request()));
    let of_the_gate = size_of_val(&site.gate.answer(request()));
    let most = of_a_batch.max(of_an_append).max(of_the_gate);
    assert!(
        most <= 2_048,
        "{of_a_batch}, {of_an_append} and {of_the_gate} bytes"
    );
}

/// A clock that leaps when a test says so.
#[derive(Debug, Default)]
struct LeapingClock(std::sync::atomic::AtomicU64);

impl cairn_kv::Clock for LeapingClock {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000 + self.0.load(std::sync::atomic::Ordering::SeqCst)
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

#[tokio::test]
async fn a_clock_that_leaps_ahead_is_told_by_the_status_and_a_metric() {
    let clock = Arc::new(LeapingClock::default());
    let options = Store::options().clock(Arc::clone(&clock) as Arc<dyn cairn_kv::Clock>);
    let store = options.open_in_memory().unwrap();
    let site = Site::of("", store, crate::http::watch::KEEP_ALIVE);
    site.put("/v1/kv/b/k", "v").await.version();
    for (leap_ms, suspect) in [(0, false), (2 * 3_600_000, true), (0, false)] {
        clock.0.store(leap_ms, std::sync::atomic::Ordering::SeqCst);
        let status = site.get("/v1/status").await.json();
        assert_eq!(status["clock_is_suspect"], suspect);
        let metrics = site.get("/metrics").await;
        let line = format!("cairn_clock_suspect {}\n", u8::from(suspect));
        assert!(String::from_utf8_lossy(&metrics.body).contains(&line));
    }
}

/// A body that is announced and does not come.
struct Silent;

impl http_body::Body for Silent {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_answered_before_the_body_has_come() {
    let site = Site::new();
    for (target, host, status) in [
        ("/v1/kv/b/%zz", "localhost", 400),
        ("/v1/kv/b/k", "evil.example", 403),
        ("/nowhere", "localhost", 404),
    ] {
        let request = Request::put(target)
            .header("host", host)
            .body(Silent)
            .unwrap();
        let began = tokio::time::Instant::now();
        let answer = site.gate.answer(request).await;
        assert_eq!(answer.status(), status);
        assert_eq!(began.elapsed(), Duration::ZERO, "{target}");
    }
}
