//! Who may do what.
//!
//! With tokens in the configuration a request names one by its secret, and the token's role and
//! bucket patterns decide. Without any, whoever is on this machine may do everything, and the two
//! things that let a browser be used against its owner are refused: a `Host` that is not loopback
//! (a name that was rebound to this address) and an `Origin` of another site.
//!
//! A bucket is reached only through [`Caller::may`], so no route can forget to ask.

mod loopback;
mod pattern;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use cairn_sdk::Code;
use std::sync::Arc;

use crate::config::{Role, Token};
use crate::problem::{Problem, Result};
use pattern::Pattern;

/// Decides about every request.
#[derive(Debug)]
pub(crate) struct Access {
    tokens: Vec<Arc<Known>>,
    /// Set by `--insecure`: without tokens, answer to any name.
    any_host: bool,
}

/// The token behind a secret.
#[derive(Debug)]
struct Known {
    name: String,
    /// Of the secret. Comparing hashes takes the same time whatever is sent, and tells nothing
    /// about the length of the secret.
    digest: blake3::Hash,
    role: Role,
    buckets: Vec<Pattern>,
}

/// Who makes a request.
#[derive(Clone, Debug)]
pub(crate) struct Caller(Option<Arc<Known>>);

impl Access {
    /// Access for these tokens. `any_host` answers to any name where there are none.
    pub(crate) fn new(tokens: &[Token], any_host: bool) -> Self {
        let known = |token: &Token| {
            Arc::new(Known {
                name: token.name.clone(),
                digest: blake3::hash(token.secret.as_bytes()),
                role: token.role,
                buckets: token
                    .buckets
                    .iter()
                    .map(|text| Pattern::new(text))
                    .collect(),
            })
        };
        Self {
            tokens: tokens.iter().map(known).collect(),
            any_host,
        }
    }

    /// Finds out who makes a request.
    pub(crate) fn identify(&self, parts: &Parts) -> Result<Caller> {
        if self.tokens.is_empty() {
            loopback::check(parts, self.any_host)?;
            return Ok(Caller(None));
        }
        let digest = blake3::hash(bearer(&parts.headers)?);
        // Every token is compared, each in constant time.
        let mut found = None;
        for token in &self.tokens {
            if token.digest == digest {
                found = Some(Arc::clone(token));
            }
        }
        match found {
            Some(token) => Ok(Caller(Some(token))),
            None => Err(Problem::new(Code::Unauthorized, "no token has this secret")),
        }
    }
}

impl Caller {
    /// Whether the caller may act in this role on a bucket.
    pub(crate) fn may(&self, role: Role, bucket: &str) -> Result<()> {
        let Some(token) = &self.0 else {
            return Ok(());
        };
        if token.role < role {
            return Err(forbidden(token, &format!("is no {}", role.as_str())));
        }
        if !self.sees(bucket) {
            return Err(forbidden(
                token,
                &format!("does not cover the bucket {bucket:?}"),
            ));
        }
        Ok(())
    }

    /// Whether the caller may act in this role on everything, which only the pattern `*` covers.
    pub(crate) fn may_all(&self, role: Role) -> Result<()> {
        let Some(token) = &self.0 else {
            return Ok(());
        };
        if token.role < role {
            return Err(forbidden(token, &format!("is no {}", role.as_str())));
        }
        if !token.buckets.iter().any(Pattern::is_everything) {
            return Err(forbidden(token, "does not cover every bucket"));
        }
        Ok(())
    }

    /// Whether the bucket patterns of the caller cover this bucket.
    pub(crate) fn sees(&self, bucket: &str) -> bool {
        self.0
            .as_ref()
            .is_none_or(|token| token.buckets.iter().any(|pattern| pattern.matches(bucket)))
    }
}

fn forbidden(token: &Known, what: &str) -> Problem {
    Problem::new(
        Code::Forbidden,
        format!("the token {:?} {what}", token.name),
    )
}

/// The secret of `Authorization: Bearer SECRET`.
fn bearer(headers: &HeaderMap) -> Result<&[u8]> {
    let missing = || {
        Problem::new(
            Code::Unauthorized,
            "a token is needed: Authorization: Bearer",
        )
    };
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Err(missing());
    };
    let line = line.as_bytes();
    let (scheme, secret) = line
        .iter()
        .position(|&byte| byte == b' ')
        .map(|at| (&line[..at], line[at..].trim_ascii()))
        .ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case(b"bearer") && !secret.is_empty() {
        Ok(secret)
    } else {
        Err(missing())
    }
}

#[cfg(test)]
mod tests;
