//! The configuration file: the settings by name, `[[token]]` and `[[topic]]` tables.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Role, Secret, Settings, Token, Topic, Unusable};

/// What a configuration file says, its secrets read.
#[derive(Debug, Default)]
pub(crate) struct File {
    pub(crate) settings: Settings,
    pub(crate) token: Vec<Token>,
    pub(crate) topic: Vec<Topic>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenTable {
    name: String,
    secret: Option<Secret>,
    secret_file: Option<std::path::PathBuf>,
    role: Role,
    #[serde(default = "every_bucket")]
    buckets: Vec<String>,
    s3_access_key: Option<String>,
    s3_secret_key: Option<Secret>,
}

impl File {
    /// Reads a file. A `secret_file` in it is looked for beside it.
    pub(crate) fn read(path: &Path) -> Result<Self, Unusable> {
        let named = |detail: String| Unusable(format!("{}: {detail}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
        let beside = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, beside).map_err(|Unusable(detail)| named(detail))
    }

    pub(crate) fn parse(text: &str, beside: &Path) -> Result<Self, Unusable> {
        let unusable = |error: toml::de::Error| Unusable(error.to_string().trim_end().to_owned());
        let mut document: toml::Table = toml::from_str(text).map_err(unusable)?;
        let (tokens, topics) = (document.remove("token"), document.remove("topic"));
        // From the text itself, since only then an error can show its line.
        let settings = toml::from_str(text).map_err(unusable)?;
        let topic = topics_of(parse_tables("topic", topics)?)?;
        let mut token = Vec::<Token>::new();
        for table in parse_tables::<TokenTable>("token", tokens)? {
            let added = table.into_token(beside)?;
            if token.iter().any(|known| known.name == added.name) {
                return Err(Unusable(format!(
                    "two tokens have the name {:?}",
                    added.name
                )));
            }
            if let Some(known) = token.iter().find(|known| known.secret == added.secret) {
                let (one, other) = (&known.name, &added.name);
                return Err(Unusable(format!(
                    "the tokens {one:?} and {other:?} share a secret"
                )));
            }
            token.push(added);
        }
        Ok(Self {
            settings,
            token,
            topic,
        })
    }
}

impl TokenTable {
    fn into_token(self, beside: &Path) -> Result<Token, Unusable> {
        let name = self.name;
        let unusable = |what: &str| Unusable(format!("the token {name:?} {what}"));
        let secret = match (self.secret, self.secret_file) {
            (Some(secret), None) => secret,
            (None, Some(file)) => {
                let file = beside.join(file);
                let text = std::fs::read_to_string(&file).map_err(|error| {
                    unusable(&format!(
                        "has an unreadable secret_file {}: {error}",
                        file.display()
                    ))
                })?;
                Secret::from(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            (None, None) => return Err(unusable("has neither secret nor secret_file")),
            (Some(_), Some(_)) => return Err(unusable("has both secret and secret_file")),
        };
        if secret.as_str().is_empty() || !secret.as_bytes().iter().all(u8::is_ascii_graphic) {
            return Err(unusable(
                "has a secret that no header can carry: visible ASCII is needed",
            ));
        }
        if self.s3_access_key.is_some() != self.s3_secret_key.is_some() {
            return Err(unusable(
                "has one of s3_access_key and s3_secret_key without the other",
            ));
        }
        Ok(Token {
            name: name.clone(),
            secret,
            role: self.role,
            buckets: self.buckets,
            s3_access_key: self.s3_access_key,
            s3_secret_key: self.s3_secret_key,
        })
    }
}

/// The tables of this name, none if there are none.
fn parse_tables<T: DeserializeOwned>(
    name: &str,
    tables: Option<toml::Value>,
) -> Result<Vec<T>, Unusable> {
    let tables = tables.unwrap_or(toml::Value::Array(Vec::new()));
    let tables = tables.try_into();
    tables.map_err(|error: toml::de::Error| Unusable(format!("in [[{name}]]: {error}")))
}

/// Refuses two tables of one topic. The store refuses a name that no topic can have.
fn topics_of(topics: Vec<Topic>) -> Result<Vec<Topic>, Unusable> {
    for (at, topic) in topics.iter().enumerate() {
        if topics[..at].iter().any(|known| known.name == topic.name) {
            return Err(Unusable(format!(
                "two [[topic]] tables have the name {:?}",
                topic.name
            )));
        }
    }
    Ok(topics)
}

fn every_bucket() -> Vec<String> {
    vec!["*".to_owned()]
}
