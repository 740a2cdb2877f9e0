//! The query of a request, taken apart as `application/x-www-form-urlencoded`.
//!
//! Every HTTP library writes a space there as `+`, so here (unlike in a key's path) a `+` is a
//! space and a plus is `%2B`. Values are bytes until they are asked for as something else. A
//! parameter given twice, or one that the route does not know, is an error that names it: a
//! misspelt `limit` must not scan a whole bucket.

use crate::http::key::percent_decode;
use crate::problem::{Problem, Result};

/// The parameters not yet taken.
#[derive(Debug, Default)]
pub(crate) struct Query {
    parameters: Vec<(String, Vec<u8>)>,
}

impl Query {
    /// Takes a raw query apart.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self> {
        let mut parameters: Vec<(String, Vec<u8>)> = Vec::new();
        for part in query
            .unwrap_or_default()
            .split('&')
            .filter(|part| !part.is_empty())
        {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = String::from_utf8(form_decode(name)?)
                .map_err(|_| Problem::invalid("a query parameter's name is not UTF-8"))?;
            if parameters.iter().any(|(known, _)| *known == name) {
                return Err(Problem::invalid(format!(
                    "the query parameter {name:?} is given twice"
                )));
            }
            parameters.push((name, form_decode(value)?));
        }
        Ok(Self { parameters })
    }

    /// Takes a parameter.
    pub(crate) fn bytes(&mut self, name: &str) -> Option<Vec<u8>> {
        let at = self
            .parameters
            .iter()
            .position(|(known, _)| known == name)?;
        Some(self.parameters.swap_remove(at).1)
    }

    /// Takes a parameter of text.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>> {
        self.bytes(name)
            .map(|bytes| {
                String::from_utf8(bytes).map_err(|_| {
                    Problem::invalid(format!("the query parameter {name} is not UTF-8"))
                })
            })
            .transpose()
    }

    /// Takes a parameter that is a whole number, written in decimal digits.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<u64>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits => Ok(Some(number)),
            // Digits that do not fit are a number all the same, just an absurd one.
            Err(_) if digits => Ok(Some(u64::MAX)),
            _ => Err(Problem::invalid(format!(
                "the query parameter {name} is {text:?}, not a whole number"
            ))),
        }
    }

    /// Takes a parameter that is on or off; its bare name is on.
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool> {
        match self.text(name)?.as_deref() {
            Some("true" | "1" | "") => Ok(true),
            None | Some("false" | "0") => Ok(false),
            Some(other) => Err(Problem::invalid(format!(
                "the query parameter {name} is {other:?}, it takes true or false"
            ))),
        }
    }

    /// Refuses what no one has taken.
    pub(crate) fn finish(self) -> Result<()> {
        match self.parameters.first() {
            Some((name, _)) => Err(Problem::invalid(format!(
                "this route has no query parameter {name:?}"
            ))),
            None => Ok(()),
        }
    }
}

fn form_decode(text: &str) -> Result<Vec<u8>> {
    let spaced = text.replace('+', " ");
    Ok(percent_decode(spaced.as_bytes())?.into_owned())
}

#[cfg(test)]
mod tests;
