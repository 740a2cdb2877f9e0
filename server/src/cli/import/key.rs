//! Where a row's key comes from.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Digits of a row number as a key. Fixed, so that the order of keys is that of rows in every file
/// and a longer file later changes none of them.
const ROW_NUMBER_DIGITS: usize = 10;

/// Which part of a row is its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyRule {
    /// The value of this field.
    Field(String),
    /// The number of the row, from 1, bad rows counted.
    RowNumber,
}

impl KeyRule {
    pub(super) fn parse(text: &str) -> Self {
        match text {
            "#" => KeyRule::RowNumber,
            field => KeyRule::Field(field.to_owned()),
        }
    }

    /// The key of a row that is a JSON object, the `number`th of its file. Checks the whole text.
    pub(super) fn of_json(&self, text: &str, number: u64) -> Result<Vec<u8>, String> {
        let field = match self {
            KeyRule::Field(field) => Some(field.as_str()),
            KeyRule::RowNumber => None,
        };
        let mut parser = serde_json::Deserializer::from_str(text);
        let found = parser.deserialize_any(Finding { field });
        let found = found
            .and_then(|found| parser.end().map(|()| found))
            .map_err(explain)?;
        match (self, found) {
            (KeyRule::RowNumber, _) => row_number(number),
            (KeyRule::Field(field), None) => Err(format!("the field {field:?} is missing")),
            (KeyRule::Field(field), Some(raw)) => key_text(field, raw),
        }
    }
}

/// A row number as a key.
pub(super) fn row_number(number: u64) -> Result<Vec<u8>, String> {
    let text = format!("{number:0ROW_NUMBER_DIGITS$}");
    if text.len() > ROW_NUMBER_DIGITS {
        return Err(format!(
            "row numbers have at most {ROW_NUMBER_DIGITS} digits"
        ));
    }
    Ok(text.into_bytes())
}

/// A string as its text, a number or bool as its JSON.
fn key_text(field: &str, raw: &RawValue) -> Result<Vec<u8>, String> {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'"') => {
            let string: String = serde_json::from_str(text).map_err(explain)?;
            Ok(string.into_bytes())
        }
        Some(b'n') => Err(format!("the field {field:?} is null")),
        Some(b'{' | b'[') => Err(format!(
            "the field {field:?} is no string, number or bool and makes no key"
        )),
        _ => Ok(text.as_bytes().to_vec()),
    }
}

/// Finds a field of an object and reads past everything else.
struct Finding<'a> {
    field: Option<&'a str>,
}

impl<'de> Visitor<'de> for Finding<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            if self.field != Some(&*name) {
                map.next_value::<IgnoredAny>()?;
            } else if found.replace(map.next_value()?).is_some() {
                return Err(A::Error::custom(format_args!(
                    "the field {name:?} stands twice"
                )));
            }
        }
        Ok(found)
    }
}

/// An error of the parser without its line, which is always the first one of the row.
fn explain(error: serde_json::Error) -> String {
    let text = error.to_string();
    match text.split_once(" at line ") {
        Some((what, _)) if error.column() > 0 => format!("{what} at column {}", error.column()),
        Some((what, _)) => what.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests;
