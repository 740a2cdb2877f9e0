//! Which store a command talks to.

use std::path::PathBuf;

use cairn_sdk::wire::Durability;
use cairn_sdk::{Cairn, ConnectOptions};
use clap::Args;

use super::{Failed, directory};

/// A server or a directory
#[derive(Args)]
pub(super) struct Place {
    /// URL of the server
    #[arg(
        long,
        global = true,
        env = "CAIRN_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:7070"
    )]
    url: String,
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

impl Place {
    /// The store, which a command that only reads does not create, nor
    /// in a directory that holds something else.
    pub(super) async fn to_read(&self) -> Result<Cairn, Failed> {
        if let Some(data) = &self.data {
            directory::check_holds_store(data)?;
        }
        self.open().await
    }

    /// The store, created if it is a directory that does not exist.
    pub(super) async fn to_write(&self) -> Result<Cairn, Failed> {
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
        Ok(Cairn::connect_with(&self.url, options).await?)
    }
}

/// How durable a write is asked to be
#[derive(Args)]
pub(super) struct Asked {
    /// buffered, local or certified
    #[arg(long, value_name = "LEVEL")]
    pub(super) durability: Option<Durability>,
}
