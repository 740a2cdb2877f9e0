use super::*;
use bytes::Bytes;
use http_body_util::BodyExt;

async fn parts(problem: Problem) -> (Response<()>, serde_json::Value) {
    let (parts, body) = problem.into_response().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (
        Response::from_parts(parts, ()),
        serde_json::from_slice(&body).unwrap(),
    )
}

#[tokio::test]
async fn a_problem_is_a_document_of_rfc_9457_with_our_members() {
    let (response, document) = parts(Problem::invalid("no such luck")).await;
    assert_eq!(response.status(), 400);
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    assert_eq!(
        document,
        serde_json::json!({
            "type": "urn:cairn:problem:invalid_argument",
            "title": "Invalid argument",
            "status": 400,
            "detail": "no such luck",
            "code": "invalid_argument",
            "retryable": false,
        })
    );
}

#[tokio::test]
async fn a_failed_condition_tells_version_and_key() {
    let error = Error::new(Code::VersionMismatch, "changed")
        .with_version(0)
        .with_key(Bytes::from_static(b"\xff"));
    let (response, document) = parts(error.into()).await;
    assert_eq!(response.status(), 412);
    assert_eq!(document["version"], 0);
    assert_eq!(document["key_b64"], "/w==");
    assert_eq!(document.get("key"), None);
}

#[tokio::test]
async fn codes_have_the_statuses_of_the_api() {
    for (code, status, retryable) in [
        ("invalid_argument", 400, false),
        ("key_too_large", 400, false),
        ("unauthorized", 401, false),
        ("forbidden", 403, false),
        ("bucket_not_found", 404, false),
        ("key_not_found", 404, false),
        ("not_found", 404, false),
        ("read_only", 405, false),
        ("bucket_exists", 409, false),
        ("bucket_not_empty", 409, false),
        ("not_certified", 409, false),
        ("compacted", 410, false),
        ("version_mismatch", 412, false),
        ("value_too_large", 413, false),
        ("batch_too_large", 413, false),
        ("corrupt", 500, false),
        ("outcome_unknown", 500, false),
        ("poisoned", 503, false),
        ("fenced", 503, false),
        ("overloaded", 503, true),
        ("disk_full", 507, true),
    ] {
        let (response, document) = parts(Problem::new(Code::parse(code), "")).await;
        assert_eq!(response.status(), status, "{code}");
        assert_eq!(document["code"], code);
        assert_eq!(document["retryable"], retryable, "{code}");
    }
}

#[tokio::test]
async fn a_refusal_says_what_to_do_in_its_headers() {
    let (busy, _) = parts(Problem::new(Code::Overloaded, "busy")).await;
    assert_eq!(busy.headers()["retry-after"], "1");
    let (unknown, _) = parts(Problem::new(Code::Unauthorized, "who")).await;
    assert_eq!(unknown.headers()["www-authenticate"], "Bearer");
    let (method, _) = parts(Problem::method_not_allowed("PATCH", "GET, HEAD")).await;
    assert_eq!(
        (method.status().as_u16(), &method.headers()["allow"]),
        (405, &"GET, HEAD".parse().unwrap())
    );
}
