//! Which store a command talks to.

use std::env::VarError;
use std::path::PathBuf;

use cairn_sdk::wire::Durability;
use cairn_sdk::{Cairn, ConnectOptions};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory};

use super::{Cli, Failed, directory};

/// A server or a directory
#[derive(Args)]
pub(super) struct Place {
    // The environment is asked by hand: to the parser a value from there is as good as a flag, and
    // would stand against `--data`.
    /// URL of the server [env: CAIRN_URL] [default: http://127.0.0.1:7070]
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// Use the store in this directory, without a server
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Secret of a token of the server
    #[arg(
        long,
        global = true,
        env = "CAIRN_TOKEN",
        value_name = "SECRET",
        hide_env_values = true
    )]
    token: Option<String>,
}

pub(super) const URL_VARIABLE: &str = "CAIRN_URL";
pub(super) const URL_DEFAULT: &str = "http://127.0.0.1:7070";

impl Place {
    /// Refuses two places. One may stand before a subcommand and the other after it, which the
    /// parser does not see together.
    pub(super) fn check(&self) -> Result<(), clap::Error> {
        if self.url.is_none() || self.data.is_none() {
            return Ok(());
        }
        let what = "--url and --data exclude each other: a server, or a directory";
        Err(Cli::command().error(ErrorKind::ArgumentConflict, what))
    }

    /// The store. A command that could find or change nothing in a new one creates none, nor in a
    /// directory that holds something else.
    pub(super) async fn existing(&self) -> Result<Cairn, Failed> {
        if let Some(data) = &self.data {
            directory::check_holds_store(data)?;
        }
        self.open().await
    }

    /// The store, created if it is a directory that does not exist.
    pub(super) async fn existing_or_new(&self) -> Result<Cairn, Failed> {
        self.open().await
    }

    async fn open(&self) -> Result<Cairn, Failed> {
        if let Some(data) = &self.data {
            return Ok(Cairn::open(data).await?);
        }
        let mut options = ConnectOptions::default();
        if let Some(token) = &self.token {
            options = options.token(token);
        }
        let url = match &self.url {
            Some(url) => url.clone(),
            None => match std::env::var(URL_VARIABLE) {
                Ok(url) => url,
                Err(VarError::NotPresent) => URL_DEFAULT.to_owned(),
                Err(VarError::NotUnicode(_)) => {
                    return Err(Failed::invalid(format!("{URL_VARIABLE} is not UTF-8")));
                }
            },
        };
        Ok(Cairn::connect_with(&url, options).await?)
    }
}

/// How durable a write is asked to be
#[derive(Args)]
pub(super) struct Asked {
    /// buffered, local or certified
    #[arg(long, value_name = "LEVEL")]
    pub(super) durability: Option<Durability>,
}
