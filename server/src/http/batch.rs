//! Several changes at once: `POST /v1/batch/{bucket}`.

use std::collections::HashSet;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, Response};
use cairn_sdk::wire::{self, BATCH_OPS_MAX, BatchRequest, Condition, Op, Written};
use cairn_sdk::{Change, Code, Expect, Write, check_writable};

use super::body::Reading;
use super::key::bucket_of;
use super::kv::{acknowledged, durability};
use super::query::Query;
use super::{App, caller, object};
use crate::config::Role;
use crate::problem::{Problem, Result};

/// The largest body of a batch. Its keys and values have their own limit when decoded; base64 and
/// escapes make the text larger.
const BATCH_BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A body larger than this is parsed on the pool, where it delays no other answer.
const IN_PLACE_BYTES_MAX: usize = 64 * 1024;

/// `/v1/batch/{bucket}`.
#[utoipa::path(
    post, path = "/v1/batch/{bucket}", operation_id = "batch", tag = "keys",
    params(
        ("bucket" = String, Path, description = "The bucket"),
        ("Cairn-Durability" = Option<wire::Durability>, Header, description = "What the reply vouches for"),
    ),
    request_body = BatchRequest,
    responses(
        (status = 200, description = "All of it happened", body = Written),
        (status = 412, description = "`version_mismatch` with the failing key; none of it happened",
         body = wire::Problem),
        (status = 413, description = "`batch_too_large`", body = wire::Problem),
    ),
)]
pub(super) async fn write(State(app): State<Arc<App>>, request: Request) -> Result<Response<Body>> {
    let bucket = bucket_of(request.uri().path(), "/v1/batch/")?;
    if *request.method() != Method::POST {
        return Err(Problem::method_not_allowed(
            request.method().as_str(),
            "POST",
        ));
    }
    Query::parse(request.uri().query())?.finish()?;
    caller(&request)?.may(Role::Writer, &bucket)?;
    check_writable(&bucket)?;
    let durability = durability(request.headers())?;
    let reading = Reading {
        budget: &app.bodies,
        bytes_max: BATCH_BODY_BYTES_MAX,
        too_large: || Code::BatchTooLarge,
        stall: app.stall,
    };
    let (body, _held) = reading.read(request.into_body()).await?;
    let mut write = if body.len() <= IN_PLACE_BYTES_MAX {
        parse(&body)?
    } else {
        let parsed = app.store.bridge().run(move || parse(&body)).await;
        parsed.map_err(|refused| {
            Problem::new(
                Code::Overloaded,
                format!("the batch could not be read: {refused:?}"),
            )
        })??
    };
    write.durability = durability;
    let receipt = app.store.write(&bucket, write).await?;
    acknowledged(
        receipt,
        &Written {
            version: receipt.version,
        },
    )
}

/// The write that a body asks for.
pub(super) fn parse(body: &[u8]) -> Result<Write> {
    let batch: BatchRequest = object(body, "batch")?;
    if batch.ops.overflowed() || batch.conditions.overflowed() {
        return Err(Problem::new(
            Code::BatchTooLarge,
            format!("a batch takes at most {BATCH_OPS_MAX} operations and conditions"),
        ));
    }
    let changes = batch
        .ops
        .into_vec()
        .into_iter()
        .enumerate()
        .map(|(at, op)| change(op).map_err(|what| Problem::invalid(format!("in op {at}: {what}"))))
        .collect::<Result<Vec<_>>>()?;
    let conditions = batch
        .conditions
        .into_vec()
        .into_iter()
        .enumerate()
        .map(|(at, condition)| {
            expectation(&condition)
                .map_err(|what| Problem::invalid(format!("in condition {at}: {what}")))
        })
        .collect::<Result<Vec<_>>>()?;
    each_once("ops", changes.iter().map(Change::key))?;
    each_once("if", conditions.iter().map(|(key, _)| key))?;
    Ok(Write {
        changes,
        conditions,
        ..Write::default()
    })
}

fn change(op: Op) -> Result<Change, String> {
    let key = op.key()?;
    Ok(match op {
        Op::Put(put) => {
            let value = put.value()?;
            Change::Put {
                key,
                value,
                ttl_ms: put.ttl_ms,
                content_type: None,
            }
        }
        Op::Delete(_) => Change::Delete { key },
    })
}

fn expectation(condition: &Condition) -> Result<(Bytes, Expect), String> {
    let expect = match condition.version {
        0 => Expect::Absent,
        version => Expect::OneOf(vec![version]),
    };
    Ok((condition.key()?, expect))
}

fn each_once<'a>(list: &str, keys: impl Iterator<Item = &'a Bytes>) -> Result<()> {
    let mut seen = HashSet::new();
    for key in keys {
        if !seen.insert(key) {
            let key = key.escape_ascii();
            return Err(Problem::invalid(format!(
                "the key \"{key}\" stands twice in \"{list}\""
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
