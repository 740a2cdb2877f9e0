//! What a server without tokens answers to: requests that name a loopback host, from no foreign
//! site.

use std::net::IpAddr;

use axum::http::header::{HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use cairn_sdk::Code;

use crate::problem::{Problem, Result};

/// Checks `Host` (or the authority of the target, which stands above it) and `Origin`.
pub(super) fn check(parts: &Parts, any_host: bool) -> Result<()> {
    let host = host_of(parts)?;
    if !any_host
        && !host
            .as_ref()
            .is_some_and(|host| is_loopback_host(host.host()))
    {
        let named = host.map_or_else(|| "no host".to_owned(), |host| format!("{host:?}"));
        return Err(Problem::new(
            Code::Forbidden,
            format!("the request is for {named}; without tokens only loopback names are answered"),
        ));
    }
    let mut origins = parts.headers.get_all(ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => Ok(()),
        (Some(origin), None)
            if origin
                .to_str()
                .is_ok_and(|origin| is_own(origin, host.as_ref())) =>
        {
            Ok(())
        }
        _ => Err(Problem::new(
            Code::Forbidden,
            "the request comes from another site (Origin), which needs a token",
        )),
    }
}

/// Whether a host, without a port, is this machine.
fn is_loopback_host(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

fn host_of(parts: &Parts) -> Result<Option<Authority>> {
    if let Some(authority) = parts.uri.authority() {
        return Ok(Some(authority.clone()));
    }
    let mut lines = parts.headers.get_all(HOST).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Ok(None),
        (Some(line), None) => match Authority::try_from(line.as_bytes()) {
            Ok(authority) => Ok(Some(authority)),
            Err(_) => Err(Problem::invalid("the Host header names no host")),
        },
        _ => Err(Problem::invalid("the request has several Host headers")),
    }
}

/// Whether an origin is this server: the authority that the request is for, or another loopback
/// name with the same port.
fn is_own(origin: &str, host: Option<&Authority>) -> bool {
    let authority = origin.strip_prefix("http://").map(Authority::try_from);
    let (Some(Ok(origin)), Some(host)) = (authority, host) else {
        return false;
    };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(80);
    let same_name = origin.host().eq_ignore_ascii_case(host.host())
        || (is_loopback_host(origin.host()) && is_loopback_host(host.host()));
    same_name && port(&origin) == port(host)
}

#[cfg(test)]
mod tests;
