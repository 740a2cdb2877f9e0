//! `cairn serve`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tracing_subscriber::EnvFilter;

use super::{EXIT_FAILED, Failed};
use crate::config::{Config, LogFormat, Settings, Unusable};

/// Serve a store over HTTP
#[derive(Args)]
pub(super) struct Command {
    #[command(flatten)]
    settings: Settings,
    /// Configuration file (TOML); flags and environment stand above it
    #[arg(long, env = "CAIRN_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(command: Command) -> ExitCode {
    match serve(command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(failed) => failed.report(false),
    }
}

/// Whether all of it went well.
fn serve(command: Command) -> Result<bool, Failed> {
    let config = Config::resolve(command.settings, command.config.as_deref());
    let config = config.map_err(|Unusable(detail)| Failed::invalid(detail))?;
    log(&config).map_err(|error| Failed::invalid(format!("log = {:?}: {error}", config.log)))?;
    Ok(crate::serve::run(config)?)
}

fn log(config: &Config) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::builder().parse(&config.log)?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => log
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}
